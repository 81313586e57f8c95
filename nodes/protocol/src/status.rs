//! What a replica says about itself, in words that fit any protocol: with a leader or without, with one log or with none.

use crate::ids::{Incarnation, ReplicaId};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// What a replica says about itself: for people, for targets of faults, for checkers of agreement. Served at `/status` and on the
/// control socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The protocol's word for what it is now: `leader`, `follower`, `candidate`, `primary`, …
    pub role: String,
    /// Whether it believes that it can answer clients, alone or through others.
    pub serves: bool,
    /// Whether it leads: never, where nobody does.
    pub leads: bool,
    /// Whom it believes to lead.
    pub leader: Option<ReplicaId>,
    /// Term, view or ballot: it rises whenever somebody takes over from somebody, and stands still at rest.
    pub epoch: u64,
    /// Of the whole state.
    pub state: StateMark,
    /// Of each range of keys, in a fixed order; empty where no such marks are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<StateMark>,
    /// How much it knows to be decided whose effects are not in the state yet: log entries, instances, changes.
    pub behind: u64,
    /// How many commands of clients it has taken charge of since it started; 0 where whoever leads takes charge of all.
    pub coordinated: u64,
    /// What it is in the middle of, for people; empty if nothing.
    pub under_way: String,
    /// Who is a member, where that can change.
    pub members: Option<Members>,
    /// Keys in the state.
    pub keys: u64,
    /// Protocol-specific numbers, also exported as metrics. Names are snake case with the unit last.
    pub metrics: BTreeMap<String, u64>,
}

/// How far a state has come, and what it is.
///
/// **Rule.** Two correct replicas whose `applied` are equal have equal digests, whatever `applied` counts: a log index; a sum of
/// hashes over executed instances, or over delivered changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct StateMark {
    /// What has been applied.
    pub applied: Applied,
    /// How much that is, for people: entries, instances, changes.
    pub count: u64,
    /// The digest of the state with just that applied.
    pub digest: u64,
}

impl StateMark {
    /// The mark of a replica that applies one log in order, behind the entry at `index`.
    #[must_use]
    pub fn at_index(index: u64, digest: u64) -> Self {
        Self { applied: Applied(index.into()), count: index, digest }
    }
}

/// What a replica has applied: equal only where just the same has been applied. Written as hexadecimal digits, because not all
/// readers of JSON have numbers of 128 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Applied(pub u128);

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl Serialize for Applied {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Applied {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        let number = u128::from_str_radix(&digits, 16);
        number.map(Applied).map_err(|_| D::Error::custom(format!("`{digits}` is no hexadecimal number")))
    }
}

/// Who is a member, as far as a replica knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Who votes, each with the life of its disk that does. While one set takes over from another, the set to be.
    pub voters: BTreeMap<ReplicaId, Incarnation>,
    /// Whether one set of voters is taking over from another, or may be: only what is not changing is certain.
    pub changing: bool,
}

impl Status {
    /// Who votes, if that is certain.
    #[must_use]
    pub fn certain_voters(&self) -> Option<&BTreeMap<ReplicaId, Incarnation>> {
        self.members.as_ref().filter(|members| !members.changing).map(|members| &members.voters)
    }

    /// Whether members may be changing.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.members.as_ref().is_some_and(|members| members.changing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_as_it_was_written_and_nonsense_is_refused() {
        let mark = StateMark { applied: Applied(u128::MAX - 7), count: 3, digest: 9 };
        let text = serde_json::to_string(&mark).expect("plain data");
        assert!(text.contains("fffffffffffffffffffffffffffffff8"), "{text}");
        assert_eq!(serde_json::from_str::<StateMark>(&text).expect("just written"), mark);
        let error = serde_json::from_str::<Applied>("\"xyz\"").expect_err("no number");
        assert!(error.to_string().contains("`xyz` is no hexadecimal number"), "{error}");
    }

    #[test]
    fn what_is_changing_is_not_certain() {
        let members = Members { voters: [(ReplicaId(1), Incarnation(0))].into(), changing: false };
        let mut status = Status { members: Some(members.clone()), ..Status::default() };
        assert_eq!(status.certain_voters(), Some(&members.voters));
        status.members = Some(Members { changing: true, ..members });
        assert!(status.certain_voters().is_none() && status.is_changing());
        assert!(!Status::default().is_changing() && Status::default().certain_voters().is_none());
    }
}
