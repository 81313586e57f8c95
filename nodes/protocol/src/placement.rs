//! Which node stands for which replica.

use crate::ids::{NodeId, ReplicaId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which replica each node stands for. Mostly one node stands for each; *twins* are two nodes that stand for one replica, with
/// the same keys (Bano et al., *Twins: BFT Systems Made Robust*, 2021).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Placement(BTreeMap<NodeId, ReplicaId>);

impl Placement {
    /// Nodes 1 to `nodes`, each standing for the replica of the same number.
    #[must_use]
    pub fn one_each(nodes: u32) -> Self {
        Self((1..=nodes).map(|number| (NodeId(number), ReplicaId(number))).collect())
    }

    /// Which replica a node stands for; `None` if there is no such node.
    #[must_use]
    pub fn replica_of(&self, node: NodeId) -> Option<ReplicaId> {
        self.0.get(&node).copied()
    }

    /// The nodes that stand for a replica, in order.
    pub fn nodes_of(&self, replica: ReplicaId) -> impl Iterator<Item = NodeId> + '_ {
        self.0.iter().filter(move |(_, other)| **other == replica).map(|(node, _)| *node)
    }

    /// The first node that stands for a replica.
    #[must_use]
    pub fn node_of(&self, replica: ReplicaId) -> Option<NodeId> {
        self.nodes_of(replica).next()
    }

    /// All nodes, in order, with the replicas that they stand for.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, ReplicaId)> + '_ {
        self.0.iter().map(|(node, replica)| (*node, *replica))
    }

    /// All nodes, in order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.0.keys().copied()
    }

    /// The nodes that stand for a replica of another number.
    #[must_use]
    pub fn twins(&self) -> BTreeMap<NodeId, ReplicaId> {
        self.iter().filter(|(node, replica)| node.0 != replica.0).collect()
    }

    /// A node stands for a replica from now on.
    pub fn place(&mut self, node: NodeId, replica: ReplicaId) {
        self.0.insert(node, replica);
    }
}

impl FromIterator<(NodeId, ReplicaId)> for Placement {
    fn from_iter<I: IntoIterator<Item = (NodeId, ReplicaId)>>(nodes: I) -> Self {
        Self(nodes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_are_two_nodes_of_one_replica() {
        let mut placement = Placement::one_each(4);
        placement.place(NodeId(5), ReplicaId(4));
        assert_eq!(placement.nodes_of(ReplicaId(4)).collect::<Vec<_>>(), [NodeId(4), NodeId(5)]);
        assert_eq!(placement.replica_of(NodeId(5)), Some(ReplicaId(4)));
        assert_eq!(
            (placement.node_of(ReplicaId(2)), placement.node_of(ReplicaId(9))),
            (Some(NodeId(2)), None)
        );
        assert_eq!(placement.nodes().count(), 5);
        assert_eq!(placement.twins(), [(NodeId(5), ReplicaId(4))].into());
    }
}
