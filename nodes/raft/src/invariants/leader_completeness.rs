//! Leader Completeness (§5.4): if an entry is committed in a given term, then it will be present in the logs of the
//! leaders for all higher-numbered terms.
//!
//! The last committed entry stands for all before it (Log Matching).

use super::{Look, Violation};
use crate::ids::{LogId, Term};

#[derive(Debug, Default)]
pub(super) struct LeaderCompleteness {
    /// The last entry that any replica took for committed, …
    committed: LogId,
    /// … and the term that it was in. A leader of an earlier one may not know.
    in_term: Term,
}

impl LeaderCompleteness {
    pub(super) fn committed(&self) -> LogId {
        self.committed
    }

    pub(super) fn check(&mut self, look: &Look<'_>) -> Result<(), Violation> {
        if look.commit > self.committed.index {
            let term = look.log.term_at(look.commit).expect("the last committed entry's term is kept");
            self.committed = LogId { index: look.commit, term };
            self.in_term = look.term;
        }
        let LogId { index, term } = self.committed;
        let discarded = index < look.log.base().index;
        if !look.leads || look.term < self.in_term || discarded || look.log.term_at(index) == Some(term) {
            return Ok(());
        }
        let (replica, committed, in_term) = (look.replica, self.committed, self.in_term);
        let what = format!("{replica} leads {} without {committed}, committed in {in_term}", look.term);
        Err(Violation { invariant: "Leader Completeness", what })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{follower, leader, log, violated};

    #[test]
    fn a_later_leader_without_a_committed_entry_is_found() {
        let (with, without, other) = (log(&[1, 1, 2]), log(&[1, 1]), log(&[1, 1, 3]));
        let committed = leader(1, 2, &with, 3);
        assert_eq!(violated([committed, leader(2, 3, &with, 0)]), None);
        assert_eq!(violated([committed, leader(2, 3, &without, 0)]), Some("Leader Completeness"));
        assert_eq!(violated([committed, leader(2, 3, &other, 0)]), Some("Leader Completeness"));
        assert_eq!(violated([committed, follower(2, 3, &without, 0)]), None);
    }

    #[test]
    fn it_is_found_too_if_the_entry_is_committed_when_the_leader_is_in_office() {
        let (with, without) = (log(&[1, 1, 2]), log(&[1, 1]));
        let looks = [leader(2, 3, &without, 0), leader(1, 2, &with, 3), leader(2, 3, &without, 0)];
        assert_eq!(violated(looks), Some("Leader Completeness"));
    }

    #[test]
    fn an_earlier_leader_need_not_know() {
        let (with, without) = (log(&[1, 1, 2]), log(&[1, 1]));
        assert_eq!(
            violated([leader(2, 1, &without, 0), leader(1, 2, &with, 3), leader(2, 1, &without, 1)]),
            None
        );
    }
}
