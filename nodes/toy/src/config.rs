//! What is fixed for one life of a replica.

use protocol::ReplicaId;
use serde::{Deserialize, Serialize};

/// Who a replica is, and how it behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// This replica.
    pub replica: ReplicaId,
    /// All replicas.
    pub members: Vec<ReplicaId>,
    /// How it behaves.
    pub options: Options,
}

/// How a replica behaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Between two messages to another replica, milliseconds.
    pub gossip_ms: u64,
    /// Of so many registers at a time.
    pub gossip_cells: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { gossip_ms: 20, gossip_cells: 100 }
    }
}
