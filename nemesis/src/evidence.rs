//! What counts as a bite: the conditioner's counters, watched over restarts.

use crate::links::LinkFault;
use crate::target::Direction;
use protocol::control::{LinkCondition, LinkCounters, NodeStatus};
use std::collections::BTreeMap;

/// Counters of every link since the run began, although a node's own begin anew when it restarts.
#[derive(Debug, Default)]
pub(crate) struct CounterLog {
    seen: BTreeMap<(Counted, Side), (u32, LinkCounters)>,
    total: BTreeMap<Counted, LinkCounters>,
}

/// What conditions of all messages did to a direction, or what those of a kind did.
pub type Counted = (Direction, Option<String>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Outbound,
    Inbound,
}

impl CounterLog {
    /// Takes in what a node reports.
    pub(crate) fn observe(&mut self, status: &NodeStatus) {
        let node = status.node;
        let outbound = status.outbound.iter().map(|(peer, c)| (((node, *peer), None), Side::Outbound, c));
        let inbound = status.inbound.iter().map(|(peer, c)| (((*peer, node), None), Side::Inbound, c));
        let outbound_kinds = status.outbound_kinds.iter().flat_map(|(peer, kinds)| {
            kinds.iter().map(|(kind, c)| (((node, *peer), Some(kind.clone())), Side::Outbound, c))
        });
        let inbound_kinds = status.inbound_kinds.iter().flat_map(|(peer, kinds)| {
            kinds.iter().map(|(kind, c)| (((*peer, node), Some(kind.clone())), Side::Inbound, c))
        });
        for (counted, side, counters) in outbound.chain(inbound).chain(outbound_kinds).chain(inbound_kinds) {
            let (pid, before) = self.seen.get(&(counted.clone(), side)).copied().unwrap_or_default();
            let before = if pid == status.pid { before } else { LinkCounters::default() };
            add(self.total.entry(counted.clone()).or_default(), counters, &before);
            self.seen.insert((counted, side), (status.pid, *counters));
        }
    }

    /// What was done so far in these directions to those kinds of messages that a fault is on.
    pub(crate) fn sum(&self, fault: &LinkFault) -> LinkCounters {
        let mut sum = LinkCounters::default();
        for counted in counted(&fault.directions, fault) {
            if let Some(counters) = self.total.get(&counted) {
                add(&mut sum, counters, &LinkCounters::default());
            }
        }
        sum
    }
}

/// Where it is counted what a fault does that is, or was, in force on these directions: at each of its kinds by itself, or, if it is on
/// all messages, with all of them.
pub fn counted<'a>(
    directions: &'a [Direction],
    fault: &LinkFault,
) -> impl Iterator<Item = Counted> + use<'a> {
    let kinds: Vec<Option<String>> = match &fault.kinds {
        None => vec![None],
        Some(kinds) => kinds.iter().cloned().map(Some).collect(),
    };
    directions.iter().flat_map(move |direction| kinds.clone().into_iter().map(move |kind| (*direction, kind)))
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

    fn report(pid: u32, blocked: u64) -> NodeStatus {
        let counters = LinkCounters { blocked, ..Default::default() };
        NodeStatus { node: NodeId(1), pid, outbound: [(NodeId(2), counters)].into(), ..Default::default() }
    }

    fn fault(direction: Direction, kinds: &[&str]) -> LinkFault {
        let kinds = (!kinds.is_empty()).then(|| kinds.iter().map(|kind| (*kind).to_owned()).collect());
        LinkFault { directions: vec![direction], condition: LinkCondition::default(), kinds }
    }

    #[test]
    fn a_restart_does_not_lose_what_was_counted_before_it() {
        let mut log = CounterLog::default();
        for (pid, blocked) in [(7, 10), (7, 25), (8, 3), (8, 3), (8, 4)] {
            log.observe(&report(pid, blocked));
        }
        assert_eq!(log.sum(&fault(THERE, &[])).blocked, 25 + 4);
        assert_eq!(log.sum(&fault((NodeId(2), NodeId(1)), &[])).blocked, 0);
    }

    #[test]
    fn a_fault_on_kinds_answers_for_those_and_for_nothing_else() {
        let lost = |lost| LinkCounters { lost, ..Default::default() };
        let kinds = [("commit".to_owned(), lost(5)), ("vote".to_owned(), lost(2))];
        let mut log = CounterLog::default();
        for pid in [7, 8] {
            log.observe(&NodeStatus {
                node: NodeId(1),
                pid,
                outbound: [(NodeId(2), lost(100))].into(),
                outbound_kinds: [(NodeId(2), kinds.clone().into())].into(),
                ..Default::default()
            });
        }
        let of = |kinds: &[&str]| log.sum(&fault(THERE, kinds)).lost;
        assert_eq!([of(&["commit"]), of(&["vote"]), of(&["vote", "commit"]), of(&["ack"])], [10, 4, 14, 0]);
        assert_eq!(of(&[]), 200);
    }
}
