//! An empty run, a kind that never succeeds and a corrupt answer do not pass.

use crate::support::build::{at, cas, failed, history, phased, read, unknown, write};
use checkers::history::{Answer, Call, Ending, History, OpKind, Outcome, Phase};
use checkers::stats::{StatsLimits, check_stats};
use checkers::verdict::{CheckResult, Verdict, WINDOW_OPS_MAX};

fn limits(kinds: &[OpKind]) -> StatsLimits {
    StatsLimits { ok_min_per_kind: 1, expected_kinds: kinds.to_vec(), ..StatsLimits::default() }
}

fn number(result: &CheckResult, name: &str) -> f64 {
    *result.numbers.get(name).unwrap_or_else(|| panic!("{name} is not in {:?}", result.numbers))
}

#[test]
fn a_run_of_which_every_kind_succeeded_is_valid_and_counted() {
    let history = phased([
        (Phase::Load, vec![at(0, 0, 1, write(1, 1))]),
        (
            Phase::Run,
            vec![
                at(0, 2, 3, write(1, 2)),
                at(1, 2, 3, read(1, 1)),
                at(2, 2, 3, unknown(read(1, 1))),
                at(3, 2, 3, failed(read(1, 1))),
                at(4, 4, 5, cas(1, 2, 3, true)),
                at(5, 6, 7, cas(1, 2, 4, false)),
            ],
        ),
        (Phase::Final, vec![at(0, 8, 9, read(1, 3))]),
    ]);
    let result = check_stats(&history, &limits(&[OpKind::Read, OpKind::Write, OpKind::Cas]));
    assert_eq!(result.verdict, Verdict::Valid, "{}", result.summary);
    for (name, count) in [
        ("read_ok", 1.0),
        ("read_info", 1.0),
        ("read_fail", 1.0),
        ("write_ok", 1.0),
        ("cas_ok", 2.0),
        ("cas_refused", 1.0),
        ("load_ok", 1.0),
        ("final_ok", 1.0),
        ("run_ok", 4.0),
        ("run_refused", 1.0),
    ] {
        assert_eq!(number(&result, name), count, "{name}");
    }
    assert_eq!(
        result.summary,
        "4 of 6 ops of the run phase were answered (1 cas were refused), 1 are unknown"
    );
}

#[test]
fn a_kind_that_never_succeeded_in_the_run_phase_is_invalid() {
    let ops = [at(0, 0, 1, write(1, 2)), at(1, 2, 3, unknown(read(1, 2)))];
    let result = check_stats(&history(ops.clone()), &limits(&[OpKind::Write]));
    assert_eq!(result.verdict, Verdict::Invalid, "read was issued, so it is judged");
    assert_eq!(result.summary, "0 of read succeeded in the run phase, at least 1 must");
    let result = check_stats(&history(ops), &limits(&[OpKind::Cas]));
    assert!(result.summary.starts_with("0 of read succeeded"), "{}", result.summary);
    assert!(result.summary.contains("; 0 of cas succeeded"), "{}", result.summary);
    assert_eq!(number(&result, "cas_ok"), 0.0);
}

#[test]
fn what_succeeds_in_other_phases_does_not_count() {
    let history = phased([
        (Phase::Load, vec![at(0, 0, 1, write(1, 1))]),
        (Phase::Run, vec![at(0, 2, 3, failed(write(1, 2)))]),
        (Phase::Final, vec![at(0, 4, 5, write(1, 3))]),
    ]);
    assert_eq!(check_stats(&history, &limits(&[])).verdict, Verdict::Invalid);
}

#[test]
fn a_refused_cas_is_not_a_success() {
    let result = check_stats(&history([at(0, 0, 1, cas(1, 2, 3, false))]), &limits(&[OpKind::Cas]));
    assert_eq!(result.verdict, Verdict::Invalid);
}

#[test]
fn the_minimum_is_honoured() {
    let history = history((0..5).map(|n| at(0, 2 * n, 2 * n + 1, write(1, n))));
    let at_least = |ok_min_per_kind| StatsLimits { ok_min_per_kind, ..limits(&[OpKind::Write]) };
    assert_eq!(check_stats(&history, &at_least(5)).verdict, Verdict::Valid);
    assert_eq!(check_stats(&history, &at_least(6)).verdict, Verdict::Invalid);
}

#[test]
fn a_run_in_which_hardly_anything_was_answered_is_unknown() {
    // Eleven writes in 100 s.
    let ops = (0..11).map(|n| at(0, 10_000 * n, 10_000 * n + 1, write(1, n)));
    let history = phased([(Phase::Run, ops.collect())]);
    let at_least = |ok_per_s_min| StatsLimits { ok_per_s_min, ..limits(&[OpKind::Write]) };
    assert_eq!(check_stats(&history, &at_least(0.1)).verdict, Verdict::Valid);
    let result = check_stats(&history, &at_least(0.2));
    assert_eq!(result.verdict, Verdict::Unknown);
    assert!(result.summary.starts_with("11 ops were answered in 100.0 s"), "{}", result.summary);
    // A kind that never succeeded is worse.
    let limits = StatsLimits { ok_per_s_min: 0.2, ..limits(&[OpKind::Cas]) };
    assert_eq!(check_stats(&history, &limits).verdict, Verdict::Invalid);
}

#[test]
fn an_empty_run_is_invalid() {
    assert_eq!(check_stats(&history([]), &StatsLimits::default()).verdict, Verdict::Invalid);
    let loaded = phased([(Phase::Load, vec![at(0, 0, 1, write(1, 1))])]);
    let result = check_stats(&loaded, &StatsLimits::default());
    assert_eq!(result.verdict, Verdict::Invalid);
    assert_eq!(result.summary, "no op was issued in the run phase");
}

#[test]
fn a_corrupt_answer_is_invalid_in_any_phase_and_shown() {
    let mut ops: Vec<_> = (0..1000).map(|n| at(n as u32 % 3, 2 * n, 2 * n + 1, write(n % 2, n))).collect();
    let garbage = Outcome::Ok(Answer::Corrupt("seven bytes".to_string()));
    ops.push((9, 1000, 1003, Call::Read { key: 1 }, garbage));
    let history = phased([(Phase::Run, ops), (Phase::Final, vec![at(0, 3000, 3001, read(1, 999))])]);
    let result = check_stats(&history, &limits(&[OpKind::Write]));
    assert_eq!(result.verdict, Verdict::Invalid);
    assert_eq!(number(&result, "read_corrupt"), 1.0);
    let [evidence] = &result.evidence[..] else { panic!("{:?}", result.evidence) };
    assert_eq!(
        evidence.story,
        "process 9 got an answer from key 1 that nobody can have written: read → corrupt: seven bytes \
         (1 000.000–1 003.000 ms)"
    );
    assert_eq!(evidence.window.len(), WINDOW_OPS_MAX);
    let culprits: Vec<_> = evidence.window.iter().filter(|op| op.culprit).collect();
    assert!(culprits.len() == 1 && culprits[0].process == 9);
}

#[test]
fn a_run_that_did_not_come_to_its_end_is_not_blamed_for_what_it_did_not_do() {
    let limits = StatsLimits { came_to_its_end: false, ..limits(&[OpKind::Write]) };
    let nothing = check_stats(&history([]), &limits);
    assert_eq!(nothing.verdict, Verdict::Unknown);
    assert!(nothing.summary.contains("no op was issued"), "{}", nothing.summary);
    let cut = Ending::Truncated { entries: 0, reason: "it is cut".to_string() };
    let cut = History { ending: cut, ..history([]) };
    assert_eq!(check_stats(&cut, &StatsLimits::default()).verdict, Verdict::Unknown);
    let garbage = Outcome::Ok(Answer::Corrupt("7 bytes".to_string()));
    let corrupt = check_stats(&history([(0, 0, 1, Call::Read { key: 1 }, garbage)]), &limits);
    assert_eq!(corrupt.verdict, Verdict::Invalid, "an answer that nobody can have given is one in any run");
}
