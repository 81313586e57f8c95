//! One simulated run: a resolved cell in, what it showed out. It reads and writes no file, and knows neither the store nor the command line.
//!
//! | file | concept |
//! |---|---|
//! | `mod.rs` | [`simulate`] and [`Simulated`], what a run showed |
//! | `run.rs` | a run, from start to end |
//! | `settings.rs` | what a resolved plan means for the cluster and its clients |
//! | `clients.rs` | logical clients: real client cores under real generators |
//! | `conclude.rs` | every judgement on what a run left |

mod clients;
mod conclude;
mod run;
mod settings;

pub(crate) use run::Run;

use super::storm::Bites;
use crate::checks::Check;
use crate::plan::Cell;
use checkers::digests::Statuses;
use checkers::history::{Entry, OpKind, ProcessId};
use checkers::{CheckResult, Verdict};
use protocol::{ClientId, Detector, Time};
use sim::TraceEvent;
use std::collections::BTreeMap;
use std::time::Duration;

/// Runs a resolved cell in virtual time. `in_words`: for the diagram.
///
/// # Errors
/// If the subject cannot be simulated.
pub(crate) fn simulate(cell: &Cell, in_words: bool) -> anyhow::Result<Simulated> {
    cell.subject().system.simulate(cell, in_words)
}

/// What a seed showed.
#[derive(Debug)]
pub(crate) struct Simulated {
    pub(crate) checks: Vec<CheckResult>,
    /// What was found wrong, by which kind of evidence, in the order in which it was found.
    pub(crate) accusations: Vec<Accusation>,
    /// Of a control: what was found of that which it is expected not to keep.
    pub(crate) control: Option<Verdict>,
    pub(crate) workload: &'static str,
    /// How many operations of each kind were answered in the run phase.
    pub(crate) answered: BTreeMap<OpKind, u64>,
    /// The history.
    pub(crate) entries: Vec<Entry>,
    /// What replicas said of their states.
    pub(crate) statuses: Statuses,
    /// All that happened, if it was asked for in words.
    pub(crate) events: Vec<TraceEvent>,
    /// Which process of the history a client of those events is.
    pub(crate) processes: BTreeMap<ClientId, ProcessId>,
    pub(crate) bites: BTreeMap<String, Bites>,
    pub(crate) reached: BTreeMap<&'static str, u64>,
    pub(crate) fingerprint: u64,
    pub(crate) messages: u64,
    pub(crate) ops: u64,
    pub(crate) ok: u64,
    /// How long it took, virtual.
    pub(crate) virtual_time: Duration,
}

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accusation {
    /// The kinds of evidence that it may pass for.
    pub(crate) detectors: Vec<Detector>,
    /// Which check says so.
    pub(crate) check: Check,
    /// In words.
    pub(crate) what: String,
    /// When it was found, virtual, if it was before the end.
    pub(crate) at: Option<Time>,
}

impl Accusation {
    /// What a check of all that a run left says.
    fn by(check: Check, result: &CheckResult) -> Self {
        Self { detectors: check.detectors().to_vec(), check, what: result.summary.clone(), at: None }
    }
}

impl Simulated {
    /// The worst of all checks.
    pub(crate) fn verdict(&self) -> Verdict {
        self.checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Unknown)
    }

    /// Whether this seed did not break a control and nothing else is to be said of it: others may.
    pub(crate) fn only_leaves_a_control_unbroken(&self) -> bool {
        let unknown = self.checks.iter().filter(|check| check.verdict != Verdict::Valid).count();
        self.control == Some(Verdict::Valid) && self.verdict() == Verdict::Unknown && unknown == 1
    }
}
