//! What counts as a bite: counters of links and disks, watched over restarts.

use crate::action::{DiskCounters, Reading};
use crate::links::LinkFault;
use crate::target::Direction;
use protocol::NodeId;
use protocol::control::{LinkCondition, LinkCounters};
use std::collections::BTreeMap;

/// Counters of every link and disk since the run began, although a node's own begin anew when its process does.
#[derive(Debug, Default)]
pub(crate) struct Log {
    links_seen: BTreeMap<(Counted, Side), (u32, LinkCounters)>,
    links: BTreeMap<Counted, LinkCounters>,
    disks_seen: BTreeMap<NodeId, (u32, DiskCounters)>,
    disks: BTreeMap<NodeId, DiskCounters>,
}

/// What conditions of all messages did to a direction, or what those of a kind did.
type Counted = (Direction, Option<String>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Outbound,
    Inbound,
}

impl Log {
    /// Takes in what a node reports.
    pub(crate) fn observe(&mut self, reading: &Reading) {
        let Reading { node, process, .. } = *reading;
        let outbound = reading.outbound.iter().map(|(peer, c)| (((node, *peer), None), Side::Outbound, c));
        let inbound = reading.inbound.iter().map(|(peer, c)| (((*peer, node), None), Side::Inbound, c));
        let outbound_kinds = reading.outbound_kinds.iter().flat_map(|(peer, kinds)| {
            kinds.iter().map(|(kind, c)| (((node, *peer), Some(kind.clone())), Side::Outbound, c))
        });
        let inbound_kinds = reading.inbound_kinds.iter().flat_map(|(peer, kinds)| {
            kinds.iter().map(|(kind, c)| (((*peer, node), Some(kind.clone())), Side::Inbound, c))
        });
        for (counted, side, counters) in outbound.chain(inbound).chain(outbound_kinds).chain(inbound_kinds) {
            let (seen, before) = self.links_seen.get(&(counted.clone(), side)).copied().unwrap_or_default();
            let before = if seen == process { before } else { LinkCounters::default() };
            add(self.links.entry(counted.clone()).or_default(), counters, &before);
            self.links_seen.insert((counted, side), (process, *counters));
        }
        let (seen, before) = self.disks_seen.get(&node).copied().unwrap_or_default();
        let before = if seen == process { before } else { DiskCounters::default() };
        let total = self.disks.entry(node).or_default();
        total.syncs += reading.disk.syncs.saturating_sub(before.syncs);
        total.held_up += reading.disk.held_up.saturating_sub(before.held_up);
        total.refused += reading.disk.refused.saturating_sub(before.refused);
        self.disks_seen.insert(node, (process, reading.disk));
    }

    /// What was done so far in its directions to those kinds of messages that a fault is on.
    pub(crate) fn links(&self, fault: &LinkFault) -> LinkCounters {
        let mut sum = LinkCounters::default();
        for counted in counted(fault) {
            if let Some(counters) = self.links.get(&counted) {
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

/// Where it is counted what a fault does: at each of its kinds by itself, or, if it is on all messages, with all of them.
fn counted(fault: &LinkFault) -> impl Iterator<Item = Counted> + '_ {
    let kinds: Vec<Option<String>> = match &fault.kinds {
        None => vec![None],
        Some(kinds) => kinds.iter().cloned().map(Some).collect(),
    };
    let all = fault.directions.iter();
    all.flat_map(move |direction| kinds.clone().into_iter().map(move |kind| (*direction, kind)))
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
    use protocol::NodeId;

    const THERE: Direction = (NodeId(1), NodeId(2));

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

    fn fault(direction: Direction, kinds: &[&str]) -> LinkFault {
        let kinds = (!kinds.is_empty()).then(|| kinds.iter().map(|kind| (*kind).to_owned()).collect());
        LinkFault { directions: vec![direction], condition: LinkCondition::default(), kinds }
    }

    #[test]
    fn a_restart_does_not_lose_what_was_counted_before_it() {
        let mut log = Log::default();
        for (process, blocked) in [(7, 10), (7, 25), (8, 3), (8, 3), (8, 4)] {
            log.observe(&report(process, blocked));
        }
        assert_eq!(log.links(&fault(THERE, &[])).blocked, 25 + 4);
        assert_eq!(log.links(&fault((NodeId(2), NodeId(1)), &[])).blocked, 0);
        assert_eq!((log.disk(NodeId(1)).refused, log.disk(NodeId(2)).refused), (25 + 4, 0));
    }

    #[test]
    fn a_fault_on_kinds_answers_for_those_and_for_nothing_else() {
        let lost = |lost| LinkCounters { lost, ..Default::default() };
        let kinds = [("commit".to_owned(), lost(5)), ("vote".to_owned(), lost(2))];
        let mut log = Log::default();
        for process in [7, 8] {
            log.observe(&Reading {
                node: NodeId(1),
                process,
                outbound: [(NodeId(2), lost(100))].into(),
                outbound_kinds: [(NodeId(2), kinds.clone().into())].into(),
                ..Default::default()
            });
        }
        let of = |kinds: &[&str]| log.links(&fault(THERE, kinds)).lost;
        assert_eq!([of(&["commit"]), of(&["vote"]), of(&["vote", "commit"]), of(&["ack"])], [10, 4, 14, 0]);
        assert_eq!(of(&[]), 200);
    }
}
