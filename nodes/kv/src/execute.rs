//! What each command does.

use crate::command::{Command, Key, MicroOp};
use crate::entries::Entries;
use crate::response::{MicroResponse, Response};
use crate::slot::{Slot, within_bound};
use crate::value::{LENGTH_BYTES, Value};
use bytes::Bytes;
use imbl::Vector;
use ropey::Rope;
use std::collections::BTreeMap;

/// Carries out a command within its bounds.
pub(crate) fn execute(entries: &mut Entries, command: &Command) -> Response {
    let result = match command {
        Command::Read { .. } | Command::Scan { .. } => Ok(read(entries, command)),
        Command::Write { key, value } => {
            entries.put(key, Value::Bytes(detached(value)));
            Ok(Response::Done)
        }
        Command::Cas { key, from, to } => {
            let expected = match (entries.get(key).map(Slot::value), from) {
                (None, None) => true,
                (Some(Value::Bytes(value)), Some(from)) => value == from,
                (Some(_), _) | (None, Some(_)) => false,
            };
            if expected {
                entries.put(key, Value::Bytes(detached(to)));
            }
            Ok(Response::Swapped(expected))
        }
        Command::Delete { key } => Ok(Response::Deleted(entries.remove(key))),
        Command::Append { key, element } => {
            entries.edit(key, || Value::List(Vector::new()), |slot| slot.append(element))
        }
        Command::Txn(ops) => transact(entries, ops),
        Command::Splice { key, position, delete, insert } => {
            entries.edit(key, || Value::Text(Rope::new()), |slot| slot.splice(*position, *delete, insert))
        }
        Command::Insert { key, fields } => {
            entries.put(key, Value::Record(fields.as_slice().into()));
            Ok(Response::Done)
        }
        Command::Update { key, field, value } => {
            entries.edit(key, || Value::Record([].into()), |slot| slot.update(*field, value))
        }
    };
    result.unwrap_or_else(|why_not| why_not)
}

/// Answers a read-only command.
pub(crate) fn read(entries: &Entries, command: &Command) -> Response {
    match command {
        Command::Read { key } => Response::Value(read_key(entries, key)),
        Command::Scan { start, limit } => scan(entries, start, *limit).unwrap_or_else(|too_large| too_large),
        Command::Txn(ops) if command.is_read_only() => match check(entries, ops) {
            Ok(()) => {
                let read = |op: &MicroOp| MicroResponse::Value(read_key(entries, op.key()));
                Response::Txn(ops.iter().map(read).collect())
            }
            Err(too_large) => too_large,
        },
        Command::Write { .. }
        | Command::Cas { .. }
        | Command::Delete { .. }
        | Command::Append { .. }
        | Command::Txn(_)
        | Command::Splice { .. }
        | Command::Insert { .. }
        | Command::Update { .. } => panic!("{command:?} is not read-only"),
    }
}

/// A short value as a copy of its own: replacing it then frees one block of memory instead of two that are seldom in a
/// cache, and it holds on to nothing that it was cut from.
fn detached(value: &Bytes) -> Bytes {
    const COPY_BYTES_MAX: usize = 1024;
    if value.len() <= COPY_BYTES_MAX { Bytes::copy_from_slice(value) } else { value.clone() }
}

fn read_key(entries: &Entries, key: &Key) -> Option<Value> {
    entries.get(key).map(|slot| slot.value().clone())
}

fn scan(entries: &Entries, start: &[u8], limit: u32) -> Result<Response, Response> {
    let mut rows = Vec::new();
    let mut bytes = 0;
    for (key, slot) in entries.from(start).take(limit as usize) {
        bytes = within_bound(bytes + key.len() + LENGTH_BYTES + slot.size_bytes())?;
        rows.push((Key::copy_from_slice(key), slot.value().clone()));
    }
    Ok(Response::Rows(rows))
}

fn transact(entries: &mut Entries, ops: &[MicroOp]) -> Result<Response, Response> {
    check(entries, ops)?;
    let step = |op: &MicroOp| match op {
        MicroOp::Read { key } => MicroResponse::Value(read_key(entries, key)),
        MicroOp::Write { key, value } => {
            entries.put(key, Value::Bytes(detached(value)));
            MicroResponse::Done
        }
        MicroOp::Append { key, element } => {
            let appended = entries.edit(key, || Value::List(Vector::new()), |slot| slot.append(element));
            assert!(appended.is_ok(), "{appended:?} in a transaction that was checked");
            MicroResponse::Done
        }
    };
    Ok(Response::Txn(ops.iter().map(step).collect()))
}

/// Whether every step of a transaction can be taken, given what the steps before it leave behind: afterwards nothing
/// has to be undone.
fn check(entries: &Entries, ops: &[MicroOp]) -> Result<(), Response> {
    #[derive(Clone, Copy)]
    struct Shape {
        is_list: bool,
        size_bytes: usize,
    }
    let mut written: BTreeMap<&Key, Shape> = BTreeMap::new();
    let mut answer_bytes = 0;
    for op in ops {
        let before = written.get(op.key()).copied().or_else(|| {
            let slot = entries.get(op.key())?;
            Some(Shape { is_list: matches!(slot.value(), Value::List(_)), size_bytes: slot.size_bytes() })
        });
        match op {
            MicroOp::Read { .. } => {
                let value_bytes = before.map_or(0, |shape| shape.size_bytes);
                answer_bytes = within_bound(answer_bytes + LENGTH_BYTES + value_bytes)?;
            }
            MicroOp::Write { key, value } => {
                written.insert(key, Shape { is_list: false, size_bytes: value.len() + LENGTH_BYTES });
            }
            MicroOp::Append { key, element } => {
                let list = before.unwrap_or(Shape { is_list: true, size_bytes: LENGTH_BYTES });
                if !list.is_list {
                    return Err(Response::WrongType);
                }
                let size_bytes = within_bound(list.size_bytes + element.len() + LENGTH_BYTES)?;
                written.insert(key, Shape { is_list: true, size_bytes });
            }
        }
    }
    Ok(())
}
