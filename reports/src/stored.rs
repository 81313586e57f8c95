//! What a run leaves in its folder besides the history, and what this crate reads.
//!
//! ```text
//! store/<plan>/<time>-<seed>/            one run, or one comparison of several
//!   plan.yaml                            the resolved plan
//!   run.json                             RunInfo
//!   history.bin                          checkers::history
//!   statuses.json                        what replicas said of their states: checkers::digests
//!   results.json                         Results
//!   hosts.json                           HostRecords, of a run on other hosts
//!   trace.jsonl  accusations.json        of a simulated run: crate::trace
//!   perf.json  report.html  *.png        written by this crate
//!   gauntlet.log  n1/ n2/ …              the controller's log; one folder a node
//! ```
//! A comparison's folder holds `comparison.json` ([`ComparisonInfo`]), its own `report.html` and plots, and one run folder for each cell.

use anyhow::Context;
use checkers::history::{Ending, History};
use checkers::{CheckResult, Verdict};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// [`RunInfo`].
pub const RUN_FILE: &str = "run.json";
/// `checkers::history`.
pub const HISTORY_FILE: &str = "history.bin";
/// [`Results`].
pub const RESULTS_FILE: &str = "results.json";
/// [`HostRecord`]s, if a run had other hosts than the controller's.
pub const HOSTS_FILE: &str = "hosts.json";
/// The resolved plan.
pub const PLAN_FILE: &str = "plan.yaml";
/// `measure::perf::Perf`.
pub const PERF_FILE: &str = "perf.json";
/// The page.
pub const HTML_FILE: &str = "report.html";
/// [`RunInfo::world`] of a run in virtual time.
pub const SIMULATED: &str = "sim";
/// [`ComparisonInfo`].
pub const COMPARISON_FILE: &str = "comparison.json";

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
    /// `local`, or [`SIMULATED`].
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
    /// Why the run is a control: what its subject is held to beyond what it promises. Broken as expected is valid then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
    /// How the run ended.
    pub outcome: RunOutcome,
    /// CPU used between the start and the end of the run phase.
    pub cpu: CpuUse,
    /// What was not seen to be healed at the end.
    #[serde(default)]
    pub heal_problems: Vec<String>,
    /// Lines of the plan's nemesis that this subject cannot have in this world, and why: they were left out.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// What nodes left on their hosts and could not be fetched.
    #[serde(default)]
    pub not_collected: Vec<String>,
    /// Nodes that ended by themselves, with what they left to say.
    #[serde(default)]
    pub crashes: Vec<(String, String)>,
    /// Nodes that stopped because their disk was full, which no fault had filled, with what they left to say.
    #[serde(default)]
    pub disk_full: Vec<(String, String)>,
}

/// What a run's hosts said besides, where they are others than the controller's: [`HOSTS_FILE`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostRecord {
    /// As `cluster.conf` calls it.
    pub name: String,
    /// The nodes on it.
    pub nodes: Vec<String>,
    /// Its clock beside the controller's, in the order of time.
    pub clock: Vec<ClockReading>,
    /// What its kernel counted over the run phase: name (as in `/proc`), how much it grew.
    pub counters: Vec<(String, u64)>,
    /// By what means faults came about there: fault, means.
    pub means: Vec<(String, String)>,
}

/// A host's clock at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReading {
    /// Nanoseconds since the run began, as in the history.
    pub at_ns: u64,
    /// How far it was ahead of the controller's, microseconds (negative: behind).
    pub offset_us: i64,
    /// The offset may be wrong by so much, microseconds.
    pub uncertainty_us: i64,
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
    /// Wall time from the begin of the run phase until load generation stopped, seconds: without draining, healing and
    /// settling. Rates and time without service are over this time. 0: not measured.
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
    /// The subject that ratios refer to.
    #[serde(default)]
    pub baseline: String,
    /// Folder names of the cells, below the comparison's.
    pub cells: Vec<String>,
    /// Cells that could not be run: folder name, reason.
    pub failed: BTreeMap<String, String>,
}

/// What may be said of a run: its checkers' verdict, but never that it is valid if it did not come to its end, or if
/// nothing was checked.
#[must_use]
pub fn judged(outcome: &RunOutcome, results: Option<&Results>) -> Verdict {
    let checked = results.filter(|results| !results.checks.is_empty());
    let verdict = checked.map_or(Verdict::Unknown, |results| results.verdict);
    if *outcome == RunOutcome::Completed { verdict } else { verdict.max(Verdict::Unknown) }
}

/// What a run's folder holds, as far as it could be read.
#[derive(Clone, Debug)]
pub struct StoredRun {
    /// `run.json`.
    pub info: RunInfo,
    /// `results.json`; `None` if the history was not checked.
    pub results: Option<Results>,
    /// `plan.yaml`; empty if there is none.
    pub plan: String,
    /// The history; empty if it cannot be read.
    pub history: History,
    /// `hosts.json`; empty if there is none, or it cannot be read.
    pub hosts: Vec<HostRecord>,
    /// What is missing or cut, in sentences for the top of the report.
    pub warnings: Vec<String>,
}

impl StoredRun {
    /// Reads a run's folder. What a failed run did not leave, or left broken, becomes a warning.
    ///
    /// # Errors
    /// If `run.json` cannot be read, or the plan cannot.
    pub fn load(dir: &Path) -> anyhow::Result<Self> {
        let info: RunInfo = read_json(&dir.join(RUN_FILE))?;
        let mut unread = Vec::new();
        let history = History::load(dir.join(HISTORY_FILE)).unwrap_or_else(|error| {
            unread.push(format!("The history cannot be read: {error}"));
            History::empty()
        });
        let results = read_optional(&dir.join(RESULTS_FILE), "The results cannot be read", &mut unread);
        let mut run = Self::new(dir, info, results, history)?;
        run.warnings.extend(unread);
        Ok(run)
    }

    /// A run that has just ended, and of which most is at hand.
    ///
    /// # Errors
    /// If the plan in its folder cannot be read.
    pub fn new(
        dir: &Path,
        info: RunInfo,
        results: Option<Results>,
        history: History,
    ) -> anyhow::Result<Self> {
        let mut warnings = Vec::new();
        match &info.outcome {
            RunOutcome::Completed => {}
            RunOutcome::Interrupted => {
                warnings.push("The run was interrupted; what there is was judged.".into());
            }
            RunOutcome::Failed(why) => warnings.push(format!("The harness failed: {why}")),
        }
        for (node, said) in &info.crashes {
            warnings.push(format!("{node} ended by itself: {said}"));
        }
        for (node, said) in &info.disk_full {
            warnings.push(format!("{node} stopped at a full disk that no fault had filled: {said}"));
        }
        for problem in &info.heal_problems {
            warnings.push(format!("Not seen to be healed: {problem}"));
        }
        for line in &info.left_out {
            warnings.push(format!("Left out of the nemesis: {line}"));
        }
        for problem in &info.not_collected {
            warnings.push(format!("Not collected: {problem}"));
        }
        if history.ending != Ending::Complete {
            warnings.push(format!("The history is {}", history.ending));
        }
        let hosts = read_optional(&dir.join(HOSTS_FILE), "What the hosts said cannot be read", &mut warnings);
        let plan = dir.join(PLAN_FILE);
        let plan = if plan.exists() {
            std::fs::read_to_string(&plan).with_context(|| format!("reading {}", plan.display()))?
        } else {
            String::new()
        };
        Ok(Self { info, results, plan, history, hosts: hosts.unwrap_or_default(), warnings })
    }
}

/// Reads a JSON file that need not be there. One that is broken becomes a warning that begins with `trouble`.
fn read_optional<T: DeserializeOwned>(path: &Path, trouble: &str, warnings: &mut Vec<String>) -> Option<T> {
    let read = path.exists().then(|| read_json(path)).transpose();
    read.unwrap_or_else(|error| {
        warnings.push(format!("{trouble}: {error:#}"));
        None
    })
}

/// Reads a JSON file.
///
/// # Errors
/// If it cannot be read, or is not what was expected.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("understanding {}", path.display()))
}

/// Writes a JSON file for people and programs.
///
/// # Errors
/// If it cannot be written.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value).context("our own types have JSON")?;
    bytes.push(b'\n');
    write_whole(path, &bytes)
}

/// Writes a file whole or not at all.
///
/// # Errors
/// If it cannot be written (a full disk, say).
pub fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let fresh = path.with_extension("tmp");
    let written = std::fs::write(&fresh, bytes).and_then(|()| std::fs::rename(&fresh, path));
    if written.is_err() {
        // On a full disk its part would take the room of something else.
        std::fs::remove_file(&fresh).ok();
    }
    written.with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_valid_that_was_not_checked_to_its_end() {
        let results = |verdict, checks| Results { verdict, checks };
        let check = |verdict| CheckResult::new("stats", verdict, 1, String::new());
        let (valid, invalid) = (check(Verdict::Valid), check(Verdict::Invalid));
        let (valid, invalid) =
            (results(Verdict::Valid, vec![valid]), results(Verdict::Invalid, vec![invalid]));
        let failed = RunOutcome::Failed("disk full".into());
        assert_eq!(judged(&RunOutcome::Completed, Some(&valid)), Verdict::Valid);
        assert_eq!(judged(&RunOutcome::Interrupted, Some(&valid)), Verdict::Unknown);
        assert_eq!(judged(&failed, Some(&valid)), Verdict::Unknown);
        assert_eq!(judged(&failed, Some(&invalid)), Verdict::Invalid);
        assert_eq!(judged(&RunOutcome::Completed, None), Verdict::Unknown);
        assert_eq!(judged(&RunOutcome::Completed, Some(&results(Verdict::Valid, vec![]))), Verdict::Unknown);
    }
}
