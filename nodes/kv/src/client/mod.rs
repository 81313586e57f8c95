//! The sans-IO clients of replicas that speak [`Request`](crate::Request) and [`Reply`](crate::Reply).
//!
//! | file | concept |
//! |---|---|
//! | `one_by_one.rs` | clients that wait for one replica at a time |
//! | `leader.rs` | [`LeaderClient`]: follows the leader |
//! | `nearest.rs` | [`NearestClient`]: stays near its home, and goes elsewhere while that is silent |
//! | `matching.rs` | [`MatchingClient`]: believes what several replicas say alike |
//! | `under_way.rs` | the command under way: its attempts and their fates |
//! | `numbers.rs` | sessions and sequences |
//!
//! **Failed or unknown.** A command without an answer is [`Failed`](protocol::ClientOutcome::Failed) only if *every* attempt was
//! definitely without effect: refused in words that say so, or never sent. One attempt that is still open, or was lost with its
//! connection, or is `Uncertain`, makes it [`Unknown`](protocol::ClientOutcome::Unknown), whatever the later ones met. (For a
//! read-only command likewise, though it has no effect.) This rests on a connection not duplicating requests, as TCP does not.

mod leader;
mod matching;
mod nearest;
mod numbers;
mod one_by_one;
mod under_way;

pub use leader::{FollowLeader, LeaderClient};
pub use matching::{Matching, MatchingClient};
pub use nearest::{NearestClient, StayNearHome};
pub use one_by_one::{OneByOne, Route};

use protocol::{ReplicaId, SessionId};
use std::time::Duration;

/// What any client is told.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Its session: unique among all clients of the run.
    pub session: SessionId,
    /// All replicas that it may ask, in the order in which they are tried.
    pub replicas: Vec<ReplicaId>,
    /// How many replicas the group has: how many of them may lie follows from that.
    pub group: usize,
    /// The one to begin with.
    pub home: ReplicaId,
    /// Ask only that one, so that what it says is its own state. A client that needs several replicas asks them all the same.
    pub bound: bool,
    /// Without an answer for so long, try again (elsewhere, unless bound).
    pub attempt_timeout: Duration,
    /// Wait so long after a refusal that names no better replica.
    pub backoff: Duration,
}

impl ClientConfig {
    /// # Panics
    /// If nobody can be asked, or a duration is zero.
    fn check(&self) {
        assert!(!self.replicas.is_empty(), "a client needs a replica");
        assert!(self.attempt_timeout > Duration::ZERO && self.backoff > Duration::ZERO, "{self:?}");
    }
}
