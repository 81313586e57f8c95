//! Reads an export back.

use checkers::history::{Answer, Call, Entry, FaultEvent, MicroAnswer, MicroCall, Outcome, Phase, ProcessId};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::HashMap;

/// The entries of an export.
pub(crate) fn import(text: &str) -> Vec<Entry> {
    let mut open = HashMap::new();
    let lines = text.lines().enumerate();
    lines
        .map(|(at, line)| entry(at, &serde_json::from_str(line).expect("a line is JSON"), &mut open))
        .collect()
}

fn as_type<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{value}: {e}"))
}

fn text(value: &Value) -> String {
    as_type(value)
}

fn entry(at: usize, line: &Value, open: &mut HashMap<ProcessId, Call>) -> Entry {
    assert_eq!(line["index"], at);
    let time: u64 = as_type(&line["time"]);
    let (f, value) = (text(&line["f"]), &line["value"]);
    if line["process"] == "nemesis" {
        if f == "phase" {
            return Entry::Phase { time, phase: as_type::<Phase>(value) };
        }
        if f == "clock-uncertainty" {
            return Entry::Clocks { time, uncertainty: as_type(value) };
        }
        if f == "hostile" {
            return Entry::Hostile { time, process: as_type(value) };
        }
        if f == "liar" {
            return Entry::Liar { time, node: as_type(value) };
        }
        let (id, stage) = (as_type(&value["id"]), as_type(&value["stage"]));
        let (targets, detail) = (text(&value["targets"]), text(&value["detail"]));
        return Entry::Fault {
            time,
            event: FaultEvent { id, fault: f, line: value.get("line").map(as_type), targets, stage, detail },
        };
    }
    let process: ProcessId = as_type(&line["process"]);
    let kind = text(&line["type"]);
    if kind == "invoke" {
        let registers: Vec<usize> = line.get("registers").map(as_type).unwrap_or_default();
        let call = call(&f, value, &registers);
        open.insert(process, call.clone());
        let intended = line.get("intended").map_or(time, as_type);
        return Entry::Invoke { time, intended, process, to: line.get("to").map(as_type), call };
    }
    let call = open.remove(&process).expect("a return has an invocation");
    let outcome = match kind.as_str() {
        "fail" if line.get("swapped").is_some() => Outcome::Ok(Answer::Swapped(false)),
        "fail" => Outcome::Fail(text(&line["error"])),
        "info" => Outcome::Info(text(&line["error"])),
        "ok" if line.get("corrupt").is_some() => Outcome::Ok(Answer::Corrupt(text(&line["corrupt"]))),
        "ok" => Outcome::Ok(answer(&call, value)),
        other => panic!("type {other}"),
    };
    Entry::Return { time, process, by: line.get("by").map(as_type).unwrap_or_default(), outcome }
}

fn call(f: &str, value: &Value, registers: &[usize]) -> Call {
    let key = if f == "txn" { 0 } else { as_type(&value[0]) };
    let (a, b) = (&value[1][0], &value[1][1]);
    match f {
        "read" => Call::Read { key },
        "write" => Call::Write { key, value: as_type(&value[1]) },
        "cas" => Call::Cas { key, from: as_type(a), to: as_type(b) },
        "insert" => Call::Insert { key, value: as_type(&value[1]) },
        "update" => Call::Update { key, field: as_type(a), value: as_type(b) },
        "read-record" => Call::ReadRecord { key },
        "scan" => Call::Scan { key, limit: as_type(&value[1]) },
        "read-modify-write" => Call::ReadModifyWrite { key, field: as_type(a), value: as_type(b) },
        "txn" => {
            let steps: Vec<(String, u64, Value)> = as_type(value);
            let steps = steps.into_iter().enumerate();
            Call::Txn(steps.map(|(at, step)| micro_call(step, registers.contains(&at))).collect())
        }
        other => panic!("f {other}"),
    }
}

fn micro_call((f, key, value): (String, u64, Value), register: bool) -> MicroCall {
    match f.as_str() {
        "r" if register => MicroCall::Read { key },
        "r" => MicroCall::ReadList { key },
        "append" => MicroCall::Append { key, value: as_type(&value) },
        "w" => MicroCall::Write { key, value: as_type(&value) },
        other => panic!("micro-op {other}"),
    }
}

fn answer(call: &Call, value: &Value) -> Answer {
    match call {
        Call::Read { .. } => Answer::Value(as_type(&value[1])),
        Call::ReadRecord { .. } => Answer::Fields(as_type(&value[1])),
        Call::ReadModifyWrite { .. } => Answer::Fields(as_type(&value[2])),
        Call::Scan { .. } => Answer::Rows(as_type(&value[2])),
        Call::Cas { .. } => Answer::Swapped(true),
        Call::Write { .. } | Call::Insert { .. } | Call::Update { .. } => Answer::Done,
        Call::Txn(steps) => Answer::Txn(
            steps
                .iter()
                .zip(as_type::<Vec<Value>>(value))
                .map(|(step, answered)| match step {
                    MicroCall::ReadList { .. } => MicroAnswer::List(as_type(&answered[2])),
                    MicroCall::Read { .. } => MicroAnswer::Value(as_type(&answered[2])),
                    MicroCall::Append { .. } | MicroCall::Write { .. } => MicroAnswer::Done,
                })
                .collect(),
        ),
    }
}
