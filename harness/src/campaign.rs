//! The cells of a plan, one after the other, and what is done with stored runs afterwards.

use crate::cli::{Format, Place};
use crate::cluster::ClusterConf;
use crate::exit::Exit;
use crate::host::Stay;
use crate::hosts;
use crate::judge;
use crate::overrides::Overrides;
use crate::plan::{Cell, Plan, World};
use crate::run::{self, Interrupt};
use crate::store::{self, HISTORY};
use crate::threads::single_threaded;
use crate::world::{Demands, Site};
use anyhow::{Context, bail};
use checkers::Verdict;
use reports::stored::{COMPARISON_FILE, ComparisonInfo, RUN_FILE, read_json, write_json};
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Where plans are looked for by name.
pub(crate) const PLANS: &str = "plans";

/// The command line or a plan makes no sense: exit code 254.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

fn usage(error: &anyhow::Error) -> anyhow::Error {
    UsageError(format!("{error:#}")).into()
}

/// `gauntlet run`: the first subject (or those named) of a plan.
///
/// # Errors
/// If the plan cannot be run at all.
pub(crate) fn run(plan: &str, overrides: &Overrides, place: &Place) -> anyhow::Result<Exit> {
    let mut plan = load(plan, overrides)?;
    if overrides.subject.is_empty() {
        plan.subjects.truncate(1);
        plan.baseline = None;
    }
    campaign(&plan, place)
}

/// `gauntlet compare`: all subjects of a plan.
///
/// # Errors
/// If the plan cannot be run at all.
pub(crate) fn compare(plan: &str, overrides: &Overrides, place: &Place) -> anyhow::Result<Exit> {
    campaign(&load(plan, overrides)?, place)
}

/// Reads a plan, by file or by name.
///
/// # Errors
/// If there is none, or it cannot be run.
pub(crate) fn load(plan: &str, overrides: &Overrides) -> anyhow::Result<Plan> {
    let read = || -> anyhow::Result<Plan> {
        let file = find(plan)?;
        let mut plan = Plan::load(&file)?;
        plan.override_with(overrides)?;
        plan.validate().with_context(|| format!("plan {}", file.display()))?;
        Ok(plan)
    };
    read().map_err(|error| usage(&error))
}

fn find(plan: &str) -> anyhow::Result<PathBuf> {
    let named = Path::new(PLANS).join(format!("{plan}.yaml"));
    let given = PathBuf::from(plan);
    if given.is_file() {
        Ok(given)
    } else if named.is_file() {
        Ok(named)
    } else {
        bail!("there is no plan {} nor {}", given.display(), named.display())
    }
}

/// The hosts that the command line names, if they are fit for this world.
///
/// # Errors
/// If they are not, or there are none where some are needed.
pub(crate) fn hosts(world: World, place: &Place) -> anyhow::Result<Option<ClusterConf>> {
    let read = || -> anyhow::Result<Option<ClusterConf>> {
        let conf = place.cluster.as_deref().map(ClusterConf::load).transpose()?;
        match (world, &conf) {
            (World::Local, Some(conf)) => conf.check_local()?,
            (World::Ssh, None) if Path::new(hosts::CONF).is_file() => {
                return ClusterConf::load(Path::new(hosts::CONF)).map(Some);
            }
            (World::Ssh, None) => bail!(
                "the ssh world needs hosts: name their file with --cluster, or make some (gauntlet hosts up)"
            ),
            (World::Local, None) | (World::Ssh, Some(_)) => {}
        }
        Ok(conf)
    };
    read().map_err(|error| usage(&error))
}

/// Runs all cells of a plan: one cell in a folder of its own, several below a comparison's.
fn campaign(plan: &Plan, place: &Place) -> anyhow::Result<Exit> {
    let seed = plan.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let cells = plan.cells(seed).map_err(|error| usage(&error))?;
    let conf = hosts(plan.world, place)?;
    let runtime = single_threaded()?;
    runtime.block_on(async {
        let interrupt = Interrupt::listen()?;
        let systems = cells.iter().map(|cell| cell.subject().system);
        let nodes = cells.iter().map(|cell| cell.plan.nodes(cell.subject()).len()).max().unwrap_or(0);
        let site =
            Site::prepare(plan.world, systems, nodes, place, conf, Stay::WithController, Demands::of(plan))
                .await?;
        let dir = store::create(&place.store, &plan.name, seed)?;
        let exit = match &cells[..] {
            [cell] => one(cell, &dir, &site, &interrupt).await,
            _ => several(plan, seed, &cells, &dir, &site, &interrupt).await,
        };
        site.leave().await;
        exit
    })
}

async fn one(cell: &Cell, dir: &Path, site: &Site, interrupt: &Interrupt) -> anyhow::Result<Exit> {
    let title = format!("{} × {}", cell.subject().name, cell.workload().name());
    let run::Ended { exit, judged } = run::run_cell(cell, dir, site, interrupt, &title).await?;
    println!("{}", reports::run_table(&run::render(dir, judged)?));
    Ok(exit)
}

async fn several(
    plan: &Plan,
    seed: u64,
    cells: &[Cell],
    dir: &Path,
    site: &Site,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    let mut info = ComparisonInfo {
        plan: plan.name.clone(),
        seed,
        started: jiff::Timestamp::now().to_string(),
        baseline: plan.baseline_name().into(),
        cells: Vec::new(),
        failed: BTreeMap::new(),
    };
    store::write(&dir.join("plan.yaml"), Plan { seed: Some(seed), ..plan.clone() }.to_yaml().as_bytes())?;
    let mut exit = Exit::Valid;
    for (i, cell) in cells.iter().enumerate() {
        if interrupt.is_set() {
            info.failed.insert(cell.folder.clone(), "interrupted before it began".into());
            exit = exit.and(Exit::Failed);
            continue;
        }
        let cell_dir = dir.join(&cell.folder);
        std::fs::create_dir(&cell_dir).with_context(|| format!("making {}", cell_dir.display()))?;
        let title =
            format!("[{}/{}] {} × {}", i + 1, cells.len(), cell.subject().name, cell.workload().name());
        match run::run_cell(cell, &cell_dir, site, interrupt, &title).await {
            Ok(ended) => {
                info.cells.push(cell.folder.clone());
                exit = exit.and(ended.exit);
            }
            Err(error) => {
                eprintln!("gauntlet: {}: {error:#}", cell.folder);
                info.failed.insert(cell.folder.clone(), format!("{error:#}"));
                exit = exit.and(Exit::Failed);
            }
        }
        // After each cell, so that what was run can be read whatever happens to the next.
        write_json(&dir.join(COMPARISON_FILE), &info)?;
    }
    write_json(&dir.join(COMPARISON_FILE), &info)?;
    let report = reports::render_comparison(dir).context("rendering the comparison")?;
    println!("{}", reports::comparison_table(&report));
    Ok(exit)
}

/// The run folders that `dir` stands for: itself, or a comparison's cells.
fn run_folders(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if dir.join(COMPARISON_FILE).is_file() {
        let info: ComparisonInfo = read_json(&dir.join(COMPARISON_FILE))?;
        return Ok(info.cells.iter().map(|cell| dir.join(cell)).collect());
    }
    if dir.join(RUN_FILE).is_file() {
        return Ok(vec![dir.to_owned()]);
    }
    bail!("{} holds neither {RUN_FILE} nor {COMPARISON_FILE}: it is no run's folder", dir.display())
}

/// `gauntlet check`: judges again and prints the table.
///
/// # Errors
/// If the folder is not a run's, or cannot be judged.
pub(crate) fn check(dir: &Path) -> anyhow::Result<Exit> {
    for run in run_folders(dir)? {
        judge::judge(&run).with_context(|| format!("checking {}", run.display()))?;
    }
    report(dir)
}

/// `gauntlet report`: renders again and prints the table. The exit code is the stored verdict's.
///
/// # Errors
/// If the folder is not a run's, or cannot be rendered.
pub(crate) fn report(dir: &Path) -> anyhow::Result<Exit> {
    let mut exit = Exit::Valid;
    if dir.join(COMPARISON_FILE).is_file() {
        let report = reports::render_comparison(dir)?;
        println!("{}", reports::comparison_table(&report));
        for cell in &report.cells {
            exit = exit.and(Exit::of(cell.verdict.unwrap_or(Verdict::Unknown), &cell.info.outcome));
        }
        return Ok(if report.info.failed.is_empty() { exit } else { exit.and(Exit::Failed) });
    }
    for run in run_folders(dir)? {
        let report = reports::render_run(&run)?;
        println!("{}", reports::run_table(&report));
        let verdict = report.results.as_ref().map_or(Verdict::Unknown, |results| results.verdict);
        exit = exit.and(Exit::of(verdict, &report.info.outcome));
    }
    Ok(exit)
}

/// `gauntlet export`: the history on standard output.
///
/// # Errors
/// If there is no history, it is corrupt, or standard output is closed.
pub(crate) fn export(dir: &Path, format: Format) -> anyhow::Result<()> {
    if dir.join(COMPARISON_FILE).is_file() {
        let runs: Vec<String> = run_folders(dir)?.iter().map(|run| run.display().to_string()).collect();
        bail!("{} holds several runs, export one of {}", dir.display(), runs.join(", "));
    }
    let file = if dir.is_dir() { dir.join(HISTORY) } else { dir.to_owned() };
    let mut reader = checkers::history::Reader::open(&file)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    match format {
        Format::JsonLines => checkers::history::export_json_lines(&mut reader, &mut out)?,
    }
    out.flush().context("writing to standard output")?;
    Ok(())
}
