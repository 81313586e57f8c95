//! Hand-made ops and whole runs for tests.

use checkers::history::{Answer, Call, Op, Outcome, Phase, ProcessId};

/// An op of the run phase that is meant to start, and does, at `start`, and takes `length` nanoseconds.
pub(crate) fn op(start: u64, length: u64, outcome: &str) -> Op {
    Op {
        index: 0,
        process: ProcessId(1),
        phase: Phase::Run,
        call: Call::Read { key: 1 },
        intended: start,
        invoked: start,
        returned: Some(start + length),
        outcome: match outcome {
            "ok" => Outcome::Ok(Answer::Value(None)),
            "fail" => Outcome::Fail("refused".into()),
            "info" => Outcome::Info("timed out".into()),
            other => unreachable!("no outcome {other}"),
        },
    }
}

/// `rate` ops a second, each of one millisecond, from `from` to before `to`.
pub(crate) fn ops_at(rate: u64, from: u64, to: u64) -> Vec<Op> {
    (from..to).step_by((1_000_000_000 / rate) as usize).map(|at| op(at, 1_000_000, "ok")).collect()
}
