//! When faults come and go.

use crate::fault::Fault;
use crate::target::{Shape, Targets};
use humantime_serde::re::humantime;
use protocol::NodeId;
use protocol::quorum::Quorums;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A line of a plan's `nemesis`: faults that come again and again. Lines are independent of each other and overlap
/// freely.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NemesisSpec {
    /// Each time, the seed draws one of these.
    pub faults: Vec<Fault>,
    /// Whom they are on. Partitions have their targets in their shape.
    #[serde(default)]
    pub targets: Targets,
    /// When the first comes, since the beginning of the run phase.
    #[serde(with = "humantime_serde")]
    pub start: Duration,
    /// From the beginning of one to the beginning of the next; without it there is one.
    #[serde(with = "humantime_serde", default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// How long each lasts.
    #[serde(rename = "for", with = "humantime_serde")]
    pub lasts: Duration,
    /// It flaps: in force for so long, not in force for so long, and so on, on the same targets, until it is over.
    #[serde(with = "humantime_serde", default, skip_serializing_if = "Option::is_none")]
    pub flaps: Option<Duration>,
    /// Each beginning moves by up to this fraction of `every`, either way. 0 to 0.5.
    #[serde(default)]
    pub jitter: f64,
}

/// One fault, with every random choice made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Injection {
    /// Since the beginning of the run phase.
    #[serde(with = "humantime_serde")]
    pub at: Duration,
    /// How long it lasts.
    #[serde(rename = "for", with = "humantime_serde")]
    pub lasts: Duration,
    /// What it is called: a partition's shape is no longer seen when its groups are drawn.
    pub name: String,
    /// The line of the plan's nemesis that it is of, from 1 on, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// What.
    pub fault: Fault,
    /// Whom it is on.
    pub targets: Targets,
    /// It cannot be had, for this reason: reported as skipped when its time comes, or the run ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impossible: Option<String>,
}

impl Injection {
    /// One that is none, to try what a fault would hold.
    pub(crate) fn probe() -> Self {
        let (at, lasts) = (Duration::ZERO, Duration::ZERO);
        let (targets, impossible) = (Targets::Nodes(Vec::new()), None);
        Self { at, lasts, name: String::new(), line: None, fault: Fault::Pause, targets, impossible }
    }

    pub(crate) fn wants_leader(&self) -> bool {
        matches!(self.targets, Targets::Leader | Targets::Followers)
            || matches!(self.fault, Fault::Partition(Shape::Leader | Shape::LeaderDeaf))
    }

    pub(crate) fn wants_busiest(&self) -> bool {
        self.targets == Targets::Busiest || self.fault == Fault::Partition(Shape::Busiest)
    }

    /// Whether what replicas say of themselves decides what happens.
    pub(crate) fn wants_a_look(&self) -> bool {
        self.wants_leader() || self.wants_busiest() || self.fault.changes_group()
    }
}

/// What is wrong with a plan's `nemesis`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nemesis line {line}: {reason}")]
pub struct SpecError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// Draws every injection of a run phase of length `duration`, in order of time. Injections that would not be over
/// [`CALM_END`] of the phase before its end are left out, so that recovery is seen under load. A line of which nothing is
/// left is there all the same, as an injection that cannot be had: a storm that never comes must not look like fair
/// weather. Of a line without faults, because the subject can have none of them, nothing is drawn.
///
/// # Errors
/// If a line cannot be carried out on any cluster.
pub fn resolve(
    specs: &[NemesisSpec],
    duration: Duration,
    nodes: &[NodeId],
    quorums: Quorums,
    seed: u64,
) -> Result<Vec<Injection>, SpecError> {
    let mut injections = Vec::new();
    let last_end = duration.mul_f64(1.0 - CALM_END);
    for (i, spec) in specs.iter().enumerate() {
        if spec.faults.is_empty() {
            // All of it was left out.
            continue;
        }
        check(spec, nodes).map_err(|reason| SpecError { line: i + 1, reason })?;
        // A stream of its own for each line: changing one leaves the others as they were.
        let mut rng =
            Xoshiro256PlusPlus::seed_from_u64(seed ^ (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut nominal = spec.start;
        let drawn_before = injections.len();
        loop {
            let shift = spec.every.unwrap_or_default().mul_f64(spec.jitter * rng.random::<f64>());
            let at = if rng.random() { nominal + shift } else { nominal.saturating_sub(shift) };
            let fault = &spec.faults[rng.random_range(0..spec.faults.len())];
            if nominal + spec.lasts > last_end {
                break;
            }
            if at + spec.lasts <= last_end {
                let injection =
                    Injection { line: Some(line(i)), ..draw(spec, fault, at, (nodes, quorums), &mut rng) };
                match spec.flaps {
                    None => injections.push(injection),
                    Some(period) => injections.extend(flapping(&injection, period)),
                }
            }
            match spec.every {
                Some(every) => nominal += every,
                None => break,
            }
        }
        if injections.len() == drawn_before {
            let why = format!(
                "the run is too short: it would have to be over at {}, {} % before the end",
                humantime::format_duration(last_end),
                100.0 * CALM_END
            );
            let never = draw(spec, &spec.faults[0], spec.start, (nodes, quorums), &mut rng);
            injections.push(Injection { impossible: Some(why), line: Some(line(i)), ..never });
        }
    }
    injections.sort_by_key(|injection| injection.at);
    Ok(injections)
}

/// Whether lines of a plan make sense on these nodes.
///
/// # Errors
/// The first line that does not, and why.
pub fn check_lines(specs: &[NemesisSpec], nodes: &[NodeId]) -> Result<(), SpecError> {
    for (i, spec) in specs.iter().enumerate() {
        check(spec, nodes).map_err(|reason| SpecError { line: i + 1, reason })?;
    }
    Ok(())
}

/// How long the number of bytes is that are cut off, where a plan does not say: from a record or two to some thousand.
const TRUNCATED_BITS: std::ops::RangeInclusive<u32> = 7..=16;

/// The fraction at the end of a run phase in which no fault is in force.
pub const CALM_END: f64 = 0.1;

/// No run is so long.
const TIME_MAX: Duration = Duration::from_secs(30 * 86_400);

/// Whether a schedule that was drawn before, or written by hand, can be carried out on these nodes.
///
/// # Errors
/// What is wrong with which injection, counted from 1.
pub fn check_drawn(schedule: &[Injection], nodes: &[NodeId]) -> Result<(), String> {
    for (i, injection) in schedule.iter().enumerate() {
        let named = match (&injection.fault, &injection.targets) {
            (Fault::Partition(shape), _) if !shape.is_drawn() => {
                Err(format!("{} is not drawn", shape.name()))
            }
            (Fault::Partition(shape), _) => Ok(shape.named()),
            (Fault::Truncate { bytes: None }, _) => Err("bytes is not drawn".into()),
            (_, Targets::Nodes(named)) => Ok(named.clone()),
            (_, Targets::Leader | Targets::Followers | Targets::Busiest) => Ok(Vec::new()),
            (_, targets) => Err(format!("targets {targets:?} are not drawn")),
        };
        let problem = match (named, injection.fault.problem()) {
            // It is skipped, whatever it is.
            _ if injection.impossible.is_some() => None,
            (Err(problem), _) | (_, Some(problem)) => Some(problem),
            (Ok(_), None) if injection.at.max(injection.lasts) > TIME_MAX => {
                Some(format!("`at` or `for` is over {}", humantime::format_duration(TIME_MAX)))
            }
            (Ok(named), None) => stranger(&named, nodes),
        };
        if let Some(problem) = problem {
            return Err(format!("schedule: injection {} ({}): {problem}", i + 1, injection.name));
        }
    }
    Ok(())
}

fn stranger(named: &[NodeId], nodes: &[NodeId]) -> Option<String> {
    let stranger = named.iter().find(|n| !nodes.contains(n))?;
    Some(format!("{stranger} is not a node, there are {}", crate::target::names(nodes)))
}

/// Who is to vote: three at least, where there are so many.
fn voters(nodes: &[NodeId], rng: &mut impl Rng) -> Targets {
    let count = rng.random_range(nodes.len().min(3)..=nodes.len());
    let mut drawn: Vec<_> = nodes.choose_multiple(rng, count).copied().collect();
    drawn.sort_unstable();
    Targets::Nodes(drawn)
}

/// The same injection again and again for as long as it was to last.
fn flapping(injection: &Injection, period: Duration) -> impl Iterator<Item = Injection> {
    let times = (injection.lasts.as_nanos() / (2 * period.as_nanos())).max(1) as u32;
    (0..times).map(move |time| Injection {
        at: injection.at + 2 * period * time,
        lasts: period,
        name: format!("flapping-{}", injection.name),
        ..injection.clone()
    })
}

fn draw(
    spec: &NemesisSpec,
    fault: &Fault,
    at: Duration,
    (nodes, quorums): (&[NodeId], Quorums),
    rng: &mut impl Rng,
) -> Injection {
    let mut injection = Injection {
        at,
        lasts: spec.lasts,
        name: fault.name(),
        line: None,
        fault: fault.clone(),
        targets: spec.targets.resolve(nodes, quorums, rng),
        impossible: None,
    };
    if *fault == Fault::Members {
        injection.targets = voters(nodes, rng);
    }
    if *fault == (Fault::Truncate { bytes: None }) {
        // Small cuts and large ones are equally likely.
        let most = 1_u64 << rng.random_range(TRUNCATED_BITS);
        injection.fault = Fault::Truncate { bytes: Some(rng.random_range(most / 2..most)) };
    }
    if let Fault::Partition(shape) = fault {
        injection.targets = Targets::Nodes(Vec::new());
        match shape.resolve(nodes, rng) {
            Ok(resolved) => injection.fault = Fault::Partition(resolved),
            Err(reason) => injection.impossible = Some(reason),
        }
    }
    injection
}

/// The number of a line, from 1 on.
fn line(index: usize) -> u32 {
    u32::try_from(index + 1).expect("a plan has few lines")
}

fn check(spec: &NemesisSpec, nodes: &[NodeId]) -> Result<(), String> {
    if spec.faults.is_empty() {
        return Err("faults is empty".into());
    }
    if spec.lasts.is_zero() {
        return Err("for is 0".into());
    }
    for (what, time) in [("start", Some(spec.start)), ("for", Some(spec.lasts)), ("every", spec.every)] {
        if time.is_some_and(|time| time > TIME_MAX) {
            return Err(format!("{what} is over {}", humantime::format_duration(TIME_MAX)));
        }
    }
    if spec.every.is_some_and(|every| every < Duration::from_millis(100)) {
        return Err("every is below 100ms".into());
    }
    if spec.flaps.is_some_and(|period| period < Duration::from_millis(20) || period > spec.lasts) {
        return Err("flaps is below 20ms, or longer than `for`".into());
    }
    if !(0.0..=0.5).contains(&spec.jitter) {
        return Err(format!("jitter {} is not 0 to 0.5", spec.jitter));
    }
    for fault in &spec.faults {
        if let Some(problem) = fault.problem() {
            return Err(format!("{}: {problem}", fault.name()));
        }
        let named = match (fault, &spec.targets) {
            (Fault::Partition(shape), _) => shape.named(),
            (_, Targets::Nodes(named)) => named.clone(),
            _ => Vec::new(),
        };
        if let Some(problem) = stranger(&named, nodes) {
            return Err(problem);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Shape;

    fn nodes(n: u32) -> Vec<NodeId> {
        (1..=n).map(NodeId).collect()
    }

    fn spec(faults: Vec<Fault>, start_s: u64, every_s: u64, lasts_s: u64) -> NemesisSpec {
        let s = Duration::from_secs;
        NemesisSpec {
            faults,
            targets: Targets::One,
            start: s(start_s),
            every: (every_s > 0).then(|| s(every_s)),
            lasts: s(lasts_s),
            jitter: 0.0,
            flaps: None,
        }
    }

    #[test]
    fn a_flapping_fault_comes_and_goes_on_the_same_targets() {
        let mut line = spec(vec![Fault::Partition(Shape::OneWay)], 1, 0, 2);
        line.flaps = Some(Duration::from_millis(250));
        let drawn =
            resolve(std::slice::from_ref(&line), Duration::from_secs(10), &nodes(3), Quorums::Majority, 1)
                .unwrap();
        assert_eq!(drawn.len(), 4);
        assert!(drawn.iter().all(|i| i.fault == drawn[0].fault && i.lasts == Duration::from_millis(250)));
        assert_eq!(drawn[3].at - drawn[0].at, Duration::from_millis(1500));
        assert_eq!(drawn[0].name, "flapping-partition-one-way");
        line.flaps = Some(Duration::from_secs(3));
        assert!(resolve(&[line], Duration::from_secs(10), &nodes(3), Quorums::Majority, 1).is_err());
    }

    #[test]
    fn one_seed_draws_one_schedule_and_another_draws_another() {
        let specs = [spec(vec![Fault::Kill, Fault::Pause, Fault::Partition(Shape::Halves)], 1, 3, 1)];
        let draw =
            |seed| resolve(&specs, Duration::from_secs(60), &nodes(5), Quorums::Majority, seed).unwrap();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(draw(1).len(), 18, "every 3 s from 1 s on, over by 54 s");
    }

    #[test]
    fn changing_a_line_leaves_the_others_as_they_were() {
        let a = spec(vec![Fault::Kill, Fault::Pause], 1, 5, 1);
        let b = |every| spec(vec![Fault::Loss { probability: 0.1, kinds: None }], 2, every, 1);
        let kills = |specs: &[NemesisSpec]| -> Vec<Injection> {
            let mut all = resolve(specs, Duration::from_secs(60), &nodes(3), Quorums::Majority, 7).unwrap();
            all.retain(|i| i.name != "loss");
            all
        };
        assert_eq!(kills(&[a.clone(), b(4)]), kills(&[a, b(9)]));
    }

    #[test]
    fn all_faults_are_over_before_the_calm_end() {
        let mut line = spec(vec![Fault::Kill], 0, 2, 3);
        line.jitter = 0.5;
        for seed in 0..100 {
            for i in resolve(
                std::slice::from_ref(&line),
                Duration::from_secs(30),
                &nodes(3),
                Quorums::Majority,
                seed,
            )
            .unwrap()
            {
                assert!(i.at + i.lasts <= Duration::from_secs(27), "{i:?}");
            }
        }
    }

    #[test]
    fn a_line_that_never_comes_is_kept_with_its_reason() {
        let late = [spec(vec![Fault::Kill], 1, 5, 1), spec(vec![Fault::Pause], 8, 0, 5)];
        let drawn = resolve(&late, Duration::from_secs(10), &nodes(3), Quorums::Majority, 1).unwrap();
        let impossible: Vec<_> = drawn.iter().map(|i| (i.name.as_str(), i.impossible.as_deref())).collect();
        let why = "the run is too short: it would have to be over at 9s, 10 % before the end";
        assert_eq!(impossible, [("kill", None), ("kill", None), ("pause", Some(why))]);
        check_drawn(&drawn, &nodes(3)).expect("a drawn schedule is a sound one");
    }

    #[test]
    fn a_schedule_for_other_nodes_is_refused() {
        let line = spec(vec![Fault::Kill], 1, 0, 1);
        let line = NemesisSpec { targets: Targets::Nodes(vec![NodeId(3)]), ..line };
        let drawn =
            resolve(std::slice::from_ref(&line), Duration::from_secs(10), &nodes(3), Quorums::Majority, 1)
                .unwrap();
        assert_eq!(
            check_drawn(&drawn, &nodes(2)),
            Err("schedule: injection 1 (kill): n3 is not a node, there are n1,n2".into())
        );
        let undrawn = Injection { targets: Targets::One, ..drawn[0].clone() };
        assert!(check_drawn(&[undrawn], &nodes(3)).unwrap_err().contains("not drawn"));
        let undrawn = Injection { fault: Fault::Partition(Shape::Halves), ..drawn[0].clone() };
        assert!(check_drawn(&[undrawn], &nodes(3)).unwrap_err().contains("halves is not drawn"));
        let long = NemesisSpec { lasts: Duration::MAX, ..line };
        let error = resolve(&[long], Duration::from_secs(10), &nodes(3), Quorums::Majority, 1).unwrap_err();
        assert_eq!(error.to_string(), "nemesis line 1: for is over 30days");
    }

    #[test]
    fn what_few_nodes_cannot_have_is_kept_with_its_reason() {
        let specs = [spec(vec![Fault::Partition(Shape::Halves)], 1, 0, 1)];
        let drawn = resolve(&specs, Duration::from_secs(10), &nodes(1), Quorums::Majority, 1).unwrap();
        assert_eq!(drawn[0].impossible.as_deref(), Some("one node cannot be partitioned"));
    }

    #[test]
    fn the_seed_draws_how_much_is_cut_off_where_a_plan_does_not_say() {
        let cut = |bytes, seed| {
            let line = spec(vec![Fault::Truncate { bytes }], 1, 5, 1);
            let drawn =
                resolve(&[line], Duration::from_secs(100), &nodes(3), Quorums::Majority, seed).unwrap();
            check_drawn(&drawn, &nodes(3)).unwrap();
            drawn.into_iter().map(|injection| injection.fault).collect::<Vec<_>>()
        };
        assert_eq!(cut(None, 1), cut(None, 1));
        assert_ne!(cut(None, 1), cut(None, 2));
        let small = Fault::Truncate { bytes: Some(7) };
        assert!(cut(Some(7), 1).iter().all(|fault| *fault == small));
        let mut undrawn =
            resolve(&[spec(vec![small], 1, 5, 1)], Duration::from_secs(9), &nodes(3), Quorums::Majority, 1)
                .unwrap();
        undrawn[0].fault = Fault::Truncate { bytes: None };
        assert!(check_drawn(&undrawn, &nodes(3)).unwrap_err().contains("bytes is not drawn"));
    }

    #[test]
    fn a_broken_line_is_named() {
        for (faults, targets, expected) in [
            (vec![], Targets::One, "nemesis line 1: faults is empty"),
            (
                vec![Fault::Kill],
                Targets::Nodes(vec![NodeId(9)]),
                "nemesis line 1: n9 is not a node, there are n1,n2,n3",
            ),
            (
                vec![Fault::Loss { probability: 1.5, kinds: None }],
                Targets::One,
                "nemesis line 1: loss: probability 1.5 is not over 0 and up to 1",
            ),
        ] {
            let mut line = spec(faults, 1, 5, 1);
            line.targets = targets;
            assert_eq!(check_lines(&[line], &nodes(3)).unwrap_err().to_string(), expected);
        }
    }
}
