//! Readers of other tools' histories of registers. Where a format has no times, an entry's position is its time.

use super::edn::{Edn, parse_history};
use checkers::history::{Answer, Call, Entry, History, Outcome, ProcessId};
use std::collections::HashSet;

const KEY: u64 = 0;

fn ok_read(value: Option<u64>) -> Outcome {
    Outcome::Ok(Answer::Value(value))
}

fn unknown() -> Outcome {
    Outcome::Info("unknown".to_string())
}

/// Numbers the entries by time.
struct Entries(Vec<Entry>);

impl Entries {
    fn invoke(&mut self, process: u32, call: Call) {
        let time = self.0.len() as u64;
        self.0.push(Entry::Invoke { time, intended: time, process: ProcessId(process), to: None, call });
    }

    fn end(&mut self, process: u32, outcome: Outcome) {
        self.0.push(Entry::Return {
            time: self.0.len() as u64,
            process: ProcessId(process),
            by: Vec::new(),
            outcome,
        });
    }

    fn history(self) -> History {
        History::from_entries(self.0).expect("the history pairs")
    }
}

/// Jepsen's console log of etcd, as Porcupine has it: a cas-register that begins as nil. A failed cas was refused; a read
/// that timed out says nothing.
pub(crate) fn etcd_log(text: &str) -> History {
    let mut entries = Entries(Vec::new());
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "jepsen.util", "-", process, kind, f, value @ ..] = &words[..] else { continue };
        if *process == ":nemesis" {
            continue;
        }
        let process = process.parse().expect("a process is a number");
        let numbers: Vec<u64> =
            value.iter().filter_map(|word| word.trim_matches(['[', ']']).parse().ok()).collect();
        let call = || match (*f, &numbers[..]) {
            (":read", _) => Call::Read { key: KEY },
            (":write", [value]) => Call::Write { key: KEY, value: *value },
            (":cas", [from, to]) => Call::Cas { key: KEY, from: *from, to: *to },
            other => panic!("{other:?}"),
        };
        match (*kind, *f) {
            (":invoke", _) => entries.invoke(process, call()),
            (":ok", ":read") => entries.end(process, ok_read(numbers.first().copied())),
            (":ok", ":write") => entries.end(process, Outcome::Ok(Answer::Done)),
            (":ok", ":cas") => entries.end(process, Outcome::Ok(Answer::Swapped(true))),
            (":fail", ":cas") => entries.end(process, Outcome::Ok(Answer::Swapped(false))),
            (":fail", ":read") | (":info", _) => entries.end(process, unknown()),
            other => panic!("{other:?}"),
        }
    }
    entries.history()
}

/// Knossos' cas-register: what failed did not happen, and a read of nil says nothing if the register begins with a number.
pub(crate) fn knossos_register(text: &str, initial: Option<u64>) -> History {
    let mut entries = Entries(Vec::new());
    if let Some(value) = initial {
        entries.invoke(u32::MAX, Call::Write { key: KEY, value });
        entries.end(u32::MAX, Outcome::Ok(Answer::Done));
    }
    for op in parse_history(text) {
        let process = op.get("process");
        let Edn::Int(process) = *process else { continue };
        let (process, value, f) = (process as u32, op.get("value"), op.get("f").name());
        match (op.get("type").name(), f) {
            ("invoke", "read") => entries.invoke(process, Call::Read { key: KEY }),
            ("invoke", "write") => {
                let value = value.number().expect("a write has a value");
                entries.invoke(process, Call::Write { key: KEY, value });
            }
            ("invoke", "cas") => {
                let [from, to] = value.list() else { panic!("a cas has two values") };
                let (from, to) = (from.number().expect("a number"), to.number().expect("a number"));
                entries.invoke(process, Call::Cas { key: KEY, from, to });
            }
            ("ok", "read") if value.number().is_none() && initial.is_some() => {
                entries.end(process, unknown());
            }
            ("ok", "read") => entries.end(process, ok_read(value.number())),
            ("ok", "write") => entries.end(process, Outcome::Ok(Answer::Done)),
            ("ok", "cas") => entries.end(process, Outcome::Ok(Answer::Swapped(true))),
            ("fail", _) => entries.end(process, Outcome::Fail("failed".to_string())),
            ("info", _) => entries.end(process, unknown()),
            other => panic!("{other:?}"),
        }
    }
    entries.history()
}

/// The synthetic key-value histories: tab-separated, one op a line. With cas, the initial value is a value like others: it
/// is 0 here, and all others are one more.
pub(crate) fn synthetic(text: &str) -> History {
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split('\t').collect()).collect();
    let has_cas = rows.iter().any(|row| row[2] == "c");
    let number = |cell: &str| cell.parse::<i64>().expect("a number");
    let value = |cell: &str| (number(cell) + i64::from(has_cas)) as u64;
    let mut entries = Vec::with_capacity(2 * rows.len());
    let mut process = 0;
    let mut add = |call: Call, invoked: u64, returned: Option<u64>, outcome: Outcome| {
        // Every op its own process: in the file a client goes on after an op of unknown outcome.
        process += 1;
        let (at, process) = (process, ProcessId(process));
        entries.push((
            invoked,
            0,
            at,
            Entry::Invoke { time: invoked, intended: invoked, process, to: None, call },
        ));
        if let Some(time) = returned {
            entries.push((time, 1, at, Entry::Return { time, process, by: Vec::new(), outcome }));
        }
    };
    if has_cas {
        let keys: HashSet<&str> = rows.iter().map(|row| row[1]).collect();
        for key in keys {
            let call = Call::Write { key: number(key) as u64, value: 0 };
            add(call, 0, Some(0), Outcome::Ok(Answer::Done));
        }
    }
    for row in &rows {
        let [_, key, f, a, b, res, call, ret, status] = row[..] else { panic!("{row:?}") };
        let key = number(key) as u64;
        let (call_at, known) = (number(call) as u64 * 1000, status == "o");
        let returned = known.then(|| number(ret) as u64 * 1000);
        let (call, answer) = match f {
            "r" => (Call::Read { key }, Answer::Value((has_cas || res != "-1").then(|| value(res)))),
            "w" => (Call::Write { key, value: value(a) }, Answer::Done),
            "c" => (Call::Cas { key, from: value(a), to: value(b) }, Answer::Swapped(res == "1")),
            other => panic!("{other}"),
        };
        add(call, call_at, returned, Outcome::Ok(answer));
    }
    entries.sort_by_key(|(time, rank, at, _)| (*time, *rank, *at));
    History::from_entries(entries.into_iter().map(|(.., entry)| entry)).expect("the history pairs")
}
