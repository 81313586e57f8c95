//! How throughput and latency go with the number of clients.

use super::scatter::latency_scale;
use super::{Plot, slug_of};
use crate::comparison::{ComparisonReport, Entry, Figure, P50, P99, THROUGHPUT};
use crate::draw::frame::{Heading, Key, Sign, WIDTH, heading, height_below, x_ticks, x_title, y_ticks};
use crate::draw::ink::Ink;
use crate::draw::scale::{Scale, Tick};
use crate::draw::scene::{Area, Lettering, Point, Scene, Shape, Stroke};
use crate::text::count;
use std::collections::BTreeMap;

const HEIGHT: f32 = 260.0;
/// Two numbers of clients make no curve.
const POINTS_MIN: usize = 3;

/// One subject's runs by number of clients.
type Curve<'a> = BTreeMap<u32, &'a Entry>;
/// The curves of one load, by the subject's number and name.
type Curves<'a> = BTreeMap<(usize, &'a str), Curve<'a>>;

/// For each workload and kind of load that was run with several numbers of clients.
pub(crate) fn plots(report: &ComparisonReport) -> Vec<Plot> {
    let mut loads: Vec<(String, Curves<'_>)> = Vec::new();
    for entry in report.groups.iter().flat_map(|group| &group.entries) {
        let info = &report.cells[entry.cells[0]].info;
        let title = format!("{}, {}", info.workload, info.load);
        let at = loads.iter().position(|(known, _)| *known == title).unwrap_or_else(|| {
            loads.push((title, BTreeMap::new()));
            loads.len() - 1
        });
        loads[at].1.entry((entry.nth, &entry.subject)).or_default().insert(info.clients, entry);
    }
    let curved = loads.iter().filter(|(_, curves)| curves.values().any(|c| c.len() >= POINTS_MIN));
    curved.map(|(title, curves)| plot(report, title, curves)).collect()
}

fn plot(report: &ComparisonReport, title: &str, curves: &Curves<'_>) -> Plot {
    let mut scene = Scene::new(WIDTH, 0.0, format!("Throughput and latency by number of clients, {title}"));
    let heading_title = format!("{title}: by number of clients");
    let key = |&(nth, subject): &(usize, &str)| Key {
        ink: Ink::nth(nth),
        sign: Sign::Line,
        label: subject.to_owned(),
    };
    let legend = curves.keys().map(key).collect();
    let subtitle = "latency: solid median, dashed p99";
    let top = heading(&mut scene, &Heading { title: &heading_title, subtitle, legend }) + 20.0;
    let middle = WIDTH / 2.0;
    let left = Area { left: 70.0, right: middle - 20.0, top, bottom: top + HEIGHT };
    let right = Area { left: middle + 70.0, right: WIDTH - 16.0, ..left };
    let clients: Vec<u32> = curves.values().flat_map(|curve| curve.keys().copied()).collect();
    let scale_of = |area: Area| clients_scale(&clients, (area.left, area.right));
    draw_axis(&mut scene, left, &clients, "ok ops/s");
    draw_axis(&mut scene, right, &clients, "latency");

    let figures = |of: Figure| {
        let entries = curves.values().flat_map(|curve| curve.values());
        entries.filter_map(|entry| report.figure(entry, of)).collect::<Vec<f64>>()
    };
    let high = figures(THROUGHPUT).into_iter().fold(0.0, f64::max);
    let y = Scale::linear((0.0, if high > 0.0 { high * 1.08 } else { 1.0 }), (left.bottom, left.top));
    y_ticks(&mut scene, left, &y, &y.ticks(6));
    let latencies = [figures(P50), figures(P99)].concat();
    let y_ms =
        (!latencies.is_empty()).then(|| latency_scale(latencies.into_iter(), (right.bottom, right.top)));
    if let Some(y) = &y_ms {
        y_ticks(&mut scene, right, y, &y.ticks_ms());
    }
    for (&(nth, _), curve) in curves {
        let ink = Ink::nth(nth);
        draw_curve(&mut scene, report, curve, THROUGHPUT, &scale_of(left), &y, Stroke::new(ink, 2.2));
        if let Some(y) = &y_ms {
            draw_curve(&mut scene, report, curve, P50, &scale_of(right), y, Stroke::new(ink, 2.2));
            draw_curve(&mut scene, report, curve, P99, &scale_of(right), y, Stroke::new(ink, 1.8).dashed());
        }
    }
    scene.height = height_below(top, HEIGHT);
    let caption = "Medians over repeats, of the run phase.";
    Plot { name: format!("{}-by-clients", slug_of(title)), scene, caption: caption.into() }
}

/// Doublings are equally far apart.
fn clients_scale(clients: &[u32], pixels: (f32, f32)) -> Scale {
    let low = clients.iter().min().copied().unwrap_or(1).max(1);
    let high = clients.iter().max().copied().unwrap_or(1).max(1);
    Scale::linear((f64::from(low).log2() - 0.2, f64::from(high).log2() + 0.2), pixels)
}

fn draw_axis(scene: &mut Scene, area: Area, clients: &[u32], title: &str) {
    let x = clients_scale(clients, (area.left, area.right));
    let mut known: Vec<u32> = clients.to_vec();
    known.sort_unstable();
    known.dedup();
    let tick = |n: &u32| Tick { value: f64::from(*n).max(1.0).log2(), label: Some(count(u64::from(*n))) };
    x_ticks(scene, area, &x, &known.iter().map(tick).collect::<Vec<_>>());
    x_title(scene, area, "clients");
    scene.text(area.left, area.top - 8.0, title, Lettering::new(12.0, Ink::Muted).bold());
}

fn draw_curve(
    scene: &mut Scene,
    report: &ComparisonReport,
    curve: &Curve<'_>,
    of: Figure,
    x: &Scale,
    y: &Scale,
    stroke: Stroke,
) {
    let place = |(clients, entry): (&u32, &&Entry)| {
        let value = report.figure(entry, of)?;
        Some(Point { x: x.at(f64::from(*clients).max(1.0).log2()), y: y.at(value) })
    };
    let points: Vec<Point> = curve.iter().filter_map(place).collect();
    scene.marks(points.clone(), Shape::Dot, 3.5, stroke.paint);
    scene.line(points, stroke);
}
