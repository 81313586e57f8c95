//! What replicas say of their states, as checkers are told it: the same in all worlds.

use checkers::digests::{Applied, Mark, Sighting};
use protocol::{NodeId, StateMark, Status};

/// What a node's replica said at this time, nanoseconds since the run began.
pub(crate) fn sighting(node: NodeId, time: u64, status: &Status) -> Sighting {
    let mark =
        |mark: &StateMark| Mark { applied: Applied(mark.applied.0), count: mark.count, digest: mark.digest };
    Sighting {
        node: node.to_string(),
        time,
        epoch: status.epoch,
        mark: mark(&status.state),
        ranges: status.ranges.iter().map(mark).collect(),
        behind: status.behind,
        under_way: status.under_way.clone(),
    }
}
