//! Histories written by hand.

use checkers::history::{Answer, Call, Entry, History, Outcome, Phase, ProcessId};

/// An op: process, invocation and return in milliseconds, call, outcome.
pub(crate) type Written = (u32, u64, u64, Call, Outcome);

/// One millisecond, in nanoseconds.
pub(crate) const MS: u64 = 1_000_000;

/// The history of these ops, all in the run phase. Ops that touch at an instant are recorded as concurrent.
pub(crate) fn history(ops: impl IntoIterator<Item = Written>) -> History {
    phased([(Phase::Run, ops.into_iter().collect())])
}

/// The same, with a process that is hostile from the beginning on.
pub(crate) fn with_hostile(process: u32, ops: impl IntoIterator<Item = Written>) -> History {
    let mark = Entry::Hostile { time: 0, process: ProcessId(process) };
    let entries = entries([(Phase::Run, ops.into_iter().collect())]);
    History::from_entries([mark].into_iter().chain(entries)).expect("a history written by hand pairs")
}

/// The same, phase by phase; each phase's times lie after those of the phase before.
pub(crate) fn phased(phases: impl IntoIterator<Item = (Phase, Vec<Written>)>) -> History {
    History::from_entries(entries(phases)).expect("a history written by hand pairs")
}

fn entries(phases: impl IntoIterator<Item = (Phase, Vec<Written>)>) -> Vec<Entry> {
    let mut all = Vec::new();
    for (phase, ops) in phases {
        let start = ops.iter().map(|op| op.1 * MS).min().unwrap_or(0);
        let mut entries = vec![(start, 0, Entry::Phase { time: start, phase })];
        for (process, invoked, returned, call, outcome) in ops {
            let (process, time) = (ProcessId(process), invoked * MS);
            entries.push((time, 1, Entry::Invoke { time, intended: time, process, to: None, call }));
            let time = returned * MS;
            entries.push((time, 2, Entry::Return { time, process, by: Vec::new(), outcome }));
        }
        entries.sort_by_key(|(time, rank, _)| (*time, *rank));
        all.extend(entries.into_iter().map(|(_, _, entry)| entry));
    }
    all
}

pub(crate) fn read(key: u64, value: impl Into<Option<u64>>) -> (Call, Outcome) {
    (Call::Read { key }, Outcome::Ok(Answer::Value(value.into())))
}

pub(crate) fn write(key: u64, value: u64) -> (Call, Outcome) {
    (Call::Write { key, value }, Outcome::Ok(Answer::Done))
}

pub(crate) fn cas(key: u64, from: u64, to: u64, swapped: bool) -> (Call, Outcome) {
    (Call::Cas { key, from, to }, Outcome::Ok(Answer::Swapped(swapped)))
}

pub(crate) fn unknown((call, _): (Call, Outcome)) -> (Call, Outcome) {
    (call, Outcome::Info("timed out".to_string()))
}

pub(crate) fn failed((call, _): (Call, Outcome)) -> (Call, Outcome) {
    (call, Outcome::Fail("refused".to_string()))
}

/// Puts an op of a process at a time.
pub(crate) fn at(process: u32, invoked: u64, returned: u64, (call, outcome): (Call, Outcome)) -> Written {
    (process, invoked, returned, call, outcome)
}
