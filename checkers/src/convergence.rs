//! Whether registers whose replicas merge what they have heard keep the little that they promise: every value that is read was written
//! by somebody, values replace each other in one order on all replicas, and when nobody writes any more everybody reads one value, which
//! is there if any write was acknowledged.
//!
//! That replicas come to one state is for [`digests`](crate::digests) to say. Of two writes either may win.

mod order;

use crate::history::{Answer, Call, History, Op, Outcome, Phase};
use crate::verdict::{CheckResult, Verdict};
use order::Order;
use std::collections::BTreeMap;

/// The check's name in results.
const NAME: &str = "convergence";

/// A key's writes and reads, hostile processes' writes among them.
#[derive(Default)]
struct Key<'a> {
    writes: Vec<&'a Op>,
    reads: Vec<(&'a Op, Option<u64>)>,
}

/// Judges reads and writes of registers. What hostile processes read is left out; what they wrote may be read.
#[must_use]
pub fn check_convergence(history: &History) -> CheckResult {
    let mut keys: BTreeMap<u64, Key<'_>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for op in &history.ops {
        match (&op.call, &op.outcome) {
            (Call::Write { key, .. }, _) => keys.entry(*key).or_default().writes.push(op),
            (Call::Read { key }, Outcome::Ok(answer)) if !op.is_hostile => match answer {
                Answer::Value(value) => keys.entry(*key).or_default().reads.push((op, *value)),
                Answer::Corrupt(why) => {
                    wrong.push(format!("process {} read from key {key} what is no value: {why}", op.process));
                }
                Answer::Done | Answer::Swapped(_) | Answer::Txn(_) | Answer::Fields(_) | Answer::Rows(_) => {
                    wrong.push(format!("process {} read key {key} and got {answer:?}", op.process));
                }
            },
            (
                Call::Read { .. }
                | Call::Cas { .. }
                | Call::Txn(_)
                | Call::Insert { .. }
                | Call::Update { .. }
                | Call::ReadRecord { .. }
                | Call::Scan { .. }
                | Call::ReadModifyWrite { .. },
                _,
            ) => {}
        }
    }
    let reads: usize = keys.values().map(|key| key.reads.len()).sum();
    for (number, key) in &keys {
        wrong.extend(from_nowhere(*number, key));
        wrong.extend(without_order(*number, key, &history.liars));
        wrong.extend(in_the_end(*number, key));
    }
    let (verdict, summary) = match &wrong[..] {
        [] => (
            Verdict::Valid,
            format!("{reads} reads of {} keys saw what was written, and ended at one value each", keys.len()),
        ),
        [first, others @ ..] => {
            let more = if others.is_empty() { String::new() } else { format!("; and {} more", others.len()) };
            (Verdict::Invalid, format!("{first}{more}"))
        }
    };
    let mut result = CheckResult::new(NAME, verdict, reads as u64, summary);
    result.numbers.insert("keys".into(), keys.len() as f64);
    result.numbers.insert("violations".into(), wrong.len() as f64);
    result
}

fn in_words(value: Option<u64>) -> String {
    value.map_or("nothing".to_owned(), |value| value.to_string())
}

/// A value that nobody can have written when it was read.
fn from_nowhere(number: u64, key: &Key<'_>) -> Option<String> {
    let wrote = |write: &&&Op, value: u64, before: u64| {
        let may_have_effect = write.is_hostile || !matches!(write.outcome, Outcome::Fail(_));
        may_have_effect
            && matches!(write.call, Call::Write { value: other, .. } if other == value)
            && (write.is_hostile || write.invoked <= before)
    };
    key.reads.iter().find_map(|(read, value)| {
        let value = (*value)?;
        let before = read.returned.unwrap_or(u64::MAX);
        let is_known = key.writes.iter().any(|write| wrote(&write, value, before));
        let process = read.process;
        (!is_known).then(|| {
            format!("process {process} read {value} from key {number}, which nobody had written to it")
        })
    })
}

/// Values of which each replaced the other, at one replica or at several. One that is written more than once says nothing.
fn without_order(number: u64, key: &Key<'_>, liars: &[(u64, u32)]) -> Option<String> {
    let mut written: BTreeMap<u64, usize> = BTreeMap::new();
    for write in &key.writes {
        if let Call::Write { value, .. } = write.call {
            // A hostile process may write again at any time.
            *written.entry(value).or_default() += if write.is_hostile { 2 } else { 1 };
        }
    }
    let is_once = |value: u64| written.get(&value) == Some(&1);
    let honest = |op: &Op, returned: u64| {
        let lies = |node: u32| liars.iter().any(|(since, liar)| *liar == node && *since <= returned);
        op.by.iter().copied().filter(move |node| !lies(*node)).collect::<Vec<_>>()
    };
    let mut order = Order::default();
    for write in &key.writes {
        let (Call::Write { value, .. }, Outcome::Ok(_), Some(returned)) =
            (&write.call, &write.outcome, write.returned)
        else {
            continue;
        };
        if is_once(*value) {
            honest(write, returned).into_iter().for_each(|node| order.acknowledged(node, *value, returned));
        }
    }
    for (read, value) in &key.reads {
        let Some(returned) = read.returned.filter(|_| value.is_none_or(is_once)) else { continue };
        let times = (read.invoked, returned);
        for node in honest(read, returned) {
            order.showed(node, *value, times, read.process.0);
        }
    }
    order.problem().map(|problem| format!("the values of key {number} replaced each other: {problem}"))
}

/// Final reads that differ, or that find nothing although a write was acknowledged.
fn in_the_end(number: u64, key: &Key<'_>) -> Option<String> {
    let mut last = key.reads.iter().filter(|(read, _)| read.phase == Phase::Final);
    let (_, first) = last.next()?;
    if let Some((_, other)) = last.find(|(_, value)| value != first) {
        let (first, other) = (in_words(*first), in_words(*other));
        return Some(format!("key {number} was read as {first} and as {other} when nobody wrote any more"));
    }
    let acknowledged =
        key.writes.iter().find(|write| matches!(write.outcome, Outcome::Ok(_)) && !write.is_hostile)?;
    let Call::Write { value, .. } = acknowledged.call else { return None };
    let may_have_effect = |write: &&&Op| write.is_hostile || !matches!(write.outcome, Outcome::Fail(_));
    let is_alone = key.writes.iter().filter(may_have_effect).count() == 1;
    if first.is_none() || is_alone && *first != Some(value) {
        let (process, found) = (acknowledged.process, in_words(*first));
        return Some(format!(
            "process {process}'s write of {value} to key {number} was acknowledged, and in the end there was {found}"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Entry, ProcessId};

    /// Who, when from and to, what, and the answer.
    type Event = (u32, u64, u64, Call, Outcome);

    /// Writers 1 and 2 ask the nodes of their numbers, all others node 3.
    fn asked(process: u32) -> u32 {
        process.min(3)
    }

    fn write(process: u32, at: u64, value: u64) -> Event {
        (process, at, at + 1, Call::Write { key: 1, value }, Outcome::Ok(Answer::Done))
    }

    fn read(process: u32, at: u64, value: Option<u64>) -> Event {
        (process, at, at + 1, Call::Read { key: 1 }, Outcome::Ok(Answer::Value(value)))
    }

    fn judged(run: &[Event], last: &[Event], hostile: &[u32]) -> CheckResult {
        let mut entries: Vec<(u64, Entry)> = Vec::new();
        for (phase, events) in [(Phase::Run, run), (Phase::Final, last)] {
            let time = events.iter().map(|(_, from, ..)| *from).min().unwrap_or(0);
            entries.push((time, Entry::Phase { time, phase }));
            for (process, from, to, call, outcome) in events.iter().cloned() {
                let (node, process) = (asked(process), ProcessId(process));
                let invoke = Entry::Invoke { time: from, intended: from, process, to: Some(node), call };
                entries.push((from, invoke));
                entries.push((to, Entry::Return { time: to, process, outcome, by: vec![node] }));
            }
        }
        for process in hostile {
            entries.push((0, Entry::Hostile { time: 0, process: ProcessId(*process) }));
        }
        entries.sort_by_key(|(time, _)| *time);
        let history = History::from_entries(entries.into_iter().map(|(_, entry)| entry)).expect("they pair");
        check_convergence(&history)
    }

    fn refuted(result: &CheckResult, words: &str) {
        assert_eq!(result.verdict, Verdict::Invalid, "{}", result.summary);
        assert!(result.summary.contains(words), "{}", result.summary);
    }

    #[test]
    fn either_of_two_writes_may_win() {
        let run = [write(1, 10, 5), write(2, 20, 6), read(3, 30, Some(6)), read(3, 40, Some(5))];
        let result = judged(&run, &[read(4, 90, Some(5)), read(5, 95, Some(5))], &[]);
        assert_eq!((result.verdict, result.judged), (Verdict::Valid, Some(4)), "{}", result.summary);
        assert_eq!(judged(&[write(1, 10, 5)], &[], &[]).verdict, Verdict::Unknown, "nothing was read");
    }

    #[test]
    fn a_value_that_nobody_wrote_is_found_unless_a_hostile_process_may_have() {
        let run = [write(1, 10, 5), read(2, 20, Some(7))];
        refuted(&judged(&run, &[], &[]), "process 2 read 7 from key 1, which nobody had written");
        let late = [write(1, 30, 7), read(2, 20, Some(7))];
        refuted(&judged(&late, &[], &[]), "nobody had written");
        assert_eq!(judged(&late, &[], &[1]).verdict, Verdict::Valid, "it may have been there at any time");
        let failed = (1, 10, 11, Call::Write { key: 1, value: 7 }, Outcome::Fail("busy".into()));
        refuted(&judged(&[failed, read(2, 20, Some(7))], &[], &[]), "nobody had written");
    }

    #[test]
    fn a_value_that_was_replaced_does_not_come_back() {
        let shown = |values: [u64; 3]| {
            let reads = (0..).zip(values).map(|(i, value)| read(3, 30 + 10 * i, Some(value)));
            let mut run = vec![write(1, 10, 5), write(2, 20, 6)];
            run.extend(reads);
            judged(&run, &[], &[])
        };
        let words = "n3 had 5 and later showed 6 to process 3, and n3 had 6 and later showed 5 to process 3";
        refuted(&shown([5, 6, 5]), words);
        assert_eq!(shown([5, 5, 6]).verdict, Verdict::Valid);
        // Reads at the same time come in no order.
        let (mut slow, run) = (read(4, 30, Some(5)), [write(1, 10, 5), write(2, 20, 6)]);
        slow.2 = 60;
        let all = [&run[..], &[slow, read(3, 35, Some(6)), read(3, 45, Some(6))]].concat();
        assert_eq!(judged(&all, &[], &[]).verdict, Verdict::Valid);
    }

    #[test]
    fn a_replica_keeps_what_it_has_acknowledged() {
        let run = |value| [write(1, 10, 5), write(2, 20, 6), read(1, 30, value)];
        refuted(&judged(&run(None), &[], &[]), "n1 had 5 and later showed nothing to process 1");
        assert_eq!(judged(&run(Some(5)), &[], &[]).verdict, Verdict::Valid);
        assert_eq!(judged(&run(Some(6)), &[], &[]).verdict, Verdict::Valid);
    }

    #[test]
    fn what_is_greater_at_one_replica_is_greater_at_all() {
        // Node 1 has 5 and shows 6; node 2 has 6 and shows 5.
        let run = |of_the_second| {
            [write(1, 10, 5), write(2, 10, 6), read(1, 20, Some(6)), read(2, 20, Some(of_the_second))]
        };
        let words = "n1 had 5 and later showed 6 to process 1, and n2 had 6 and later showed 5 to process 2";
        refuted(&judged(&run(5), &[], &[]), words);
        assert_eq!(judged(&run(6), &[], &[]).verdict, Verdict::Valid);
        // Hostile writers may have written 6, then 5, then 6 again.
        assert_eq!(judged(&run(5), &[], &[2]).verdict, Verdict::Valid);
    }

    #[test]
    fn in_the_end_there_is_one_value_and_it_is_there() {
        let run = [write(1, 10, 5), write(2, 20, 6)];
        refuted(&judged(&run, &[read(3, 90, Some(5)), read(4, 92, Some(6))], &[]), "read as 5 and as 6");
        refuted(
            &judged(&run, &[read(3, 90, None)], &[]),
            "was acknowledged, and in the end there was nothing",
        );
        let lost = judged(&run[..1], &[read(3, 90, None)], &[]);
        refuted(&lost, "process 1's write of 5 to key 1 was acknowledged");
        let unknown = (1, 10, 11, Call::Write { key: 1, value: 5 }, Outcome::Info("timed out".into()));
        assert_eq!(judged(&[unknown], &[read(3, 90, None)], &[]).verdict, Verdict::Valid);
    }
}
