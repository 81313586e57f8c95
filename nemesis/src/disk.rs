//! What disks are made to be like.

/// How a disk is worse than it should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiskCondition {
    /// It does nothing.
    pub stalled: bool,
    /// It takes so many times as long; 1: no longer than it should.
    pub times_slower: f64,
    /// It holds no more.
    pub full: bool,
}

impl Default for DiskCondition {
    fn default() -> Self {
        Self { stalled: false, times_slower: 1.0, full: false }
    }
}

impl DiskCondition {
    /// Both at once: the slower of two holds, as on links. (Products would make one sync outlast any run.)
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            stalled: self.stalled || other.stalled,
            times_slower: self.times_slower.max(other.times_slower),
            full: self.full || other.full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_two_disks_holds_and_a_full_one_stays_full() {
        let slow = |times_slower| DiskCondition { times_slower, ..DiskCondition::default() };
        let full = DiskCondition { full: true, ..DiskCondition::default() };
        let all = slow(3.0).and(slow(2.0)).and(full);
        assert_eq!(all, DiskCondition { stalled: false, times_slower: 3.0, full: true });
        assert_eq!(DiskCondition::default().and(full), full);
    }
}
