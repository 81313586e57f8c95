//! Making one direction of one link as bad as [`LinkCondition`] says.

use protocol::control::{LinkCondition, LinkCounters};
use rand::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// What a rate limit lets queue; what comes on top is lost.
const RATE_QUEUE_BYTES_MAX: u64 = 1 << 20;
/// What may be held back in all; what comes on top is lost, and counted as throttled.
const HELD_BYTES_MAX: usize = 64 << 20;

/// One direction of one link. `T` is what passes: encoded frames one way, messages the other.
#[derive(Debug)]
pub(super) struct Conditioner<T> {
    condition: LinkCondition,
    pub(super) counters: LinkCounters,
    held: BinaryHeap<Reverse<Held<T>>>,
    held_bytes: usize,
    /// Numbers what is held: equal times keep their order.
    order: u64,
    /// When the last message that was not reordered leaves.
    last_leaves: Option<Instant>,
    /// When the rate limit has let through all that it took on.
    rate_free: Option<Instant>,
}

#[derive(Debug)]
struct Held<T> {
    leaves: Instant,
    order: u64,
    bytes: usize,
    item: T,
}

impl<T> Conditioner<T> {
    pub(super) fn new() -> Self {
        Conditioner {
            condition: LinkCondition::default(),
            counters: LinkCounters::default(),
            held: BinaryHeap::new(),
            held_bytes: 0,
            order: 0,
            last_leaves: None,
            rate_free: None,
        }
    }

    pub(super) fn condition(&self) -> LinkCondition {
        self.condition
    }

    /// Replaces the condition. What is held is lost if the link is blocked now, and leaves at once, in order, if
    /// it is clear.
    pub(super) fn set(&mut self, now: Instant, condition: LinkCondition) {
        // A lease is renewed by setting the same again: what the rate limit has taken on is still under way then.
        if condition.rate_bytes_s != self.condition.rate_bytes_s || condition.blocked {
            self.rate_free = None;
        }
        self.condition = condition;
        if condition.blocked {
            self.counters.blocked += self.held.len() as u64;
            self.held.clear();
            self.held_bytes = 0;
            // Nobody waits for what is lost.
            self.last_leaves = None;
        }
        if condition.is_clear() {
            let held = std::mem::take(&mut self.held).into_sorted_vec();
            // Sorted by the reverse of leaving: the last is the first to leave.
            for (order, Reverse(item)) in held.into_iter().rev().enumerate() {
                self.held.push(Reverse(Held { leaves: now, order: order as u64, ..item }));
            }
            self.order = self.held.len() as u64;
            self.last_leaves = None;
        }
    }

    /// Whether messages pass as if there were no conditioner. The caller counts them with [`Self::pass`].
    pub(super) fn is_transparent(&self) -> bool {
        self.held.is_empty() && self.condition.is_clear()
    }

    /// Counts what passed a transparent conditioner.
    pub(super) fn pass(&mut self) {
        self.counters.passed += 1;
    }

    /// Counts what is not held back by any condition but a block.
    pub(super) fn see(&mut self) {
        if self.condition.blocked {
            self.counters.blocked += 1;
        } else {
            self.counters.passed += 1;
        }
    }

    /// Takes a message: it is lost, or held until it leaves. `again` makes a second one of it.
    pub(super) fn take(
        &mut self,
        now: Instant,
        bytes: usize,
        item: T,
        chance: &mut Xoshiro256PlusPlus,
        again: impl FnOnce(&T) -> T,
    ) {
        let condition = self.condition;
        if condition.blocked {
            self.counters.blocked += 1;
            return;
        }
        if condition.loss > 0.0 && chance.random_bool(condition.loss) {
            self.counters.lost += 1;
            return;
        }
        let Some(start) = self.through_the_rate_limit(now, bytes) else {
            self.counters.throttled += 1;
            return;
        };
        if start > now {
            self.counters.throttled += 1;
        }
        if condition.duplicate > 0.0 && chance.random_bool(condition.duplicate) {
            self.counters.duplicated += 1;
            let second = again(&item);
            self.hold(start, bytes, second, chance);
        }
        if condition.latency_us > 0 || condition.jitter_us > 0 {
            self.counters.delayed += 1;
        }
        self.hold(start, bytes, item, chance);
    }

    /// When the message has passed the rate limit; `None`: it does not.
    fn through_the_rate_limit(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let rate = self.condition.rate_bytes_s;
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

    fn hold(&mut self, start: Instant, bytes: usize, item: T, chance: &mut Xoshiro256PlusPlus) {
        if self.held_bytes + bytes > HELD_BYTES_MAX {
            self.counters.throttled += 1;
            return;
        }
        let condition = self.condition;
        let jitter_us =
            if condition.jitter_us == 0 { 0 } else { chance.random_range(0..=condition.jitter_us) };
        let mut leaves = start + Duration::from_micros(condition.latency_us.saturating_add(jitter_us));
        leaves = self.last_leaves.map_or(leaves, |last| last.max(leaves));
        if condition.reorder > 0.0 && chance.random_bool(condition.reorder) {
            // Later ones may overtake it, since it does not move the bar for them.
            self.counters.reordered += 1;
            leaves += Duration::from_micros(chance.random_range(0..=condition.reorder_us));
        } else {
            self.last_leaves = Some(leaves);
        }
        self.held_bytes += bytes;
        self.held.push(Reverse(Held { leaves, order: self.order, bytes, item }));
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
        Some((first.item, first.bytes))
    }
}

/// Checks what the control socket was given.
pub(super) fn check(condition: &LinkCondition) -> Result<(), String> {
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
        fn new(condition: LinkCondition) -> Bench {
            let (start, mut conditioner) = (Instant::now(), Conditioner::new());
            conditioner.set(start, condition);
            Bench { start, conditioner, chance: Xoshiro256PlusPlus::seed_from_u64(7) }
        }

        fn send(&mut self, after: Duration, items: std::ops::Range<u32>) {
            for item in items {
                self.conditioner.take(self.start + after, 100, item, &mut self.chance, |item| *item);
            }
        }

        fn arrived(&mut self, after: Duration) -> Vec<u32> {
            let now = self.start + after;
            std::iter::from_fn(|| self.conditioner.release(now).map(|(item, _)| item)).collect()
        }

        fn counters(&self) -> LinkCounters {
            self.conditioner.counters
        }
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
        link.conditioner.set(link.start + 2 * MS, LinkCondition { blocked: true, ..slow });
        link.send(3 * MS, 3..5);
        link.conditioner.set(link.start + 4 * MS, LinkCondition::default());
        assert!(link.conditioner.is_transparent());
        assert_eq!(link.arrived(99 * MS).len(), 0);
        assert_eq!((link.counters().blocked, link.counters().passed), (5, 0));
    }

    #[test]
    fn after_a_block_nobody_waits_for_what_it_lost() {
        let slow = LinkCondition { latency_us: 10_000, ..Default::default() };
        let mut link = Bench::new(LinkCondition { latency_us: 9_000_000, ..slow });
        link.send(MS, 0..3);
        link.conditioner.set(link.start + 2 * MS, LinkCondition { blocked: true, ..slow });
        link.conditioner.set(link.start + 3 * MS, slow);
        link.send(4 * MS, 3..5);
        assert_eq!(link.arrived(20 * MS), [3, 4]);
    }

    #[test]
    fn healing_lets_what_is_held_leave_at_once_and_first() {
        let mut link = Bench::new(LinkCondition { latency_us: 3_600_000_000, ..Default::default() });
        link.send(MS, 0..3);
        link.conditioner.set(link.start + 2 * MS, LinkCondition::default());
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
    fn a_rate_limit_holds_although_it_is_set_again_and_again() {
        let condition = LinkCondition { rate_bytes_s: 100_000, ..Default::default() };
        let mut link = Bench::new(condition);
        // Twice as much as passes, renewed ten times.
        for renewal in 0..10u32 {
            link.conditioner.set(link.start + 100 * renewal * MS, condition);
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
            link.conditioner.take(link.start, 1 << 20, item, &mut link.chance, |item| *item);
        }
        assert_eq!(link.arrived(2_000 * MS).len(), HELD_BYTES_MAX >> 20);
        assert_eq!(link.counters().throttled, 36);
    }

    #[test]
    fn nonsense_is_refused() {
        let good = LinkCondition { loss: 1.0, latency_us: 5, ..Default::default() };
        assert_eq!(check(&good), Ok(()));
        for bad in [
            LinkCondition { loss: f64::NAN, ..good },
            LinkCondition { duplicate: -0.1, ..good },
            LinkCondition { reorder: 1.1, ..good },
            LinkCondition { jitter_us: u64::MAX, ..good },
        ] {
            check(&bad).expect_err("out of bounds");
        }
    }
}
