//! Whom a fault is on.

use protocol::NodeId;
use protocol::quorum::{self, Quorums};
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The nodes that a fault is on. All but `leader`, `followers` and `busiest` are resolved to names by the seed, before
/// the run; those when the fault comes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Targets {
    /// One node.
    #[default]
    One,
    /// The largest number of nodes that a majority survives.
    Minority,
    /// The smallest majority.
    Majority,
    /// A third of the nodes, rounded down, at least one: what a Byzantine protocol may lose.
    MinorityThird,
    /// Whoever leads when the fault comes.
    Leader,
    /// All but the one who leads when the fault comes.
    Followers,
    /// Whoever leads when the fault comes; where nobody does, who has coordinated most commands of late.
    Busiest,
    /// Everybody.
    All,
    /// These.
    Nodes(Vec<NodeId>),
}

impl Targets {
    /// Draws the nodes that can be known before the run.
    #[must_use]
    pub fn resolve(&self, nodes: &[NodeId], quorums: Quorums, rng: &mut impl Rng) -> Targets {
        let n = nodes.len();
        let some = |count: usize, rng: &mut _| {
            let mut drawn: Vec<_> = nodes.choose_multiple(rng, count).copied().collect();
            drawn.sort_unstable();
            Targets::Nodes(drawn)
        };
        match self {
            Targets::One => some(1, rng),
            Targets::Minority => some(quorums.minority(n), rng),
            Targets::Majority => some(quorums.majority(n), rng),
            Targets::MinorityThird => some(quorum::byzantine_faults_tolerated(n).max(1), rng),
            Targets::All => Targets::Nodes(nodes.to_vec()),
            Targets::Leader | Targets::Followers | Targets::Busiest | Targets::Nodes(_) => self.clone(),
        }
    }

    /// Whom a resolved target means now; `leader`: who leads, or is the busiest, where that is meant.
    ///
    /// # Errors
    /// With the reason if nobody is meant.
    pub fn now(&self, nodes: &[NodeId], leader: Option<NodeId>) -> Result<Vec<NodeId>, String> {
        match self {
            Targets::Leader | Targets::Busiest => {
                leader.map(|l| vec![l]).ok_or_else(|| "nobody leads".into())
            }
            Targets::Followers => {
                let leader = leader.ok_or("nobody leads, so nobody follows")?;
                let followers: Vec<_> = nodes.iter().copied().filter(|n| *n != leader).collect();
                if followers.is_empty() { Err("the leader is alone".into()) } else { Ok(followers) }
            }
            Targets::Nodes(named) => Ok(named.clone()),
            Targets::One | Targets::Minority | Targets::Majority | Targets::MinorityThird | Targets::All => {
                unreachable!("{self:?} is resolved before the run")
            }
        }
    }
}

/// How a partition divides the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Shape {
    /// One node, drawn by the seed, alone.
    One,
    /// Whoever leads when the fault comes, alone.
    Leader,
    /// Whoever leads when the fault comes, or has coordinated most commands of late, alone.
    Busiest,
    /// Two halves (of an odd number, the larger has a majority).
    Halves,
    /// A smallest majority away from the rest.
    Majority,
    /// A third (rounded down, at least one) away from the rest.
    MinorityThird,
    /// Everybody sees a majority, no two the same one. Needs five nodes.
    MajoritiesRing,
    /// Two halves that both see one node between them. Needs three nodes.
    Bridge,
    /// What one node sends is lost; what it is sent arrives.
    OneWay,
    /// What one node is sent is lost; what it sends arrives.
    Deaf,
    /// What whoever leads when the fault comes is sent is lost; what it sends arrives.
    LeaderDeaf,
    /// These groups, away from each other; nodes in no group see everybody.
    Groups(Vec<Vec<NodeId>>),
    /// These directions: what the first of a pair sends to the second is lost.
    Cuts(Vec<(NodeId, NodeId)>),
}

/// A direction of a link: from, to.
pub type Direction = (NodeId, NodeId);

impl Shape {
    /// The name behind `partition-`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Shape::One => "one",
            Shape::Leader => "leader",
            Shape::Busiest => "busiest",
            Shape::Halves => "halves",
            Shape::Majority => "majority",
            Shape::MinorityThird => "minority-third",
            Shape::MajoritiesRing => "majorities-ring",
            Shape::Bridge => "bridge",
            Shape::OneWay => "one-way",
            Shape::Deaf => "deaf",
            Shape::LeaderDeaf => "leader-deaf",
            Shape::Groups(_) => "groups",
            Shape::Cuts(_) => "cuts",
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<Shape> {
        [
            Shape::One,
            Shape::Leader,
            Shape::Busiest,
            Shape::Halves,
            Shape::Majority,
            Shape::MinorityThird,
            Shape::MajoritiesRing,
            Shape::Bridge,
            Shape::OneWay,
            Shape::Deaf,
            Shape::LeaderDeaf,
        ]
        .into_iter()
        .find(|shape| shape.name() == name)
    }

    pub(crate) fn problem(&self) -> Option<String> {
        if let Shape::Cuts(cuts) = self
            && cuts.is_empty()
        {
            return Some("no cuts".into());
        }
        let Shape::Groups(groups) = self else { return None };
        if groups.iter().filter(|group| !group.is_empty()).count() < 2 {
            return Some("fewer than two groups divide nobody".into());
        }
        let mut seen = BTreeSet::new();
        groups
            .iter()
            .flatten()
            .find(|node| !seen.insert(**node))
            .map(|node| format!("{node} is in two groups"))
    }

    /// Whether nothing about it has to be drawn any more.
    pub(crate) fn is_drawn(&self) -> bool {
        matches!(self, Shape::Leader | Shape::Busiest | Shape::LeaderDeaf | Shape::Groups(_) | Shape::Cuts(_))
    }

    /// The nodes that are named.
    pub(crate) fn named(&self) -> Vec<NodeId> {
        let cuts = if let Shape::Cuts(cuts) = self { cuts.as_slice() } else { &[] };
        let groups = if let Shape::Groups(groups) = self { groups.concat() } else { Vec::new() };
        cuts.iter().flat_map(|(from, to)| [*from, *to]).chain(groups).collect()
    }

    /// Draws what can be known before the run: all but `leader` become groups or cuts.
    ///
    /// # Errors
    /// With the reason if so few nodes cannot be divided so.
    pub fn resolve(&self, nodes: &[NodeId], rng: &mut impl Rng) -> Result<Shape, String> {
        let n = nodes.len();
        if n < 2 {
            return Err("one node cannot be partitioned".into());
        }
        let mut order = nodes.to_vec();
        order.shuffle(rng);
        let split = |size: usize| {
            let (mut a, mut b) = (order[..size].to_vec(), order[size..].to_vec());
            a.sort_unstable();
            b.sort_unstable();
            Shape::Groups(vec![a, b])
        };
        Ok(match self {
            Shape::One => split(1),
            Shape::Halves => split(n / 2),
            Shape::Majority => split(quorum::majority(n).min(n - 1)),
            Shape::MinorityThird => split(quorum::byzantine_faults_tolerated(n).max(1)),
            Shape::MajoritiesRing => Shape::Cuts(majorities_ring(&order)?),
            Shape::Bridge => {
                if n < 3 {
                    return Err("a bridge needs three nodes".into());
                }
                let half = (n - 1) / 2;
                let (mut a, mut b) = (order[1..=half].to_vec(), order[half + 1..].to_vec());
                a.sort_unstable();
                b.sort_unstable();
                Shape::Groups(vec![a, b])
            }
            Shape::OneWay => Shape::Cuts(order[1..].iter().map(|to| (order[0], *to)).collect()),
            Shape::Deaf => Shape::Cuts(order[1..].iter().map(|from| (*from, order[0])).collect()),
            Shape::Leader | Shape::Busiest | Shape::LeaderDeaf | Shape::Groups(_) | Shape::Cuts(_) => {
                self.clone()
            }
        })
    }

    /// The directions that are cut now, and a short name of who is away from whom.
    ///
    /// # Errors
    /// With the reason if nothing can be cut.
    pub fn cuts(&self, nodes: &[NodeId], leader: Option<NodeId>) -> Result<(Vec<Direction>, String), String> {
        match self {
            Shape::Cuts(cuts) => {
                let text: Vec<_> = cuts.iter().map(|(from, to)| format!("{from}→{to}")).collect();
                Ok((cuts.clone(), text.join(",")))
            }
            Shape::Groups(groups) => Ok((between(groups), list(groups))),
            Shape::Leader | Shape::Busiest => {
                let leader = leader.ok_or("nobody leads")?;
                let groups = vec![vec![leader], nodes.iter().copied().filter(|n| *n != leader).collect()];
                Ok((between(&groups), list(&groups)))
            }
            Shape::LeaderDeaf => {
                let leader = leader.ok_or("nobody leads")?;
                let others = nodes.iter().copied().filter(|n| *n != leader);
                Shape::Cuts(others.map(|from| (from, leader)).collect()).cuts(nodes, None)
            }
            Shape::One
            | Shape::Halves
            | Shape::Majority
            | Shape::MinorityThird
            | Shape::MajoritiesRing
            | Shape::Bridge
            | Shape::OneWay
            | Shape::Deaf => unreachable!("{self:?} is resolved before the run"),
        }
    }
}

/// Every direction between two different groups.
fn between(groups: &[Vec<NodeId>]) -> Vec<Direction> {
    let mut cuts = Vec::new();
    for (i, a) in groups.iter().enumerate() {
        for (j, b) in groups.iter().enumerate() {
            if i != j {
                cuts.extend(a.iter().flat_map(|from| b.iter().map(move |to| (*from, *to))));
            }
        }
    }
    cuts
}

fn list(groups: &[Vec<NodeId>]) -> String {
    groups.iter().map(|group| crate::target::names(group)).collect::<Vec<_>>().join("|")
}

/// `n1,n3`.
#[must_use]
pub fn names(nodes: &[NodeId]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// On a ring, each sees itself and its neighbours up to a majority; links that neither end wants are cut.
fn majorities_ring(ring: &[NodeId]) -> Result<Vec<Direction>, String> {
    let n = ring.len();
    let neighbours = quorum::majority(n) - 1;
    // An odd reach would need a link that one end wants and the other does not.
    let reach = neighbours.div_ceil(2);
    if 2 * reach + 1 >= n {
        return Err(format!("a ring of majorities needs five nodes, there are {n}"));
    }
    let mut cuts = Vec::new();
    for i in 0..n {
        for j in 0..n {
            let distance = (i + n - j) % n;
            if distance.min(n - distance) > reach {
                cuts.push((ring[i], ring[j]));
            }
        }
    }
    Ok(cuts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    fn nodes(n: u32) -> Vec<NodeId> {
        (1..=n).map(NodeId).collect()
    }

    /// Who sees whom under a shape: for each node, itself and those it can send to and hear from.
    fn sees(shape: &Shape, n: u32, seed: u64) -> Vec<BTreeSet<NodeId>> {
        let nodes = nodes(n);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (cuts, _) = shape.resolve(&nodes, &mut rng).unwrap().cuts(&nodes, Some(NodeId(2))).unwrap();
        let up = |a: NodeId, b: NodeId| !cuts.contains(&(a, b)) && !cuts.contains(&(b, a));
        nodes.iter().map(|a| nodes.iter().copied().filter(|b| a == b || up(*a, *b)).collect()).collect()
    }

    #[test]
    fn groups_are_as_large_as_their_names_say() {
        for seed in 0..50 {
            for (shape, n, mut sizes) in [
                (Shape::One, 5, vec![1, 4, 4, 4, 4]),
                (Shape::Halves, 5, vec![2, 2, 3, 3, 3]),
                (Shape::Halves, 4, vec![2, 2, 2, 2]),
                (Shape::Majority, 5, vec![2, 2, 3, 3, 3]),
                (Shape::Majority, 4, vec![1, 3, 3, 3]),
                (Shape::MinorityThird, 7, vec![2, 2, 5, 5, 5, 5, 5]),
                (Shape::Bridge, 5, vec![3, 3, 3, 3, 5]),
                (Shape::Leader, 3, vec![1, 2, 2]),
            ] {
                let mut found: Vec<_> = sees(&shape, n, seed).iter().map(BTreeSet::len).collect();
                found.sort_unstable();
                sizes.sort_unstable();
                assert_eq!(found, sizes, "{shape:?} of {n}, seed {seed}");
            }
        }
    }

    #[test]
    fn in_a_ring_of_majorities_all_see_one_and_no_two_the_same() {
        for n in [5, 6, 7, 9, 11] {
            let views = sees(&Shape::MajoritiesRing, n, 3);
            assert!(views.iter().all(|v| v.len() >= quorum::majority(n as usize)), "{n}: {views:?}");
            assert_eq!(views.iter().collect::<BTreeSet<_>>().len(), n as usize, "{n}: {views:?}");
        }
        assert!(Shape::MajoritiesRing.resolve(&nodes(3), &mut Xoshiro256PlusPlus::seed_from_u64(0)).is_err());
    }

    #[test]
    fn one_way_cuts_one_direction_only() {
        let all = nodes(3);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(9);
        let mut cuts =
            |shape: Shape| shape.resolve(&all, &mut rng).unwrap().cuts(&all, Some(NodeId(2))).unwrap().0;
        for shape in [Shape::OneWay, Shape::Deaf, Shape::LeaderDeaf] {
            let cuts = cuts(shape);
            assert_eq!(cuts.len(), 2);
            assert!(cuts.iter().all(|(from, to)| !cuts.contains(&(*to, *from))));
        }
        assert!(cuts(Shape::OneWay).windows(2).all(|two| two[0].0 == two[1].0), "one is mute");
        assert!(cuts(Shape::Deaf).windows(2).all(|two| two[0].1 == two[1].1), "one is deaf");
        assert!(cuts(Shape::LeaderDeaf).iter().all(|(_, to)| *to == NodeId(2)));
    }

    #[test]
    fn a_leader_target_without_a_leader_says_so() {
        assert!(Targets::Leader.now(&nodes(3), None).is_err());
        assert_eq!(Targets::Followers.now(&nodes(3), Some(NodeId(2))).unwrap(), [NodeId(1), NodeId(3)]);
        assert!(Targets::Followers.now(&nodes(1), Some(NodeId(1))).is_err());
    }
}
