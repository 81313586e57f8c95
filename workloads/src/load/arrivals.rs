//! When the ops of an open loop are due, and those that are due and not yet sent.

use super::ArrivalProcess;
use crate::mix::Chance;
use rand::{Rng, SeedableRng};
use std::collections::VecDeque;

/// Times at which ops are due: absolute, so that being late with one does not move the next.
#[derive(Debug)]
pub(super) struct Schedule {
    start_ns: u64,
    /// Since the start. Kept as a fraction so that rounding does not add up.
    elapsed_ns: f64,
    mean_gap_ns: f64,
    process: ArrivalProcess,
    chance: Chance,
}

impl Schedule {
    pub(super) fn new(start_ns: u64, rate_per_s: f64, process: ArrivalProcess, seed: u64) -> Self {
        let mean_gap_ns = 1e9 / rate_per_s;
        Self { start_ns, elapsed_ns: 0.0, mean_gap_ns, process, chance: Chance::seed_from_u64(seed) }
    }

    /// When the next op is due, nanoseconds since the run began.
    pub(super) fn due_ns(&self) -> u64 {
        self.start_ns + self.elapsed_ns as u64
    }

    pub(super) fn advance(&mut self) {
        self.elapsed_ns += match self.process {
            ArrivalProcess::Fixed => self.mean_gap_ns,
            // 1 - u, since a logarithm of 0 would be infinite.
            ArrivalProcess::Poisson => -self.mean_gap_ns * (1.0 - self.chance.random::<f64>()).ln(),
        };
    }
}

/// Due times of ops that no worker has taken yet, oldest first. It is bounded by the age of what is in it.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    due: VecDeque<u64>,
}

impl Backlog {
    pub(super) fn add(&mut self, due_ns: u64) {
        self.due.push_back(due_ns);
    }

    pub(super) fn take(&mut self) -> Option<u64> {
        self.due.pop_front()
    }

    /// One that was due before `ns`.
    pub(super) fn take_before(&mut self, ns: u64) -> Option<u64> {
        if *self.due.front()? < ns { self.due.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(process: ArrivalProcess, seed: u64) -> Vec<u64> {
        let mut schedule = Schedule::new(5_000, 10_000.0, process, seed);
        assert_eq!(schedule.due_ns(), 5_000);
        (0..100_000)
            .map(|_| {
                let due = schedule.due_ns();
                schedule.advance();
                schedule.due_ns() - due
            })
            .collect()
    }

    fn mean_and_deviation(gaps: &[u64]) -> (f64, f64) {
        let mean = gaps.iter().sum::<u64>() as f64 / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (*gap as f64 - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        (mean, variance.sqrt())
    }

    #[test]
    fn a_fixed_schedule_is_even() {
        assert!(gaps(ArrivalProcess::Fixed, 1).iter().all(|gap| *gap == 100_000));
    }

    #[test]
    fn a_poisson_schedule_has_exponential_gaps() {
        let gaps = gaps(ArrivalProcess::Poisson, 1);
        let (mean, deviation) = mean_and_deviation(&gaps);
        assert!((mean / 100_000.0 - 1.0).abs() < 0.02, "{mean}");
        assert!((deviation / mean - 1.0).abs() < 0.02, "an exponential's deviation is its mean: {deviation}");
        let long = gaps.iter().filter(|gap| **gap > 300_000).count() as f64 / gaps.len() as f64;
        assert!((long - (-3.0_f64).exp()).abs() < 0.005, "{long}");
    }

    #[test]
    fn the_seed_decides_everything() {
        assert_eq!(gaps(ArrivalProcess::Poisson, 2), gaps(ArrivalProcess::Poisson, 2));
        assert_ne!(gaps(ArrivalProcess::Poisson, 2), gaps(ArrivalProcess::Poisson, 3));
    }

    #[test]
    fn rounding_does_not_add_up() {
        let mut schedule = Schedule::new(0, 30_000.0, ArrivalProcess::Fixed, 0);
        (0..30_000_000).for_each(|_| schedule.advance());
        assert!(schedule.due_ns().abs_diff(1_000_000_000_000) < 1_000, "{}", schedule.due_ns());
    }

    #[test]
    fn the_backlog_gives_the_oldest_first() {
        let mut backlog = Backlog::default();
        [10, 20, 30].into_iter().for_each(|due| backlog.add(due));
        assert_eq!(backlog.take_before(10), None);
        assert_eq!(backlog.take_before(11), Some(10));
        assert_eq!(backlog.take_before(11), None);
        assert_eq!([backlog.take(), backlog.take(), backlog.take()], [Some(20), Some(30), None]);
    }
}
