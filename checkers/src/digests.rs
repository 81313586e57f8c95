//! Whether replicas agree on their state.
//!
//! What a replica has applied is told as a [`Mark`]: `applied` stands for *what* has been applied, whatever the protocol counts
//! (a log index; a sum over executed instances or delivered changes), `digest` for the state that came of it. Two correct
//! replicas with equal `applied` have equal digests. Replicas without a leader are rarely at equal marks under load, so they may tell a
//! mark for each range of keys as well, to which the same applies. Once all is healed and quiet, all come to one mark and have nothing
//! left to do.
//!
//! Clients may see nothing of a replica that has gone astray until it serves them.

use crate::verdict::{CheckResult, Verdict};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a replica has applied: equal if and only if the same has been applied. Hexadecimal in JSON, where numbers are not that large.
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
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Applied).map_err(serde::de::Error::custom)
    }
}

/// A state, and what has been applied to come to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// What has been applied.
    pub applied: Applied,
    /// How much that is, for words only: log entries, instances, changes.
    pub count: u64,
    /// Of the state.
    pub digest: u64,
}

/// What a node said of its replica's state at some moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Told")]
pub struct Sighting {
    /// `n1`.
    pub node: String,
    /// When, in the history's time: nanoseconds since the run began.
    pub time: u64,
    /// The term, ballot or view; 0 if there is no such thing.
    pub epoch: u64,
    /// Of the whole state.
    pub mark: Mark,
    /// Of each range of keys, in order; empty if the replica keeps none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Mark>,
    /// How much is decided and not yet applied.
    pub behind: u64,
    /// What the replica is about, in words; empty if it has nothing to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub under_way: String,
}

/// What files may hold for a sighting.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Mark {
        node: String,
        time: u64,
        epoch: u64,
        mark: Mark,
        #[serde(default)]
        ranges: Vec<Mark>,
        behind: u64,
        #[serde(default)]
        under_way: String,
    },
    /// Of the time when every subject had one log: `applied` is the last index.
    Log { node: String, applied: u64, digest: u64 },
}

impl From<Told> for Sighting {
    fn from(told: Told) -> Self {
        match told {
            Told::Mark { node, time, epoch, mark, ranges, behind, under_way } => {
                Self { node, time, epoch, mark, ranges, behind, under_way }
            }
            Told::Log { node, applied, digest } => Self {
                node,
                time: 0,
                epoch: 0,
                mark: Mark { applied: Applied(applied.into()), count: applied, digest },
                ranges: Vec::new(),
                behind: 0,
                under_way: String::new(),
            },
        }
    }
}

/// Collects sightings. Of a state that a node tells again, the first time counts.
#[derive(Clone, Debug, Default)]
pub struct Sightings(BTreeMap<(String, Mark, Vec<Mark>), Sighting>);

impl Sightings {
    /// Takes one down.
    pub fn add(&mut self, sighting: Sighting) {
        let Sighting { node, mark, ranges, .. } = &sighting;
        self.0.entry((node.clone(), *mark, ranges.clone())).or_insert(sighting);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by time.
    #[must_use]
    pub fn to_vec(&self) -> Vec<Sighting> {
        let mut all: Vec<Sighting> = self.0.values().cloned().collect();
        all.sort_by_key(|sighting| sighting.time);
        all
    }
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

/// Whether these replicas are at one place and have nothing left to do: what all come to once all is healed and quiet.
#[must_use]
pub fn are_at_rest(last: &[Sighting]) -> bool {
    let is_idle = |one: &Sighting| one.behind == 0 && one.under_way.is_empty();
    let at =
        |one: &Sighting| (one.mark.applied, one.ranges.iter().map(|range| range.applied).collect::<Vec<_>>());
    last.iter().all(is_idle) && last.windows(2).all(|pair| at(&pair[0]) == at(&pair[1]))
}

/// All that replicas were heard to say of their states in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statuses {
    /// While the run went on, each once.
    pub sightings: Vec<Sighting>,
    /// In the end; `None`: the run did not come that far.
    pub settled: Option<Settled>,
}

/// A whole state, or which range of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Whole,
    Range(usize),
}

/// Who had applied the same to the same part of the state, and the digests of what came of it.
type Places<'a> = BTreeMap<(Part, Applied), Vec<(&'a str, Mark)>>;

/// Judges what replicas said of their states; `None` if there was only one replica, which has nobody to agree with. Unknown if not
/// all were heard in the end, or if no two were ever at equal marks. `liars`: from when on which node's replica has lied, as in the
/// history; what it said since then counts for nothing.
///
/// Numbers: `sightings`, `pairs_compared` and `pairs_compared_in_ranges` (of different nodes at equal marks, which is what is
/// judged), `forks`.
#[must_use]
pub fn check_agreement(statuses: &Statuses, liars: &[(u64, u32)]) -> Option<CheckResult> {
    let last = statuses.settled.iter().flat_map(|settled| &settled.last);
    let all = || statuses.sightings.iter().chain(last.clone());
    let silent = statuses.settled.iter().flat_map(|settled| &settled.silent);
    let nodes: BTreeSet<&str> =
        all().map(|sighting| &*sighting.node).chain(silent.map(|node| &**node)).collect();
    if nodes.len() == 1 && statuses.settled.is_some() {
        return None;
    }
    let mut places = Places::new();
    for sighting in all().filter(|sighting| !lies(liars, &sighting.node, sighting.time)) {
        let ranges = sighting.ranges.iter().enumerate().map(|(at, mark)| (Part::Range(at), mark));
        for (part, mark) in ranges.chain([(Part::Whole, &sighting.mark)]) {
            places.entry((part, mark.applied)).or_default().push((&sighting.node, *mark));
        }
    }
    let differ = |same: &Vec<(&str, Mark)>| same.iter().any(|(_, mark)| mark.digest != same[0].1.digest);
    let forks: Vec<_> = places.iter().filter(|(_, same)| differ(same)).collect();
    let pairs = |is_whole: bool| {
        let of = places.iter().filter(|((part, _), _)| (*part == Part::Whole) == is_whole);
        of.map(|(_, same)| pairs(same)).sum::<u64>()
    };
    let (whole, in_ranges) = (pairs(true), pairs(false));
    let (verdict, words) = match (forks.iter().min_by_key(|(_, same)| same[0].1.count), &statuses.settled) {
        (Some(((part, _), fork)), _) => (Verdict::Invalid, forked(*part, fork)),
        (None, None) => (Verdict::Unknown, "the replicas were not asked for their states in the end".into()),
        (None, Some(settled)) => in_the_end(settled, liars),
    };
    let compared = match in_ranges {
        0 => format!("{whole} pairs of nodes were compared at equal marks"),
        _ => {
            format!("{whole} pairs of nodes were compared at equal marks, and {in_ranges} in ranges of keys")
        }
    };
    let numbers = [
        ("sightings", statuses.sightings.len() as u64),
        ("pairs_compared", whole),
        ("pairs_compared_in_ranges", in_ranges),
        ("forks", forks.len() as u64),
    ];
    let numbers = numbers.map(|(name, count)| (name.to_string(), count as f64)).into();
    let result = CheckResult::new("agreement", verdict, whole + in_ranges, format!("{words}; {compared}"));
    Some(CheckResult { numbers, ..result })
}

/// Whether a node's replica had lied by then.
fn lies(liars: &[(u64, u32)], node: &str, time: u64) -> bool {
    liars.iter().any(|(since, liar)| *since <= time && *node == format!("n{liar}"))
}

/// How many pairs of different nodes these are.
fn pairs(same: &[(&str, Mark)]) -> u64 {
    let nodes: BTreeSet<&str> = same.iter().map(|(node, _)| *node).collect();
    let nodes = nodes.len() as u64;
    nodes * (nodes - 1) / 2
}

fn forked(part: Part, same: &[(&str, Mark)]) -> String {
    let (one, mark) = same[0];
    let (other, differs) = same.iter().find(|(_, other)| other.digest != mark.digest).expect("it is a fork");
    let who = if one == *other { format!("{one} had twice") } else { format!("{one} and {other} had both") };
    let part = match part {
        Part::Whole => String::new(),
        Part::Range(range) => format!(" to range {range} of the keys"),
    };
    format!(
        "{who} applied the same {} entries{part}, but the states differ: digests {:016x} and {:016x}",
        mark.count, mark.digest, differs.digest
    )
}

fn in_the_end(settled: &Settled, liars: &[(u64, u32)]) -> (Verdict, String) {
    let quiet = format!("after all was healed and quiet for {:.1} s", settled.bound_ms as f64 / 1e3);
    let silent: Vec<&str> =
        settled.silent.iter().map(|node| &**node).filter(|node| !lies(liars, node, u64::MAX)).collect();
    let last: Vec<&Sighting> =
        settled.last.iter().filter(|sighting| !lies(liars, &sighting.node, sighting.time)).collect();
    if !silent.is_empty() {
        let silent = silent.join(", ");
        return (Verdict::Unknown, format!("not all replicas told their state in the end: {silent}"));
    }
    let Some(one) = last.first() else {
        return (Verdict::Unknown, "no replica that is to be believed told its state in the end".into());
    };
    if let Some(other) = last.iter().find(|other| other.mark.applied != one.mark.applied) {
        let count = |of: &&&Sighting| of.mark.count;
        let behind = last.iter().min_by_key(count).expect("there are some");
        let ahead = last.iter().max_by_key(count).expect("there are some");
        let (who, words) = match behind.mark.count < ahead.mark.count {
            true => (behind, format!("and {} had applied {}", ahead.node, ahead.mark.count)),
            false => (one, format!("and {} as many others", other.node)),
        };
        let summary = format!("{} had applied {} entries {words} {quiet}", who.node, who.mark.count);
        return (Verdict::Invalid, summary);
    }
    if let Some(other) = last.iter().find(|other| other.ranges != one.ranges) {
        let summary = format!(
            "{} and {} had applied the same {} entries {quiet}, but their marks of ranges of keys differ",
            one.node, other.node, one.mark.count
        );
        return (Verdict::Invalid, summary);
    }
    if let Some(busy) = last.iter().find(|one| one.behind > 0 || !one.under_way.is_empty()) {
        let under_way = match &*busy.under_way {
            "" => String::new(),
            words => format!(", under way: {words}"),
        };
        let summary = format!(
            "{} was not at rest {quiet}: {} entries were decided and not applied{under_way}",
            busy.node, busy.behind
        );
        return (Verdict::Invalid, summary);
    }
    let summary = match &last[..] {
        [_] => format!(
            "{} alone told its state in the end ({} entries): there is nobody to compare it with",
            one.node, one.mark.count
        ),
        all => {
            format!("{} replicas ended with {} entries applied and equal states", all.len(), one.mark.count)
        }
    };
    (Verdict::Valid, summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(applied: u64, digest: u64) -> Mark {
        Mark { applied: Applied(applied.into()), count: applied, digest }
    }

    fn sighting(node: u32, applied: u64, digest: u64) -> Sighting {
        Sighting {
            node: format!("n{node}"),
            time: applied,
            epoch: 1,
            mark: mark(applied, digest),
            ranges: Vec::new(),
            behind: 0,
            under_way: String::new(),
        }
    }

    fn told(sightings: &[Sighting], last: &[Sighting], silent: &[&str]) -> Statuses {
        let silent = silent.iter().map(ToString::to_string).collect();
        let settled = Some(Settled { bound_ms: 30_000, last: last.to_vec(), silent });
        Statuses { sightings: sightings.to_vec(), settled }
    }

    fn judge(sightings: &[Sighting], last: &[Sighting], silent: &[&str]) -> CheckResult {
        check_agreement(&told(sightings, last, silent), &[]).expect("there are several replicas")
    }

    /// Invalid for this reason.
    fn refuted(result: &CheckResult, because: &str) {
        assert_eq!(result.verdict, Verdict::Invalid, "{}", result.summary);
        assert!(result.summary.starts_with(because), "{}", result.summary);
    }

    #[test]
    fn replicas_that_end_at_one_mark_agree_and_pairs_of_different_nodes_are_counted() {
        let on_the_way = [sighting(1, 3, 30), sighting(2, 3, 30), sighting(2, 4, 40)];
        let result = judge(&on_the_way, &[sighting(1, 9, 90), sighting(2, 9, 90), sighting(3, 9, 90)], &[]);
        assert_eq!(
            (result.verdict, &*result.summary),
            (
                Verdict::Valid,
                "3 replicas ended with 9 entries applied and equal states; 4 pairs of nodes were compared at equal marks"
            )
        );
        assert_eq!((result.judged, result.numbers["sightings"]), (Some(4), 3.0));
        // One node says the same again, in another life: that compares nobody.
        let again = judge(&[sighting(1, 9, 90), sighting(2, 9, 90)], &[sighting(1, 9, 90)], &[]);
        assert_eq!(again.judged, Some(1));
    }

    #[test]
    fn two_states_at_one_mark_are_a_fork_on_the_way_and_in_the_end() {
        let end = [sighting(1, 9, 90), sighting(2, 9, 90)];
        refuted(
            &judge(&[sighting(1, 3, 30), sighting(2, 3, 31)], &end, &[]),
            "n1 and n2 had both applied the same 3 entries, but the states differ: digests 000000000000001e and \
             000000000000001f;",
        );
        refuted(
            &judge(&[], &[sighting(1, 9, 90), sighting(2, 9, 91)], &[]),
            "n1 and n2 had both applied the same 9",
        );
        // What somebody was at before, and is at in the end.
        refuted(&judge(&[sighting(1, 9, 91)], &end, &[]), "n1 had twice applied the same 9 entries");
        let unsettled = Statuses { sightings: vec![sighting(1, 3, 1), sighting(2, 3, 2)], settled: None };
        refuted(&check_agreement(&unsettled, &[]).expect("two replicas"), "n1 and n2");
    }

    #[test]
    fn as_many_is_not_the_same() {
        // Both have executed two instances, but not the same two.
        let other =
            Sighting { mark: Mark { applied: Applied(u128::MAX), ..mark(2, 21) }, ..sighting(2, 2, 21) };
        let end = [sighting(1, 9, 90), sighting(2, 9, 90)];
        let result = judge(&[sighting(1, 2, 20), other.clone()], &end, &[]);
        assert_eq!((result.verdict, result.judged), (Verdict::Valid, Some(1)), "{}", result.summary);
        refuted(
            &judge(&[], &[sighting(1, 2, 20), other], &[]),
            "n1 had applied 2 entries and n2 as many others after all was healed and quiet for 30.0 s;",
        );
    }

    #[test]
    fn ranges_of_keys_are_compared_though_wholes_never_are() {
        let ranged = |node, applied, ranges: [Mark; 2]| Sighting {
            ranges: ranges.into(),
            ..sighting(node, applied, applied)
        };
        let equal = [ranged(1, 5, [mark(2, 20), mark(3, 30)]), ranged(2, 6, [mark(2, 20), mark(4, 40)])];
        let end = [1, 2].map(|node| ranged(node, 9, [mark(4, 41), mark(5, 50)]));
        let result = judge(&equal, &end, &[]);
        assert_eq!(result.verdict, Verdict::Valid, "{}", result.summary);
        assert_eq!(
            (result.numbers["pairs_compared"], result.numbers["pairs_compared_in_ranges"]),
            (1.0, 3.0)
        );
        assert_eq!(result.judged, Some(4));
        let forked = [equal[0].clone(), ranged(2, 6, [mark(2, 21), mark(4, 40)])];
        refuted(
            &judge(&forked, &end, &[]),
            "n1 and n2 had both applied the same 2 entries to range 0 of the keys",
        );
        let torn = [end[0].clone(), ranged(2, 9, [mark(5, 51), mark(4, 42)])];
        refuted(&judge(&[], &torn, &[]), "n1 and n2 had applied the same 9 entries after all was healed");
    }

    #[test]
    fn a_replica_that_stays_behind_or_does_not_come_to_rest_is_named() {
        refuted(
            &judge(&[], &[sighting(1, 9, 90), sighting(2, 7, 70)], &[]),
            "n2 had applied 7 entries and n1 had applied 9 after all was healed and quiet for 30.0 s;",
        );
        let busy = Sighting { behind: 2, under_way: "recovers 3.14".into(), ..sighting(2, 9, 90) };
        refuted(
            &judge(&[], &[sighting(1, 9, 90), busy], &[]),
            "n2 was not at rest after all was healed and quiet for 30.0 s: 2 entries were decided and not applied, under \
             way: recovers 3.14;",
        );
    }

    #[test]
    fn who_was_not_heard_is_unknown() {
        let nobody = check_agreement(&Statuses::default(), &[]).expect("it cannot tell how many there were");
        assert_eq!(nobody.verdict, Verdict::Unknown);
        let result = judge(&[], &[sighting(1, 9, 90)], &["n2"]);
        assert_eq!(result.verdict, Verdict::Unknown);
        assert!(result.summary.contains("n2"), "{}", result.summary);
        assert_eq!(judge(&[], &[], &[]).verdict, Verdict::Unknown);
    }

    #[test]
    fn one_replica_agrees_with_nobody_and_several_must_have_been_compared() {
        assert_eq!(check_agreement(&told(&[], &[sighting(1, 9, 90)], &[]), &[]), None);
        let alone = judge(&[sighting(2, 3, 30), sighting(1, 4, 40)], &[sighting(1, 9, 90)], &[]);
        assert_eq!((alone.verdict, alone.judged), (Verdict::Unknown, Some(0)));
        assert!(alone.summary.contains("there is nobody to compare it with"), "{}", alone.summary);
    }

    #[test]
    fn liars_are_left_out_from_the_lie_on() {
        let end = [sighting(1, 9, 90), sighting(2, 9, 90), sighting(3, 7, 77)];
        let judge = |sightings: &[Sighting], silent: &[&str], since| {
            check_agreement(&told(sightings, &end, silent), &[(since, 3)])
                .expect("there are several replicas")
        };
        let lied = judge(&[sighting(1, 3, 30), sighting(3, 3, 31)], &["n3"], 3);
        assert_eq!((lied.verdict, lied.judged), (Verdict::Valid, Some(1)), "{}", lied.summary);
        refuted(&judge(&[sighting(1, 3, 30), sighting(3, 3, 31)], &[], 4), "n1 and n3 had both");
        refuted(&judge(&[], &[], 8), "n3 had applied 7 entries");
    }

    #[test]
    fn what_is_told_again_is_taken_down_once_with_its_first_time() {
        let mut sightings = Sightings::default();
        for (time, applied) in [(5, 3), (6, 3), (7, 4), (8, 3)] {
            sightings.add(Sighting { time, ..sighting(1, applied, 1) });
        }
        let times: Vec<u64> = sightings.to_vec().iter().map(|sighting| sighting.time).collect();
        assert_eq!((sightings.len(), times), (2, vec![5, 7]));
    }

    #[test]
    fn statuses_of_a_time_when_every_subject_had_one_log_are_read() {
        let old = r#"{"sightings":[{"node":"n1","applied":3,"digest":30}],
            "settled":{"bound_ms":30000,"last":[{"node":"n1","applied":9,"digest":90},{"node":"n2","applied":9,"digest":91}],
            "silent":[]}}"#;
        let old: Statuses = serde_json::from_str(old).expect("they are statuses");
        assert_eq!(old.sightings, [Sighting { time: 0, epoch: 0, ..sighting(1, 3, 30) }]);
        refuted(&check_agreement(&old, &[]).expect("two replicas"), "n1 and n2 had both applied the same 9");
        let now = told(&[Sighting { ranges: vec![mark(1, 1)], ..sighting(1, 3, 30) }], &[], &["n2"]);
        let json = serde_json::to_string(&now).expect("it has JSON");
        assert!(json.contains(r#""applied":"3""#), "{json}");
        assert_eq!(serde_json::from_str::<Statuses>(&json).expect("just written"), now);
    }
}
