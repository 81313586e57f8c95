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
/// The overview shows at least so much up to the violation, …
const OVERVIEW_NS: u64 = 10_000_000_000;
/// … and so much before the last that a replica came or went.
const BEFORE_NS: u64 = 1_000_000_000;
/// What follows the ops in question, so that it is seen how they ended.
const WEIGHT_AFTER: u64 = WEIGHT_MAX / 12;

/// What a picture shows closely.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Excerpt {
    pub(crate) span: Span,
    /// What it shows, in words that stand in brackets.
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
        let shows = format!("what came before {} found it", found.checker);
        let close_ups = vec![Excerpt { span: Span { start, end: at }, shows }];
        return Some(whole(trace, close_ups, Some(at), Some(found.what.clone())));
    }
    if let Some((check, culprits)) = culprits(checks) {
        let close_ups = around(&culprits, &weights, end);
        return Some(whole(trace, close_ups, None, Some(check.summary.clone())));
    }
    if let Some(found) = trace.accusations.first() {
        let start = weights.start(end, WEIGHT_MAX);
        let shows =
            format!("the end of the run: {} found it in what was left, at no one moment", found.checker);
        let close_ups = vec![Excerpt { span: Span { start, end }, shows }];
        return Some(whole(trace, close_ups, None, Some(found.what.clone())));
    }
    let short = weights.between(0, end) <= WEIGHT_MAX;
    let all = Excerpt { span: Span { start: 0, end }, shows: "the whole run".into() };
    short.then(|| whole(trace, vec![all], None, None))
}

/// The ops of the first evidence that cannot be explained together, by invocation.
pub(super) fn culprits(checks: &[CheckResult]) -> Option<(&CheckResult, Vec<&WindowOp>)> {
    checks.iter().find_map(|check| {
        let mut culprits = check.evidence.iter().map(|evidence| {
            let mut culprits: Vec<_> = evidence.window.iter().filter(|op| op.culprit).collect();
            culprits.sort_by_key(|op| op.invoked);
            culprits
        });
        Some((check, culprits.find(|culprits| !culprits.is_empty())?))
    })
}

/// Adds the overview: it begins a little before the close-ups, and before the last that a replica came or went.
fn whole(trace: &Trace, close_ups: Vec<Excerpt>, found_at: Option<u64>, found: Option<String>) -> Excerpts {
    let start = close_ups.iter().map(|one| one.span.start).min().unwrap_or(0);
    let end = close_ups.iter().map(|one| one.span.end).max().unwrap_or(0);
    let turn = |event: &&Event| {
        matches!(event.what, What::Stopped { .. } | What::Started { .. } | What::Paused { .. })
    };
    let before = trace.events.iter().take_while(|event| event.at < start);
    let turned = before.filter(turn).last().map_or(start, |event| event.at);
    let span = Span { start: turned.saturating_sub(BEFORE_NS).min(end.saturating_sub(OVERVIEW_NS)), end };
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
        Excerpt { span: early, shows: format!("process {}: {}", before.process, before.label) },
        Excerpt { span: late, shows: format!("process {}: {}", last.process, last.label) },
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
        let weight = |event: &Event| {
            let What::Sent { repeats, .. } = event.what else { return None };
            Some((event.at, if repeats { WEIGHT_OF_REPEATED } else { WEIGHT }))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Accusation;
    use checkers::Verdict;
    use checkers::verdict::Evidence;

    const MS: u64 = 1_000_000;

    /// A message a millisecond; `repeats` says which are light.
    fn messages(count: u64, repeats: impl Fn(u64) -> bool) -> Vec<Event> {
        let sent = |message| What::Sent {
            message,
            from: 1,
            to: 2,
            kind: "append-entries".into(),
            words: String::new(),
            repeats: repeats(message),
        };
        (1..=count).map(|message| Event { at: message * MS, what: sent(message) }).collect()
    }

    fn found(at: Option<u64>) -> Vec<Accusation> {
        vec![Accusation { checker: "invariants".into(), what: "two leaders".into(), at }]
    }

    fn check(ops: &[(u32, u64, u64)]) -> CheckResult {
        let op = |&(process, from, to): &(u32, u64, u64)| WindowOp {
            index: from,
            process,
            label: format!("op at {from}"),
            invoked: from * MS,
            returned: Some(to * MS),
            culprit: true,
            state: None,
        };
        let evidence = Evidence {
            object: "key 1".into(),
            story: String::new(),
            window: ops.iter().map(op).collect(),
            prefixes: Vec::new(),
        };
        let result = CheckResult::new("linearizability", Verdict::Invalid, 1, "one read is stale".into());
        CheckResult { evidence: vec![evidence], ..result }
    }

    fn spans(excerpts: &Excerpts) -> Vec<(u64, u64)> {
        excerpts
            .close_ups
            .iter()
            .map(|one| (one.span.start.div_ceil(MS), one.span.end.div_ceil(MS)))
            .collect()
    }

    #[test]
    fn an_accusation_has_as_many_messages_before_it_as_can_be_read() {
        let trace = Trace { events: messages(20_000, |_| false), accusations: found(Some(15_000 * MS)) };
        let chosen = excerpts(&trace, &[]).unwrap();
        assert_eq!(spans(&chosen), [(14_851, 15_000)]);
        assert_eq!((chosen.found_at, chosen.found.as_deref()), (Some(15_000 * MS), Some("two leaders")));
        assert_eq!(chosen.overview, Some(Span { start: 5_000 * MS, end: 15_000 * MS }));
    }

    #[test]
    fn the_overview_goes_back_to_when_a_replica_last_came_or_went() {
        let mut events = messages(40_000, |_| false);
        events.insert(
            12_000,
            Event { at: 12_000 * MS, what: What::Stopped { replica: 1, why: "killed".into() } },
        );
        let trace = Trace { events, accusations: found(Some(40_000 * MS)) };
        let overview = excerpts(&trace, &[]).unwrap().overview;
        assert_eq!(overview, Some(Span { start: 11_000 * MS, end: 40_000 * MS }));
    }

    #[test]
    fn heartbeats_leave_room_for_more() {
        let trace = Trace { events: messages(1000, |n| n % 2 == 0), accusations: found(Some(1000 * MS)) };
        let (start, end) = spans(&excerpts(&trace, &[]).unwrap())[0];
        assert_eq!(end - start + 1, 225, "450 thirds over one and three in turn");
        let trace = Trace { events: messages(100, |_| false), accusations: found(Some(100 * MS)) };
        let chosen = excerpts(&trace, &[]).unwrap();
        assert_eq!((spans(&chosen), chosen.overview), (vec![(0, 100)], None), "all of a short run, once");
    }

    #[test]
    fn ops_near_one_another_are_shown_together_and_others_apart() {
        let trace = Trace { events: messages(20_000, |_| false), accusations: found(None) };
        let near = excerpts(&trace, &[check(&[(1, 10_000, 10_010), (2, 10_050, 10_060)])]).unwrap();
        let [(start, end)] = spans(&near)[..] else { panic!("{near:?}") };
        assert!(start <= 10_000 && (10_060..10_080).contains(&end) && end - start <= 150, "{near:?}");
        let apart = excerpts(&trace, &[check(&[(1, 3_000, 3_010), (2, 7_000, 9_000)])]).unwrap();
        let [(first, answered), (second, shown)] = spans(&apart)[..] else { panic!("{apart:?}") };
        assert!(first < 3_000 && answered > 3_010 && answered - first <= 76, "{apart:?}");
        assert!(second > 8_900 && shown > 9_000 && shown - second <= 76, "{apart:?}");
        assert_eq!(apart.close_ups[1].shows, "process 2: op at 7000");
        assert!(apart.overview.is_some_and(|span| span.start < first * MS && span.end.div_ceil(MS) == shown));
    }

    #[test]
    fn of_many_ops_those_nearest_to_the_last_are_shown() {
        let trace = Trace { events: messages(20_000, |_| false), accusations: Vec::new() };
        let ops = [(1, 1_000, 1_010), (2, 5_000, 5_010), (3, 9_000, 9_010)];
        let seen: Vec<_> =
            excerpts(&trace, &[check(&ops)]).unwrap().close_ups.into_iter().map(|one| one.shows).collect();
        assert_eq!(seen, ["process 2: op at 5000", "process 3: op at 9000"]);
    }

    #[test]
    fn a_fault_of_no_moment_shows_the_end_and_a_run_that_passed_is_shown_only_if_it_is_short() {
        let long = messages(1000, |_| false);
        let trace = Trace { events: long.clone(), accusations: found(None) };
        let chosen = excerpts(&trace, &[]).unwrap();
        assert_eq!((spans(&chosen), chosen.found_at), (vec![(851, 1000)], None));
        assert_eq!(excerpts(&Trace { events: long, accusations: Vec::new() }, &[]), None);
        let short = Trace { events: messages(20, |_| false), accusations: Vec::new() };
        assert_eq!(excerpts(&short, &[]).unwrap().found, None);
        assert_eq!(excerpts(&Trace::default(), &[]), None);
    }
}
