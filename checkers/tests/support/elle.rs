//! Readers of Elle's histories of transactions on lists, as JSON and as EDN. An entry's position is its time.

use super::edn::{Edn, parse_history};
use checkers::history::{Answer, Call, Entry, History, MicroAnswer, MicroCall, Outcome, ProcessId};
use serde_json::Value;
use std::collections::HashMap;

/// A transaction's entry, whatever it was written in.
struct Row {
    kind: String,
    process: u32,
    /// `r` or `append`, key, what was read or appended.
    steps: Vec<(String, String, Vec<u64>)>,
}

/// One object a line, or one array of all.
pub(crate) fn from_json(text: &str) -> History {
    let rows: Vec<Value> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).expect("an array of entries")
    } else {
        text.lines().map(|line| serde_json::from_str(line).expect("an entry a line")).collect()
    };
    from_values(&rows)
}

/// Entries that are JSON already.
pub(crate) fn from_values(rows: &[Value]) -> History {
    fn numbers(value: &Value) -> Vec<u64> {
        match value {
            Value::Null => Vec::new(),
            Value::Array(items) => items.iter().flat_map(numbers).collect(),
            number @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
                vec![number.as_u64().unwrap_or_else(|| panic!("{number} is no element"))]
            }
        }
    }
    let rows = rows.iter().filter(|row| row["process"].is_u64()).map(|row| {
        let steps = row["value"].as_array().into_iter().flatten().map(|step| {
            let f = step[0].as_str().expect("a micro-op has a name").to_string();
            (f, step[1].to_string(), numbers(&step[2]))
        });
        Row {
            kind: row["type"].as_str().expect("an entry has a type").to_string(),
            process: row["process"].as_u64().expect("a process is a number") as u32,
            steps: steps.collect(),
        }
    });
    history(rows)
}

/// Jepsen's EDN.
pub(crate) fn from_edn(text: &str) -> History {
    fn numbers(value: &Edn) -> Vec<u64> {
        match value {
            Edn::List(items) => items.iter().flat_map(numbers).collect(),
            other @ (Edn::Nil | Edn::Int(_) | Edn::Text(_) | Edn::Keyword(_) | Edn::Map(_)) => {
                other.number().into_iter().collect()
            }
        }
    }
    let rows = parse_history(text).into_iter().filter_map(|row| {
        let Edn::Int(process) = *row.get("process") else { return None };
        let steps = row.get("value").list().iter().map(|step| {
            let step = step.list();
            (
                step[0].name().to_string(),
                format!("{:?}", step[1]),
                step.get(2).map(numbers).unwrap_or_default(),
            )
        });
        Some(Row {
            kind: row.get("type").name().to_string(),
            process: process as u32,
            steps: steps.collect(),
        })
    });
    history(rows)
}

fn history(rows: impl Iterator<Item = Row>) -> History {
    let mut entries = Vec::new();
    let mut keys: HashMap<String, u64> = HashMap::new();
    let mut open: HashMap<u32, ProcessId> = HashMap::new();
    let mut processes = 0;
    for (time, row) in (1..).zip(rows) {
        let steps = row.steps.iter().map(|(f, key, values)| {
            let next = keys.len() as u64;
            let key = *keys.entry(key.clone()).or_insert(next);
            match f.as_str() {
                "append" => (MicroCall::Append { key, value: values[0] }, MicroAnswer::Done),
                "r" => (MicroCall::ReadList { key }, MicroAnswer::List(values.clone())),
                other => panic!("micro-op {other}"),
            }
        });
        let (calls, answers): (Vec<_>, Vec<_>) = steps.unzip();
        let invoke =
            |time, process| Entry::Invoke { time, intended: time, process, to: None, call: Call::Txn(calls) };
        let mut fresh = || {
            processes += 1;
            ProcessId(processes)
        };
        let outcome = match row.kind.as_str() {
            "invoke" => {
                // Elle's processes may go on after an op of unknown outcome.
                let process = fresh();
                open.insert(row.process, process);
                entries.push(invoke(time, process));
                continue;
            }
            "ok" => Outcome::Ok(Answer::Txn(answers)),
            "fail" => Outcome::Fail("failed".to_string()),
            "info" => Outcome::Info("unknown".to_string()),
            other => panic!("type {other}"),
        };
        let process = open.remove(&row.process).unwrap_or_else(|| {
            // Without an invocation it may have been at any time before.
            let process = fresh();
            entries.push(invoke(0, process));
            process
        });
        entries.push(Entry::Return { time, process, by: Vec::new(), outcome });
    }
    History::from_entries(entries).expect("the history pairs")
}
