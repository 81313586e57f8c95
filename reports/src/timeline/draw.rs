//! The picture: one lane for each process, one bar for each op.

use super::layout::Stretched;
use crate::draw::frame::{Heading, Key, Sign, heading};
use crate::draw::ink::Ink;
use crate::draw::scale::Scale;
use crate::draw::scene::{Anchor, Area, Lettering, Point, Scene, Shape, Stroke};
use crate::draw::strip::{BAND, Row, draw_bands, draw_rows, label_width, rows};
use crate::measure::perf::Perf;
use crate::text::{cut, sentence};
use checkers::verdict::{Evidence, WindowOp};
use std::collections::BTreeMap;

const LANE: f32 = 46.0;
const BAR: f32 = 26.0;
const LABEL: Lettering = Lettering { size: 13.0, bold: false, ink: Ink::Text, anchor: Anchor::Start };
const STATE: Lettering = Lettering { size: 11.0, bold: false, ink: Ink::Muted, anchor: Anchor::Start };
/// Labels longer than this are cut; pointing at the op shows the whole.
const LABEL_CHARS_MAX: usize = 48;
/// A story longer than this is cut.
const STORY_CHARS_MAX: usize = 1500;
/// Least width of a picture, so that its heading has room.
const WIDTH_MIN: f32 = 1120.0;

/// What to draw.
pub(crate) struct Timeline<'a> {
    pub(crate) evidence: &'a Evidence,
    /// Positions in the evidence's window, ascending.
    pub(crate) shown: &'a [usize],
    pub(crate) perf: &'a Perf,
    /// Whether the story stands in the picture, too.
    pub(crate) with_story: bool,
}

/// An op with its place on the longest order that explains the history, if it is on it.
struct Shown<'a> {
    op: &'a WindowOp,
    /// Counting from 1.
    ordinal: Option<usize>,
}

/// Draws the timeline.
pub(crate) fn timeline(what: &Timeline<'_>) -> Scene {
    let evidence = what.evidence;
    let order = evidence.prefixes.first().map_or(&[][..], Vec::as_slice);
    let ordinal_of: BTreeMap<usize, usize> = order.iter().map(|&at| at as usize).zip(1..).collect();
    let shown: Vec<Shown<'_>> = what
        .shown
        .iter()
        .filter_map(|&at| Some(Shown { op: evidence.window.get(at)?, ordinal: ordinal_of.get(&at).copied() }))
        .collect();
    let ops: Vec<&WindowOp> = shown.iter().map(|s| s.op).collect();
    let lanes = lanes(&ops);
    let left = left(what.perf, &ops, &lanes);
    let ordinals: BTreeMap<u64, Option<usize>> = shown.iter().map(|s| (s.op.index, s.ordinal)).collect();
    let x = Stretched::new(&ops, left, |op| words_width(op, ordinals[&op.index]));
    let mut scene = Scene::new((x.right + 16.0).max(WIDTH_MIN), 0.0, description(evidence));
    let top = write_heading(&mut scene, what, &shown);
    let rows = fault_rows(what.perf, &x);
    let places = Scale::linear((f64::from(left), f64::from(x.right)), (left, x.right));
    let top = draw_rows(&mut scene, &rows, &places, top) + 22.0;
    let plot = Area { left, right: x.right, top, bottom: top + lanes.len() as f32 * LANE + 4.0 };
    draw_bands(&mut scene, &rows, &places, plot, BAND);
    draw_axis(&mut scene, &x, plot);
    for (&process, &lane) in &lanes {
        let y = plot.top + lane as f32 * LANE;
        let label = LABEL.anchored(Anchor::End);
        scene.text(left - 10.0, y + 4.0 + BAR / 2.0 + 5.0, format!("process {process}"), label);
        scene.rule((left, y + LANE + 2.0), (x.right, y + LANE + 2.0), Stroke::new(Ink::Grid, 1.0));
    }
    let lane_top = |op: &WindowOp| plot.top + lanes[&op.process] as f32 * LANE + 4.0;
    let order = order_points(&shown, &x, lane_top);
    let thin = Stroke { paint: Ink::Hue(0).at(0.35), ..Stroke::new(Ink::Hue(0), 1.4) };
    scene.line(order.clone(), thin);
    for one in &shown {
        draw_op(&mut scene, one, &x, lane_top(one.op));
    }
    scene.marks(order, Shape::Dot, 3.0, Ink::Hue(0).solid());
    scene.height = plot.bottom + 12.0;
    scene
}

fn description(evidence: &Evidence) -> String {
    format!("Operations on {} around the violation. {}", evidence.object, evidence.story)
}

/// A lane for each process, in the order of first invocations.
fn lanes(ops: &[&WindowOp]) -> BTreeMap<u32, usize> {
    let mut by_time = ops.to_vec();
    by_time.sort_by_key(|op| (op.invoked, op.index));
    let mut lanes = BTreeMap::new();
    for op in by_time {
        let next = lanes.len();
        lanes.entry(op.process).or_insert(next);
    }
    lanes
}

fn left(perf: &Perf, ops: &[&WindowOp], lanes: &BTreeMap<u32, usize>) -> f32 {
    let processes = lanes.keys().map(|p| LABEL.width(&format!("process {p}"))).fold(0.0, f32::max);
    let faults = label_width(&fault_rows(perf, &Stretched::new(ops, 0.0, |_| 0.0)));
    processes.max(faults) + 20.0
}

fn words_width(op: &WindowOp, ordinal: Option<usize>) -> f32 {
    let label = Lettering { bold: op.culprit, ..LABEL }.width(&cut(&op.label, LABEL_CHARS_MAX));
    (label + 16.0).max(STATE.width(&state_words(op, ordinal)) + 12.0)
}

fn state_words(op: &WindowOp, ordinal: Option<usize>) -> String {
    match (ordinal, &op.state) {
        (Some(nth), Some(state)) => format!("{nth}. then {}", cut(state, LABEL_CHARS_MAX)),
        (Some(nth), None) => format!("{nth}."),
        (None, _) => String::new(),
    }
}

fn write_heading(scene: &mut Scene, what: &Timeline<'_>, shown: &[Shown<'_>]) -> f32 {
    let mut legend =
        vec![Key { ink: Ink::Danger, sign: Sign::Solid, label: "cannot be explained together".into() }];
    let ordered = shown.iter().any(|s| s.ordinal.is_some());
    if ordered {
        let label = "on the longest order that explains the history: place in it, and the state then";
        legend.push(Key { ink: Ink::Hue(0), sign: Sign::Box, label: label.into() });
    }
    let label = if ordered { "not on it" } else { "other ops" };
    legend.push(Key { ink: Ink::Fail, sign: Sign::Box, label: label.into() });
    if shown.iter().any(|s| s.op.returned.is_none()) {
        legend.push(Key { ink: Ink::Fail, sign: Sign::Fading, label: "never returned".into() });
    }
    let title = format!("Around the violation on {}", cut(&what.evidence.object, 60));
    let all = what.evidence.window.len();
    let subtitle = if shown.len() < all {
        format!("the {} of {all} ops nearest to it; time is stretched until labels fit", shown.len())
    } else {
        format!("{all} ops; time is stretched until labels fit")
    };
    let mut top = heading(scene, &Heading { title: &title, subtitle: &subtitle, legend });
    if what.with_story {
        for line in wrapped(&sentence(&what.evidence.story, STORY_CHARS_MAX), scene.width - 8.0) {
            top += 19.0;
            scene.text(4.0, top, line, LABEL);
        }
        top += 10.0;
    }
    top + 4.0
}

/// Breaks text into lines of at most `width` pixels.
fn wrapped(text: &str, width: f32) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is a first line");
        let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if LABEL.width(&longer) > width && !line.is_empty() {
            lines.push(word.to_owned());
        } else {
            *line = longer;
        }
    }
    lines
}

/// The faults that were in force meanwhile, with places instead of times.
pub(crate) fn fault_rows(perf: &Perf, x: &Stretched) -> Vec<Row> {
    let Some((first, last)) = x.times() else { return Vec::new() };
    let (first_s, last_s) = (first as f64 / 1e9, last as f64 / 1e9);
    let place = |s: f64| {
        if s > last_s { f64::from(x.right) } else { f64::from(x.at((s.max(0.0) * 1e9) as u64)) }
    };
    let mut rows = rows(perf, 0.0, f64::MAX);
    rows.retain(|row| row.label != "phase");
    let mut name = String::new();
    for row in &mut rows {
        // What overlaps has several rows, and only the first has the name: which may be left empty here.
        if row.label.is_empty() {
            row.label = std::mem::take(&mut name);
        }
        row.bars.retain(|bar| bar.from_s <= last_s && bar.to_s >= first_s);
        for bar in &mut row.bars {
            (bar.from_s, bar.to_s) = (place(bar.from_s), place(bar.to_s));
        }
        name = if row.bars.is_empty() { row.label.clone() } else { String::new() };
    }
    rows.retain(|row| !row.bars.is_empty());
    rows
}

fn draw_axis(scene: &mut Scene, x: &Stretched, plot: Area) {
    let Some((first, _)) = x.times() else { return };
    let lettering = Lettering::new(11.0, Ink::Muted);
    for (position, (time, at)) in x.ticks(100.0).into_iter().enumerate() {
        scene.rule((at, plot.top - 4.0), (at, plot.bottom), Stroke::new(Ink::Grid, 1.0));
        let label = if position == 0 {
            format!("{:.6} s", time as f64 / 1e9)
        } else {
            format!("+{:.3} ms", (time - first) as f64 / 1e6)
        };
        scene.text(at + 2.0, plot.top - 7.0, label, lettering);
    }
}

/// Where each op on the longest order may have taken effect: within its bar, and after the one before it.
fn order_points(shown: &[Shown<'_>], x: &Stretched, lane_top: impl Fn(&WindowOp) -> f32) -> Vec<Point> {
    let mut ordered: Vec<(usize, &WindowOp)> =
        shown.iter().filter_map(|s| Some((s.ordinal?, s.op))).collect();
    ordered.sort_by_key(|(nth, _)| *nth);
    let mut points: Vec<Point> = Vec::new();
    for (_, op) in ordered {
        let latest = op.returned.map_or(x.right, |time| x.at(time));
        let after = points.last().map_or(0.0, |last| last.x + 2.0);
        points.push(Point { x: after.max(x.at(op.invoked) + 3.0).min(latest), y: lane_top(op) + BAR });
    }
    points
}

fn draw_op(scene: &mut Scene, one: &Shown<'_>, x: &Stretched, top: f32) {
    let op = one.op;
    let (ink, alpha) = match (op.culprit, one.ordinal) {
        (true, _) => (Ink::Danger, 1.0),
        (false, Some(_)) => (Ink::Hue(0), 0.22),
        (false, None) => (Ink::Fail, 0.18),
    };
    let left = x.at(op.invoked);
    let right = op.returned.map_or(x.right, |time| x.at(time.max(op.invoked))).max(left + 3.0);
    let area = Area { left, right, top, bottom: top + BAR };
    scene.titled(title(op), |scene| {
        // On paper: lines and bands behind would make the words harder to read.
        if op.returned.is_some() {
            scene.rect(area, Ink::Paper.solid());
            scene.rect(area, ink.at(alpha));
            scene.outline(area, Stroke::new(ink, 1.0));
        } else {
            fade(scene, area, ink, alpha, words_width(op, one.ordinal));
        }
        let ink = if op.culprit { Ink::OnDanger } else { Ink::Text };
        let label = Lettering { bold: op.culprit, ink, ..LABEL };
        scene.text(left + 7.0, top + BAR / 2.0 + 5.0, cut(&op.label, LABEL_CHARS_MAX), label);
        let state = state_words(op, one.ordinal);
        if !state.is_empty() {
            scene.text(left + 9.0, top + BAR + 12.0, state, STATE);
        }
    });
}

fn title(op: &WindowOp) -> String {
    let until = match op.returned {
        Some(time) => {
            format!("to {:.6} s, {:.3} ms", time as f64 / 1e9, (time.saturating_sub(op.invoked)) as f64 / 1e6)
        }
        None => "and never returned: it may take effect at any later time".to_owned(),
    };
    format!(
        "process {}: {}, from {:.6} s {until} (entry {})",
        op.process,
        op.label,
        op.invoked as f64 / 1e9,
        op.index
    )
}

/// A bar that never ends: whole behind its words, then fainter and fainter.
fn fade(scene: &mut Scene, area: Area, ink: Ink, alpha: f32, words: f32) {
    const STEPS: usize = 24;
    let whole = (area.left + words).min(area.right);
    scene.rect(Area { right: whole, ..area }, Ink::Paper.solid());
    scene.rect(Area { right: whole, ..area }, ink.at(alpha));
    scene.rule((area.left, area.top), (area.left, area.bottom), Stroke::new(ink, 2.0));
    let step = (area.right - whole) / STEPS as f32;
    for at in 0..STEPS {
        let left = whole + at as f32 * step;
        let share = 1.0 - (at as f32 + 0.5) / STEPS as f32;
        let slice = Area { left, right: left + step, ..area };
        scene.rect(slice, Ink::Paper.at(share));
        scene.rect(slice, ink.at(alpha * share));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::svg::svg;
    use crate::stored::CpuUse;
    use checkers::history::{FaultEvent, FaultStage};

    const MS: u64 = 1_000_000;

    fn op(process: u32, label: &str, from_ms: u64, to_ms: Option<u64>) -> WindowOp {
        WindowOp {
            index: from_ms,
            process,
            label: label.into(),
            invoked: from_ms * MS,
            returned: to_ms.map(|ms| ms * MS),
            culprit: false,
            state: None,
        }
    }

    #[test]
    fn a_stale_read_in_four_ops() {
        let mut window = vec![
            op(1, "write 1", 0, Some(2)),
            op(2, "write 2", 1, None),
            op(3, "read → 2", 3, Some(5)),
            op(1, "read → 1", 6, Some(7)),
        ];
        window[0].state = Some("1".into());
        window[1].state = Some("2".into());
        window[2].culprit = true;
        window[3].culprit = true;
        let evidence = Evidence {
            object: "key 4".into(),
            story: "Process 1 read 1 after process 3 had read 2, which overwrote it.".into(),
            window,
            prefixes: vec![vec![0, 1]],
        };
        let event = |stage| FaultEvent {
            id: 1,
            fault: "pause".into(),
            line: None,
            targets: "n2".into(),
            stage,
            detail: String::new(),
        };
        let faults = [(2 * MS, event(FaultStage::Installed)), (4 * MS, event(FaultStage::Healed))];
        let perf = Perf::of(&[], &faults, &[], &CpuUse::default());
        let scene =
            timeline(&Timeline { evidence: &evidence, shown: &[0, 1, 2, 3], perf: &perf, with_story: true });
        insta::assert_snapshot!(svg(&scene, true).replace("><", ">\n<"));
    }
}
