//! `gauntlet bugs`: the exam of the harness itself. Each seeded bug and the clean build go through the same campaign; every bug must
//! be caught, by evidence of a kind that it is known to give, and the clean build must not be accused.

mod real;
mod storms;

use crate::campaign::UsageError;
use crate::checks::Check;
use crate::cli::{Exam, Place};
use crate::exit::Exit;
use crate::plan::{Plan, World};
use crate::sim::campaign::{Seen, campaign};
use crate::sim::one::Accusation;
use crate::sim::settings::resolve;
use crate::sim::stored;
use crate::subject::Subject;
use checkers::Verdict;
use protocol::{Bug, BugInfo, Detector};
use reports::stored::RunOutcome;
use std::collections::BTreeMap;
use std::time::Duration;
use tabled::builder::Builder;
use tabled::settings::Alignment;
use tabled::settings::object::Columns;

/// Campaigns begin so far apart.
const STRIDE: u64 = 1_000_000;
/// The clean build goes through so many times the seeds that the shyest bug needed.
const CLEAN_TIMES: u64 = 10;

/// What became of one bug.
struct Row {
    bug: BugInfo,
    /// For each campaign in which it was caught: after how many seeds, in how much virtual time, by what.
    caught: Vec<(u64, Duration, String)>,
    campaigns: u64,
    replay: String,
}

/// Runs the exam.
///
/// # Errors
/// If the plan cannot be simulated.
pub(crate) fn examine(plan: &Plan, exam: &Exam, place: &Place) -> anyhow::Result<Exit> {
    let system = plan.subjects[0].system;
    let is_real = exam.real || plan.world == World::Ssh;
    let is_meant = |bug: &BugInfo| {
        (exam.only.is_empty() || exam.only.iter().any(|id| id == bug.id)) && (bug.real || !is_real)
    };
    let bugs: Vec<BugInfo> = system.bugs().into_iter().filter(is_meant).collect();
    if bugs.is_empty() {
        let kind = if is_real { "shows on processes and is named" } else { "is named" };
        let which = if exam.only.is_empty() { "anything".to_owned() } else { exam.only.join(", ") };
        return Err(UsageError(format!("no seeded bug of {} {kind} {which}", system.name())).into());
    }
    let first = plan.seed.unwrap_or(1);
    if is_real {
        return real::examine(system, &bugs, plan.world, first, place);
    }
    resolve(plan, first).map_err(|error| UsageError(format!("{error:#}")))?;
    let mut rows = Vec::new();
    for bug in bugs {
        let row = examine_bug(plan, bug, first, exam, place)?;
        eprintln!("{}", in_words(&row));
        rows.push(row);
    }
    let most = rows.iter().flat_map(|row| row.caught.iter().map(|(seeds, ..)| *seeds)).max().unwrap_or(1);
    let clean_seeds: Vec<u64> = (0..CLEAN_TIMES * most).map(|i| first.wrapping_add(i)).collect();
    let clean = campaign(plan, &clean_seeds, "the clean build", None)?;
    println!("{}", table(&rows));
    println!("{}", clean_in_words(&clean));
    for failure in &clean.failures {
        println!("the clean build is accused by seed {}: {}", failure.seed, failure.summary);
    }
    let missed = rows.iter().filter(|row| row.caught.len() as u64 != row.campaigns).count();
    println!("{} of {} bugs were caught in each campaign", rows.len() - missed, rows.len());
    let passed = missed == 0 && clean.failed == 0;
    let verdict = if passed { Verdict::Valid } else { Verdict::Invalid };
    Ok(Exit::of(verdict, &RunOutcome::Completed))
}

/// Switches a bug on.
fn switch_on(bug: &BugInfo, subject: &mut Subject) -> anyhow::Result<()> {
    let ids = serde_yaml::to_value([bug.id])?;
    if storage::Bug::ALL.iter().any(|other| other.info().id == bug.id) {
        subject.storage_bugs = serde_yaml::from_value(ids)?;
        return Ok(());
    }
    let mut options = subject.options_given().map_err(anyhow::Error::msg)?;
    options.insert("bugs".into(), ids);
    subject.options = serde_yaml::Value::Mapping(options);
    Ok(())
}

/// The plan with a bug switched on.
fn with_bug(plan: &Plan, bug: &BugInfo) -> anyhow::Result<Plan> {
    let mut plan = plan.clone();
    let system = plan.subjects[0].system;
    system.prepare_exam(bug, &mut plan);
    switch_on(bug, &mut plan.subjects[0])?;
    Ok(plan)
}

fn examine_bug(plan: &Plan, bug: BugInfo, first: u64, exam: &Exam, place: &Place) -> anyhow::Result<Row> {
    let plan = with_bug(plan, &bug)?;
    let mut row = Row { bug, caught: Vec::new(), campaigns: exam.campaigns, replay: String::new() };
    let named = |accusation: &Accusation| expected(&bug, accusation.check, &accusation.detectors);
    let wanted = |accusation: &Accusation| named(accusation).is_some();
    for number in 0..exam.campaigns {
        let first = first.wrapping_add(number * STRIDE);
        let seeds: Vec<u64> = (0..exam.seeds_max).map(|i| first.wrapping_add(i)).collect();
        let title = format!("{} {}/{}", bug.id, number + 1, exam.campaigns);
        let seen = campaign(&plan, &seeds, &title, Some(&wanted))?;
        let Some(caught) = seen.caught else { continue };
        let needed = caught.seed.wrapping_sub(first) + 1;
        let took = seen.took.range(..=caught.seed).map(|(_, took)| *took).sum();
        let by = caught.accusations.iter().find_map(named).expect("it was wanted");
        row.caught.push((needed, took, by));
        if row.replay.is_empty() {
            let dir = stored::keep(&resolve(&plan, caught.seed)?, caught.fingerprint, place)?;
            row.replay = format!("gauntlet sim {}", dir.join("plan.yaml").display());
        }
    }
    Ok(row)
}

fn median<T: Copy + Ord>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn detector_name(detector: Detector) -> &'static str {
    match detector {
        Detector::Linearizability => "linearizability",
        Detector::Divergence => "divergence",
        Detector::Liveness => "liveness",
        Detector::Effects => "effects",
        Detector::Invariant => "invariant",
    }
}

/// What a check that gives these kinds of evidence says of a bug, in words, if a kind is among those expected.
fn expected(bug: &BugInfo, check: Check, detectors: &[Detector]) -> Option<String> {
    let name = detectors.iter().find(|by| bug.caught_by.contains(by)).copied().map(detector_name)?;
    Some(if name == check.name() { name.to_owned() } else { format!("{name} ({})", check.name()) })
}

/// What caught it, most often first.
fn by(row: &Row) -> String {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, _, by) in &row.caught {
        *counts.entry(by).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.into_iter().map(|(words, _)| words).collect::<Vec<_>>().join(", ")
}

fn in_words(row: &Row) -> String {
    let (id, times, campaigns) = (row.bug.id, row.caught.len(), row.campaigns);
    match median(row.caught.iter().map(|(seeds, ..)| *seeds)) {
        None => format!("{id}: missed in all of {campaigns} campaigns"),
        Some(seeds) => {
            let by = by(row);
            format!("{id}: caught in {times} of {campaigns} campaigns, after {seeds} seeds (median), by {by}")
        }
    }
}

fn table(rows: &[Row]) -> String {
    let mut table = Builder::default();
    table.push_record(["bug", "caught", "by", "seeds", "virtual time", "replay"]);
    for row in rows {
        let seeds = median(row.caught.iter().map(|(seeds, ..)| *seeds));
        let took = median(row.caught.iter().map(|(_, took, _)| *took));
        table.push_record([
            row.bug.id.to_owned(),
            format!("{}/{}", row.caught.len(), row.campaigns),
            by(row),
            seeds.map_or("–".to_owned(), |seeds| seeds.to_string()),
            took.map_or("–".to_owned(), |took| format!("{:.0} s", took.as_secs_f64())),
            row.replay.clone(),
        ]);
    }
    let mut table = table.build();
    table.modify(Columns::new(3..5), Alignment::right());
    reports::table::framed(table)
}

fn clean_in_words(seen: &Seen) -> String {
    format!(
        "the clean build: {} seeds, {:.0} virtual seconds, accused {} times",
        seen.seeds,
        seen.virtual_time.as_secs_f64(),
        seen.failed
    )
}
