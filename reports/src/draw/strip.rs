//! Phases and faults over time: as rows above a plot, where labels have room, and as bands behind its data.

use super::ink::Ink;
use super::scale::Scale;
use super::scene::{Anchor, Area, Lettering, Scene, Stroke};
use crate::measure::fault::{Family, Fate, FaultSpan};
use crate::measure::perf::Perf;
use crate::text::{count, cut, moment};
use std::collections::BTreeMap;

/// Height of a row, pixels.
pub(crate) const ROW: f32 = 18.0;
/// Beyond so many different faults, each family has one row instead.
const FAULT_ROWS_MAX: usize = 8;
/// Size of all its text.
const SIZE: f32 = 11.0;

/// How strong the bands of one run are.
pub(crate) const BAND: f32 = 0.11;

/// A row: what of one sort was when.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// Stands left of the row.
    pub(crate) label: String,
    /// What it shows, by time.
    pub(crate) bars: Vec<Bar>,
}

/// An interval of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bar {
    pub(crate) from_s: f64,
    pub(crate) to_s: f64,
    pub(crate) look: Look,
    pub(crate) ink: Ink,
    /// Stands in it or beside it, where there is room.
    pub(crate) label: String,
    /// What it says when it is pointed at.
    pub(crate) title: String,
}

/// How a bar looks, which says what became of the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// A phase: no fault.
    Phase,
    /// The fault was in force.
    Solid,
    /// It was in force and never bit.
    Hatched,
    /// It may or may not have been in force.
    Outlined,
}

/// The phases, and a row for each fault by name. `origin_s` becomes 0; what never ended does at `end_s`.
pub(crate) fn rows(perf: &Perf, origin_s: f64, end_s: f64) -> Vec<Row> {
    let mut rows = Vec::new();
    if perf.phases.len() > 1 {
        let bar = |span: &crate::measure::span::PhaseSpan| Bar {
            from_s: span.start_s - origin_s,
            to_s: span.end_s - origin_s,
            look: Look::Phase,
            ink: Ink::Muted,
            label: phase_name(span.phase).to_owned(),
            title: format!(
                "{} from {} to {}",
                phase_name(span.phase),
                moment(span.start_s),
                moment(span.end_s)
            ),
        };
        rows.push(Row { label: "phase".into(), bars: perf.phases.iter().map(bar).collect() });
    }
    rows.extend(fault_rows(perf, origin_s, end_s).into_iter().flat_map(lanes));
    rows
}

/// All faults of a run in one row, or in a few where they overlap, named `label`.
pub(crate) fn subject_rows(perf: &Perf, label: &str, origin_s: f64, end_s: f64) -> Vec<Row> {
    let in_force = perf.faults.iter().map(|f| &f.span).filter(|span| span.was_in_force());
    let bars = in_force.map(|span| Bar { label: span.fault.clone(), ..bar(span, origin_s, end_s) }).collect();
    lanes(Row { label: label.to_owned(), bars })
}

/// Spreads a row over several so that bars do not overlap; one that would take too many is left as it is.
fn lanes(row: Row) -> Vec<Row> {
    const LANES_MAX: usize = 4;
    let mut bars = row.bars.clone();
    bars.sort_by(|a, b| a.from_s.total_cmp(&b.from_s));
    let mut lanes: Vec<Row> = Vec::new();
    for bar in bars {
        let free = lanes.iter().position(|lane| lane.bars.last().is_none_or(|last| last.to_s <= bar.from_s));
        match free {
            Some(lane) => lanes[lane].bars.push(bar),
            None if lanes.len() == LANES_MAX => return vec![row],
            None => {
                let label = if lanes.is_empty() { row.label.clone() } else { String::new() };
                lanes.push(Row { label, bars: vec![bar] });
            }
        }
    }
    if lanes.is_empty() { vec![row] } else { lanes }
}

fn fault_rows(perf: &Perf, origin_s: f64, end_s: f64) -> Vec<Row> {
    let spans: Vec<&FaultSpan> =
        perf.faults.iter().map(|f| &f.span).filter(|span| span.was_in_force()).collect();
    let mut names: Vec<&str> = spans.iter().map(|span| span.fault.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let by_family = names.len() > FAULT_ROWS_MAX;
    let mut rows: BTreeMap<(Family, &str), Row> = BTreeMap::new();
    for span in spans {
        let name = if by_family { span.family.name() } else { &span.fault };
        let row = rows
            .entry((span.family, name))
            .or_insert_with(|| Row { label: name.to_owned(), bars: Vec::new() });
        row.bars.push(bar(span, origin_s, end_s));
    }
    rows.into_values().collect()
}

fn bar(span: &FaultSpan, origin_s: f64, end_s: f64) -> Bar {
    let to = span.end_s.map_or_else(|| "the end".into(), moment);
    let evidence = if span.went.is_empty() { &span.came } else { &span.went };
    Bar {
        from_s: span.start_s - origin_s,
        to_s: span.end_s.map_or(end_s, |end| end - origin_s),
        look: match span.fate {
            Fate::NeverBit => Look::Hatched,
            Fate::Indeterminate => Look::Outlined,
            Fate::Bit | Fate::Unhealed | Fate::Skipped => Look::Solid,
        },
        ink: Ink::of_family(span.family),
        label: match span.fate {
            Fate::NeverBit => format!("{}, never bit", span.targets),
            Fate::Indeterminate => format!("{}?", span.targets),
            Fate::Bit | Fate::Unhealed | Fate::Skipped => span.targets.clone(),
        },
        title: format!(
            "{} on {}, {} to {to}: {}. {evidence}",
            span.fault,
            span.targets,
            moment(span.start_s),
            span.fate.name()
        ),
    }
}

fn phase_name(phase: checkers::history::Phase) -> &'static str {
    match phase {
        checkers::history::Phase::Load => "load",
        checkers::history::Phase::Run => "run",
        checkers::history::Phase::Final => "final reads",
    }
}

/// How much room the rows' labels need.
pub(crate) fn label_width(rows: &[Row]) -> f32 {
    let lettering = Lettering::new(SIZE, Ink::Muted);
    rows.iter().map(|row| lettering.width(&cut(&row.label, LABEL_MAX))).fold(0.0, f32::max)
}

const LABEL_MAX: usize = 26;

/// Draws the rows from `top` down, their labels to the left of the axis; returns where they end.
pub(crate) fn draw_rows(scene: &mut Scene, rows: &[Row], x: &Scale, top: f32) -> f32 {
    let left = x.at(x.from());
    let mut at = top;
    for row in rows {
        let label = cut(&row.label, LABEL_MAX);
        scene.text(left - 8.0, at + 13.0, label, Lettering::new(SIZE, Ink::Muted).anchored(Anchor::End));
        draw_row(scene, row, x, at);
        at += ROW;
    }
    at
}

fn draw_row(scene: &mut Scene, row: &Row, x: &Scale, top: f32) {
    let bars = merged(row, x);
    let right = x.at(x.to());
    for (position, bar) in bars.iter().enumerate() {
        let area = Area { top: top + 2.0, bottom: top + ROW - 2.0, ..bar.area };
        let next = bars.get(position + 1).map_or(right, |next| next.area.left);
        scene.titled(bar.title.clone(), |scene| draw_bar(scene, bar, area, next));
    }
}

fn draw_bar(scene: &mut Scene, bar: &Merged, area: Area, next: f32) {
    match bar.look {
        Look::Phase => {
            scene.rect(area, bar.ink.at(0.10));
            scene.rule((area.left, area.top), (area.left, area.bottom), Stroke::new(bar.ink, 1.0));
        }
        Look::Solid => {
            scene.rect(area, bar.ink.at(0.30));
            scene.rect(Area { right: area.left + 2.0, ..area }, bar.ink.solid());
        }
        Look::Hatched => {
            scene.rect(area, bar.ink.at(0.06));
            scene.hatch(area, Stroke::new(bar.ink, 1.0));
        }
        Look::Outlined => scene.outline(area, Stroke::new(bar.ink, 1.2).dashed()),
    }
    let lettering = Lettering::new(SIZE, Ink::Text);
    let y = area.bottom - 3.0;
    let width = lettering.width(&bar.label);
    let (inside, beside) = (area.width() - 8.0, next - area.right - 7.0);
    // Hatching would strike the words through.
    if bar.look != Look::Hatched && width <= inside {
        scene.text(area.left + 5.0, y, bar.label.clone(), lettering);
    } else if width <= beside {
        scene.text(area.right + 3.0, y, bar.label.clone(), lettering);
    } else if bar.look != Look::Hatched {
        let chars = (inside / width * bar.label.chars().count() as f32) as usize;
        if chars >= 4 {
            scene.text(area.left + 5.0, y, cut(&bar.label, chars), lettering);
        }
    }
}

/// Shades the plot behind its data where faults were, and marks where phases begin.
/// `alpha`: how strong; fainter where bands of several subjects lie over one another.
pub(crate) fn draw_bands(scene: &mut Scene, rows: &[Row], x: &Scale, plot: Area, alpha: f32) {
    for row in rows {
        for bar in merged(row, x) {
            let area = Area { top: plot.top, bottom: plot.bottom, ..bar.area };
            match bar.look {
                Look::Phase => {
                    if area.left > plot.left + 1.0 {
                        let stroke = Stroke::new(Ink::Axis, 1.0).dashed();
                        scene.rule((area.left, plot.top), (area.left, plot.bottom), stroke);
                    }
                }
                // A storm that never ends would drown the data.
                Look::Solid if bar.count > 1 => scene.rect(area, bar.ink.at(alpha * 0.4)),
                Look::Solid => scene.rect(area, bar.ink.at(alpha)),
                Look::Hatched => {
                    let stroke = Stroke { paint: bar.ink.at(0.25), ..Stroke::new(bar.ink, 1.0) };
                    scene.hatch(area, stroke);
                }
                Look::Outlined => {
                    let stroke = Stroke { paint: bar.ink.at(0.5), ..Stroke::new(bar.ink, 1.0).dashed() };
                    scene.outline(area, stroke);
                }
            }
        }
    }
}

/// A bar, or several that would touch, on the page.
struct Merged {
    area: Area,
    look: Look,
    ink: Ink,
    label: String,
    title: String,
    count: u64,
}

/// Thousands of faults become as many bars as there is room for.
fn merged(row: &Row, x: &Scale) -> Vec<Merged> {
    const WIDTH_MIN: f32 = 2.5;
    let mut bars: Vec<&Bar> =
        row.bars.iter().filter(|bar| bar.to_s >= x.from() && bar.from_s <= x.to()).collect();
    bars.sort_by(|a, b| a.from_s.total_cmp(&b.from_s));
    let mut out: Vec<Merged> = Vec::new();
    for bar in bars {
        let left = x.at(bar.from_s);
        let right = x.at(bar.to_s).max(left + WIDTH_MIN);
        if let Some(last) = out.last_mut()
            && left < last.area.right + 1.0
            && bar.look != Look::Phase
        {
            last.area.right = last.area.right.max(right);
            last.count += 1;
            last.label = format!("{} faults", count(last.count));
            last.title = format!("{}: {} faults, too close to draw one by one", row.label, count(last.count));
            if bar.look == Look::Solid {
                last.look = Look::Solid;
            }
            continue;
        }
        let area = Area { left, right, top: 0.0, bottom: 0.0 };
        let (label, title) = (bar.label.clone(), bar.title.clone());
        out.push(Merged { area, look: bar.look, ink: bar.ink, label, title, count: 1 });
    }
    out
}
