//! Commands at random, over few keys and small values so that they meet.

use bytes::Bytes;
use kv::{Command, Key, MicroOp};
use proptest::prelude::*;

pub(crate) fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        8 => "[a-d]".prop_map(Bytes::from),
        1 => "[a-d]{2}".prop_map(Bytes::from),
        1 => "[ab]{40}".prop_map(Bytes::from), // longer than what is kept inside a node of the tree
    ]
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof!["[xyz]{0,2}", "[x]{300}"].prop_map(Bytes::from)
}

fn micro_op() -> impl Strategy<Value = MicroOp> {
    prop_oneof![
        key().prop_map(|key| MicroOp::Read { key }),
        (key(), bytes()).prop_map(|(key, value)| MicroOp::Write { key, value }),
        (key(), bytes()).prop_map(|(key, element)| MicroOp::Append { key, element }),
    ]
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        2 => key().prop_map(|key| Command::Read { key }),
        2 => (key(), bytes()).prop_map(|(key, value)| Command::Write { key, value }),
        2 => (key(), prop::option::of(bytes()), bytes()).prop_map(|(key, from, to)| Command::Cas { key, from, to }),
        3 => key().prop_map(|key| Command::Delete { key }),
        3 => (key(), bytes()).prop_map(|(key, element)| Command::Append { key, element }),
        1 => ("[a-d]{0,2}", 1..6_u32).prop_map(|(start, limit)| Command::Scan { start: start.into(), limit }),
        3 => prop::collection::vec(micro_op(), 1..5).prop_map(Command::Txn),
        3 => (key(), 0..6_u64, 0..4_u64, "[pqé🦀]{0,4}")
            .prop_map(|(key, position, delete, insert)| Command::Splice { key, position, delete, insert }),
        2 => (key(), prop::collection::vec(bytes(), 1..5)).prop_map(|(key, fields)| Command::Insert { key, fields }),
        3 => (key(), 0..6_u32, bytes()).prop_map(|(key, field, value)| Command::Update { key, field, value }),
    ]
}
