//! Making one direction of one link as bad as [`OneWayCondition`] says.

use protocol::control::{KindCounters, LinkCondition, LinkCounters, OneWayCondition};
use rand::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

/// What a rate limit lets queue; what comes on top is lost.
const RATE_QUEUE_BYTES_MAX: u64 = 1 << 20;
/// What may be held back in all; what comes on top is lost, and counted as throttled.
const HELD_BYTES_MAX: usize = 64 << 20;

/// One direction of one link. `T` is what passes: encoded frames one way, messages the other.
#[derive(Debug)]
pub(super) struct Conditioner<T> {
    /// What everything takes, whatever the condition.
    distance: Duration,
    condition: OneWayCondition,
    pub(super) counters: LinkCounters,
    pub(super) kind_counters: KindCounters,
    held: BinaryHeap<Reverse<Held<T>>>,
    held_bytes: usize,
    /// Numbers what is held: equal times keep their order.
    order: u64,
    /// When the last message that was not reordered leaves: `None`, of all but those of kinds with a condition of their own.
    last_leaves: BTreeMap<Option<&'static str>, Instant>,
    /// When the rate limit has let through all that it took on.
    rate_free: Option<Instant>,
}

#[derive(Debug)]
struct Held<T> {
    leaves: Instant,
    /// When it leaves if no condition holds it any longer.
    leaves_clear: Instant,
    order: u64,
    bytes: usize,
    /// Its kind, if it is held by a condition of that.
    kind: Option<&'static str>,
    item: T,
}

/// What acts on a message, each by itself: the condition of all messages, and that of its kind.
type Parts = [Option<(Option<&'static str>, LinkCondition)>; 2];

impl<T> Conditioner<T> {
    pub(super) fn new(distance: Duration) -> Self {
        Conditioner {
            distance,
            condition: OneWayCondition::default(),
            counters: LinkCounters::default(),
            kind_counters: KindCounters::new(),
            held: BinaryHeap::new(),
            held_bytes: 0,
            order: 0,
            last_leaves: BTreeMap::new(),
            rate_free: None,
        }
    }

    pub(super) fn condition(&self) -> &OneWayCondition {
        &self.condition
    }

    /// Replaces the condition. What is held is lost if the link, or its kind, is blocked now, and leaves in order, as soon as the distance
    /// lets it, if that is clear.
    pub(super) fn set(&mut self, now: Instant, condition: OneWayCondition) {
        let all = condition.all;
        // A lease is renewed by setting the same again: what the rate limit has taken on is still under way then.
        if all.rate_bytes_s != self.condition.all.rate_bytes_s || all.blocked {
            self.rate_free = None;
        }
        for kind in condition.kinds.keys().filter(|kind| !self.condition.kinds.contains_key(*kind)) {
            self.kind_counters.entry(kind.clone()).or_default();
        }
        self.condition = condition;
        // Sorted by the reverse of leaving: the last is the first to leave.
        let held = std::mem::take(&mut self.held).into_sorted_vec();
        let mut kept: Vec<Held<T>> = Vec::with_capacity(held.len());
        for Reverse(mut one) in held.into_iter().rev() {
            let of_kind = one.kind.map(|kind| self.condition.kinds.get(kind).copied().unwrap_or_default());
            if all.blocked || of_kind.is_some_and(|of_kind| of_kind.blocked) {
                // Nobody waits for what is lost.
                self.last_leaves.remove(&one.kind);
                self.held_bytes -= one.bytes;
                self.counters_of(one.kind.filter(|_| !all.blocked)).blocked += 1;
                continue;
            }
            if of_kind.unwrap_or(all).is_clear() {
                self.last_leaves.remove(&one.kind);
                let clear = one.leaves_clear.max(now) + Duration::from_micros(all.latency_us);
                one.leaves = one.leaves.min(clear);
            }
            kept.push(one);
        }
        if all.blocked || all.is_clear() {
            self.last_leaves.remove(&None);
        }
        self.order = kept.len() as u64;
        self.held = kept
            .into_iter()
            .enumerate()
            .map(|(order, one)| Reverse(Held { order: order as u64, ..one }))
            .collect();
    }

    fn counters_of(&mut self, kind: Option<&str>) -> &mut LinkCounters {
        match kind {
            None => &mut self.counters,
            Some(kind) => {
                self.kind_counters.get_mut(kind).expect("there are counters for each kind with a condition")
            }
        }
    }

    /// Whether messages pass as if there were no conditioner. The caller counts them with [`Self::pass`].
    pub(super) fn is_transparent(&self) -> bool {
        self.held.is_empty() && self.condition.is_clear() && self.distance.is_zero()
    }

    /// Counts what passed a transparent conditioner.
    pub(super) fn pass(&mut self) {
        self.counters.passed += 1;
    }

    /// Counts what is not held back by any condition but a block.
    pub(super) fn see(&mut self) {
        if self.condition.all.blocked {
            self.counters.blocked += 1;
        } else {
            self.counters.passed += 1;
        }
    }

    /// Takes a message of this kind, if it has one: it is lost, or held until it leaves. `again` makes a second one of it.
    pub(super) fn take(
        &mut self,
        now: Instant,
        kind: Option<&'static str>,
        (item, bytes): (T, usize),
        chance: &mut Xoshiro256PlusPlus,
        again: impl FnOnce(&T) -> T,
    ) {
        let parts = self.parts(kind);
        for (kind, condition) in parts.iter().flatten() {
            if condition.blocked {
                self.counters_of(*kind).blocked += 1;
                return;
            }
            if condition.loss > 0.0 && chance.random_bool(condition.loss) {
                self.counters_of(*kind).lost += 1;
                return;
            }
        }
        let Some(start) = self.through_the_rate_limit(now, bytes) else {
            self.counters.throttled += 1;
            return;
        };
        if start > now {
            self.counters.throttled += 1;
        }
        let mut is_doubled = false;
        for (kind, condition) in parts.iter().flatten() {
            if condition.duplicate > 0.0 && chance.random_bool(condition.duplicate) {
                self.counters_of(*kind).duplicated += 1;
                is_doubled = true;
            }
            if condition.latency_us > 0 || condition.jitter_us > 0 {
                self.counters_of(*kind).delayed += 1;
            }
        }
        if is_doubled {
            let second = again(&item);
            self.hold((now, start), parts, (second, bytes), chance);
        }
        self.hold((now, start), parts, (item, bytes), chance);
    }

    /// The conditions that act on a message of this kind: that of all, and that of its kind, if there is one.
    fn parts(&self, kind: Option<&'static str>) -> Parts {
        let of_kind = kind.and_then(|kind| Some((Some(kind), *self.condition.kinds.get(kind)?)));
        [Some((None, self.condition.all)), of_kind]
    }

    /// When the message has passed the rate limit; `None`: it does not.
    fn through_the_rate_limit(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let rate = self.condition.all.rate_bytes_s;
        if rate == 0 {
            return Some(now);
        }
        let free = self.rate_free.unwrap_or(now).max(now);
        let queued = free.duration_since(now).as_secs_f64() * rate as f64;
        if queued > RATE_QUEUE_BYTES_MAX as f64 {
            return None;
        }
        let passed = free + Duration::from_secs_f64(bytes as f64 / rate as f64);
        self.rate_free = Some(passed);
        Some(passed)
    }

    fn hold(
        &mut self,
        (taken, start): (Instant, Instant),
        parts: Parts,
        (item, bytes): (T, usize),
        chance: &mut Xoshiro256PlusPlus,
    ) {
        if self.held_bytes + bytes > HELD_BYTES_MAX {
            self.counters.throttled += 1;
            return;
        }
        let kind = parts[1].and_then(|(kind, _)| kind);
        let leaves_clear = taken + self.distance;
        let mut leaves = start + self.distance;
        let mut behind = None;
        for (part, condition) in parts.into_iter().flatten() {
            let jitter_us =
                if condition.jitter_us == 0 { 0 } else { chance.random_range(0..=condition.jitter_us) };
            leaves += Duration::from_micros(condition.latency_us.saturating_add(jitter_us));
            if condition.reorder > 0.0 && chance.random_bool(condition.reorder) {
                self.counters_of(part).reordered += 1;
                let held_back = Duration::from_micros(chance.random_range(0..=condition.reorder_us));
                behind = behind.max(Some(held_back));
            }
        }
        leaves = self.last_leaves.get(&kind).map_or(leaves, |last| leaves.max(*last));
        match behind {
            // Later ones may overtake it, since it does not move the bar for them.
            Some(behind) => leaves += behind,
            None => {
                self.last_leaves.insert(kind, leaves);
            }
        }
        self.held_bytes += bytes;
        self.held.push(Reverse(Held { leaves, leaves_clear, order: self.order, bytes, kind, item }));
        self.order += 1;
    }

    /// When the next one leaves.
    pub(super) fn next_leaves(&self) -> Option<Instant> {
        self.held.peek().map(|Reverse(first)| first.leaves)
    }

    /// One whose time has come, and its size.
    pub(super) fn release(&mut self, now: Instant) -> Option<(T, usize)> {
        if self.next_leaves()? > now {
            return None;
        }
        let Reverse(first) = self.held.pop()?;
        self.held_bytes -= first.bytes;
        self.counters.passed += 1;
        if first.kind.is_some() {
            self.counters_of(first.kind).passed += 1;
        }
        Some((first.item, first.bytes))
    }
}

/// Checks what the control socket was given, by a node whose messages are of these kinds.
pub(super) fn check(condition: &OneWayCondition, kinds: &[&str]) -> Result<(), String> {
    check_numbers(&condition.all)?;
    for (kind, of_kind) in &condition.kinds {
        if !kinds.contains(&kind.as_str()) {
            return Err(format!(
                "there are no messages of kind `{kind}`, the kinds are {}",
                kinds.join(", ")
            ));
        }
        if of_kind.rate_bytes_s > 0 {
            return Err(format!("kind `{kind}` has a rate, which is of bytes, and those have no kind"));
        }
        check_numbers(of_kind).map_err(|problem| format!("kind `{kind}`: {problem}"))?;
    }
    Ok(())
}

fn check_numbers(condition: &LinkCondition) -> Result<(), String> {
    const DELAY_US_MAX: u64 = 3_600_000_000;
    for (name, chance) in
        [("loss", condition.loss), ("duplicate", condition.duplicate), ("reorder", condition.reorder)]
    {
        if !(0.0..=1.0).contains(&chance) {
            return Err(format!("{name} of {chance}, allowed are 0 to 1"));
        }
    }
    for (name, delay_us) in [
        ("latency_us", condition.latency_us),
        ("jitter_us", condition.jitter_us),
        ("reorder_us", condition.reorder_us),
    ] {
        if delay_us > DELAY_US_MAX {
            return Err(format!("{name} of {delay_us}, allowed are 0 to {DELAY_US_MAX}"));
        }
    }
    Ok(())
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Held<T> {}

impl<T> PartialOrd for Held<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Held<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.leaves, self.order).cmp(&(other.leaves, other.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const MS: Duration = Duration::from_millis(1);

    struct Bench {
        start: Instant,
        conditioner: Conditioner<u32>,
        chance: Xoshiro256PlusPlus,
    }

    impl Bench {
        fn new(condition: impl Into<OneWayCondition>) -> Bench {
            Bench::at(Duration::ZERO, condition)
        }

        fn at(distance: Duration, condition: impl Into<OneWayCondition>) -> Bench {
            let (start, mut conditioner) = (Instant::now(), Conditioner::new(distance));
            conditioner.set(start, condition.into());
            Bench { start, conditioner, chance: Xoshiro256PlusPlus::seed_from_u64(7) }
        }

        fn set(&mut self, after: Duration, condition: impl Into<OneWayCondition>) {
            self.conditioner.set(self.start + after, condition.into());
        }

        fn send(&mut self, after: Duration, items: std::ops::Range<u32>) {
            self.send_kind(after, None, items);
        }

        fn send_kind(&mut self, after: Duration, kind: Option<&'static str>, items: std::ops::Range<u32>) {
            for item in items {
                let now = self.start + after;
                self.conditioner.take(now, kind, (item, 100), &mut self.chance, |item| *item);
            }
        }

        fn arrived(&mut self, after: Duration) -> Vec<u32> {
            let now = self.start + after;
            std::iter::from_fn(|| self.conditioner.release(now).map(|(item, _)| item)).collect()
        }

        fn counters(&self) -> LinkCounters {
            self.conditioner.counters
        }

        fn of_kind(&self, kind: &str) -> LinkCounters {
            self.conditioner.kind_counters[kind]
        }
    }

    fn on_kind(kind: &str, of_kind: LinkCondition, all: LinkCondition) -> OneWayCondition {
        OneWayCondition { all, kinds: [(kind.to_owned(), of_kind)].into() }
    }

    fn late(ms: u64) -> LinkCondition {
        LinkCondition { latency_us: ms * 1_000, ..LinkCondition::default() }
    }

    #[test]
    fn one_kind_is_lost_and_no_other() {
        let lost = LinkCondition { loss: 1.0, ..LinkCondition::default() };
        let mut link = Bench::new(on_kind("vote", lost, LinkCondition::default()));
        link.send_kind(MS, Some("vote"), 0..10);
        link.send_kind(MS, Some("commit"), 10..13);
        link.send(MS, 13..15);
        assert_eq!(link.arrived(MS), [10, 11, 12, 13, 14]);
        assert_eq!((link.of_kind("vote").lost, link.counters().lost), (10, 0), "counted for its kind only");
    }

    #[test]
    fn a_late_kind_keeps_its_own_order_and_holds_up_no_other() {
        let mut link = Bench::new(on_kind("vote", late(30), late(10)));
        link.send_kind(MS, Some("vote"), 0..2);
        link.send_kind(2 * MS, Some("commit"), 2..4);
        link.send_kind(3 * MS, Some("vote"), 4..5);
        assert_eq!(link.arrived(12 * MS), [2, 3], "they have the delay of all");
        assert!(link.arrived(40 * MS).is_empty());
        assert_eq!(link.arrived(41 * MS), [0, 1], "and these both delays");
        assert_eq!(link.arrived(43 * MS), [4]);
        assert_eq!((link.of_kind("vote").delayed, link.counters().delayed), (3, 5));
        assert_eq!(link.of_kind("vote").passed, 3);
    }

    #[test]
    fn when_the_fault_on_a_kind_ends_what_it_holds_leaves_and_the_rest_stays() {
        let mut link = Bench::new(on_kind("vote", late(9_000), late(500)));
        link.send_kind(MS, Some("vote"), 0..3);
        link.send_kind(MS, Some("commit"), 3..5);
        link.set(2 * MS, late(500));
        link.send_kind(3 * MS, Some("vote"), 5..6);
        assert!(link.arrived(500 * MS).is_empty());
        assert_eq!(link.arrived(501 * MS), [3, 4]);
        assert_eq!(link.arrived(502 * MS), [0, 1, 2], "no later than what is sent now");
        assert_eq!(link.arrived(503 * MS), [5]);
        link.set(504 * MS, LinkCondition::default());
        assert!(link.conditioner.is_transparent());
    }

    #[test]
    fn a_distance_is_there_before_and_after_every_fault_and_during_it_too() {
        let mut link = Bench::at(20 * MS, LinkCondition::default());
        assert!(!link.conditioner.is_transparent());
        link.send(MS, 0..2);
        assert!(link.arrived(20 * MS).is_empty());
        assert_eq!(link.arrived(21 * MS), [0, 1]);
        assert_eq!(link.counters().delayed, 0, "that is no fault's doing");
        link.set(30 * MS, late(500));
        link.send(30 * MS, 2..4);
        link.send(40 * MS, 4..5);
        assert!(link.arrived(45 * MS).is_empty());
        // Healed: what has come far enough is there, what has not has the rest of its way before it.
        link.set(55 * MS, LinkCondition::default());
        link.send(56 * MS, 5..6);
        assert_eq!(link.arrived(55 * MS), [2, 3]);
        assert_eq!(link.arrived(60 * MS), [4]);
        assert!(link.arrived(75 * MS).is_empty());
        assert_eq!(link.arrived(76 * MS), [5]);
        link.set(80 * MS, late(5));
        link.send(80 * MS, 6..7);
        assert!(link.arrived(104 * MS).is_empty());
        assert_eq!(link.arrived(105 * MS), [6], "a delay comes on top");
    }

    #[test]
    fn a_kind_may_be_blocked_alone() {
        let blocked = LinkCondition { blocked: true, ..LinkCondition::default() };
        let mut link = Bench::new(on_kind("vote", late(10), LinkCondition::default()));
        link.send_kind(MS, Some("vote"), 0..2);
        link.set(2 * MS, on_kind("vote", blocked, LinkCondition::default()));
        link.send_kind(3 * MS, Some("vote"), 2..3);
        link.send_kind(3 * MS, Some("commit"), 3..4);
        assert_eq!(link.arrived(99 * MS), [3]);
        assert_eq!((link.of_kind("vote").blocked, link.counters().blocked), (3, 0));
    }

    #[test]
    fn latency_and_jitter_delay_and_keep_the_order() {
        let mut link =
            Bench::new(LinkCondition { latency_us: 10_000, jitter_us: 5_000, ..Default::default() });
        link.send(MS, 0..100);
        assert_eq!(link.arrived(10 * MS).len(), 0);
        assert_eq!(link.arrived(16 * MS), (0..100).collect::<Vec<_>>());
        assert_eq!((link.counters().delayed, link.counters().passed), (100, 100));
    }

    #[test]
    fn blocking_loses_what_comes_and_what_is_under_way() {
        let slow = LinkCondition { latency_us: 10_000, ..Default::default() };
        let mut link = Bench::new(slow);
        link.send(MS, 0..3);
        link.set(2 * MS, LinkCondition { blocked: true, ..slow });
        link.send(3 * MS, 3..5);
        link.set(4 * MS, LinkCondition::default());
        assert!(link.conditioner.is_transparent());
        assert_eq!(link.arrived(99 * MS).len(), 0);
        assert_eq!((link.counters().blocked, link.counters().passed), (5, 0));
    }

    #[test]
    fn after_a_block_nobody_waits_for_what_it_lost() {
        let slow = LinkCondition { latency_us: 10_000, ..Default::default() };
        let mut link = Bench::new(LinkCondition { latency_us: 9_000_000, ..slow });
        link.send(MS, 0..3);
        link.set(2 * MS, LinkCondition { blocked: true, ..slow });
        link.set(3 * MS, slow);
        link.send(4 * MS, 3..5);
        assert_eq!(link.arrived(20 * MS), [3, 4]);
    }

    #[test]
    fn healing_lets_what_is_held_leave_at_once_and_first() {
        let mut link = Bench::new(LinkCondition { latency_us: 3_600_000_000, ..Default::default() });
        link.send(MS, 0..3);
        link.set(2 * MS, LinkCondition::default());
        assert!(!link.conditioner.is_transparent(), "new ones would overtake");
        link.send(2 * MS, 3..5);
        assert_eq!(link.arrived(2 * MS), [0, 1, 2, 3, 4]);
        assert!(link.conditioner.is_transparent());
    }

    #[test]
    fn loss_and_duplicates_come_about_as_often_as_asked() {
        let mut link = Bench::new(LinkCondition { loss: 0.3, duplicate: 0.1, ..Default::default() });
        link.send(MS, 0..10_000);
        let (arrived, counters) = (link.arrived(MS).len() as u64, link.counters());
        assert!((2_800..3_200).contains(&counters.lost), "{counters:?}");
        assert!((600..800).contains(&counters.duplicated), "{counters:?}");
        assert_eq!(arrived, 10_000 - counters.lost + counters.duplicated);
        let mut link = Bench::new(LinkCondition { loss: 1.0, ..Default::default() });
        link.send(MS, 0..10);
        assert_eq!((link.arrived(99 * MS), link.counters().lost), (vec![], 10));
    }

    #[test]
    fn what_is_reordered_falls_behind_and_the_rest_keeps_its_order() {
        let condition = LinkCondition { reorder: 0.2, reorder_us: 20_000, ..Default::default() };
        let mut link = Bench::new(condition);
        for sent in 0..100u32 {
            link.send(sent * MS, sent..sent + 1);
        }
        let mut arrived = Vec::new();
        for after in 0..200u32 {
            arrived.extend(link.arrived(after * MS));
        }
        let behind = arrived.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!(behind > 5, "{arrived:?}");
        assert!(link.counters().reordered >= behind as u64);
        arrived.sort_unstable();
        assert_eq!(arrived, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_rate_limit_spreads_out_then_loses() {
        // 100 bytes take 1 ms.
        let mut link = Bench::new(LinkCondition { rate_bytes_s: 100_000, ..Default::default() });
        link.send(Duration::ZERO, 0..10);
        assert_eq!(link.arrived(5 * MS).len(), 5);
        assert_eq!(link.arrived(10 * MS).len(), 5);
        link.send(10 * MS, 0..20_000);
        let queued = RATE_QUEUE_BYTES_MAX / 100;
        let arrived = link.arrived(10 * MS + 1_000_000 * MS).len() as u64;
        assert!((queued..queued + 3).contains(&arrived), "{arrived} of {queued}");
        assert_eq!(link.counters().throttled, 20_010);
    }

    #[test]
    fn healing_a_rate_limit_lets_what_it_holds_leave_as_soon_as_the_distance_lets_it() {
        for distance in [0, 20] {
            let slow = LinkCondition { rate_bytes_s: 1_000, ..Default::default() };
            let mut link = Bench::at(distance * MS, slow);
            link.send(MS, 0..5);
            assert!(link.arrived(50 * MS).is_empty(), "100 bytes take 100 ms");
            link.set(51 * MS, LinkCondition::default());
            link.send(52 * MS, 5..6);
            assert_eq!(link.arrived(51 * MS), [0, 1, 2, 3, 4]);
            assert_eq!(link.arrived((52 + distance) * MS), [5]);
        }
    }

    #[test]
    fn a_rate_limit_holds_although_it_is_set_again_and_again() {
        let condition = LinkCondition { rate_bytes_s: 100_000, ..Default::default() };
        let mut link = Bench::new(condition);
        // Twice as much as passes, renewed ten times.
        for renewal in 0..10u32 {
            link.set(100 * renewal * MS, condition);
            for sent in 0..100 {
                link.send((100 * renewal + sent) * MS, 0..2);
            }
        }
        let arrived = link.arrived(1_000 * MS).len();
        assert!((990..=1_000).contains(&arrived), "{arrived} messages of 100 bytes in a second");
        let later = link.arrived(1_500 * MS).len();
        assert!((490..=510).contains(&later), "{later} messages of 100 bytes in half a second more");
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut link = Bench::new(LinkCondition { latency_us: 1_000_000, ..Default::default() });
        for item in 0..100 {
            link.conditioner.take(link.start, None, (item, 1 << 20), &mut link.chance, |item| *item);
        }
        assert_eq!(link.arrived(2_000 * MS).len(), HELD_BYTES_MAX >> 20);
        assert_eq!(link.counters().throttled, 36);
    }

    #[test]
    fn nonsense_is_refused() {
        let good = LinkCondition { loss: 1.0, latency_us: 5, ..Default::default() };
        let kinds = ["vote", "commit"];
        let check = |condition: OneWayCondition| check(&condition, &kinds);
        assert_eq!(check(good.into()), Ok(()));
        assert_eq!(check(on_kind("vote", good, good)), Ok(()));
        let error = check(on_kind("vole", good, good)).expect_err("no such kind");
        assert_eq!(error, "there are no messages of kind `vole`, the kinds are vote, commit");
        let slow = LinkCondition { rate_bytes_s: 1, ..good };
        check(on_kind("vote", slow, good)).expect_err("bytes have no kind");
        for bad in [
            LinkCondition { loss: f64::NAN, ..good },
            LinkCondition { duplicate: -0.1, ..good },
            LinkCondition { reorder: 1.1, ..good },
            LinkCondition { jitter_us: u64::MAX, ..good },
        ] {
            check(bad.into()).expect_err("out of bounds");
            check(on_kind("vote", bad, good)).expect_err("out of bounds");
        }
    }
}
