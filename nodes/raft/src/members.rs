//! Who votes, and what majorities agree on (§6; diss. §4).
//!
//! Every question about membership is asked of one value, the newest [`Configuration`] in the log, committed or not.

use protocol::{Incarnation, ReplicaId, quorum};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The most members that a group may have.
pub const MEMBERS_MAX: usize = 31;

/// A replica in one life of its disk. What a life has promised and acknowledged, a later one has forgotten: it is
/// somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Which replica.
    pub replica: ReplicaId,
    /// Which life of its disk.
    pub incarnation: Incarnation,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.incarnation {
            Incarnation(0) => write!(f, "{}", self.replica),
            later => write!(f, "{}{later}", self.replica),
        }
    }
}

/// Voters, of each replica one life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Members(BTreeMap<ReplicaId, Incarnation>);

impl Members {
    /// These voters.
    ///
    /// # Errors
    /// If there are none, or too many.
    pub fn new(voters: BTreeMap<ReplicaId, Incarnation>) -> Result<Self, String> {
        let members = Self(voters);
        members.validate()?;
        Ok(members)
    }

    /// These replicas, in the first life of their disks.
    ///
    /// # Errors
    /// If there are none, too many, or one twice.
    pub fn founders(replicas: &[ReplicaId]) -> Result<Self, String> {
        let founders = Self::new(replicas.iter().map(|&replica| (replica, Incarnation(0))).collect())?;
        if founders.0.len() < replicas.len() {
            return Err("members: one stands there twice".to_owned());
        }
        Ok(founders)
    }

    fn validate(&self) -> Result<(), String> {
        let count = self.0.len();
        if (1..=MEMBERS_MAX).contains(&count) {
            return Ok(());
        }
        Err(format!("members: {count} of them, allowed are 1 to {MEMBERS_MAX}"))
    }

    /// By replica.
    #[must_use]
    pub fn lives(&self) -> &BTreeMap<ReplicaId, Incarnation> {
        &self.0
    }

    /// Whether a replica votes in this life of its disk.
    #[must_use]
    pub fn contains(&self, member: Member) -> bool {
        self.0.get(&member.replica) == Some(&member.incarnation)
    }

    /// In the order of their replicas.
    pub fn iter(&self) -> impl Iterator<Item = Member> + '_ {
        self.0.iter().map(|(&replica, &incarnation)| Member { replica, incarnation })
    }

    /// How many they are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many of them decide.
    #[must_use]
    pub fn majority(&self) -> usize {
        quorum::majority(self.0.len())
    }

    /// The greatest value that a majority has reached. Those who are not among `reached` have reached none.
    fn agreed<T: Copy + Default + Ord>(&self, reached: impl Iterator<Item = T>) -> T {
        let mut values = [T::default(); MEMBERS_MAX];
        let values = &mut values[..self.0.len()];
        for (place, value) in reached.enumerate() {
            values[place] = value;
        }
        values.sort_unstable();
        values[values.len() - self.majority()]
    }
}

impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, member) in self.iter().take(MEMBERS_MAX).enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{member}")?;
        }
        f.write_str(if self.len() > MEMBERS_MAX { ",…" } else { "" })
    }
}

/// Who decides: one set of voters, or while it takes over from another, both (joint consensus, §6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// `C_old`, while it is not alone any more and not gone yet.
    pub old: Option<Members>,
    /// `C_new`.
    pub new: Members,
}

/// Whether a member votes in each set of a configuration: looked up once, and asked with every message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seats {
    old: bool,
    new: bool,
}

impl Seats {
    /// Whether it votes at all.
    pub(crate) fn any(self) -> bool {
        self.old || self.new
    }
}

impl Configuration {
    /// One set of voters.
    #[must_use]
    pub fn of(members: Members) -> Self {
        Self { old: None, new: members }
    }

    /// Whether one set takes over from another.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        self.old.is_some()
    }

    /// Its sets: one or two.
    pub fn sets(&self) -> impl Iterator<Item = &Members> {
        self.old.iter().chain(std::iter::once(&self.new))
    }

    /// What may have come from anywhere.
    pub(crate) fn validate(&self) -> Result<(), String> {
        self.sets().try_for_each(Members::validate)
    }

    /// Where a member votes.
    pub(crate) fn seats(&self, member: Member) -> Seats {
        let old = self.old.as_ref().is_some_and(|old| old.contains(member));
        Seats { old, new: self.new.contains(member) }
    }

    /// All who vote, but for `me` and other lives of its replica.
    pub(crate) fn others(&self, me: Member) -> impl Iterator<Item = Member> + '_ {
        let leaving = self.old.iter().flat_map(Members::iter).filter(|member| !self.new.contains(*member));
        self.new.iter().chain(leaving).filter(move |member| member.replica != me.replica)
    }

    /// Whether those who have granted their votes elect: a majority of each set.
    pub(crate) fn elects(&self, granted: &[Member]) -> bool {
        let votes = |set: &Members| granted.iter().filter(|voter| set.contains(**voter)).count();
        self.sets().all(|set| votes(set) >= set.majority())
    }

    /// The greatest value that a majority of each set has reached. Whoever is not among `reached` has reached none.
    pub(crate) fn agreed<T: Copy + Default + Ord>(
        &self,
        reached: impl Iterator<Item = (Seats, T)> + Clone,
    ) -> T {
        let in_new = reached.clone().filter(|(seats, _)| seats.new).map(|(_, value)| value);
        let new = self.new.agreed(in_new);
        let Some(old) = &self.old else { return new };
        let in_old = reached.filter(|(seats, _)| seats.old).map(|(_, value)| value);
        new.min(old.agreed(in_old))
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.old {
            Some(old) => write!(f, "members {old} and {}", self.new),
            None => write!(f, "members {}", self.new),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(replica: u32) -> Member {
        Member { replica: ReplicaId(replica), incarnation: Incarnation(0) }
    }

    fn members(replicas: &[u32]) -> Members {
        Members::founders(&replicas.iter().copied().map(ReplicaId).collect::<Vec<_>>()).unwrap()
    }

    fn joint(old: &[u32], new: &[u32]) -> Configuration {
        Configuration { old: Some(members(old)), new: members(new) }
    }

    fn agreed(configuration: &Configuration, values: &[(u32, u64)]) -> u64 {
        configuration
            .agreed(values.iter().map(|&(replica, value)| (configuration.seats(member(replica)), value)))
    }

    #[test]
    fn a_value_is_agreed_when_a_majority_has_reached_it_and_no_greater_one() {
        let group = |replicas: &[u32]| Configuration::of(members(replicas));
        assert_eq!(agreed(&group(&[1]), &[(1, 7)]), 7);
        assert_eq!(agreed(&group(&[1, 2, 3]), &[(1, 9), (2, 0), (3, 4)]), 4);
        assert_eq!(agreed(&group(&[1, 2, 3, 4]), &[(1, 9), (2, 0), (3, 4), (4, 5)]), 4);
        assert_eq!(agreed(&group(&[1, 2, 3, 4, 5]), &[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]), 3);
        assert_eq!(agreed(&group(&[1, 2, 3]), &[(1, 9), (4, 9), (5, 9)]), 0, "others do not vote");
    }

    #[test]
    fn two_sets_agree_each_by_a_majority_of_its_own() {
        let both = joint(&[1, 2, 3], &[3, 4, 5]);
        assert_eq!(agreed(&both, &[(1, 9), (2, 9), (3, 9)]), 0);
        assert_eq!(agreed(&both, &[(3, 9), (4, 9), (5, 9)]), 0);
        assert_eq!(agreed(&both, &[(1, 5), (3, 9), (4, 7)]), 5);
        let vote = |replicas: &[u32]| both.elects(&replicas.iter().copied().map(member).collect::<Vec<_>>());
        assert!(!vote(&[1, 2, 3]) && !vote(&[3, 4, 5]) && !vote(&[1, 2, 4]));
        assert!(vote(&[2, 3, 5]) && vote(&[1, 2, 4, 5]));
    }

    #[test]
    fn a_later_life_of_a_voter_is_somebody_else() {
        let group = Configuration::of(members(&[1, 2, 3]));
        let later = Member { replica: ReplicaId(2), incarnation: Incarnation(1) };
        assert!(!group.seats(later).any() && !group.elects(&[member(1), later]));
        let replaced = Members::new([(ReplicaId(1), Incarnation(0)), (ReplicaId(2), Incarnation(1))].into());
        let both = Configuration { old: Some(group.new), new: replaced.unwrap() };
        assert_eq!(both.others(member(1)).map(|m| m.to_string()).collect::<Vec<_>>(), ["n2i1", "n2", "n3"]);
        assert_eq!(both.others(later).map(|m| m.to_string()).collect::<Vec<_>>(), ["n1", "n3"]);
    }

    #[test]
    fn a_group_is_not_empty_and_names_nobody_twice() {
        assert!(Members::founders(&[]).is_err());
        assert!(Members::founders(&[ReplicaId(2), ReplicaId(1), ReplicaId(2)]).is_err());
        assert!(Members::founders(&(0..=31).map(ReplicaId).collect::<Vec<_>>()).is_err());
    }
}
