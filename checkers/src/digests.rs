//! Whether replicas agree on their state: where they have applied equally much, their states have equal digests, and once all
//! is healed and quiet they all end at the same place.
//!
//! For protocols that promise it: replicas that apply commands in one order, one number each. Clients may see nothing of
//! a replica that has gone astray until it leads.

use crate::verdict::{CheckResult, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a replica said of its state at some moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sighting {
    /// `n1`.
    pub node: String,
    /// How much it had applied: the last log index.
    pub applied: u64,
    /// The digest of its state there.
    pub digest: u64,
}

/// What was asked of all replicas when nothing was to be done any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// How long they were given to come to the same place, milliseconds.
    pub bound_ms: u64,
    /// What each said last.
    pub last: Vec<Sighting>,
    /// Those that said nothing.
    pub silent: Vec<String>,
}

/// All that replicas were heard to say of their states in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statuses {
    /// While the run went on, each once.
    pub sightings: Vec<Sighting>,
    /// In the end; `None`: the run did not come that far.
    pub settled: Option<Settled>,
}

/// Judges what replicas said of their states. Unknown if they were not all heard in the end.
#[must_use]
pub fn check_agreement(statuses: &Statuses) -> CheckResult {
    let last = statuses.settled.iter().flat_map(|settled| &settled.last);
    let mut places: BTreeMap<u64, Vec<&Sighting>> = BTreeMap::new();
    for sighting in statuses.sightings.iter().chain(last.clone()) {
        places.entry(sighting.applied).or_default().push(sighting);
    }
    let differ = |same: &&Vec<&Sighting>| same.iter().any(|sighting| sighting.digest != same[0].digest);
    let forks: Vec<&Vec<&Sighting>> = places.values().filter(differ).collect();
    let shared = places.values().filter(|same| same.iter().any(|sighting| sighting.node != same[0].node));
    let numbers = [
        ("sightings", statuses.sightings.len()),
        ("places_shared", shared.count()),
        ("places_forked", forks.len()),
    ];
    let (verdict, summary) = match (forks.first(), &statuses.settled) {
        (Some(fork), _) => (Verdict::Invalid, forked(fork)),
        (None, None) => (Verdict::Unknown, "the replicas were not asked for their states in the end".into()),
        (None, Some(settled)) => in_the_end(settled),
    };
    let judged = (statuses.sightings.len() + last.count()) as u64;
    let numbers = numbers.map(|(name, count)| (name.to_string(), count as f64)).into();
    CheckResult { numbers, ..CheckResult::new("agreement", verdict, judged, summary) }
}

fn forked(same: &[&Sighting]) -> String {
    let one = same[0];
    let other = same.iter().find(|other| other.digest != one.digest).expect("it is a fork");
    format!(
        "{} and {} had both applied entry {}, but their states differ: digests {:016x} and {:016x}",
        one.node, other.node, one.applied, one.digest, other.digest
    )
}

fn in_the_end(settled: &Settled) -> (Verdict, String) {
    let Settled { bound_ms, last, silent } = settled;
    if last.is_empty() || !silent.is_empty() {
        let silent = if silent.is_empty() { "nobody was asked".into() } else { silent.join(", ") };
        return (Verdict::Unknown, format!("not all replicas told their state in the end: {silent}"));
    }
    let behind = last.iter().min_by_key(|sighting| sighting.applied).expect("there are some");
    let ahead = last.iter().max_by_key(|sighting| sighting.applied).expect("there are some");
    if behind.applied < ahead.applied {
        let summary = format!(
            "{} stood at entry {} and {} at entry {} after all was healed and quiet for {:.1} s",
            behind.node,
            behind.applied,
            ahead.node,
            ahead.applied,
            *bound_ms as f64 / 1e3
        );
        return (Verdict::Invalid, summary);
    }
    let summary = match last.len() {
        1 => format!("one replica, at entry {}: there is nobody to disagree with", ahead.applied),
        n => format!("{n} replicas ended at entry {} with equal states", ahead.applied),
    };
    (Verdict::Valid, summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(node: u32, applied: u64, digest: u64) -> Sighting {
        Sighting { node: format!("n{node}"), applied, digest }
    }

    fn judge(sightings: &[Sighting], last: &[Sighting], silent: &[&str]) -> CheckResult {
        let silent = silent.iter().map(ToString::to_string).collect();
        let settled = Some(Settled { bound_ms: 30_000, last: last.to_vec(), silent });
        check_agreement(&Statuses { sightings: sightings.to_vec(), settled })
    }

    #[test]
    fn replicas_that_end_at_one_place_with_one_state_agree() {
        let on_the_way = [sighting(1, 3, 30), sighting(2, 3, 30), sighting(2, 4, 40)];
        let result = judge(&on_the_way, &[sighting(1, 9, 90), sighting(2, 9, 90), sighting(3, 9, 90)], &[]);
        assert_eq!(result.verdict, Verdict::Valid);
        assert_eq!(result.summary, "3 replicas ended at entry 9 with equal states");
        assert_eq!((result.numbers["sightings"], result.numbers["places_shared"]), (3.0, 2.0));
        assert_eq!(judge(&[], &[sighting(1, 9, 90)], &[]).verdict, Verdict::Valid);
    }

    #[test]
    fn two_states_at_one_place_are_a_fork_on_the_way_and_in_the_end() {
        let end = [sighting(1, 9, 90), sighting(2, 9, 90)];
        let result = judge(&[sighting(1, 3, 30), sighting(2, 3, 31)], &end, &[]);
        assert_eq!(result.verdict, Verdict::Invalid);
        assert_eq!(
            result.summary,
            "n1 and n2 had both applied entry 3, but their states differ: digests 000000000000001e and 000000000000001f"
        );
        assert_eq!(judge(&[], &[sighting(1, 9, 90), sighting(2, 9, 91)], &[]).verdict, Verdict::Invalid);
        // What somebody was at before, and another is at in the end.
        assert_eq!(judge(&[sighting(1, 9, 91)], &end, &[]).verdict, Verdict::Invalid);
        let unsettled = Statuses { sightings: vec![sighting(1, 3, 1), sighting(2, 3, 2)], settled: None };
        assert_eq!(check_agreement(&unsettled).verdict, Verdict::Invalid, "a fork needs no end");
    }

    #[test]
    fn a_replica_that_stays_behind_is_named() {
        let result = judge(&[], &[sighting(1, 9, 90), sighting(2, 7, 70)], &[]);
        assert_eq!(result.verdict, Verdict::Invalid);
        assert_eq!(
            result.summary,
            "n2 stood at entry 7 and n1 at entry 9 after all was healed and quiet for 30.0 s"
        );
    }

    #[test]
    fn who_was_not_heard_is_unknown() {
        assert_eq!(check_agreement(&Statuses::default()).verdict, Verdict::Unknown);
        let result = judge(&[], &[sighting(1, 9, 90)], &["n2"]);
        assert_eq!(result.verdict, Verdict::Unknown);
        assert!(result.summary.contains("n2"), "{}", result.summary);
        assert_eq!(judge(&[], &[], &[]).verdict, Verdict::Unknown);
    }
}
