//! Latency by share of ops, in the manner of HdrHistogram: each nine takes as much room as the last.

use super::overlay::subject_keys;
use super::scatter::latency_scale;
use super::{NO_OPS, Plot, slug};
use crate::comparison::{ComparisonReport, Group};
use crate::draw::frame::{
    Heading, WIDTH, heading, height_below, left_margin, nothing, x_ticks, x_title, y_ticks,
};
use crate::draw::ink::Ink;
use crate::draw::scale::Scale;
use crate::draw::scene::{Area, Point, Scene, Stroke};

const HEIGHT: f32 = 280.0;

/// Draws a group: one line for each run.
pub(crate) fn plot(report: &ComparisonReport, nth: usize, group: &Group) -> Plot {
    let mut scene = Scene::new(WIDTH, 0.0, format!("Latency by share of operations, {}", group.title));
    let title = format!("{}: latency distribution", group.title);
    let subtitle = "of the run phase, from the intended start";
    let top = heading(&mut scene, &Heading { title: &title, subtitle, legend: subject_keys(group) });
    let plot = Area {
        left: left_margin(&[]),
        right: scene.width - 16.0,
        top: top + 4.0,
        bottom: top + 4.0 + HEIGHT,
    };
    let lines = || {
        let of_entry = |entry: &'_ crate::comparison::Entry| (entry.nth, entry.cells.clone());
        group.entries.iter().map(of_entry).flat_map(|(nth, cells)| {
            cells.into_iter().map(move |at| (nth, &report.cells[at].perf.distribution))
        })
    };
    let deepest = lines().filter_map(|(_, points)| points.iter().rev().find(|(share, _)| *share < 1.0));
    let deepest = deepest.map(|(share, _)| *share).fold(0.9, f64::max);
    let x = Scale::nines(deepest, (plot.left, plot.right));
    x_ticks(&mut scene, plot, &x, &x.ticks_nines());
    x_title(&mut scene, plot, "share of ops that took no longer");
    let values: Vec<f64> = lines().flat_map(|(_, points)| points.iter().map(|(_, ms)| *ms)).collect();
    if values.is_empty() {
        nothing(&mut scene, plot, NO_OPS);
    } else {
        let y = latency_scale(values.into_iter(), (plot.bottom, plot.top));
        y_ticks(&mut scene, plot, &y, &y.ticks_ms());
        for (nth, points) in lines() {
            let points = points.iter().map(|&(share, ms)| Point { x: x.at(share), y: y.at(ms) });
            scene.line(points.collect(), Stroke::new(Ink::nth(nth), 2.0));
        }
    }
    scene.height = height_below(plot.top, HEIGHT);
    let caption = "Exact, not interpolated; each line ends at its longest op. Ops of unknown outcome count with the time waited.";
    Plot { name: format!("{}-distribution", slug(nth, group)), scene, caption: caption.into() }
}
