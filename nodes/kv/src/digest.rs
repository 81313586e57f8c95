//! Hashing of the state.
//!
//! The digest of a set (the keys, the sessions) is the sum of its members' hashes, so that it depends on what is in
//! the set and not on how it came there, and a change costs no more than hashing what changed. A list and a record
//! are sums likewise, of their elements' hashes each mixed with its position.
//!
//! 64 bits of xxh3 tell correct replicas that diverged; they prove nothing about one that lies.

use crate::response::{MicroResponse, Response};
use crate::value::Value;
use ropey::Rope;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Combines two numbers into a hash of the pair: the finaliser of MurmurHash3 over both, one after the other.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    finalise(finalise(a).wrapping_add(b))
}

fn finalise(hash: u64) -> u64 {
    // Zero is a fixed point of the rounds below; no small number may be.
    let mut hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

pub(crate) fn of_bytes(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// Keys fall into so many ranges, by their hashes.
pub(crate) const RANGES: usize = 16;

/// The range of a key.
pub(crate) fn range_of(key: &[u8]) -> usize {
    range_of_hash(of_bytes(key))
}

/// The range of a key with this hash.
pub(crate) fn range_of_hash(key_hash: u64) -> usize {
    (key_hash >> (64 - RANGES.ilog2())) as usize
}

/// An element of a list, or a field of a record.
pub(crate) fn of_element(position: usize, element: &[u8]) -> u64 {
    mix(position as u64, of_bytes(element))
}

/// What of a value's hash can be kept up to date piece by piece.
pub(crate) fn of_body(value: &Value) -> u64 {
    fn sum<'a>(elements: impl Iterator<Item = &'a bytes::Bytes>) -> u64 {
        elements.enumerate().fold(0, |sum, (i, element)| sum.wrapping_add(of_element(i, element)))
    }
    match value {
        Value::Bytes(bytes) => of_bytes(bytes),
        Value::List(elements) => sum(elements.iter()),
        Value::Record(fields) => sum(fields.iter()),
        Value::Text(text) => of_text(text),
    }
}

pub(crate) fn of_text(text: &Rope) -> u64 {
    let mut hasher = Xxh3::new();
    text.chunks().for_each(|chunk| hasher.update(chunk.as_bytes()));
    hasher.digest()
}

/// The hash of a value whose body hashes to `body`.
pub(crate) fn of_value(value: &Value, body: u64) -> u64 {
    let kind = match value {
        Value::Bytes(_) => 1,
        Value::List(_) => 2,
        Value::Record(_) => 3,
        Value::Text(_) => 4,
    };
    let parts = match value {
        Value::List(elements) => elements.len(),
        Value::Record(fields) => fields.len(),
        Value::Bytes(_) | Value::Text(_) => 1,
    };
    mix(mix(kind, parts as u64), body)
}

fn of_optional(value: Option<&Value>) -> u64 {
    value.map_or(0, |value| of_value(value, of_body(value)))
}

pub(crate) fn of_response(response: &Response) -> u64 {
    match response {
        Response::Done => mix(1, 0),
        Response::Value(value) => mix(2, of_optional(value.as_ref())),
        Response::Swapped(swapped) => mix(3, u64::from(*swapped)),
        Response::Deleted(deleted) => mix(4, u64::from(*deleted)),
        Response::Length(length) => mix(5, *length),
        Response::Rows(rows) => rows.iter().fold(mix(6, rows.len() as u64), |hash, (key, value)| {
            mix(mix(hash, of_bytes(key)), of_optional(Some(value)))
        }),
        Response::Txn(answers) => {
            answers.iter().fold(mix(7, answers.len() as u64), |hash, answer| match answer {
                MicroResponse::Value(value) => mix(mix(hash, 1), of_optional(value.as_ref())),
                MicroResponse::Done => mix(hash, 2),
            })
        }
        Response::WrongType => mix(8, 0),
        Response::OutOfRange => mix(9, 0),
        Response::TooLarge => mix(10, 0),
    }
}
