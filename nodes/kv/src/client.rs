//! The client that follows a leader, or stays with one replica.
//!
//! INTERFACE SKETCH, to be implemented.

use protocol::{ReplicaId, SessionId};
use std::time::Duration;

/// How a [`LeaderClient`] behaves.
#[derive(Clone, Debug)]
pub struct LeaderClientConfig {
    /// Its session: unique among all clients of the run.
    pub session: SessionId,
    /// All replicas, in the order in which they are tried.
    pub replicas: Vec<ReplicaId>,
    /// Stay with this replica (`Routing::Here`) instead of following the leader.
    pub bound_to: Option<ReplicaId>,
    /// Without an answer for so long, try again (elsewhere, unless bound).
    pub attempt_timeout: Duration,
    /// Wait so long after a refusal that names no better replica.
    pub backoff: Duration,
}

/// Follows `NotLeader` hints, goes round the replicas when one is silent, retries under one sequence number
/// until the deadline.
#[derive(Debug)]
pub struct LeaderClient {
    config: LeaderClientConfig,
}

impl LeaderClient {
    /// A client that has asked nothing yet.
    #[must_use]
    pub fn new(config: LeaderClientConfig) -> Self {
        Self { config }
    }
}
