//! A journal's records on their way to disk.
//!
//! Records are gathered while a batch is being written, and written together when it is on disk: a group commit. Whoever drives
//! this decides when a batch is taken, and on which thread it is written.

use super::JournalError;
use super::format::{Gathering, segment_name};
use protocol::JournalPosition;
use protocol::codec::{self, Wire};
use std::collections::VecDeque;

/// Memory that is kept for batches to come: so many of them, of so many bytes at most.
const SPARE_MAX: usize = 2;
const SPARE_BYTES_MAX: usize = 4 << 20;

/// The batches of a journal: gathered, being written, durable.
#[derive(Debug)]
pub struct Batches {
    /// Not taken yet, oldest first; only the last may grow.
    waiting: VecDeque<Gathering>,
    /// One was taken and is not on disk.
    under_way: bool,
    spare: Vec<Vec<u8>>,
    /// First positions, oldest first. Never empty.
    segments: VecDeque<JournalPosition>,
    next: JournalPosition,
    durable: JournalPosition,
}

impl Batches {
    /// Of a journal with these segments, whose next record is `next`.
    pub(super) fn new(segments: Vec<JournalPosition>, next: JournalPosition) -> Self {
        let (waiting, spare) = (VecDeque::new(), Vec::new());
        Self { waiting, under_way: false, spare, segments: segments.into(), next, durable: next }
    }

    /// The position that the next record gets.
    #[must_use]
    pub fn next(&self) -> JournalPosition {
        self.next
    }

    /// Every record before this one is on disk.
    #[must_use]
    pub fn durable(&self) -> JournalPosition {
        self.durable
    }

    /// The first positions of the segments, oldest first.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = JournalPosition> + '_ {
        self.segments.iter().copied()
    }

    /// Adds a record to what is written next.
    ///
    /// # Errors
    /// [`JournalError::RecordTooLarge`].
    ///
    /// # Panics
    /// If `position` is not the next one.
    pub fn append<R: Wire>(&mut self, position: JournalPosition, record: &R) -> Result<(), JournalError> {
        assert_eq!(position, self.next, "the journal and the core count alike");
        if self.waiting.is_empty() {
            let records = self.spare.pop().unwrap_or_default();
            self.waiting.push_back(Gathering { first: position, records });
        }
        let batch = self.waiting.back_mut().expect("pushed above");
        if let Some(records) = batch.add(|out| codec::encode_into(record, out))? {
            self.waiting.push_back(Gathering { first: position, records });
        }
        self.next = position.next();
        Ok(())
    }

    /// The next batch to write, unless one is being written.
    pub fn take(&mut self) -> Option<Gathering> {
        if self.under_way {
            return None;
        }
        let batch = self.waiting.pop_front()?;
        self.under_way = true;
        Some(batch)
    }

    /// The batch that was taken has been written, perhaps into a new segment.
    pub fn written(&mut self, segment: Option<JournalPosition>) {
        self.segments.extend(segment);
    }

    /// And is on disk.
    pub fn synced(&mut self, batch: Gathering) {
        self.under_way = false;
        self.durable = self.waiting.front().map_or(self.next, |waiting| waiting.first);
        let mut spare = batch.records;
        spare.clear();
        if self.spare.len() < SPARE_MAX && spare.capacity() <= SPARE_BYTES_MAX {
            self.spare.push(spare);
        }
    }

    /// Records before `before` are no longer needed: gives up the segments that hold nothing else, and tells the names of
    /// their files, oldest first, for [`super::remove`].
    pub fn discard(&mut self, before: JournalPosition) -> Vec<String> {
        let mut names = Vec::new();
        while self.segments.get(1).is_some_and(|second| *second <= before) {
            names.extend(self.segments.pop_front().map(segment_name));
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(number: u64) -> JournalPosition {
        JournalPosition(number)
    }

    fn batches() -> Batches {
        Batches::new(vec![position(0)], position(0))
    }

    fn append(batches: &mut Batches, records: std::ops::Range<u64>) {
        for number in records {
            batches.append(position(number), &number).expect("small");
        }
    }

    #[test]
    fn what_comes_while_a_batch_is_written_makes_the_next_one() {
        let mut batches = batches();
        append(&mut batches, 0..2);
        let first = batches.take().expect("two records wait");
        append(&mut batches, 2..5);
        assert!(batches.take().is_none(), "one at a time");
        assert_eq!((batches.durable(), batches.next()), (position(0), position(5)));
        batches.written(None);
        assert_eq!(batches.durable(), position(0), "written is not synced");
        batches.synced(first);
        assert_eq!(batches.durable(), position(2));
        let second = batches.take().expect("three records wait");
        assert_eq!(second.first, position(2));
        batches.synced(second);
        assert_eq!((batches.durable(), batches.take().is_none()), (position(5), true));
    }

    #[test]
    #[should_panic(expected = "the journal and the core count alike")]
    fn a_record_out_of_place_is_a_bug() {
        batches().append(position(1), &1).expect("small");
    }

    #[test]
    fn segments_go_whole_and_the_last_one_stays() {
        let mut batches = batches();
        for first in [4, 8] {
            batches.written(Some(position(first)));
        }
        assert_eq!(batches.discard(position(3)), [] as [String; 0]);
        assert_eq!(batches.discard(position(7)), [segment_name(position(0))]);
        assert_eq!(batches.discard(position(99)), [segment_name(position(4))]);
        assert_eq!(batches.segments().collect::<Vec<_>>(), [position(8)]);
    }
}
