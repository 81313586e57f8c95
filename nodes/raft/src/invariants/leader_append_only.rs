//! Leader Append-Only (§5.3): a leader never overwrites or deletes entries in its log; it only appends new entries.

use super::{Look, Seen, Violation};

pub(super) fn check(look: &Look<'_>, seen: &Seen) -> Result<(), Violation> {
    let still_leads = look.leads && seen.leads && look.term == seen.term;
    let discarded = seen.last.index < look.log.base().index;
    if !still_leads || discarded || look.log.term_at(seen.last.index) == Some(seen.last.term) {
        return Ok(());
    }
    let what = format!("{}, which leads {}, has lost its entry {}", look.replica, look.term, seen.last);
    Err(Violation { invariant: "Leader Append-Only", what })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{extend, follower, leader, log, violated};
    use crate::ids::LogIndex;

    #[test]
    fn a_leader_that_loses_or_overwrites_an_entry_is_found_and_a_follower_may() {
        let before = log(&[1, 1, 2]);
        for terms in [&[1, 1][..], &[1, 1, 3], &[1, 1, 3, 3]] {
            let after = log(terms);
            assert_eq!(
                violated([leader(1, 3, &before, 0), leader(1, 3, &after, 0)]),
                Some("Leader Append-Only")
            );
            assert_eq!(violated([follower(1, 3, &before, 0), follower(1, 3, &after, 0)]), None);
        }
    }

    #[test]
    fn a_leader_may_append_and_discard() {
        let before = log(&[1, 1, 2]);
        let mut after = log(&[1, 1, 2]);
        extend(&mut after, &[3, 3], 3);
        after.compact(LogIndex(4));
        assert_eq!(violated([leader(1, 3, &before, 0), leader(1, 3, &after, 5)]), None);
    }
}
