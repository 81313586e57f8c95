//! State Machine Safety (§5.4.3): if a server has applied a log entry at a given index to its state machine, no other
//! server will ever apply a different log entry for the same index. And, as its consequence, the states are the same.

use super::history::History;
use super::{Look, Seen, Violation};
use crate::ids::{LogId, LogIndex, Term};

#[derive(Debug, Default)]
pub(super) struct StateMachineSafety {
    applied: History<Applied>,
}

#[derive(Clone, Copy, Debug)]
struct Applied {
    term: Term,
    /// Of the state then, if a step ended there.
    digest: Option<u64>,
}

pub(super) const NAME: &str = "State Machine Safety";

fn violation(what: String) -> Violation {
    Violation { invariant: NAME, what }
}

impl StateMachineSafety {
    pub(super) fn check(&mut self, look: &Look<'_>, seen: &Seen) -> Result<(), Violation> {
        if look.commit < seen.commit {
            let what = format!("{} goes from {} back to {}", look.replica, seen.commit, look.commit);
            return Err(violation(what));
        }
        // A snapshot brings what is before its last entry without telling the entries.
        let first = seen.commit.next().max(look.log.base().index);
        for index in (first.0..=look.commit.0).map(LogIndex) {
            self.entry(look, index)?;
        }
        self.state(look)
    }

    fn entry(&mut self, look: &Look<'_>, index: LogIndex) -> Result<(), Violation> {
        let Some(term) = look.log.term_at(index) else {
            return Err(violation(format!("{} applies {index}, which is not in its log", look.replica)));
        };
        let Some(applied) = self.applied.at(index) else { return Ok(()) };
        let applied = applied.get_or_insert(Applied { term, digest: None });
        if applied.term == term {
            return Ok(());
        }
        let (mine, other) = (LogId { index, term }, LogId { index, term: applied.term });
        Err(violation(format!("{} applies {mine}, another replica has applied {other}", look.replica)))
    }

    fn state(&mut self, look: &Look<'_>) -> Result<(), Violation> {
        let Some(Some(applied)) = self.applied.at(look.commit) else { return Ok(()) };
        let digest = *applied.digest.get_or_insert(look.digest);
        if digest == look.digest {
            return Ok(());
        }
        let (replica, commit) = (look.replica, look.commit);
        let what =
            format!("{replica} has another state at {commit}: {:016x}, not {digest:016x}", look.digest);
        Err(violation(what))
    }

    pub(super) fn forget(&mut self, upto: LogIndex) {
        self.applied.forget(upto);
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.applied.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{follower, log, violated};
    use super::super::{Invariants, Look};
    use super::*;
    use crate::log::Log;
    use protocol::ReplicaId;

    #[test]
    fn another_entry_at_an_index_is_found_even_before_the_last() {
        let (one, other) = (log(&[1, 1, 2]), log(&[1, 2, 3]));
        assert_eq!(violated([follower(1, 3, &one, 1), follower(2, 3, &other, 1)]), None);
        assert_eq!(violated([follower(1, 3, &one, 2), follower(2, 3, &other, 3)]), Some(NAME));
    }

    #[test]
    fn what_is_not_in_the_log_cannot_be_applied() {
        let log = log(&[1, 1]);
        assert_eq!(violated([follower(1, 1, &log, 3)]), Some(NAME));
    }

    #[test]
    fn a_snapshot_of_another_entry_is_found() {
        let one = log(&[1, 1, 2]);
        for (term, found) in [(1, None), (2, Some(NAME))] {
            let installed = Log::new(LogId { index: LogIndex(2), term: Term(term) });
            assert_eq!(violated([follower(1, 2, &one, 3), follower(2, 2, &installed, 2)]), found);
        }
    }

    #[test]
    fn another_state_after_the_same_entries_is_found() {
        let log = log(&[1, 1]);
        let other = Look { digest: 77, ..follower(2, 1, &log, 2) };
        assert_eq!(violated([follower(1, 1, &log, 2), other]), Some(NAME));
        assert_eq!(violated([follower(1, 1, &log, 1), other]), None);
        assert_eq!(violated([follower(2, 1, &log, 2), other]), Some(NAME), "nothing was applied");
    }

    #[test]
    fn what_is_applied_stays_applied_until_a_restart() {
        let log = log(&[1, 1]);
        assert_eq!(violated([follower(1, 1, &log, 2), follower(1, 1, &log, 1)]), Some(NAME));
        let mut invariants = Invariants::default();
        invariants.check(follower(1, 1, &log, 2)).unwrap();
        invariants.restarted(ReplicaId(1));
        invariants.check(follower(1, 1, &log, 0)).unwrap();
    }
}
