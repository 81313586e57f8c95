//! Who changes members, has others lead, and has disks wiped: as much as the group must stand, and no more.

use super::{Alarm, MS, Storm};
use protocol::{AdminReply, AdminRequest, Incarnation, NodeId, ReplicaId, Time};
use raft::Raft;
use rand::Rng;
use rand::seq::{IndexedRandom, IteratorRandom};
use sim::{Broken, Crash};
use std::collections::BTreeMap;
use std::time::Duration;

type Voters = BTreeMap<ReplicaId, Incarnation>;

/// Longer than newcomers may take to catch up, on any clock.
const CATCH_UP: Duration = Duration::from_millis(1500);

/// What the operator has done.
#[derive(Default)]
pub(super) struct Operator {
    /// The changes that were begun not long ago.
    asked: Vec<(Time, Voters)>,
    /// Whom all shall be after the storm.
    last_wish: Option<Voters>,
    /// When it was asked for.
    wished_at: Option<Time>,
}

impl Storm {
    pub(super) fn operate(&mut self) {
        if self.calm {
            return;
        }
        let any = *self.nodes.choose(&mut self.rng).expect("there are nodes");
        match (self.rng.random_range(0..10), self.leader()) {
            (0..5, leader) => {
                let asked = leader.filter(|_| self.rng.random_bool(0.9)).unwrap_or(any);
                if let Some(voters) = self.random_voters(asked).filter(|voters| self.can_decide(voters)) {
                    self.change(asked, voters);
                }
            }
            (5..7, Some(leader)) => {
                let request = AdminRequest::TransferLeadership { to: ReplicaId(any.0) };
                let answer = self.cluster.admin(leader, request, &mut self.observer);
                // What leases must stand: the others are on with an election, and it cannot know.
                if answer == Some(AdminReply::Accepted) && self.rng.random_bool(self.isolate_leader) {
                    self.alarm(0..5, Alarm::CutOff(leader));
                }
            }
            (7, Some(leader)) if self.spares(leader, any) => self.wipe(any),
            _ => {}
        }
        self.alarm(0..200, Alarm::Operate);
    }

    fn change(&mut self, node: NodeId, voters: Voters) {
        let request = AdminRequest::ChangeMembers { voters: voters.clone() };
        if self.cluster.admin(node, request, &mut self.observer) == Some(AdminReply::Accepted) {
            self.operator.asked.push((self.cluster.now(), voters));
        }
    }

    /// Which life of its disk a replica is on.
    fn life(&self, replica: ReplicaId) -> Incarnation {
        self.cluster.incarnation(NodeId(replica.0))
    }

    /// Some go, some come, and mostly whoever was wiped is replaced by what he is now.
    fn random_voters(&mut self, asked: NodeId) -> Option<Voters> {
        let mut voters = self.cluster.core(asked)?.configuration().new.lives().clone();
        for replica in voters.keys().copied().collect::<Vec<_>>() {
            if self.rng.random_bool(0.8) {
                voters.insert(replica, self.life(replica));
            }
        }
        for _ in 0..self.rng.random_range(0..3) {
            let replica = ReplicaId(self.nodes.choose(&mut self.rng).expect("there are nodes").0);
            voters.insert(replica, self.life(replica));
        }
        for _ in 0..self.rng.random_range(0..3) {
            if voters.len() > 1 {
                let replica = *voters.keys().choose(&mut self.rng).expect("more than one");
                voters.remove(&replica);
            }
        }
        Some(voters)
    }

    fn lost(&self, voters: &Voters) -> usize {
        voters.iter().filter(|(replica, life)| self.life(**replica) != **life).count()
    }

    /// Whether the disks of a majority are there.
    fn can_decide(&self, voters: &Voters) -> bool {
        self.lost(voters) <= (voters.len() - 1) / 2
    }

    /// Whether the group can spare what is on this disk: in each set of voters that may decide anything from now on, lost lives are
    /// and stay a minority. The leader must be certain of who votes; what it does not know of yet was asked for not long ago.
    fn spares(&mut self, leader: NodeId, victim: NodeId) -> bool {
        let (now, replica) = (self.cluster.now(), ReplicaId(victim.0));
        self.operator.asked.retain(|(at, _)| now < *at + CATCH_UP);
        let Some(members) = self.cluster.status(leader).and_then(|status| status.members) else {
            return false;
        };
        let stands_it = |voters: &Voters| {
            let more = voters.get(&replica).is_some_and(|life| *life == self.life(replica));
            self.lost(voters) + usize::from(more) <= (voters.len() - 1) / 2
        };
        let asked = self.operator.asked.iter().map(|(_, voters)| voters);
        !members.changing && asked.chain([&members.voters]).all(stands_it)
    }

    fn wipe(&mut self, victim: NodeId) {
        if self.cluster.is_up(victim) {
            self.crash(victim, Crash::Power);
        }
        self.report.wipes += 1;
        self.cluster.wipe(victim);
        if let Some(invariants) = &mut self.observer.invariants {
            invariants.wiped(ReplicaId(victim.0));
        }
    }

    /// After the storm: whether everybody is as the operator wishes, who asks for it until it is done.
    pub(super) fn last_wish_is_fulfilled(&mut self) -> Result<bool, Broken> {
        let leader = self.leader().expect("all is well");
        let Some(wish) = self.operator.last_wish.clone() else {
            let mut voters = self.random_voters(leader).expect("it leads");
            for (replica, life) in &mut voters {
                *life = self.cluster.incarnation(NodeId(replica.0));
            }
            self.operator.last_wish = Some(voters);
            return Ok(false);
        };
        let is_fulfilled =
            self.cluster.core(leader).map(Raft::configuration).is_some_and(|now| *now.new.lives() == wish);
        let now = self.cluster.now();
        if !is_fulfilled && self.operator.wished_at.is_none_or(|at| at + 50 * MS < now) {
            self.operator.wished_at = Some(now);
            self.change(leader, wish);
        }
        Ok(is_fulfilled)
    }
}
