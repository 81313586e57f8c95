//! The faults in force on each link, put together.

use crate::fault::Fault;
use crate::target::Direction;
use protocol::NodeId;
use protocol::control::{LinkCondition, LinkConditions};
use std::collections::BTreeMap;
use std::time::Duration;

/// What one injection does to links.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkFault {
    /// To which directions.
    pub directions: Vec<Direction>,
    /// What.
    pub condition: LinkCondition,
}

/// The condition that a packet fault means; `None` if it is none.
#[must_use]
pub fn condition(fault: &Fault) -> Option<LinkCondition> {
    let us = |d: &Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    let clear = LinkCondition::default();
    Some(match fault {
        Fault::Partition(_) => LinkCondition { blocked: true, ..clear },
        Fault::Delay { latency, jitter } => {
            LinkCondition { latency_us: us(latency), jitter_us: us(jitter), ..clear }
        }
        Fault::Loss { probability } => LinkCondition { loss: *probability, ..clear },
        Fault::Duplicate { probability } => LinkCondition { duplicate: *probability, ..clear },
        Fault::Reorder { probability, within } => {
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
        nodes.entry(from).or_default().entry(to).or_default().outbound = condition;
        if condition.blocked {
            nodes.entry(to).or_default().entry(from).or_default().inbound.blocked = true;
        }
    }
    nodes
}

/// The condition of each direction when all these are in force.
#[must_use]
pub fn in_force<'a>(faults: impl Iterator<Item = &'a LinkFault>) -> BTreeMap<Direction, LinkCondition> {
    let mut links: BTreeMap<Direction, LinkCondition> = BTreeMap::new();
    for fault in faults {
        for direction in &fault.directions {
            let link = links.entry(*direction).or_default();
            *link = both(*link, fault.condition);
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

    #[test]
    fn faults_on_one_link_add_up_and_a_block_holds_at_both_ends() {
        let delay = |ms| LinkFault {
            directions: vec![(A, B)],
            condition: condition(&Fault::Delay {
                latency: Duration::from_millis(ms),
                jitter: Duration::ZERO,
            })
            .unwrap(),
        };
        let cut = LinkFault {
            directions: vec![(A, B)],
            condition: LinkCondition { blocked: true, ..Default::default() },
        };
        let told = combine([delay(10), delay(5), cut].iter());
        assert_eq!(told[&A][&B].outbound.latency_us, 15_000);
        assert!(told[&A][&B].outbound.blocked && told[&B][&A].inbound.blocked);
        assert!(told[&A][&B].inbound.is_clear() && told[&B][&A].outbound.is_clear(), "the way back is open");
    }

    #[test]
    fn the_slower_of_two_rates_holds_and_chances_are_independent() {
        let rate = |r| LinkCondition { rate_bytes_s: r, loss: 0.5, ..Default::default() };
        let sum = both(both(rate(0), rate(300)), rate(200));
        assert_eq!(sum.rate_bytes_s, 200);
        assert!((sum.loss - 0.875).abs() < 1e-9);
    }
}
