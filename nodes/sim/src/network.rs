//! Links between replicas, one direction at a time.

use protocol::control::{LinkCondition, LinkCounters};
use protocol::{NodeId, Time};
use rand::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::BTreeMap;
use std::time::Duration;

/// How the network is when no fault is in force.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkSettings {
    /// The least that a message takes.
    pub latency_min: Duration,
    /// What it takes on top on average; exponentially distributed, cut off at 20 times the average.
    pub latency_mean: Duration,
    /// Whether messages of a link may overtake one another, and outlive the connection that they were sent over.
    pub datagrams: bool,
}

/// What a rate limit lets queue, in bytes; what comes on top is lost.
const RATE_QUEUE_BYTES_MAX: f64 = (1 << 20) as f64;

/// All links.
#[derive(Debug)]
pub(crate) struct Network {
    settings: NetworkSettings,
    links: BTreeMap<(NodeId, NodeId), Link>,
    /// Whether any link is not clear.
    faulted: bool,
}

#[derive(Debug, Default)]
struct Link {
    condition: LinkCondition,
    counters: LinkCounters,
    /// When the last message arrives that was not reordered.
    last_arrives: Time,
    rate_free: Time,
}

/// When the copies of a message arrive: none if it is lost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrivals {
    pub(crate) first: Option<Time>,
    pub(crate) second: Option<Time>,
}

impl Network {
    pub(crate) fn new(settings: NetworkSettings) -> Self {
        Self { settings, links: BTreeMap::new(), faulted: false }
    }

    pub(crate) fn settings(&self) -> NetworkSettings {
        self.settings
    }

    /// Replaces the conditions of all links: those not named are clear.
    pub(crate) fn set(&mut self, conditions: &BTreeMap<(NodeId, NodeId), LinkCondition>) {
        for link in self.links.values_mut() {
            link.condition = LinkCondition::default();
        }
        for (direction, condition) in conditions {
            self.links.entry(*direction).or_default().condition = *condition;
        }
        self.faulted = conditions.values().any(|condition| !condition.is_clear());
    }

    /// What the links of these directions did since the start.
    pub(crate) fn counters(&self, direction: (NodeId, NodeId)) -> LinkCounters {
        self.links.get(&direction).map_or_else(LinkCounters::default, |link| link.counters)
    }

    /// Whether nothing passes now: what was on its way is lost too.
    pub(crate) fn is_blocked(&self, direction: (NodeId, NodeId)) -> bool {
        self.faulted && self.links.get(&direction).is_some_and(|link| link.condition.blocked)
    }

    /// Counts a message that a block caught on its way.
    pub(crate) fn count_blocked(&mut self, direction: (NodeId, NodeId)) {
        self.links.entry(direction).or_default().counters.blocked += 1;
    }

    /// Sends a message; `bytes` tells its size if a rate limit asks.
    pub(crate) fn send(
        &mut self,
        now: Time,
        direction: (NodeId, NodeId),
        chance: &mut Xoshiro256PlusPlus,
        bytes: impl FnOnce() -> usize,
    ) -> Arrivals {
        let settings = self.settings;
        let link = self.links.entry(direction).or_default();
        if !self.faulted {
            link.counters.passed += 1;
            return Arrivals { first: Some(link.arrival(&settings, now, chance)), second: None };
        }
        let condition = link.condition;
        if condition.blocked {
            link.counters.blocked += 1;
            return Arrivals::default();
        }
        if condition.loss > 0.0 && chance.random_bool(condition.loss) {
            link.counters.lost += 1;
            return Arrivals::default();
        }
        let Some(start) = link.through_the_rate_limit(now, bytes) else {
            link.counters.throttled += 1;
            return Arrivals::default();
        };
        link.counters.passed += 1;
        let mut arrivals = Arrivals { first: Some(link.arrival(&settings, start, chance)), second: None };
        if condition.duplicate > 0.0 && chance.random_bool(condition.duplicate) {
            link.counters.duplicated += 1;
            arrivals.second = Some(link.arrival(&settings, start, chance));
        }
        arrivals
    }
}

impl Link {
    fn through_the_rate_limit(&mut self, now: Time, bytes: impl FnOnce() -> usize) -> Option<Time> {
        let rate = self.condition.rate_bytes_s;
        if rate == 0 {
            return Some(now);
        }
        let free = self.rate_free.max(now);
        if free.since(now).as_secs_f64() * rate as f64 > RATE_QUEUE_BYTES_MAX {
            return None;
        }
        self.counters.throttled += 1;
        self.rate_free = free + Duration::from_secs_f64(bytes() as f64 / rate as f64);
        Some(self.rate_free)
    }

    fn arrival(&mut self, settings: &NetworkSettings, start: Time, chance: &mut Xoshiro256PlusPlus) -> Time {
        let mut latency = settings.latency_min + exponential(settings.latency_mean, chance);
        let condition = self.condition;
        if condition.latency_us > 0 || condition.jitter_us > 0 {
            self.counters.delayed += 1;
            let jitter_us = chance.random_range(0..=condition.jitter_us);
            latency += Duration::from_micros(condition.latency_us.saturating_add(jitter_us));
        }
        let mut arrives = start + latency;
        if !settings.datagrams {
            arrives = arrives.max(self.last_arrives);
        }
        if condition.reorder > 0.0 && chance.random_bool(condition.reorder) {
            // Later ones may overtake it, since it does not move the bar for them.
            self.counters.reordered += 1;
            return arrives + Duration::from_micros(chance.random_range(0..=condition.reorder_us));
        }
        self.last_arrives = arrives;
        arrives
    }
}

/// A duration of this mean, at most 20 times as long.
pub(crate) fn exponential(mean: Duration, chance: &mut Xoshiro256PlusPlus) -> Duration {
    if mean.is_zero() {
        return Duration::ZERO;
    }
    let uniform: f64 = chance.random();
    mean.mul_f64((-(1.0 - uniform).ln()).min(20.0))
}
