//! The report on several runs of one plan, side by side.

use crate::html;
use crate::measure::perf::Perf;
use crate::plots::{Plot, bars, distribution, overlay, scaling};
use crate::run::{RunReport, render_run, write_picture};
use crate::stored::{COMPARISON_FILE, ComparisonInfo, HTML_FILE, RunInfo, judged, read_json};
use crate::text::{ratio, verdict};
use anyhow::Context;
use checkers::{CheckResult, Verdict};
use std::path::{Path, PathBuf};

/// More groups than this have no plots of their own, or the page would grow without bound.
const GROUPS_DRAWN_MAX: usize = 16;

/// What was found and written.
#[derive(Clone, Debug)]
pub struct ComparisonReport {
    /// The comparison's folder.
    pub dir: PathBuf,
    /// What is known about the comparison.
    pub info: ComparisonInfo,
    /// Every run, in the plan's order.
    pub cells: Vec<Cell>,
    /// The cells by load, in the order in which each load first occurs.
    pub groups: Vec<Group>,
    /// What is missing or doubtful, in sentences.
    pub warnings: Vec<String>,
    /// The page.
    pub html: PathBuf,
    /// The pictures.
    pub plots: Vec<PathBuf>,
}

/// One run of a comparison.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Its folder below the comparison's.
    pub folder: String,
    /// What is known about it.
    pub info: RunInfo,
    /// What its checkers said; `None` if it was not checked.
    pub verdict: Option<Verdict>,
    /// The checks it did not pass, each with what it found.
    pub findings: Vec<String>,
    /// What may be said of it: a run that failed, was cut short or was not checked does not pass.
    pub judged: Verdict,
    /// What was measured.
    pub perf: Perf,
}

/// Subjects under the same load: they alone may be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The workload, with what else tells groups apart.
    pub title: String,
    /// By subject, in the plan's order.
    pub entries: Vec<Entry>,
    /// Position of the entry that ratios refer to: the comparison's baseline if it is among them, else the first.
    pub baseline: usize,
}

/// A subject under one load, run once or several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The subject's name.
    pub subject: String,
    /// Its number among all subjects of the comparison, by which it is coloured.
    pub nth: usize,
    /// Its runs: positions in [`ComparisonReport::cells`].
    pub cells: Vec<usize>,
}

/// A figure of a run.
pub type Figure = fn(&Perf) -> Option<f64>;

/// Successes a second.
pub const THROUGHPUT: Figure = |perf| Some(perf.overall.ok_s);
/// Median latency, milliseconds.
pub const P50: Figure = |perf| perf.overall.latency.map(|latency| latency.p50_ms);
/// 99 of 100 latencies are not above, milliseconds.
pub const P99: Figure = |perf| perf.overall.latency.map(|latency| latency.p99_ms);
/// Time without service, milliseconds.
pub const WITHOUT_SERVICE: Figure = |perf| Some(perf.service.without_ms);
/// Processor time of all nodes for each success, microseconds.
pub const CPU: Figure = |perf| perf.cpu.nodes_us_per_op;

/// Reads a comparison's folder and those of its cells; writes each cell's report, the comparison's pictures and its
/// `report.html`. A cell that cannot be read becomes a warning.
///
/// # Errors
/// If `comparison.json` is not there or cannot be understood, or the report cannot be written.
pub fn render_comparison(dir: &Path) -> anyhow::Result<ComparisonReport> {
    let info: ComparisonInfo = read_json(&dir.join(COMPARISON_FILE))?;
    let mut warnings: Vec<String> =
        info.failed.iter().map(|(cell, why)| format!("{cell} could not be run: {why}")).collect();
    let mut cells: Vec<Cell> = Vec::new();
    for folder in &info.cells {
        match render_run(&dir.join(folder)) {
            Ok(run) => {
                warnings.extend(run.warnings.iter().map(|warning| format!("{folder}: {warning}")));
                cells.push(Cell {
                    folder: folder.clone(),
                    verdict: run.results.as_ref().map(|results| results.verdict),
                    findings: findings(folder, &run),
                    judged: judged(&run.info.outcome, run.results.as_ref()),
                    info: run.info,
                    perf: run.perf,
                });
            }
            Err(error) => warnings.push(format!("{folder} cannot be reported on: {error:#}")),
        }
    }
    let mut report = ComparisonReport::new(dir.to_owned(), info, cells, warnings);
    let drawn = report.draw();
    for plot in drawn.iter().flatten() {
        report.plots.push(write_picture(dir, &plot.name, &plot.scene)?);
    }
    let page = html::comparison::page(&report, &drawn);
    std::fs::write(&report.html, page).with_context(|| format!("writing {}", report.html.display()))?;
    Ok(report)
}

/// What did not pass; and that it is a control, if it is one.
fn findings(folder: &str, run: &RunReport) -> Vec<String> {
    let told = |check: &CheckResult| {
        format!("{folder}: {}: {}: {}", check.checker, verdict(check.verdict), check.summary)
    };
    let checks = run.results.iter().flat_map(|results| &results.checks);
    let failed = checks.filter(|check| check.verdict != Verdict::Valid).map(told);
    run.info.control.iter().map(|why| format!("{folder}: a control: {why}")).chain(failed).collect()
}

impl ComparisonReport {
    /// Puts the cells of a comparison in groups; nothing is drawn or written yet.
    pub(crate) fn new(dir: PathBuf, info: ComparisonInfo, cells: Vec<Cell>, warnings: Vec<String>) -> Self {
        let groups = groups(&cells, &info.baseline);
        let html = dir.join(HTML_FILE);
        Self { dir, info, cells, groups, warnings, html, plots: Vec::new() }
    }

    /// A figure of an entry: the median over its runs.
    #[must_use]
    pub fn figure(&self, entry: &Entry, of: Figure) -> Option<f64> {
        let mut values: Vec<f64> = entry.cells.iter().filter_map(|&at| of(&self.cells[at].perf)).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            n if n % 2 == 1 => Some(values[middle]),
            _ => Some((values[middle - 1] + values[middle]) / 2.0),
        }
    }

    /// That figure as a multiple of the baseline's; `None` for the baseline itself and where there is no figure.
    #[must_use]
    pub fn ratio(&self, group: &Group, at: usize, of: Figure) -> Option<String> {
        let own = self.figure(&group.entries[at], of).filter(|_| at != group.baseline)?;
        ratio(own, self.figure(&group.entries[group.baseline], of)?)
    }

    /// The worst verdict of an entry's runs.
    #[must_use]
    pub fn verdict_of(&self, entry: &Entry) -> Verdict {
        entry.cells.iter().map(|&at| self.cells[at].judged).fold(Verdict::Valid, Verdict::max)
    }

    /// The worst verdict of all; a run that is missing is unknown.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let whole = self.info.failed.is_empty()
            && self.cells.len() == self.info.cells.len()
            && !self.cells.is_empty();
        let missing = if whole { Verdict::Valid } else { Verdict::Unknown };
        self.cells.iter().map(|cell| cell.judged).fold(missing, Verdict::max)
    }

    /// The plots of each group; behind them, as a group of its own, those over all groups.
    fn draw(&self) -> Vec<Vec<Plot>> {
        let mut plots: Vec<Vec<Plot>> = self
            .groups
            .iter()
            .take(GROUPS_DRAWN_MAX)
            .enumerate()
            .map(|(nth, group)| {
                vec![
                    bars::plot(self, nth, group),
                    overlay::plot(self, nth, group),
                    distribution::plot(self, nth, group),
                ]
            })
            .collect();
        plots.resize(self.groups.len(), Vec::new());
        plots.push(scaling::plots(self));
        plots
    }
}

/// Puts cells under the same load together.
fn groups(cells: &[Cell], baseline: &str) -> Vec<Group> {
    let load = |cell: &Cell| (cell.info.workload.clone(), cell.info.clients, cell.info.load.clone());
    let mut subjects: Vec<&str> = Vec::new();
    let mut groups: Vec<(usize, Group)> = Vec::new();
    for (at, cell) in cells.iter().enumerate() {
        let subject = cell.info.subject.as_str();
        let nth = subjects.iter().position(|s| *s == subject).unwrap_or_else(|| {
            subjects.push(subject);
            subjects.len() - 1
        });
        let known = groups.iter().position(|(first, _)| load(&cells[*first]) == load(cell));
        let known = known.unwrap_or_else(|| {
            groups.push((at, Group { title: String::new(), entries: Vec::new(), baseline: 0 }));
            groups.len() - 1
        });
        let entries = &mut groups[known].1.entries;
        match entries.iter_mut().find(|entry| entry.nth == nth) {
            Some(entry) => entry.cells.push(at),
            None => entries.push(Entry { subject: subject.to_owned(), nth, cells: vec![at] }),
        }
    }
    let differ = |of: fn(&Cell) -> String| cells.windows(2).any(|pair| of(&pair[0]) != of(&pair[1]));
    let clients_differ = differ(|cell| cell.info.clients.to_string());
    let loads_differ = differ(|cell| cell.info.load.clone());
    let finished = groups.into_iter().map(|(first, mut group)| {
        let info = &cells[first].info;
        group.title.clone_from(&info.workload);
        if clients_differ {
            let clients = if info.clients == 1 { "client" } else { "clients" };
            group.title += &format!(", {} {clients}", info.clients);
        }
        if loads_differ {
            group.title += &format!(", {}", info.load);
        }
        group.baseline = group.entries.iter().position(|entry| entry.subject == baseline).unwrap_or(0);
        group
    });
    finished.collect()
}
