//! Throughput and p99 of several subjects over time, under each subject's own faults.

use super::scatter::latency_scale;
use super::{NO_OPS, Plot, slug};
use crate::comparison::{ComparisonReport, Entry, Group};
use crate::draw::frame::{
    Frame, Heading, Key, Sign, TimeAxis, WIDTH, broken_line, heading, height_below, nothing, time_axis,
    time_frame, time_grid, y_ticks,
};
use crate::draw::ink::Ink;
use crate::draw::scale::Scale;
use crate::draw::scene::{Area, Lettering, Scene, Stroke};
use crate::draw::strip::{BAND, Row, draw_bands, subject_rows};
use crate::measure::fault::Family;
use crate::measure::perf::Perf;
use crate::measure::series::Series;
use std::collections::BTreeSet;

const HEIGHT: f32 = 210.0;

/// Draws a group; the first run of a subject has its full line, repeats are fainter.
pub(crate) fn plot(report: &ComparisonReport, nth: usize, group: &Group) -> Plot {
    let perfs = || group.entries.iter().flat_map(|e| &e.cells).map(|&at| &report.cells[at].perf);
    let to_s = perfs().map(Perf::run_s).fold(0.0, f64::max);
    let axis =
        TimeAxis { from_s: 0.0, to_s: if to_s > 0.0 { to_s } else { 1.0 }, since: "the run phase began" };
    let description = format!("Throughput and p99 latency of all subjects over time, {}", group.title);
    let mut scene = Scene::new(WIDTH, 0.0, description);
    let title = format!("{}: over time", group.title);
    let subtitle = "above: throughput, ok ops/s by completion; below: p99 latency by intended start";
    let top = heading(&mut scene, &Heading { title: &title, subtitle, legend: legend(report, group) });
    let rows: Vec<Row> = group.entries.iter().flat_map(|entry| subject(report, entry, axis)).collect();
    let rows = if rows.iter().all(|row| row.bars.is_empty()) { Vec::new() } else { rows };
    let alpha = BAND / group.entries.len().max(1) as f32;
    let frame = time_frame(&mut scene, &rows, axis, top, HEIGHT, alpha);
    time_grid(&mut scene, &frame, axis);
    panel_title(&mut scene, &frame, "ops/s");
    draw_throughput(&mut scene, report, group, &frame);
    let plot =
        Area { top: frame.plot.bottom + 22.0, bottom: frame.plot.bottom + 22.0 + HEIGHT, ..frame.plot };
    let below = Frame { plot, ..frame };
    draw_bands(&mut scene, &rows, &below.x, plot, alpha);
    time_axis(&mut scene, &below, axis);
    panel_title(&mut scene, &below, "p99");
    draw_p99(&mut scene, report, group, &below);
    scene.height = height_below(plot.top, HEIGHT);
    let caption = "Each run starts at its own run phase. The rows above show each subject's faults; the bands of all lie over one another.";
    Plot { name: format!("{}-over-time", slug(nth, group)), scene, caption: caption.into() }
}

fn legend(report: &ComparisonReport, group: &Group) -> Vec<Key> {
    let mut keys = subject_keys(group);
    let cells = group.entries.iter().flat_map(|entry| &entry.cells);
    let faults = cells.flat_map(|&at| &report.cells[at].perf.faults).map(|f| &f.span);
    let families: BTreeSet<Family> =
        faults.filter(|span| span.was_in_force()).map(|span| span.family).collect();
    keys.extend(families.into_iter().map(|family| Key {
        ink: Ink::of_family(family),
        sign: Sign::Box,
        label: format!("{} fault", family.name()),
    }));
    keys
}

/// One entry for each subject.
pub(super) fn subject_keys(group: &Group) -> Vec<Key> {
    let key =
        |entry: &Entry| Key { ink: Ink::nth(entry.nth), sign: Sign::Line, label: entry.subject.clone() };
    group.entries.iter().map(key).collect()
}

/// The faults of a subject's first run.
fn subject(report: &ComparisonReport, entry: &Entry, axis: TimeAxis) -> Vec<Row> {
    let perf = &report.cells[entry.cells[0]].perf;
    subject_rows(perf, &entry.subject, perf.run_start_s, axis.to_s)
}

fn panel_title(scene: &mut Scene, frame: &Frame, title: &str) {
    scene.text(frame.plot.left + 6.0, frame.plot.top + 15.0, title, Lettering::new(12.0, Ink::Muted).bold());
}

fn draw_throughput(scene: &mut Scene, report: &ComparisonReport, group: &Group, frame: &Frame) {
    let rates = lines(report, group).flat_map(|(.., perf)| inside(perf).map(|at| perf.series.ok_s[at]));
    let high = rates.fold(0.0, f64::max);
    if high <= 0.0 {
        nothing(scene, frame.plot, NO_OPS);
        return;
    }
    // Room for the panel's title above the lines.
    let y = Scale::linear((0.0, high * 1.15), (frame.plot.bottom, frame.plot.top));
    y_ticks(scene, frame.plot, &y, &y.ticks(5));
    for (entry, repeat, perf) in lines(report, group) {
        let points = within(perf, frame, |series, at| Some(y.at(series.ok_s[at])));
        broken_line(scene, points.into_iter(), stroke(entry, repeat));
    }
}

fn draw_p99(scene: &mut Scene, report: &ComparisonReport, group: &Group, frame: &Frame) {
    let values =
        lines(report, group).flat_map(|(.., perf)| inside(perf).filter_map(|at| perf.series.p99_ms[at]));
    let values: Vec<f64> = values.collect();
    if values.is_empty() {
        nothing(scene, frame.plot, NO_OPS);
        return;
    }
    let high = values.iter().copied().fold(0.0, f64::max);
    let y = latency_scale(values.into_iter().chain([high * 1.5]), (frame.plot.bottom, frame.plot.top));
    y_ticks(scene, frame.plot, &y, &y.ticks_ms());
    for (entry, repeat, perf) in lines(report, group) {
        let points = within(perf, frame, |series, at| series.p99_ms[at].map(|ms| y.at(ms)));
        broken_line(scene, points.into_iter(), stroke(entry, repeat));
    }
}

/// Every run of a group: its subject, which repeat it is, what was measured.
fn lines<'a>(
    report: &'a ComparisonReport,
    group: &'a Group,
) -> impl Iterator<Item = (&'a Entry, usize, &'a Perf)> + Clone {
    group.entries.iter().flat_map(move |entry| {
        let repeats = entry.cells.iter().enumerate();
        repeats.map(move |(repeat, &at)| (entry, repeat, &report.cells[at].perf))
    })
}

fn stroke(entry: &Entry, repeat: usize) -> Stroke {
    let alpha = if repeat == 0 { 1.0 } else { 0.35 };
    Stroke { paint: Ink::nth(entry.nth).at(alpha), ..Stroke::new(Ink::nth(entry.nth), 2.0) }
}

/// The buckets of the run phase.
fn inside(perf: &Perf) -> impl Iterator<Item = usize> {
    (0..perf.series.len()).filter(|at| {
        let middle = perf.series.middle_s(*at);
        perf.run_start_s <= middle && middle <= perf.run_end_s
    })
}

/// What is drawn of them.
fn within(perf: &Perf, frame: &Frame, y: impl Fn(&Series, usize) -> Option<f32>) -> Vec<(f32, Option<f32>)> {
    let series = &perf.series;
    let point = |at| (frame.x.at(series.middle_s(at) - perf.run_start_s), y(series, at));
    inside(perf).map(point).collect()
}
