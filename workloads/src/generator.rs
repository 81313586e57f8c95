//! What a workload asks next: a pure state machine, so that the simulator can drive it as well as the load engine.

use checkers::history::{Call, Outcome, Phase};

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
}
