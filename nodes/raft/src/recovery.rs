//! What a replica is after a restart: the newest snapshot, and what the journal adds to it.
//!
//! Only `currentTerm`, `votedFor`, the log and snapshots survive (Figure 3.1); the commit index is learnt again.
//!
//! The journal may begin late: records before a discard point are gone, perhaps not all of them (a driver discards
//! whole segments), so it may begin in the middle of a stretch of log that was cut off later. And it may
//! lag behind the snapshot: a snapshot of another replica's can be durable when the record that says so is not.

use crate::ids::{LogId, LogIndex, Term};
use crate::members::Member;
use crate::record::{Entry, Payload, Record};
use protocol::{JournalPosition, RecoverError, SnapshotId};
use std::collections::VecDeque;
use std::sync::Arc;

/// What the disk holds.
#[derive(Debug)]
pub(crate) struct Durable {
    pub(crate) term: Term,
    pub(crate) vote: Option<Member>,
    /// What the log follows: the snapshot's last entry.
    pub(crate) base: LogId,
    /// The entries behind it, with their positions.
    pub(crate) entries: VecDeque<(JournalPosition, Arc<Entry>)>,
    /// The journal has a log that contradicts the snapshot or does not reach up to it. A
    /// [`Record::LogStart`] must precede the next entry.
    pub(crate) log_must_start: bool,
}

/// The journal's log as it was after each record.
#[derive(Default)]
struct Replay {
    hard_state: Option<(Term, Option<Member>)>,
    /// What the log follows, if a [`Record::LogStart`] says so.
    start: Option<LogId>,
    entries: VecDeque<(JournalPosition, Arc<Entry>)>,
}

fn inconsistent(position: JournalPosition, reason: String) -> RecoverError {
    RecoverError::Inconsistent { position, reason }
}

impl Durable {
    /// Reads the journal behind (and before) a snapshot.
    pub(crate) fn read(
        snapshot: Option<SnapshotId>,
        records: Vec<(JournalPosition, Record)>,
    ) -> Result<Self, RecoverError> {
        let base = snapshot.map_or(LogId::ZERO, LogId::from);
        let mut replay = Replay::default();
        let mut end = JournalPosition(0);
        for (position, record) in records {
            if position < end {
                return Err(inconsistent(position, format!("it does not follow {end}")));
            }
            end = position.next();
            replay.record(position, record, base).map_err(|reason| inconsistent(position, reason))?;
        }
        replay.finish(base, end)
    }
}

impl Replay {
    fn record(&mut self, position: JournalPosition, record: Record, base: LogId) -> Result<(), String> {
        match record {
            Record::HardState { term, vote } => self.hard_state(term, vote),
            Record::Entry(entry) => self.entry(position, entry),
            Record::LogStart { after } if after.index > base.index => {
                Err(format!("the log starts after {after}, but the snapshot ends at {base}"))
            }
            Record::LogStart { after } => {
                self.entries.clear();
                self.start = Some(after);
                Ok(())
            }
        }
    }

    fn hard_state(&mut self, term: Term, vote: Option<Member>) -> Result<(), String> {
        if let Some((old_term, old_vote)) = self.hard_state {
            if term < old_term {
                return Err(format!("the term goes from {old_term} back to {term}"));
            }
            if term == old_term && old_vote.is_some() && vote != old_vote {
                return Err(format!("the vote in {term} goes from {old_vote:?} to {vote:?}"));
            }
        }
        self.hard_state = Some((term, vote));
        Ok(())
    }

    /// An entry cuts off what is at its place and beyond, then follows what is left.
    fn entry(&mut self, position: JournalPosition, entry: Arc<Entry>) -> Result<(), String> {
        if entry.index == LogIndex::ZERO || entry.term == Term::ZERO {
            return Err(format!("there is no entry {}", entry.id()));
        }
        if let Payload::Configuration(configuration) = &entry.payload {
            configuration.validate()?;
        }
        while self.entries.back().is_some_and(|(_, last)| last.index >= entry.index) {
            self.entries.pop_back();
        }
        if let Some(last) = self.entries.back().map(|(_, last)| last.id()).or(self.start)
            && (entry.index != last.index.next() || entry.term < last.term)
        {
            return Err(format!("entry {} does not follow {last}", entry.id()));
        }
        self.entries.push_back((position, entry));
        Ok(())
    }

    /// The id of the journal's entry at `index`, if it is known.
    fn id_at(&self, index: LogIndex) -> Option<LogId> {
        if let Some(start) = self.start.filter(|start| start.index == index) {
            return Some(start);
        }
        let first = self.entries.front()?.1.index.0;
        let offset = usize::try_from(index.0.checked_sub(first)?).ok()?;
        self.entries.get(offset).map(|(_, entry)| entry.id())
    }

    fn finish(self, base: LogId, end: JournalPosition) -> Result<Durable, RecoverError> {
        if let Some((position, first)) = self.entries.front()
            && first.index > base.index.next()
        {
            let reason = format!("entry {} is the first one, but the snapshot ends at {base}", first.id());
            return Err(inconsistent(*position, reason));
        }
        let follows = match self.id_at(base.index) {
            Some(id) => id == base,
            // The entry itself is discarded, so it is in an earlier snapshot, so it is the same.
            None => self.entries.front().is_some_and(|(_, first)| first.index == base.index.next()),
        };
        let mut entries = self.entries;
        if follows {
            entries.retain(|(_, entry)| entry.index > base.index);
        } else {
            entries.clear();
        }
        let (term, vote) = self.hard_state.unwrap_or_default();
        let last = entries.back().map_or(base, |(_, entry)| entry.id());
        if last.term > term || base.term > term {
            return Err(inconsistent(end, format!("the log ends at {last}, but the term is only {term}")));
        }
        if let Some((position, first)) = entries.front()
            && first.term < base.term
        {
            return Err(inconsistent(
                *position,
                format!("entry {} does not follow the snapshot {base}", first.id()),
            ));
        }
        // At the very first start there is nothing to contradict.
        let log_must_start = !follows && base != LogId::ZERO;
        Ok(Durable { term, vote, base, entries, log_must_start })
    }
}
