//! How members are changed, disks lost and leaders replaced in a simulated run: the same operator as on processes is asked to.

use super::storm::{Draw, Hold, Storm};
use kv::Serves;
use nemesis::operator::{Voters, in_words};
use protocol::{NodeId, Status, quorum};
use rand::Rng;
use rand::seq::IndexedRandom;
use sim::{Cluster, Crash, Observer};
use std::collections::BTreeSet;

impl Storm {
    /// The operator looks how things are, and asks again for what is not done.
    pub(crate) fn operate<P: Serves>(&mut self, cluster: &mut Cluster<P>, observer: &mut impl Observer<P>) {
        if !self.operator.is_busy() {
            return;
        }
        for (leader, request) in self.operator.look(&leaders(cluster)) {
            if let Some(reply) = cluster.admin(leader, request.clone(), observer) {
                self.operator.heard(&request, &reply);
            }
        }
    }

    /// Whether the operator knows who votes: nothing is to change, and all who can be asked say the same.
    pub(super) fn members_are_certain<P: Serves>(&self, cluster: &Cluster<P>) -> bool {
        let mut statuses = self.operator.voters().keys().filter_map(|node| cluster.status(*node));
        self.operator.wish().is_none() && statuses.all(|status| self.operator.is_believed_by(&status))
    }

    /// Whether a majority survives the loss of one disk more, whoever is asked.
    pub(super) fn may_lose<P: Serves>(&self, node: NodeId, cluster: &Cluster<P>) -> Result<(), String> {
        if self.operator.wish().is_some() || leader(cluster).is_none_or(|(_, status)| status.is_changing()) {
            return Err("members are changing, or nobody leads".to_owned());
        }
        let voters = self.operator.voters();
        let mut gone: BTreeSet<NodeId> =
            self.flipped.iter().copied().filter(|node| voters.contains_key(node)).collect();
        gone.insert(node);
        if gone.len() > quorum::crash_faults_tolerated(voters.len()) {
            return Err("more lost disks than a majority survives".to_owned());
        }
        Ok(())
    }

    /// Takes a disk away: the replica comes back with an empty one, and is to take its own place as another member.
    pub(super) fn wipe<P: Serves>(
        &mut self,
        node: NodeId,
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) -> Result<Hold, String> {
        let voters = self.operator.voters();
        if voters.get(&node) != Some(&cluster.incarnation(node)) || self.flipped.contains(&node) {
            return Err(format!("{node} does not vote"));
        }
        self.free(&[node], cluster)?;
        self.may_lose(node, cluster)?;
        let mut voters = voters.clone();
        cluster.crash(node, Crash::Power, observer);
        voters.insert(node, cluster.wipe(node));
        let evidence = format!("a new disk; to vote are {}", in_words(&voters));
        self.operator.want(voters);
        cluster.start(node, observer);
        Ok(Hold::Members { evidence })
    }

    /// The voters with one added or one left out, on the way to others.
    fn one_step_to(&self, others: &Voters, chance: &mut impl Rng) -> Voters {
        let mut voters = self.operator.voters().clone();
        let differ: Vec<NodeId> = voters
            .keys()
            .chain(others.keys())
            .copied()
            .filter(|node| voters.contains_key(node) != others.contains_key(node))
            .collect();
        if let Some(node) = differ.choose(chance) {
            match others.get(node) {
                Some(life) => voters.insert(*node, *life),
                None => voters.remove(node),
            };
        }
        voters
    }

    pub(super) fn change_members<P: Serves>(
        &mut self,
        targets: &[NodeId],
        cluster: &Cluster<P>,
    ) -> Result<Hold, String> {
        if self.operator.voters().is_empty() || leader(cluster).is_none_or(|(_, s)| s.members.is_none()) {
            return Err("nobody leads, or its members cannot change".to_owned());
        }
        if let Some(wish) = self.operator.wish()
            && !may_be_given_up(wish, self.operator.voters())
        {
            return Err(format!("the members are to be {} already", in_words(wish)));
        }
        let mut voters: Voters = targets.iter().map(|node| (*node, cluster.incarnation(*node))).collect();
        let mut chance = self.chance(Draw::Step, cluster.now(), 0);
        if chance.random_bool(0.6) {
            voters = self.one_step_to(&voters, &mut chance);
        }
        // One whose disk is damaged never comes to vote, and a wish for it never comes true.
        voters.retain(|node, _| !self.flipped.contains(node));
        if voters.len() < self.operator.voters().len().min(3) {
            return Err("too few of them have a sound disk".to_owned());
        }
        let evidence = format!("to vote are {}", in_words(&voters));
        self.operator.want(voters);
        Ok(Hold::Members { evidence })
    }

    pub(super) fn transfer<P: Serves>(
        &mut self,
        to: NodeId,
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) -> Result<Hold, String> {
        let (leader, _) = leader(cluster).ok_or("nobody leads")?;
        if leader == to {
            return Err(format!("{to} leads already"));
        }
        if !self.operator.voters().contains_key(&to) {
            return Err(format!("{to} does not vote"));
        }
        self.operator.transfer(to);
        self.operate(cluster, observer);
        Ok(Hold::Transfer)
    }
}

/// Whether other members may be wanted before these are: nobody waits for a new disk to vote.
fn may_be_given_up(wish: &Voters, voters: &Voters) -> bool {
    wish.iter().all(|(node, life)| voters.get(node).is_none_or(|old| old == life))
}

/// Who leads as far as those who are up can tell, and what it says.
pub(super) fn leader<P: Serves>(cluster: &Cluster<P>) -> Option<(NodeId, Status)> {
    leaders(cluster).into_iter().max_by_key(|(_, status)| status.epoch)
}

fn leaders<P: Serves>(cluster: &Cluster<P>) -> Vec<(NodeId, Status)> {
    let statuses = cluster.nodes().filter_map(|node| Some((node, cluster.status(node)?)));
    statuses.filter(|(_, status)| status.leads).collect()
}
