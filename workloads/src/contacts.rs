//! Which nodes a client speaks to.

use protocol::{NodeId, ReplicaId};

/// One node for each replica: a client speaks of replicas, a history of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contacts(Vec<(ReplicaId, NodeId)>);

impl Contacts {
    /// Of these nodes and the replicas that they stand for. Where several nodes stand for one, clients take turns at them, but `home` is
    /// always among a client's own.
    #[must_use]
    pub fn new(nodes: impl Iterator<Item = (NodeId, ReplicaId)>, home: NodeId, turn: usize) -> Self {
        let mut standing: Vec<(ReplicaId, Vec<NodeId>)> = Vec::new();
        for (node, replica) in nodes {
            match standing.iter_mut().find(|(known, _)| *known == replica) {
                Some((_, nodes)) => nodes.push(node),
                None => standing.push((replica, vec![node])),
            }
        }
        let one_of = |(replica, nodes): (ReplicaId, Vec<NodeId>)| {
            let node = if nodes.contains(&home) { home } else { nodes[turn % nodes.len()] };
            (replica, node)
        };
        Self(standing.into_iter().map(one_of).collect())
    }

    /// The replicas, in the order in which their nodes were given.
    #[must_use]
    pub fn replicas(&self) -> Vec<ReplicaId> {
        self.0.iter().map(|(replica, _)| *replica).collect()
    }

    /// With the nodes, in the same order.
    pub fn iter(&self) -> impl Iterator<Item = (ReplicaId, NodeId)> + '_ {
        self.0.iter().copied()
    }

    /// The node that is asked for a replica.
    ///
    /// # Panics
    /// If the client knows of no such replica.
    #[must_use]
    pub fn node(&self, replica: ReplicaId) -> NodeId {
        let found = self.0.iter().find(|(known, _)| *known == replica);
        found.expect("clients are told of replicas that there are").1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_take_turns_at_twins_and_keep_their_home() {
        let placed =
            [(3, 3), (1, 1), (4, 1), (2, 2)].map(|(node, replica)| (NodeId(node), ReplicaId(replica)));
        let nodes = |home: u32, turn| {
            let contacts = Contacts::new(placed.into_iter(), NodeId(home), turn);
            assert_eq!(contacts.replicas(), [3, 1, 2].map(ReplicaId), "in the order of their nodes");
            [1, 2, 3].map(|replica| contacts.node(ReplicaId(replica)).0)
        };
        assert_eq!(nodes(3, 0), [1, 2, 3]);
        assert_eq!(nodes(3, 1), [4, 2, 3]);
        assert_eq!(nodes(1, 1), [1, 2, 3]);
        assert_eq!(nodes(4, 0), [4, 2, 3]);
    }
}
