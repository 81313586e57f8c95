//! Entries of the log, and what the journal holds.

use crate::ids::{LogId, LogIndex, Term};
use crate::members::{Configuration, Member, Members};
use kv::Command;
use protocol::{Sequence, SessionId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The greatest encoding of an entry, in bytes. An entry, and a batch of entries no greater than this
/// together, fits a frame with room for its header.
pub const ENTRY_BYTES_MAX: usize = 8 << 20;

/// An entry of the log (§5.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place.
    pub index: LogIndex,
    /// The term of the leader that made it.
    pub term: Term,
    /// What it does.
    pub payload: Payload,
}

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// Nothing: it lets a new leader commit what came before it (§6.4, §5.4.2).
    Noop,
    /// Runs a command in the state machine, once per session and sequence.
    Command {
        /// Who asks.
        session: SessionId,
        /// Which of its commands.
        sequence: Sequence,
        /// What to run.
        command: Command,
    },
    /// Makes other members decide: counts as soon as it is in the log (§6).
    Configuration(Configuration),
}

impl Entry {
    /// What identifies it.
    #[must_use]
    pub fn id(&self) -> LogId {
        LogId { index: self.index, term: self.term }
    }

    /// At least as many bytes as its encoding has.
    pub(crate) fn bytes(&self) -> usize {
        match &self.payload {
            Payload::Noop => OVERHEAD_BYTES,
            Payload::Command { command, .. } => OVERHEAD_BYTES + command.encoded_bytes_max(),
            Payload::Configuration(configuration) => {
                let members: usize = configuration.sets().map(Members::len).sum();
                OVERHEAD_BYTES + members * MEMBER_BYTES
            }
        }
    }
}

/// Index, term, session and sequence as variable-length integers of at most 10 bytes, two tags.
const OVERHEAD_BYTES: usize = 4 * 10 + 2 + 2;
/// Replica and incarnation as variable-length integers of at most 5 bytes.
const MEMBER_BYTES: usize = 2 * 5;

/// A journal entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// `currentTerm` and `votedFor` (Figure 3.1); the last one counts.
    HardState {
        /// The current term.
        term: Term,
        /// Who got this replica's vote in it.
        vote: Option<Member>,
    },
    /// Appends an entry to the log, after cutting off what is at its place and beyond.
    Entry(Arc<Entry>),
    /// The log is empty and follows from a snapshot of another replica: what was before contradicts the
    /// snapshot or does not reach up to it. Without this record, nobody could tell whether an entry behind
    /// the snapshot was appended before (and contradicts it) or after (and was acknowledged).
    LogStart {
        /// The last entry in the snapshot.
        after: LogId,
    },
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id(), self.payload)
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Noop => write!(f, "noop"),
            Payload::Command { session, sequence, command } => write!(f, "{session}{sequence} {command}"),
            Payload::Configuration(configuration) => configuration.fmt(f),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Record::HardState { term, vote: None } => write!(f, "HardState {term}, no vote"),
            Record::HardState { term, vote: Some(vote) } => write!(f, "HardState {term}, vote {vote}"),
            Record::Entry(entry) => write!(f, "Entry {entry}"),
            Record::LogStart { after } => write!(f, "LogStart after {after}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use kv::MicroOp;
    use protocol::{Incarnation, ReplicaId};

    #[test]
    fn the_bound_on_an_entrys_size_is_not_below_its_encoding() {
        let b = |n: usize| Bytes::from(vec![b'x'; n]);
        let commands = [
            Command::Read { key: b(300) },
            Command::Write { key: b(1), value: b(0) },
            Command::Cas { key: b(1), from: None, to: b(1 << 17) },
            Command::Cas { key: b(1), from: Some(b(70_000)), to: b(1) },
            Command::Delete { key: b(2) },
            Command::Append { key: b(2), element: b(200) },
            Command::Scan { start: b(9), limit: u32::MAX },
            Command::Txn(vec![MicroOp::Read { key: b(1) }; 256]),
            Command::Txn(vec![
                MicroOp::Write { key: b(1), value: b(130) },
                MicroOp::Append { key: b(1), element: b(1) },
            ]),
            Command::Splice { key: b(1), position: u64::MAX, delete: u64::MAX, insert: "é".repeat(99) },
            Command::Insert { key: b(1), fields: vec![b(100); 64] },
            Command::Update { key: b(1), field: u32::MAX, value: b(16_384) },
        ];
        let (session, sequence) = (SessionId(u64::MAX), Sequence(u64::MAX));
        let mut payloads = commands.map(|command| Payload::Command { session, sequence, command }).to_vec();
        let all = (0..31).map(|n| (ReplicaId(u32::MAX - n), Incarnation(u32::MAX))).collect();
        let all = Members::new(all).unwrap();
        payloads.push(Payload::Configuration(Configuration { old: Some(all.clone()), new: all }));
        for payload in payloads {
            let entry = Entry { index: LogIndex(u64::MAX), term: Term(u64::MAX), payload };
            let encoded = protocol::codec::encode(&entry).len();
            assert!(entry.bytes() >= encoded, "{} < {encoded}: {entry:?}", entry.bytes());
        }
    }
}
