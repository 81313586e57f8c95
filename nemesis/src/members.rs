//! How members are changed, disks lost and leaders replaced: an operator is asked to, and sees it through.

use crate::action::{Action, Comeback, Evidence, InjectError};
use crate::fault::Fault;
use crate::hold::Hold;
use crate::install::{leader, refuse};
use crate::machine::Nemesis;
use crate::operator::{Voters, in_words};
use crate::world::World;
use checkers::history::FaultStage;
use protocol::{Incarnation, NodeId, Status};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How often one joins or leaves, on the way to other voters, where all could be wanted at once.
const ONE_STEP: f64 = 0.6;
/// Fewer voters survive nothing.
const VOTERS_LEAST: usize = 3;

type Statuses = BTreeMap<NodeId, Status>;

impl Nemesis {
    /// The operator looks how things are, and asks again for what is not done.
    pub(crate) async fn operate(&mut self, world: &mut impl World) {
        if !self.operator.is_busy() {
            return;
        }
        let statuses = self.look(world).await;
        let leaders: Vec<_> = statuses.into_iter().filter(|(_, status)| status.leads).collect();
        for (leader, request) in self.operator.look(&leaders) {
            match world.carry_out(&Action::Ask(leader, request.clone())).await.map(Evidence::answer) {
                Ok(reply) => {
                    tracing::debug!(%leader, ?request, ?reply, "the operator asks");
                    self.operator.heard(&request, &reply);
                }
                Err(error) => tracing::debug!(%leader, %error, "the operator asks"),
            }
        }
    }

    /// In which life a node's disk is.
    fn life(&self, node: NodeId) -> Incarnation {
        self.disks.life(node)
    }

    /// Whether members can change, and who leads.
    fn changeable(&self, statuses: &Statuses) -> Result<NodeId, InjectError> {
        match leader(statuses) {
            _ if !self.group.changes_members => refuse("its members cannot change"),
            None => refuse("nobody leads, or it cannot be asked"),
            Some(leader) if statuses[&leader].members.is_none() => refuse("its members cannot change"),
            Some(leader) => Ok(leader),
        }
    }

    pub(crate) async fn install_members(
        &mut self,
        targets: &[NodeId],
        at: Duration,
        statuses: &Statuses,
        world: &mut impl World,
    ) -> Result<(Hold, String), InjectError> {
        self.changeable(statuses)?;
        if let Some(wish) = self.operator.wish()
            && !may_be_given_up(wish, self.operator.voters())
        {
            return refuse(format!("the members are to be {} already", in_words(wish)));
        }
        let mut voters: Voters = targets.iter().map(|node| (*node, self.life(*node))).collect();
        let at = u64::try_from(at.as_nanos()).expect("a run ends within centuries");
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(self.seed ^ at.rotate_left(32));
        let least = self.operator.voters().len().min(VOTERS_LEAST);
        if chance.random_bool(ONE_STEP) {
            voters = self.one_step_to(voters, least, &mut chance);
        }
        // One whose disk is damaged never comes to vote, and a wish for it never comes true.
        voters.retain(|node, _| !self.disks.is_damaged(*node));
        if voters.len() < least {
            return refuse(format!("fewer than {least} of them have a sound disk"));
        }
        if voters == *self.operator.voters() {
            return refuse("they vote already");
        }
        let evidence = format!("to vote are {}", in_words(&voters));
        self.operator.want(voters);
        self.operate(world).await;
        Ok((Hold::Members, evidence))
    }

    /// The voters with one added or one left out, on the way to others; those others, where no step leaves as many as must be.
    fn one_step_to(&self, others: Voters, least: usize, chance: &mut impl Rng) -> Voters {
        let mut voters = self.operator.voters().clone();
        let may_step = |node: &NodeId| match (voters.contains_key(node), others.contains_key(node)) {
            (true, false) => voters.len() > least,
            (false, true) => true,
            (true, true) | (false, false) => false,
        };
        let steps: BTreeSet<NodeId> = voters.keys().chain(others.keys()).copied().filter(may_step).collect();
        let steps: Vec<_> = steps.into_iter().collect();
        let Some(node) = steps.choose(chance) else { return others };
        match others.get(node) {
            Some(life) => voters.insert(*node, *life),
            None => voters.remove(node),
        };
        voters
    }

    /// Whether this disk may be lost now, and the group survives that, too. Those that are not replaced count to the end of the run.
    fn may_lose(&self, node: NodeId, statuses: &Statuses) -> Result<(), InjectError> {
        let voters = self.operator.voters();
        if self.group.changes_members {
            let leader = self.changeable(statuses)?;
            if let Some(wish) = self.operator.wish() {
                return refuse(format!("the members are to be {} already", in_words(wish)));
            }
            if statuses[&leader].is_changing() {
                return refuse("members are changing");
            }
        }
        let mut gone = self.disks.gone_of(voters);
        gone.extend(voters.contains_key(&node).then_some(node));
        let budget = self.group.quorums.budget(voters.len()).crash;
        if gone.len() > budget {
            return refuse(format!(
                "of {} replicas no more than {budget} may lose their disks",
                voters.len()
            ));
        }
        self.spoken_for(node).map_or(Ok(()), refuse)
    }

    pub(crate) async fn install_wipe(
        &mut self,
        node: NodeId,
        statuses: &Statuses,
        world: &mut impl World,
    ) -> Result<(Hold, String), InjectError> {
        if self.operator.voters().get(&node) != Some(&self.life(node)) || self.disks.is_damaged(node) {
            return refuse(format!("{node} does not vote, or its disk is damaged"));
        }
        self.may_lose(node, statuses)?;
        let words = self.new_disk(node, world).await?;
        Ok((Hold::NewDisk, words))
    }

    /// A node comes back with an empty disk; if it votes, as another member, where members can change.
    pub(crate) async fn new_disk(
        &mut self,
        node: NodeId,
        world: &mut impl World,
    ) -> Result<String, InjectError> {
        let mut words = world.carry_out(&Action::Wipe(node)).await?.words();
        self.has_forgotten(node);
        let life = self.disks.begin_next_life(node, self.group.changes_members);
        if self.group.changes_members && self.operator.voters().contains_key(&node) {
            let mut voters = self.operator.voters().clone();
            voters.insert(node, life);
            words += &format!("; to vote are {}", in_words(&voters));
            self.operator.want(voters);
        }
        // The new process knows nothing of the link faults that are in force.
        for error in self.apply(world).await {
            tracing::debug!(%error, "telling a node with a new disk");
        }
        Ok(words)
    }

    /// Damages a disk, on which its node is to be started when the fault ends.
    pub(crate) async fn install_flip(
        &mut self,
        node: NodeId,
        chance: u64,
        statuses: &Statuses,
        world: &mut impl World,
    ) -> Result<(Hold, String), InjectError> {
        self.may_lose(node, statuses)?;
        let words = world.carry_out(&Action::FlipBit(node, chance)).await?.words();
        self.disks.flip(node);
        Ok((Hold::Flipped(node), words))
    }

    /// A node that refuses a damaged disk is replaced, where that can be, and else is gone to the end of the run.
    pub(crate) async fn start_damaged(
        &mut self,
        node: NodeId,
        world: &mut impl World,
    ) -> (FaultStage, String) {
        self.has_forgotten(node);
        let started = match world.carry_out(&Action::StartDamaged(node)).await.map(Evidence::comeback) {
            Ok(Comeback::Whole(words) | Comeback::Forgetful(words)) => (FaultStage::Healed, words),
            Ok(Comeback::Refused(words)) => {
                self.refuses_disk(node, &words);
                (FaultStage::Healed, words)
            }
            Err(error) => (FaultStage::Indeterminate, error.to_string()),
        };
        self.replace_next(world).await;
        self.apply(world).await;
        started
    }

    pub(crate) async fn install_transfer(
        &mut self,
        to: NodeId,
        statuses: &Statuses,
        world: &mut impl World,
    ) -> Result<(Hold, String), InjectError> {
        let leader = self.changeable(statuses)?;
        if leader == to {
            return refuse(format!("{to} leads already"));
        }
        if !self.operator.voters().contains_key(&to) {
            return refuse(format!("{to} does not vote"));
        }
        self.operator.transfer(to);
        self.operate(world).await;
        Ok((Hold::Transfer, format!("{leader} leads, {to} is to")))
    }

    /// What became of a change of members, as far as it is.
    pub(crate) async fn end_members(
        &mut self,
        fault: &Fault,
        world: &mut impl World,
    ) -> (FaultStage, String) {
        self.operate(world).await;
        let voters = in_words(self.operator.voters());
        match self.operator.wish().map(in_words) {
            None => (FaultStage::Healed, format!("voters are {voters}")),
            Some(wish) if *fault != Fault::Members || self.operator.accepted => {
                (FaultStage::Healed, format!("voters were {voters}, {wish} under way"))
            }
            Some(_) => (FaultStage::NeverBit, format!("no leader took it on; voters are {voters}")),
        }
    }

    /// What became of a transfer.
    pub(crate) async fn end_transfer(&mut self, world: &mut impl World) -> (FaultStage, String) {
        self.operate(world).await;
        self.operator.leave_it();
        if self.operator.transferred {
            (FaultStage::Healed, "it was seen to lead".into())
        } else {
            (FaultStage::NeverBit, "it was not seen to lead".into())
        }
    }
}

/// Whether other members may be wanted before these are: nobody waits for a new disk to vote.
fn may_be_given_up(wish: &Voters, voters: &Voters) -> bool {
    wish.iter().all(|(node, life)| voters.get(node).is_none_or(|old| old == life))
}
