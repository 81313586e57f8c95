//! `gauntlet shrink`: a smaller plan that fails in the same way. First faults go, then waiting, clients, ops and time: what is left
//! is what the violation needs.

use super::campaign::{cores, quiet};
use super::one::{Simulated, simulate};
use super::settings::resolve;
use super::stored;
use crate::campaign::UsageError;
use crate::checks::Check;
use crate::cli::Place;
use crate::exit::Exit;
use crate::plan::{Cell, Counts, DURATION_MIN, Plan};
use crate::progress::Progress;
use anyhow::Context;
use nemesis::Injection;
use protocol::Time;
use reports::stored::RunOutcome;
use std::time::Duration;

/// So many runs at most.
const TRIALS_MAX: u32 = 8_000;
/// A smaller plan is given so many seeds to fail in the same way, first few, then more: whatever is left out, all that chance decides
/// after it comes out differently.
const SEEDS: [u64; 3] = [1, 6, 30];
/// Faults that are so close together are close enough.
const GAP_MIN: Duration = Duration::from_millis(20);

/// What must stay the same.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    check: Check,
    /// The invariant's name, if it is one's.
    property: String,
}

/// A plan that fails, and how much happens in it.
struct Failing {
    cell: Cell,
    faults: usize,
    ops: u64,
    found: Option<Time>,
    fingerprint: u64,
}

impl Failing {
    fn new(cell: Cell, run: &Simulated) -> Self {
        Self {
            faults: cell.schedule().len(),
            ops: run.ops,
            found: run.accusations.first().and_then(|accusation| accusation.at),
            fingerprint: run.fingerprint,
            cell,
        }
    }

    /// What is made small.
    fn events(&self) -> u64 {
        self.faults as u64 + self.ops
    }
}

/// Makes the plan of a failing simulated run smaller, keeps the smallest run, and says how small.
///
/// # Errors
/// If the plan does not fail, or cannot be simulated.
pub(crate) fn shrink(plan: &Plan, place: &Place) -> anyhow::Result<Exit> {
    let seed = plan.seed.context("a plan to shrink has a seed: give one with --seed")?;
    let cell = resolve(plan, seed).map_err(|error| UsageError(format!("{error:#}")))?;
    let run = quiet(|| simulate(&cell, false))?;
    let Some(violation) = violation(&run) else {
        println!("seed {seed} finds nothing wrong: there is nothing to shrink");
        return Ok(Exit::of(run.verdict(), &RunOutcome::Completed));
    };
    let mut shrinking = Shrinking {
        best: Failing::new(cell, &run),
        violation,
        trials: 0,
        seeds: 1,
        progress: Progress::new(&format!("shrink {}", plan.name)),
    };
    let (events, faults, ops) = (shrinking.best.events(), shrinking.best.faults, shrinking.best.ops);
    shrinking.all()?;
    shrinking.progress.done();
    let Shrinking { best, violation, trials, .. } = shrinking;
    let dir = stored::keep(&best.cell, best.fingerprint, place)?;
    println!(
        "{}: from {faults} faults and {ops} operations to {} and {}: {:.1} times fewer, in {trials} runs",
        violation.check.name(),
        best.faults,
        best.ops,
        events as f64 / best.events().max(1) as f64
    );
    println!("  replay: gauntlet sim {}", dir.join("plan.yaml").display());
    println!("  report: {}", dir.join("report.html").display());
    Ok(Exit::Invalid)
}

/// The first thing that is wrong.
fn violation(run: &Simulated) -> Option<Violation> {
    let first = run.accusations.first()?;
    // An invariant's name stands first.
    let is_invariant = first.check == Check::Invariants;
    let property = first.what.split(':').next().filter(|_| is_invariant).unwrap_or_default().to_owned();
    Some(Violation { check: first.check, property })
}

struct Shrinking {
    best: Failing,
    violation: Violation,
    trials: u32,
    /// Each change is tried with so many.
    seeds: u64,
    progress: Progress,
}

impl Shrinking {
    fn all(&mut self) -> anyhow::Result<()> {
        for seeds in SEEDS {
            self.seeds = seeds;
            loop {
                let before = self.best.events();
                self.end_early()?;
                self.fewer_faults()?;
                self.earlier()?;
                self.fewer_clients()?;
                self.fewer_ops()?;
                self.less_time()?;
                if self.best.events() >= before || self.trials >= TRIALS_MAX {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes the changed plan if it fails in the same way and no more happens in it.
    fn attempt(&mut self, change: impl FnOnce(&mut Plan)) -> anyhow::Result<bool> {
        let mut changed = self.best.cell.clone();
        change(&mut changed.plan);
        let seeds: Vec<u64> = (0..self.seeds).map(|i| changed.seed.wrapping_add(i)).collect();
        let mut taken = false;
        for seeds in seeds.chunks(cores()) {
            if taken || self.trials >= TRIALS_MAX {
                break;
            }
            self.trials += u32::try_from(seeds.len()).expect("a few threads");
            // The first of them counts, whichever is ready first: the same plan always shrinks to the same.
            if let Some(smaller) = self.first_that_fails(&changed, seeds)? {
                self.best = smaller;
                taken = true;
            }
        }
        let words = format!("{} faults, {} operations", self.best.faults, self.best.ops);
        let (done, of) = (u64::from(self.trials), u64::from(TRIALS_MAX));
        self.progress.at(Duration::from_millis(done), Duration::from_millis(of), words);
        Ok(taken)
    }

    /// Of these seeds, tried at once, the first under which a plan fails in the same way and no more happens.
    fn first_that_fails(&self, changed: &Cell, seeds: &[u64]) -> anyhow::Result<Option<Failing>> {
        let attempt = |seed: u64| -> anyhow::Result<Option<Failing>> {
            let mut cell = changed.clone();
            (cell.seed, cell.plan.seed) = (seed, Some(seed));
            let run = quiet(|| simulate(&cell, false))?;
            let same = violation(&run).as_ref() == Some(&self.violation);
            let smaller = Failing::new(cell, &run);
            Ok((same && smaller.events() <= self.best.events()).then_some(smaller))
        };
        let attempts: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = seeds.iter().map(|seed| scope.spawn(|| attempt(*seed))).collect();
            threads.into_iter().map(|thread| thread.join().expect("panics are caught")).collect()
        });
        attempts.into_iter().find_map(Result::transpose).transpose()
    }

    fn schedule(&self) -> Vec<Injection> {
        self.best.cell.schedule().to_vec()
    }

    /// The run phase ends soon after the violation, or halfway, while that is so.
    fn end_early(&mut self) -> anyhow::Result<()> {
        let until = |plan: &mut Plan, end: Duration| {
            let end = end.max(DURATION_MIN);
            plan.duration = end;
            plan.schedule.iter_mut().for_each(|schedule| schedule.retain(|fault| fault.at < end));
        };
        if let Some(found) = self.best.found {
            let end = found.since(Time::ZERO) + Duration::from_millis(500);
            if end < self.best.cell.plan.duration {
                self.attempt(|plan| until(plan, end))?;
            }
        }
        for share in [0.5, 0.75, 0.9] {
            let mut end = self.best.cell.plan.duration.mul_f64(share);
            while end > DURATION_MIN && self.attempt(|plan| until(plan, end))? {
                end = end.mul_f64(share);
            }
        }
        Ok(())
    }

    /// Leaves out as many faults at once as it can: halves, quarters, … (Zeller's ddmin).
    fn fewer_faults(&mut self) -> anyhow::Result<()> {
        let mut size = self.best.faults.div_ceil(2).max(1);
        loop {
            let mut first = 0;
            while first < self.best.faults {
                let mut fewer = self.schedule();
                fewer.drain(first..(first + size).min(fewer.len()));
                if !self.attempt(|plan| plan.schedule = Some(fewer))? {
                    first += size;
                }
            }
            if size == 1 {
                return Ok(());
            }
            size = size.div_ceil(2);
        }
    }

    /// Nothing is waited for before a fault.
    fn earlier(&mut self) -> anyhow::Result<()> {
        for fault in 0..self.best.faults {
            for share in [1.0, 0.5] {
                let mut schedule = self.schedule();
                let before = fault.checked_sub(1).map_or(Duration::ZERO, |before| schedule[before].at);
                let by = schedule[fault].at.saturating_sub(before).mul_f64(share);
                if by < GAP_MIN {
                    break;
                }
                schedule[fault..].iter_mut().for_each(|later| later.at -= by);
                let taken = self.attempt(|plan| {
                    plan.duration = plan.duration.saturating_sub(by).max(DURATION_MIN);
                    plan.schedule = Some(schedule);
                })?;
                if taken {
                    break;
                }
            }
        }
        Ok(())
    }

    fn fewer_clients(&mut self) -> anyhow::Result<()> {
        let mut clients = self.best.cell.clients();
        while clients > 1 {
            let fewer = (clients / 2).max(1);
            let step = if self.attempt(|plan| plan.load.clients = Counts(vec![fewer]))? {
                fewer
            } else {
                clients - 1
            };
            if step == clients - 1 && step != fewer {
                self.attempt(|plan| plan.load.clients = Counts(vec![step]))?;
            }
            clients = step;
        }
        Ok(())
    }

    /// No more ops than needed, and slower ones.
    fn fewer_ops(&mut self) -> anyhow::Result<()> {
        fn sim(plan: &mut Plan) -> &mut super::Simulation {
            plan.sim.as_mut().expect("a resolved plan")
        }
        for share in [0.5, 0.75, 0.9] {
            loop {
                let fewer = (self.best.ops as f64 * share) as u64;
                let before = self.best.ops;
                if !self.attempt(|plan| sim(plan).ops_max = Some(fewer))? || self.best.ops >= before {
                    break;
                }
            }
            while self.attempt(|plan| sim(plan).ops_per_s = (sim(plan).ops_per_s * share).max(1.0))? {
                if self.best.cell.plan.sim.as_ref().is_some_and(|sim| sim.ops_per_s <= 1.0) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Faults that last less.
    fn less_time(&mut self) -> anyhow::Result<()> {
        for fault in 0..self.best.faults {
            for _ in 0..3 {
                let mut shorter = self.schedule();
                let Some(injection) = shorter.get_mut(fault) else { break };
                injection.lasts = (injection.lasts / 2).max(Duration::from_millis(10));
                if !self.attempt(|plan| plan.schedule = Some(shorter))? {
                    break;
                }
            }
        }
        self.end_early()
    }
}
