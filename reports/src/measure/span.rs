//! When each phase ran.

use super::seconds;
use checkers::history::{FaultEvent, Op, Phase};
use serde::{Deserialize, Serialize};

/// An interval in nanoseconds since the run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first instant.
    pub start: u64,
    /// The instant after it.
    pub end: u64,
}

impl Span {
    /// How long it is, nanoseconds.
    #[must_use]
    pub fn length(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether `time` lies in it; its end does too.
    #[must_use]
    pub fn contains(self, time: u64) -> bool {
        self.start <= time && time <= self.end
    }
}

/// A phase as it ran, seconds since the run began.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseSpan {
    /// Which.
    pub phase: Phase,
    /// Its begin.
    pub start_s: f64,
    /// The begin of the next, or the end of the history.
    pub end_s: f64,
}

/// The last instant of which the history knows.
#[must_use]
pub fn history_end(ops: &[Op], faults: &[(u64, FaultEvent)], phases: &[(u64, Phase)]) -> u64 {
    let ops = ops.iter().map(|op| op.returned.unwrap_or(0).max(op.invoked)).max();
    let faults = faults.iter().map(|(time, _)| *time).max();
    let phases = phases.iter().map(|(time, _)| *time).max();
    ops.max(faults).max(phases).unwrap_or(0)
}

/// The phases in order, each until the next.
#[must_use]
pub fn phase_spans(phases: &[(u64, Phase)], end: u64) -> Vec<PhaseSpan> {
    let ends = phases.iter().skip(1).map(|(time, _)| *time).chain([end]);
    phases
        .iter()
        .zip(ends)
        .map(|(&(start, phase), end)| PhaseSpan { phase, start_s: seconds(start), end_s: seconds(end) })
        .collect()
}

/// The time in which load was generated beside faults.
///
/// It begins with the phase. It ends after `wall_s` if the harness measured that; otherwise with the last op that the
/// phase invoked or that came back before the next phase. Healing and settling, when nobody asks for
/// anything, thus do not count as time without service, while clients that wait in vain at the end do.
#[must_use]
pub fn run_span(ops: &[Op], phases: &[(u64, Phase)], wall_s: f64) -> Span {
    let asked = ops.iter().filter(|op| op.phase == Phase::Run);
    let at = phases.iter().position(|(_, phase)| *phase == Phase::Run);
    let start = at.map(|i| phases[i].0).or_else(|| asked.clone().map(|op| op.intended).min()).unwrap_or(0);
    let next_phase = at.and_then(|i| phases.get(i + 1)).map_or(u64::MAX, |(time, _)| *time);
    let end = if wall_s > 0.0 {
        start + (wall_s * 1e9) as u64
    } else {
        asked.map(|op| op.invoked.max(op.returned.unwrap_or(0).min(next_phase))).max().unwrap_or(start)
    };
    Span { start, end: end.min(next_phase).max(start) }
}
