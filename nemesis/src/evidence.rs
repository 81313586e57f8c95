//! What counts as a bite: counters of links and disks, watched over restarts.

use crate::action::{DiskCounters, Reading};
use crate::target::Direction;
use protocol::NodeId;
use protocol::control::{LinkCondition, LinkCounters};
use std::collections::BTreeMap;

/// Counters of every link and disk since the run began, although a node's own begin anew when its process does.
#[derive(Debug, Default)]
pub(crate) struct Log {
    links_seen: BTreeMap<(NodeId, NodeId, Side), (u32, LinkCounters)>,
    links: BTreeMap<Direction, LinkCounters>,
    disks_seen: BTreeMap<NodeId, (u32, DiskCounters)>,
    disks: BTreeMap<NodeId, DiskCounters>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Outbound,
    Inbound,
}

impl Log {
    /// Takes in what a node reports.
    pub(crate) fn observe(&mut self, reading: &Reading) {
        let Reading { node, process, .. } = *reading;
        let outbound = reading.outbound.iter().map(|(peer, c)| ((node, *peer), Side::Outbound, c));
        let inbound = reading.inbound.iter().map(|(peer, c)| ((*peer, node), Side::Inbound, c));
        for (direction, side, counters) in outbound.chain(inbound) {
            let key = (direction.0, direction.1, side);
            let (seen, before) = self.links_seen.get(&key).copied().unwrap_or_default();
            let before = if seen == process { before } else { LinkCounters::default() };
            add(self.links.entry(direction).or_default(), counters, &before);
            self.links_seen.insert(key, (process, *counters));
        }
        let (seen, before) = self.disks_seen.get(&node).copied().unwrap_or_default();
        let before = if seen == process { before } else { DiskCounters::default() };
        let total = self.disks.entry(node).or_default();
        total.syncs += reading.disk.syncs.saturating_sub(before.syncs);
        total.held_up += reading.disk.held_up.saturating_sub(before.held_up);
        total.refused += reading.disk.refused.saturating_sub(before.refused);
        self.disks_seen.insert(node, (process, reading.disk));
    }

    /// The sum over these directions so far.
    pub(crate) fn links(&self, directions: &[Direction]) -> LinkCounters {
        let mut sum = LinkCounters::default();
        for direction in directions {
            if let Some(counters) = self.links.get(direction) {
                add(&mut sum, counters, &LinkCounters::default());
            }
        }
        sum
    }

    /// What a node's disk did so far.
    pub(crate) fn disk(&self, node: NodeId) -> DiskCounters {
        self.disks.get(&node).copied().unwrap_or_default()
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

    fn report(process: u32, blocked: u64) -> Reading {
        let counters = LinkCounters { blocked, ..Default::default() };
        let disk = DiskCounters { refused: blocked, ..Default::default() };
        Reading {
            node: NodeId(1),
            process,
            outbound: [(NodeId(2), counters)].into(),
            disk,
            ..Default::default()
        }
    }

    #[test]
    fn a_restart_does_not_lose_what_was_counted_before_it() {
        let mut log = Log::default();
        for (process, blocked) in [(7, 10), (7, 25), (8, 3), (8, 3), (8, 4)] {
            log.observe(&report(process, blocked));
        }
        assert_eq!(log.links(&[(NodeId(1), NodeId(2))]).blocked, 25 + 4);
        assert_eq!(log.links(&[(NodeId(2), NodeId(1))]).blocked, 0);
        assert_eq!((log.disk(NodeId(1)).refused, log.disk(NodeId(2)).refused), (25 + 4, 0));
    }
}
