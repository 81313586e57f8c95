//! Links that are cut for good: a majority that is connected must serve all the same.

use super::{Event, Found, MS, Storm, ensure};
use protocol::Detector::Liveness;

/// Links that are cut for good, all others being well.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Standing {
    /// Everybody hears the leader, which hears nobody.
    DeafLeader,
    /// The leader and the others do not hear one another, and its clock is slow and theirs fast. Timeouts are long, so
    /// that there is time for stale reads.
    LostLeader,
    /// Each replica has links to the one before and the one after it.
    Chain,
}

/// What had happened when the links were cut for good.
pub(super) struct Before {
    writes: u64,
    elections: u64,
}

impl Storm {
    /// Cuts links as soon as there is a leader.
    pub(super) fn cut_for_good(&mut self, standing: Standing) {
        let hosts = &self.world.hosts;
        let Some(leader) = self.replicas.iter().find(|id| hosts[id].core().is_leader()) else {
            return self.world.after(0..50 * MS, Event::Nemesis);
        };
        for &from in &self.replicas {
            for &to in &self.replicas {
                let cut = match standing {
                    Standing::DeafLeader => to == *leader,
                    Standing::LostLeader => (to == *leader) != (from == *leader),
                    Standing::Chain => from.0.abs_diff(to.0) > 1,
                };
                if cut {
                    self.world.cut.insert((from, to));
                }
            }
        }
        if matches!(standing, Standing::LostLeader) {
            let leader = *leader;
            for &id in &self.replicas {
                self.world.bend_clock(id, id != leader);
            }
        }
        self.before = Some(Before { writes: self.writes(), elections: self.elections() });
    }

    /// A majority that is connected must serve, and must keep a leader in the end, whatever the other links do.
    pub(super) fn expect_service(&self) -> Result<(), Found> {
        let Some(before) = &self.before else { return Ok(()) };
        let writes = self.writes() - before.writes;
        let elections = self.elections() - before.elections;
        ensure(writes > 20, Liveness, || format!("only {writes} writes since links were cut"))?;
        ensure(elections < 5, Liveness, || format!("{elections} leaders since links were cut"))
    }
}
