//! What happened, as a fingerprint always and in words when asked for.

use protocol::{ClientId, Describe, NodeId, Protocol, Time, codec};
use std::collections::BTreeMap;
use std::fmt;

/// What happened in a run.
pub(crate) struct Trace<P: Protocol> {
    fingerprint: u64,
    words: Option<InWords<P>>,
    messages: u64,
}

struct InWords<P: Protocol> {
    events: Vec<TraceEvent>,
    /// The last message of each kind that a node got from another in its life.
    told: BTreeMap<(NodeId, NodeId, &'static str), P::Message>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// True time.
    pub at: Time,
    /// What.
    pub what: TraceWhat,
}

/// What may happen. Messages are numbered; a duplicate has a number of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceWhat {
    /// A message leaves.
    Sent {
        /// Its number.
        message: u64,
        /// Who sends.
        from: NodeId,
        /// To whom.
        to: NodeId,
        /// What sort of message.
        kind: &'static str,
        /// Its line.
        line: String,
        /// Whether it tells its receiver nothing new, as heartbeats and duplicates do.
        repeats: bool,
    },
    /// A message arrives.
    Received {
        /// Its number.
        message: u64,
    },
    /// A message never arrives.
    Dropped {
        /// Its number.
        message: u64,
        /// Why.
        why: &'static str,
    },
    /// A client's request arrives.
    Request {
        /// Whose.
        client: ClientId,
        /// Where.
        node: NodeId,
        /// Its line.
        line: String,
    },
    /// A node answers a client.
    Reply {
        /// Whom.
        client: ClientId,
        /// Who.
        node: NodeId,
        /// The answer's line.
        line: String,
    },
    /// A node's life begins.
    Started {
        /// Who.
        node: NodeId,
        /// How many records its journal held.
        records: u64,
    },
    /// A node's life ends.
    Stopped {
        /// Who.
        node: NodeId,
        /// Why.
        why: String,
    },
    /// A replica's role or epoch is another one.
    Role {
        /// Who.
        node: NodeId,
        /// The role, in the protocol's words.
        role: String,
        /// Term, view or ballot.
        epoch: u64,
        /// Whether it leads.
        leads: bool,
    },
    /// A node stops for a while, or goes on.
    Paused {
        /// Who.
        node: NodeId,
        /// Whether it stops.
        paused: bool,
    },
    /// Records reached the disk.
    Durable {
        /// Whose.
        node: NodeId,
        /// All before this one.
        before: u64,
    },
    /// Somebody who drives the cluster says something.
    Note(String),
}

impl<P: Protocol> Trace<P> {
    pub(crate) fn new(in_words: bool) -> Self {
        let words = in_words.then(|| InWords { events: Vec::new(), told: BTreeMap::new() });
        Self { fingerprint: 0xcbf2_9ce4_8422_2325, words, messages: 0 }
    }

    /// Adds to the fingerprint.
    pub(crate) fn mix(&mut self, number: u64) {
        self.fingerprint = (self.fingerprint ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Adds words, if they are asked for.
    pub(crate) fn tell(&mut self, at: Time, what: impl FnOnce() -> TraceWhat) {
        if let Some(words) = &mut self.words {
            words.events.push(TraceEvent { at, what: what() });
        }
    }

    /// A message leaves; gives it its number.
    pub(crate) fn sent(&mut self, at: Time, (from, to): (NodeId, NodeId), message: &P::Message) -> u64 {
        self.messages += 1;
        let number = self.messages;
        if let Some(words) = &mut self.words {
            let kind = message.kind();
            let repeats = words.told.get(&(from, to, kind)).is_some_and(|told| message.repeats(told));
            let line = message.to_string();
            let what = TraceWhat::Sent { message: number, from, to, kind, line, repeats };
            words.events.push(TraceEvent { at, what });
        }
        number
    }

    /// The network has made two of a message; gives the second one its number.
    pub(crate) fn doubled(&mut self, at: Time, (from, to): (NodeId, NodeId), message: &P::Message) -> u64 {
        self.messages += 1;
        let number = self.messages;
        self.tell(at, || {
            let (kind, line) = (message.kind(), message.to_string());
            TraceWhat::Sent { message: number, from, to, kind, line, repeats: true }
        });
        number
    }

    /// A message arrives.
    pub(crate) fn received(
        &mut self,
        at: Time,
        number: u64,
        (from, to): (NodeId, NodeId),
        message: &P::Message,
    ) {
        if let Some(words) = &mut self.words {
            let copy = codec::decode(&codec::encode(message)).expect("what was encoded can be decoded");
            words.told.insert((from, to, message.kind()), copy);
            words.events.push(TraceEvent { at, what: TraceWhat::Received { message: number } });
        }
    }

    /// A node's life ends: it forgets what it was told.
    pub(crate) fn stopped(&mut self, at: Time, node: NodeId, why: impl fmt::Display) {
        if let Some(words) = &mut self.words {
            words.told.retain(|(_, to, _), _| *to != node);
            let why = why.to_string();
            words.events.push(TraceEvent { at, what: TraceWhat::Stopped { node, why } });
        }
    }

    /// Whether words are asked for.
    pub(crate) fn in_words(&self) -> bool {
        self.words.is_some()
    }

    pub(crate) fn events(&self) -> &[TraceEvent] {
        self.words.as_ref().map_or(&[], |words| &words.events)
    }
}

impl fmt::Display for TraceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.at)?;
        match &self.what {
            TraceWhat::Sent { message, from, to, line, repeats, .. } => {
                let again = if *repeats { " again" } else { "" };
                write!(f, "{from} → {to} #{message}{again} {line}")
            }
            TraceWhat::Received { message } => write!(f, "#{message} arrives"),
            TraceWhat::Dropped { message, why } => write!(f, "#{message} is lost: {why}"),
            TraceWhat::Request { client, node, line } => write!(f, "{client} asks {node} {line}"),
            TraceWhat::Reply { client, node, line } => write!(f, "{node} answers {client} {line}"),
            TraceWhat::Started { node, records } => write!(f, "{node} starts with {records} records"),
            TraceWhat::Stopped { node, why } => write!(f, "{node} stops: {why}"),
            TraceWhat::Role { node, role, epoch, .. } => write!(f, "{node} is {role} in {epoch}"),
            TraceWhat::Paused { node, paused: true } => write!(f, "{node} pauses"),
            TraceWhat::Paused { node, paused: false } => write!(f, "{node} goes on"),
            TraceWhat::Durable { node, before } => write!(f, "{node} has all before @{before} on disk"),
            TraceWhat::Note(words) => f.write_str(words),
        }
    }
}
