//! The picture: a line for each replica, time from left to right.

use super::excerpt::Excerpts;
use super::layout::{Bar, Layout, OP_LABEL};
use super::legend::{inks, legend};
use super::marks::{Taken, arrow};
use super::view::{Fate, Reign, Turn, TurnKind, View};
use crate::draw::frame::{Heading, WIDTH, heading};
use crate::draw::ink::Ink;
use crate::draw::scale::Scale;
use crate::draw::scene::{Anchor, Area, Lettering, Point, Scene, Shape, Stroke};
use crate::draw::strip::{BAND, draw_bands, draw_rows, label_width};
use crate::measure::perf::Perf;
use crate::measure::span::Span;
use crate::text::duration;
use crate::timeline::draw::fault_rows;
use crate::timeline::layout::Stretched;
use crate::trace::Trace;
use std::collections::BTreeMap;

/// Right of the last instant.
const RIGHT: f32 = 18.0;
/// Near neighbours in time are at least, and long silences at most, so wide: shares of the average.
const GAPS: (f32, f32) = (0.35, 9.0);
const NAME: Lettering = Lettering { size: 13.0, bold: true, ink: Ink::Text, anchor: Anchor::End };
const WORDS: Lettering = Lettering { size: 11.0, bold: false, ink: Ink::Muted, anchor: Anchor::Start };
/// Whoever leads has a thick line.
pub(super) const REIGN: Ink = Ink::Text;
const REIGN_LABEL: Lettering = Lettering { size: 10.0, bold: true, ink: Ink::Paper, anchor: Anchor::Start };

/// What pictures are made of.
pub(crate) struct Picture<'a> {
    pub(crate) trace: &'a Trace,
    pub(crate) ops: &'a [checkers::history::Op],
    pub(crate) checks: &'a [checkers::CheckResult],
    pub(crate) replicas: u32,
    pub(crate) perf: &'a Perf,
    pub(crate) excerpts: &'a Excerpts,
}

impl Picture<'_> {
    fn view(&self, span: Span) -> View<'_> {
        View::of(&self.trace.events, self.ops, self.checks, self.replicas, span)
    }
}

/// Draws one excerpt, counting from 1.
pub(crate) fn close_up(what: &Picture<'_>, number: usize) -> Scene {
    let span = what.excerpts.close_ups[number - 1].span;
    let view = what.view(span);
    let inks = inks(&what.trace.events);
    let mut scene = Scene::new(WIDTH, 0.0, description(span));
    let title = format!("{} to {}", seconds(span.start), seconds(span.end));
    let title = if what.excerpts.close_ups.len() > 1 { format!("{number}: {title}") } else { title };
    let subtitle = format!(
        "{} of virtual time, {} messages; silence is shortened, so time is not to scale",
        duration(span.length() as f64 / 1e6),
        view.messages.len()
    );
    let legend = legend(&view, &inks);
    let top = heading(&mut scene, &Heading { title: &title, subtitle: &subtitle, legend });
    let apart = (430.0 / view.replicas.len() as f32).clamp(56.0, 120.0);
    let x = |left: f32| Stretched::filling(instants(&view), (left, WIDTH - RIGHT), GAPS);
    let (layout, x) = frame(&mut scene, &view, what, (top, apart), x);
    draw_ticks(&mut scene, &x, layout.plot);
    draw_lives(&mut scene, &view, &x, &layout);
    let arrows: Vec<_> = view.messages.iter().map(|message| arrow(message, span, &x, &layout)).collect();
    let pairs = || view.messages.iter().zip(&arrows);
    for repeats in [true, false] {
        for (message, arrow) in pairs().filter(|(message, _)| message.repeats == repeats) {
            arrow.draw(&mut scene, inks[message.kind]);
        }
    }
    let mut taken = Taken::default();
    draw_turns(&mut scene, &view, &x, &layout, &mut taken);
    draw_ops(&mut scene, &layout, &mut taken);
    for (_, line) in layout.lines() {
        taken.take(Area { left: 0.0, right: WIDTH, top: line - 2.0, bottom: line + 2.0 });
    }
    // What came last explains the most.
    for (message, arrow) in pairs().rev().filter(|(message, _)| !message.repeats) {
        arrow.write(&mut scene, inks[message.kind], &mut taken);
    }
    draw_found(&mut scene, what.excerpts, span, &x, layout.plot);
    scene.height = layout.plot.bottom + 44.0;
    scene
}

/// Draws where the excerpts lie in the run: no messages, and of the ops those in question.
pub(crate) fn overview(what: &Picture<'_>, span: Span) -> Scene {
    let mut view = what.view(span);
    view.messages.clear();
    view.durable.clear();
    view.ops.retain(|op| op.culprit);
    let mut scene = Scene::new(WIDTH, 0.0, description(span));
    let title = format!("{} to {}", seconds(span.start), seconds(span.end));
    let subtitle = "faults, who led, and who was down or paused; what is framed is drawn closely below";
    let top =
        heading(&mut scene, &Heading { title: &title, subtitle, legend: legend(&view, &BTreeMap::new()) });
    let x = |left: f32| {
        let ends = vec![span.start, span.end];
        Stretched::filling(ends, (left, WIDTH - RIGHT), GAPS)
    };
    let (layout, x) = frame(&mut scene, &view, what, (top, 24.0), x);
    let scale = Scale::linear(
        (span.start as f64 / 1e9, span.end as f64 / 1e9),
        (layout.plot.left, layout.plot.right),
    );
    crate::draw::frame::x_ticks(&mut scene, layout.plot, &scale, &scale.ticks(13));
    crate::draw::frame::x_title(&mut scene, layout.plot, "seconds since the run began");
    draw_lives(&mut scene, &view, &x, &layout);
    draw_turns(&mut scene, &view, &x, &layout, &mut Taken::default());
    draw_ops(&mut scene, &layout, &mut Taken::default());
    for (number, excerpt) in (1..).zip(&what.excerpts.close_ups) {
        let (left, right) = (x.at(excerpt.span.start), x.at(excerpt.span.end));
        let area = Area { left, right: right.max(left + 4.0), ..layout.plot };
        scene.titled(excerpt.shows.clone(), |scene| {
            scene.rect(area, Ink::Hue(0).at(0.12));
            scene.outline(area, Stroke::new(Ink::Hue(0), 1.4));
            if what.excerpts.close_ups.len() > 1 {
                let lettering = Lettering::new(12.0, Ink::Hue(0)).bold().anchored(Anchor::End);
                scene.text(area.left - 3.0, area.top + 11.0, number.to_string(), lettering);
            }
        });
    }
    draw_found(&mut scene, what.excerpts, span, &x, layout.plot);
    scene.height = layout.plot.bottom + 44.0;
    scene
}

/// Fault rows, bands, and the replicas' names; `x` is made once it is known how wide the names are.
fn frame<'a>(
    scene: &mut Scene,
    view: &'a View<'_>,
    what: &Picture<'_>,
    (top, apart): (f32, f32),
    x: impl Fn(f32) -> Stretched,
) -> (Layout<'a>, Stretched) {
    let left = (label_width(&fault_rows(what.perf, &x(0.0))) + 16.0).max(48.0);
    let x = x(left);
    let rows = fault_rows(what.perf, &x);
    let places = Scale::linear((f64::from(left), f64::from(x.right)), (left, x.right));
    let top = draw_rows(scene, &rows, &places, top) + 6.0;
    let layout = Layout::of(view, &x, left, top, apart);
    draw_bands(scene, &rows, &places, layout.plot, BAND * 0.4);
    for (replica, line) in layout.lines() {
        scene.text(left - 10.0, line + 4.5, format!("n{replica}"), NAME);
    }
    (layout, x)
}

fn seconds(at: u64) -> String {
    format!("{:.3} s", at as f64 / 1e9)
}

fn description(span: Span) -> String {
    format!("What each replica did from {} to {} of the run.", seconds(span.start), seconds(span.end))
}

/// All that has a place of its own in the picture.
fn instants(view: &View<'_>) -> Vec<u64> {
    let ended = |fate| match fate {
        Fate::Received(at) | Fate::Lost(at, _) => Some(at),
        Fate::UnderWay => None,
    };
    let messages = view.messages.iter().flat_map(|m| [Some(m.sent), ended(m.fate)]).flatten();
    let ops = view.ops.iter().flat_map(|op| [Some(op.invoked), op.returned]).flatten();
    let turns = view.turns.iter().map(|turn| turn.at);
    let reigns = view.reigns.iter().flat_map(|reign| [reign.span.start, reign.span.end]);
    let all = messages.chain(ops).chain(turns).chain(reigns).filter(|at| view.span.contains(*at));
    all.chain([view.span.start, view.span.end]).collect()
}

fn draw_ticks(scene: &mut Scene, x: &Stretched, plot: Area) {
    let Some((first, _)) = x.times() else { return };
    let lettering = Lettering::new(11.0, Ink::Muted).anchored(Anchor::Middle);
    for (position, (time, at)) in x.ticks(88.0).into_iter().enumerate() {
        scene.rule((at, plot.top), (at, plot.bottom + 4.0), Stroke::new(Ink::Grid, 1.0));
        let label = if position == 0 {
            format!("{:.6} s", time as f64 / 1e9)
        } else {
            format!("+{:.3} ms", (time - first) as f64 / 1e6)
        };
        let middle = at.min(scene.width - lettering.width(&label) / 2.0 - 2.0);
        scene.text(middle, plot.bottom + 17.0, label, lettering);
    }
    scene.rule((plot.left, plot.bottom), (plot.right, plot.bottom), Stroke::new(Ink::Axis, 1.0));
    let title = "seconds since the run began, and milliseconds after that";
    scene.text((plot.left + plot.right) / 2.0, plot.bottom + 35.0, title, lettering);
}

/// The replicas' lines: whole while they are up, a hatched band while down, a full one while paused.
fn draw_lives(scene: &mut Scene, view: &View<'_>, x: &Stretched, layout: &Layout<'_>) {
    for (replica, line) in layout.lines() {
        scene.rule((layout.plot.left, line), (layout.plot.right, line), Stroke::new(Ink::Axis, 2.0));
        for reign in view.reigns.iter().filter(|reign| reign.replica == replica) {
            draw_reign(scene, reign, line, view.span, x);
        }
        for absence in view.absences.iter().filter(|absence| absence.replica == replica) {
            let left = x.at(absence.span.start.max(view.span.start));
            let right = x.at(absence.span.end.min(view.span.end)).max(left + 1.5);
            let area = Area { left, right, top: line - 5.0, bottom: line + 5.0 };
            let words = absence.down.map_or("paused".to_owned(), |why| format!("down: {why}"));
            let until = match absence.span.end {
                u64::MAX => "to the end".to_owned(),
                end => format!("to {}", seconds(end)),
            };
            let title = format!("n{replica} is {words}, from {} {until}", seconds(absence.span.start));
            scene.titled(title, |scene| {
                scene.rect(area, Ink::Paper.solid());
                if absence.down.is_some() {
                    scene.rect(area, Ink::Text.at(0.10));
                    scene.hatch(area, Stroke { paint: Ink::Text.at(0.55), ..Stroke::new(Ink::Text, 1.0) });
                } else {
                    scene.rect(area, Ink::Hue(1).at(0.45));
                }
            });
        }
    }
}

/// A thick line, with the number of the epoch where there is room for it.
fn draw_reign(scene: &mut Scene, reign: &Reign, line: f32, span: Span, x: &Stretched) {
    let left = x.at(reign.span.start.max(span.start));
    let right = x.at(reign.span.end.min(span.end)).max(left + 1.5);
    let Reign { replica, epoch, role, .. } = reign;
    let title = format!("n{replica} is {role} in {epoch}, from {}", seconds(reign.span.start));
    scene.titled(title, |scene| {
        let area = Area { left, right, top: line - 2.5, bottom: line + 2.5 };
        scene.rect(area, REIGN.at(0.9));
        let words = epoch.to_string();
        let width = REIGN_LABEL.width(&words) + 6.0;
        if right - left > width + 4.0 {
            let area = Area { left, right: left + width, top: line - 6.5, bottom: line + 6.5 };
            scene.rect(area, REIGN.solid());
            scene.text(left + 3.0, line + 4.0, words, REIGN_LABEL);
        }
    });
}

fn draw_turns(scene: &mut Scene, view: &View<'_>, x: &Stretched, layout: &Layout<'_>, taken: &mut Taken) {
    for (replica, at, before) in &view.durable {
        let place = Point { x: x.at(*at), y: layout.line(*replica) };
        let title = format!("n{replica} has all records before @{before} on disk, {:.6} s", *at as f64 / 1e9);
        scene.titled(title, |scene| scene.marks(vec![place], Shape::Dot, 3.0, Ink::Hue(6).solid()));
    }
    for Turn { replica, at, kind, words } in &view.turns {
        let place = Point { x: x.at(*at), y: layout.line(*replica) };
        let paint = Ink::Text.solid();
        scene.titled(format!("n{replica} {words}, {:.6} s", *at as f64 / 1e9), |scene| match kind {
            TurnKind::Stops => scene.marks(vec![place], Shape::Cross, 5.5, paint),
            TurnKind::Starts => scene.marks(vec![place], Shape::Triangle, 6.0, paint),
            TurnKind::Pauses => scene.marks(vec![place], Shape::Dot, 2.0, paint),
        });
        let (left, y) = (place.x + 8.0, place.y + 15.0);
        let area = Area { left, right: left + WORDS.width(words), top: y - 9.0, bottom: y + 3.0 };
        if taken.is_free(area) && area.right <= layout.plot.right {
            taken.take(area);
            scene.rect(area, Ink::Paper.at(0.82));
            scene.text(left, y, words.clone(), WORDS);
        }
    }
}

fn draw_ops(scene: &mut Scene, layout: &Layout<'_>, taken: &mut Taken) {
    for Bar { op, area, label } in &layout.bars {
        taken.take(*area);
        let ink = if op.culprit { Ink::Danger } else { Ink::Fail };
        let until = op.returned.map_or("the end".to_owned(), |at| format!("{:.6} s", at as f64 / 1e9));
        let title = format!("{} ({:.6} s to {until})", op.title, op.invoked as f64 / 1e9);
        scene.titled(title, |scene| {
            scene.rect(*area, Ink::Paper.solid());
            scene.rect(*area, ink.at(if op.culprit { 1.0 } else { 0.16 }));
            scene.outline(*area, Stroke { paint: ink.at(0.7), ..Stroke::new(ink, 1.0) });
            let Some((left, words)) = label else { return };
            let inside = *left >= area.left && *left < area.right;
            let lettering = Lettering { bold: op.culprit, ..OP_LABEL };
            let width = lettering.width(words);
            let ink = match (op.culprit, inside) {
                (true, true) => Ink::OnDanger,
                (true, false) => Ink::Danger,
                (false, _) => Ink::Text,
            };
            if !inside {
                let place = Area { left: left - 2.0, right: left + width, ..*area };
                scene.rect(place, Ink::Paper.at(0.9));
                taken.take(place);
            }
            scene.text(*left, area.bottom - 4.0, words.clone(), Lettering { ink, ..lettering });
        });
    }
}

/// The moment at which something was found.
fn draw_found(scene: &mut Scene, excerpts: &Excerpts, span: Span, x: &Stretched, plot: Area) {
    let Some(at) = excerpts.found_at.filter(|at| span.contains(*at)) else { return };
    let place = x.at(at);
    let found = excerpts.found.clone().unwrap_or_default();
    scene.titled(format!("{:.6} s: {found}", at as f64 / 1e9), |scene| {
        scene.rule((place, plot.top), (place, plot.bottom), Stroke::new(Ink::Danger, 2.5));
        let lettering = Lettering::new(12.0, Ink::Danger).bold().anchored(Anchor::End);
        scene.text(place - 5.0, plot.top + 11.0, "found here", lettering);
    });
}
