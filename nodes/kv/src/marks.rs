//! How far each range of keys has come, for protocols that apply independent commands in different orders.
//!
//! Such replicas are rarely in one state under load, though they agree. A range of keys is, more often: two replicas that have applied
//! the same commands to the keys of a range hold the same there, whatever else they have applied. This holds if commands that
//! [interfere](crate::footprint::Footprint::interferes) are applied in one order everywhere, and no session is forgotten.

use crate::command::Command;
use crate::digest::{RANGES, range_of};
use crate::response::{Refusal, Response};
use crate::store::Store;
use protocol::{Applied, Sequence, SessionId, StateMark};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Which commands were applied to each range of keys: a part of a replica's state beside the [`Store`], for protocols that want it. A
/// snapshot has to hold it, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeMarks([Counted; RANGES]);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    /// The sum of the commands' tags.
    applied: u128,
    count: u64,
}

impl RangeMarks {
    /// The mark of each range, in a fixed order, with what the store holds there.
    #[must_use]
    pub fn of(&self, store: &Store) -> Vec<StateMark> {
        let mark = |(counted, digest): (&Counted, &u64)| StateMark {
            applied: Applied(counted.applied),
            count: counted.count,
            digest: *digest,
        };
        self.0.iter().zip(store.range_digests()).map(mark).collect()
    }

    fn count(&mut self, tag: u128, command: &Command) {
        let footprint = command.footprint();
        let written: BTreeSet<_> = footprint.writes.iter().map(|key| range_of(key)).collect();
        for range in written {
            let counted = &mut self.0[range];
            counted.applied = counted.applied.wrapping_add(tag);
            counted.count += 1;
        }
    }
}

impl Store {
    /// As [`Store::apply`], and counts the command in the ranges of the keys that it may write. `tag` names this command and no other, the
    /// same on all replicas, by a hash that no client can choose: of its place in the protocol, say.
    ///
    /// # Errors
    /// As [`Store::apply`]. A command that is refused counts all the same: it is refused everywhere.
    pub fn apply_tagged(
        &mut self,
        marks: &mut RangeMarks,
        tag: u128,
        (session, sequence): (SessionId, Sequence),
        command: &Command,
    ) -> Result<Response, Refusal> {
        marks.count(tag, command);
        self.apply(session, sequence, command)
    }
}
