//! Whether a run did what it was for: every kind of op succeeded, and no answer was garbage.

use crate::evidence::{View, choose, interval, label, window};
use crate::history::{Answer, Call, Ending, History, Op, OpKind, Outcome, Phase};
use crate::hostile;
use crate::verdict::{CheckResult, Evidence, Verdict};
use std::collections::BTreeMap;

/// What a run must have done.
#[derive(Clone, Debug, PartialEq)]
pub struct StatsLimits {
    /// How many ops of each kind must have succeeded in the run phase.
    pub ok_min_per_kind: u64,
    /// How many ops, of whatever kind, must have been answered a second of the run phase.
    pub ok_per_s_min: f64,
    /// The kinds that the workload issues. A kind that was issued in the run phase is judged in any case.
    pub expected_kinds: Vec<OpKind>,
    /// Whether the run came to its end. Of one that was stopped, or that the harness could not go on with, it is not the
    /// system's fault that little was done.
    pub came_to_its_end: bool,
}

impl Default for StatsLimits {
    fn default() -> Self {
        Self { ok_min_per_kind: 1, ok_per_s_min: 0.0, expected_kinds: Vec::new(), came_to_its_end: true }
    }
}

/// The most corrupt answers that are shown.
const EVIDENCE_MAX: usize = 3;

/// How the ops of one kind, or of one phase, ended.
#[derive(Clone, Copy, Default)]
struct Tally {
    /// Answered, refused cas among them.
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
            Outcome::Ok(answer) => {
                self.ok += 1;
                self.refused += u64::from(*answer == Answer::Swapped(false));
            }
            Outcome::Fail(_) => self.fail += 1,
            Outcome::Info(_) => self.info += 1,
        }
    }

    /// Those that did what they were asked for.
    fn effective(self) -> u64 {
        self.ok - self.refused
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
/// the whole history is corrupt. A cas that is refused was answered, and counts as ok, but not as one that succeeded. Unknown if
/// less was answered a second than [`StatsLimits::ok_per_s_min`], or if too little succeeded in a run that did not come to its end
/// or whose history is cut. Ops of hostile processes do not count.
///
/// Numbers: `read_ok`, `read_fail`, `read_info`, … of the run phase, `cas_refused` (of `cas_ok`), `read_corrupt`, … where there are any, and
/// `load_ok`, `run_ok`, `final_ok`, … of all kinds together.
#[must_use]
pub fn check_stats(history: &History, limits: &StatsLimits) -> CheckResult {
    let mut kinds: BTreeMap<OpKind, Tally> = BTreeMap::new();
    let mut phases: BTreeMap<Phase, Tally> = BTreeMap::new();
    for kind in &limits.expected_kinds {
        kinds.insert(*kind, Tally::default());
    }
    for op in history.ops.iter().filter(|op| !op.is_hostile) {
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

    let mut lacking = Vec::new();
    if !phases.contains_key(&Phase::Run) {
        lacking.push("no op was issued in the run phase".to_string());
    }
    for (kind, tally) in &kinds {
        if tally.effective() < limits.ok_min_per_kind {
            let (name, least, count) = (kind.name(), limits.ok_min_per_kind, tally.effective());
            lacking.push(format!("{count} of {name} succeeded in the run phase, at least {least} must"));
        }
    }
    let corrupt: Vec<u32> =
        (0..).zip(&history.ops).filter(|(_, op)| is_corrupt(op)).map(|(at, _)| at).collect();
    let run = phases.get(&Phase::Run).copied().unwrap_or_default();
    let is_whole = limits.came_to_its_end && history.ending == Ending::Complete;
    let mut verdict = match (lacking.is_empty(), is_whole) {
        (true, _) => Verdict::Valid,
        (false, true) => Verdict::Invalid,
        (false, false) => Verdict::Unknown,
    };
    let mut words = lacking;
    if !corrupt.is_empty() {
        verdict = Verdict::Invalid;
        words.push(format!("{} answers are corrupt", corrupt.len()));
    }
    if words.is_empty()
        && let Some(why) = too_slow(history, run.ok, limits.ok_per_s_min)
    {
        verdict = Verdict::Unknown;
        words.push(why);
    }
    let summary = if words.is_empty() { answered(run) } else { words.join("; ") };
    let evidence = corrupt.iter().take(EVIDENCE_MAX).map(|op| corrupt_evidence(history, *op)).collect();
    let summary = hostile::said(with_ending(summary, &history.ending), history);
    let judged = history.ops.iter().filter(|op| !op.is_hostile).count() as u64;
    CheckResult { numbers, evidence, ..CheckResult::new("stats", verdict, judged, summary) }
}

fn answered(run: Tally) -> String {
    let of = run.ok + run.fail + run.info;
    let refused = match run.refused {
        0 => String::new(),
        refused => format!(" ({refused} cas were refused)"),
    };
    format!("{} of {of} ops of the run phase were answered{refused}, {} are unknown", run.ok, run.info)
}

/// Why the run phase says little, if less was answered in it than should have been.
fn too_slow(history: &History, ok: u64, ok_per_s_min: f64) -> Option<String> {
    let begin = history.phases.iter().find(|(_, phase)| *phase == Phase::Run).map_or(0, |(time, _)| *time);
    let in_run = history.ops.iter().filter(|op| op.phase == Phase::Run && !op.is_hostile);
    let end = in_run.map(|op| op.returned.unwrap_or(op.invoked)).max().unwrap_or(begin);
    let length_s = end.saturating_sub(begin) as f64 / 1e9;
    let is_slow = (ok as f64) < ok_per_s_min * length_s;
    is_slow.then(|| {
        format!(
            "{ok} ops were answered in {length_s:.1} s of the run phase, fewer than {ok_per_s_min} a second: that says \
             little"
        )
    })
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
    !op.is_hostile && matches!(op.outcome, Outcome::Ok(Answer::Corrupt(_)))
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
