//! Whether a run did what it was for: every kind of op succeeded, and no answer was garbage.

use crate::evidence::{View, choose, interval, label, window};
use crate::history::{Answer, Call, Ending, History, Op, OpKind, Outcome, Phase};
use crate::verdict::{CheckResult, Evidence, Verdict};
use std::collections::BTreeMap;

/// What a run must have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsLimits {
    /// How many ops of each kind must have succeeded in the run phase.
    pub ok_min_per_kind: u64,
    /// The kinds that the workload issues. A kind that was issued in the run phase is judged in any case.
    pub expected_kinds: Vec<OpKind>,
}

impl Default for StatsLimits {
    fn default() -> Self {
        Self { ok_min_per_kind: 1, expected_kinds: Vec::new() }
    }
}

/// The most corrupt answers that are shown.
const EVIDENCE_MAX: usize = 3;

/// How the ops of one kind, or of one phase, ended.
#[derive(Clone, Copy, Default)]
struct Tally {
    /// Took effect; of cas: those that swapped.
    ok: u64,
    /// Cas that found another value.
    refused: u64,
    fail: u64,
    info: u64,
    corrupt: u64,
}

impl Tally {
    fn count(&mut self, op: &Op) {
        match &op.outcome {
            Outcome::Ok(Answer::Corrupt(_)) => self.corrupt += 1,
            Outcome::Ok(Answer::Swapped(false)) => self.refused += 1,
            Outcome::Ok(_) => self.ok += 1,
            Outcome::Fail(_) => self.fail += 1,
            Outcome::Info(_) => self.info += 1,
        }
    }

    fn report(self, name: &str, numbers: &mut BTreeMap<String, f64>) {
        let counts = [("ok", self.ok), ("fail", self.fail), ("info", self.info)];
        let rare = [("refused", self.refused), ("corrupt", self.corrupt)].into_iter().filter(|(_, n)| *n > 0);
        for (outcome, count) in counts.into_iter().chain(rare) {
            numbers.insert(format!("{name}_{outcome}"), count as f64);
        }
    }
}

/// Judges counts. Invalid if the run phase is empty, if a kind succeeded less often than it must, or if any answer of
/// the whole history is corrupt. A cas that is refused counts for itself: it succeeded only if it swapped.
///
/// Numbers: `read_ok`, `read_fail`, `read_info`, … of the run phase, `cas_refused`, `read_corrupt`, … where there are any, and
/// `load_ok`, `run_ok`, `final_ok`, … of all kinds together.
#[must_use]
pub fn check_stats(history: &History, limits: &StatsLimits) -> CheckResult {
    let mut kinds: BTreeMap<OpKind, Tally> = BTreeMap::new();
    let mut phases: BTreeMap<Phase, Tally> = BTreeMap::new();
    for kind in &limits.expected_kinds {
        kinds.insert(*kind, Tally::default());
    }
    for op in &history.ops {
        phases.entry(op.phase).or_default().count(op);
        if op.phase == Phase::Run {
            kinds.entry(op.call.kind()).or_default().count(op);
        }
    }
    let mut numbers = BTreeMap::new();
    for (kind, tally) in &kinds {
        tally.report(&kind.name().replace('-', "_"), &mut numbers);
    }
    for (phase, tally) in &phases {
        let name = match phase {
            Phase::Load => "load",
            Phase::Run => "run",
            Phase::Final => "final",
        };
        tally.report(name, &mut numbers);
    }

    let mut faults = Vec::new();
    if !phases.contains_key(&Phase::Run) {
        faults.push("no op was issued in the run phase".to_string());
    }
    for (kind, tally) in &kinds {
        if tally.ok < limits.ok_min_per_kind {
            let (name, least) = (kind.name(), limits.ok_min_per_kind);
            faults.push(format!("{} of {name} succeeded in the run phase, at least {least} must", tally.ok));
        }
    }
    let corrupt: Vec<u32> =
        (0..).zip(&history.ops).filter(|(_, op)| is_corrupt(op)).map(|(at, _)| at).collect();
    if !corrupt.is_empty() {
        faults.push(format!("{} answers are corrupt", corrupt.len()));
    }
    let summary = if faults.is_empty() {
        let run = phases.get(&Phase::Run).copied().unwrap_or_default();
        let of = run.ok + run.refused + run.fail + run.info;
        format!("{} of {of} ops of the run phase succeeded, {} are unknown", run.ok, run.info)
    } else {
        faults.join("; ")
    };
    CheckResult {
        checker: "stats".to_string(),
        verdict: if faults.is_empty() { Verdict::Valid } else { Verdict::Invalid },
        summary: with_ending(summary, &history.ending),
        numbers,
        evidence: corrupt.iter().take(EVIDENCE_MAX).map(|op| corrupt_evidence(history, *op)).collect(),
    }
}

/// A summary that says so if the history was cut.
fn with_ending(summary: String, ending: &Ending) -> String {
    match ending {
        Ending::Complete => summary,
        Ending::Truncated { entries, .. } => {
            format!("{summary} (the history is cut after {entries} entries)")
        }
    }
}

fn is_corrupt(op: &Op) -> bool {
    matches!(op.outcome, Outcome::Ok(Answer::Corrupt(_)))
}

fn corrupt_evidence(history: &History, culprit: u32) -> Evidence {
    let op = &history.ops[culprit as usize];
    let key = key_of(&op.call);
    let same = (0..).zip(&history.ops).filter(|(_, op)| key_of(&op.call) == key);
    let object: Vec<u32> = same.map(|(at, _)| at).collect();
    let chosen = choose(&history.ops, &object, &[culprit], &[]);
    let object = key.map_or_else(|| "transactions".to_string(), |key| format!("key {key}"));
    Evidence {
        story: format!(
            "process {} got an answer from {object} that nobody can have written: {} ({})",
            op.process,
            label(op, View::Whole),
            interval(op)
        ),
        object,
        window: window(&history.ops, &chosen, &[culprit], View::Whole),
        prefixes: Vec::new(),
    }
}

/// The key of a call that has but one.
fn key_of(call: &Call) -> Option<u64> {
    match call {
        Call::Read { key }
        | Call::Write { key, .. }
        | Call::Cas { key, .. }
        | Call::Insert { key, .. }
        | Call::Update { key, .. }
        | Call::ReadRecord { key }
        | Call::Scan { key, .. }
        | Call::ReadModifyWrite { key, .. } => Some(*key),
        Call::Txn(_) => None,
    }
}
