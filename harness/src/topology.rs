//! Where nodes and clients are, and how far that is from one another: what a plan says under `links`.
//!
//! It is a property of the run and no fault: it is in force from the first message to the last, faults come on top, and nothing heals it.

use humantime_serde::re::humantime::format_duration;
use protocol::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use workloads::Distances;

/// Zones, and the round trips between them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Topology {
    /// By zone, the nodes that are there. A zone without nodes has clients only.
    pub zones: BTreeMap<String, Vec<Name>>,
    /// What a message and its answer take between two zones, `a-b: 40ms`: half of it each way.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rtt: BTreeMap<String, RoundTrip>,
    /// The same within a zone.
    #[serde(with = "humantime_serde", default, skip_serializing_if = "Duration::is_zero")]
    pub within: Duration,
    /// How many of the clients are in each zone, as shares: `a: 2, b: 1` is two of three in `a`. Evenly over all zones where it is left
    /// out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clients: BTreeMap<String, u32>,
}

/// A node, as plans name it: `n1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Name(pub NodeId);

/// There and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct RoundTrip(#[serde(with = "humantime_serde")] pub Duration);

/// Further away than the moon; a node would refuse twenty minutes.
const RTT_MAX: Duration = Duration::from_secs(60);
/// More than there are clients in a turn would do no good.
const SHARES_MAX: u32 = 1_000;

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let number = name.strip_prefix('n').and_then(|number| number.parse().ok());
        let known = number.filter(|number| *number > 0 && name == format!("n{number}"));
        known
            .map(|number| Name(NodeId(number)))
            .ok_or_else(|| format!("`{name}` is no node, expected n1, n2, …"))
    }
}

impl From<Name> for String {
    fn from(Name(node): Name) -> String {
        node.to_string()
    }
}

impl Topology {
    /// What is wrong with it, if anything, for a plan that has these nodes.
    #[must_use]
    pub(crate) fn problem(&self, nodes: &BTreeSet<NodeId>) -> Option<String> {
        self.problem_of_zones(nodes)
            .or_else(|| self.problem_of_distances())
            .or_else(|| self.problem_of_clients())
    }

    fn problem_of_zones(&self, nodes: &BTreeSet<NodeId>) -> Option<String> {
        if self.zones.is_empty() {
            return Some("zones: there are none".to_owned());
        }
        let is_fit = |name: &String| {
            !name.is_empty()
                && name.len() <= 30
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if let Some(zone) = self.zones.keys().find(|zone| !is_fit(zone)) {
            return Some(format!("zones: `{zone}` cannot be a name: up to 30 letters, digits and _ only"));
        }
        let mut placed: BTreeMap<NodeId, &str> = BTreeMap::new();
        for (zone, Name(node)) in
            self.zones.iter().flat_map(|(zone, names)| names.iter().map(move |n| (zone, n)))
        {
            if !nodes.contains(node) {
                let known = list(nodes.iter().map(NodeId::to_string));
                return Some(format!(
                    "zones: {zone} has {node}, which is no node of the plan, expected of {known}"
                ));
            }
            if let Some(other) = placed.insert(*node, zone) {
                return Some(match other == zone {
                    true => format!("zones: {zone} names {node} twice"),
                    false => format!("zones: {node} is in {other} and in {zone}, expected one"),
                });
            }
        }
        let left_out = nodes.iter().find(|node| !placed.contains_key(node))?;
        Some(format!("zones: {left_out} is in none, expected in one of {}", list(self.zones.keys())))
    }

    fn problem_of_distances(&self) -> Option<String> {
        let mut said = BTreeSet::new();
        for (pair, RoundTrip(round_trip)) in &self.rtt {
            let Some((a, b)) = pair.split_once('-') else {
                return Some(format!(
                    "rtt: `{pair}` is no pair of zones, expected two names with - between them"
                ));
            };
            if let Some(unknown) = [a, b].into_iter().find(|zone| !self.zones.contains_key(*zone)) {
                return Some(format!(
                    "rtt: {pair}: there is no zone `{unknown}`, expected of {}",
                    list(self.zones.keys())
                ));
            }
            if a == b {
                return Some(format!("rtt: {pair} is one zone; what it takes there is `within`"));
            }
            if !said.insert((a.min(b), a.max(b))) {
                return Some(format!("rtt: {pair} is said twice, as {b}-{a} too"));
            }
            if round_trip.is_zero() || *round_trip > RTT_MAX {
                return Some(format!(
                    "rtt: {pair} is {}, expected over 0 and up to {}",
                    format_duration(*round_trip),
                    format_duration(RTT_MAX)
                ));
            }
        }
        if self.within > RTT_MAX {
            return Some(format!("within is over {}", format_duration(RTT_MAX)));
        }
        let zones: Vec<&str> = self.zones.keys().map(String::as_str).collect();
        let pairs = zones.iter().enumerate().flat_map(|(i, a)| zones[i + 1..].iter().map(move |b| (*a, *b)));
        let unsaid = pairs.into_iter().find(|pair| !said.contains(pair));
        unsaid.map(|(a, b)| format!("rtt: {a}-{b} is not said, and each pair of zones needs a round trip"))
    }

    fn problem_of_clients(&self) -> Option<String> {
        if let Some(unknown) = self.clients.keys().find(|zone| !self.zones.contains_key(*zone)) {
            return Some(format!(
                "clients: there is no zone `{unknown}`, expected of {}",
                list(self.zones.keys())
            ));
        }
        let shares: u64 = self.clients.values().copied().map(u64::from).sum();
        let is_sound = self.clients.is_empty() || (1..=u64::from(SHARES_MAX)).contains(&shares);
        (!is_sound).then(|| format!("clients: the shares add up to {shares}, expected 1 to {SHARES_MAX}"))
    }

    /// What is left of it where there are only these nodes: its zones all stay, for clients.
    #[must_use]
    pub(crate) fn among(&self, nodes: &[NodeId]) -> Topology {
        let mut left = self.clone();
        left.zones.values_mut().for_each(|zone| zone.retain(|Name(node)| nodes.contains(node)));
        left
    }

    fn zone_of(&self, node: NodeId) -> &str {
        let zone = self.zones.iter().find(|(_, nodes)| nodes.contains(&Name(node)));
        zone.expect("validated: each node is in a zone").0
    }

    fn round_trip(&self, a: &str, b: &str) -> Duration {
        if a == b {
            return self.within;
        }
        let said = [format!("{a}-{b}"), format!("{b}-{a}")]
            .into_iter()
            .find_map(|pair| self.rtt.get(&pair).copied());
        said.expect("validated: each pair has one").0
    }

    /// How long a message takes one way from this node to each of the others, where that is any time.
    #[must_use]
    pub(crate) fn one_way_from(&self, node: NodeId, nodes: &[NodeId]) -> BTreeMap<NodeId, Duration> {
        let here = self.zone_of(node);
        let others = nodes.iter().filter(|other| **other != node);
        let one_way = others.map(|other| (*other, self.round_trip(here, self.zone_of(*other)) / 2));
        one_way.filter(|(_, takes)| !takes.is_zero()).collect()
    }

    /// How far clients are from these nodes.
    #[must_use]
    pub(crate) fn distances(&self, nodes: &[NodeId]) -> Distances {
        let from = |zone: &String| {
            nodes.iter().map(|node| (*node, self.round_trip(zone, self.zone_of(*node)))).collect()
        };
        Distances::new(self.zones.keys().map(from).collect(), self.turns())
    }

    /// By turn, in which zone a client is: over any stretch as near to the shares as can be.
    fn turns(&self) -> Vec<usize> {
        let share = |zone: &String| {
            if self.clients.is_empty() { 1 } else { self.clients.get(zone).copied().unwrap_or(0) }
        };
        let shares: Vec<i64> = self.zones.keys().map(|zone| i64::from(share(zone))).collect();
        let all: i64 = shares.iter().sum();
        let mut owed = vec![0; shares.len()];
        let mut turn = || {
            owed.iter_mut().zip(&shares).for_each(|(owed, share)| *owed += share);
            let most = (0..owed.len()).rev().max_by_key(|zone| owed[*zone]).expect("there are zones");
            owed[most] -= all;
            most
        };
        (0..all).map(|_| turn()).collect()
    }

    /// The longest round trip that there is.
    #[must_use]
    pub(crate) fn longest(&self) -> Duration {
        self.rtt
            .values()
            .map(|RoundTrip(round_trip)| *round_trip)
            .chain([self.within])
            .max()
            .unwrap_or_default()
    }

    /// For reports.
    #[must_use]
    pub(crate) fn in_words(&self) -> String {
        let zone = |(zone, nodes): (&String, &Vec<Name>)| match nodes[..] {
            [] => format!("{zone} without nodes"),
            _ => format!("{zone} with {}", list(nodes.iter().map(|Name(node)| node.to_string()))),
        };
        let rtt =
            self.rtt.iter().map(|(pair, RoundTrip(takes))| format!("{pair} {}", format_duration(*takes)));
        let within =
            (!self.within.is_zero()).then(|| format!("within a zone {}", format_duration(self.within)));
        let clients = match self.clients.is_empty() {
            true => "clients in all zones evenly".to_owned(),
            false => format!(
                "clients {}",
                list(self.clients.iter().map(|(zone, share)| format!("{zone}: {share}")))
            ),
        };
        let zones = format!("zones {}", list(self.zones.iter().map(zone)));
        let round_trips = rtt.chain(within).collect::<Vec<_>>();
        let round_trips = (!round_trips.is_empty()).then(|| format!("round trips {}", list(round_trips)));
        [Some(zones), round_trips, Some(clients)].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

fn list(words: impl IntoIterator<Item = impl ToString>) -> String {
    words.into_iter().map(|word| word.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: &str = "
zones: { a: [n1, n2], b: [n3], c: [n4, n5] }
rtt: { a-b: 40ms, c-a: 90ms, b-c: 60ms }
";

    fn topology(text: &str) -> Topology {
        serde_yaml::from_str(text).expect("it can be read")
    }

    fn nodes(count: u32) -> Vec<NodeId> {
        (1..=count).map(NodeId).collect()
    }

    fn problem(text: &str) -> Option<String> {
        topology(text).problem(&nodes(5).into_iter().collect())
    }

    #[test]
    fn nodes_of_two_zones_are_half_a_round_trip_apart() {
        assert_eq!(problem(FIVE), None);
        let ms = Duration::from_millis;
        let from = |node, text: &str| topology(text).one_way_from(NodeId(node), &nodes(5));
        let far = [(NodeId(3), ms(30)), (NodeId(1), ms(45)), (NodeId(2), ms(45))];
        assert_eq!(from(5, FIVE), far.into());
        let near = [(NodeId(2), ms(1)), (NodeId(3), ms(20)), (NodeId(4), ms(45)), (NodeId(5), ms(45))];
        assert_eq!(from(1, &format!("{FIVE}within: 2ms\n")), near.into());
        assert_eq!(topology(FIVE).longest(), ms(90));
    }

    #[test]
    fn clients_are_in_all_zones_evenly_or_as_is_said() {
        assert_eq!(topology(FIVE).turns(), [0, 1, 2]);
        let shares = |clients: &str| topology(&format!("{FIVE}clients: {clients}\n")).turns();
        assert_eq!(shares("{ b: 1 }"), [1]);
        assert_eq!(shares("{ a: 2, c: 1 }"), [0, 2, 0]);
        let turns = shares("{ a: 5, b: 2, c: 3 }");
        let count = |zone| turns.iter().filter(|turn| **turn == zone).count();
        assert_eq!([count(0), count(1), count(2)], [5, 2, 3]);
        let first: Vec<_> = turns[..5].iter().filter(|turn| **turn == 0).collect();
        assert!((2..=3).contains(&first.len()), "mixed: {turns:?}");
    }

    #[test]
    fn what_is_left_of_it_among_fewer_nodes_is_sound() {
        let left = topology(FIVE).among(&nodes(3));
        assert_eq!(left.problem(&nodes(3).into_iter().collect()), None);
        assert_eq!(
            left.distances(&nodes(3)).standpoint(2, &nodes(3)).home,
            NodeId(3),
            "the nearest to zone c"
        );
        assert_eq!(
            left.in_words(),
            "zones a with n1, n2, b with n3, c without nodes; round trips a-b 40ms, b-c 60ms, c-a 90ms; clients in all zones evenly"
        );
        let again: Topology = serde_yaml::from_str(&serde_yaml::to_string(&left).unwrap()).unwrap();
        assert_eq!(again, left);
    }

    #[test]
    fn what_is_wrong_with_it_is_named() {
        let with = |from: &str, to: &str| {
            problem(&FIVE.replace(from, to)).unwrap_or_else(|| panic!("{to} is sound"))
        };
        for (from, to, expected) in [
            ("n3", "n7", "b has n7, which is no node of the plan, expected of n1, n2, n3, n4, n5"),
            ("n3", "n1", "n1 is in a and in b, expected one"),
            ("n3", "n3, n3", "b names n3 twice"),
            ("[n3]", "[]", "n3 is in none, expected in one of a, b, c"),
            ("a-b: 40ms, ", "", "a-b is not said"),
            ("a-b", "a-d", "there is no zone `d`, expected of a, b, c"),
            ("a-b", "a-a", "a-a is one zone; what it takes there is `within`"),
            ("a-b", "a-c", "is said twice"),
            ("a-b", "ab", "`ab` is no pair of zones"),
            ("40ms", "0s", "a-b is 0s, expected over 0 and up to 1m"),
            ("40ms", "2m", "a-b is 2m, expected over 0 and up to 1m"),
            ("60ms }", "60ms }\nclients: { d: 1 }", "clients: there is no zone `d`"),
            ("60ms }", "60ms }\nclients: { a: 0 }", "the shares add up to 0"),
            ("60ms }", "60ms }\nwithin: 2m", "within is over 1m"),
            ("b: [n3]", "b-x: [n3]", "`b-x` cannot be a name"),
        ] {
            let found = with(from, to);
            assert!(found.contains(expected), "{found}");
        }
        let unread =
            |text: &str| serde_yaml::from_str::<Topology>(text).expect_err("it cannot be read").to_string();
        assert!(unread(&FIVE.replace("n3", "m3")).contains("`m3` is no node, expected n1, n2, …"));
        assert!(unread(&FIVE.replace("rtt", "rrt")).contains("unknown field `rrt`"));
    }
}
