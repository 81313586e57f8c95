//! Registers and records: what is wrong is found, told and shown; what is right is not accused.

use crate::support::build::{MS, Written, at, cas, failed, history, read, unknown, write};
use crate::support::simulate::{Simulation, simulate};
use checkers::history::{Answer, Call, History, MicroCall, Outcome};
use checkers::linearizability::{LinearizabilityOptions, check_linearizable};
use checkers::verdict::{CheckResult, Evidence, Verdict, WINDOW_OPS_MAX};
use std::time::Duration;

fn judge(ops: impl IntoIterator<Item = Written>) -> CheckResult {
    check_linearizable(&history(ops), &LinearizabilityOptions::default())
}

/// The only piece of evidence that ops are not linearizable; its prefixes are checked.
fn caught(ops: impl IntoIterator<Item = Written>) -> Evidence {
    let result = judge(ops);
    assert_eq!(result.verdict, Verdict::Invalid, "{}", result.summary);
    let [evidence] = &result.evidence[..] else { panic!("{:?}", result.evidence) };
    check_prefixes(evidence);
    assert!(result.summary.contains(&evidence.story));
    evidence.clone()
}

/// Prefixes keep real time, and the first has its states.
fn check_prefixes(evidence: &Evidence) {
    for prefix in &evidence.prefixes {
        let mut latest = 0;
        for place in prefix {
            let op = &evidence.window[*place as usize];
            latest = latest.max(op.invoked);
            assert!(op.returned.is_none_or(|returned| latest <= returned), "{evidence:#?}");
        }
    }
    for place in evidence.prefixes.first().into_iter().flatten() {
        assert!(evidence.window[*place as usize].state.is_some(), "{evidence:#?}");
    }
}

fn culprits(evidence: &Evidence) -> Vec<String> {
    let culprits = evidence.window.iter().filter(|op| op.culprit);
    culprits.map(|op| format!("{}: {}", op.process, op.label)).collect()
}

#[test]
fn a_stale_read_is_told_with_the_write_that_it_missed() {
    let evidence = caught([
        at(0, 0, 1, write(3, 41)),
        at(2, 2, 12_001, write(3, 42)),
        at(7, 12_034, 12_035, read(3, 41)),
        at(8, 12_036, 12_037, read(3, 42)),
    ]);
    assert_eq!(evidence.object, "key 3");
    assert_eq!(
        evidence.story,
        "process 7 read 41 from key 3 at 12 034.000–12 035.000 ms, although process 2's write of 42 had been \
         acknowledged at 12 001.000 ms and was invoked only at 2.000 ms, after process 0's write of 41 had been \
         acknowledged at 1.000 ms"
    );
    assert_eq!(culprits(&evidence), ["0: write 41", "2: write 42", "7: read → 41"]);
    assert_eq!(evidence.prefixes, [[0, 1]], "the longest prefix ends before the stale read");
    let states: Vec<_> = evidence.window.iter().map(|op| op.state.as_deref()).collect();
    assert_eq!(states, [Some("41"), Some("42"), None, None]);
}

#[test]
fn a_read_of_nothing_after_a_write_is_stale_too() {
    let evidence = caught([at(0, 0, 1, write(3, 41)), at(1, 2, 3, read(3, None))]);
    assert_eq!(
        evidence.story,
        "process 1 read nothing from key 3 at 2.000–3.000 ms, although process 0's write of 41 had been \
         acknowledged at 1.000 ms"
    );
}

#[test]
fn two_reads_that_see_two_writes_in_two_orders_are_told_apart() {
    let evidence = caught([
        at(0, 0, 9, write(1, 1)),
        at(1, 0, 9, write(1, 2)),
        at(2, 1, 2, read(1, 1)),
        at(2, 3, 4, read(1, 2)),
        at(2, 5, 6, read(1, 1)),
    ]);
    assert_eq!(
        evidence.story,
        "process 2 read 1 from key 1 at 5.000–6.000 ms, although process 2's read of 2 had returned at 4.000 ms and \
         was invoked only at 3.000 ms, after process 2's read of 1 had returned at 2.000 ms"
    );
    assert_eq!(culprits(&evidence), ["2: read → 1", "2: read → 2", "2: read → 1"]);
}

#[test]
fn values_from_nowhere_and_from_failed_writes_are_told_apart() {
    let nowhere = caught([at(0, 0, 1, write(1, 1)), at(1, 2, 3, read(1, 9))]);
    assert_eq!(nowhere.story, "process 1 read 9 from key 1 at 2.000–3.000 ms, but nobody ever wrote it");
    let dirty = caught([at(0, 0, 1, failed(write(1, 9))), at(1, 2, 3, read(1, 9))]);
    assert_eq!(
        dirty.story,
        "process 1 read 9 from key 1 at 2.000–3.000 ms, but its only write, by process 0 at 0.000–1.000 ms, failed"
    );
    assert_eq!(culprits(&dirty), ["0: write 9 → failed", "1: read → 9"]);
    let early = caught([at(1, 0, 1, read(1, 9)), at(0, 2, 3, write(1, 9))]);
    assert_eq!(
        early.story,
        "process 1 read 9 from key 1 at 0.000–1.000 ms, before process 0's write of 9 was invoked at 2.000 ms"
    );
}

#[test]
fn cas_that_cannot_be_are_told() {
    let twice =
        caught([at(0, 0, 1, write(1, 1)), at(1, 2, 5, cas(1, 1, 2, true)), at(2, 3, 4, cas(1, 1, 3, true))]);
    assert_eq!(
        twice.story,
        "process 2 changed key 1 from 1 to 3 by cas at 3.000–4.000 ms, although process 1's cas from 1 to 2 \
         (2.000–5.000 ms) had replaced the same value, which was written only once"
    );
    let circle = caught([at(1, 0, 5, cas(1, 1, 2, true)), at(2, 0, 5, cas(1, 2, 1, true))]);
    assert!(circle.story.contains("needs a value that only another of them wrote"), "{}", circle.story);
    let chain = caught([
        at(0, 0, 1, write(1, 1)),
        at(1, 2, 9, cas(1, 1, 2, true)),
        at(2, 3, 4, read(1, 2)),
        at(2, 5, 6, read(1, 1)),
    ]);
    assert_eq!(
        chain.story,
        "process 2 read 1 from key 1 at 5.000–6.000 ms, although process 2's read of 2 had returned at 4.000 ms \
         before, and cas had made the value of the latter out of the value of the former"
    );
}

#[test]
fn a_cas_that_was_refused_while_its_value_was_there_is_told() {
    let held = caught([
        at(0, 0, 1, write(1, 1)),
        at(1, 2, 3, cas(1, 1, 2, false)),
        at(2, 4, 5, read(1, 1)),
        at(0, 6, 7, write(1, 3)),
    ]);
    assert_eq!(
        held.story,
        "process 1 was refused a cas from 1 on key 1 at 2.000–3.000 ms, although process 0's write of 1 had been \
         acknowledged at 1.000 ms, and the value was still there when process 2's read of 1 was invoked at 4.000 ms"
    );
    let never_replaced = caught([at(0, 0, 1, write(1, 1)), at(1, 2, 3, cas(1, 1, 2, false))]);
    assert!(
        never_replaced.story.ends_with("and no write that can have replaced the value was invoked in time"),
        "{}",
        never_replaced.story
    );
    // Two refusals that exclude each other: no zone shows it, the search does.
    let searched = caught([
        at(0, 0, 10, write(1, 1)),
        at(1, 0, 10, write(1, 2)),
        at(2, 2, 3, read(1, 1)),
        at(3, 20, 21, cas(1, 1, 8, false)),
        at(3, 22, 23, cas(1, 2, 9, false)),
    ]);
    assert!(searched.story.contains("which no order of the ops explains"), "{}", searched.story);
    assert_eq!(culprits(&searched), ["3: cas 2→9 → refused"]);
}

#[test]
fn a_refused_cas_may_lie_before_or_after_its_value() {
    for refused in [at(1, 0, 2, cas(1, 1, 2, false)), at(1, 4, 6, cas(1, 1, 2, false))] {
        let result = judge([at(0, 0, 2, write(1, 1)), at(0, 3, 5, write(1, 3)), refused]);
        assert_eq!(result.verdict, Verdict::Valid, "{}", result.summary);
    }
}

#[test]
fn a_write_of_unknown_outcome_may_happen_late_or_never_but_not_both() {
    let seen_late = [
        at(0, 0, 1, unknown(write(1, 1))),
        at(1, 2, 3, write(1, 2)),
        at(1, 4, 5, read(1, 2)),
        at(1, 6, 7, read(1, 1)),
    ];
    assert_eq!(judge(seen_late.clone()).verdict, Verdict::Valid);
    let never = [at(0, 0, 1, unknown(write(1, 1))), at(1, 2, 3, read(1, None))];
    assert_eq!(judge(never).verdict, Verdict::Valid);
    let gone_again = caught(seen_late.into_iter().chain([at(1, 8, 9, read(1, 2))]));
    assert!(gone_again.story.contains("process 1's read of 1 had returned"), "{}", gone_again.story);
    let result = judge([at(0, 0, 1, unknown(read(1, 5))), at(1, 2, 3, write(1, 1))]);
    assert_eq!(result.verdict, Verdict::Valid, "a read of unknown outcome says nothing");
}

#[test]
fn values_that_repeat_are_searched() {
    let fine = [
        at(0, 0, 1, write(1, 1)),
        at(0, 2, 3, write(1, 2)),
        at(0, 4, 5, write(1, 1)),
        at(1, 6, 7, read(1, 1)),
    ];
    assert_eq!(judge(fine.clone()).verdict, Verdict::Valid);
    let evidence = caught(fine.into_iter().chain([at(1, 8, 9, read(1, 2))]));
    assert_eq!(
        evidence.story,
        "process 1 read 2 from key 1 at 8.000–9.000 ms, which no order of the ops explains: the longest order of \
         the ops before ends with process 1's read of 1"
    );
    assert_eq!(evidence.prefixes, [[0, 1, 2, 3]]);
    assert_eq!(culprits(&evidence), ["1: read → 2"]);
}

#[test]
fn ops_that_touch_at_an_instant_are_concurrent() {
    assert_eq!(judge([at(0, 0, 1, write(1, 1)), at(1, 1, 2, read(1, None))]).verdict, Verdict::Valid);
}

/// A register with values that repeat, so that it must be searched, and so many open writes that it takes long.
fn hard() -> Vec<Written> {
    let writes = (0..60).map(|n| at(n, 0, 1000, write(1, u64::from(n) % 30)));
    let reads = (0..30).map(|n| at(100, 10 * n + 1, 10 * n + 2, read(1, (7 * n) % 30)));
    writes.chain(reads).chain([at(100, 1001, 1002, read(1, 99))]).collect()
}

#[test]
fn a_search_that_runs_out_is_unknown_and_says_how_far_it_got() {
    let history = history(hard());
    let check = |deadline, memory_bytes_max| {
        check_linearizable(&history, &LinearizabilityOptions { deadline, memory_bytes_max })
    };
    let late = check(Duration::ZERO, 1 << 30);
    assert_eq!(late.verdict, Verdict::Unknown, "{}", late.summary);
    assert!(
        late.summary.contains("1 of 1 keys could not be decided: key 1: out of time with"),
        "{}",
        late.summary
    );
    let full = check(Duration::from_secs(60), 1 << 20);
    assert_eq!(full.verdict, Verdict::Unknown, "{}", full.summary);
    assert!(full.summary.contains("out of memory with"), "{}", full.summary);
    assert!(full.summary.contains("of 91 ops explained"), "{}", full.summary);
    assert_eq!(full.numbers["keys_undecided"], 1.0);
}

#[test]
fn a_violation_is_worse_than_an_undecided_key() {
    let ops = hard().into_iter().chain([at(200, 0, 1, write(2, 1)), at(201, 2, 3, read(2, None))]);
    let options = LinearizabilityOptions { deadline: Duration::ZERO, memory_bytes_max: 1 << 20 };
    let result = check_linearizable(&history(ops), &options);
    assert_eq!(result.verdict, Verdict::Invalid);
    assert!(result.summary.contains("could not be decided"), "{}", result.summary);
}

#[test]
fn nothing_to_judge_is_unknown() {
    assert_eq!(judge([]).verdict, Verdict::Unknown);
    let txn = Call::Txn(vec![MicroCall::ReadList { key: 1 }]);
    let scan = (Call::Scan { key: 1, limit: 5 }, Outcome::Ok(Answer::Rows(5)));
    let result = judge([(0, 0, 1, txn, Outcome::Fail("busy".to_string())), at(1, 0, 1, scan)]);
    assert_eq!(result.verdict, Verdict::Unknown);
    assert_eq!(
        result.summary,
        "there was no op to judge; 1 scans were not judged; 1 transactions were not judged"
    );
}

#[test]
fn the_window_is_bounded_whatever_the_history() {
    let mut ops: Vec<Written> = (0..5000).map(|n| at(n as u32 % 4, 2 * n, 2 * n + 1, write(1, n))).collect();
    ops.push(at(9, 9000, 9001, read(1, 17)));
    let evidence = caught(ops);
    assert_eq!(evidence.window.len(), WINDOW_OPS_MAX);
    assert!(evidence.window.iter().any(|op| op.label == "write 17" && op.culprit), "{}", evidence.story);
    assert!(evidence.window.iter().any(|op| op.label == "write 4499" && !op.culprit), "{}", evidence.story);
    assert!(!evidence.prefixes.is_empty());
}

#[test]
fn an_order_is_shown_even_where_too_many_ops_overlap_for_a_search() {
    let what = Simulation { ops: 4000, clients: 60, keys: 1, read: 50, cas: 10, unknown: 5, seed: 4 };
    let mut history = History::from_entries(simulate(what)).expect("a simulated history pairs");
    let is_read = |at: &usize| matches!(history.ops[*at].call, Call::Read { .. });
    let read = (3000..4000).find(is_read).expect("every other op reads");
    let written = history.ops[..2000].iter().rev().find_map(|op| match (&op.call, &op.outcome) {
        (Call::Write { value, .. }, Outcome::Ok(_)) => Some(*value),
        _ => None,
    });
    history.ops[read].outcome = Outcome::Ok(Answer::Value(written));
    let result = check_linearizable(&history, &LinearizabilityOptions::default());
    let [evidence] = &result.evidence[..] else { panic!("{}", result.summary) };
    check_prefixes(evidence);
    assert!(evidence.prefixes[0].len() > 50, "{:?}", evidence.prefixes);
}

fn ok(answer: Answer) -> Outcome {
    Outcome::Ok(answer)
}

fn insert(key: u64, value: u64) -> (Call, Outcome) {
    (Call::Insert { key, value }, ok(Answer::Done))
}

fn update(key: u64, field: u32, value: u64) -> (Call, Outcome) {
    (Call::Update { key, field, value }, ok(Answer::Done))
}

fn record(key: u64, fields: &[u64]) -> (Call, Outcome) {
    (Call::ReadRecord { key }, ok(Answer::Fields(Some(fields.to_vec()))))
}

fn no_record(key: u64) -> (Call, Outcome) {
    (Call::ReadRecord { key }, ok(Answer::Fields(None)))
}

#[test]
fn records_are_registers_field_by_field() {
    let modify =
        (Call::ReadModifyWrite { key: 5, field: 2, value: 9 }, ok(Answer::Fields(Some(vec![1, 7, 1]))));
    let fine = [
        at(0, 0, 1, no_record(5)),
        at(0, 2, 3, insert(5, 1)),
        at(1, 4, 5, update(5, 1, 7)),
        at(2, 6, 7, modify),
        at(3, 8, 9, record(5, &[1, 7, 9])),
    ];
    let result = judge(fine.clone());
    assert_eq!(result.verdict, Verdict::Valid, "{}", result.summary);
    assert!(result.summary.contains("necessary for atomic records, not sufficient"), "{}", result.summary);

    let lost = caught(fine.clone().into_iter().chain([at(3, 10, 11, record(5, &[1, 1, 9]))]));
    assert_eq!(lost.object, "key 5 field 1");
    assert_eq!(
        lost.story,
        "process 3 read 1 from key 5 field 1 at 10.000–11.000 ms, although process 1's update to 7 had been \
         acknowledged at 5.000 ms and was invoked only at 4.000 ms, after process 0's insert of 1 had been \
         acknowledged at 3.000 ms"
    );
    assert_eq!(culprits(&lost), ["0: insert 1", "1: update 7", "3: read → 1"]);

    let gone = caught(fine.clone().into_iter().chain([at(3, 10, 11, no_record(5))]));
    assert!(gone.story.starts_with("process 3 read nothing from key 5 field 0"), "{}", gone.story);
    // A record that lost its last field.
    let cut = caught(fine.into_iter().chain([at(3, 10, 11, record(5, &[1, 7]))]));
    assert!(cut.story.starts_with("process 3 read nothing from key 5 field 2"), "{}", cut.story);
}

#[test]
fn a_field_that_was_never_written_reads_as_nothing() {
    let made_by_an_update = [at(0, 0, 1, update(5, 1, 7)), at(1, 2, 3, record(5, &[0, 7, 0]))];
    let result = judge(made_by_an_update.clone());
    assert_eq!(result.verdict, Verdict::Valid, "{}", result.summary);
    let lost = caught(made_by_an_update.into_iter().chain([at(1, 4, 5, record(5, &[0, 0, 0]))]));
    assert!(lost.story.starts_with("process 1 read nothing from key 5 field 1"), "{}", lost.story);
}

#[test]
fn an_unknown_read_modify_write_may_have_written() {
    let lost = (Call::ReadModifyWrite { key: 5, field: 1, value: 9 }, Outcome::Info("timed out".to_string()));
    for last in [[1, 1], [1, 9]] {
        let result =
            judge([at(0, 0, 1, insert(5, 1)), at(1, 2, 3, lost.clone()), at(2, 4, 5, record(5, &last))]);
        assert_eq!(result.verdict, Verdict::Valid, "{}", result.summary);
    }
}

#[test]
fn a_record_read_at_two_instants_is_torn() {
    // Field 0 is overwritten before field 1 is; the read sees the old field 0 and the new field 1.
    let ops = [
        at(0, 0, 1, insert(5, 1)),
        at(1, 2, 3, update(5, 0, 7)),
        at(1, 4, 5, update(5, 1, 8)),
        at(2, 2, 9, record(5, &[1, 8])),
    ];
    let evidence = caught(ops.clone());
    assert_eq!(evidence.object, "key 5");
    assert_eq!(
        evidence.story,
        "no order explains the record of key 5, though each of its fields has one: (1) process 1's update \
         (2.000–3.000 ms) returned before process 1's update (4.000–5.000 ms) was invoked; (2) process 2's read \
         (2.000–9.000 ms) saw in field 1 what process 1's update (4.000–5.000 ms) wrote; (3) process 2's read \
         (2.000–9.000 ms) found 1 in field 0, which process 1's update (2.000–3.000 ms) came to replace"
    );
    assert_eq!(culprits(&evidence), ["1: update field 0 to 7", "2: read → [1, 8]", "1: update field 1 to 8"]);
    // Overlapping updates may have come in the other order.
    let mut overlapping = ops;
    overlapping[2].1 = 2;
    overlapping[2].0 = 3;
    assert_eq!(judge(overlapping).verdict, Verdict::Valid);
}

#[test]
fn two_reads_that_contradict_each_other_across_fields_are_torn() {
    let ops = [
        at(0, 0, 1, insert(5, 1)),
        at(1, 2, 9, update(5, 0, 7)),
        at(2, 2, 9, update(5, 1, 8)),
        at(3, 2, 9, record(5, &[7, 1])),
        at(4, 2, 9, record(5, &[1, 8])),
    ];
    let evidence = caught(ops.clone());
    assert_eq!(evidence.story.matches("came to replace").count(), 2, "{}", evidence.story);
    assert_eq!(culprits(&evidence).len(), 4, "{}", evidence.story);
    assert_eq!(judge(ops[..4].to_vec()).verdict, Verdict::Valid);
}

#[test]
fn an_insert_writes_all_fields_at_once() {
    let evidence =
        caught([at(0, 0, 1, insert(5, 1)), at(1, 2, 9, insert(5, 2)), at(2, 2, 9, record(5, &[2, 1]))]);
    assert!(evidence.story.contains("saw in field 0 what process 1's insert"), "{}", evidence.story);
}

#[test]
fn keys_of_registers_and_records_are_apart() {
    let result = judge([at(0, 0, 1, write(5, 1)), at(1, 2, 3, no_record(5)), at(2, 2, 3, read(5, 1))]);
    assert_eq!(result.verdict, Verdict::Valid, "{}", result.summary);
    assert_eq!(result.numbers["keys"], 2.0);
}

#[test]
fn a_corrupt_answer_tells_nothing_of_the_value() {
    let garbage = (Call::Read { key: 1 }, ok(Answer::Corrupt("seven bytes".to_string())));
    let result = judge([at(0, 0, 1, write(1, 1)), at(1, 2, 3, garbage), at(2, 2, 3, read(1, 1))]);
    assert_eq!(result.verdict, Verdict::Valid, "{}", result.summary);
}

#[test]
fn ops_of_the_load_phase_count_and_times_are_the_histories() {
    use checkers::history::Phase;
    let history: History = crate::support::build::phased([
        (Phase::Load, vec![at(0, 0, 1, insert(5, 1))]),
        (Phase::Run, vec![at(1, 2, 3, record(5, &[1, 1]))]),
        (Phase::Final, vec![at(1, 4, 5, no_record(5))]),
    ]);
    let result = check_linearizable(&history, &LinearizabilityOptions::default());
    assert_eq!(result.verdict, Verdict::Invalid);
    let invoked: Vec<u64> = result.evidence[0].window.iter().map(|op| op.invoked).collect();
    assert_eq!(invoked, [0, 2 * MS, 4 * MS]);
}
