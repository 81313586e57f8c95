//! Whatever hostile processes do, nobody else is accused of it; and what others are guilty of is found beside it. Process 9 is the
//! hostile one.

use crate::support::build::{Written, at, cas, failed, history, read, unknown, with_hostile, write};
use crate::support::counting::{add, append, balances, list, sum, transfer};
use crate::support::simulate::{Simulation, simulate};
use crate::support::transactions::transactions;
use checkers::bank::{BankOptions, check_bank};
use checkers::counter::check_counter;
use checkers::history::{Answer, Call, History, MicroAnswer, MicroCall, Outcome, Posting, ProcessId};
use checkers::linearizability::{LinearizabilityOptions, check_append, check_linearizable};
use checkers::set::check_set;
use checkers::stats::{StatsLimits, check_stats};
use checkers::verdict::{CheckResult, Verdict};
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::BTreeSet;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn linearizable(history: &History) -> CheckResult {
    check_linearizable(history, &LinearizabilityOptions::default())
}

fn lists(history: &History) -> CheckResult {
    check_append(history, MINUTE)
}

fn set(history: &History) -> CheckResult {
    check_set(history, MINUTE)
}

fn counter(history: &History) -> CheckResult {
    check_counter(history, MINUTE)
}

fn bank(history: &History) -> CheckResult {
    check_bank(history, &BankOptions { accounts: 2, overdraft: false }, MINUTE)
}

/// Invalid if process 9 is taken for an honest one, and valid if it is not.
fn excused(check: fn(&History) -> CheckResult, ops: &[Written]) {
    let honest = check(&history(ops.to_vec()));
    assert_eq!(honest.verdict, Verdict::Invalid, "{}", honest.summary);
    let marked = check(&with_hostile(9, ops.to_vec()));
    assert_eq!(marked.verdict, Verdict::Valid, "{}", marked.summary);
    assert!(marked.summary.contains("ops of hostile processes were not judged"), "{}", marked.summary);
}

/// Invalid although process 9 is hostile, for this reason.
fn accused(check: fn(&History) -> CheckResult, ops: &[Written], because: &str) {
    let marked = check(&with_hostile(9, ops.to_vec()));
    assert_eq!(marked.verdict, Verdict::Invalid, "{}", marked.summary);
    assert!(marked.summary.contains(because), "{}", marked.summary);
}

fn insert(value: u64) -> (Call, Outcome) {
    (Call::Insert { key: 1, value }, Outcome::Ok(Answer::Done))
}

fn update(field: u32, value: u64) -> (Call, Outcome) {
    (Call::Update { key: 1, field, value }, Outcome::Ok(Answer::Done))
}

fn record(fields: &[u64]) -> (Call, Outcome) {
    (Call::ReadRecord { key: 1 }, Outcome::Ok(Answer::Fields(Some(fields.to_vec()))))
}

#[test]
fn a_register_may_hold_what_hostile_processes_write_at_any_time() {
    let early = [at(1, 0, 1, write(1, 1)), at(2, 2, 3, read(1, 90)), at(9, 8, 9, write(1, 90))];
    excused(linearizable, &early);
    let in_vain = [at(1, 0, 1, write(1, 1)), at(9, 2, 3, failed(write(1, 90))), at(2, 4, 5, read(1, 90))];
    excused(linearizable, &in_vain);
    let lost = [at(1, 0, 1, write(1, 1)), at(9, 2, 3, write(1, 90)), at(2, 4, 5, read(1, 1))];
    excused(linearizable, &lost);
    let again = [
        at(9, 0, 1, write(1, 90)),
        at(1, 2, 3, write(1, 1)),
        at(2, 4, 5, read(1, 90)),
        at(3, 6, 7, write(1, 2)),
        at(4, 8, 9, cas(1, 90, 3, true)),
        at(5, 10, 11, read(1, 3)),
    ];
    excused(linearizable, &again);
    let told = [at(1, 0, 1, write(1, 1)), at(9, 2, 3, read(1, 77)), at(2, 4, 5, read(1, 1))];
    excused(linearizable, &told);
}

#[test]
fn a_refused_cas_may_have_met_a_hostile_write_but_then_the_value_is_gone() {
    let refused =
        [at(9, 0, 1, failed(write(1, 90))), at(1, 2, 3, write(1, 1)), at(2, 4, 5, cas(1, 1, 2, false))];
    excused(linearizable, &refused);
    let there = [&refused[..], &[at(3, 6, 7, read(1, 1))]].concat();
    accused(linearizable, &there, "process 2 was refused a cas from 1 on key 1");
}

#[test]
fn registers_of_honest_processes_are_held_to_order_beside_hostile_writes() {
    // 90 may come at any time, but then 1 is gone for good.
    let back = [
        at(9, 0, 1, write(1, 90)),
        at(1, 2, 3, write(1, 1)),
        at(2, 4, 5, read(1, 90)),
        at(3, 6, 7, read(1, 1)),
    ];
    accused(linearizable, &back, "process 3 read 1 from key 1");
    let stale = [
        at(1, 0, 1, write(1, 1)),
        at(9, 0, 9, unknown(write(1, 90))),
        at(2, 2, 3, write(1, 2)),
        at(3, 4, 5, read(1, 1)),
    ];
    accused(linearizable, &stale, "process 3 read 1 from key 1");
    let nowhere = [at(9, 0, 1, write(1, 90)), at(1, 2, 3, read(1, 91))];
    accused(linearizable, &nowhere, "process 1 read 91 from key 1");
}

#[test]
fn a_record_may_hold_what_hostile_processes_write_at_any_time() {
    let early = [at(1, 0, 1, insert(1)), at(2, 2, 3, record(&[1, 90])), at(9, 4, 5, update(1, 90))];
    excused(linearizable, &early);
    let torn = [
        at(1, 0, 1, insert(1)),
        at(9, 0, 1, update(1, 90)),
        at(2, 2, 3, update(0, 2)),
        at(3, 4, 5, record(&[2, 90])),
        at(4, 6, 7, record(&[1, 90])),
    ];
    accused(linearizable, &torn, "process 4 read 1 from key 1 field 0");
    // A field that only hostile processes know of.
    let wide = [at(1, 0, 1, insert(1)), at(9, 0, 1, update(u32::MAX - 1, 90)), at(2, 2, 3, record(&[1, 1]))];
    assert_eq!(linearizable(&with_hostile(9, wide)).verdict, Verdict::Valid);
}

#[test]
fn lists_may_have_hostile_elements_anywhere_but_keep_them() {
    let scattered = [
        at(1, 0, 1, append(1, 1)),
        at(2, 2, 3, list(1, &[90, 1, 90])),
        at(9, 4, 5, failed(append(1, 90))),
        at(3, 6, 7, append(1, 2)),
        at(4, 8, 9, list(1, &[90, 1, 90, 2])),
    ];
    excused(lists, &scattered);
    let lost = [at(9, 0, 1, append(1, 90)), at(1, 2, 3, append(1, 1)), at(2, 4, 5, list(1, &[1]))];
    excused(lists, &lost);
    let forked = [
        at(9, 0, 9, append(1, 90)),
        at(1, 0, 1, append(1, 1)),
        at(2, 2, 3, list(1, &[1, 90])),
        at(3, 2, 3, list(1, &[1, 2])),
        at(4, 0, 9, append(1, 2)),
    ];
    accused(lists, &forked, "differently from element number 2 on");
    let stale = [
        at(9, 0, 1, append(1, 90)),
        at(1, 2, 3, append(1, 1)),
        at(2, 4, 5, list(1, &[90])),
        at(3, 6, 7, list(1, &[90, 1])),
    ];
    accused(lists, &stale, "read key 1 without 1");
    let nowhere = [at(9, 0, 1, append(1, 90)), at(1, 2, 3, append(1, 1)), at(2, 4, 5, list(1, &[1, 91]))];
    accused(lists, &nowhere, "nobody ever appended it");
}

#[test]
fn transactions_over_several_lists_are_ordered_without_hostile_ones() {
    let both = |process, from, to, steps: [(MicroCall, MicroAnswer); 2]| {
        let (calls, answers): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
        at(process, from, to, (Call::Txn(calls), Outcome::Ok(Answer::Txn(answers))))
    };
    let adds = |key, value| (MicroCall::Append { key, value }, MicroAnswer::Done);
    let reads = |key, list: &[u64]| (MicroCall::ReadList { key }, MicroAnswer::List(list.to_vec()));
    // Each of two transactions misses the append of the other.
    let skewed = |one: u32| {
        vec![
            both(one, 0, 9, [reads(1, &[]), adds(2, 20)]),
            both(2, 0, 9, [reads(2, &[]), adds(1, 10)]),
            both(3, 10, 11, [reads(1, &[10]), reads(2, &[20])]),
            both(4, 12, 13, [reads(1, &[10, 90]), reads(2, &[20])]),
            at(9, 14, 15, append(1, 90)),
        ]
    };
    accused(lists, &skewed(1), "not strictly serializable");
    let of_hostile = skewed(9)[..4].to_vec();
    let of_hostile = [&of_hostile[..3], &[both(4, 12, 13, [reads(1, &[10]), reads(2, &[20])])]].concat();
    excused(lists, &of_hostile);
}

#[test]
fn a_set_may_have_hostile_elements_from_any_time_on_but_keeps_them() {
    let twice = [
        at(1, 0, 1, append(1, 1)),
        at(2, 2, 3, list(1, &[90, 1, 90])),
        at(9, 4, 5, append(1, 90)),
        at(3, 6, 7, list(1, &[90, 1])),
    ];
    excused(set, &twice);
    let lost = [at(9, 0, 1, append(1, 90)), at(1, 2, 3, append(1, 1)), at(2, 4, 5, list(1, &[1]))];
    excused(set, &lost);
    let gone = [&twice[..], &[at(4, 8, 9, list(1, &[1]))]].concat();
    accused(set, &gone, "without element 90, although process 2 had read it (2.000–3.000 ms)");
    let dropped = [&twice[..], &[at(4, 8, 9, list(1, &[90]))]].concat();
    accused(set, &dropped, "without element 1, although its addition by process 1 had been acknowledged");
}

#[test]
fn an_element_of_both_is_unknown() {
    let both = [at(1, 0, 1, append(1, 1)), at(9, 0, 1, append(1, 1)), at(2, 2, 3, list(1, &[1, 1]))];
    for check in [set, lists] {
        let marked = check(&with_hostile(9, both.clone()));
        assert_eq!(marked.verdict, Verdict::Unknown, "{}", marked.summary);
    }
    let posts = [
        at(1, 0, 1, transfer(0, &[(0, 10), (1, 10)])),
        at(9, 0, 1, transfer(0, &[(0, 10)])),
        at(2, 2, 3, balances(&[&[(0, 10), (0, 10)], &[(0, 10)]])),
    ];
    let marked = bank(&with_hostile(9, posts));
    assert_eq!(
        (marked.verdict, &*marked.summary),
        (Verdict::Unknown, "a hostile process posts the same as transfer 0")
    );
}

#[test]
fn hostile_postings_are_taken_off_counters_that_tell_them() {
    let posting = |id, amount| Posting { id, amount }.value();
    let told = [
        at(1, 0, 1, add(1, 4)),
        at(2, 2, 3, list(1, &[posting(1, 4), posting(90, -50), posting(90, -50)])),
        at(9, 4, 5, add(90, -50)),
        at(3, 6, 7, list(1, &[posting(1, 4)])),
    ];
    excused(counter, &told);
    let lost = [&told[..], &[at(4, 8, 9, list(1, &[posting(90, -50)]))]].concat();
    accused(counter, &lost, "process 4 (8.000–9.000 ms) read counter 1 as 0, but it is at least 4");
}

#[test]
fn counters_that_tell_only_sums_lose_the_bounds_that_hostile_postings_may_move() {
    let more = [at(1, 0, 1, add(1, 4)), at(2, 2, 3, sum(14)), at(9, 4, 5, add(90, 5)), at(3, 6, 7, sum(19))];
    excused(counter, &more);
    // There is still a least sum: what was read before, and what was added since.
    let back = [&more[..], &[at(4, 8, 9, add(2, 1)), at(5, 10, 11, sum(19))]].concat();
    accused(counter, &back, "read counter 1 as 19, but it is at least 20");
    let both = [&more[..], &[at(9, 8, 9, add(91, -1))]].concat();
    let marked = counter(&with_hostile(9, both));
    assert_eq!((marked.verdict, marked.judged), (Verdict::Unknown, Some(0)));
    assert!(marked.summary.starts_with("1 counters have no bounds"), "{}", marked.summary);
}

#[test]
fn hostile_postings_are_taken_off_accounts() {
    let open = || at(1, 0, 1, transfer(0, &[(0, 10), (1, 10)]));
    let half = [
        open(),
        at(2, 2, 3, balances(&[&[(0, 10), (90, 5), (90, 5)], &[(0, 10)]])),
        at(9, 4, 5, transfer(90, &[(0, 5), (1, -5)])),
        at(3, 6, 7, balances(&[&[(0, 10)], &[(0, 10), (90, -5)]])),
    ];
    excused(bank, &half);
    let torn = [&half[..], &[at(4, 8, 9, transfer(1, &[(0, -1), (1, 1)]))]].concat();
    let torn = [&torn[..], &[at(5, 10, 11, balances(&[&[(0, 10), (1, -1)], &[(0, 10), (90, -5)]]))]].concat();
    accused(
        bank,
        &torn,
        "saw transfer 1 by process 4 (8.000–9.000 ms) on account 0 of bank 0 and not on account 1",
    );
    let overdrawn = [
        open(),
        at(9, 2, 3, transfer(90, &[(0, -15)])),
        at(2, 4, 5, balances(&[&[(0, 10), (90, -15)], &[(0, 10)]])),
    ];
    let marked = bank(&with_hostile(9, overdrawn));
    assert_eq!(marked.verdict, Verdict::Unknown);
    assert!(
        marked.summary.starts_with("1 negative balances include postings of hostile"),
        "{}",
        marked.summary
    );
    let own = [open(), at(9, 2, 3, transfer(90, &[(1, 1)])), at(3, 2, 3, transfer(1, &[(0, -15), (1, 15)]))];
    let own =
        [&own[..], &[at(2, 4, 5, balances(&[&[(0, 10), (1, -15)], &[(0, 10), (1, 15), (90, 1)]]))]].concat();
    accused(bank, &own, "read a balance of -5 on account 0");
}

#[test]
fn garbage_that_only_a_hostile_process_was_told_is_nobodys_fault() {
    let garbage = (Call::Read { key: 1 }, Outcome::Ok(Answer::Corrupt("9 bytes".into())));
    let stats = |history: &History| check_stats(history, &StatsLimits::default());
    excused(stats, &[at(1, 0, 1, read(1, None)), at(9, 2, 3, garbage.clone())]);
    accused(stats, &[at(1, 0, 1, garbage), at(9, 2, 3, read(1, None))], "1 answers are corrupt");
}

/// Some of the processes of a history are hostile: whatever their ops did, they are told anything, at any time.
fn turn_some_hostile(history: &mut History, share: f64, chance: &mut impl Rng) {
    let processes: BTreeSet<ProcessId> = history.ops.iter().map(|op| op.process).collect();
    let hostile: BTreeSet<ProcessId> = processes.into_iter().filter(|_| chance.random_bool(share)).collect();
    let end = history.ops.iter().map(|op| op.invoked).max().unwrap_or(0);
    for op in history.ops.iter_mut().filter(|op| hostile.contains(&op.process)) {
        op.is_hostile = true;
        op.invoked = chance.random_range(0..=end);
        op.returned = Some(op.invoked + chance.random_range(0..=end));
        op.outcome = match chance.random_range(0..3) {
            0 => Outcome::Ok(Answer::Corrupt("9 bytes".into())),
            1 => Outcome::Fail("refused".into()),
            _ => Outcome::Info("timed out".into()),
        };
    }
}

#[test]
fn a_register_that_was_there_is_not_accused_whoever_is_hostile() {
    for seed in 0..40 {
        let (clients, keys) = ([3, 10, 40][seed as usize % 3], [1, 4, 50][seed as usize / 3 % 3]);
        let what = Simulation { ops: 2000, clients, keys, read: 50, cas: 20, unknown: 20, seed };
        let mut history = History::from_entries(simulate(what)).expect("a simulated history pairs");
        turn_some_hostile(&mut history, 0.3, &mut Xoshiro256PlusPlus::seed_from_u64(seed));
        let result = linearizable(&history);
        assert_eq!(result.verdict, Verdict::Valid, "seed {seed}: {}", result.summary);
    }
}

/// Takes from a read an element that an honest transaction appended and that was there before the last.
fn lose_an_element(history: &mut History, chance: &mut impl Rng) -> Option<()> {
    let honest: BTreeSet<(u64, u64)> = history
        .ops
        .iter()
        .filter(|op| !op.is_hostile)
        .flat_map(|op| {
            let Call::Txn(steps) = &op.call else { panic!("{op:?}") };
            steps.clone()
        })
        .filter_map(|step| match step {
            MicroCall::Append { key, value } => Some((key, value)),
            MicroCall::ReadList { .. } | MicroCall::Read { .. } | MicroCall::Write { .. } => None,
        })
        .collect();
    let reads = history.ops.iter_mut().filter(|op| !op.is_hostile).flat_map(|op| {
        let (Call::Txn(steps), Outcome::Ok(Answer::Txn(answers))) = (&op.call, &mut op.outcome) else {
            return Vec::new();
        };
        let lists = steps.iter().zip(answers).filter_map(|(step, answer)| match (step, answer) {
            (MicroCall::ReadList { key }, MicroAnswer::List(list)) => Some((*key, list)),
            _ => None,
        });
        lists.collect()
    });
    let lossy = reads.filter_map(|(key, list)| {
        let place = list.iter().rposition(|element| honest.contains(&(key, *element)))?;
        (place + 1 < list.len()).then_some((list, place))
    });
    let (list, place) = lossy.choose(chance)?;
    list.remove(place);
    Some(())
}

#[test]
fn lists_that_were_there_are_not_accused_whoever_is_hostile_and_a_lost_element_is_found() {
    let good = History::from_entries(transactions(1_000)).expect("they pair");
    for seed in 0..20 {
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut history = good.clone();
        turn_some_hostile(&mut history, 0.2, &mut chance);
        let result = lists(&history);
        assert_eq!(result.verdict, Verdict::Valid, "seed {seed}: {}", result.summary);
        for check in [set, counter] {
            let result = check(&history);
            assert_ne!(result.verdict, Verdict::Invalid, "seed {seed}: {}", result.summary);
            assert!(result.judged > Some(500), "seed {seed}: {result:?}");
        }
        lose_an_element(&mut history, &mut chance).expect("there is some read");
        let result = lists(&history);
        assert_eq!(result.verdict, Verdict::Invalid, "seed {seed}: {}", result.summary);
    }
}
