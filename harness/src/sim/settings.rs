//! What a plan says of its simulation, and what a seed draws of it.
//!
//! *Swarm testing* (Groce et al., *Swarm Testing*, 2012): each seed draws a subset of the faults and its own knobs, because a run
//! under everything at once hides what only happens under little.

use super::scenario::Scenario;
use crate::plan::{Cell, Counts, Load, Plan};
use crate::subject::Reads;
use crate::subject::faults::Place;
use anyhow::{Context, bail};
use nemesis::{Fault, Injection, NemesisSpec};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How `gauntlet sim` runs a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Simulation {
    /// Each seed draws one of these as its number of replicas; the plan's own where this is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<u32>,
    /// Each seed draws one of these as its number of nodes that are not members from the beginning; the plan's own where this is
    /// empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spares: Vec<u32>,
    /// Whether each seed draws its own subset of the nemesis, its own knobs and its own options.
    pub swarm: bool,
    /// Circumstances that independent draws would hardly ever bring together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scenarios: Vec<Scenario>,
    /// Operations a second over all clients that nobody slows down.
    pub ops_per_s: f64,
    /// No more operations than this in the run phase, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops_max: Option<u64>,
    /// Within so long of virtual time after a heal, those healed must serve again and agree.
    #[serde(with = "humantime_serde")]
    pub recover_within: Duration,
    /// Situations that a campaign must come across, or it says too little, …
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// … if it has as many seeds as this.
    pub requires_from_seeds: u64,
    /// Which scenario a seed has drawn, if it has: in resolved plans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// What a seed has drawn: in resolved plans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knobs: Option<Knobs>,
}

impl Default for Simulation {
    fn default() -> Self {
        Self {
            replicas: Vec::new(),
            spares: Vec::new(),
            swarm: true,
            scenarios: Vec::new(),
            ops_per_s: 100.0,
            ops_max: None,
            recover_within: Duration::from_secs(10),
            requires: Vec::new(),
            requires_from_seeds: 500,
            scenario: None,
            knobs: None,
        }
    }
}

impl Simulation {
    /// What the command line names, no seed draws otherwise.
    pub(crate) fn override_with(&mut self, replicas: Option<u32>, workloads: &[String], nemesis: &[String]) {
        if replicas.is_some() {
            self.replicas.clear();
            self.scenarios.iter_mut().for_each(|scenario| scenario.replicas.clear());
        }
        if !workloads.is_empty() {
            self.scenarios.iter_mut().for_each(|scenario| scenario.workloads.clear());
        }
        if !nemesis.is_empty() {
            self.scenarios.clear();
        }
    }

    /// What is wrong with it, if anything.
    pub(crate) fn validate(&self) -> anyhow::Result<()> {
        if let Some(n) = self.replicas.iter().find(|n| !(1..=99).contains(*n)) {
            bail!("sim.replicas: {n}, expected 1 to 99");
        }
        let shares: f64 = self.scenarios.iter().map(|scenario| scenario.share).sum();
        if shares > 1.0 {
            bail!("the shares of sim.scenarios add up to {shares}, expected no more than 1");
        }
        if !(0.1..=1e6).contains(&self.ops_per_s) {
            bail!("sim.ops_per_s is {}, expected 0.1 to 1000000", self.ops_per_s);
        }
        if self.recover_within < Duration::from_secs(1) {
            bail!("sim.recover_within is below 1s");
        }
        Ok(())
    }
}

impl Simulation {
    fn draw_scenario(&self, rng: &mut Xoshiro256PlusPlus) -> Option<Scenario> {
        let mut left: f64 = rng.random();
        let drawn = self.scenarios.iter().find(|scenario| {
            left -= scenario.share;
            left < 0.0
        });
        drawn.filter(|_| self.swarm).cloned()
    }
}

/// How the simulated machines and their network are when no fault is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Knobs {
    /// The least that a message between replicas takes, microseconds.
    pub latency_us_min: u64,
    /// What it takes on top on average, microseconds.
    pub latency_us_mean: u64,
    /// Whether messages may overtake one another and outlive connections.
    pub datagrams: bool,
    /// From a client to a replica, one way, on average, microseconds.
    pub client_latency_us_mean: u64,
    /// The least that a sync of the journal takes, microseconds.
    pub sync_us_min: u64,
    /// What it takes on top on average, microseconds.
    pub sync_us_mean: u64,
    /// What one step of the snapshot store takes on average, microseconds.
    pub store_us_mean: u64,
    /// The journal's segments, bytes.
    pub segment_bytes: u64,
    /// What a turn of a replica costs, microseconds.
    pub turn_us: u64,
    /// The rates of machines' clocks are within 1 ± this.
    pub clock_drift: f64,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            latency_us_min: 100,
            latency_us_mean: 200,
            datagrams: false,
            client_latency_us_mean: 200,
            sync_us_min: 200,
            sync_us_mean: 1_000,
            store_us_mean: 5_000,
            segment_bytes: 64 << 10,
            turn_us: 20,
            clock_drift: 0.0,
        }
    }
}

impl Knobs {
    fn draw(rng: &mut Xoshiro256PlusPlus) -> Self {
        let mut one_of = |values: &[u64]| *values.choose(rng).expect("a constant list");
        Self {
            latency_us_min: one_of(&[10, 100, 100, 1_000]),
            latency_us_mean: one_of(&[50, 200, 200, 1_000, 10_000]),
            datagrams: one_of(&[0, 0, 1]) == 1,
            client_latency_us_mean: one_of(&[100, 200, 2_000]),
            sync_us_min: one_of(&[10, 200, 200, 2_000]),
            sync_us_mean: one_of(&[100, 1_000, 1_000, 20_000]),
            store_us_mean: one_of(&[500, 5_000, 20_000]),
            segment_bytes: one_of(&[1 << 10, 8 << 10, 64 << 10]),
            turn_us: one_of(&[5, 20, 20, 200]),
            clock_drift: 0.0,
        }
    }
}

/// Resolves what one seed runs: one cell with every choice made. A plan that was resolved resolves to itself.
///
/// # Errors
/// If the nemesis cannot be carried out, or something cannot be had in virtual time.
pub(crate) fn resolve(plan: &Plan, seed: u64) -> anyhow::Result<Cell> {
    if plan.cpu_quota.is_some() {
        bail!("cpu_quota cannot be had in the simulator: virtual time has no processors");
    }
    let mut plan = Plan { seed: Some(seed), repeats: 1, baseline: None, ..plan.clone() };
    let mut sim = plan.sim.take().unwrap_or_default();
    plan.subjects.truncate(1);
    let mut left_out = Vec::new();
    if sim.knobs.is_none() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x5eed_0f5a_a111);
        let scenario = sim.draw_scenario(&mut rng);
        sim.scenario = scenario.as_ref().map(|scenario| scenario.about.clone());
        let scenario = scenario.unwrap_or_default();
        let one_of = |own: &[u32], all: &[u32], rng: &mut _| {
            if own.is_empty() { all.choose(rng).copied() } else { own.choose(rng).copied() }
        };
        plan.replicas = one_of(&scenario.replicas, &sim.replicas, &mut rng).unwrap_or(plan.replicas);
        plan.spares = one_of(&scenario.spares, &sim.spares, &mut rng).unwrap_or(plan.spares);
        let workload = scenario.workloads.choose(&mut rng).or_else(|| plan.workloads.choose(&mut rng));
        plan.workloads = vec![workload.context("the plan has no workload")?.clone()];
        sim.ops_per_s = scenario.ops_per_s.unwrap_or(sim.ops_per_s);
        let clients = *plan.load.clients.0.choose(&mut rng).context("the plan has no clients")?;
        plan.load = Load { clients: Counts(vec![clients]), ..plan.load };
        let mut knobs = Knobs::default();
        if sim.swarm {
            knobs = scenario.knobs(&Knobs::draw(&mut rng))?;
            plan.nemesis = if sim.scenario.is_some() {
                scenario.nemesis.clone()
            } else {
                draw_nemesis(&plan.nemesis, &mut rng)
            };
            draw_options(seed, &mut plan, &scenario, &mut knobs, &mut rng)?;
            // What was drawn is all that is left of them.
            sim.scenarios.clear();
        }
        sim.knobs = Some(knobs);
        let subject = plan.subjects[0].clone();
        (plan.nemesis, left_out) = plan.possible_for(&subject, Place::Virtual);
        if plan.schedule.is_none() {
            plan.schedule = Some(draw_schedule(&plan, seed)?);
        }
        plan.nemesis.clear();
    }
    let nodes = plan.nodes(&plan.subjects[0]);
    plan.links = plan.links.map(|links| links.among(&nodes));
    plan.sim = Some(sim);
    Ok(Cell { folder: plan.workloads[0].name().to_owned(), seed, plan, left_out })
}

/// The faults of a run. Other than on real machines they may last beyond the run phase: then they stay in force outside the quorum
/// that is healed first.
fn draw_schedule(plan: &Plan, seed: u64) -> anyhow::Result<Vec<Injection>> {
    let subject = &plan.subjects[0];
    let (nodes, quorums) = (plan.nodes(subject), subject.system.properties().quorums);
    let longest = plan.nemesis.iter().map(|spec| spec.lasts).max().unwrap_or_default();
    let beyond = (plan.duration + 2 * longest).div_f64(1.0 - nemesis::schedule::CALM_END);
    let mut schedule = nemesis::schedule::resolve(&plan.nemesis, beyond, &nodes, quorums, seed)?;
    schedule.retain(|injection| injection.at < plan.duration);
    Ok(schedule)
}

/// Few of the lines, or many, and of each line some of its faults.
fn draw_nemesis(lines: &[NemesisSpec], rng: &mut Xoshiro256PlusPlus) -> Vec<NemesisSpec> {
    let few = 2.0 / lines.len().max(1) as f64;
    let drawn = *[0.1, 0.2, 0.5].choose(rng).expect("a constant list");
    let share = f64::max(drawn, few).min(0.8);
    let mut drawn = Vec::new();
    for line in lines {
        if rng.random_bool(share) {
            let mut faults: Vec<Fault> =
                line.faults.iter().filter(|_| rng.random_bool(0.6)).cloned().collect();
            if faults.is_empty() {
                faults.extend(line.faults.choose(rng).cloned());
            }
            drawn.push(NemesisSpec { faults, ..line.clone() });
        }
    }
    drawn
}

/// Options under which rare paths are common, where the plan leaves them open.
fn draw_options(
    seed: u64,
    plan: &mut Plan,
    scenario: &Scenario,
    knobs: &mut Knobs,
    rng: &mut Xoshiro256PlusPlus,
) -> anyhow::Result<()> {
    let clocks_are_bent = plan.nemesis.iter().flat_map(|line| &line.faults).any(|fault| {
        matches!(fault, Fault::ClockOffset { .. } | Fault::ClockRate { .. } | Fault::ClockStrobe { .. })
    });
    let subject = &mut plan.subjects[0];
    // Options that would do only where everything is near would be no fair draw.
    let way_us = plan.links.as_ref().map_or(0, |links| links.longest().as_micros() / 2);
    let latency_us_min = knobs.latency_us_min + u64::try_from(way_us).expect("validated: under a minute");
    let felt = Knobs { latency_us_min, ..knobs.clone() };
    let Some(drawn) = subject.system.draw(&felt, clocks_are_bent, rng) else { return Ok(()) };
    knobs.clock_drift = drawn.clock_drift;
    *knobs = scenario.knobs(knobs)?;
    if subject.reads == Reads::Default {
        subject.reads = if scenario.reads == Reads::Default { drawn.reads } else { scenario.reads };
    }
    scenario.set_options(subject, drawn.options)?;
    if let Some(told) = subject.system.clock_drift_max(&subject.options) {
        knobs.clock_drift = knobs.clock_drift.min(told);
    }
    subject.problem().map_or(Ok(()), |problem| bail!("what seed {seed} draws: {problem}"))
}
