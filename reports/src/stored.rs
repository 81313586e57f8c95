//! What a run leaves in its folder besides the history, and what this crate reads.
//!
//! ```text
//! store/<plan>/<time>-<seed>/            one run, or one comparison of several
//!   plan.yaml                            the resolved plan
//!   run.json                             RunInfo
//!   history.bin                          checkers::history
//!   results.json                         Results
//!   perf.json  report.html  *.png        written by this crate
//!   gauntlet.log  n1/ n2/ …              the controller's log; one folder a node
//! ```
//! A comparison's folder holds `comparison.json` ([`ComparisonInfo`]), its own `report.html` and plots, and one run folder for each cell.

use checkers::{CheckResult, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is known about a run apart from its history: `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// The plan's name.
    pub plan: String,
    /// The subject's name in the plan (`raft`, `raft-local-reads`, `etcd`).
    pub subject: String,
    /// The system: `raft`, `standalone`, `etcd`.
    pub system: String,
    /// `register`, `append`, `ycsb-a`, …
    pub workload: String,
    /// `local`.
    pub world: String,
    /// Every random choice follows from it.
    pub seed: u64,
    /// RFC 3339, UTC.
    pub started: String,
    /// How many replicas.
    pub replicas: u32,
    /// How many logical clients.
    pub clients: u32,
    /// `closed` or `open, 5000 ops/s, poisson`.
    pub load: String,
    /// `fsync` or `memory`: shown in every report.
    pub durability: String,
    /// `read-index`, `lease`, `local (unsafe)`, …: shown in every report.
    pub reads: String,
    /// Anything else worth a row in the report's table of facts: name, value.
    pub facts: Vec<(String, String)>,
    /// How the run ended.
    pub outcome: RunOutcome,
    /// CPU used between the start and the end of the run phase.
    pub cpu: CpuUse,
}

/// How a run ended, apart from what its history says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// All steps were taken.
    Completed,
    /// Somebody stopped it; what there is was checked.
    Interrupted,
    /// The harness failed: where and why.
    Failed(String),
}

/// Processor time, in seconds, over the run phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuUse {
    /// Wall time of the run phase, seconds.
    pub wall_s: f64,
    /// All nodes together.
    pub nodes_s: f64,
    /// The controller with its load generator.
    pub controller_s: f64,
    /// Everything else on the machine: above 5 % of `wall_s` × cores the run is marked as noisy.
    pub others_s: f64,
    /// Cores of the machine.
    pub cores: u32,
}

/// `results.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The worst of all checks.
    pub verdict: Verdict,
    /// One for each checker.
    pub checks: Vec<CheckResult>,
}

/// `comparison.json`: which cells a comparison has, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparisonInfo {
    /// The plan's name.
    pub plan: String,
    /// Every random choice follows from it.
    pub seed: u64,
    /// RFC 3339, UTC.
    pub started: String,
    /// Folder names of the cells, below the comparison's.
    pub cells: Vec<String>,
    /// Cells that could not be run: folder name, reason.
    pub failed: BTreeMap<String, String>,
}
