//! Election Safety (§5.2): at most one leader can be elected in a given term.

use super::{Look, Seen, Violation};
use crate::ids::Term;
use protocol::ReplicaId;
use std::collections::BTreeMap;

fn violation(what: String) -> Violation {
    Violation { invariant: "Election Safety", what }
}

#[derive(Debug, Default)]
pub(super) struct ElectionSafety {
    /// Who leads, and in which of its lives: one that has forgotten that it led is not the same leader.
    leaders: BTreeMap<Term, (ReplicaId, u64)>,
}

impl ElectionSafety {
    pub(super) fn check(&mut self, look: &Look<'_>, seen: &Seen) -> Result<(), Violation> {
        if look.term < seen.term {
            let what = format!("{} goes from {} back to {}", look.replica, seen.term, look.term);
            return Err(violation(what));
        }
        if !look.leads || (seen.leads && seen.term == look.term) {
            return Ok(());
        }
        let me = (look.replica, seen.life);
        let (leader, life) = *self.leaders.entry(look.term).or_insert(me);
        if (leader, life) == me {
            Ok(())
        } else if leader == look.replica {
            Err(violation(format!("{leader} leads {}, as it did before a restart", look.term)))
        } else {
            Err(violation(format!("{leader} and {} both lead {}", look.replica, look.term)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{follower, leader, log, violated};
    use super::*;

    #[test]
    fn two_leaders_of_one_term_are_one_too_many() {
        let log = log(&[]);
        assert_eq!(violated([leader(1, 3, &log, 0), leader(2, 4, &log, 0), leader(1, 5, &log, 0)]), None);
        let both = [leader(1, 3, &log, 0), leader(2, 4, &log, 0), leader(3, 3, &log, 0)];
        assert_eq!(violated(both), Some("Election Safety"));
    }

    #[test]
    fn a_leader_that_is_elected_again_after_a_restart_is_another_one() {
        let log = log(&[]);
        let mut invariants = super::super::Invariants::default();
        invariants.check(leader(1, 3, &log, 0)).unwrap();
        invariants.restarted(ReplicaId(1));
        let again = invariants.check(leader(1, 3, &log, 0));
        assert_eq!(again.unwrap_err().invariant, "Election Safety");
    }

    #[test]
    fn terms_do_not_go_back() {
        let log = log(&[]);
        assert_eq!(violated([follower(1, 3, &log, 0), follower(1, 2, &log, 0)]), Some("Election Safety"));
        assert_eq!(violated([follower(1, 3, &log, 0), follower(2, 2, &log, 0)]), None);
    }
}
