//! The load engine: workers that ask what a generator wants and record what becomes of it.
//!
//! A *closed* loop has a fixed number of workers, each with one op open at most: the system sets the pace. An *open* loop
//! has a schedule: ops are due at times that do not depend on the answers, and latency counts from when an op was due, so a
//! system that stops for a second is charged for all that was due in it (no coordinated omission).
//!
//! | file | concept |
//! |---|---|
//! | `engine.rs` | the loop: start workers, flush, stop, drain |
//! | `worker.rs` | one logical client after another on one slot |
//! | `arrivals.rs` | when ops of an open loop are due, and the backlog of those not yet sent |

mod arrivals;
mod engine;
mod worker;

pub use engine::run_load;

use crate::connect::Binding;
use crate::generator::Share;
use crate::recorder::Tally;
use crate::spec::SpecError;
use checkers::history::{HistoryError, Phase};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How load is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadConfig {
    /// Logical clients: as many ops are open at most.
    pub clients: u32,
    /// When ops begin.
    pub arrivals: Arrivals,
    /// An op that has no answer after so long ends as unknown. It includes all attempts.
    pub op_timeout: Duration,
    /// An attempt that has no answer after so long is followed by another.
    pub attempt_timeout: Duration,
    /// No op begins later than this after the start.
    pub time_limit: Duration,
    /// No more ops than this, if given.
    pub ops_max: Option<u64>,
    /// Every choice follows from it.
    pub seed: u64,
    /// Which part of a load that is made in several places.
    pub share: Share,
    /// Where clients go.
    pub binding: Binding,
    /// By how many clients each key is read in the final phase.
    pub readers: u32,
}

/// When ops begin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// When the worker's last op has ended.
    Closed,
    /// By a schedule of so many ops a second on average. An op that could not be sent within `op_timeout` of its time, all
    /// workers being busy, fails as not sent.
    Open { rate_per_s: f64, process: ArrivalProcess },
}

/// How the ops of an open loop follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArrivalProcess {
    /// Independently, as requests of many users do.
    Poisson,
    /// Evenly.
    Fixed,
}

/// How a load ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadEnd {
    /// The generator had nothing more.
    Exhausted,
    /// [`LoadConfig::ops_max`] ops were begun.
    OpsMax,
    /// [`LoadConfig::time_limit`] passed.
    TimeLimit,
    /// The caller stopped it.
    Stopped,
}

/// What a load did.
#[derive(Clone, Debug)]
pub struct LoadSummary {
    /// Which phase it was.
    pub phase: Phase,
    /// How it ended.
    pub end: LoadEnd,
    /// Nanoseconds since the run began.
    pub started_ns: u64,
    /// When the last op ended.
    pub ended_ns: u64,
    /// What became of the ops.
    pub tally: Tally,
    /// Ops among the failed that were not sent in time: the schedule asked more than the workers could do.
    pub not_sent: u64,
    /// Processes that ended with an op of unknown outcome.
    pub retired: u64,
}

impl LoadSummary {
    /// Ops that took effect.
    #[must_use]
    pub fn ok(&self) -> u64 {
        self.tally.values().map(|kind| kind.ok).sum()
    }

    /// Ops that certainly took none.
    #[must_use]
    pub fn fail(&self) -> u64 {
        self.tally.values().map(|kind| kind.fail).sum()
    }

    /// Ops of which it is not known.
    #[must_use]
    pub fn info(&self) -> u64 {
        self.tally.values().map(|kind| kind.info).sum()
    }
}

/// Why no load could be made, or it broke off.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The history cannot be written: nothing may be asked that cannot be recorded.
    #[error("recording the history")]
    History(#[from] HistoryError),
    /// The workload's options are out of bounds.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The configuration cannot be carried out.
    #[error("load: {0}")]
    Config(String),
    /// The system refuses a timer.
    #[error("a timer for the schedule: {0}")]
    Timer(#[source] std::io::Error),
}
