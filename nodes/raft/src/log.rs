//! The log (§5.3), from behind the last discarded entry on, held in memory.

use crate::ids::{LogId, LogIndex, Term};
use crate::record::Entry;
use protocol::JournalPosition;
use std::collections::VecDeque;
use std::sync::Arc;

/// The entries from [`Log::base`] on. An entry is decoded or made once and shared from here with the journal
/// and with messages to every follower.
#[derive(Clone, Debug)]
pub struct Log {
    base: LogId,
    base_bytes_end: u64,
    slots: VecDeque<Slot>,
}

#[derive(Clone, Debug)]
struct Slot {
    entry: Arc<Entry>,
    position: JournalPosition,
    /// Bytes of all entries up to this one, since the replica started: the size of any range is a difference.
    bytes_end: u64,
}

impl Log {
    pub(crate) fn new(base: LogId) -> Self {
        Self { base, base_bytes_end: 0, slots: VecDeque::new() }
    }

    /// What the first entry held here follows: the last one discarded.
    #[must_use]
    pub fn base(&self) -> LogId {
        self.base
    }

    /// The last entry, held here or discarded.
    #[must_use]
    pub fn last(&self) -> LogId {
        self.slots.back().map_or(self.base, |slot| slot.entry.id())
    }

    /// The entries held here, in order.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        self.slots.iter().map(|slot| &slot.entry)
    }

    /// An entry, if it is held here.
    #[must_use]
    pub fn entry(&self, index: LogIndex) -> Option<&Arc<Entry>> {
        self.slot(index).map(|slot| &slot.entry)
    }

    /// The term of an entry, if it is held here or is the last one discarded.
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index { Some(self.base.term) } else { self.entry(index).map(|e| e.term) }
    }

    fn slot(&self, index: LogIndex) -> Option<&Slot> {
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        self.slots.get(usize::try_from(offset).ok()?)
    }

    /// The index of the slot at `offset`.
    fn index_of(&self, offset: usize) -> LogIndex {
        LogIndex(self.base.index.0 + 1 + offset as u64)
    }

    /// The entries whose records lie at `position` or behind it. Records are never moved, so this is what was appended
    /// since the journal's end was there, whatever was cut off meanwhile.
    pub(crate) fn since(&self, position: JournalPosition) -> impl Iterator<Item = &Arc<Entry>> {
        let count = self.slots.iter().rev().take_while(|slot| slot.position >= position).count();
        self.slots.range(self.slots.len() - count..).map(|slot| &slot.entry)
    }

    /// A position behind the records of all entries held here.
    pub(crate) fn journal_end(&self) -> JournalPosition {
        self.slots.back().map_or(JournalPosition(0), |slot| slot.position.next())
    }

    /// Where the journal has the first entry held here.
    pub(crate) fn first_position(&self) -> Option<JournalPosition> {
        self.slots.front().map(|slot| slot.position)
    }

    pub(crate) fn push(&mut self, entry: Arc<Entry>, position: JournalPosition) {
        let last = self.last();
        assert_eq!(entry.index, last.index.next(), "an entry follows the last one, {last}");
        assert!(entry.term >= last.term, "terms do not decrease: {} after {last}", entry.id());
        let bytes_end = self.bytes_end(last.index) + entry.bytes() as u64;
        self.slots.push_back(Slot { entry, position, bytes_end });
    }

    /// Cuts off the entry at `index` and all that follow.
    pub(crate) fn truncate(&mut self, index: LogIndex) {
        assert!(index > self.base.index, "{index} is discarded, {} was the last of that", self.base);
        let keep = index.0 - self.base.index.0 - 1;
        self.slots.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
    }

    /// Discards the entries up to `upto`.
    pub(crate) fn compact(&mut self, upto: LogIndex) {
        while self.base.index < upto {
            let slot = self.slots.pop_front().expect("only what is held here is discarded");
            self.base = slot.entry.id();
            self.base_bytes_end = slot.bytes_end;
        }
    }

    /// Discards everything: the log follows from `base` now.
    pub(crate) fn reset(&mut self, base: LogId) {
        self.base_bytes_end = self.bytes_end(self.last().index);
        self.base = base;
        self.slots.clear();
    }

    /// Bytes of all entries up to `index`, since the replica started. For differences.
    pub(crate) fn bytes_end(&self, index: LogIndex) -> u64 {
        self.slot(index).map_or(self.base_bytes_end, |slot| slot.bytes_end)
    }

    /// The entries from `from` on, in at most `bytes_max` bytes, but at least one.
    pub(crate) fn batch(&self, from: LogIndex, bytes_max: usize) -> Vec<Arc<Entry>> {
        let start =
            from.0.checked_sub(self.base.index.0 + 1).expect("what is discarded is not sent") as usize;
        let limit = self.bytes_end(from.previous()) + bytes_max as u64;
        let whole = self.slots.len() - start;
        let fits = match self.slots.back() {
            Some(last) if last.bytes_end > limit => {
                self.slots.partition_point(|slot| slot.bytes_end <= limit).saturating_sub(start)
            }
            _ => whole,
        };
        let count = fits.max(1).min(whole);
        self.slots.range(start..start + count).map(|slot| Arc::clone(&slot.entry)).collect()
    }

    /// The last entry that the journal has before position `before`.
    pub(crate) fn durable_upto(&self, before: JournalPosition) -> LogIndex {
        // The newest entry first: with every turn made durable at once there is nothing to search.
        match self.slots.back() {
            Some(last) if last.position >= before => {
                self.index_of(self.slots.partition_point(|slot| slot.position < before)).previous()
            }
            _ => self.last().index,
        }
    }

    /// The first index held here whose term is that of `index`.
    pub(crate) fn first_of_term_at(&self, index: LogIndex) -> LogIndex {
        let term = self.term_at(index).expect("asked about an entry held here");
        self.index_of(self.slots.partition_point(|slot| slot.entry.term < term))
    }

    /// The last index of `term` held here, if there is one.
    pub(crate) fn last_of_term(&self, term: Term) -> Option<LogIndex> {
        let end = self.slots.partition_point(|slot| slot.entry.term <= term);
        let last = self.slots.get(end.checked_sub(1)?)?;
        (last.entry.term == term).then_some(last.entry.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Payload;

    /// A log behind `base` with entries of these terms; the journal has entry `i` at position `10 i`.
    fn log(base: LogId, terms: &[u64]) -> Log {
        let mut log = Log::new(base);
        for &term in terms {
            let index = log.last().index.next();
            let entry = Entry { index, term: Term(term), payload: Payload::Noop };
            log.push(Arc::new(entry), JournalPosition(10 * index.0));
        }
        log
    }

    const BASE: LogId = LogId { index: LogIndex(4), term: Term(2) };

    #[test]
    fn entries_are_found_by_index_and_the_base_knows_its_term_only() {
        let log = log(BASE, &[2, 3, 3]);
        assert_eq!(log.last(), LogId { index: LogIndex(7), term: Term(3) });
        let terms: Vec<_> = (3..=8).map(|i| log.term_at(LogIndex(i))).collect();
        assert_eq!(terms, [None, Some(Term(2)), Some(Term(2)), Some(Term(3)), Some(Term(3)), None]);
        assert!(log.entry(LogIndex(4)).is_none() && log.entry(LogIndex(5)).is_some());
    }

    #[test]
    fn the_run_of_a_term_is_found_from_both_ends() {
        let log = log(BASE, &[2, 3, 3, 5]);
        assert_eq!(log.first_of_term_at(LogIndex(7)), LogIndex(6));
        assert_eq!(log.first_of_term_at(LogIndex(5)), LogIndex(5));
        assert_eq!(log.last_of_term(Term(3)), Some(LogIndex(7)));
        assert_eq!(log.last_of_term(Term(4)), None);
        assert_eq!(log.last_of_term(Term(1)), None);
        assert_eq!(log.last_of_term(Term(5)), Some(LogIndex(8)));
    }

    #[test]
    fn truncating_compacting_and_resetting_move_the_ends() {
        let mut log = log(BASE, &[2, 3, 3, 5]);
        log.truncate(LogIndex(8));
        assert_eq!(log.last(), LogId { index: LogIndex(7), term: Term(3) });
        log.compact(LogIndex(6));
        assert_eq!(log.base(), LogId { index: LogIndex(6), term: Term(3) });
        assert_eq!(log.first_position(), Some(JournalPosition(70)));
        log.reset(LogId { index: LogIndex(20), term: Term(6) });
        assert_eq!((log.last().index, log.first_position()), (LogIndex(20), None));
    }

    #[test]
    fn a_batch_is_bounded_by_bytes_and_never_empty() {
        let log = log(BASE, &[2, 3, 3, 5]);
        let one = log.entry(LogIndex(5)).unwrap().bytes();
        let indexes = |from: u64, bytes: usize| -> Vec<u64> {
            log.batch(LogIndex(from), bytes).iter().map(|e| e.index.0).collect()
        };
        assert_eq!(indexes(5, 1 << 20), [5, 6, 7, 8]);
        assert_eq!(indexes(6, 2 * one), [6, 7]);
        assert_eq!(indexes(6, 2 * one - 1), [6]);
        assert_eq!(indexes(7, 1), [7]);
        assert_eq!(indexes(8, 1), [8]);
    }

    #[test]
    fn what_is_durable_follows_from_positions() {
        let log = log(BASE, &[2, 3, 3]);
        let upto: Vec<_> =
            [0, 50, 51, 60, 70, 71, 999].map(|p| log.durable_upto(JournalPosition(p)).0).into();
        assert_eq!(upto, [4, 4, 5, 5, 6, 7, 7]);
    }

    #[test]
    fn sizes_of_ranges_survive_discarding() {
        let mut log = log(BASE, &[2, 3, 3, 5]);
        let size = log.bytes_end(LogIndex(8)) - log.bytes_end(LogIndex(6));
        log.compact(LogIndex(6));
        assert_eq!(log.bytes_end(LogIndex(8)) - log.bytes_end(LogIndex(6)), size);
        let end = log.bytes_end(LogIndex(8));
        log.reset(BASE);
        assert_eq!(log.bytes_end(LogIndex(4)), end, "the count goes on");
    }
}
