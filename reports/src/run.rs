//! The report on one run.

use crate::draw::bitmap::png;
use crate::draw::scene::Scene;
use crate::html;
use crate::measure::perf::Perf;
use crate::measure::span::history_end;
use crate::plots;
use crate::stored::{HTML_FILE, PERF_FILE, Results, RunInfo, SIMULATED, StoredRun, write_json};
use crate::text::number;
use crate::timeline::{Timeline, focus, timeline};
use crate::trace::Trace;
use anyhow::Context;
use checkers::history::{History, Op};
use std::borrow::Cow;
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
    render(dir, StoredRun::load(dir)?)
}

/// Writes `perf.json`, the pictures and `report.html` into the folder of a run that is at hand.
///
/// # Errors
/// If the report cannot be written.
pub fn render(dir: &Path, mut stored: StoredRun) -> anyhow::Result<RunReport> {
    let trace = trace(dir, &mut stored);
    let history = &stored.history;
    let ops = honest(history);
    let perf = Perf::of(&ops, &history.faults, &history.phases, &stored.info.cpu);
    write_json(&dir.join(PERF_FILE), &perf)?;
    stored.warnings.extend(noise(&perf));
    let end = history_end(&history.ops, &history.faults, &history.phases);
    let mut written = Vec::new();
    if let Some(picture) = violation(&stored, &perf) {
        written.push(write_picture(dir, "timeline", &picture)?);
    }
    let plots = [
        plots::scatter::plot(&ops, &perf, end),
        plots::quantiles::plot(&perf),
        plots::throughput::plot(&perf),
    ];
    let clocks = (!stored.hosts.is_empty()).then(|| plots::clocks::plot(&stored.hosts, &perf));
    for plot in plots.iter().chain(&clocks) {
        written.push(write_picture(dir, &plot.name, &plot.scene)?);
    }
    let html = dir.join(HTML_FILE);
    let page = html::run::page(dir, &stored, &perf, trace.as_ref(), &plots, clocks.as_ref());
    std::fs::write(&html, page).with_context(|| format!("writing {}", html.display()))?;
    Ok(RunReport {
        dir: dir.to_owned(),
        info: stored.info,
        results: stored.results,
        perf,
        warnings: stored.warnings,
        html,
        plots: written,
    })
}

/// The ops that figures are about: what hostile processes ask, and how long they wait, is nobody's figure.
fn honest(history: &History) -> Cow<'_, [Op]> {
    match history.hostile.is_empty() {
        true => Cow::Borrowed(&history.ops),
        false => history.ops.iter().filter(|op| !op.is_hostile).cloned().collect(),
    }
}

/// What happened in a simulated run. Without it the report has no diagram, and says why.
fn trace(dir: &Path, stored: &mut StoredRun) -> Option<Trace> {
    if stored.info.world != SIMULATED {
        return None;
    }
    match Trace::load(dir) {
        Ok(trace) => Some(trace),
        Err(error) => {
            stored.warnings.push(format!("What happened in the simulation cannot be drawn: {error:#}"));
            None
        }
    }
}

/// What makes a run's figures not comparable, if anything does.
fn noise(perf: &Perf) -> Option<String> {
    let share = perf.cpu.others_share.filter(|_| perf.cpu.noisy)?;
    let percent = number(share * 100.0);
    Some(format!("Other processes used {percent} % of the machine: the figures are not to be compared."))
}

/// The timeline of the first evidence that there is.
fn violation(stored: &StoredRun, perf: &Perf) -> Option<Scene> {
    let mut evidence =
        stored.results.iter().flat_map(|results| &results.checks).flat_map(|check| &check.evidence);
    let evidence = evidence.find(|evidence| !evidence.window.is_empty())?;
    let shown = focus(&evidence.window);
    Some(timeline(&Timeline { evidence, shown: &shown, perf, with_story: true }))
}

/// Writes a picture as a PNG file into `dir`.
pub(crate) fn write_picture(dir: &Path, name: &str, scene: &Scene) -> anyhow::Result<PathBuf> {
    let path = dir.join(format!("{name}.png"));
    std::fs::write(&path, png(scene)?).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}
