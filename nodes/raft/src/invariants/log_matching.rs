//! Log Matching (§5.3): if two logs contain an entry with the same index and term, then the logs are identical in all
//! entries up through the given index.
//!
//! By induction: the same content, and a predecessor of the same term.

use super::history::History;
use super::{Look, Seen, Violation};
use crate::ids::{LogIndex, Term};
use crate::record::Entry;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct LogMatching {
    /// The first entry that any log had at an index, …
    first: History<Known>,
    /// … and those of other terms.
    others: BTreeMap<(LogIndex, Term), Known>,
}

#[derive(Clone, Debug)]
struct Known {
    entry: Arc<Entry>,
    /// The term of the entry before it.
    prev: Term,
}

impl Known {
    fn is(&self, entry: &Arc<Entry>, prev: Term) -> bool {
        // In one process all logs mostly share one entry.
        self.prev == prev && (Arc::ptr_eq(&self.entry, entry) || self.entry == *entry)
    }
}

impl LogMatching {
    pub(super) fn check(&mut self, look: &Look<'_>, seen: &Seen) -> Result<(), Violation> {
        let mut prev = None;
        for entry in look.log.since(seen.journal) {
            let prev_term = match prev.replace(entry.term) {
                Some(term) => term,
                None => look.log.term_at(entry.index.previous()).expect("an entry has a predecessor"),
            };
            let Some(first) = self.first.at(entry.index) else { continue };
            let new = || Known { entry: Arc::clone(entry), prev: prev_term };
            let first = first.get_or_insert_with(new);
            let known = if first.entry.term == entry.term {
                first
            } else {
                self.others.entry((entry.index, entry.term)).or_insert_with(new)
            };
            if !known.is(entry, prev_term) {
                let what = format!(
                    "{} has {} [{}] after an entry of {prev_term}, another log [{}] after one of {}",
                    look.replica,
                    entry.id(),
                    entry.payload,
                    known.entry.payload,
                    known.prev
                );
                return Err(Violation { invariant: "Log Matching", what });
            }
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, upto: LogIndex) {
        self.first.forget(upto);
        self.others = self.others.split_off(&(upto.next(), Term::ZERO));
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.first.len() + self.others.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{extend, follower, log, violated};
    use crate::ids::{LogId, LogIndex, Term};
    use crate::log::Log;
    use crate::record::{Entry, Payload};
    use kv::Command;
    use protocol::{JournalPosition, Sequence, SessionId};
    use std::sync::Arc;

    #[test]
    fn logs_may_part_but_an_entry_with_another_predecessor_is_found() {
        let logs = [log(&[1, 1, 3]), log(&[1, 2]), log(&[1, 2, 2]), log(&[1, 2, 3])];
        let look = |n: usize| follower(n as u32 + 1, 3, &logs[n], 0);
        assert_eq!(violated([look(0), look(1), look(2)]), None);
        assert_eq!(violated([look(0), look(1), look(3)]), Some("Log Matching"));
    }

    #[test]
    fn entries_with_one_id_and_two_contents_are_found() {
        let command = Command::Read { key: "x".into() };
        let payload = Payload::Command { session: SessionId(1), sequence: Sequence(1), command };
        let mut other = Log::new(LogId::ZERO);
        other.push(Arc::new(Entry { index: LogIndex(1), term: Term(1), payload }), JournalPosition(0));
        let log = log(&[1]);
        assert_eq!(violated([follower(1, 1, &log, 0), follower(2, 1, &other, 0)]), Some("Log Matching"));
    }

    #[test]
    fn what_comes_after_a_cut_is_looked_at() {
        let (mut good, mut bad) = (log(&[1, 1, 2]), log(&[1, 1, 2]));
        let before = log(&[1, 1, 2]);
        for (log, terms) in [(&mut good, &[3, 4][..]), (&mut bad, &[2])] {
            log.truncate(LogIndex(3));
            extend(log, terms, 3);
        }
        let other = log(&[1, 1, 3, 4]);
        let violated_with = |after: &Log| {
            violated([follower(1, 4, &before, 0), follower(2, 4, &other, 0), follower(1, 4, after, 0)])
        };
        assert_eq!(violated_with(&good), None);
        extend(&mut bad, &[4], 4);
        assert_eq!(violated_with(&bad), Some("Log Matching"));
    }
}
