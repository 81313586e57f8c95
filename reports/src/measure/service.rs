//! Time without service: somebody wants an answer, and nobody gets one.

use super::span::Span;
use super::{millis, seconds};
use checkers::history::{Op, Outcome};
use serde::{Deserialize, Serialize};

/// Shorter silences are not counted as loss of service, milliseconds.
pub const SILENCE_MS_MIN: u64 = 500;

/// At most so many gaps are stored, the longest ones; totals count all.
const GAPS_MAX: usize = 500;

/// How long the system answered nobody during the run phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Only silences longer than this count.
    pub threshold_ms: u64,
    /// All of them together.
    pub without_ms: f64,
    /// The longest.
    pub longest_ms: f64,
    /// How many.
    pub gaps: u64,
    /// The longest of them, by time.
    pub listed: Vec<Gap>,
}

/// A silence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// Seconds since the run began.
    pub start_s: f64,
    /// How long.
    pub length_ms: f64,
}

impl Service {
    /// The silences within `span`: intervals in which no op of the whole cluster succeeded while at least one was due or
    /// waited for. An interval counts from when its first op was due, so that a slow schedule is no outage.
    #[must_use]
    pub fn of(ops: &[Op], span: Span) -> Self {
        let threshold = SILENCE_MS_MIN * 1_000_000;
        let mut silences = silences(ops, span, threshold);
        wait_for_demand(&mut silences, ops);
        let mut gaps: Vec<Gap> = silences
            .iter()
            .filter(|silence| silence.length() > threshold)
            .map(|s| Gap { start_s: seconds(s.start), length_ms: millis(s.length()) })
            .collect();
        // Not `sum`, whose nothing is -0.
        let without_ms = gaps.iter().map(|gap| gap.length_ms).fold(0.0, |sum, length| sum + length);
        let longest_ms = gaps.iter().map(|gap| gap.length_ms).fold(0.0, f64::max);
        let count = gaps.len() as u64;
        gaps.sort_by(|a, b| b.length_ms.total_cmp(&a.length_ms));
        gaps.truncate(GAPS_MAX);
        gaps.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
        Self { threshold_ms: SILENCE_MS_MIN, without_ms, longest_ms, gaps: count, listed: gaps }
    }
}

/// Intervals longer than `threshold` between one success and the next, ascending and disjoint.
fn silences(ops: &[Op], span: Span, threshold: u64) -> Vec<Span> {
    let mut successes: Vec<u64> = ops
        .iter()
        .filter(|op| matches!(op.outcome, Outcome::Ok(_)))
        .filter_map(|op| op.returned)
        .filter(|&time| span.contains(time))
        .collect();
    successes.sort_unstable();
    successes.push(span.end);
    let mut silences = Vec::new();
    let mut last = span.start;
    for success in successes {
        if success - last > threshold {
            silences.push(Span { start: last, end: success });
        }
        last = success;
    }
    silences
}

/// Moves the start of each silence to when the first op that fell into it was due.
fn wait_for_demand(silences: &mut [Span], ops: &[Op]) {
    let mut wanted: Vec<Option<u64>> = vec![None; silences.len()];
    for op in ops {
        // An op is in demand from when it was due until it ended; one that never ended is in demand for good.
        let until = op.returned.unwrap_or(u64::MAX);
        let first = silences.partition_point(|silence| silence.end < op.intended);
        for (silence, wanted) in silences.iter().zip(&mut wanted).skip(first) {
            if silence.start >= until {
                break;
            }
            *wanted = Some(wanted.map_or(op.intended, |before| before.min(op.intended)));
        }
    }
    for (silence, wanted) in silences.iter_mut().zip(wanted) {
        silence.start = wanted.map_or(silence.end, |time| time.clamp(silence.start, silence.end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{op, ops_at};

    const S: u64 = 1_000_000_000;
    const RUN: Span = Span { start: 0, end: 10 * S };

    #[test]
    fn a_silence_with_a_client_waiting_is_time_without_service() {
        // 100 ops a second until 3 s and from 5 s on; one client waits from 3 s to 5 s.
        let mut ops = ops_at(100, 0, 3 * S);
        ops.push(op(3 * S, 2 * S, "info"));
        ops.extend(ops_at(100, 5 * S, 10 * S));
        let service = Service::of(&ops, RUN);
        assert_eq!(service.gaps, 1);
        assert!((service.without_ms - 2000.0).abs() < 20.0, "{service:?}");
        assert_eq!(service.without_ms, service.longest_ms);
        assert!((service.listed[0].start_s - 3.0).abs() < 0.02, "{service:?}");
    }

    #[test]
    fn a_silence_in_which_nobody_asked_is_none() {
        let mut ops = ops_at(100, 0, 3 * S);
        ops.extend(ops_at(100, 5 * S, 10 * S));
        assert_eq!(Service::of(&ops, RUN).gaps, 0);
    }

    #[test]
    fn a_system_that_never_answers_is_without_service_from_the_first_op_on() {
        let service = Service::of(&[op(S, 20 * S, "info")], RUN);
        assert_eq!((service.without_ms, service.gaps), (9000.0, 1));
    }

    #[test]
    fn silences_up_to_the_threshold_do_not_count() {
        let ops = [op(0, S / 10, "ok"), op(S / 10, S / 2, "ok")];
        let service = Service::of(&ops, Span { start: 0, end: S * 6 / 10 });
        assert_eq!((service.gaps, service.without_ms), (0, 0.0));
        let nothing = Service::of(&[], RUN);
        assert_eq!((nothing.gaps, nothing.without_ms), (0, 0.0));
        assert!(nothing.without_ms.is_sign_positive());
    }
}
