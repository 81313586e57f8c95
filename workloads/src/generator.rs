//! What a workload asks next: a pure state machine, so that the simulator can drive it as well as the load engine.

use checkers::history::{Call, Outcome, Phase};
use serde::{Deserialize, Serialize};

/// Decides what each worker does next. It has no clock and no entropy of its own: the same calls in the same order
/// give the same ops.
pub trait Generator: Send {
    /// What `worker` (0 to one less than [`Scope::workers`]), which has nothing open, shall do.
    fn next(&mut self, now_ns: u64, worker: u32) -> Next;

    /// What became of a call that [`Generator::next`] gave to `worker`.
    fn complete(&mut self, now_ns: u64, worker: u32, call: &Call, outcome: &Outcome);
}

/// What a worker shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask this.
    Op(Call),
    /// Ask again at this time (nanoseconds since the run began), or, without one, when some op has completed.
    Pending(Option<u64>),
    /// This worker has nothing more to do.
    Done,
}

/// What a generator is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The part of the run.
    pub phase: Phase,
    /// How many workers will ask.
    pub workers: u32,
    /// Every random choice follows from it.
    pub seed: u64,
    /// Keys 0 up to this may have been written by earlier phases: the final phase reads them all.
    pub keys_used: u64,
    /// Which part of the load it makes.
    pub share: Share,
    /// How many workers read each key in the final phase: as many as there are replicas whose answers count, if workers are bound
    /// to replicas in turn.
    pub readers: u32,
}

/// A part of a load that several generators make, none of which knows what the others ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Which part: 0 to one less than `of`.
    pub index: u32,
    /// Into how many the load is divided.
    pub of: u32,
}

impl Share {
    /// All of it.
    pub const WHOLE: Share = Share { index: 0, of: 1 };

    /// This part's `n`th number, from 0. No other part has it.
    #[must_use]
    pub fn number(self, n: u64) -> u64 {
        n * u64::from(self.of) + u64::from(self.index)
    }

    /// How many of something, of which there are so many, are for each part: at least one.
    #[must_use]
    pub fn split(self, count: u32) -> u32 {
        count.div_ceil(self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_parts_have_a_number_in_common_and_together_they_have_all() {
        let part = |index| (0..4).map(move |n| Share { index, of: 3 }.number(n));
        let all: BTreeSet<u64> = (0..3).flat_map(part).collect();
        assert_eq!(all, (0..12).collect());
        assert_eq!(Share::WHOLE.number(7), 7);
        assert_eq!([Share { index: 1, of: 3 }.split(7), Share::WHOLE.split(7)], [3, 7]);
    }
}
