//! `gauntlet bugs --real`: the same exam on node processes. Each bug that must show there has a short storm; it is run until the
//! bug is caught by evidence of a kind that is expected, or too often. Then the clean build goes through each of the storms.

use super::storms;
use super::{expected, switch_on};
use crate::campaign;
use crate::checks::Check;
use crate::cli::Place;
use crate::exit::Exit;
use crate::host::Stay;
use crate::plan::{Plan, World};
use crate::run::{self, Interrupt};
use crate::store;
use crate::subject::System;
use crate::threads::single_threaded;
use crate::world::{Demands, Site};
use anyhow::{Context, bail};
use checkers::Verdict;
use protocol::BugInfo;
use reports::stored::{Results, RunOutcome};
use std::path::{Path, PathBuf};
use tabled::builder::Builder;
use tabled::settings::Alignment;
use tabled::settings::object::Columns;

/// A bug that was not caught in so many runs was missed.
const RUNS_MAX: u64 = 6;
/// The clean build goes through each storm so often.
const CLEAN_RUNS: u64 = 2;

/// What became of one bug.
struct Row {
    bug: BugInfo,
    runs: u64,
    /// By what, if it was.
    caught_by: Option<String>,
    /// Of the last run.
    dir: PathBuf,
}

/// What became of the clean build.
#[derive(Default)]
struct Clean {
    runs: u64,
    accused: Vec<String>,
    /// Runs that say too little to acquit.
    unclear: Vec<String>,
}

/// Runs the exam.
///
/// # Errors
/// If a run cannot be made at all.
pub(super) fn examine(
    system: System,
    bugs: &[BugInfo],
    world: World,
    first: u64,
    place: &Place,
) -> anyhow::Result<Exit> {
    let storms = bugs.iter().map(|bug| Ok((*bug, Plan { world, ..storms::of(system, bug)? })));
    let storms = storms.collect::<anyhow::Result<Vec<(BugInfo, Plan)>>>()?;
    let conf = campaign::hosts(world, place)?;
    let runtime = single_threaded()?;
    runtime.block_on(async {
        let nodes = storms.iter().map(|(_, storm)| storm.nodes(&storm.subjects[0]).len()).max().unwrap_or(0);
        let site = Site::prepare(
            world,
            [system].into_iter(),
            nodes,
            place,
            conf,
            Stay::WithController,
            Demands::default(),
        )
        .await?;
        let hall = Hall { first, place, site, interrupt: Interrupt::listen()? };
        let mut rows = Vec::new();
        for (bug, storm) in &storms {
            rows.push(hall.examine_bug(bug, storm).await?);
        }
        let mut clean = Clean::default();
        for (bug, storm) in &storms {
            hall.examine_clean(bug, storm, &mut clean).await?;
        }
        hall.site.leave().await;
        println!("{}", table(&rows));
        Ok(conclude(&rows, &clean))
    })
}

/// Where the exam takes place.
struct Hall<'a> {
    first: u64,
    place: &'a Place,
    site: Site,
    interrupt: Interrupt,
}

impl Hall<'_> {
    async fn examine_bug(&self, bug: &BugInfo, storm: &Plan) -> anyhow::Result<Row> {
        let mut plan = storm.clone();
        switch_on(bug, &mut plan.subjects[0])?;
        let mut row = Row { bug: *bug, runs: 0, caught_by: None, dir: PathBuf::new() };
        while row.runs < RUNS_MAX && row.caught_by.is_none() {
            let title = format!("{} {}/{RUNS_MAX}", bug.id, row.runs + 1);
            let (dir, results) = self.run(&plan, row.runs, &title).await?;
            row.runs += 1;
            row.caught_by = evidence(bug, &results);
            row.dir = dir;
        }
        let by = row.caught_by.as_deref().map_or("missed".to_owned(), |by| format!("caught by {by}"));
        eprintln!("{}: {by}, after {} runs", bug.id, row.runs);
        Ok(row)
    }

    async fn examine_clean(&self, bug: &BugInfo, storm: &Plan, clean: &mut Clean) -> anyhow::Result<()> {
        for number in 0..CLEAN_RUNS {
            let title = format!("clean, in the storm of {} {}/{CLEAN_RUNS}", bug.id, number + 1);
            let (dir, results) = self.run(storm, number, &title).await?;
            clean.runs += 1;
            let said = results.checks.iter().filter(|check| check.verdict == results.verdict);
            let said: Vec<_> = said.map(|check| format!("{}: {}", check.checker, check.summary)).collect();
            let words = format!("{}: {}", dir.display(), said.join("; "));
            match results.verdict {
                Verdict::Valid => {}
                Verdict::Unknown => clean.unclear.push(words),
                Verdict::Invalid => clean.accused.push(words),
            }
        }
        Ok(())
    }

    /// One run of a storm, judged.
    async fn run(&self, plan: &Plan, number: u64, title: &str) -> anyhow::Result<(PathBuf, Results)> {
        if self.interrupt.is_set() {
            bail!("interrupted");
        }
        let seed = self.first.wrapping_add(number);
        let cells = plan.cells(seed)?;
        let [cell] = &cells[..] else { bail!("the storm {} has {} cells", plan.name, cells.len()) };
        let dir = store::create(&self.place.store, &plan.name, seed)?;
        let ended = run::run_cell(cell, &dir, &self.site, &self.interrupt, title).await?;
        let results = run::render(&dir, ended.judged)?.results.context("nothing was recorded and judged")?;
        Ok((dir, results))
    }
}

/// What of a run is evidence, of a kind that is expected, of a bug.
fn evidence(bug: &BugInfo, results: &Results) -> Option<String> {
    let invalid = results.checks.iter().filter(|check| check.verdict == Verdict::Invalid);
    let by = invalid.filter_map(|result| {
        let check = Check::by_name(&result.checker)?;
        expected(bug, check, check.detectors())
    });
    let by: Vec<_> = by.collect();
    (!by.is_empty()).then(|| by.join(", "))
}

fn conclude(rows: &[Row], clean: &Clean) -> Exit {
    for words in &clean.accused {
        println!("the clean build is accused: {words}");
    }
    for words in &clean.unclear {
        println!("the clean build is not acquitted: {words}");
    }
    let caught = rows.iter().filter(|row| row.caught_by.is_some()).count();
    println!(
        "{caught} of {} bugs were caught; the clean build: {} runs, accused {} times, not acquitted {} times",
        rows.len(),
        clean.runs,
        clean.accused.len(),
        clean.unclear.len()
    );
    let verdict = if caught < rows.len() || !clean.accused.is_empty() {
        Verdict::Invalid
    } else if clean.unclear.is_empty() {
        Verdict::Valid
    } else {
        Verdict::Unknown
    };
    Exit::of(verdict, &RunOutcome::Completed)
}

fn table(rows: &[Row]) -> String {
    let mut table = Builder::default();
    table.push_record(["bug", "caught by", "runs", "report"]);
    for row in rows {
        table.push_record([
            row.bug.id.to_owned(),
            row.caught_by.clone().unwrap_or_else(|| "– missed –".to_owned()),
            row.runs.to_string(),
            relative(&row.dir).display().to_string(),
        ]);
    }
    let mut table = table.build();
    table.modify(Columns::one(2), Alignment::right());
    reports::table::framed(table)
}

/// As seen from here, where that is shorter.
fn relative(dir: &Path) -> &Path {
    let here = std::env::current_dir().ok();
    here.as_deref().and_then(|here| dir.strip_prefix(here).ok()).unwrap_or(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Detector;

    fn bug(caught_by: &'static [Detector]) -> BugInfo {
        BugInfo { id: "x.y", wrong: "", needs: "", source: "", caught_by, real: true }
    }

    fn results(checks: &[(Check, Verdict)]) -> Results {
        let checks: Vec<_> =
            checks.iter().map(|(check, verdict)| check.says(*verdict, 1, String::new())).collect();
        Results { verdict: checks.iter().map(|check| check.verdict).max().expect("some"), checks }
    }

    #[test]
    fn only_evidence_that_is_expected_catches_a_bug() {
        let bug = bug(&[Detector::Effects]);
        let caught =
            |check, verdict| evidence(&bug, &results(&[(Check::Run, Verdict::Valid), (check, verdict)]));
        assert_eq!(caught(Check::Append, Verdict::Invalid).as_deref(), Some("effects (append)"));
        assert_eq!(caught(Check::Append, Verdict::Unknown), None);
        assert_eq!(caught(Check::Agreement, Verdict::Invalid), None, "replicas that apply twice agree");
        assert_eq!(caught(Check::Faults, Verdict::Invalid), None);
    }

    #[test]
    fn a_missed_bug_and_an_accused_clean_build_fail_and_an_unclear_one_never_passes() {
        let row = |caught: bool| Row {
            bug: bug(&[Detector::Invariant]),
            runs: 1,
            caught_by: caught.then(|| "linearizability".to_owned()),
            dir: PathBuf::new(),
        };
        let clean = |accused: usize, unclear: usize| Clean {
            runs: 2,
            accused: vec!["it lost a write".into(); accused],
            unclear: vec!["a fault never bit".into(); unclear],
        };
        assert_eq!(conclude(&[row(true)], &clean(0, 0)), Exit::Valid);
        assert_eq!(conclude(&[row(true), row(false)], &clean(0, 0)), Exit::Invalid);
        assert_eq!(conclude(&[row(true)], &clean(1, 0)), Exit::Invalid);
        assert_eq!(conclude(&[row(true)], &clean(0, 1)), Exit::Unknown);
    }
}
