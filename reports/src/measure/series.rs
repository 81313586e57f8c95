//! Throughput and latency quantiles over time.

use super::latency::{latency_ns, quantile};
use super::span::Span;
use super::{millis, seconds};
use checkers::history::{Op, Outcome};
use serde::{Deserialize, Serialize};

/// Equal buckets of time. Throughput counts an op where it *ended*, latency where it was
/// *meant to start*.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Begin of the first bucket, seconds since the run began.
    pub start_s: f64,
    /// Width of each bucket, seconds.
    pub bucket_s: f64,
    /// Ops a second that succeeded.
    pub ok_s: Vec<f64>,
    /// Ops a second that failed for certain.
    pub fail_s: Vec<f64>,
    /// Ops a second whose outcome is unknown.
    pub info_s: Vec<f64>,
    /// Medians, milliseconds; `None` where no op was meant to start.
    pub p50_ms: Vec<Option<f64>>,
    /// 95 of 100.
    pub p95_ms: Vec<Option<f64>>,
    /// 99 of 100.
    pub p99_ms: Vec<Option<f64>>,
    /// The longest.
    pub max_ms: Vec<Option<f64>>,
}

/// At most so many buckets, so that a line stays a line and the page small.
const BUCKETS_MAX: u64 = 160;

impl Series {
    /// Of `ops` within `span`; ops outside of it do not count. `end` is the end of the history.
    #[must_use]
    pub fn of(ops: &[Op], span: Span, end: u64) -> Self {
        if span.length() == 0 {
            return Self::default();
        }
        let bucket = bucket_ns(span.length());
        let buckets = span.length().div_ceil(bucket) as usize;
        let bucket_of = |time: u64| {
            let within = span.start <= time && time <= span.end;
            // An op that ends with the span's last instant belongs to its last bucket.
            within.then(|| (((time - span.start) / bucket) as usize).min(buckets - 1))
        };
        let mut counts = vec![[0u64; 3]; buckets];
        let mut latencies: Vec<Vec<u64>> = vec![Vec::new(); buckets];
        for op in ops {
            if let Some(at) = bucket_of(op.returned.unwrap_or(end)) {
                let outcome = match op.outcome {
                    Outcome::Ok(_) => 0,
                    Outcome::Fail(_) => 1,
                    Outcome::Info(_) => 2,
                };
                counts[at][outcome] += 1;
            }
            if let (Some(at), Some(latency)) = (bucket_of(op.intended), latency_ns(op, end)) {
                latencies[at].push(latency);
            }
        }
        for bucket in &mut latencies {
            bucket.sort_unstable();
        }
        // The last bucket may be cut short by the span's end.
        let width_s = |at: usize| {
            let begin = at as u64 * bucket;
            seconds((span.length() - begin).min(bucket))
        };
        let rates = |outcome: usize| {
            counts.iter().enumerate().map(|(at, c)| c[outcome] as f64 / width_s(at)).collect()
        };
        let quantiles =
            |q: f64| latencies.iter().map(|l| (!l.is_empty()).then(|| millis(quantile(l, q)))).collect();
        Self {
            start_s: seconds(span.start),
            bucket_s: seconds(bucket),
            ok_s: rates(0),
            fail_s: rates(1),
            info_s: rates(2),
            p50_ms: quantiles(0.5),
            p95_ms: quantiles(0.95),
            p99_ms: quantiles(0.99),
            max_ms: quantiles(1.0),
        }
    }

    /// How many buckets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ok_s.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ok_s.is_empty()
    }

    /// The middle of a bucket, seconds since the run began.
    #[must_use]
    pub fn middle_s(&self, bucket: usize) -> f64 {
        self.start_s + (bucket as f64 + 0.5) * self.bucket_s
    }
}

/// The smallest round width that makes at most [`BUCKETS_MAX`] buckets: one second for a run of two minutes.
fn bucket_ns(length: u64) -> u64 {
    const MILLISECOND: u64 = 1_000_000;
    let mut decade = MILLISECOND;
    loop {
        for width in [decade, 2 * decade, 5 * decade] {
            if length.div_ceil(width) <= BUCKETS_MAX {
                return width;
            }
        }
        decade *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{op, ops_at};

    const S: u64 = 1_000_000_000;

    #[test]
    fn buckets_are_round_and_few() {
        for (length_s, width_s) in [(2, 0.02), (60, 0.5), (120, 1.0), (7200, 50.0)] {
            assert_eq!(seconds(bucket_ns(length_s * S)), width_s, "{length_s} s");
        }
    }

    #[test]
    fn throughput_counts_where_ops_end_and_latency_where_they_were_meant_to_start() {
        // One op from 0.1 s to 100.1 s, in a span of 120 s with buckets of one second.
        let ops = [op(S / 10, 100 * S, "ok")];
        let series = Series::of(&ops, Span { start: 0, end: 120 * S }, 120 * S);
        assert_eq!(series.len(), 120);
        assert_eq!(series.ok_s[100], 1.0);
        assert_eq!(series.ok_s.iter().sum::<f64>(), 1.0);
        assert_eq!(series.p99_ms[0], Some(100_000.0));
        assert_eq!(series.p99_ms[100], None);
    }

    #[test]
    fn a_short_last_bucket_is_a_rate_over_its_own_width() {
        // 100 ops a second for 120.5 s: every bucket shows the same rate.
        let ops = ops_at(100, 0, 120 * S + S / 2);
        let series = Series::of(&ops, Span { start: 0, end: 120 * S + S / 2 }, 121 * S);
        assert_eq!(series.len(), 121);
        assert!((series.ok_s[120] - 100.0).abs() < 4.0, "{}", series.ok_s[120]);
        assert!(Series::of(&[], Span { start: 5, end: 5 }, 5).is_empty());
    }
}
