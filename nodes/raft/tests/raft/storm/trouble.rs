//! Everything that can go wrong, at random; or links that are cut for good.

use super::{Alarm, Storm, ensure};
use protocol::Detector::Liveness;
use protocol::NodeId;
use protocol::control::{ClockSetting, LinkCondition};
use rand::Rng;
use rand::seq::IndexedRandom;
use sim::{Broken, Crash};
use std::collections::BTreeSet;

/// Links that are cut for good, all others being well: a majority that is connected must serve all the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Standing {
    /// Everybody hears the leader, which hears nobody.
    DeafLeader,
    /// The leader and the others do not hear one another, and its clock is slow and theirs fast. Timeouts are long, so
    /// that there is time for stale reads.
    LostLeader,
    /// Each replica has links to the one before and the one after it.
    Chain,
}

/// How links are.
#[derive(Default)]
pub(super) struct Links {
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Of all that are not cut.
    weather: LinkCondition,
}

/// What had happened when links were cut for good.
pub(super) struct Before {
    writes: u64,
    elections: u64,
}

impl Storm {
    pub(super) fn disturb(&mut self) {
        if self.calm {
            return;
        }
        if let Some(standing) = self.setup.standing {
            return self.cut_for_good(standing);
        }
        let (leader, nodes) = (self.leader(), self.nodes.clone());
        let rng = &mut self.rng;
        // Whoever leads has most to lose.
        let leader = leader.filter(|_| rng.random_bool(0.4));
        let victim = leader.or(nodes.choose(rng).copied()).expect("there are nodes");
        if leader.is_some() && rng.random_bool(self.isolate_leader) {
            // From the others, but not from its clients: what leases must stand.
            self.cut_off(victim);
            return self.alarm(80..250, Alarm::Disturb);
        }
        match rng.random_range(0..12) {
            0..2 => self.crash(victim, Crash::Power),
            2 => self.crash(victim, Crash::Process),
            // In the middle of its work, or of its disk's.
            3 => {
                let (effects, in_disk) = (rng.random_range(0..20), rng.random_bool(0.5));
                self.cluster.crash_soon(victim, effects, in_disk);
            }
            4..6 => {
                // Two sides.
                let side: BTreeSet<_> = nodes.iter().filter(|_| rng.random_bool(0.5)).collect();
                let across = |(a, b): &(NodeId, NodeId)| side.contains(a) != side.contains(b);
                self.links.cut.extend(pairs(&nodes).filter(across));
            }
            6 => {
                // Nobody hears the victim, or it hears nobody.
                let deaf = rng.random_bool(0.5);
                let theirs = |(from, to): &(NodeId, NodeId)| victim == if deaf { *to } else { *from };
                self.links.cut.extend(pairs(&nodes).filter(theirs));
            }
            7 => {
                let other = *nodes.choose(rng).expect("there are nodes");
                self.links.cut.insert((victim, other));
            }
            8 => {
                self.links.weather = LinkCondition {
                    loss: rng.random_range(0.0..0.2),
                    duplicate: rng.random_range(0.0..0.2),
                    reorder: rng.random_range(0.0..0.2),
                    reorder_us: 400_000,
                    ..LinkCondition::default()
                };
            }
            9 => {
                let slow = rng.random_bool(0.5);
                self.cluster.slow_disk(victim, if slow { 20.0 } else { 1.0 });
            }
            _ => self.links = Links::default(),
        }
        self.set_links();
        self.alarm(1..250, Alarm::Disturb);
    }

    pub(super) fn crash(&mut self, node: NodeId, crash: Crash) {
        if self.cluster.is_up(node) {
            self.report.crashes += 1;
            self.count(node);
            self.cluster.crash(node, crash, &mut self.observer);
            self.restart_later(node);
        }
    }

    pub(super) fn restart_later(&mut self, node: NodeId) {
        let down = if self.rng.random_bool(0.5) { 20 } else { 600 };
        self.alarm(1..down, Alarm::Start(node));
    }

    /// Cuts all links of a node, but for those to clients, and no others.
    pub(super) fn cut_off(&mut self, node: NodeId) {
        let its = |(from, to): &(NodeId, NodeId)| (*from == node) != (*to == node);
        self.links.cut = pairs(&self.nodes).filter(its).collect();
        self.set_links();
    }

    fn set_links(&mut self) {
        let blocked = LinkCondition { blocked: true, ..LinkCondition::default() };
        let condition = |pair| {
            let condition = if self.links.cut.contains(&pair) { blocked } else { self.links.weather };
            (pair, condition.into())
        };
        let conditions = pairs(&self.nodes).map(condition).collect();
        self.cluster.set_links(&conditions);
    }

    pub(super) fn clear(&mut self) {
        self.links = Links::default();
        self.set_links();
        for node in self.nodes.clone() {
            self.cluster.slow_disk(node, 1.0);
        }
    }

    /// Cuts links as soon as there is a leader.
    fn cut_for_good(&mut self, standing: Standing) {
        let Some(leader) = self.leader() else { return self.alarm(1..50, Alarm::Disturb) };
        let cut = |(from, to): &(NodeId, NodeId)| match standing {
            Standing::DeafLeader => *to == leader,
            Standing::LostLeader => (*to == leader) != (*from == leader),
            Standing::Chain => from.0.abs_diff(to.0) > 1,
        };
        self.links.cut = pairs(&self.nodes).filter(cut).collect();
        self.set_links();
        if standing == Standing::LostLeader {
            let drift = self.drift;
            for &node in &self.nodes {
                let rate = if node == leader { 1.0 - drift } else { 1.0 + drift };
                self.cluster.set_clock(node, ClockSetting { offset_us: 0, rate });
            }
        }
        self.before =
            Some(Before { writes: self.report.writes, elections: self.observer.terms_led.len() as u64 });
    }

    /// A majority that is connected must serve, and must keep a leader in the end, whatever the other links do.
    pub(super) fn expect_service(&self) -> Result<(), Broken> {
        let Some(before) = &self.before else { return Ok(()) };
        let writes = self.report.writes - before.writes;
        let elections = self.observer.terms_led.len() as u64 - before.elections;
        ensure(writes > 20, Liveness, || format!("only {writes} writes since links were cut"))?;
        ensure(elections < 5, Liveness, || format!("{elections} leaders since links were cut"))
    }
}

/// Every directed link.
fn pairs(nodes: &[NodeId]) -> impl Iterator<Item = (NodeId, NodeId)> + '_ {
    nodes
        .iter()
        .flat_map(move |from| nodes.iter().map(move |to| (*from, *to)))
        .filter(|(from, to)| from != to)
}
