//! Step 10 of a run, and `gauntlet check`: every judgement on what a run left in its folder.

use crate::checks::{self, Check, as_expected, check_consistency, guarded};
use crate::plan::Plan;
use crate::sim;
use crate::store::{HISTORY, STATUSES};
use crate::subject::ClientKind;
use anyhow::Context;
use checkers::digests::{Statuses, check_agreement};
use checkers::faults::check_faults;
use checkers::final_reads::unread;
use checkers::history::{Ending, History};
use checkers::stats::{StatsLimits, check_stats};
use checkers::{CheckResult, Verdict};
use reports::stored::{
    RESULTS_FILE, RUN_FILE, Results, RunInfo, RunOutcome, SIMULATED, read_json, write_json,
};
use std::collections::BTreeSet;
use std::path::Path;

/// Judges the run in `dir` and writes `results.json`.
///
/// # Errors
/// If the history or the run's description cannot be read, or the results cannot be written.
pub(crate) fn judge(dir: &Path) -> anyhow::Result<Results> {
    let plan = Plan::load(&dir.join("plan.yaml"))?;
    let info: RunInfo = read_json(&dir.join(RUN_FILE))?;
    if info.world == SIMULATED {
        let results = sim::judge_again(&plan)?;
        write_json(&dir.join(RESULTS_FILE), &results)?;
        return Ok(results);
    }
    Ok(judge_recorded(dir, &plan, &info)?.0)
}

/// Judges a run whose history is in `dir` and whose plan and description are at hand; writes `results.json`.
///
/// # Errors
/// If the history cannot be read, or the results cannot be written.
pub(crate) fn judge_recorded(dir: &Path, plan: &Plan, info: &RunInfo) -> anyhow::Result<(Results, History)> {
    let file = dir.join(HISTORY);
    let history = History::load(&file).with_context(|| format!("history {}", file.display()))?;
    let workload = plan.workloads.first().context("the plan has no workload")?;
    let limits = StatsLimits {
        ok_min_per_kind: plan.checks.ok_min_per_kind,
        ok_per_s_min: plan.checks.ok_per_s_min,
        expected_kinds: workload.expected_kinds(),
        came_to_its_end: info.outcome == RunOutcome::Completed,
    };
    let subject = plan.subjects.first().context("the plan has no subject")?;
    let statuses = read_json::<Statuses>(&dir.join(STATUSES));
    let reads_alone = subject.system.properties().client != ClientKind::Matching;
    let readers = match &statuses {
        Ok(statuses) if reads_alone && workload.reads_each_replica() => asked_in_the_end(statuses),
        Ok(_) | Err(_) => Vec::new(),
    };
    let mut checks = vec![
        guarded(Check::Run, || check_run(info, &history, &readers)),
        guarded(Check::Stats, || check_stats(&history, &limits)),
    ];
    let lines: BTreeSet<u32> =
        plan.schedule.iter().flatten().filter_map(|injection| injection.line).collect();
    let lines: Vec<u32> = lines.into_iter().collect();
    checks.extend(guarded(Check::Faults, || check_faults(&history, &lines)));
    if plan.checks.consistency {
        let promised = checks::consistency(subject.promise(), workload);
        checks.extend(promised.map(|check| {
            let found = check_with_clocks(&history, |history| {
                check_consistency(check, history, workload, &plan.checks)
            });
            as_expected(subject, found)
        }));
        if checks::compares_states(subject, info.replicas) {
            checks.extend(guarded(Check::Agreement, || agreement(&statuses, &history.liars)));
        }
    }
    let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Unknown);
    let results = Results { verdict, checks };
    write_json(&dir.join(RESULTS_FILE), &results)?;
    Ok((results, history))
}

/// A judgement on a history whose times may be off: what is wrong by what clocks said is invalid only if it is wrong however far off they
/// were, and otherwise unknown.
fn check_with_clocks(history: &History, check: impl Fn(&History) -> CheckResult) -> CheckResult {
    let told = check(history);
    if told.verdict != Verdict::Invalid || history.clock_uncertainty == 0 {
        return told;
    }
    let for_certain = check(&history.widened());
    let off = format!("clocks may be ±{:.3} ms off", history.clock_uncertainty as f64 / 1e6);
    let summary = match for_certain.verdict {
        Verdict::Invalid => {
            let words = "so it is although";
            let summary = format!("{}; {words} {off}, by which times here are widened", for_certain.summary);
            return CheckResult { summary, ..for_certain };
        }
        Verdict::Valid => format!("{}; but {off}, and nothing is wrong for certain", told.summary),
        Verdict::Unknown => {
            let words =
                format!("{}; but {off}, and whether it is wrong for certain is unknown", told.summary);
            format!("{words}: {}", for_certain.summary)
        }
    };
    CheckResult { verdict: Verdict::Unknown, summary, ..told }
}

/// Whether the replicas agreed on their states; `None` if there was one.
fn agreement(statuses: &anyhow::Result<Statuses>, liars: &[(u64, u32)]) -> Option<CheckResult> {
    match statuses {
        Ok(statuses) => check_agreement(statuses, liars),
        Err(error) => {
            let summary = format!("what replicas said of their states: {error:#}");
            Some(Check::Agreement.says(Verdict::Unknown, 0, summary))
        }
    }
}

/// The nodes that were members in the end, as far as they were asked for their states.
fn asked_in_the_end(statuses: &Statuses) -> Vec<u32> {
    let last = statuses.settled.iter().flat_map(|settled| &settled.last);
    last.filter_map(|sighting| sighting.node.strip_prefix('n')?.parse().ok()).collect()
}

/// Whether the run went through all its steps: its history is whole, no node died by itself, everything was healed and
/// read once more, by each of `readers`.
fn check_run(info: &RunInfo, history: &History, readers: &[u32]) -> CheckResult {
    let mut unknown = Vec::new();
    if let Ending::Truncated { reason, .. } = &history.ending {
        unknown.push(format!("the history is truncated: {reason}"));
    }
    match &info.outcome {
        RunOutcome::Completed => {
            unknown.extend(unread(history, readers));
        }
        RunOutcome::Interrupted => unknown.push("the run was interrupted".into()),
        RunOutcome::Failed(why) => unknown.push(format!("the harness failed: {why}")),
    }
    unknown.extend(info.heal_problems.iter().map(|problem| format!("not healed: {problem}")));
    // That nobody had planned: a node that cannot write does well to stop.
    unknown.extend(
        info.disk_full.iter().map(|(node, words)| format!("{node} stopped, its disk is full: {words}")),
    );
    let crashes: Vec<_> =
        info.crashes.iter().map(|(node, words)| format!("{node} ended by itself: {words}")).collect();
    let (verdict, summary) = match (crashes.is_empty(), unknown.is_empty()) {
        (false, _) => (Verdict::Invalid, [crashes.as_slice(), unknown.as_slice()].concat().join("; ")),
        (true, false) => (Verdict::Unknown, unknown.join("; ")),
        (true, true) => (Verdict::Valid, "all steps were taken, all nodes lived, everything healed".into()),
    };
    let numbers =
        [("entries".to_string(), history.entries() as f64), ("crashes".to_string(), crashes.len() as f64)];
    let steps = history.phases.len() as u64;
    CheckResult { numbers: numbers.into(), ..CheckResult::new("run", verdict, steps, summary) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Checks;
    use checkers::history::{Answer, Call, Entry, MicroAnswer, MicroCall, Outcome, Phase, ProcessId};
    use workloads::Spec;

    fn fine(check: Check) -> CheckResult {
        check.says(Verdict::Valid, 1, "all is well".into())
    }

    #[test]
    fn a_checker_that_panics_is_unknown_with_its_words_and_the_others_are_heard() {
        let checks = [
            guarded(Check::Run, || panic!("op 7 has no return")),
            guarded(Check::Stats, || panic!("{} is not {}", 1, 2)),
            guarded(Check::Faults, || std::panic::panic_any(7_u32)),
            guarded(Check::Set, || fine(Check::Set)),
        ];
        let words: Vec<_> = checks.iter().map(|check| (check.verdict, check.summary.as_str())).collect();
        assert_eq!(
            words,
            [
                (Verdict::Unknown, "the checker panicked: op 7 has no return"),
                (Verdict::Unknown, "the checker panicked: 1 is not 2"),
                (Verdict::Unknown, "the checker panicked: it did not say why"),
                (Verdict::Valid, "all is well"),
            ]
        );
    }

    #[test]
    fn what_only_clocks_can_explain_is_unknown_and_what_they_cannot_is_invalid() {
        const MS: u64 = 1_000_000;
        // One writes 1, then, a while after that was acknowledged, another reads that nothing was written.
        let read_after = |ms: u64| {
            let op = |process, from: u64, to: u64, call, answer| {
                let process = ProcessId(process);
                let invoke = Entry::Invoke { time: from, intended: from, process, to: None, call };
                [invoke, Entry::Return { time: to, process, by: Vec::new(), outcome: Outcome::Ok(answer) }]
            };
            let write = op(0, 10 * MS, 11 * MS, Call::Write { key: 1, value: 1 }, Answer::Done);
            let from = (11 + ms) * MS;
            let read = op(1, from, from + MS, Call::Read { key: 1 }, Answer::Value(None));
            History::from_entries([write, read].concat()).expect("they pair")
        };
        let judged = |ms: u64, clock_uncertainty: u64| {
            let history = History { clock_uncertainty, ..read_after(ms) };
            let spec = Spec::by_name("register").expect("there is one");
            let checks = Checks::default();
            check_with_clocks(&history, |history| {
                check_consistency(Check::Linearizability, history, &spec, &checks)
            })
        };
        assert_eq!(judged(1, 0).verdict, Verdict::Invalid);
        let unclear = judged(1, MS);
        assert_eq!(unclear.verdict, Verdict::Unknown, "{}", unclear.summary);
        assert!(unclear.summary.contains("clocks may be ±1.000 ms off"), "{}", unclear.summary);
        let certain = judged(4, MS);
        assert_eq!(certain.verdict, Verdict::Invalid, "{}", certain.summary);
        assert!(
            certain.summary.contains("so it is although clocks may be ±1.000 ms off"),
            "{}",
            certain.summary
        );
    }

    #[test]
    fn widened_transactions_of_one_client_are_not_mistaken_for_one_another() {
        // Two clients append and read one after the other without a pause; a third reads late what was there before: stale by less
        // than clocks may be off.
        let txn = |process: u32, from: u64, to: u64, steps: Vec<MicroCall>, answers: Vec<MicroAnswer>| {
            let process = ProcessId(process);
            let invoke =
                Entry::Invoke { time: from, intended: from, process, to: None, call: Call::Txn(steps) };
            [
                invoke,
                Entry::Return {
                    time: to,
                    process,
                    by: Vec::new(),
                    outcome: Outcome::Ok(Answer::Txn(answers)),
                },
            ]
        };
        let append = |process, from, to, key, value| {
            txn(process, from, to, vec![MicroCall::Append { key, value }], vec![MicroAnswer::Done])
        };
        let read = |process, from, to, key, list: Vec<u64>| {
            txn(process, from, to, vec![MicroCall::ReadList { key }], vec![MicroAnswer::List(list)])
        };
        let mut entries = Vec::new();
        for n in 1..=20_u64 {
            let at = n * 100;
            entries.extend(append(0, at, at + 49, 1, n));
            entries.extend(read(0, at + 50, at + 99, 1, (1..=n).collect()));
        }
        // Append 20 was acknowledged at 2049.
        entries.extend(read(1, 2_060, 2_090, 1, (1..=19).collect()));
        entries.sort_by_key(|entry| match entry {
            Entry::Invoke { time, .. } => (*time, 1),
            Entry::Return { time, .. } => (*time, 0),
            Entry::Phase { .. }
            | Entry::Fault { .. }
            | Entry::Clocks { .. }
            | Entry::Hostile { .. }
            | Entry::Liar { .. } => (0, 0),
        });
        let history = History::from_entries(entries).expect("they pair");
        let spec = Spec::by_name("append").expect("there is one");
        let judged = |clock_uncertainty| {
            let history = History { clock_uncertainty, ..history.clone() };
            let checks = Checks::default();
            check_with_clocks(&history, |history| check_consistency(Check::Append, history, &spec, &checks))
        };
        assert_eq!(judged(0).verdict, Verdict::Invalid);
        assert_eq!(judged(2).verdict, Verdict::Invalid, "{}", judged(2).summary);
        assert_eq!(judged(60).verdict, Verdict::Unknown, "{}", judged(60).summary);
    }

    fn info() -> RunInfo {
        let run = include_str!("../tests/data/run.json");
        serde_json::from_str(run).expect("a run's description")
    }

    /// Phases in each of which one register is read.
    fn phases(phases: &[Phase]) -> History {
        read_in(phases, &Outcome::Ok(Answer::Value(None)))
    }

    fn read_in(phases: &[Phase], outcome: &Outcome) -> History {
        let entries = (0..).zip(phases).flat_map(|(time, phase)| {
            let process = ProcessId(u32::try_from(time).expect("a few"));
            [
                Entry::Phase { time, phase: *phase },
                Entry::Invoke { time, intended: time, process, to: None, call: Call::Read { key: 1 } },
                Entry::Return { time, process, by: Vec::new(), outcome: outcome.clone() },
            ]
        });
        History::from_entries(entries).expect("they pair")
    }

    #[test]
    fn final_reads_that_nobody_answered_are_none() {
        let all = [Phase::Run, Phase::Final];
        let lost = read_in(&all, &Outcome::Info("timed out".into()));
        let result = check_run(&info(), &lost, &[]);
        assert_eq!(
            (result.verdict, result.summary.as_str()),
            (Verdict::Unknown, "1 of 1 final reads were never answered")
        );
        let again = read_in(&[Phase::Final], &Outcome::Ok(Answer::Value(None)));
        let again = History { ops: [lost.ops.as_slice(), &again.ops].concat(), ..lost };
        assert_eq!(check_run(&info(), &again, &[]).verdict, Verdict::Valid, "another client was answered");
        let nothing = History { ops: Vec::new(), ..again };
        assert_eq!(check_run(&info(), &nothing, &[]).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_run_without_its_final_heal_or_its_final_reads_is_unknown() {
        let all = [Phase::Load, Phase::Run, Phase::Final];
        assert_eq!(check_run(&info(), &phases(&all), &[]).verdict, Verdict::Valid);
        let unread = check_run(&info(), &phases(&all[..2]), &[]);
        assert_eq!((unread.verdict, unread.summary.as_str()), (Verdict::Unknown, "there was no final read"));
        let unhealed = RunInfo { heal_problems: vec!["n2 is still paused".into()], ..info() };
        let unhealed = check_run(&unhealed, &phases(&all), &[]);
        assert_eq!(
            (unhealed.verdict, unhealed.summary.as_str()),
            (Verdict::Unknown, "not healed: n2 is still paused")
        );
    }

    #[test]
    fn a_run_that_did_not_come_to_its_end_is_unknown_and_one_whose_node_crashed_invalid() {
        let all = phases(&[Phase::Load, Phase::Run, Phase::Final]);
        for outcome in [RunOutcome::Interrupted, RunOutcome::Failed("no disk".into())] {
            let run = RunInfo { outcome, ..info() };
            assert_eq!(check_run(&run, &all, &[]).verdict, Verdict::Unknown);
        }
        let crashed = RunInfo { crashes: vec![("n1".into(), "signal 11".into())], ..info() };
        let result = check_run(&crashed, &all, &[]);
        assert_eq!(
            (result.verdict, result.summary.as_str()),
            (Verdict::Invalid, "n1 ended by itself: signal 11")
        );
        let crashes = vec![("n1".into(), "writing the journal: No space left on device".into())];
        let full = check_run(&RunInfo { disk_full: crashes, ..info() }, &all, &[]);
        assert_eq!(full.verdict, Verdict::Unknown, "the machine's disk is not the system's fault");
        let cut = History { ending: Ending::Truncated { entries: 3, reason: "it is cut".into() }, ..all };
        assert_eq!(check_run(&info(), &cut, &[]).verdict, Verdict::Unknown);
    }

    #[test]
    fn what_replicas_said_of_their_states_is_missing_is_unknown() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let agreement = || agreement(&read_json(&dir.path().join(STATUSES)), &[]).expect("a row").verdict;
        assert_eq!(agreement(), Verdict::Unknown);
        std::fs::write(dir.path().join(STATUSES), "{}").expect("the folder is writable");
        assert_eq!(agreement(), Verdict::Unknown, "a file that is none");
        write_json(&dir.path().join(STATUSES), &Statuses::default()).expect("the folder is writable");
        assert_eq!(agreement(), Verdict::Unknown, "nobody was asked");
    }
}
