//! Disks that have forgotten, are damaged, or are gone, and how their nodes come back as other members.
//!
//! A disk that forgets: what was synced is lost, and the node starts from what is left. Storage can rarely tell. The replica then has
//! *amnesia*: it carries on, and has forgotten votes and entries that others count on. That is more than a protocol that trusts its
//! disk survives, so what a plan with such faults finds may be a real violation. At the end of the run whoever has amnesia is
//! replaced, by the rule for lost disks: it comes back with an empty one, as another member.
//!
//! A node that cannot write must not acknowledge. Ours stop; so a process that stops because of that while its disk is said to be
//! full is no crash, and is started again when there is room.

use crate::action::{Action, Evidence, InjectError};
use crate::hold::Hold;
use crate::install::{Done, leader};
use crate::machine::{Nemesis, Stage};
use crate::operator::{Voters, in_words};
use crate::world::World;
use protocol::{Incarnation, NodeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How long a leader may take for what the operator wants after all is healed, before another is tried.
const LEADER_PATIENCE: Duration = Duration::from_secs(8);
/// How long a node with a damaged disk waits to be replaced after all is healed, before that is a problem.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of disks.
#[derive(Debug, Default)]
pub(crate) struct Disks {
    lives: BTreeMap<NodeId, Incarnation>,
    /// A bit of these was flipped.
    flipped: BTreeSet<NodeId>,
    /// Their nodes refuse them, in these words, and do not run.
    lost: BTreeMap<NodeId, String>,
    /// Their nodes carry on although they have lost what was synced.
    forgetful: BTreeSet<NodeId>,
    has_any_forgotten: bool,
    /// They are empty, and their nodes cannot be other members.
    emptied: BTreeSet<NodeId>,
    /// Their nodes are to be other members, one after the other.
    to_replace: VecDeque<NodeId>,
    /// Since when after the healing somebody waits.
    waits_since: Option<Duration>,
    has_deposed: bool,
}

impl Disks {
    /// Which life a node's disk is in.
    pub(crate) fn life(&self, node: NodeId) -> Incarnation {
        self.lives.get(&node).copied().unwrap_or_default()
    }

    /// A node has an empty disk now.
    pub(crate) fn begin_next_life(&mut self, node: NodeId, changes_members: bool) -> Incarnation {
        self.flipped.remove(&node);
        self.lost.remove(&node);
        self.forgetful.remove(&node);
        self.to_replace.retain(|waits| *waits != node);
        if !changes_members {
            self.emptied.insert(node);
        }
        let life = self.lives.entry(node).or_default();
        life.0 += 1;
        *life
    }

    pub(crate) fn flip(&mut self, node: NodeId) {
        self.flipped.insert(node);
    }

    pub(crate) fn is_flipped(&self, node: NodeId) -> bool {
        self.flipped.contains(&node)
    }

    fn replace(&mut self, node: NodeId) {
        if !self.to_replace.contains(&node) {
            self.to_replace.push_back(node);
        }
    }

    pub(crate) fn forgot(&mut self, node: NodeId) {
        self.forgetful.insert(node);
        self.has_any_forgotten = true;
    }

    pub(crate) fn are_to_be_replaced(&self) -> bool {
        !self.to_replace.is_empty()
    }

    pub(crate) fn is_lost(&self, node: NodeId) -> bool {
        self.lost.contains_key(&node)
    }

    pub(crate) fn is_damaged(&self, node: NodeId) -> bool {
        self.flipped.contains(&node) || self.lost.contains_key(&node)
    }

    /// Which of these the group has to do without, or may have to. Not those that carry on although they have forgotten: what does
    /// that to them takes more than a group survives in any case.
    pub(crate) fn gone_of(&self, voters: &Voters) -> BTreeSet<NodeId> {
        let all = self.flipped.iter().chain(self.lost.keys()).chain(&self.emptied);
        all.copied().filter(|node| voters.contains_key(node)).collect()
    }
}

impl Nemesis {
    /// A node does not run with the disk it has.
    pub(crate) fn refuses_disk(&mut self, node: NodeId, words: &str) {
        self.disks.lost.insert(node, words.to_owned());
        if self.group.changes_members {
            self.disks.replace(node);
        }
    }

    pub(crate) async fn install_truncate(
        &mut self,
        targets: Vec<NodeId>,
        bytes: u64,
        world: &mut impl World,
    ) -> Result<(Hold, String), InjectError> {
        let mut done = Done::default();
        for node in self.free(targets)? {
            let cut = world.carry_out(&Action::Truncate(node, bytes)).await.map(Evidence::words);
            if let Err(InjectError::Failed(_)) = cut {
                // It may have been killed, and its disk cut.
                self.disks.forgot(node);
                self.start_again(vec![node], world).await;
            }
            done.add(node, cut)?;
        }
        Ok((Hold::Truncated(done.nodes), done.evidence.join("; ")))
    }

    /// Those that have forgotten what they had promised are to come back as others.
    pub(crate) fn replace_the_forgetful(&mut self) {
        if self.group.changes_members {
            for node in self.disks.forgetful.clone() {
                if self.operator.voters().contains_key(&node) {
                    self.disks.replace(node);
                }
            }
        }
    }

    /// The next node whose disk is damaged, or has forgotten, comes back as another member, if nothing else is wanted of the group.
    pub(crate) async fn replace_next(&mut self, world: &mut impl World) {
        if !self.may_replace() {
            return;
        }
        if self.is_settled() {
            self.disks.waits_since = None;
            self.disks.has_deposed = false;
            return;
        }
        let now = world.now();
        let waited = now.saturating_sub(*self.disks.waits_since.get_or_insert(now));
        if let Some(wish) = self.operator.wish() {
            // A leader goes by what its followers acknowledged before they forgot, and could wait for them for ever.
            if self.stage == Stage::Healed
                && waited > LEADER_PATIENCE
                && !self.disks.has_deposed
                && self.disks.has_any_forgotten
            {
                tracing::info!(wish = in_words(wish), "nobody brings it about: another is to lead");
                self.disks.has_deposed = true;
                self.depose(world).await;
            }
            return;
        }
        let Some(node) = self.disks.to_replace.front().copied() else { return };
        let statuses = self.look(world).await;
        let Some(leader) = leader(&statuses).filter(|leader| !statuses[leader].is_changing()) else {
            self.give_up_when_healed(node, waited, "nobody leads, or members are changing");
            return;
        };
        tracing::debug!(%node, %leader, "a node is to be another member");
        match self.new_disk(node, world).await {
            Ok(_) => self.disks.waits_since = None,
            Err(error) => self.give_up_when_healed(node, waited, &error.to_string()),
        }
    }

    fn give_up_when_healed(&mut self, node: NodeId, waited: Duration, why: &str) {
        if self.stage == Stage::Healed && waited > PATIENCE {
            self.disks.to_replace.retain(|waits| *waits != node);
            let problem = "it has forgotten what it had promised, and was not replaced";
            self.problems.push(format!("{node}: {problem}: {why}"));
        }
    }

    async fn depose(&mut self, world: &mut impl World) {
        let statuses = self.look(world).await;
        let Some(leader) = leader(&statuses) else { return };
        for action in [Action::Kill(leader), Action::Start(leader)] {
            if let Err(error) = world.carry_out(&action).await {
                tracing::warn!(%leader, %error, "having another lead");
            }
        }
        self.has_forgotten(leader);
    }
}
