//! Time to recover after a fault.
//!
//! What throughput was before a fault is the median over windows of calm time, the nearest ones first. After the fault
//! came, and again after it went, windows are walked in order: once throughput has fallen below [`RECOVERED_SHARE`] of
//! that, it is back with the first window from which it stays above for `STEADY_NS` on average.

use super::fault::FaultSpan;
use super::seconds;
use super::span::Span;
use serde::{Deserialize, Serialize};

/// Service is back at this share of what it was.
pub const RECOVERED_SHARE: f64 = 0.5;
/// A recovery must last so long.
const STEADY_NS: u64 = 1_000_000_000;
/// A fall that begins later than this is not the fault's doing.
const NOTICED_NS: u64 = 10_000_000_000;
/// Nobody waits longer for a recovery than ten minutes.
const WAITED_NS_MAX: u64 = 600_000_000_000;
/// Windows are as short as this if there are ops enough.
const WINDOW_NS_MIN: u64 = 100_000_000;
/// And never longer.
const WINDOW_NS_MAX: u64 = 1_000_000_000;
/// A window should hold so many ops, or chance looks like a fall.
const WINDOW_OPS: f64 = 20.0;
/// How many calm windows make a median.
const CALM_WINDOWS_MAX: usize = 50;
/// Fewer calm windows say nothing.
const CALM_WINDOWS_MIN: usize = 3;

/// How throughput answered to one fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Median before the fault, ops/s; `None` if there was no calm time to measure it in.
    pub before_ok_s: Option<f64>,
    /// After the fault came.
    pub after_install: Option<Answer>,
    /// After it went; `None` if it never did.
    pub after_heal: Option<Answer>,
    /// Another fault was in force within this one's time, so the figures are not this fault's alone.
    pub overlapped: bool,
}

/// What throughput did after a moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It did not fall below the share.
    Steady,
    /// It fell, and was back after so long (multiples of the window).
    BackAfterMs(f64),
    /// It fell and was not back when the run phase ended, or within `WAITED_NS_MAX`.
    NotBack,
}

/// Successes and faults in time: what recovery is judged on.
pub struct Recoveries<'a> {
    /// When ops succeeded, ascending.
    successes: &'a [u64],
    run: Span,
    faults: &'a [FaultSpan],
    /// When each fault came, ascending, with the latest end among it and those before.
    starts: Vec<(u64, u64)>,
    /// When any fault was in force: ascending and disjoint.
    stormy: Vec<Span>,
}

impl<'a> Recoveries<'a> {
    /// `successes` must ascend.
    #[must_use]
    pub fn new(successes: &'a [u64], run: Span, faults: &'a [FaultSpan]) -> Self {
        let mut spans: Vec<Span> = faults.iter().filter(|f| f.was_in_force()).map(span_of).collect();
        spans.sort_by_key(|span| (span.start, span.end));
        let mut starts = Vec::with_capacity(spans.len());
        let mut stormy: Vec<Span> = Vec::new();
        let mut latest = 0;
        for span in spans {
            latest = latest.max(span.end);
            starts.push((span.start, latest));
            match stormy.last_mut() {
                Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
                _ => stormy.push(span),
            }
        }
        Self { successes, run, faults, starts, stormy }
    }

    /// How throughput answered to `faults[index]`; `None` if it was never in force or not in the run phase.
    #[must_use]
    pub fn of(&self, index: usize) -> Option<Recovery> {
        let fault = &self.faults[index];
        let span = span_of(fault);
        if !fault.was_in_force() || !self.run.contains(span.start) {
            return None;
        }
        let overlapped = self.overlapped(span);
        let window = self.window_ns();
        let Some(calm) = self.calm_median(span.start, window) else {
            return Some(Recovery { overlapped, ..Recovery::default() });
        };
        let noticed =
            |from: u64| from.saturating_add(NOTICED_NS).min(self.run.end).min(self.next_start(from));
        let healed = fault.end_s.is_some() && span.end < self.run.end;
        Some(Recovery {
            before_ok_s: Some(calm / seconds(window)),
            after_install: Some(self.answer(span.start, noticed(span.start).min(span.end), window, calm)),
            after_heal: healed.then(|| self.answer(span.end, noticed(span.end), window, calm)),
            overlapped,
        })
    }

    /// Whether any other fault was in force within `span`, which is a fault's own.
    fn overlapped(&self, span: Span) -> bool {
        let first = self.starts.partition_point(|(start, _)| *start < span.start);
        let earlier = first.checked_sub(1).is_some_and(|before| self.starts[before].1 > span.start);
        // The fault itself is one of those that begin within it.
        let within =
            self.starts[first..].iter().take_while(|(start, _)| *start < span.end.max(span.start + 1));
        earlier || within.take(2).count() > 1
    }

    /// When the next fault after `time` came.
    fn next_start(&self, time: u64) -> u64 {
        let next = self.starts.partition_point(|(start, _)| *start <= time);
        self.starts.get(next).map_or(u64::MAX, |(start, _)| *start)
    }

    fn count(&self, from: u64, to: u64) -> usize {
        self.successes.partition_point(|&s| s < to) - self.successes.partition_point(|&s| s < from)
    }

    /// Short where there are many ops, longer where there are few.
    fn window_ns(&self) -> u64 {
        let rate = self.successes.len() as f64 / seconds(self.run.length()).max(1e-9);
        ((WINDOW_OPS / rate.max(1e-9) * 1e9) as u64).clamp(WINDOW_NS_MIN, WINDOW_NS_MAX)
    }

    /// Median successes in a window, over the calm windows nearest before `time`.
    fn calm_median(&self, time: u64, window: u64) -> Option<f64> {
        let mut counts = Vec::new();
        let mut end = time;
        while end >= self.run.start + window && counts.len() < CALM_WINDOWS_MAX {
            let start = end - window;
            // The last storm that begins before the window ends.
            let storm = self
                .stormy
                .partition_point(|storm| storm.start < end)
                .checked_sub(1)
                .map(|at| self.stormy[at]);
            match storm.filter(|storm| storm.end > start) {
                Some(storm) => end = storm.start,
                None => {
                    counts.push(self.count(start, end));
                    end = start;
                }
            }
        }
        if counts.len() < CALM_WINDOWS_MIN {
            return None;
        }
        counts.sort_unstable();
        Some(counts[counts.len() / 2] as f64).filter(|&median| median > 0.0)
    }

    /// Looks for a fall that begins between `from` and `noticed`, then for its end.
    fn answer(&self, from: u64, noticed: u64, window: u64, calm: f64) -> Answer {
        let low = |start: u64| (self.count(start, start + window) as f64) < RECOVERED_SHARE * calm;
        let end = self.run.end.min(from.saturating_add(WAITED_NS_MAX));
        let windows = || (0..).map(|k| from + k * window).take_while(|start| start + window <= end);
        let Some(fall) = windows().take_while(|&start| start < noticed).find(|&start| low(start)) else {
            return Answer::Steady;
        };
        let steady = |start: u64| {
            let end = (start + STEADY_NS).min(self.run.end);
            let wanted = RECOVERED_SHARE * calm * (end - start) as f64 / window as f64;
            !low(start) && self.count(start, end) as f64 >= wanted
        };
        if self.count(fall, end) == 0 {
            return Answer::NotBack;
        }
        let back = windows().find(|&start| start > fall && steady(start));
        back.map_or(Answer::NotBack, |start| Answer::BackAfterMs((start - from) as f64 / 1e6))
    }
}

/// When a fault was in force, as far as is known.
fn span_of(fault: &FaultSpan) -> Span {
    let nanos = |s: f64| (s * 1e9).round() as u64;
    Span { start: nanos(fault.start_s), end: fault.end_s.map_or(u64::MAX, nanos) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::fault::{Family, Fate};

    const S: u64 = 1_000_000_000;

    fn fault(start_s: f64, end_s: Option<f64>) -> FaultSpan {
        FaultSpan {
            id: 1,
            fault: "kill".into(),
            targets: "n1".into(),
            family: Family::Process,
            fate: Fate::Bit,
            start_s,
            end_s,
            came: String::new(),
            went: String::new(),
        }
    }

    /// 1000 successes a second in each of `parts`.
    fn successes(parts: &[(u64, u64)]) -> Vec<u64> {
        parts.iter().flat_map(|&(from, to)| (from..to).step_by(1_000_000)).collect()
    }

    fn recovery(successes: &[u64], faults: &[FaultSpan]) -> Recovery {
        Recoveries::new(successes, Span { start: 0, end: 30 * S }, faults).of(0).unwrap()
    }

    #[test]
    fn a_fall_is_timed_from_the_fault_to_lasting_service() {
        let all = successes(&[(0, 10 * S), (12 * S + S / 2, 30 * S)]);
        let seen = recovery(&all, &[fault(10.0, Some(20.0))]);
        assert_eq!(seen.before_ok_s, Some(1000.0));
        assert_eq!(seen.after_install, Some(Answer::BackAfterMs(2500.0)));
        assert_eq!(seen.after_heal, Some(Answer::Steady));
        assert!(!seen.overlapped);
    }

    #[test]
    fn a_flicker_is_no_recovery() {
        let all = successes(&[(0, 10 * S), (11 * S, 11 * S + S / 5), (15 * S, 30 * S)]);
        assert_eq!(recovery(&all, &[fault(10.0, None)]).after_install, Some(Answer::BackAfterMs(5000.0)));
    }

    #[test]
    fn service_that_never_comes_back_is_said_so() {
        let seen = recovery(&successes(&[(0, 10 * S)]), &[fault(10.0, Some(15.0))]);
        assert_eq!((seen.after_install, seen.after_heal), (Some(Answer::NotBack), Some(Answer::NotBack)));
    }

    #[test]
    fn a_fault_from_the_first_instant_has_nothing_to_compare_with() {
        let seen = recovery(&successes(&[(0, 30 * S)]), &[fault(0.0, Some(5.0))]);
        assert_eq!((seen.before_ok_s, seen.after_install), (None, None));
    }

    #[test]
    fn time_under_another_fault_is_not_calm() {
        // Throughput is halved three times over under the first fault; the second compares with the time before.
        let all: Vec<u64> = (0..10_000)
            .map(|i| i * 1_000_000)
            .chain((0..1000).map(|i| 10 * S + i * 10_000_000))
            .chain(successes(&[(20 * S, 30 * S)]))
            .collect();
        let faults = [fault(18.0, Some(19.0)), fault(10.0, Some(20.0))];
        let seen = recovery(&all, &faults);
        assert_eq!(seen.before_ok_s, Some(1000.0));
        assert!(seen.overlapped);
        assert_eq!(seen.after_install, Some(Answer::BackAfterMs(2000.0)));
    }
}
