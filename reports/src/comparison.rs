//! The report on several runs of one plan, side by side.

use crate::html;
use crate::measure::perf::Perf;
use crate::run::render_run;
use crate::stored::{COMPARISON_FILE, ComparisonInfo, HTML_FILE, RunInfo, RunOutcome, read_json};
use crate::text::ratio;
use anyhow::Context;
use checkers::Verdict;
use std::path::{Path, PathBuf};

/// What was found and written.
#[derive(Clone, Debug)]
pub struct ComparisonReport {
    /// The comparison's folder.
    pub dir: PathBuf,
    /// What is known about the comparison.
    pub info: ComparisonInfo,
    /// Every run, in the plan's order.
    pub cells: Vec<Cell>,
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
    /// The subject, with a number if it occurs again in its group.
    pub label: String,
    /// What is known about it.
    pub info: RunInfo,
    /// `None` if it was not checked.
    pub verdict: Option<Verdict>,
    /// What was measured.
    pub perf: Perf,
}

/// Cells under the same load, which alone may be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The workload, with what else tells groups apart.
    pub title: String,
    /// Positions in [`ComparisonReport::cells`].
    pub cells: Vec<usize>,
    /// The cell to which ratios are: the comparison's baseline if it is among them, else the first.
    pub baseline: usize,
}

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
                    label: run.info.subject.clone(),
                    verdict: run.results.as_ref().map(|results| results.verdict),
                    info: run.info,
                    perf: run.perf,
                });
            }
            Err(error) => warnings.push(format!("{folder} cannot be reported on: {error:#}")),
        }
    }
    let html = dir.join(HTML_FILE);
    let mut report = ComparisonReport {
        dir: dir.to_owned(),
        info,
        cells,
        warnings,
        html: html.clone(),
        plots: Vec::new(),
    };
    report.number_repetitions();
    let page = html::comparison::page(&report);
    std::fs::write(&html, page).with_context(|| format!("writing {}", html.display()))?;
    Ok(report)
}

impl ComparisonReport {
    /// The cells by load, in the order in which each load first occurs.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let load = |cell: &Cell| (cell.info.workload.clone(), cell.info.clients, cell.info.load.clone());
        let mut groups: Vec<Group> = Vec::new();
        for (at, cell) in self.cells.iter().enumerate() {
            let known = groups.iter().position(|group| load(&self.cells[group.cells[0]]) == load(cell));
            match known {
                Some(group) => groups[group].cells.push(at),
                None => groups.push(Group { title: String::new(), cells: vec![at], baseline: at }),
            }
        }
        let differ = |of: fn(&Cell) -> String| self.cells.windows(2).any(|pair| of(&pair[0]) != of(&pair[1]));
        let clients_differ = differ(|cell| cell.info.clients.to_string());
        let loads_differ = differ(|cell| cell.info.load.clone());
        for group in &mut groups {
            let info = &self.cells[group.cells[0]].info;
            group.title.clone_from(&info.workload);
            if clients_differ {
                group.title += &format!(", {} clients", info.clients);
            }
            if loads_differ {
                group.title += &format!(", {}", info.load);
            }
            let named = group.cells.iter().find(|&&at| self.cells[at].info.subject == self.info.baseline);
            group.baseline = *named.unwrap_or(&group.cells[0]);
        }
        groups
    }

    /// A figure of a cell as a multiple of its baseline's; `None` for the baseline itself and where there is no figure.
    #[must_use]
    pub fn ratio(&self, group: &Group, at: usize, of: fn(&Perf) -> Option<f64>) -> Option<String> {
        let own = of(&self.cells[at].perf).filter(|_| at != group.baseline)?;
        ratio(own, of(&self.cells[group.baseline].perf)?)
    }

    /// The worst verdict of all cells; a cell that was not run, failed or was not checked is unknown.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let whole = self.info.failed.is_empty()
            && self.cells.len() == self.info.cells.len()
            && !self.cells.is_empty();
        let missing = if whole { Verdict::Valid } else { Verdict::Unknown };
        let verdicts = self.cells.iter().map(|cell| match (&cell.info.outcome, cell.verdict) {
            (RunOutcome::Completed, Some(verdict)) | (_, Some(verdict @ Verdict::Invalid)) => verdict,
            _ => Verdict::Unknown,
        });
        verdicts.fold(missing, Verdict::max)
    }

    fn number_repetitions(&mut self) {
        for group in self.groups() {
            for (position, &at) in group.cells.iter().enumerate() {
                let subject = &self.cells[at].info.subject;
                let before =
                    group.cells[..position].iter().filter(|&&b| self.cells[b].info.subject == *subject);
                let nth = before.count() + 1;
                if nth > 1 {
                    self.cells[at].label = format!("{subject} #{nth}");
                }
            }
        }
    }
}
