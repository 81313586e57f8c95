//! Which nodes a node sends to.

use crate::ids::{NodeId, ReplicaId};
use crate::placement::Placement;
use std::collections::{BTreeMap, BTreeSet};

/// Which nodes one node sends to for each replica: all that stand for it, unless it is told otherwise. So twins are routed: some
/// nodes hear one of them, others the other (Bano et al., §4). Whoever stands for a replica is heard, whatever this says.
#[derive(Clone, Debug)]
pub struct Routes {
    me: NodeId,
    placement: Placement,
    told: BTreeMap<ReplicaId, BTreeSet<NodeId>>,
    /// What follows.
    nodes: BTreeMap<ReplicaId, Vec<NodeId>>,
}

impl Routes {
    /// Of the node `me`, which was told nothing yet.
    ///
    /// # Panics
    /// If it stands for no replica.
    #[must_use]
    pub fn new(me: NodeId, placement: Placement) -> Self {
        assert!(placement.replica_of(me).is_some(), "{me} stands for no replica");
        let mut routes = Self { me, placement, told: BTreeMap::new(), nodes: BTreeMap::new() };
        routes.derive();
        routes
    }

    fn derive(&mut self) {
        self.nodes.clear();
        for (node, replica) in self.placement.iter() {
            let told = self.told.get(&replica).is_none_or(|nodes| nodes.contains(&node));
            if told && node != self.me {
                self.nodes.entry(replica).or_default().push(node);
            }
        }
    }

    /// What is for these replicas goes to these nodes only, and to all who stand for them where they are not named.
    ///
    /// # Errors
    /// If a node does not stand for the replica: nothing is changed.
    pub fn set(&mut self, told: BTreeMap<ReplicaId, BTreeSet<NodeId>>) -> Result<(), String> {
        for (replica, nodes) in &told {
            let stands = |node: &&NodeId| self.placement.replica_of(**node) == Some(*replica);
            if let Some(node) = nodes.iter().find(|node| !stands(node)) {
                return Err(format!("node {} does not stand for replica {}", node.0, replica.0));
            }
        }
        self.told = told;
        self.derive();
        Ok(())
    }

    /// What it was told.
    #[must_use]
    pub fn told(&self) -> &BTreeMap<ReplicaId, BTreeSet<NodeId>> {
        &self.told
    }

    /// The nodes that a message to this replica goes to, in order.
    #[must_use]
    pub fn to(&self, replica: ReplicaId) -> &[NodeId] {
        self.nodes.get(&replica).map_or(&[], Vec::as_slice)
    }

    /// Which replica a node speaks as; `None` if there is no such node.
    #[must_use]
    pub fn replica_of(&self, node: NodeId) -> Option<ReplicaId> {
        self.placement.replica_of(node)
    }

    /// The node itself.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// The replica that it stands for.
    ///
    /// # Panics
    /// Never: it stands for one.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.replica_of(self.me).expect("checked when this was made")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// n1 to n4, and n5 as n4's twin.
    fn routes(me: u32) -> Routes {
        let mut placement = Placement::one_each(4);
        placement.place(NodeId(5), ReplicaId(4));
        Routes::new(NodeId(me), placement)
    }

    #[test]
    fn a_message_goes_to_all_who_stand_for_its_receiver_but_oneself() {
        assert_eq!(routes(1).to(ReplicaId(4)), [NodeId(4), NodeId(5)]);
        assert_eq!(routes(1).to(ReplicaId(9)), []);
        assert_eq!((routes(5).to(ReplicaId(4)), routes(5).replica()), (&[NodeId(4)][..], ReplicaId(4)));
    }

    #[test]
    fn whoever_is_told_sends_to_one_twin_only() {
        let mut routes = routes(1);
        routes.set([(ReplicaId(4), [NodeId(5)].into())].into()).expect("n5 stands for it");
        assert_eq!((routes.to(ReplicaId(4)), routes.to(ReplicaId(2))), (&[NodeId(5)][..], &[NodeId(2)][..]));
        assert_eq!(routes.replica_of(NodeId(4)), Some(ReplicaId(4)), "it is heard all the same");
        let error = routes.set([(ReplicaId(4), [NodeId(3)].into())].into()).expect_err("n3 is somebody else");
        assert_eq!(error, "node 3 does not stand for replica 4");
        assert_eq!(routes.to(ReplicaId(4)), [NodeId(5)], "nothing has changed");
        routes.set([(ReplicaId(4), BTreeSet::new())].into()).expect("nobody");
        assert_eq!(routes.to(ReplicaId(4)), []);
        routes.set(BTreeMap::new()).expect("everybody");
        assert_eq!(routes.to(ReplicaId(4)), [NodeId(4), NodeId(5)]);
    }
}
