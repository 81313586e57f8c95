//! Who changes members, has others lead, and has disks wiped: as much as the group must stand, and no more.

use super::{Event, Found, MS, Storm};
use crate::host;
use protocol::{AdminReply, AdminRequest, Incarnation, Protocol, ReplicaId, Time, codec};
use raft::{Image, LogIndex, Member, Members, Payload, Record};
use rand::Rng;
use rand::seq::{IndexedRandom, IteratorRandom};
use std::collections::BTreeMap;
use std::time::Duration;

type Voters = BTreeMap<ReplicaId, Incarnation>;

/// Longer than newcomers may take to catch up, on any clock.
const CATCH_UP: Duration = Duration::from_millis(1500);

/// What the operator has done.
#[derive(Default)]
pub(super) struct Operator {
    /// The changes that were begun not long ago.
    asked: Vec<(Time, Members)>,
    /// Whom all shall be after the storm.
    last_wish: Option<Members>,
    /// When it was asked for.
    wished_at: Option<Time>,
}

impl Storm {
    /// The replica that leads in the highest term.
    pub(super) fn leader(&self) -> Option<ReplicaId> {
        let rafts = self.world.hosts.values().filter_map(|host| host.up());
        let leaders = rafts.filter(|raft| raft.is_leader());
        leaders.max_by_key(|raft| raft.term()).map(raft::Raft::replica)
    }

    pub(super) fn operate(&mut self) -> Result<(), Found> {
        if self.calm {
            return Ok(());
        }
        match self.world.rng.random_range(0..10) {
            0..5 => {
                let asked = self.leader().filter(|_| self.world.rng.random_bool(0.9));
                let to = asked.or(self.replicas.choose(&mut self.world.rng).copied()).expect("replicas");
                if self.world.is_up(to) {
                    let voters = self.random_voters(to);
                    if self.can_decide(&voters) {
                        self.change(to, voters)?;
                    }
                }
            }
            5..7 => {
                if let Some(leader) = self.leader() {
                    let to = *self.replicas.choose(&mut self.world.rng).expect("there are replicas");
                    self.ask(leader, AdminRequest::TransferLeadership { to })?;
                }
            }
            7 => {
                let victim = *self.replicas.choose(&mut self.world.rng).expect("there are replicas");
                if self.tolerates_loss_of(victim) {
                    self.wipe(victim)?;
                }
            }
            _ => {}
        }
        self.world.after(0..200 * MS, Event::Operator);
        Ok(())
    }

    fn ask(&mut self, id: ReplicaId, request: AdminRequest) -> Result<AdminReply, Found> {
        let mut answer = None;
        self.world.input(id, |raft, now, out| answer = Some(raft.handle_admin(now, request, out)));
        self.check(id)?;
        Ok(answer.expect("an answer"))
    }

    fn change(&mut self, id: ReplicaId, voters: Voters) -> Result<AdminReply, Found> {
        let target = Members::new(voters.clone()).expect("somebody votes");
        let answer = self.ask(id, AdminRequest::ChangeMembers { voters })?;
        if answer == AdminReply::Accepted {
            self.operator.asked.push((self.world.now, target));
        }
        Ok(answer)
    }

    /// Some go, some come, and mostly whoever was wiped is replaced by what he is now.
    fn random_voters(&mut self, asked: ReplicaId) -> Voters {
        let mut voters = self.world.hosts[&asked].core().configuration().new.lives().clone();
        let rng = &mut self.world.rng;
        for (id, incarnation) in &mut voters {
            let now = host::member(&self.world.hosts[id]).incarnation;
            if rng.random_bool(0.8) {
                *incarnation = now;
            }
        }
        for _ in 0..rng.random_range(0..3) {
            let id = *self.replicas.choose(rng).expect("there are replicas");
            voters.insert(id, host::member(&self.world.hosts[&id]).incarnation);
        }
        for _ in 0..rng.random_range(0..3) {
            if voters.len() > 1 {
                let id = *voters.keys().choose(rng).expect("more than one");
                voters.remove(&id);
            }
        }
        voters
    }

    /// Whether the disks of a majority are there.
    fn can_decide(&self, voters: &Voters) -> bool {
        let lost = voters
            .iter()
            .filter(|(id, life)| host::member(&self.world.hosts[id]).incarnation != **life)
            .count();
        lost <= (voters.len() - 1) / 2
    }

    /// Whether the group can spare what is on this disk: in each set of voters that may decide anything from now on,
    /// lost lives are and stay a minority.
    fn tolerates_loss_of(&mut self, victim: ReplicaId) -> bool {
        let now = self.world.now;
        self.operator.asked.retain(|(at, _)| now < *at + CATCH_UP);
        let hosts = &self.world.hosts;
        let lost =
            |member: &Member| member.replica == victim || host::member(&hosts[&member.replica]) != *member;
        let spares = |set: &Members| {
            let lost = set.iter().filter(lost).count();
            lost <= (set.lives().len() - 1) / 2
        };
        let ups = hosts.values().filter_map(|host| host.up());
        // Nobody can be elected without what is committed.
        let Some(newest) = ups.clone().max_by_key(|raft| raft.commit()) else { return false };
        let committed = newest.commit();
        let on_disks = hosts.values().flat_map(|host| host.disk.records.iter().chain(&host.unsynced));
        let on_disks = on_disks.filter_map(|(_, record)| match record {
            Record::Entry(entry) => Some(entry),
            Record::HardState { .. } | Record::LogStart { .. } => None,
        });
        let in_logs = ups.flat_map(|raft| raft.log().entries());
        let in_force = |index: LogIndex| index > committed;
        let later = on_disks.chain(in_logs).filter(|entry| in_force(entry.index)).filter_map(|entry| {
            if let Payload::Configuration(configuration) = &entry.payload {
                Some(configuration)
            } else {
                None
            }
        });
        // The journal may begin behind them.
        let saved = hosts.values().filter_map(|host| host.disk.snapshots.last_key_value());
        let in_snapshots = saved.filter(|(id, _)| in_force(LogIndex(id.upto))).map(|(_, bytes)| {
            codec::decode::<Image>(bytes).expect("what was encoded can be decoded").configuration
        });
        let mut configurations = later.chain([newest.committed_configuration()]);
        configurations.all(|configuration| configuration.sets().all(spares))
            && in_snapshots.into_iter().all(|configuration| configuration.sets().all(spares))
            && self.operator.asked.iter().all(|(_, asked)| spares(asked))
    }

    fn wipe(&mut self, victim: ReplicaId) -> Result<(), Found> {
        if self.world.is_up(victim) {
            self.crash(victim)?;
        }
        self.report.wipes += 1;
        self.world.wipe(victim);
        if let Some(invariants) = &mut self.invariants {
            invariants.wiped(victim);
        }
        Ok(())
    }

    /// After the storm: whether everybody is as the operator wishes, who asks for it until it is done.
    pub(super) fn last_wish_is_fulfilled(&mut self) -> Result<bool, Found> {
        let leader = self.leader().expect("all is well");
        let now = self.world.hosts[&leader].core().configuration().new.clone();
        let Some(wish) = self.operator.last_wish.clone() else {
            let mut voters = self.random_voters(leader);
            for (id, incarnation) in &mut voters {
                *incarnation = host::member(&self.world.hosts[id]).incarnation;
            }
            self.operator.last_wish = Some(Members::new(voters).expect("somebody votes"));
            return Ok(false);
        };
        if now != wish
            && self.operator.wished_at.is_none_or(|at| at + Duration::from_millis(50) < self.world.now)
        {
            self.operator.wished_at = Some(self.world.now);
            self.change(leader, wish.lives().clone())?;
        }
        Ok(now == wish)
    }
}
