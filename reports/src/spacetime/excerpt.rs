//! Which parts of a run are shown: those that end with what was found wrong, each with as much before it as can be read.

use crate::measure::span::Span;
use crate::trace::{Event, Trace, What};
use checkers::CheckResult;
use checkers::verdict::WindowOp;

/// What a message weighs. One that only repeats what its receiver knows is drawn thin and without words.
const WEIGHT: u64 = 3;
const WEIGHT_OF_REPEATED: u64 = 1;
/// More cannot be told apart in one run's pictures.
const WEIGHT_MAX: u64 = 150 * WEIGHT;
/// The overview shows at least so much before the violation.
const OVERVIEW_NS: u64 = 10_000_000_000;
/// What follows the ops in question, so that it is seen how they ended.
const WEIGHT_AFTER: u64 = WEIGHT_MAX / 12;

/// What a picture shows closely.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Excerpt {
    pub(crate) span: Span,
    /// What it shows, as the end of a sentence: `what led to the violation`.
    pub(crate) shows: String,
}

/// The parts of a run that are shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Excerpts {
    /// Where the close-ups lie in the run, if they are not most of it themselves.
    pub(crate) overview: Option<Span>,
    /// In the order of time, apart from one another.
    pub(crate) close_ups: Vec<Excerpt>,
    /// When something was found to be wrong, if it was at any moment.
    pub(crate) found_at: Option<u64>,
    /// What was found, in words; `None` for a run that passed.
    pub(crate) found: Option<String>,
}

/// Chooses what is shown; `None` if nothing was found wrong and the run is too long to be shown whole.
pub(crate) fn excerpts(trace: &Trace, checks: &[CheckResult]) -> Option<Excerpts> {
    let end = trace.events.last()?.at;
    let weights = Weights::of(&trace.events);
    if let Some(found) = trace.accusations.iter().find(|accusation| accusation.at.is_some()) {
        let at = found.at.unwrap_or(end).min(end);
        let start = weights.start(at, WEIGHT_MAX);
        let shows = format!("what led to what {} found at its end", found.checker);
        let close_ups = vec![Excerpt { span: Span { start, end: at }, shows }];
        return Some(whole(close_ups, Some(at), Some(found.what.clone())));
    }
    if let Some((check, culprits)) = culprits(checks) {
        let close_ups = around(&culprits, &weights, end);
        return Some(whole(close_ups, None, Some(check.summary.clone())));
    }
    if let Some(found) = trace.accusations.first() {
        let start = weights.start(end, WEIGHT_MAX);
        let shows = format!(
            "the end of the run: {} found its fault in what was left, at no one moment",
            found.checker
        );
        let close_ups = vec![Excerpt { span: Span { start, end }, shows }];
        return Some(whole(close_ups, None, Some(found.what.clone())));
    }
    let short = weights.between(0, end) <= WEIGHT_MAX;
    let all = Excerpt { span: Span { start: 0, end }, shows: "the whole run".into() };
    short.then(|| whole(vec![all], None, None))
}

/// The ops of the first evidence that cannot be explained together, by invocation.
pub(super) fn culprits(checks: &[CheckResult]) -> Option<(&CheckResult, Vec<&WindowOp>)> {
    checks.iter().find_map(|check| {
        let culprits = check.evidence.iter().map(|evidence| {
            let mut culprits: Vec<_> = evidence.window.iter().filter(|op| op.culprit).collect();
            culprits.sort_by_key(|op| op.invoked);
            culprits
        });
        Some((check, culprits.filter(|culprits| !culprits.is_empty()).next()?))
    })
}

fn whole(close_ups: Vec<Excerpt>, found_at: Option<u64>, found: Option<String>) -> Excerpts {
    let start = close_ups.iter().map(|one| one.span.start).min().unwrap_or(0);
    let end = close_ups.iter().map(|one| one.span.end).max().unwrap_or(0);
    let span = Span { start: start.saturating_sub(start / 20).min(end.saturating_sub(OVERVIEW_NS)), end };
    let close: u64 = close_ups.iter().map(|one| one.span.length()).sum();
    let overview = (close < span.length() / 2).then_some(span);
    Excerpts { overview, close_ups, found_at, found }
}

/// One excerpt if all fits, otherwise one about the op that was answered and forgotten, and one about the op that shows it.
fn around(culprits: &[&WindowOp], weights: &Weights, end: u64) -> Vec<Excerpt> {
    let of = |op: &WindowOp| op.returned.unwrap_or(op.invoked).clamp(op.invoked, end.max(op.invoked));

    let (Some(first), Some(last)) = (culprits.first(), culprits.iter().max_by_key(|op| of(op))) else {
        return Vec::new();
    };
    let finish = weights.end(of(last), WEIGHT_AFTER).min(end);
    if weights.between(first.invoked, finish) <= WEIGHT_MAX {
        let start = weights.start(finish, WEIGHT_MAX).min(first.invoked);
        let shows = "all ops that cannot be explained together".to_owned();
        return vec![Excerpt { span: Span { start, end: finish }, shows }];
    }
    // Of three or more, those nearest to the one that shows it explain the most.
    let before = culprits.iter().rev().find(|op| op.index != last.index).unwrap_or(first);
    let half = WEIGHT_MAX / 2;
    let answered = weights.end(of(before), WEIGHT_MAX / 5).min(end);
    let early = Span { start: weights.start(answered, half), end: answered };
    let late = Span { start: weights.start(finish, half), end: finish };
    if late.start <= early.end {
        let start = weights.start(finish, WEIGHT_MAX);
        return vec![Excerpt { span: Span { start, end: finish }, shows: "the ops in question".into() }];
    }
    vec![
        Excerpt { span: early, shows: format!("how process {} came to: {}", before.process, before.label) },
        Excerpt { span: late, shows: format!("how process {} came to: {}", last.process, last.label) },
    ]
}

/// How much there is to draw, by time.
struct Weights {
    /// When each message was sent, ascending, and the weight of all up to it.
    sums: Vec<(u64, u64)>,
}

impl Weights {
    fn of(events: &[Event]) -> Self {
        let mut sum = 0;
        let weight = |event: &Event| match event.what {
            What::Sent { repeats: true, .. } => Some((event.at, WEIGHT_OF_REPEATED)),
            What::Sent { repeats: false, .. } => Some((event.at, WEIGHT)),
            _ => None,
        };
        let sums = events.iter().filter_map(weight).map(|(at, weight)| {
            sum += weight;
            (at, sum)
        });
        Self { sums: sums.collect() }
    }

    /// All before a time.
    fn until(&self, time: u64) -> u64 {
        let after = self.sums.partition_point(|(at, _)| *at < time);
        after.checked_sub(1).map_or(0, |last| self.sums[last].1)
    }

    fn between(&self, from: u64, to: u64) -> u64 {
        self.until(to.saturating_add(1)) - self.until(from)
    }

    /// The earliest time from which there is no more than `budget` up to `end`.
    fn start(&self, end: u64, budget: u64) -> u64 {
        let spare = self.until(end.saturating_add(1)).saturating_sub(budget);
        if spare == 0 {
            return 0;
        }
        let first = self.sums.partition_point(|(_, sum)| *sum < spare);
        self.sums.get(first).map_or(end, |(at, _)| at + 1).min(end)
    }

    /// The latest time up to which there is no more than `budget` from `start` on.
    fn end(&self, start: u64, budget: u64) -> u64 {
        let before = self.until(start);
        let beyond = self.sums.partition_point(|(_, sum)| *sum <= before + budget);
        self.sums.get(beyond).map_or(u64::MAX, |(at, _)| at.saturating_sub(1)).max(start)
    }
}
