//! What replicas tell each other, and what their journals hold.

use bytes::Bytes;
use kv::Key;
use protocol::describe::Shortened;
use protocol::{Describe, Sequence, SessionId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What decides between two writes of one register: the same on all replicas, however often the write is retried, because
/// the client has numbered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp(pub Sequence, pub SessionId);

/// A register: also a journal record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Which.
    pub key: Key,
    /// Of the write that has won so far.
    pub stamp: Stamp,
    /// What that has written.
    pub value: Bytes,
}

/// Some registers, as the sender has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gossip(pub Vec<Cell>);

impl Describe for Gossip {
    const KINDS: &'static [&'static str] = &["gossip"];

    fn kind(&self) -> &'static str {
        "gossip"
    }
}

impl fmt::Display for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gossip of {} registers", self.0.len())?;
        self.0.first().map_or(Ok(()), |first| write!(f, " from {} on", Shortened(&first.key)))
    }
}
