//! A simulated run in the store, as runs on real machines are kept.

use super::run::{Simulated, simulate};
use crate::cli::Place;
use crate::plan::Cell;
use crate::store::{self, HISTORY, STATUSES};
use anyhow::{Context, ensure};
use checkers::history::Writer;
use reports::stored::{CpuUse, RESULTS_FILE, RUN_FILE, Results, RunInfo, RunOutcome, write_json};
use std::path::PathBuf;

/// Runs a seed again, in words, and keeps and renders it.
///
/// # Errors
/// If it does not run as it did before, or cannot be kept.
pub(crate) fn keep(cell: &Cell, fingerprint: u64, place: &Place) -> anyhow::Result<PathBuf> {
    let run = super::campaign::quiet(|| simulate(cell, true))?;
    ensure!(run.fingerprint == fingerprint, "seed {} did not run as it did before", cell.seed);
    let dir = write(cell, &run, place)?;
    reports::render_run(&dir).context("rendering the report")?;
    Ok(dir)
}

/// Writes a run's folder.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write(cell: &Cell, run: &Simulated, place: &Place) -> anyhow::Result<PathBuf> {
    let dir = store::create(&place.store, &cell.plan.name, cell.seed)?;
    store::write(&dir.join("plan.yaml"), cell.plan.to_yaml().as_bytes())?;
    write_json(&dir.join(RUN_FILE), &describe(cell, run))?;
    let mut history = Writer::create(dir.join(HISTORY)).context("creating the history")?;
    for entry in &run.entries {
        history.push(entry).context("writing the history")?;
    }
    history.finish().context("writing the end of the history")?;
    write_json(&dir.join(STATUSES), &run.statuses)?;
    write_json(&dir.join(RESULTS_FILE), &Results { verdict: run.verdict(), checks: run.checks.clone() })?;
    let words: String = run.events.iter().map(|event| format!("{event}\n")).collect();
    store::write(&dir.join("trace.txt"), words.as_bytes())?;
    Ok(dir)
}

fn describe(cell: &Cell, run: &Simulated) -> RunInfo {
    let subject = cell.subject();
    RunInfo {
        plan: cell.plan.name.clone(),
        subject: subject.name.clone(),
        system: subject.system.name().into(),
        workload: cell.workload().name().into(),
        world: "sim".into(),
        seed: cell.seed,
        started: jiff::Timestamp::now().to_string(),
        replicas: cell.replicas(),
        clients: cell.clients(),
        load: "closed, in virtual time".into(),
        durability: "simulated".into(),
        reads: subject.reads_in_words().into(),
        facts: vec![
            ("version".into(), env!("CARGO_PKG_VERSION").into()),
            ("messages".into(), run.messages.to_string()),
            ("fingerprint".into(), format!("{:016x}", run.fingerprint)),
        ],
        outcome: RunOutcome::Completed,
        cpu: CpuUse::default(),
        heal_problems: Vec::new(),
        crashes: Vec::new(),
    }
}
