//! Single figures of several subjects as bars, with their values.

use super::{Plot, slug};
use crate::comparison::{ComparisonReport, Entry, Figure, Group, P50, P99, THROUGHPUT, WITHOUT_SERVICE};
use crate::draw::frame::{Heading, WIDTH, heading};
use crate::draw::ink::Ink;
use crate::draw::scene::{Anchor, Area, Lettering, Point, Scene, Shape, Stroke};
use crate::text::{cut, duration, number};

const BAR: f32 = 20.0;
const STEP: f32 = 28.0;
const LABEL: Lettering = Lettering { size: 12.0, bold: false, ink: Ink::Text, anchor: Anchor::Start };
const LABEL_CHARS_MAX: usize = 24;

/// One of the four panels.
struct Panel {
    title: &'static str,
    of: Figure,
    words: fn(f64) -> String,
}

const PANELS: [Panel; 4] = [
    Panel { title: "throughput, ok ops/s (more is better)", of: THROUGHPUT, words: number },
    Panel { title: "time without service (less is better)", of: WITHOUT_SERVICE, words: duration },
    Panel { title: "median latency (less is better)", of: P50, words: duration },
    Panel { title: "p99 latency (less is better)", of: P99, words: duration },
];

/// Draws a group.
pub(crate) fn plot(report: &ComparisonReport, nth: usize, group: &Group) -> Plot {
    let mut scene = Scene::new(WIDTH, 0.0, format!("Throughput, latency and availability, {}", group.title));
    let title = format!("{}: in figures", group.title);
    let repeated = group.entries.iter().any(|entry| entry.cells.len() > 1);
    let subtitle = if repeated { "medians over repeats; dots are single runs" } else { "of the run phase" };
    let top = heading(&mut scene, &Heading { title: &title, subtitle, legend: Vec::new() }) + 8.0;
    let panel_height = 26.0 + group.entries.len() as f32 * STEP + 12.0;
    for (at, panel) in PANELS.iter().enumerate() {
        let (column, row) = ((at % 2) as f32, (at / 2) as f32);
        let left = 4.0 + column * (WIDTH / 2.0);
        let area = Area {
            left,
            right: left + WIDTH / 2.0 - 24.0,
            top: top + row * panel_height,
            bottom: top + (row + 1.0) * panel_height,
        };
        draw_panel(&mut scene, report, group, panel, area);
    }
    scene.height = top + 2.0 * panel_height;
    Plot { name: format!("{}-figures", slug(nth, group)), scene, caption: String::new() }
}

fn draw_panel(scene: &mut Scene, report: &ComparisonReport, group: &Group, panel: &Panel, area: Area) {
    scene.text(area.left, area.top + 14.0, panel.title, Lettering::new(12.0, Ink::Muted).bold());
    let labels = group.entries.iter().map(|e| LABEL.width(&cut(&e.subject, LABEL_CHARS_MAX)));
    let left = area.left + labels.fold(0.0, f32::max) + 10.0;
    let values = group.entries.iter().flat_map(|entry| &entry.cells);
    let high = values.filter_map(|&at| (panel.of)(&report.cells[at].perf)).fold(0.0, f64::max);
    // Room for the value behind the longest bar.
    let room = area.right - left - 130.0;
    let place = |value: f64| left + if high > 0.0 { (value / high) as f32 * room } else { 0.0 };
    for (at, entry) in group.entries.iter().enumerate() {
        let top = area.top + 26.0 + at as f32 * STEP;
        let middle = top + BAR / 2.0;
        scene.text(
            left - 8.0,
            middle + 4.0,
            cut(&entry.subject, LABEL_CHARS_MAX),
            LABEL.anchored(Anchor::End),
        );
        let Some(value) = report.figure(entry, panel.of) else {
            scene.text(left + 6.0, middle + 4.0, "no op completed", Lettering { ink: Ink::Muted, ..LABEL });
            continue;
        };
        let right = place(value).max(left + 1.0);
        let ink = Ink::nth(entry.nth);
        scene.rect(Area { left, right, top, bottom: top + BAR }, ink.at(0.75));
        let end = draw_repeats(scene, report, entry, panel.of, place, middle).max(right);
        let mut words = (panel.words)(value);
        if let Some(ratio) = report.ratio(group, at, panel.of) {
            words += &format!("  ({ratio})");
        }
        scene.text(end + 8.0, middle + 4.0, words, LABEL.bold());
    }
    scene.rule((left, area.top + 22.0), (left, area.bottom - 12.0), Stroke::new(Ink::Axis, 1.0));
}

/// A dot for each run, if there are several; returns where the last one lies.
fn draw_repeats(
    scene: &mut Scene,
    report: &ComparisonReport,
    entry: &Entry,
    of: Figure,
    place: impl Fn(f64) -> f32,
    y: f32,
) -> f32 {
    if entry.cells.len() < 2 {
        return 0.0;
    }
    let values = entry.cells.iter().filter_map(|&at| of(&report.cells[at].perf));
    let dots: Vec<Point> = values.map(|value| Point { x: place(value), y }).collect();
    let end = dots.iter().map(|dot| dot.x).fold(0.0, f32::max);
    scene.marks(dots, Shape::Dot, 3.0, Ink::Text.solid());
    end
}
