//! The paper's five properties (Figure 3; diss. Figure 3.2), checked while a group runs.
//!
//! They look at replicas from outside, one after each of its steps, and only at what the step has changed: what all
//! logs ever held, and what anybody ever committed, is remembered here, beyond the lives of replicas.
//!
//! | property | file |
//! |---|---|
//! | at most one leader in a term | `election_safety.rs` |
//! | a leader only appends to its log | `leader_append_only.rs` |
//! | an entry's index and term tell what it is, and what precedes it | `log_matching.rs` |
//! | what is committed is in the logs of later leaders | `leader_completeness.rs` |
//! | all apply the same entries, to the same effect | `state_machine_safety.rs` |

mod election_safety;
mod history;
mod leader_append_only;
mod leader_completeness;
mod log_matching;
mod state_machine_safety;

use crate::ids::{LogId, LogIndex, Term};
use crate::log::Log;
use crate::replica::Raft;
use election_safety::ElectionSafety;
use leader_completeness::LeaderCompleteness;
use log_matching::LogMatching;
use protocol::{Detector, JournalPosition, ReplicaId};
use state_machine_safety::StateMachineSafety;
use std::collections::BTreeMap;
use std::fmt;

/// A property does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The paper's name of the property.
    pub invariant: &'static str,
    /// Who and what.
    pub what: String,
}

impl Violation {
    /// What kind of evidence it is.
    #[must_use]
    pub fn detector(&self) -> Detector {
        if self.invariant == state_machine_safety::NAME { Detector::Divergence } else { Detector::Invariant }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

impl std::error::Error for Violation {}

/// All five, over all replicas of one group and all their lives.
#[derive(Debug, Default)]
pub struct Invariants {
    election_safety: ElectionSafety,
    log_matching: LogMatching,
    leader_completeness: LeaderCompleteness,
    state_machine_safety: StateMachineSafety,
    seen: BTreeMap<ReplicaId, Seen>,
}

/// How a replica was after its last step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// How often it was restarted.
    life: u64,
    term: Term,
    leads: bool,
    base: LogId,
    last: LogId,
    /// Entries whose records lie before this were looked at.
    journal: JournalPosition,
    commit: LogIndex,
    digest: u64,
    /// What was committed by anybody.
    committed: LogId,
}

/// A replica as it is now.
#[derive(Clone, Copy, Debug)]
struct Look<'a> {
    replica: ReplicaId,
    term: Term,
    leads: bool,
    log: &'a Log,
    commit: LogIndex,
    digest: u64,
}

impl Invariants {
    /// Checks what has changed since this replica was looked at last.
    ///
    /// # Errors
    /// The first property that is violated. After that nothing more that is said means much.
    pub fn after_step(&mut self, replica: &Raft) -> Result<(), Violation> {
        self.check(Look {
            replica: replica.replica(),
            term: replica.term(),
            leads: replica.is_leader(),
            log: replica.log(),
            commit: replica.commit(),
            digest: replica.store().digest(),
        })
    }

    /// A replica has lost all that was not on its disk: what it looked like means nothing any more.
    pub fn restarted(&mut self, replica: ReplicaId) {
        let seen = self.seen.entry(replica).or_default();
        // What it has discarded it does not get back.
        *seen = Seen { life: seen.life + 1, base: seen.base, ..Seen::default() };
    }

    /// A replica's disk was wiped: it begins anew, as somebody else. What it has discarded may come back to it.
    pub fn wiped(&mut self, replica: ReplicaId) {
        let seen = self.seen.entry(replica).or_default();
        *seen = Seen { life: seen.life + 1, ..Seen::default() };
    }

    fn check(&mut self, look: Look<'_>) -> Result<(), Violation> {
        let seen = *self.seen.entry(look.replica).or_default();
        let mut now = Seen {
            life: seen.life,
            term: look.term,
            leads: look.leads,
            base: look.log.base(),
            last: look.log.last(),
            journal: seen.journal.max(look.log.journal_end()),
            commit: look.commit,
            digest: look.digest,
            committed: self.leader_completeness.committed(),
        };
        if now == seen {
            return Ok(());
        }
        self.election_safety.check(&look, &seen)?;
        leader_append_only::check(&look, &seen)?;
        self.log_matching.check(&look, &seen)?;
        self.state_machine_safety.check(&look, &seen)?;
        self.leader_completeness.check(&look)?;
        now.committed = self.leader_completeness.committed();
        self.seen.insert(look.replica, now);
        if now.base != seen.base {
            self.forget();
        }
        Ok(())
    }

    /// What every replica has discarded need not be remembered.
    fn forget(&mut self) {
        let discarded = self.seen.values().map(|seen| seen.base.index).min().unwrap_or_default();
        self.log_matching.forget(discarded);
        self.state_machine_safety.forget(discarded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Entry, Payload};
    use std::sync::Arc;

    /// A log of entries of these terms.
    pub(super) fn log(terms: &[u64]) -> Log {
        let mut log = Log::new(LogId::ZERO);
        extend(&mut log, terms, 0);
        log
    }

    /// Appends entries of these terms, with records from position `at` on.
    pub(super) fn extend(log: &mut Log, terms: &[u64], at: u64) {
        for (i, &term) in terms.iter().enumerate() {
            let entry = Entry { index: log.last().index.next(), term: Term(term), payload: Payload::Noop };
            log.push(Arc::new(entry), JournalPosition(at + i as u64));
        }
    }

    /// A follower.
    pub(super) fn follower(replica: u32, term: u64, log: &Log, commit: u64) -> Look<'_> {
        let (term, commit) = (Term(term), LogIndex(commit));
        // Equal states at equal commit indexes.
        let digest = commit.0;
        Look { replica: ReplicaId(replica), term, leads: false, log, commit, digest }
    }

    pub(super) fn leader(replica: u32, term: u64, log: &Log, commit: u64) -> Look<'_> {
        Look { leads: true, ..follower(replica, term, log, commit) }
    }

    /// The name of the property that the last of these looks violates; the others violate none.
    pub(super) fn violated<'a>(looks: impl IntoIterator<Item = Look<'a>>) -> Option<&'static str> {
        let mut invariants = Invariants::default();
        let mut results = looks.into_iter().map(|look| invariants.check(look)).collect::<Vec<_>>();
        let last = results.pop().expect("somebody was looked at");
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        last.err().map(|violation| violation.invariant)
    }

    #[test]
    fn what_all_have_discarded_is_forgotten() {
        let mut invariants = Invariants::default();
        let mut log = log(&[1, 1, 1, 2]);
        invariants.check(follower(1, 2, &log, 3)).unwrap();
        invariants.check(follower(2, 2, &log, 3)).unwrap();
        log.compact(LogIndex(2));
        invariants.check(follower(1, 2, &log, 3)).unwrap();
        assert_eq!(invariants.log_matching.remembered(), 4, "n2 has them");
        invariants.restarted(ReplicaId(2));
        invariants.check(follower(2, 2, &log, 3)).unwrap();
        assert_eq!(invariants.log_matching.remembered(), 2);
        assert_eq!(invariants.state_machine_safety.remembered(), 1);
    }

    #[test]
    fn a_wiped_replica_begins_anew_and_is_another_leader() {
        let mut invariants = Invariants::default();
        let mut long = log(&[1, 1, 2]);
        invariants.check(leader(1, 2, &long, 3)).unwrap();
        long.compact(LogIndex(2));
        invariants.check(leader(1, 2, &long, 3)).unwrap();
        invariants.wiped(ReplicaId(1));
        let empty = log(&[]);
        invariants.check(follower(1, 0, &empty, 0)).unwrap();
        invariants.check(follower(1, 1, &log(&[1, 1]), 1)).unwrap();
        let again = invariants.check(leader(1, 2, &long, 3));
        assert_eq!(again.unwrap_err().invariant, "Election Safety");
    }

    #[test]
    fn a_log_that_was_looked_at_is_not_looked_at_again() {
        let mut log = log(&[1, 1, 1]);
        let mut invariants = Invariants::default();
        invariants.check(follower(1, 1, &log, 0)).unwrap();
        let seen = invariants.seen[&ReplicaId(1)];
        assert_eq!(log.since(seen.journal).count(), 0);
        log.truncate(LogIndex(2));
        assert_eq!(log.since(seen.journal).count(), 0);
        extend(&mut log, &[2, 2], 3);
        assert_eq!(log.since(seen.journal).map(|entry| entry.index.0).collect::<Vec<_>>(), [2, 3]);
    }
}
