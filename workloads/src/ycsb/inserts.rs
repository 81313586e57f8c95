//! Which records are there: numbers are handed out in order, and count once all before them are acknowledged.

use std::collections::BTreeSet;

/// Hands out the numbers of records to insert. A record whose insertion was not acknowledged is handed out again, so that a
/// single failure does not keep all later records from being read.
#[derive(Debug)]
pub(crate) struct Inserts {
    next: u64,
    present: u64,
    /// Acknowledged, but one before them is not.
    ahead: BTreeSet<u64>,
    again: BTreeSet<u64>,
}

impl Inserts {
    /// `present` records are there already.
    pub(crate) fn new(present: u64) -> Self {
        Self { next: present, present, ahead: BTreeSet::new(), again: BTreeSet::new() }
    }

    /// A record to insert.
    pub(crate) fn take(&mut self) -> u64 {
        self.take_below(u64::MAX).expect("numbers do not run out")
    }

    /// A record to insert, if one below `end` is left.
    pub(crate) fn take_below(&mut self, end: u64) -> Option<u64> {
        if let Some(record) = self.again.pop_first() {
            return Some(record);
        }
        let record = self.next;
        (record < end).then(|| {
            self.next += 1;
            record
        })
    }

    pub(crate) fn acknowledge(&mut self, record: u64) {
        self.ahead.insert(record);
        while self.ahead.remove(&self.present) {
            self.present += 1;
        }
    }

    pub(crate) fn give_back(&mut self, record: u64) {
        self.again.insert(record);
    }

    /// All records below this are there.
    pub(crate) fn present(&self) -> u64 {
        self.present
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_gap_hides_what_is_behind_it_until_it_is_filled() {
        let mut inserts = Inserts::new(10);
        assert_eq!([inserts.take(), inserts.take(), inserts.take()], [10, 11, 12]);
        inserts.acknowledge(12);
        inserts.give_back(10);
        inserts.acknowledge(11);
        assert_eq!(inserts.present(), 10);
        assert_eq!(inserts.take(), 10, "what failed is tried again first");
        inserts.acknowledge(10);
        assert_eq!(inserts.present(), 13);
        assert_eq!(inserts.take(), 13);
    }

    proptest! {
        #[test]
        fn all_below_the_mark_is_acknowledged_whatever_the_order(choices in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..200)) {
            let mut inserts = Inserts::new(0);
            let mut open = Vec::new();
            let mut acknowledged = BTreeSet::new();
            for (ok, index) in choices {
                open.push(inserts.take());
                let record = open.swap_remove(index.index(open.len()));
                if ok {
                    inserts.acknowledge(record);
                    prop_assert!(acknowledged.insert(record), "a record was handed out twice");
                } else {
                    inserts.give_back(record);
                }
                prop_assert!((0..inserts.present()).all(|r| acknowledged.contains(&r)));
                prop_assert!(!acknowledged.contains(&inserts.present()), "the mark lags behind");
            }
        }
    }
}
