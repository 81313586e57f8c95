//! What counts as a bite: the conditioner's counters, watched over restarts.

use crate::target::Direction;
use protocol::NodeId;
use protocol::control::{LinkCondition, LinkCounters, NodeStatus};
use std::collections::BTreeMap;

/// Counters of every link since the run began, although a node's own begin anew when it restarts.
#[derive(Debug, Default)]
pub(crate) struct CounterLog {
    seen: BTreeMap<(NodeId, NodeId, Side), (u32, LinkCounters)>,
    total: BTreeMap<Direction, LinkCounters>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Outbound,
    Inbound,
}

impl CounterLog {
    /// Takes in what a node reports.
    pub(crate) fn observe(&mut self, status: &NodeStatus) {
        let node = status.node;
        let outbound = status.outbound.iter().map(|(peer, c)| ((node, *peer), Side::Outbound, c));
        let inbound = status.inbound.iter().map(|(peer, c)| ((*peer, node), Side::Inbound, c));
        for (direction, side, counters) in outbound.chain(inbound) {
            let key = (direction.0, direction.1, side);
            let (pid, before) = self.seen.get(&key).copied().unwrap_or_default();
            let before = if pid == status.pid { before } else { LinkCounters::default() };
            add(self.total.entry(direction).or_default(), counters, &before);
            self.seen.insert(key, (status.pid, *counters));
        }
    }

    /// The sum over these directions so far.
    pub(crate) fn sum(&self, directions: &[Direction]) -> LinkCounters {
        let mut sum = LinkCounters::default();
        for direction in directions {
            if let Some(counters) = self.total.get(direction) {
                add(&mut sum, counters, &LinkCounters::default());
            }
        }
        sum
    }
}

/// Adds what was counted between two readings.
pub fn add(total: &mut LinkCounters, now: &LinkCounters, before: &LinkCounters) {
    total.passed += now.passed.saturating_sub(before.passed);
    total.blocked += now.blocked.saturating_sub(before.blocked);
    total.lost += now.lost.saturating_sub(before.lost);
    total.duplicated += now.duplicated.saturating_sub(before.duplicated);
    total.delayed += now.delayed.saturating_sub(before.delayed);
    total.reordered += now.reordered.saturating_sub(before.reordered);
    total.throttled += now.throttled.saturating_sub(before.throttled);
}

/// How many messages or packets a condition bit between two readings, and what became of them: by the first of its parts that is not clear.
#[must_use]
pub fn bites(condition: &LinkCondition, before: &LinkCounters, after: &LinkCounters) -> (u64, &'static str) {
    let clear = LinkCondition::default();
    if condition.blocked {
        (after.blocked - before.blocked, "blocked")
    } else if condition.loss > clear.loss {
        (after.lost - before.lost, "lost")
    } else if condition.duplicate > clear.duplicate {
        (after.duplicated - before.duplicated, "duplicated")
    } else if condition.reorder > clear.reorder {
        (after.reordered - before.reordered, "reordered")
    } else if condition.rate_bytes_s > clear.rate_bytes_s {
        (after.throttled - before.throttled, "throttled")
    } else {
        (after.delayed - before.delayed, "delayed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(pid: u32, blocked: u64) -> NodeStatus {
        let counters = LinkCounters { blocked, ..Default::default() };
        NodeStatus { node: NodeId(1), pid, outbound: [(NodeId(2), counters)].into(), ..Default::default() }
    }

    #[test]
    fn a_restart_does_not_lose_what_was_counted_before_it() {
        let mut log = CounterLog::default();
        for (pid, blocked) in [(7, 10), (7, 25), (8, 3), (8, 3), (8, 4)] {
            log.observe(&report(pid, blocked));
        }
        assert_eq!(log.sum(&[(NodeId(1), NodeId(2))]).blocked, 25 + 4);
        assert_eq!(log.sum(&[(NodeId(2), NodeId(1))]).blocked, 0);
    }
}
