//! Sets, counters and banks: every anomaly is found, told and shown; what is right is not accused.

use crate::support::build::{Written, at, failed, history, unknown};
use crate::support::counting::{add, append, balances, in_turn, list, sum, transfer};
use crate::support::data::{file, text};
use checkers::bank::{BankOptions, check_bank};
use checkers::counter::check_counter;
use checkers::history::{Answer, Call, History, Outcome, Posting};
use checkers::set::check_set;
use checkers::verdict::{CheckResult, Evidence, Verdict, WINDOW_OPS_MAX};
use serde_json::Value;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn set(ops: impl IntoIterator<Item = Written>) -> CheckResult {
    check_set(&history(ops), MINUTE)
}

fn counter(ops: impl IntoIterator<Item = Written>) -> CheckResult {
    check_counter(&history(ops), MINUTE)
}

const BANK: BankOptions = BankOptions { accounts: 2, overdraft: true };

fn bank(ops: impl IntoIterator<Item = Written>) -> CheckResult {
    check_bank(&history(ops), &BANK, MINUTE)
}

fn culprits(evidence: &Evidence) -> Vec<String> {
    let culprits = evidence.window.iter().filter(|op| op.culprit);
    culprits.map(|op| format!("{}: {}", op.process, op.label)).collect()
}

/// The story of what must be invalid, and who is to blame.
fn caught(result: &CheckResult) -> (String, Vec<String>) {
    assert_eq!(result.verdict, Verdict::Invalid, "{}", result.summary);
    let first = &result.evidence[0];
    assert!(result.summary.contains(&first.story), "{}", result.summary);
    (first.story.clone(), culprits(first))
}

#[test]
fn a_set_that_grows_is_valid_and_counted() {
    let result = set([
        at(0, 0, 1, append(3, 1)),
        at(1, 0, 9, append(3, 2)),
        at(2, 0, 1, unknown(append(3, 4))),
        at(3, 0, 1, unknown(append(3, 5))),
        at(4, 0, 1, failed(append(3, 6))),
        at(5, 2, 3, list(3, &[1])),
        at(6, 4, 5, list(3, &[1, 2])),
        // What got no answer may happen late, or never.
        at(7, 10, 11, list(3, &[1, 2, 5])),
    ]);
    assert_eq!(result.verdict, Verdict::Valid, "{}", result.summary);
    for (name, count) in
        [("attempts", 5.0), ("acknowledged", 2.0), ("stable", 3.0), ("recovered", 1.0), ("never_read", 1.0)]
    {
        assert_eq!(result.numbers[name], count, "{name}");
    }
}

#[test]
fn an_acknowledged_element_that_is_gone_is_lost() {
    let result = set(in_turn([append(3, 7), append(3, 8), list(3, &[8]), list(3, &[8])]));
    let (story, culprits) = caught(&result);
    assert_eq!(
        story,
        "process 2 (4.000–5.000 ms) read set 3 without element 7, although its addition by process 0 had been \
         acknowledged at 1.000 ms, and no later read has it: it is lost"
    );
    assert_eq!(culprits, ["0: append 7", "2: read → [8]"], "the first read that misses it");
    assert_eq!((result.numbers["lost"], result.numbers["stable"]), (1.0, 1.0));
}

#[test]
fn an_element_that_was_read_once_must_stay() {
    // Its addition got no answer; that it happened is known from the first read.
    let result = set(in_turn([unknown(append(3, 7)), list(3, &[7]), list(3, &[]), list(3, &[7])]));
    let (story, culprits) = caught(&result);
    assert_eq!(
        story,
        "process 2 (4.000–5.000 ms) read set 3 without element 7, although process 1 had read it (2.000–3.000 ms); a \
         later read has it again"
    );
    assert_eq!(culprits.len(), 3, "{culprits:?}");
    assert_eq!((result.numbers["stale"], result.numbers["recovered"]), (1.0, 1.0));
}

#[test]
fn elements_from_nowhere_from_failed_additions_and_twice_are_told_apart() {
    let (story, _) = caught(&set(in_turn([append(3, 1), list(3, &[1, 9])])));
    assert_eq!(story, "process 1 (2.000–3.000 ms) read element 9 in set 3, but nobody ever added it");
    let (story, _) = caught(&set(in_turn([failed(append(3, 1)), list(3, &[1])])));
    assert_eq!(
        story,
        "process 1 (2.000–3.000 ms) read element 1 in set 3, but its addition by process 0 (0.000–1.000 ms) failed"
    );
    let twice = set(in_turn([append(3, 1), list(3, &[1, 1])]));
    let (story, _) = caught(&twice);
    assert_eq!(story, "process 1 (2.000–3.000 ms) read element 1 twice in set 3, but it was added once");
    assert_eq!((twice.numbers["duplicated"], twice.numbers["unexpected"]), (1.0, 0.0));
}

#[test]
fn additions_and_reads_need_one_order() {
    let (story, _) = caught(&set([
        at(0, 0, 9, append(3, 1)),
        at(1, 0, 9, append(3, 2)),
        at(2, 0, 9, list(3, &[1])),
        at(3, 0, 9, list(3, &[2])),
        at(4, 10, 11, list(3, &[1, 2])),
    ]));
    assert!(
        story.contains("element 1 and without element 2")
            || story.contains("element 2 and without element 1")
    );
    assert!(story.ends_with("no order of additions explains both"), "{story}");
    let (story, _) = caught(&set([at(0, 0, 1, list(3, &[1])), at(1, 2, 3, append(3, 1))]));
    assert_eq!(
        story,
        "process 0 (0.000–1.000 ms) read element 1 in set 3 before its addition by process 1 (2.000–3.000 ms) was invoked"
    );
    // The read lies beside both additions, which follow one another.
    let (story, culprits) = caught(&set([
        at(0, 0, 1, append(3, 1)),
        at(1, 2, 3, append(3, 2)),
        at(2, 0, 9, list(3, &[2])),
        at(3, 10, 11, list(3, &[2, 1])),
    ]));
    assert_eq!(
        story,
        "process 2 (0.000–9.000 ms) read set 3 with element 2 and without element 1, although the addition of the \
         latter by process 0 had been acknowledged at 1.000 ms, before that of the former was invoked at 2.000 ms"
    );
    assert_eq!(culprits, ["0: append 1", "2: read → [2]", "1: append 2"]);
}

#[test]
fn a_set_that_was_not_read_in_the_end_is_unknown() {
    let unread = set(in_turn([append(3, 1), list(3, &[1]), append(3, 2)]));
    assert_eq!(unread.verdict, Verdict::Unknown);
    assert!(unread.summary.contains("1 acknowledged elements were never looked for"), "{}", unread.summary);
    assert_eq!(set([]).verdict, Verdict::Unknown);
    assert_eq!(set(in_turn([list(3, &[])])).verdict, Verdict::Unknown);
    assert_eq!(set(in_turn([append(3, 1)])).verdict, Verdict::Unknown);
    let repeated = set(in_turn([append(3, 1), append(3, 1), list(3, &[1])]));
    assert_eq!(repeated.verdict, Verdict::Unknown, "nothing can be told of it: {}", repeated.summary);
}

#[test]
fn a_set_to_which_an_element_was_added_twice_is_not_accused() {
    let again = set(in_turn([append(3, 1), failed(append(3, 1)), list(3, &[1])]));
    assert_eq!(again.verdict, Verdict::Unknown, "{}", again.summary);
    assert!(again.summary.contains("element 1 was added to set 3 twice"), "{}", again.summary);
    // Of other sets all can be told.
    let other = [append(3, 1), append(3, 1), append(4, 1), list(4, &[])];
    assert_eq!(set(in_turn(other)).verdict, Verdict::Invalid);
}

#[test]
fn counters_are_within_the_bounds_of_what_may_have_happened() {
    let result = counter([
        at(0, 0, 1, add(1, 5)),
        at(1, 2, 9, add(2, 3)),
        at(2, 2, 3, unknown(add(3, -2))),
        at(3, 2, 3, failed(add(4, 100))),
        at(4, 4, 5, sum(5)),
        at(5, 4, 5, sum(8)),
        at(6, 4, 5, sum(3)),
        at(7, 10, 11, sum(6)),
    ]);
    assert_eq!(result.verdict, Verdict::Valid, "{}", result.summary);
    assert_eq!((result.numbers["reads"], result.numbers["adds_ok"]), (4.0, 2.0));
}

#[test]
fn a_counter_that_misses_what_was_added_is_told() {
    let (story, culprits) = caught(&counter(in_turn([add(1, 5), unknown(add(2, -1)), sum(3)])));
    assert_eq!(
        story,
        "process 2 (4.000–5.000 ms) read counter 1 as 3, but it is at least 4: what was certainly added and may have been \
         taken off by then comes to that"
    );
    assert_eq!(culprits, ["2: read → 3"]);
    let (story, _) = caught(&counter(in_turn([add(1, -5), unknown(add(2, 1)), sum(-3)])));
    assert_eq!(
        story,
        "process 2 (4.000–5.000 ms) read counter 1 as -3, but it is at most -4: what was certainly taken off and may have \
         been added by then comes to that"
    );
}

#[test]
fn a_counter_never_goes_back_on_what_was_read() {
    // The addition got no answer, so both sums are in Jepsen's bounds; but it cannot be undone.
    let result = counter(in_turn([add(1, 1), unknown(add(2, 10)), sum(11), add(3, 2), sum(3)]));
    let (story, culprits) = caught(&result);
    assert_eq!(
        story,
        "process 4 (8.000–9.000 ms) read counter 1 as 3, but it is at least 13: process 2 (4.000–5.000 ms) had read 11, and \
         what was certainly added and may have been taken off since comes to +2"
    );
    assert_eq!(culprits, ["2: read → 11", "4: read → 3"]);
    assert_eq!(result.numbers["reads_out_of_bounds"], 1.0, "one that is wrong does not make others wrong");
    // Nor does what was taken off come back.
    let (story, _) = caught(&counter(in_turn([add(1, 1), unknown(add(2, -10)), sum(-9), sum(1)])));
    assert!(story.contains("but it is at most -9: process 2 (4.000–5.000 ms) had read -9"), "{story}");
    // An addition beside the first read may be in it or come later.
    let beside = [at(0, 0, 5, add(1, 4)), at(1, 0, 1, sum(4)), at(2, 6, 7, sum(4)), at(3, 8, 9, add(2, 1))];
    assert_eq!(counter(beside).verdict, Verdict::Valid);
}

#[test]
fn counters_without_reads_or_additions_are_unknown() {
    assert_eq!(counter([]).verdict, Verdict::Unknown);
    assert_eq!(counter(in_turn([add(1, 1)])).verdict, Verdict::Unknown);
    assert_eq!(counter(in_turn([sum(0), failed(add(1, 1))])).verdict, Verdict::Unknown);
}

/// Two accounts with 10 each, opened at the beginning.
fn open() -> (Call, Outcome) {
    transfer(0, &[(0, 10), (1, 10)])
}

#[test]
fn a_bank_whose_transfers_are_whole_is_valid() {
    let result = bank([
        at(0, 0, 1, open()),
        at(1, 2, 9, transfer(1, &[(0, -4), (1, 4)])),
        at(2, 2, 3, unknown(transfer(2, &[(1, -1), (0, 1)]))),
        at(3, 2, 3, failed(transfer(3, &[(1, -9), (0, 9)]))),
        at(4, 2, 3, balances(&[&[(0, 10)], &[(0, 10)]])),
        at(5, 4, 5, balances(&[&[(0, 10), (1, -4)], &[(0, 10), (1, 4)]])),
        at(6, 10, 11, balances(&[&[(0, 10), (1, -4), (2, 1)], &[(0, 10), (1, 4), (2, -1)]])),
    ]);
    assert_eq!(result.verdict, Verdict::Valid, "{}", result.summary);
    assert_eq!((result.numbers["recovered"], result.numbers["reads"]), (1.0, 3.0));
}

#[test]
fn half_a_transfer_is_told_with_what_is_missing() {
    let result = bank(in_turn([
        open(),
        transfer(1, &[(0, -4), (1, 4)]),
        balances(&[&[(0, 10), (1, -4)], &[(0, 10)]]),
        balances(&[&[(0, 10), (1, -4)], &[(0, 10), (1, 4)]]),
    ]));
    let (story, culprits) = caught(&result);
    assert_eq!(
        story,
        "process 2 (4.000–5.000 ms) saw transfer 1 by process 1 (2.000–3.000 ms) on account 0 of bank 0 and not on account \
         1; the accounts have 16, not 20"
    );
    assert_eq!(culprits, ["1: transfer 1: 4 from 0 to 1", "2: read → 6 + 10 = 16"]);
    assert_eq!(result.numbers["reads_of_wrong_sum"], 1.0);
    assert!(result.summary.starts_with("1 of 2 reads have a wrong sum"), "{}", result.summary);
}

#[test]
fn a_missing_account_is_named() {
    let (story, _) = caught(&bank(in_turn([open(), balances(&[&[(0, 10)], &[]])])));
    assert_eq!(
        story,
        "process 1 (2.000–3.000 ms) read bank 0 without account 1, although process 0 (0.000–1.000 ms) had opened it; the \
         accounts have 10, not 20"
    );
    // All are missing: what opened the bank is lost.
    let (story, _) = caught(&bank(in_turn([open(), balances(&[&[], &[]])])));
    assert!(story.contains("read bank 0 without transfer 0, although its addition by process 0"), "{story}");
}

#[test]
fn money_from_nowhere_and_twice_is_told() {
    let moved = || transfer(1, &[(0, -4), (1, 4)]);
    let (story, _) =
        caught(&bank(in_turn([open(), moved(), balances(&[&[(0, 10), (1, -4)], &[(0, 10), (1, 5)]])])));
    assert!(
        story.starts_with(
            "process 2 (4.000–5.000 ms) read a posting of +5 (number 1) on account 1 of bank 0 that nobody"
        ),
        "{story}"
    );
    let read = balances(&[&[(0, 10), (1, -4)], &[(0, 10), (1, 4), (1, 4)]]);
    let (story, _) = caught(&bank(in_turn([open(), moved(), read])));
    assert_eq!(
        story,
        "process 2 (4.000–5.000 ms) read the posting of +4 by transfer 1 twice on account 1 of bank 0; the accounts have \
         24, not 20"
    );
    let whole = || balances(&[&[(0, 10), (1, -4)], &[(0, 10), (1, 4)]]);
    let (story, _) = caught(&bank(in_turn([open(), failed(moved()), whole()])));
    assert!(story.ends_with("but its addition by process 1 (2.000–3.000 ms) failed"), "{story}");
}

#[test]
fn reads_of_a_bank_are_snapshots_in_real_time() {
    let (one, other) = (transfer(1, &[(0, -4), (1, 4)]), transfer(2, &[(1, -1), (0, 1)]));
    let empty = || balances(&[&[(0, 10)], &[(0, 10)]]);
    let after_one = || balances(&[&[(0, 10), (1, -4)], &[(0, 10), (1, 4)]]);
    let after_other = || balances(&[&[(0, 10), (2, 1)], &[(0, 10), (2, -1)]]);
    let (story, _) = caught(&bank(in_turn([open(), one.clone(), after_one(), empty()])));
    assert!(story.contains("read bank 0 without transfer 1"), "{story}");
    // Long fork: each is whole by itself.
    let fork = bank([
        at(0, 0, 1, open()),
        at(1, 2, 9, one),
        at(2, 2, 9, other),
        at(3, 2, 9, after_one()),
        at(4, 2, 9, after_other()),
    ]);
    let (story, _) = caught(&fork);
    assert!(story.ends_with("no order of additions explains both"), "{story}");
    assert_eq!(fork.numbers["reads_of_wrong_sum"], 0.0);
}

#[test]
fn a_negative_balance_is_wrong_where_it_must_not_be() {
    let ops = || {
        in_turn([
            open(),
            transfer(1, &[(0, -14), (1, 14)]),
            balances(&[&[(0, 10), (1, -14)], &[(0, 10), (1, 14)]]),
        ])
    };
    assert_eq!(bank(ops()).verdict, Verdict::Valid);
    let result = check_bank(&history(ops()), &BankOptions { overdraft: false, ..BANK }, MINUTE);
    let (story, _) = caught(&result);
    assert_eq!(story, "process 2 (4.000–5.000 ms) read a balance of -4 on account 0 of bank 0");
}

#[test]
fn what_is_no_bank_or_was_not_read_is_unknown() {
    for ops in [
        vec![],
        vec![open()],
        vec![open(), balances(&[&[(0, 10)], &[(0, 10)]]), transfer(1, &[(0, -4), (1, 4)])],
        vec![open(), list(0, &[Posting { id: 0, amount: 10 }.value()])],
        vec![transfer(0, &[(0, 10), (5, 10)])],
        vec![open(), open(), balances(&[&[(0, 10)], &[(0, 10)]])],
    ] {
        let result = bank(in_turn(ops));
        assert_eq!(result.verdict, Verdict::Unknown, "{}", result.summary);
        assert!(!result.summary.is_empty());
    }
}

#[test]
fn checks_that_run_out_of_time_are_unknown() {
    let history =
        history(in_turn([append(1, 1), list(1, &[1]), open(), balances(&[&[(0, 10)], &[(0, 10)]])]));
    for result in [
        check_set(&history, Duration::ZERO),
        check_counter(&history, Duration::ZERO),
        check_bank(&history, &BankOptions { accounts: 3, ..BANK }, Duration::ZERO),
    ] {
        assert_eq!(result.verdict, Verdict::Unknown, "{}: {}", result.checker, result.summary);
    }
    assert!(check_set(&history, Duration::ZERO).summary.starts_with("out of time with 0 of 2 sets judged"));
}

#[test]
fn the_window_is_bounded_whatever_the_history() {
    let grown = |n: u64| (1..=n).collect::<Vec<u64>>();
    let ops = (1..=500).flat_map(|n| [append(1, n), list(1, &grown(n))]).chain([list(1, &grown(400))]);
    let history: History = history(in_turn(ops));
    let result = check_set(&history, MINUTE);
    caught(&result);
    assert_eq!(result.numbers["lost"], 100.0);
    for evidence in &result.evidence {
        assert_eq!(evidence.window.len(), WINDOW_OPS_MAX);
        assert!(evidence.window.iter().any(|op| op.culprit));
    }
}

/// The rows of Jepsen's own tests of a checker: what it is, its entries, its verdict.
fn jepsen(checker: &str) -> Vec<(String, Vec<Value>, Value)> {
    let Some(path) = file("jepsen-checkers/jepsen_checkers.jsonl") else { return Vec::new() };
    let rows = text(&path);
    let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).expect("a row is JSON"));
    let rows = rows.filter(|row| row["checker"] == format!("({checker})"));
    let rows = rows.map(|row| {
        let entries = row["history"].as_array().expect("a history is an array").clone();
        (row["ctx"].to_string(), entries, row["result"].clone())
    });
    let rows: Vec<_> = rows.collect();
    assert!(rows.len() >= 4, "{} of {checker}", rows.len());
    rows
}

/// The ops of such a history; an entry's index is its time.
fn written(entries: &[Value], call: impl Fn(&Value, &Value) -> (Call, Outcome)) -> Vec<Written> {
    let invoked = entries.iter().filter(|entry| entry["type"] == "invoke");
    let mut ops: Vec<Written> = invoked
        .map(|invoked| {
            let number = |entry: &Value, name: &str| entry[name].as_u64().expect("a number");
            let process = number(invoked, "process");
            let is_return = |entry: &&Value| {
                number(entry, "process") == process && number(entry, "index") > number(invoked, "index")
            };
            let returned = entries.iter().find(is_return);
            let (op, at_index) = match returned {
                None => (unknown(call(invoked, invoked)), entries.len() as u64),
                Some(returned) => {
                    let op = call(invoked, returned);
                    let op = match returned["type"].as_str() {
                        Some("ok") => op,
                        Some("fail") => failed(op),
                        _ => unknown(op),
                    };
                    (op, number(returned, "index"))
                }
            };
            at(process as u32, number(invoked, "index"), at_index, op)
        })
        .collect();
    ops.sort_by_key(|op| op.1);
    ops
}

fn expected(result: &Value) -> Verdict {
    match result["valid?"].as_bool() {
        Some(true) => Verdict::Valid,
        Some(false) => Verdict::Invalid,
        None => Verdict::Unknown,
    }
}

#[test]
fn sets_of_jepsens_own_tests() {
    for (name, entries, result) in jepsen("set-full") {
        let numbers = |value: &Value| -> Vec<u64> {
            value.as_array().into_iter().flatten().map(|n| n.as_u64().expect("an element")).collect()
        };
        let ops = written(&entries, |invoked, returned| match invoked["f"].as_str() {
            Some("add") => append(1, invoked["value"].as_u64().expect("an element")),
            _ => list(1, &numbers(&returned["value"])),
        });
        let judged = set(ops);
        assert_eq!(judged.verdict, expected(&result), "{name}: {}", judged.summary);
        for (ours, theirs) in
            [("lost", "lost-count"), ("stale", "stale-count"), ("duplicated", "duplicated-count")]
        {
            assert_eq!(judged.numbers[ours], result[theirs].as_f64().expect("a count"), "{name}: {ours}");
        }
    }
}

#[test]
fn counters_of_jepsens_own_tests() {
    for (name, entries, result) in jepsen("counter") {
        let ops = written(&entries, |invoked, returned| match invoked["f"].as_str() {
            Some("add") => add(
                1 + invoked["index"].as_u64().expect("an index"),
                invoked["value"].as_i64().expect("an amount"),
            ),
            _ => sum(returned["value"].as_i64().expect("a sum")),
        });
        let judged = counter(ops);
        // Where nothing was added, and where nothing was asked, Jepsen has nothing against it; to us that is not enough.
        let nothing =
            judged.verdict == Verdict::Unknown && judged.summary.contains("there is nothing to judge");
        assert!(judged.verdict == expected(&result) || nothing, "{name}: {}", judged.summary);
        let errors = result["errors"].as_array().expect("a list of errors");
        assert_eq!(judged.numbers["reads_out_of_bounds"], errors.len() as f64, "{name}");
    }
}

#[test]
fn an_answer_that_is_corrupt_says_nothing_of_a_list() {
    let mut op = list(3, &[]);
    op.1 = Outcome::Ok(Answer::Corrupt("seven bytes".into()));
    let result = set(in_turn([append(3, 1), list(3, &[1]), op]));
    assert_eq!(result.verdict, Verdict::Valid, "that is said elsewhere: {}", result.summary);
}
