//! The client of a group in which any replica serves.

use super::one_by_one::{OneByOne, Route};
use crate::request::Routing;
use protocol::{ReplicaId, Time};
use std::time::Duration;

/// Asks its home replica, others while that does not serve, and goes home again after a while.
pub type NearestClient = OneByOne<StayNearHome>;

/// A home that was no help is not gone to first for so many times the attempt's time-out: should it still be silent, looking
/// after it costs a sixth of the time.
const AWAY_ATTEMPTS: u32 = 5;

/// To the home replica, unless it was no help a moment ago.
#[derive(Debug)]
pub struct StayNearHome {
    home: ReplicaId,
    away_for: Duration,
    home_again: Time,
}

impl Route for StayNearHome {
    fn new(home: ReplicaId, attempt_timeout: Duration) -> Self {
        Self { home, away_for: attempt_timeout * AWAY_ATTEMPTS, home_again: Time::ZERO }
    }

    fn routing(_bound: bool) -> Routing {
        Routing::Here
    }

    fn first(&self, now: Time, last: ReplicaId) -> ReplicaId {
        if now >= self.home_again { self.home } else { last }
    }

    fn follows(&self) -> bool {
        false
    }

    fn troubled(&mut self, now: Time, replica: ReplicaId) {
        if replica == self.home {
            self.home_again = now + self.away_for;
        }
    }
}
