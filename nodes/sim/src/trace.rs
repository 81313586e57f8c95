//! What happened, as a fingerprint always and in words when asked for.

use protocol::{NodeId, Time};
use std::fmt;

/// What happened in a run.
#[derive(Debug)]
pub(crate) struct Trace {
    fingerprint: u64,
    events: Option<Vec<TraceEvent>>,
    messages: u64,
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
        /// The message, shortened.
        label: String,
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
        /// Where.
        node: NodeId,
        /// The request, shortened.
        label: String,
    },
    /// A node answers a client.
    Reply {
        /// Who.
        node: NodeId,
        /// The answer, shortened.
        label: String,
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

/// What is kept of a message's words.
const LABEL_CHARS_MAX: usize = 160;

/// The words of something, shortened.
pub(crate) fn label(thing: &impl fmt::Debug) -> String {
    let mut words = format!("{thing:?}");
    if let Some((end, _)) = words.char_indices().nth(LABEL_CHARS_MAX) {
        words.truncate(end);
        words.push('…');
    }
    words
}

impl Trace {
    pub(crate) fn new(in_words: bool) -> Self {
        Self { fingerprint: 0xcbf2_9ce4_8422_2325, events: in_words.then(Vec::new), messages: 0 }
    }

    /// Adds to the fingerprint.
    pub(crate) fn mix(&mut self, number: u64) {
        self.fingerprint = (self.fingerprint ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    pub(crate) fn next_message(&mut self) -> u64 {
        self.messages += 1;
        self.messages
    }

    /// Adds words, if they are asked for.
    pub(crate) fn tell(&mut self, at: Time, what: impl FnOnce() -> TraceWhat) {
        if let Some(events) = &mut self.events {
            events.push(TraceEvent { at, what: what() });
        }
    }

    /// Whether words are asked for.
    pub(crate) fn in_words(&self) -> bool {
        self.events.is_some()
    }

    pub(crate) fn events(&self) -> &[TraceEvent] {
        self.events.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for TraceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.at)?;
        match &self.what {
            TraceWhat::Sent { message, from, to, label } => write!(f, "{from} → {to} #{message} {label}"),
            TraceWhat::Received { message } => write!(f, "#{message} arrives"),
            TraceWhat::Dropped { message, why } => write!(f, "#{message} is lost: {why}"),
            TraceWhat::Request { node, label } => write!(f, "{node} is asked {label}"),
            TraceWhat::Reply { node, label } => write!(f, "{node} answers {label}"),
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
