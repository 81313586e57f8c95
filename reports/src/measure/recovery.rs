//! Time to recover after a fault.
//!
//! What throughput was before a fault is the median over windows of calm time, the nearest ones first. After the fault
//! came, and again after it went, windows are walked in order: once throughput has fallen below [`RECOVERED_SHARE`] of
//! that, it is back with the first window from which it stays above for [`STEADY_NS`] on average.

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
    /// It fell and was not back when the run phase ended.
    NotBack,
}

/// Successes in time: what recovery is judged on.
pub struct Recoveries<'a> {
    /// When ops succeeded, ascending.
    pub successes: &'a [u64],
    /// The run phase.
    pub run: Span,
    /// All faults of the run.
    pub faults: &'a [FaultSpan],
}

impl Recoveries<'_> {
    /// How throughput answered to `faults[index]`; `None` if it was never in force or not in the run phase.
    #[must_use]
    pub fn of(&self, index: usize) -> Option<Recovery> {
        let fault = &self.faults[index];
        let start = nanos(fault.start_s);
        if !fault.was_in_force() || !self.run.contains(start) {
            return None;
        }
        let end = fault.end_s.map(nanos);
        let overlapped = self.others(index).any(|o| o.start < end.unwrap_or(u64::MAX) && start < o.end);
        let window = self.window_ns();
        let Some(calm) = self.calm_median(start, window) else {
            return Some(Recovery { overlapped, ..Recovery::default() });
        };
        let next = self.others(index).map(|o| o.start).filter(|&o| o > start).min().unwrap_or(u64::MAX);
        let until = |from: u64| from.saturating_add(NOTICED_NS).min(self.run.end);
        Some(Recovery {
            before_ok_s: Some(calm / seconds(window)),
            after_install: Some(self.answer(
                start,
                until(start).min(end.unwrap_or(u64::MAX)).min(next),
                window,
                calm,
            )),
            after_heal: end.filter(|&end| end < self.run.end).map(|end| {
                let next = self.others(index).map(|o| o.start).filter(|&o| o > end).min();
                self.answer(end, until(end).min(next.unwrap_or(u64::MAX)), window, calm)
            }),
            overlapped,
        })
    }

    /// The times in which the other faults were in force.
    fn others(&self, index: usize) -> impl Iterator<Item = Span> + '_ {
        let others = self.faults.iter().enumerate().filter(move |(at, f)| *at != index && f.was_in_force());
        others.map(|(_, f)| Span { start: nanos(f.start_s), end: f.end_s.map_or(u64::MAX, nanos) })
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
            if !self.others(usize::MAX).any(|o| o.start < end && start < o.end) {
                counts.push(self.count(start, end));
            }
            end = start;
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
        let windows = || (0..).map(|k| from + k * window).take_while(|start| start + window <= self.run.end);
        let Some(fall) = windows().take_while(|&start| start < noticed).find(|&start| low(start)) else {
            return Answer::Steady;
        };
        let steady = |start: u64| {
            let end = (start + STEADY_NS).min(self.run.end);
            let wanted = RECOVERED_SHARE * calm * (end - start) as f64 / window as f64;
            !low(start) && self.count(start, end) as f64 >= wanted
        };
        let back = windows().find(|&start| start > fall && steady(start));
        back.map_or(Answer::NotBack, |start| Answer::BackAfterMs((start - from) as f64 / 1e6))
    }
}

fn nanos(s: f64) -> u64 {
    (s * 1e9).round() as u64
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
        Recoveries { successes, run: Span { start: 0, end: 30 * S }, faults }.of(0).unwrap()
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
