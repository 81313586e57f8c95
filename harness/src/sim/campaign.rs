//! Many seeds on all cores, and what they came across.

use super::one::{Accusation, Simulated, simulate as simulate_cell};
use super::settings::resolve;
use super::stored;
use super::storm::Bites;
use crate::campaign::UsageError;
use crate::cli::{self, Seeds};
use crate::exit::Exit;
use crate::panics;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::store;
use crate::subject::faults::Place;
use anyhow::Context;
use checkers::Verdict;
use checkers::history::OpKind;
use reports::stored::Results;
use reports::table::framed;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tabled::builder::Builder;

/// So many failing seeds are told of and kept.
const FAILURES_MAX: usize = 5;
/// Seeds of a campaign that says nothing else.
const SEEDS: u64 = 100;

/// Which accusation a campaign is looking for, if it is for one.
pub(crate) type Wanted<'a> = Option<&'a dyn Fn(&Accusation) -> bool>;

/// What a campaign has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) seeds: u64,
    pub(crate) messages: u64,
    pub(crate) ops: u64,
    pub(crate) ok: u64,
    /// How many operations of each kind were answered in the run phase, by workload.
    pub(crate) answered: BTreeMap<&'static str, BTreeMap<OpKind, u64>>,
    pub(crate) virtual_time: Duration,
    pub(crate) bites: BTreeMap<String, Bites>,
    pub(crate) reached: BTreeMap<&'static str, u64>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) failed: u64,
    pub(crate) worst: Option<Verdict>,
    /// How long each seed took, virtual.
    pub(crate) took: BTreeMap<u64, Duration>,
    /// Of all that happened in each seed.
    pub(crate) fingerprints: BTreeMap<u64, u64>,
    /// How many seeds had a control, and how many broke it.
    pub(crate) controls: u64,
    pub(crate) broken: u64,
    /// The first seed that was wanted, if one was.
    pub(crate) caught: Option<Failure>,
}

/// A seed that did not pass.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) verdict: Verdict,
    pub(crate) accusations: Vec<Accusation>,
    /// In words.
    pub(crate) summary: String,
    pub(crate) fingerprint: u64,
}

impl Seen {
    fn add(&mut self, seed: u64, run: &Simulated, wanted: Wanted<'_>) {
        self.seeds += 1;
        self.took.insert(seed, run.virtual_time);
        self.fingerprints.insert(seed, run.fingerprint);
        self.messages += run.messages;
        self.ops += run.ops;
        self.ok += run.ok;
        self.virtual_time += run.virtual_time;
        let answered = self.answered.entry(run.workload).or_default();
        for (kind, count) in &run.answered {
            *answered.entry(*kind).or_default() += count;
        }
        for (name, bites) in &run.bites {
            let sum = self.bites.entry(name.clone()).or_default();
            sum.installed += bites.installed;
            sum.bit += bites.bit;
            sum.skipped += bites.skipped;
        }
        for (name, count) in &run.reached {
            *self.reached.entry(name).or_default() += count;
        }
        self.controls += u64::from(run.control.is_some());
        self.broken += u64::from(run.control == Some(Verdict::Invalid));
        if run.only_leaves_a_control_unbroken() {
            // What is asked of a control is asked of all seeds together.
            self.worst = self.worst.max(Some(Verdict::Valid));
            return;
        }
        let verdict = run.verdict();
        self.worst = self.worst.max(Some(verdict));
        if verdict == Verdict::Valid {
            return;
        }
        self.failed += 1;
        let bad = run.checks.iter().filter(|check| check.verdict != Verdict::Valid);
        let summary: Vec<_> = bad.map(|check| format!("{}: {}", check.checker, check.summary)).collect();
        let failure = Failure {
            seed,
            verdict,
            accusations: run.accusations.clone(),
            summary: summary.join("; "),
            fingerprint: run.fingerprint,
        };
        let earlier = self.caught.as_ref().is_none_or(|caught| seed < caught.seed);
        if earlier && wanted.is_some_and(|wanted| failure.accusations.iter().any(wanted)) {
            self.caught = Some(failure.clone());
        }
        self.failures.push(failure);
        self.failures.sort_by_key(|failure| (std::cmp::Reverse(failure.verdict), failure.seed));
        self.failures.truncate(FAILURES_MAX);
    }
}

/// `gauntlet sim`.
///
/// # Errors
/// If the plan cannot be simulated at all.
pub(crate) fn simulate(
    plan: &Plan,
    seed_is_given: bool,
    which: &Seeds,
    place: &cli::Place,
) -> anyhow::Result<Exit> {
    plan.check_possible(Place::Virtual).map_err(|error| UsageError(format!("{error:#}")))?;
    let replays = plan.sim.as_ref().is_some_and(|sim| sim.knobs.is_some());
    let first = plan.seed.unwrap_or_else(|| rand::random::<u32>().into());
    if replays || (seed_is_given && which.seeds.is_none()) {
        return one(plan, first, place);
    }
    let count = which.seeds.unwrap_or(SEEDS);
    let (shard, shards) = which.shard.unwrap_or((1, 1));
    let seeds: Vec<u64> =
        (0..count).filter(|i| i % shards == shard - 1).map(|i| first.wrapping_add(i)).collect();
    resolve(plan, first).map_err(|error| UsageError(format!("{error:#}")))?;
    let begun = Instant::now();
    let seen = campaign(plan, &seeds, &format!("sim {}", plan.name), None)?;
    if let Some(file) = &which.fingerprints {
        let line = |(seed, fingerprint): (&u64, &u64)| format!("{seed} {fingerprint:016x}\n");
        let lines: String = seen.fingerprints.iter().map(line).collect();
        store::write(file, lines.as_bytes())?;
    }
    let missing = missing(plan, &seen);
    println!("{}", tables(plan, &seen, begun.elapsed()));
    for failure in &seen.failures {
        let cell = resolve(plan, failure.seed)?;
        let dir = stored::keep(&cell, failure.fingerprint, place)?;
        println!("seed {}: {}", failure.seed, failure.summary);
        println!("  replay: gauntlet sim {}", dir.join("plan.yaml").display());
        println!("  report: {}", dir.join("report.html").display());
    }
    for line in
        plan.subjects.first().map(|subject| plan.possible_for(subject, Place::Virtual).1).unwrap_or_default()
    {
        println!("left out of the nemesis: {line}");
    }
    let worst = seen.worst.unwrap_or(Verdict::Unknown);
    for problem in &missing {
        println!("{problem}");
    }
    if seen.controls > 0 {
        println!("the control was broken as expected in {} of {} seeds", seen.broken, seen.controls);
    }
    println!("{} of {} seeds from {first} on did not pass", seen.failed, seen.seeds);
    let verdict = if missing.is_empty() { worst } else { worst.max(Verdict::Unknown) };
    Ok(Exit::of(verdict, &reports::stored::RunOutcome::Completed))
}

/// Judges a stored simulation: it runs again, exactly as it did, because more was looked at than its folder holds.
///
/// # Errors
/// If the plan is none of a stored simulation.
pub(crate) fn judge_again(plan: &Plan) -> anyhow::Result<Results> {
    let seed = plan.seed.context("the plan of a stored simulation has a seed")?;
    let run = quiet(|| simulate_cell(&resolve(plan, seed)?, false))?;
    Ok(Results { verdict: run.verdict(), checks: run.checks })
}

/// One seed, kept and rendered whatever it says.
fn one(plan: &Plan, seed: u64, place: &cli::Place) -> anyhow::Result<Exit> {
    let cell = resolve(plan, seed).map_err(|error| UsageError(format!("{error:#}")))?;
    let run = quiet(|| simulate_cell(&cell, true))?;
    let dir = stored::write(&cell, &run, place)?;
    let report = reports::render_run(&dir).context("rendering the report")?;
    println!("{}", reports::run_table(&report));
    Ok(Exit::of(run.verdict(), &reports::stored::RunOutcome::Completed))
}

thread_local! {
    static QUIET: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs something in which a core may panic: a finding, told where it belongs and not on standard error.
///
/// # Errors
/// As it says, or if it panics itself.
pub(crate) fn quiet<T>(body: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(body));
    QUIET.set(false);
    result.unwrap_or_else(|panic| Err(anyhow::anyhow!("the harness panicked: {}", panics::words(&*panic))))
}

/// How many seeds run at once.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Runs these seeds on all cores. No new seed is begun after an accusation that is wanted; all before it have been run.
///
/// # Errors
/// If a seed cannot be run, or the harness panics in one.
pub(crate) fn campaign(plan: &Plan, seeds: &[u64], title: &str, wanted: Wanted<'_>) -> anyhow::Result<Seen> {
    let threads = cores();
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (done, results) = mpsc::channel();
    let progress = Progress::new(title);
    let work = |done: mpsc::Sender<_>| {
        loop {
            let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
            let Some(seed) = seeds.get(index).filter(|_| !stop.load(Ordering::Relaxed)) else { return };
            let run = quiet(|| resolve(plan, *seed).and_then(|cell| simulate_cell(&cell, false)));
            if done.send((*seed, run)).is_err() {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let done = done.clone();
            scope.spawn(|| work(done));
        }
        drop(done);
        let mut seen = Seen::default();
        for (seed, run) in results {
            let run = run.with_context(|| format!("seed {seed}"));
            match run {
                Ok(run) => seen.add(seed, &run, wanted),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            if seen.caught.is_some() {
                stop.store(true, Ordering::Relaxed);
            }
            let words = format!("seed {} of {}, {} did not pass", seen.seeds, seeds.len(), seen.failed);
            progress.at(Duration::from_millis(seen.seeds), Duration::from_millis(seeds.len() as u64), words);
        }
        progress.done();
        Ok(seen)
    })
}

/// What a campaign should have come across and did not.
pub(crate) fn missing(plan: &Plan, seen: &Seen) -> Vec<String> {
    let mut missing = Vec::new();
    let large_enough = plan.sim.iter().filter(|sim| seen.seeds >= sim.requires_from_seeds);
    let requires = large_enough.flat_map(|sim| &sim.requires);
    for mark in requires.filter(|mark| !seen.reached.contains_key(mark.as_str())) {
        missing.push(format!("never reached, though the plan requires it: {mark}"));
    }
    for (name, bites) in &seen.bites {
        if bites.installed > 0 && bites.bit == 0 {
            missing.push(format!("{name} was put in force {} times and never bit", bites.installed));
        }
    }
    if seen.controls > 0 && seen.broken == 0 {
        missing.push(format!(
            "the control was expected to be found broken, and was not in {} seeds",
            seen.controls
        ));
    }
    let least = plan.checks.ok_min_per_kind;
    for workload in &plan.workloads {
        let Some(answered) = seen.answered.get(workload.name()) else { continue };
        for kind in workload.expected_kinds() {
            let count = answered.get(&kind).copied().unwrap_or(0);
            if count < least {
                let (name, kind) = (workload.name(), kind.name());
                missing.push(format!(
                    "{name}: {count} of {kind} were answered in all seeds, at least {least} must"
                ));
            }
        }
    }
    missing
}

fn tables(plan: &Plan, seen: &Seen, took: Duration) -> String {
    let mut faults = Builder::default();
    faults.push_record(["fault", "in force", "bit", "skipped"]);
    for (name, bites) in &seen.bites {
        let numbers = [bites.installed, bites.bit, bites.skipped].map(|number| number.to_string());
        faults.push_record(std::iter::once(name.clone()).chain(numbers));
    }
    let mut reached = Builder::default();
    reached.push_record(["situation", "times"]);
    for name in plan.subjects[0].system.situations() {
        let times = seen.reached.get(name).copied().unwrap_or(0);
        reached.push_record([name.to_owned(), times.to_string()]);
    }
    format!(
        "{}\n{}\n{} seeds, {:.0} virtual seconds in {:.1} s; {} messages ({:.0} a second and core); {} of {} operations ok",
        framed(faults.build()),
        framed(reached.build()),
        seen.seeds,
        seen.virtual_time.as_secs_f64(),
        took.as_secs_f64(),
        seen.messages,
        seen.messages as f64 / took.as_secs_f64() / cores() as f64,
        seen.ok,
        seen.ops,
    )
}
