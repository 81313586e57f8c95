//! The store against a naive implementation of the documented semantics, without any of its cleverness.

mod common;

use bytes::Bytes;
use kv::{Command, Key, Limits, MicroOp, MicroResponse, Response, Store, Value};
use proptest::prelude::*;
use protocol::{Sequence, SessionId};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
enum Naive {
    Bytes(Vec<u8>),
    List(Vec<Vec<u8>>),
    Record(Vec<Vec<u8>>),
    Text(Vec<char>),
}

type Model = BTreeMap<Vec<u8>, Naive>;

fn value(naive: &Naive) -> Value {
    let parts = |parts: &[Vec<u8>]| parts.iter().map(|part| Bytes::copy_from_slice(part)).collect::<Vec<_>>();
    match naive {
        Naive::Bytes(bytes) => Value::Bytes(Bytes::copy_from_slice(bytes)),
        Naive::List(elements) => Value::List(parts(elements).into_iter().collect()),
        Naive::Record(fields) => Value::Record(parts(fields).into()),
        Naive::Text(text) => Value::Text(text.iter().collect::<String>().into()),
    }
}

fn read(model: &Model, key: &Key) -> Option<Value> {
    model.get(&key[..]).map(value)
}

fn append(model: &mut Model, key: &Key, element: &[u8]) -> Response {
    match model.entry(key.to_vec()).or_insert(Naive::List(Vec::new())) {
        Naive::List(elements) => {
            elements.push(element.to_vec());
            Response::Length(elements.len() as u64)
        }
        Naive::Bytes(_) | Naive::Record(_) | Naive::Text(_) => Response::WrongType,
    }
}

fn splice(model: &mut Model, key: &Key, position: u64, delete: u64, insert: &str) -> Response {
    let Naive::Text(mut text) = model.get(&key[..]).cloned().unwrap_or(Naive::Text(Vec::new())) else {
        return Response::WrongType;
    };
    let (start, end) = (position as usize, (position + delete) as usize);
    if end > text.len() {
        return Response::OutOfRange;
    }
    text.splice(start..end, insert.chars());
    let length = text.len() as u64;
    model.insert(key.to_vec(), Naive::Text(text));
    Response::Length(length)
}

fn update(model: &mut Model, key: &Key, field: u32, value: &[u8]) -> Response {
    match model.entry(key.to_vec()).or_insert(Naive::Record(Vec::new())) {
        Naive::Record(fields) => {
            let field = field as usize;
            fields.resize(fields.len().max(field + 1), Vec::new());
            fields[field] = value.to_vec();
            Response::Done
        }
        Naive::Bytes(_) | Naive::List(_) | Naive::Text(_) => Response::WrongType,
    }
}

fn transact(model: &mut Model, ops: &[MicroOp]) -> Response {
    let mut copy = model.clone();
    let mut answers = Vec::new();
    for op in ops {
        answers.push(match op {
            MicroOp::Read { key } => MicroResponse::Value(read(&copy, key)),
            MicroOp::Write { key, value } => {
                copy.insert(key.to_vec(), Naive::Bytes(value.to_vec()));
                MicroResponse::Done
            }
            MicroOp::Append { key, element } => {
                if append(&mut copy, key, element) == Response::WrongType {
                    return Response::WrongType;
                }
                MicroResponse::Done
            }
        });
    }
    *model = copy;
    Response::Txn(answers)
}

fn apply(model: &mut Model, command: &Command) -> Response {
    match command {
        Command::Read { key } => Response::Value(read(model, key)),
        Command::Write { key, value } => {
            model.insert(key.to_vec(), Naive::Bytes(value.to_vec()));
            Response::Done
        }
        Command::Cas { key, from, to } => {
            let expected = from.as_ref().map(|from| Naive::Bytes(from.to_vec()));
            let swapped = model.get(&key[..]) == expected.as_ref();
            if swapped {
                model.insert(key.to_vec(), Naive::Bytes(to.to_vec()));
            }
            Response::Swapped(swapped)
        }
        Command::Delete { key } => Response::Deleted(model.remove(&key[..]).is_some()),
        Command::Append { key, element } => append(model, key, element),
        Command::Scan { start, limit } => Response::Rows(
            model
                .range(start.to_vec()..)
                .take(*limit as usize)
                .map(|(key, naive)| (Bytes::copy_from_slice(key), value(naive)))
                .collect(),
        ),
        Command::Txn(ops) => transact(model, ops),
        Command::Splice { key, position, delete, insert } => splice(model, key, *position, *delete, insert),
        Command::Insert { key, fields } => {
            model.insert(key.to_vec(), Naive::Record(fields.iter().map(|field| field.to_vec()).collect()));
            Response::Done
        }
        Command::Update { key, field, value } => update(model, key, *field, value),
    }
}

fn everything(model: &Model) -> Response {
    apply(&mut model.clone(), &scan_all())
}

fn scan_all() -> Command {
    Command::Scan { start: Bytes::new(), limit: 1000 }
}

proptest! {
    #[test]
    fn every_answer_and_the_state_are_the_models(commands in prop::collection::vec(common::command(), 1..60)) {
        let mut model = Model::new();
        let mut store = Store::new(Limits::default());
        let mut sequence = Sequence(0);
        for command in &commands {
            let (image, before) = (store.image(), everything(&model));
            sequence.0 += u64::from(!command.is_read_only());
            let got = store.apply(SessionId(1), sequence, command);
            prop_assert_eq!(got, Ok(apply(&mut model, command)), "{:?}", command);
            prop_assert_eq!(store.read(&scan_all()), everything(&model));
            prop_assert_eq!(store.len(), model.len());
            // What was done since must not show in the image taken before.
            prop_assert_eq!(Store::from_image(Limits::default(), &image).read(&scan_all()), before);
        }
    }
}
