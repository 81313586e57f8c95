//! Transactions on lists: what is wrong is found, told and shown; what is right is not accused.

use crate::support::build::{Written, history};
use checkers::history::{Answer, Call, MicroAnswer, MicroCall, Outcome};
use checkers::linearizability::check_append;
use checkers::verdict::{CheckResult, Evidence, Verdict, WINDOW_OPS_MAX};
use std::time::Duration;

/// A step of a transaction with its answer.
type Step = (MicroCall, MicroAnswer);

fn append(key: u64, value: u64) -> Step {
    (MicroCall::Append { key, value }, MicroAnswer::Done)
}

fn read(key: u64, list: &[u64]) -> Step {
    (MicroCall::ReadList { key }, MicroAnswer::List(list.to_vec()))
}

fn at(process: u32, invoked: u64, returned: u64, steps: Vec<Step>) -> Written {
    let (calls, answers) = steps.into_iter().unzip();
    (process, invoked, returned, Call::Txn(calls), Outcome::Ok(Answer::Txn(answers)))
}

fn unknown(txn: Written) -> Written {
    (txn.0, txn.1, txn.2, txn.3, Outcome::Info("timed out".to_string()))
}

fn failed(txn: Written) -> Written {
    (txn.0, txn.1, txn.2, txn.3, Outcome::Fail("aborted".to_string()))
}

fn judge(txns: impl IntoIterator<Item = Written>) -> CheckResult {
    check_append(&history(txns), Duration::from_secs(60))
}

fn caught(txns: impl IntoIterator<Item = Written>) -> Evidence {
    let result = judge(txns);
    assert_eq!(result.verdict, Verdict::Invalid, "{}", result.summary);
    assert!(result.summary.contains(&result.evidence[0].story), "{}", result.summary);
    for evidence in &result.evidence {
        for place in evidence.prefixes.first().into_iter().flatten() {
            assert!(evidence.window[*place as usize].state.is_some(), "{evidence:#?}");
        }
    }
    result.evidence[0].clone()
}

fn story(txns: impl IntoIterator<Item = Written>) -> String {
    caught(txns).story
}

fn culprits(evidence: &Evidence) -> Vec<String> {
    let culprits = evidence.window.iter().filter(|op| op.culprit);
    culprits.map(|op| format!("{}: {}", op.process, op.label)).collect()
}

#[test]
fn what_is_right_is_not_accused() {
    let result = judge([
        at(0, 0, 1, vec![append(1, 1), append(2, 1)]),
        at(1, 2, 5, vec![read(1, &[1]), append(1, 2), read(1, &[1, 2])]),
        failed(at(2, 2, 3, vec![append(1, 7)])),
        unknown(at(3, 2, 3, vec![append(2, 8), append(1, 8)])),
        at(4, 6, 7, vec![read(2, &[1, 8]), read(1, &[1, 2, 8])]),
        unknown(at(5, 6, 7, vec![append(1, 9)])),
    ]);
    assert_eq!(result.verdict, Verdict::Valid, "{}", result.summary);
    assert!(
        result.summary.contains("6 transactions on 2 lists are strictly serializable"),
        "{}",
        result.summary
    );
    assert_eq!(result.numbers["transactions_ok"], 3.0);
}

#[test]
fn an_acknowledged_append_that_a_later_read_misses_is_lost() {
    let evidence = caught([
        at(0, 0, 1, vec![append(3, 1)]),
        at(1, 2, 3, vec![append(3, 2)]),
        at(2, 4, 5, vec![read(3, &[1])]),
    ]);
    assert_eq!(
        evidence.story,
        "process 2 (4.000–5.000 ms) read key 3 without 2, although its append by process 1 had returned at 3.000 ms"
    );
    assert_eq!(evidence.object, "key 3");
    assert_eq!(culprits(&evidence), ["1: append 2", "2: read → [1]"]);
    assert_eq!(evidence.prefixes, [[0, 1]]);
    let states: Vec<_> = evidence.window.iter().map(|op| op.state.as_deref()).collect();
    assert_eq!(states, [Some("[1]"), Some("[1, 2]"), None]);
}

#[test]
fn elements_from_nowhere_aborted_and_doubled_are_told_apart() {
    let one = || at(0, 0, 1, vec![append(3, 1)]);
    assert_eq!(
        story([one(), at(2, 4, 5, vec![read(3, &[1, 9])])]),
        "process 2 (4.000–5.000 ms) read element 9 in key 3, but nobody ever appended it"
    );
    assert_eq!(
        story([one(), failed(at(1, 2, 3, vec![append(3, 9)])), at(2, 4, 5, vec![read(3, &[1, 9])])]),
        "process 2 (4.000–5.000 ms) read element 9 in key 3, but its append by process 1 (2.000–3.000 ms) failed"
    );
    assert_eq!(
        story([one(), at(2, 4, 5, vec![read(3, &[1, 1])])]),
        "process 2 (4.000–5.000 ms) read element 1 twice in key 3, but it was appended once"
    );
}

#[test]
fn orders_that_contradict_are_told() {
    let appends = || [at(0, 0, 9, vec![append(3, 1)]), at(1, 0, 9, vec![append(3, 2)])];
    let reads = [at(2, 4, 5, vec![read(3, &[1, 2])]), at(3, 4, 5, vec![read(3, &[2])])];
    let evidence = caught(appends().into_iter().chain(reads));
    assert_eq!(
        evidence.story,
        "process 3 (4.000–5.000 ms) and process 2 (4.000–5.000 ms) read key 3 differently from element number 1 on: \
         no order of appends explains both"
    );
    let back = [at(2, 4, 5, vec![read(3, &[1, 2])]), at(3, 6, 7, vec![read(3, &[1])])];
    assert_eq!(
        story(appends().into_iter().chain(back)),
        "process 3 (6.000–7.000 ms) read key 3 with 1 elements, although process 2, which read key 3 with 2 \
         elements, had returned at 5.000 ms"
    );
    let swapped = [
        at(2, 0, 1, vec![append(4, 1)]),
        at(2, 2, 3, vec![append(4, 2)]),
        at(3, 6, 7, vec![read(4, &[2, 1])]),
    ];
    assert_eq!(
        story(swapped),
        "process 2 (2.000–3.000 ms) appended 2 to key 4, as element number 1, although process 2, which appended 1 \
         to key 4, as element number 2, had returned at 1.000 ms"
    );
}

#[test]
fn transactions_that_are_not_whole_are_told() {
    let two = || at(0, 0, 9, vec![append(3, 1), append(3, 2)]);
    assert_eq!(
        story([two(), at(1, 1, 2, vec![read(3, &[1])])]),
        "process 0 (0.000–9.000 ms) appended 1 and 2 to key 3 at once, but process 1 (1.000–2.000 ms) saw 1 without \
         2 beside it"
    );
    assert_eq!(
        story([two(), at(1, 0, 9, vec![append(3, 7)]), at(1, 10, 11, vec![read(3, &[1, 7, 2])])]),
        "process 0 (0.000–9.000 ms) appended 1 and 2 to key 3 at once, but process 1 (10.000–11.000 ms) saw 1 \
         without 2 beside it"
    );
    assert_eq!(
        story([at(0, 0, 1, vec![append(3, 1), read(3, &[])])]),
        "process 0 (0.000–1.000 ms) read key 3 as [], but by its own steps before it should be [1]"
    );
}

#[test]
fn lost_updates_are_told() {
    let both_read_one = [
        at(0, 0, 1, vec![append(3, 1)]),
        at(1, 2, 9, vec![read(3, &[1]), append(3, 2)]),
        at(2, 2, 9, vec![read(3, &[1]), append(3, 3)]),
    ];
    assert_eq!(
        story(both_read_one.clone().into_iter().chain([at(4, 10, 11, vec![read(3, &[1, 2, 3])])])),
        "process 2 (2.000–9.000 ms) read key 3 and appended 3 to what it read, but 2, by process 1 (2.000–9.000 ms), \
         stands in between: an update was lost or overtaken"
    );
    assert_eq!(
        story(both_read_one),
        "process 1 (2.000–9.000 ms) and process 2 (2.000–9.000 ms) both read key 3 with 1 elements and appended to \
         it, and nobody saw either append (2 is one): an update was lost"
    );
}

#[test]
fn a_circle_through_two_lists_is_told_with_its_transactions() {
    // Write skew: each list is right by itself.
    let evidence = caught([
        at(0, 0, 9, vec![read(1, &[]), append(2, 1)]),
        at(1, 0, 9, vec![read(2, &[]), append(1, 1)]),
        at(2, 10, 11, vec![read(1, &[1]), read(2, &[1])]),
    ]);
    assert_eq!(evidence.object, "keys 1, 2");
    assert!(
        evidence.story.starts_with(
            "G2-item: each of these transactions must come before the next, and the last before the first: (1) "
        ),
        "{}",
        evidence.story
    );
    assert!(
        evidence.story.contains("T1 is process 0 at 0.000–9.000 ms: read 1 → []; append 1 to 2"),
        "{}",
        evidence.story
    );
    assert_eq!(culprits(&evidence), ["0: read 1 → []; append 1 to 2", "1: read 2 → []; append 1 to 1"]);
}

#[test]
fn real_time_across_lists_counts() {
    // Serializable, but the first transaction had returned before the second, which another saw alone, was invoked.
    let evidence = caught([
        at(0, 0, 1, vec![append(1, 1)]),
        at(1, 2, 3, vec![append(2, 1)]),
        at(2, 0, 9, vec![read(1, &[]), read(2, &[1])]),
    ]);
    assert!(evidence.story.contains("realtime"), "{}", evidence.story);
    assert_eq!(evidence.window.iter().filter(|op| op.culprit).count(), 3);
}

#[test]
fn nothing_to_judge_and_repeated_elements_are_unknown() {
    assert_eq!(judge([]).verdict, Verdict::Unknown);
    let registers = (MicroCall::Read { key: 1 }, MicroAnswer::Value(None));
    let result = judge([at(0, 0, 1, vec![registers])]);
    assert_eq!(result.verdict, Verdict::Unknown);
    assert!(result.summary.contains("1 steps on registers were not judged"), "{}", result.summary);
    let twice = judge([at(0, 0, 1, vec![append(1, 1)]), at(0, 2, 3, vec![append(1, 1)])]);
    assert_eq!(twice.verdict, Verdict::Unknown);
    assert!(twice.summary.contains("element 1 was appended to key 1 twice"), "{}", twice.summary);
}

#[test]
fn the_window_is_bounded_whatever_the_history() {
    let list = |length: u64| (1..=length).collect::<Vec<u64>>();
    let appends = (1..=1000u64).map(|n| at(n as u32 % 5, 10 * n, 10 * n + 4, vec![append(1, n)]));
    let reads = (1..=1000u64).map(|n| at(7, 10 * n + 5, 10 * n + 6, vec![read(1, &list(n))]));
    let stale = at(9, 5000, 5001, vec![read(1, &list(490))]);
    let evidence = caught(appends.chain(reads).chain([stale]));
    assert_eq!(evidence.window.len(), WINDOW_OPS_MAX);
    assert!(!evidence.prefixes.is_empty(), "{}", evidence.story);
    assert!(
        evidence.story.starts_with("process 9 (5 000.000–5 001.000 ms) read key 1 without 491"),
        "{}",
        evidence.story
    );
}

#[test]
fn a_check_that_runs_out_of_time_is_unknown() {
    let txns =
        || (0..5_000u64).map(|n| at(0, 2 * n, 2 * n + 1, vec![append(n / 10, n), append(1_000 + n / 10, n)]));
    let history = history(txns());
    let nothing = check_append(&history, Duration::ZERO);
    assert_eq!(nothing.verdict, Verdict::Unknown);
    assert_eq!(nothing.summary, "out of time with 0 of 1000 lists judged");
    // Wherever the time runs out, nothing passes before all was looked at.
    let judged = |time_us| check_append(&history, Duration::from_micros(time_us));
    let mut results = (0..).map(|doubled| judged(1 << doubled));
    let passed = results.by_ref().take(40).skip_while(|result| {
        assert!(
            result.verdict == Verdict::Valid || result.summary.contains("out of time"),
            "{}",
            result.summary
        );
        result.verdict == Verdict::Unknown
    });
    assert!(passed.into_iter().next().is_some(), "with time enough it is valid");
}
