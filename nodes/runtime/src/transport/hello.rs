//! Who is there: the first frame each way on a connection between nodes.
//!
//! This keeps strays apart (a node of another run, protocol or version); it proves nothing.

use protocol::{NodeId, Placement, ReplicaId, codec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The largest hello or welcome.
pub(super) const HELLO_BYTES_MAX: usize = 1 << 10;
/// Of the messages between replicas: raised when their encoding changes.
const VERSION: u32 = 1;

/// Which nodes belong together, which replicas they stand for, and which of them this is.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    protocol: &'static str,
    /// A fingerprint of the nodes and their addresses: nodes that disagree about them do not talk.
    cluster: u32,
    me: NodeId,
    placement: Placement,
    pub(super) peers: BTreeMap<NodeId, SocketAddr>,
}

/// From whoever dialled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    version: u32,
    protocol: String,
    cluster: u32,
    pub(super) from: NodeId,
    to: NodeId,
}

/// From whoever was dialled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Welcome {
    /// Go on.
    Yes,
    /// Why not.
    No(String),
}

impl Group {
    pub(crate) fn new(
        protocol: &'static str,
        me: NodeId,
        nodes: &BTreeMap<NodeId, SocketAddr>,
        placement: Placement,
    ) -> Group {
        let cluster = crc32c::crc32c(&codec::encode(nodes));
        let mut peers = nodes.clone();
        peers.remove(&me);
        Group { protocol, cluster, me, placement, peers }
    }

    /// The replica that a peer stands for.
    pub(super) fn replica_of(&self, peer: NodeId) -> ReplicaId {
        self.placement.replica_of(peer).expect("every peer stands for a replica")
    }

    /// Everybody else.
    pub(crate) fn peers(&self) -> impl Iterator<Item = NodeId> {
        self.peers.keys().copied()
    }

    pub(super) fn hello(&self, to: NodeId) -> Hello {
        let (protocol, cluster) = (self.protocol.to_owned(), self.cluster);
        Hello { version: VERSION, protocol, cluster, from: self.me, to }
    }

    /// Whether the other side of this hello belongs here.
    pub(super) fn judge(&self, hello: &Hello) -> Result<NodeId, String> {
        if hello.version != VERSION {
            return Err(format!("it speaks version {}, {} is spoken here", hello.version, VERSION));
        }
        if hello.protocol != self.protocol {
            return Err(format!("it runs {:?}, {:?} runs here", hello.protocol, self.protocol));
        }
        if hello.cluster != self.cluster {
            return Err("it belongs to a cluster of other members or addresses".to_owned());
        }
        if hello.to != self.me {
            return Err(format!("it looks for {}, this is {}", hello.to, self.me));
        }
        if !self.peers.contains_key(&hello.from) {
            return Err(format!("{} is no peer of {}", hello.from, self.me));
        }
        Ok(hello.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(ports: &[u16]) -> BTreeMap<NodeId, SocketAddr> {
        (1..).map(NodeId).zip(ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port)))).collect()
    }

    #[test]
    fn only_a_peer_of_the_same_cluster_and_protocol_is_let_in() {
        let ours = members(&[7001, 7002, 7003]);
        let group = |protocol, me, nodes: &BTreeMap<_, _>| {
            Group::new(protocol, NodeId(me), nodes, Placement::one_each(9))
        };
        let here = group("raft", 1, &ours);
        let hello = |protocol, me, nodes, to| group(protocol, me, nodes).hello(NodeId(to));
        assert_eq!(here.judge(&hello("raft", 2, &ours, 1)), Ok(NodeId(2)));
        let strangers = [
            hello("epaxos", 2, &ours, 1),
            hello("raft", 2, &members(&[7001, 7002, 7004]), 1),
            hello("raft", 2, &ours, 3),
            hello("raft", 1, &ours, 1),
            hello("raft", 9, &ours, 1),
            Hello { version: VERSION + 1, ..hello("raft", 2, &ours, 1) },
        ];
        for stranger in strangers {
            here.judge(&stranger).expect_err("a stranger");
        }
    }
}
