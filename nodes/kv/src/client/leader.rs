//! The client that follows a leader.

use super::one_by_one::{OneByOne, Route};
use crate::request::Routing;
use protocol::{ReplicaId, Time};
use std::time::Duration;

/// Follows `NotLeader` hints, goes round the replicas when one is silent, and goes first where it was answered last. Bound, it
/// has its replica see to its commands.
pub type LeaderClient = OneByOne<FollowLeader>;

/// To the leader.
#[derive(Debug)]
pub struct FollowLeader;

impl Route for FollowLeader {
    fn new(_home: ReplicaId, _attempt_timeout: Duration) -> Self {
        Self
    }

    fn routing(bound: bool) -> Routing {
        if bound { Routing::Here } else { Routing::Leader }
    }

    fn first(&self, _now: Time, last: ReplicaId) -> ReplicaId {
        last
    }

    fn follows(&self) -> bool {
        true
    }

    fn troubled(&mut self, _now: Time, _replica: ReplicaId) {}
}
