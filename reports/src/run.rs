//! The report on one run.

use crate::html;
use crate::measure::perf::Perf;
use crate::stored::{HTML_FILE, PERF_FILE, Results, RunInfo, StoredRun, write_json};
use anyhow::Context;
use std::path::{Path, PathBuf};

/// What was found and written.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The run's folder.
    pub dir: PathBuf,
    /// What is known about the run.
    pub info: RunInfo,
    /// What the checkers said; `None` if the history was not checked.
    pub results: Option<Results>,
    /// What was measured.
    pub perf: Perf,
    /// What is missing, cut or doubtful, in sentences.
    pub warnings: Vec<String>,
    /// The page.
    pub html: PathBuf,
    /// The pictures.
    pub plots: Vec<PathBuf>,
}

/// Reads a run's folder; writes `perf.json`, the pictures and `report.html` into it.
///
/// # Errors
/// If `run.json` is not there, a file cannot be understood, or the report cannot be written.
pub fn render_run(dir: &Path) -> anyhow::Result<RunReport> {
    let stored = StoredRun::load(dir)?;
    let history = &stored.history;
    let perf = Perf::of(&history.ops, &history.faults, &history.phases, &stored.info.cpu);
    write_json(&dir.join(PERF_FILE), &perf)?;
    let html = dir.join(HTML_FILE);
    let page = html::run::page(dir, &stored, &perf);
    std::fs::write(&html, page).with_context(|| format!("writing {}", html.display()))?;
    Ok(RunReport {
        dir: dir.to_owned(),
        info: stored.info,
        results: stored.results,
        perf,
        warnings: stored.warnings,
        html,
        plots: Vec::new(),
    })
}
