//! What a command touches: which commands may change places in an order without anybody noticing.

use crate::command::{Command, Key, MicroOp};

/// What a command touches. Two commands that do not [interfere](Footprint::interferes) leave the same state in either order, and are
/// answered the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint<'a> {
    /// The keys whose values decide what it does or answers.
    pub reads: Vec<&'a Key>,
    /// The keys whose values it may change.
    pub writes: Vec<&'a Key>,
    /// All keys from this one on decide what it answers. Where a scan ends follows from the keys that there are, so nothing bounds it above.
    pub scans_from: Option<&'a Key>,
    /// Whether it is recorded in its session, which decides whether it is carried out at all: all but the read-only ones. Sessions
    /// of two clients are independent as long as none is forgotten ([`crate::Limits::sessions_max`]).
    pub in_session: bool,
}

impl Command {
    /// What it touches.
    #[must_use]
    pub fn footprint(&self) -> Footprint<'_> {
        let mut footprint = Footprint { in_session: !self.is_read_only(), ..Footprint::default() };
        match self {
            Command::Read { key } => footprint.reads.push(key),
            Command::Write { key, .. } | Command::Insert { key, .. } => footprint.writes.push(key),
            Command::Cas { key, .. }
            | Command::Delete { key }
            | Command::Append { key, .. }
            | Command::Splice { key, .. }
            | Command::Update { key, .. } => footprint.changes(key),
            Command::Scan { start, .. } => footprint.scans_from = Some(start),
            Command::Txn(steps) => steps.iter().for_each(|step| match step {
                MicroOp::Read { key } => footprint.reads.push(key),
                MicroOp::Write { key, .. } => footprint.writes.push(key),
                MicroOp::Append { key, .. } => footprint.changes(key),
            }),
        }
        footprint.reads.sort_unstable();
        footprint.reads.dedup();
        footprint.writes.sort_unstable();
        footprint.writes.dedup();
        footprint
    }
}

impl<'a> Footprint<'a> {
    /// What is there decides what becomes of it.
    fn changes(&mut self, key: &'a Key) {
        self.reads.push(key);
        self.writes.push(key);
    }

    /// Whether the order of two commands may be noticed. Commands of one session always interfere, which the caller has to know: a
    /// footprint does not say whose it is.
    #[must_use]
    pub fn interferes(&self, other: &Footprint<'_>) -> bool {
        self.is_changed_by(other)
            || other.is_changed_by(self)
            || self.writes.iter().any(|key| other.writes.binary_search(key).is_ok())
    }

    fn is_changed_by(&self, other: &Footprint<'_>) -> bool {
        let reads = |key: &&Key| {
            self.reads.binary_search(key).is_ok() || self.scans_from.is_some_and(|start| *key >= start)
        };
        other.writes.iter().any(reads)
    }
}
