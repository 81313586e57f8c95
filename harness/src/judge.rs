//! Step 10 of a run, and `gauntlet check`: every judgement on what a run left in its folder.

use crate::plan::Plan;
use crate::store::HISTORY;
use anyhow::Context;
use checkers::faults::check_faults;
use checkers::history::{Ending, History, Phase};
use checkers::linearizability::{LinearizabilityOptions, check_append, check_linearizable};
use checkers::stats::{StatsLimits, check_stats};
use checkers::{CheckResult, Verdict};
use reports::stored::{RESULTS_FILE, RUN_FILE, Results, RunInfo, RunOutcome, read_json, write_json};
use std::path::Path;
use workloads::Spec;

/// Judges the run in `dir` and writes `results.json`.
///
/// # Errors
/// If the history or the run's description cannot be read, or the results cannot be written.
pub(crate) fn judge(dir: &Path) -> anyhow::Result<Results> {
    let plan = Plan::load(&dir.join("plan.yaml"))?;
    let info: RunInfo = read_json(&dir.join(RUN_FILE))?;
    let file = dir.join(HISTORY);
    let history = History::load(&file).with_context(|| format!("history {}", file.display()))?;
    let workload = plan.workloads.first().context("the plan has no workload")?;
    let limits = StatsLimits {
        ok_min_per_kind: plan.checks.ok_min_per_kind,
        expected_kinds: workload.expected_kinds(),
    };
    let mut checks = vec![check_run(&info, &history), check_stats(&history, &limits), check_faults(&history)];
    if plan.checks.consistency {
        checks.push(match workload {
            Spec::Register(_) | Spec::Ycsb(_) | Spec::Put(_) => {
                let memory_bytes_max = plan.checks.memory_mib_max << 20;
                check_linearizable(
                    &history,
                    &LinearizabilityOptions { deadline: plan.checks.deadline, memory_bytes_max },
                )
            }
            Spec::Append(_) => check_append(&history),
        });
    }
    let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Unknown);
    let results = Results { verdict, checks };
    write_json(&dir.join(RESULTS_FILE), &results)?;
    Ok(results)
}

/// Whether the run went through all its steps: its history is whole, no node died by itself, everything was healed and
/// read once more.
fn check_run(info: &RunInfo, history: &History) -> CheckResult {
    let mut unknown = Vec::new();
    if let Ending::Truncated { reason, .. } = &history.ending {
        unknown.push(format!("the history is truncated: {reason}"));
    }
    match &info.outcome {
        RunOutcome::Completed => {
            if !history.phases.iter().any(|(_, phase)| *phase == Phase::Final) {
                unknown.push("there was no final read".into());
            }
        }
        RunOutcome::Interrupted => unknown.push("the run was interrupted".into()),
        RunOutcome::Failed(why) => unknown.push(format!("the harness failed: {why}")),
    }
    unknown.extend(info.heal_problems.iter().map(|problem| format!("not healed: {problem}")));
    let crashes: Vec<_> =
        info.crashes.iter().map(|(node, words)| format!("{node} ended by itself: {words}")).collect();
    let (verdict, summary) = match (crashes.is_empty(), unknown.is_empty()) {
        (false, _) => (Verdict::Invalid, [crashes.as_slice(), unknown.as_slice()].concat().join("; ")),
        (true, false) => (Verdict::Unknown, unknown.join("; ")),
        (true, true) => (Verdict::Valid, "all steps were taken, all nodes lived, everything healed".into()),
    };
    let numbers =
        [("entries".to_string(), history.entries() as f64), ("crashes".to_string(), crashes.len() as f64)];
    CheckResult { checker: "run".into(), verdict, summary, numbers: numbers.into(), evidence: Vec::new() }
}
