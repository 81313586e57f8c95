//! How far clients are from nodes.

use protocol::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The places where clients are, and how far each is from each node. By default all are in one place, and everything is near.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distances {
    /// The round trips from each place to each node.
    places: Vec<BTreeMap<NodeId, Duration>>,
    /// Clients take turns at these: indexes of places.
    turns: Vec<usize>,
    /// Whether clients' homes are all nodes in turn, near or not.
    homes_are_anywhere: bool,
}

/// Where one client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standpoint {
    /// The node that it begins with, or stays with.
    pub home: NodeId,
    /// All nodes, the nearest first; in the order in which they were given where there are no distances.
    pub nodes: Vec<NodeId>,
    /// The round trip to each; nothing where it is not said.
    round_trips: BTreeMap<NodeId, Duration>,
}

impl Distances {
    /// Between clients that take turns at these places, and nodes.
    ///
    /// # Panics
    /// If there are no turns, or one is at no place.
    #[must_use]
    pub fn new(places: Vec<BTreeMap<NodeId, Duration>>, turns: Vec<usize>) -> Self {
        assert!(!turns.is_empty() && turns.iter().all(|place| *place < places.len()), "{turns:?}");
        Self { places, turns, homes_are_anywhere: false }
    }

    /// The same, where each client's home is a node in turn, so that all are asked, wherever they and clients are.
    #[must_use]
    pub fn with_homes_anywhere(self) -> Self {
        Self { homes_are_anywhere: true, ..self }
    }

    /// Where the client of this number is, as seen among these nodes. Its home is one of the nearest, and the clients of a place take
    /// turns at those.
    ///
    /// # Panics
    /// If there are no nodes.
    #[must_use]
    pub fn standpoint(&self, client: usize, nodes: &[NodeId]) -> Standpoint {
        let anywhere = nodes[client % nodes.len()];
        let Some(turn) = client.checked_rem(self.turns.len()) else {
            return Standpoint { home: anywhere, nodes: nodes.to_vec(), round_trips: BTreeMap::new() };
        };
        let place = self.turns[turn];
        let round_trips = self.places[place].clone();
        let far = |node: &NodeId| round_trips.get(node).copied().unwrap_or_default();
        let mut nearest_first = nodes.to_vec();
        nearest_first.sort_by_key(far);
        let nearest = nearest_first.iter().take_while(|node| far(node) == far(&nearest_first[0])).count();
        let here = |turns: &[usize]| turns.iter().filter(|other| **other == place).count();
        let before = client / self.turns.len() * here(&self.turns) + here(&self.turns[..turn]);
        let home = if self.homes_are_anywhere { anywhere } else { nearest_first[before % nearest] };
        Standpoint { home, nodes: nearest_first, round_trips }
    }
}

impl Standpoint {
    /// How long it takes one way.
    #[must_use]
    pub fn one_way(&self, node: NodeId) -> Duration {
        self.round_trips.get(&node).copied().unwrap_or_default() / 2
    }

    /// Whether it is said where that is.
    #[must_use]
    pub fn is_somewhere(&self) -> bool {
        !self.round_trips.is_empty()
    }

    /// How long it takes one way, to each node of which it is said.
    pub fn one_ways(&self) -> impl Iterator<Item = (NodeId, Duration)> + '_ {
        self.round_trips.iter().map(|(node, there_and_back)| (*node, *there_and_back / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn ids(ids: &[u32]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    /// Nodes 1 and 2 are in the first place, 3 in the second; twice as many clients are in the first.
    fn distances() -> Distances {
        let place = |ms: [u32; 3]| (1..).map(NodeId).zip(ms.map(|ms| ms * MS)).collect();
        Distances::new(vec![place([0, 0, 40]), place([40, 40, 0])], vec![0, 1, 0])
    }

    fn homes(distances: &Distances, nodes: &[u32]) -> Vec<u32> {
        (0..6).map(|client| distances.standpoint(client, &ids(nodes)).home.0).collect()
    }

    #[test]
    fn a_clients_home_is_near_and_those_of_a_place_take_turns_at_what_is() {
        assert_eq!(homes(&distances(), &[1, 2, 3]), [1, 3, 2, 1, 3, 2]);
        assert_eq!(homes(&distances().with_homes_anywhere(), &[1, 2, 3]), [1, 2, 3, 1, 2, 3]);
        assert_eq!(homes(&distances(), &[2, 3]), [2, 3, 2, 2, 3, 2], "whoever is there");
        assert_eq!(homes(&distances(), &[3]), [3; 6]);
        assert_eq!(homes(&Distances::default(), &[1, 2, 3]), [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn what_is_near_comes_first_and_what_is_far_takes_half_a_round_trip_each_way() {
        let near_n3 = distances().standpoint(1, &ids(&[1, 2, 3]));
        assert_eq!(near_n3.nodes, ids(&[3, 1, 2]));
        assert_eq!([1, 3].map(|node| near_n3.one_way(NodeId(node))), [20 * MS, Duration::ZERO]);
        let anywhere = Distances::default().standpoint(1, &ids(&[2, 1]));
        assert_eq!((anywhere.nodes, anywhere.home), (ids(&[2, 1]), NodeId(1)));
    }
}
