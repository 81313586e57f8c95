//! Latency: which ops have one, and its quantiles.
//!
//! Latency counts from the *intended* start, so a client that was held up by a slow answer does not hide the wait of
//! the ops behind it. An `Ok` op has its latency; an `Info` op (a time-out, a lost connection) has the time for which
//! it was waited; one that was still open at the end of the history counts until that end. A `Fail` op has none: a
//! quick refusal would make a system look fast.

use super::millis;
use checkers::history::{Op, Outcome};
use serde::{Deserialize, Serialize};

/// Quantiles of a set of latencies, milliseconds. Exact: nearest rank over all of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many ops were counted.
    pub count: u64,
    /// Arithmetic mean.
    pub mean_ms: f64,
    /// Median.
    pub p50_ms: f64,
    /// 90 of 100 are not above.
    pub p90_ms: f64,
    /// 99 of 100 are not above.
    pub p99_ms: f64,
    /// 999 of 1000 are not above.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Latency {
    /// Of ascending `latencies` in nanoseconds; `None` if there are none.
    #[must_use]
    pub fn of(latencies: &[u64]) -> Option<Self> {
        let max = *latencies.last()?;
        let sum: f64 = latencies.iter().map(|&l| millis(l)).sum();
        let at = |q| millis(quantile(latencies, q));
        Some(Self {
            count: latencies.len() as u64,
            mean_ms: sum / latencies.len() as f64,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: millis(max),
        })
    }
}

/// The latency of an op in nanoseconds, if it has one. `end` is the end of the history.
#[must_use]
pub fn latency_ns(op: &Op, end: u64) -> Option<u64> {
    match op.outcome {
        Outcome::Ok(_) | Outcome::Info(_) => Some(op.returned.unwrap_or(end).saturating_sub(op.intended)),
        Outcome::Fail(_) => None,
    }
}

/// The smallest of ascending `values` that at least a share `q` of them does not exceed.
///
/// # Panics
/// If there are no values.
#[must_use]
pub fn quantile<T: Copy>(values: &[T], q: f64) -> T {
    // The subtraction keeps 0.99 × 100 = 99.00000000000001 at rank 99.
    let rank = (q * values.len() as f64 - 1e-9).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

/// The whole distribution of ascending `latencies`, evenly spaced in *nines* as far as there are ops to tell:
/// (share not above, milliseconds).
#[must_use]
pub fn distribution(latencies: &[u64]) -> Vec<(f64, f64)> {
    const POINTS_PER_NINE: i32 = 12;
    let Some(&max) = latencies.last() else { return Vec::new() };
    let mut points = Vec::new();
    for step in 0.. {
        let above = 10f64.powf(-f64::from(step) / f64::from(POINTS_PER_NINE));
        if above * (latencies.len() as f64) < 1.0 {
            break;
        }
        points.push((1.0 - above, millis(quantile(latencies, 1.0 - above))));
    }
    points.push((1.0, millis(max)));
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let hundred: Vec<u64> = (1..=100).map(|v| v * MS).collect();
        let latency = Latency::of(&hundred).unwrap();
        assert_eq!(
            latency,
            Latency {
                count: 100,
                mean_ms: 50.5,
                p50_ms: 50.0,
                p90_ms: 90.0,
                p99_ms: 99.0,
                p999_ms: 100.0,
                max_ms: 100.0
            }
        );
        assert_eq!(Latency::of(&[]), None);
        assert_eq!(Latency::of(&[7 * MS]).unwrap().p50_ms, 7.0);
    }

    #[test]
    fn a_distribution_goes_as_far_as_there_are_ops_and_ends_at_the_maximum() {
        let thousand: Vec<u64> = (1..=1000).map(|v| v * MS).collect();
        let points = distribution(&thousand);
        assert_eq!(points.first(), Some(&(0.0, 1.0)));
        assert_eq!(points.last(), Some(&(1.0, 1000.0)));
        assert!(points.iter().any(|&(q, ms)| (q - 0.99).abs() < 1e-9 && ms == 990.0), "{points:?}");
        assert!(points.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1), "{points:?}");
        assert_eq!(distribution(&[]), vec![]);
    }
}
