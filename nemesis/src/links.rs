//! The faults in force on each link, put together.

use crate::fault::Fault;
use crate::target::Direction;
use protocol::NodeId;
use protocol::control::{LinkCondition, LinkConditions, OneWayCondition};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What one injection does to links.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkFault {
    /// To which directions.
    pub directions: Vec<Direction>,
    /// What.
    pub condition: LinkCondition,
    /// To which kinds of messages; `None`: to all that crosses them.
    pub kinds: Option<BTreeSet<String>>,
}

impl LinkFault {
    /// The fault on these directions; `None` if it is none of links.
    #[must_use]
    pub fn new(fault: &Fault, directions: Vec<Direction>) -> Option<Self> {
        let kinds = fault.kinds().cloned();
        condition(fault).map(|condition| Self { directions, condition, kinds })
    }

    /// What it does to each of its directions, by itself.
    #[must_use]
    pub fn one_way(&self) -> OneWayCondition {
        match &self.kinds {
            None => self.condition.into(),
            Some(kinds) => OneWayCondition {
                all: LinkCondition::default(),
                kinds: kinds.iter().map(|kind| (kind.clone(), self.condition)).collect(),
            },
        }
    }
}

/// The condition that a packet fault means; `None` if it is none.
#[must_use]
pub fn condition(fault: &Fault) -> Option<LinkCondition> {
    let us = |d: &Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    let clear = LinkCondition::default();
    Some(match fault {
        Fault::Partition(_) => LinkCondition { blocked: true, ..clear },
        Fault::Delay { latency, jitter, .. } => {
            LinkCondition { latency_us: us(latency), jitter_us: us(jitter), ..clear }
        }
        Fault::Loss { probability, .. } => LinkCondition { loss: *probability, ..clear },
        Fault::Duplicate { probability, .. } => LinkCondition { duplicate: *probability, ..clear },
        Fault::Reorder { probability, within, .. } => {
            LinkCondition { reorder: *probability, reorder_us: us(within), ..clear }
        }
        Fault::Rate { bytes_per_s } => LinkCondition { rate_bytes_s: *bytes_per_s, ..clear },
        Fault::Kill
        | Fault::PowerLoss
        | Fault::Pause
        | Fault::CpuPressure { .. }
        | Fault::MemoryPressure { .. }
        | Fault::DiskStall
        | Fault::DiskSlow { .. }
        | Fault::DiskFull
        | Fault::BitFlip
        | Fault::Truncate { .. }
        | Fault::Rollback
        | Fault::Wipe
        | Fault::Members
        | Fault::Transfer
        | Fault::ClockOffset { .. }
        | Fault::ClockRate { .. }
        | Fault::ClockStrobe { .. } => return None,
    })
}

/// Every direction that touches a target.
#[must_use]
pub fn touching(targets: &[NodeId], nodes: &[NodeId]) -> Vec<Direction> {
    let pairs = nodes.iter().flat_map(|from| nodes.iter().map(move |to| (*from, *to)));
    pairs.filter(|(from, to)| from != to && (targets.contains(from) || targets.contains(to))).collect()
}

/// What each node must be told when all these are in force. The sender applies everything; the receiver, besides,
/// refuses what a block lets slip through because it was on its way.
pub(crate) fn combine<'a>(
    faults: impl Iterator<Item = &'a LinkFault>,
) -> BTreeMap<NodeId, BTreeMap<NodeId, LinkConditions>> {
    let mut nodes: BTreeMap<NodeId, BTreeMap<NodeId, LinkConditions>> = BTreeMap::new();
    for ((from, to), condition) in in_force(faults) {
        if condition.all.blocked {
            nodes.entry(to).or_default().entry(from).or_default().inbound.all.blocked = true;
        }
        nodes.entry(from).or_default().entry(to).or_default().outbound = condition;
    }
    nodes
}

/// The condition of each direction when all these are in force.
#[must_use]
pub fn in_force<'a>(faults: impl Iterator<Item = &'a LinkFault>) -> BTreeMap<Direction, OneWayCondition> {
    let mut links: BTreeMap<Direction, OneWayCondition> = BTreeMap::new();
    for fault in faults {
        for direction in &fault.directions {
            let link = links.entry(*direction).or_default();
            let OneWayCondition { all, kinds } = fault.one_way();
            link.all = both(link.all, all);
            for (kind, condition) in kinds {
                let of_kind = link.kinds.entry(kind).or_default();
                *of_kind = both(*of_kind, condition);
            }
        }
    }
    links
}

/// Two conditions on one link at once: delays add, chances are independent, the slower rate holds.
fn both(a: LinkCondition, b: LinkCondition) -> LinkCondition {
    let either = |p: f64, q: f64| 1.0 - (1.0 - p) * (1.0 - q);
    LinkCondition {
        blocked: a.blocked || b.blocked,
        latency_us: a.latency_us + b.latency_us,
        jitter_us: a.jitter_us + b.jitter_us,
        loss: either(a.loss, b.loss),
        duplicate: either(a.duplicate, b.duplicate),
        reorder: either(a.reorder, b.reorder),
        reorder_us: a.reorder_us.max(b.reorder_us),
        rate_bytes_s: match (a.rate_bytes_s, b.rate_bytes_s) {
            (0, rate) | (rate, 0) => rate,
            (p, q) => p.min(q),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn on(directions: &[Direction], condition: LinkCondition, kinds: &[&str]) -> LinkFault {
        let kinds = (!kinds.is_empty()).then(|| kinds.iter().map(|kind| (*kind).to_owned()).collect());
        LinkFault { directions: directions.to_vec(), condition, kinds }
    }

    fn late(ms: u64) -> LinkCondition {
        LinkCondition { latency_us: ms * 1_000, ..LinkCondition::default() }
    }

    fn lossy(loss: f64) -> LinkCondition {
        LinkCondition { loss, ..LinkCondition::default() }
    }

    #[test]
    fn faults_on_one_link_add_up_and_a_block_holds_at_both_ends() {
        let latency = Duration::from_millis(10);
        let delay = Fault::Delay { latency, jitter: Duration::ZERO, kinds: None };
        let delay = LinkFault::new(&delay, vec![(A, B)]).unwrap();
        let cut = on(&[(A, B)], LinkCondition { blocked: true, ..LinkCondition::default() }, &[]);
        let told = combine([delay, on(&[(A, B)], late(5), &[]), cut].iter());
        assert_eq!(told[&A][&B].outbound.all.latency_us, 15_000);
        assert!(told[&A][&B].outbound.all.blocked && told[&B][&A].inbound.all.blocked);
        assert!(told[&A][&B].inbound.is_clear() && told[&B][&A].outbound.is_clear(), "the way back is open");
    }

    #[test]
    fn the_slower_of_two_rates_holds_and_chances_are_independent() {
        let rate = |r| LinkCondition { rate_bytes_s: r, loss: 0.5, ..Default::default() };
        let sum = both(both(rate(0), rate(300)), rate(200));
        assert_eq!(sum.rate_bytes_s, 200);
        assert!((sum.loss - 0.875).abs() < 1e-9);
    }

    #[test]
    fn faults_on_kinds_are_put_together_kind_by_kind_and_leave_the_others_alone() {
        let faults = [
            on(&[(A, B)], late(20), &[]),
            on(&[(A, B)], lossy(0.5), &["commit", "vote"]),
            on(&[(A, B)], lossy(0.5), &["commit"]),
            on(&[(A, B), (B, A)], late(7), &["vote"]),
        ];
        let links = in_force(faults.iter());
        let there = &links[&(A, B)];
        assert_eq!(there.all, late(20), "what is on kinds is on nothing else");
        assert_eq!(there.kinds["commit"], lossy(0.75));
        assert_eq!(there.kinds["vote"], LinkCondition { loss: 0.5, ..late(7) });
        let back = &links[&(B, A)];
        assert_eq!((back.all, back.kinds.len()), (LinkCondition::default(), 1));
        assert_eq!(back.kinds["vote"], late(7));
        assert_eq!(combine(faults.iter())[&A][&B].outbound, *there);
    }

    #[test]
    fn when_a_fault_on_a_kind_ends_the_other_on_it_is_left() {
        let first = on(&[(A, B)], lossy(1.0), &["commit"]);
        let second = on(&[(A, B)], late(3), &["commit"]);
        let both_of_them = in_force([&first, &second].into_iter());
        assert_eq!(both_of_them[&(A, B)].kinds["commit"], LinkCondition { loss: 1.0, ..late(3) });
        assert_eq!(in_force([&second].into_iter())[&(A, B)].kinds["commit"], late(3));
    }
}
