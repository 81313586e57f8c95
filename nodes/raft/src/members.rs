//! The voting members, and what a majority of them agrees on.
//!
//! Every question about membership is asked of this one value, so that a change of members can become a
//! change of this value.

use protocol::{ReplicaId, quorum};
use serde::{Deserialize, Serialize};

/// The most members that a group may have.
pub const MEMBERS_MAX: usize = 31;

/// The voting members of a group, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members(Vec<ReplicaId>);

impl Members {
    /// A group of these replicas.
    ///
    /// # Errors
    /// If there are none, too many, or one twice.
    pub fn new(mut replicas: Vec<ReplicaId>) -> Result<Self, String> {
        replicas.sort_unstable();
        if !(1..=MEMBERS_MAX).contains(&replicas.len()) {
            return Err(format!("members: {} of them, allowed are 1 to {MEMBERS_MAX}", replicas.len()));
        }
        if let Some(twice) = replicas.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("members: {} stands there twice", twice[0]));
        }
        Ok(Self(replicas))
    }

    /// Whether a replica votes.
    #[must_use]
    pub fn contains(&self, replica: ReplicaId) -> bool {
        self.0.binary_search(&replica).is_ok()
    }

    /// Everybody but `me`.
    pub(crate) fn others(&self, me: ReplicaId) -> impl Iterator<Item = ReplicaId> + '_ {
        self.0.iter().copied().filter(move |&replica| replica != me)
    }

    /// Whether `count` distinct members are a majority.
    pub(crate) fn is_majority(&self, count: usize) -> bool {
        count >= quorum::majority(self.0.len())
    }

    /// The greatest value that a majority has reached, given what each member has reached.
    pub(crate) fn agreed<T: Copy + Default + Ord>(&self, reached: impl Iterator<Item = T>) -> T {
        let mut values = [T::default(); MEMBERS_MAX];
        let mut count = 0;
        for value in reached {
            values[count] = value;
            count += 1;
        }
        assert_eq!(count, self.0.len(), "each member reaches one value");
        let values = &mut values[..count];
        values.sort_unstable();
        values[count - quorum::majority(count)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(n: u32) -> Members {
        Members::new((1..=n).map(ReplicaId).collect()).unwrap()
    }

    #[test]
    fn a_value_is_agreed_when_a_majority_has_reached_it_and_no_greater_one() {
        assert_eq!(group(1).agreed([7].into_iter()), 7);
        assert_eq!(group(3).agreed([9, 0, 4].into_iter()), 4);
        assert_eq!(group(4).agreed([9, 0, 4, 5].into_iter()), 4);
        assert_eq!(group(5).agreed([1, 2, 3, 4, 5].into_iter()), 3);
    }

    #[test]
    fn a_group_is_not_empty_and_names_nobody_twice() {
        assert!(Members::new(Vec::new()).is_err());
        assert!(Members::new(vec![ReplicaId(2), ReplicaId(1), ReplicaId(2)]).is_err());
        assert!(Members::new((0..=31).map(ReplicaId).collect()).is_err());
    }
}
