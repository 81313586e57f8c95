//! Links between replicas, one direction at a time.

use protocol::control::{KindCounters, LinkCondition, LinkCounters, OneWayCondition};
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
    /// What a message takes besides, where it is sent far.
    distances: BTreeMap<(NodeId, NodeId), Duration>,
    links: BTreeMap<(NodeId, NodeId), Link>,
    /// Whether any link is not clear.
    faulted: bool,
}

#[derive(Debug, Default)]
struct Link {
    condition: OneWayCondition,
    counters: LinkCounters,
    kind_counters: KindCounters,
    /// When the last message arrives that was not reordered, of all but those of kinds with a condition of their own.
    last_arrives: Time,
    /// The same of each of those.
    last_of_kind_arrives: BTreeMap<&'static str, Time>,
    rate_free: Time,
}

/// The condition of a kind of messages.
type OfKind = Option<(&'static str, LinkCondition)>;

/// When the copies of a message arrive: none if it is lost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrivals {
    pub(crate) first: Option<Time>,
    pub(crate) second: Option<Time>,
}

impl Network {
    pub(crate) fn new(settings: NetworkSettings, distances: BTreeMap<(NodeId, NodeId), Duration>) -> Self {
        Self { settings, distances, links: BTreeMap::new(), faulted: false }
    }

    pub(crate) fn settings(&self) -> NetworkSettings {
        self.settings
    }

    /// Replaces the conditions of all links: those not named are clear.
    pub(crate) fn set(&mut self, conditions: &BTreeMap<(NodeId, NodeId), OneWayCondition>) {
        for link in self.links.values_mut() {
            link.condition = OneWayCondition::default();
        }
        for (direction, condition) in conditions {
            let link = self.links.entry(*direction).or_default();
            for kind in condition.kinds.keys() {
                link.kind_counters.entry(kind.clone()).or_default();
            }
            link.condition = condition.clone();
        }
        self.faulted = conditions.values().any(|condition| !condition.is_clear());
    }

    /// What the links of these directions did since the start.
    pub(crate) fn counters(&self, direction: (NodeId, NodeId)) -> LinkCounters {
        self.links.get(&direction).map_or_else(LinkCounters::default, |link| link.counters)
    }

    /// What the condition of a kind of messages did since the start.
    pub(crate) fn kind_counters(&self, direction: (NodeId, NodeId), kind: &str) -> LinkCounters {
        let link = self.links.get(&direction);
        link.and_then(|link| link.kind_counters.get(kind)).copied().unwrap_or_default()
    }

    /// Whether nothing passes now: what was on its way is lost too.
    pub(crate) fn is_blocked(&self, direction: (NodeId, NodeId)) -> bool {
        self.faulted && self.links.get(&direction).is_some_and(|link| link.condition.all.blocked)
    }

    /// Counts a message that a block caught on its way.
    pub(crate) fn count_blocked(&mut self, direction: (NodeId, NodeId)) {
        self.links.entry(direction).or_default().counters.blocked += 1;
    }

    /// Sends a message of this kind; `bytes` tells its size if a rate limit asks.
    pub(crate) fn send(
        &mut self,
        now: Time,
        direction: (NodeId, NodeId),
        kind: &'static str,
        chance: &mut Xoshiro256PlusPlus,
        bytes: impl FnOnce() -> usize,
    ) -> Arrivals {
        let mut settings = self.settings;
        settings.latency_min += self.distances.get(&direction).copied().unwrap_or_default();
        let link = self.links.entry(direction).or_default();
        let of_kind = link.of_kind(now, kind);
        if !self.faulted {
            link.counters.passed += 1;
            return Arrivals { first: Some(link.arrival(&settings, now, of_kind, chance)), second: None };
        }
        if link.loses(of_kind, chance) {
            return Arrivals::default();
        }
        let Some(start) = link.through_the_rate_limit(now, bytes) else {
            link.counters.throttled += 1;
            return Arrivals::default();
        };
        link.counters.passed += 1;
        let first = Some(link.arrival(&settings, start, of_kind, chance));
        let mut is_doubled = false;
        for (kind, condition) in link.parts(of_kind) {
            if condition.duplicate > 0.0 && chance.random_bool(condition.duplicate) {
                link.counters_of(kind).duplicated += 1;
                is_doubled = true;
            }
        }
        let second = is_doubled.then(|| link.arrival(&settings, start, of_kind, chance));
        Arrivals { first, second }
    }
}

impl Link {
    /// The condition of a kind, a clear one while messages of that kind are on their way which a condition of theirs held up: those sent
    /// later do not overtake them.
    fn of_kind(&self, now: Time, kind: &'static str) -> OfKind {
        if let Some(condition) = self.condition.kinds.get(kind) {
            return Some((kind, *condition));
        }
        let last_arrives = self.last_of_kind_arrives.get(kind)?;
        (*last_arrives > now).then(|| (kind, LinkCondition::default()))
    }

    /// The conditions that act on a message, each by itself: that of all messages, and that of its kind, if there is one.
    fn parts(&self, of_kind: OfKind) -> impl Iterator<Item = (Option<&'static str>, LinkCondition)> + use<> {
        let of_kind = of_kind.map(|(kind, condition)| (Some(kind), condition));
        std::iter::once((None, self.condition.all)).chain(of_kind)
    }

    fn counters_of(&mut self, kind: Option<&str>) -> &mut LinkCounters {
        match kind {
            None => &mut self.counters,
            Some(kind) => self.kind_counters.get_mut(kind).expect("made when its condition was set"),
        }
    }

    fn loses(&mut self, of_kind: OfKind, chance: &mut Xoshiro256PlusPlus) -> bool {
        for (kind, condition) in self.parts(of_kind) {
            if condition.blocked {
                self.counters_of(kind).blocked += 1;
                return true;
            }
            if condition.loss > 0.0 && chance.random_bool(condition.loss) {
                self.counters_of(kind).lost += 1;
                return true;
            }
        }
        false
    }

    fn through_the_rate_limit(&mut self, now: Time, bytes: impl FnOnce() -> usize) -> Option<Time> {
        let rate = self.condition.all.rate_bytes_s;
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

    fn arrival(
        &mut self,
        settings: &NetworkSettings,
        start: Time,
        of_kind: OfKind,
        chance: &mut Xoshiro256PlusPlus,
    ) -> Time {
        let mut latency = settings.latency_min + exponential(settings.latency_mean, chance);
        for (kind, condition) in self.parts(of_kind) {
            if condition.latency_us > 0 || condition.jitter_us > 0 {
                self.counters_of(kind).delayed += 1;
                let jitter_us = chance.random_range(0..=condition.jitter_us);
                latency += Duration::from_micros(condition.latency_us.saturating_add(jitter_us));
            }
        }
        let mut arrives = start + latency;
        let last = match of_kind {
            None => self.last_arrives,
            Some((kind, _)) => self.last_of_kind_arrives.get(kind).copied().unwrap_or_default(),
        };
        if !settings.datagrams {
            arrives = arrives.max(last);
        }
        let mut behind = None;
        for (kind, condition) in self.parts(of_kind) {
            if condition.reorder > 0.0 && chance.random_bool(condition.reorder) {
                self.counters_of(kind).reordered += 1;
                let held_back = Duration::from_micros(chance.random_range(0..=condition.reorder_us));
                behind = behind.max(Some(held_back));
            }
        }
        match (behind, of_kind) {
            // Later ones may overtake it, since it does not move the bar for them.
            (Some(behind), _) => arrives = arrives + behind,
            (None, None) => self.last_arrives = arrives,
            (None, Some((kind, _))) => {
                self.last_of_kind_arrives.insert(kind, arrives);
            }
        }
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
