//! The history as JSON Lines, in the manner of Jepsen: one object a line, one line an entry.
//!
//! Every line has `index` (the entry's position), `type` (`invoke`, `ok`, `fail`, `info`), `process`, `f`, `value` and
//! `time` (nanoseconds since the run began). A call's lines carry:
//!
//! | `f` | `value` when invoked | `value` when ok |
//! |---|---|---|
//! | `read` | `[key, null]` | `[key, value]`, `null` if never written |
//! | `write` | `[key, value]` | the same |
//! | `cas` | `[key, [from, to]]` | the same; refused: type `fail` with `"swapped": false` |
//! | `txn` | `[["r", key, null], ["append", key, value], ["w", key, value]]` | with what was read |
//! | `insert` | `[key, value]` | the same |
//! | `update` | `[key, [field, value]]` | the same |
//! | `read-record` | `[key, null]` | `[key, [field 0, field 1, …]]`, `null` if there is no record |
//! | `scan` | `[key, limit, null]` | `[key, limit, rows]` |
//! | `read-modify-write` | `[key, [field, value], null]` | `[key, [field, value], [field 0, …]]` |
//!
//! Beyond Jepsen's members an invocation has `intended` where the schedule wanted it at another time than `time`, `to` where it is
//! known which node was asked first (its number), and, if a transaction reads registers, `registers`: the positions of those
//! reads among its steps (the others read lists). A completion has `by` where it is known which nodes answered: a list of their
//! numbers. `error` is why an op failed or is unknown, `corrupt` what was wrong with an answer.
//!
//! All other lines are of process `nemesis` and type `info`:
//!
//! | `f` | `value` |
//! |---|---|
//! | `phase` | the name of the phase that begins |
//! | `clock-uncertainty` | by how many nanoseconds times may be off |
//! | `hostile` | the process that is hostile from now on |
//! | `liar` | the number of the node whose replica lies from now on |
//! | a fault's name | `{"id", "line", "targets", "stage", "detail"}`; no `line` where it is not known |

use super::error::HistoryError;
use super::op::{Answer, Call, Entry, MicroAnswer, MicroCall, Outcome, ProcessId};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;

#[derive(Serialize)]
struct Line<'a> {
    index: u64,
    #[serde(rename = "type")]
    kind: &'static str,
    process: Who,
    f: &'a str,
    value: Value,
    time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    intended: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<u32>,
    #[serde(skip_serializing_if = "<[u32]>::is_empty")]
    by: &'a [u32],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    registers: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swapped: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    corrupt: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Who {
    Process(ProcessId),
    Nemesis(&'static str),
}

/// Writes the entries as JSON Lines. Give `&mut reader` to ask the reader afterwards how the file ended.
///
/// # Errors
/// Those of the entries, [`HistoryError::NothingOpen`], [`HistoryError::Export`].
pub fn export_json_lines(
    entries: impl IntoIterator<Item = Result<Entry, HistoryError>>,
    out: impl Write,
) -> Result<(), HistoryError> {
    let mut out = std::io::BufWriter::new(out);
    let mut open: HashMap<ProcessId, Call> = HashMap::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let entry = entry?;
        let call = match &entry {
            Entry::Invoke { process, call, .. } => {
                open.insert(*process, call.clone());
                None
            }
            Entry::Return { process, .. } => Some(
                open.remove(process)
                    .ok_or(HistoryError::NothingOpen { entry: index as u64, process: *process })?,
            ),
            Entry::Phase { .. }
            | Entry::Fault { .. }
            | Entry::Clocks { .. }
            | Entry::Hostile { .. }
            | Entry::Liar { .. } => None,
        };
        let line = line(index as u64, &entry, call.as_ref());
        serde_json::to_writer(&mut out, &line).map_err(std::io::Error::from)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

/// The line of an entry; a return needs the call that it ends.
fn line<'a>(index: u64, entry: &'a Entry, call: Option<&Call>) -> Line<'a> {
    let blank = Line {
        index,
        kind: "info",
        process: Who::Nemesis("nemesis"),
        f: "",
        value: Value::Null,
        time: entry.time(),
        intended: None,
        to: None,
        by: &[],
        registers: Vec::new(),
        swapped: None,
        error: None,
        corrupt: None,
    };
    match entry {
        Entry::Phase { phase, .. } => Line { f: "phase", value: json!(phase), ..blank },
        Entry::Clocks { uncertainty, .. } => {
            Line { f: "clock-uncertainty", value: json!(uncertainty), ..blank }
        }
        Entry::Fault { event, .. } => {
            let mut value = json!({
                "id": event.id, "targets": event.targets, "stage": event.stage, "detail": event.detail,
            });
            if let Some(line) = event.line {
                value["line"] = json!(line);
            }
            Line { f: &event.fault, value, ..blank }
        }
        Entry::Hostile { process, .. } => Line { f: "hostile", value: json!(process), ..blank },
        Entry::Liar { node, .. } => Line { f: "liar", value: json!(node), ..blank },
        Entry::Invoke { process, intended, to, call, .. } => Line {
            kind: "invoke",
            process: Who::Process(*process),
            f: function(call),
            value: value(call, None),
            intended: (*intended != blank.time).then_some(*intended),
            to: *to,
            registers: register_reads(call),
            ..blank
        },
        Entry::Return { process, by, outcome, .. } => {
            let call = call.expect("the caller has the call of every return");
            let blank = Line { process: Who::Process(*process), f: function(call), by, ..blank };
            match outcome {
                Outcome::Ok(Answer::Swapped(false)) => {
                    Line { kind: "fail", value: value(call, None), swapped: Some(false), ..blank }
                }
                Outcome::Ok(Answer::Corrupt(what)) => {
                    Line { kind: "ok", value: value(call, None), corrupt: Some(what), ..blank }
                }
                Outcome::Ok(answer) => Line { kind: "ok", value: value(call, Some(answer)), ..blank },
                Outcome::Fail(why) => {
                    Line { kind: "fail", value: value(call, None), error: Some(why), ..blank }
                }
                Outcome::Info(why) => {
                    Line { kind: "info", value: value(call, None), error: Some(why), ..blank }
                }
            }
        }
    }
}

fn function(call: &Call) -> &'static str {
    if let Call::ReadRecord { .. } = call { "read-record" } else { call.kind().name() }
}

fn register_reads(call: &Call) -> Vec<usize> {
    let Call::Txn(steps) = call else { return Vec::new() };
    let reads = steps.iter().enumerate().filter(|(_, step)| matches!(step, MicroCall::Read { .. }));
    reads.map(|(at, _)| at).collect()
}

fn value(call: &Call, answer: Option<&Answer>) -> Value {
    let read = match answer {
        Some(Answer::Value(value)) => json!(value),
        Some(Answer::Fields(fields)) => json!(fields),
        Some(Answer::Rows(rows)) => json!(rows),
        Some(Answer::Done | Answer::Swapped(_) | Answer::Txn(_) | Answer::Corrupt(_)) | None => Value::Null,
    };
    match call {
        Call::Read { key } | Call::ReadRecord { key } => json!([key, read]),
        Call::Write { key, value } | Call::Insert { key, value } => json!([key, value]),
        Call::Cas { key, from, to } => json!([key, [from, to]]),
        Call::Update { key, field, value } => json!([key, [field, value]]),
        Call::Scan { key, limit } => json!([key, limit, read]),
        Call::ReadModifyWrite { key, field, value } => json!([key, [field, value], read]),
        Call::Txn(steps) => {
            let answers = match answer {
                Some(Answer::Txn(answers)) => answers.as_slice(),
                _ => &[],
            };
            let steps = steps.iter().enumerate();
            Value::Array(steps.map(|(at, step)| micro_value(step, answers.get(at))).collect())
        }
    }
}

fn micro_value(step: &MicroCall, answer: Option<&MicroAnswer>) -> Value {
    let read = match answer {
        Some(MicroAnswer::List(list)) => json!(list),
        Some(MicroAnswer::Value(value)) => json!(value),
        Some(MicroAnswer::Done) | None => Value::Null,
    };
    match step {
        MicroCall::ReadList { key } | MicroCall::Read { key } => json!(["r", key, read]),
        MicroCall::Append { key, value } => json!(["append", key, value]),
        MicroCall::Write { key, value } => json!(["w", key, value]),
    }
}
