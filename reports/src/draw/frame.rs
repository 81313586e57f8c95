//! A plot's title, legend, axes and grid.

use super::ink::Ink;
use super::scale::{Scale, Tick};
use super::scene::{Anchor, Area, Lettering, Point, Scene, Shape, Stroke};
use super::strip::{Row, draw_bands, draw_rows, label_width};
use crate::measure::service::Service;
use crate::text::duration;

/// Width of every plot, pixels.
pub(crate) const WIDTH: f32 = 1120.0;
/// Right of the data.
const RIGHT: f32 = 16.0;
/// Size of axis labels.
const SIZE: f32 = 12.0;

/// What stands around the data.
pub(crate) struct Heading<'a> {
    pub(crate) title: &'a str,
    /// Units and how to read it.
    pub(crate) subtitle: &'a str,
    pub(crate) legend: Vec<Key>,
}

/// An entry of a legend.
pub(crate) struct Key {
    pub(crate) ink: Ink,
    pub(crate) sign: Sign,
    pub(crate) label: String,
}

/// How a legend shows a series.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    Line,
    Mark(Shape),
    /// As bars and bands are: light.
    Box,
    Solid,
    Fading,
}

/// The time axis of a plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TimeAxis {
    pub(crate) from_s: f64,
    pub(crate) to_s: f64,
    /// What 0 is: `the run began`.
    pub(crate) since: &'static str,
}

/// The place for data.
pub(crate) struct Frame {
    pub(crate) plot: Area,
    pub(crate) x: Scale,
}

/// Writes title, subtitle and legend; returns where they end.
pub(crate) fn heading(scene: &mut Scene, heading: &Heading<'_>) -> f32 {
    let title = Lettering::new(15.0, Ink::Text).bold();
    scene.text(4.0, 20.0, heading.title, title);
    let subtitle = Lettering::new(SIZE, Ink::Muted);
    scene.text(4.0 + title.width(heading.title) + 10.0, 20.0, heading.subtitle, subtitle);
    legend(scene, &heading.legend, 4.0, 32.0)
}

fn legend(scene: &mut Scene, keys: &[Key], left: f32, top: f32) -> f32 {
    const LINE: f32 = 18.0;
    let lettering = Lettering::new(SIZE, Ink::Text);
    let (mut x, mut y) = (left, top + 12.0);
    for key in keys {
        let width = 24.0 + lettering.width(&key.label) + 16.0;
        if x + width > scene.width && x > left {
            x = left;
            y += LINE;
        }
        sign(scene, key, x, y - 4.0);
        scene.text(x + 24.0, y, key.label.clone(), lettering);
        x += width;
    }
    if keys.is_empty() { top } else { y + 8.0 }
}

fn sign(scene: &mut Scene, key: &Key, x: f32, y: f32) {
    let area = Area { left: x, right: x + 18.0, top: y - 6.0, bottom: y + 6.0 };
    match key.sign {
        Sign::Line => scene.rule((x, y), (x + 18.0, y), Stroke::new(key.ink, 2.5)),
        Sign::Mark(shape) => scene.marks(vec![Point { x: x + 9.0, y }], shape, 4.0, key.ink.solid()),
        Sign::Box => scene.rect(area, key.ink.at(0.30)),
        Sign::Solid => scene.rect(area, key.ink.solid()),
        Sign::Fading => {
            for (step, alpha) in [0.30, 0.18, 0.08].into_iter().enumerate() {
                let left = area.left + step as f32 * 6.0;
                scene.rect(Area { left, right: left + 6.0, ..area }, key.ink.at(alpha));
            }
        }
    }
}

/// A red bar at the foot of a plot wherever nobody was answered; times count from `origin_s`.
pub(crate) fn draw_gaps(scene: &mut Scene, service: &Service, frame: &Frame, origin_s: f64) {
    for gap in &service.listed {
        let left = frame.x.at(gap.start_s - origin_s);
        let right = frame.x.at(gap.start_s - origin_s + gap.length_ms / 1e3).max(left + 2.0);
        let area = Area { left, right, top: frame.plot.bottom - 6.0, bottom: frame.plot.bottom };
        let title = format!("no service for {} from {:.3} s", duration(gap.length_ms), gap.start_s);
        scene.titled(title, |scene| scene.rect(area, Ink::Danger.at(0.75)));
    }
}

/// The legend's entry for [`draw_gaps`], if there is anything to explain.
pub(crate) fn gaps_key(service: &Service) -> Option<Key> {
    let label = || format!("{} without service", duration(service.without_ms));
    (service.gaps > 0).then(|| Key { ink: Ink::Danger, sign: Sign::Box, label: label() })
}

/// Height of a picture with `height` pixels of data under a heading and rows that end at `top`.
pub(crate) fn height_below(top: f32, height: f32) -> f32 {
    top + height + 44.0
}

/// How far from the left the data begins, so that all labels fit.
pub(crate) fn left_margin(rows: &[Row]) -> f32 {
    (label_width(rows) + 14.0).max(62.0)
}

/// Rows of phases and faults, then the plot's place with bands of strength `alpha` behind.
pub(crate) fn time_frame(
    scene: &mut Scene,
    rows: &[Row],
    axis: TimeAxis,
    top: f32,
    height: f32,
    alpha: f32,
) -> Frame {
    let x = Scale::linear((axis.from_s, axis.to_s), (left_margin(rows), scene.width - RIGHT));
    let rows_end = draw_rows(scene, rows, &x, top);
    let plot_top = rows_end + if rows.is_empty() { 12.0 } else { 6.0 };
    let plot = Area { left: x.at(x.from()), right: x.at(x.to()), top: plot_top, bottom: plot_top + height };
    draw_bands(scene, rows, &x, plot, alpha);
    Frame { plot, x }
}

/// The time axis below a plot.
pub(crate) fn time_axis(scene: &mut Scene, frame: &Frame, axis: TimeAxis) {
    let (units, unit) = time_units(frame, axis);
    x_ticks(scene, frame.plot, &units, &units.ticks(13));
    x_title(scene, frame.plot, &format!("{unit} since {}", axis.since));
}

/// The lines of the time axis, without labels: for a plot that stands above another.
pub(crate) fn time_grid(scene: &mut Scene, frame: &Frame, axis: TimeAxis) {
    let (units, _) = time_units(frame, axis);
    x_grid(scene, frame.plot, &units, &units.ticks(13));
}

/// Beyond ten minutes, seconds are hard to read.
fn time_units(frame: &Frame, axis: TimeAxis) -> (Scale, &'static str) {
    let (unit_s, unit) = if axis.to_s - axis.from_s > 600.0 { (60.0, "minutes") } else { (1.0, "seconds") };
    (Scale::linear((axis.from_s / unit_s, axis.to_s / unit_s), (frame.plot.left, frame.plot.right)), unit)
}

/// Grid lines through a plot, labels below it.
pub(crate) fn x_ticks(scene: &mut Scene, plot: Area, x: &Scale, ticks: &[Tick]) {
    x_grid(scene, plot, x, ticks);
    let lettering = Lettering::new(SIZE, Ink::Muted).anchored(Anchor::Middle);
    for tick in ticks {
        if let Some(label) = &tick.label {
            let at = x.at(tick.value);
            scene.rule((at, plot.bottom), (at, plot.bottom + 4.0), Stroke::new(Ink::Axis, 1.0));
            scene.text(at, plot.bottom + 17.0, label.clone(), lettering);
        }
    }
}

/// Grid lines through a plot, and the axis below it.
fn x_grid(scene: &mut Scene, plot: Area, x: &Scale, ticks: &[Tick]) {
    for tick in ticks {
        let at = x.at(tick.value);
        scene.rule((at, plot.top), (at, plot.bottom), Stroke::new(Ink::Grid, 1.0));
    }
    scene.rule((plot.left, plot.bottom), (plot.right, plot.bottom), Stroke::new(Ink::Axis, 1.0));
}

/// The words below the labels of an x axis.
pub(crate) fn x_title(scene: &mut Scene, plot: Area, title: &str) {
    let lettering = Lettering::new(SIZE, Ink::Muted).anchored(Anchor::Middle);
    scene.text((plot.left + plot.right) / 2.0, plot.bottom + 35.0, title, lettering);
}

/// Grid lines and labels left of a plot.
pub(crate) fn y_ticks(scene: &mut Scene, plot: Area, y: &Scale, ticks: &[Tick]) {
    let lettering = Lettering::new(SIZE, Ink::Muted).anchored(Anchor::End);
    for tick in ticks {
        let at = y.at(tick.value);
        scene.rule((plot.left, at), (plot.right, at), Stroke::new(Ink::Grid, 1.0));
        if let Some(label) = &tick.label {
            scene.text(plot.left - 8.0, at + 4.0, label.clone(), lettering);
        }
    }
}

/// What stands in a plot that has nothing to show.
pub(crate) fn nothing(scene: &mut Scene, plot: Area, what: &str) {
    let lettering = Lettering::new(15.0, Ink::Muted).anchored(Anchor::Middle);
    scene.text((plot.left + plot.right) / 2.0, (plot.top + plot.bottom) / 2.0, what, lettering);
}

/// A line through the values that are there; it breaks where one is missing, and a lonely value is a dot.
pub(crate) fn broken_line(
    scene: &mut Scene,
    values: impl Iterator<Item = (f32, Option<f32>)>,
    stroke: Stroke,
) {
    let mut part: Vec<Point> = Vec::new();
    let mut finish = |part: &mut Vec<Point>| match part.len() {
        0 => {}
        1 => scene.marks(std::mem::take(part), Shape::Dot, stroke.width * 0.9, stroke.paint),
        _ => scene.line(std::mem::take(part), stroke),
    };
    for (x, y) in values {
        match y {
            Some(y) => part.push(Point { x, y }),
            None => finish(&mut part),
        }
    }
    finish(&mut part);
}
