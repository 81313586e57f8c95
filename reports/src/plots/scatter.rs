//! Every op, or a fair sample: when it was meant to start, and how long it took from there.

use super::{NO_OPS, Plot, run_axis, run_rows};

use crate::draw::frame::{
    Heading, Key, Sign, WIDTH, broken_line, heading, height_below, nothing, time_axis, time_frame, y_ticks,
};
use crate::draw::ink::Ink;
use crate::draw::scale::Scale;
use crate::draw::scene::{Point, Scene, Shape, Stroke};
use crate::draw::strip::BAND;
use crate::measure::perf::Perf;
use crate::measure::sample::{Ending, Mark, Sample, sample};
use crate::text::count;
use checkers::history::{Op, OpKind};
use std::collections::BTreeSet;

const HEIGHT: f32 = 340.0;
/// Fewer marks than this are drawn larger.
const FEW: usize = 300;

/// Draws `ops`; `end` is the end of the history in nanoseconds.
pub(crate) fn plot(ops: &[Op], perf: &Perf, end: u64) -> Plot {
    let axis = run_axis(perf);
    let sample = sample(ops, axis.from_s, axis.to_s, end);
    let mut scene = Scene::new(WIDTH, 0.0, "Latency of single operations over time, on a logarithmic axis");
    let subtitle = "each mark is an op, at its intended start";
    let top = heading(&mut scene, &Heading { title: "Latency", subtitle, legend: legend(&sample) });
    let rows = run_rows(perf, axis);
    let frame = time_frame(&mut scene, &rows, axis, top, HEIGHT, BAND);
    time_axis(&mut scene, &frame, axis);
    if sample.marks.is_empty() {
        nothing(&mut scene, frame.plot, NO_OPS);
    } else {
        let y = latency_scale(sample.marks.iter().map(|m| m.latency_ms), (frame.plot.bottom, frame.plot.top));
        y_ticks(&mut scene, frame.plot, &y, &y.ticks_ms());
        let place = |m: &Mark| Point { x: frame.x.at(m.at_s), y: y.at(m.latency_ms) };
        for (kind, ending) in looks(&sample) {
            let of_look = sample.marks.iter().filter(|m| m.kind == kind && m.ending == ending);
            let (shape, radius, ink, alpha) = look(kind, ending);
            // Where there are few, each may be seen from afar.
            let radius = if sample.marks.len() < FEW { radius.max(3.0) } else { radius };
            scene.marks(of_look.map(place).collect(), shape, radius, ink.at(alpha));
        }
        // Crowds are thinned out: the median says where most ops are.
        let series = &perf.series;
        let median = series.p50_ms.iter().enumerate();
        let median = median.map(|(at, ms)| (frame.x.at(series.middle_s(at)), ms.map(|ms| y.at(ms))));
        broken_line(&mut scene, median, Stroke::new(Ink::Text, 1.6));
    }
    scene.height = height_below(frame.plot.top, HEIGHT);
    Plot { name: "latency-scatter".into(), scene, caption: caption(&sample) }
}

/// A logarithmic axis that holds all `values`.
pub(super) fn latency_scale(values: impl Iterator<Item = f64> + Clone, pixels: (f32, f32)) -> Scale {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(0.0, f64::max);
    // A little room below the lowest and above the highest.
    Scale::log((low.min(high) * 0.8, high * 1.2), pixels)
}

/// Kinds and endings that occur; what is rare and matters is drawn last.
fn looks(sample: &Sample) -> Vec<(OpKind, Ending)> {
    let looks: BTreeSet<(Ending, OpKind)> = sample.marks.iter().map(|m| (m.ending, m.kind)).collect();
    looks.into_iter().map(|(ending, kind)| (kind, ending)).collect()
}

fn look(kind: OpKind, ending: Ending) -> (Shape, f32, Ink, f32) {
    match ending {
        Ending::Ok => (Shape::Dot, 1.6, Ink::of_kind(kind), 0.6),
        Ending::Fail => (Shape::Cross, 2.8, Ink::Fail, 0.9),
        Ending::Info => (Shape::Triangle, 3.2, Ink::Danger, 0.9),
    }
}

fn legend(sample: &Sample) -> Vec<Key> {
    let looks = looks(sample);
    let of_kind = looks.iter().filter(|(_, ending)| *ending == Ending::Ok).map(|(kind, _)| Key {
        ink: Ink::of_kind(*kind),
        sign: Sign::Mark(Shape::Dot),
        label: kind.name().to_owned(),
    });
    let endings = [
        (Ending::Fail, Ink::Fail, Shape::Cross, "failed: no effect"),
        (Ending::Info, Ink::Danger, Shape::Triangle, "outcome unknown: timed out or cut off"),
    ];
    let endings = endings.iter().filter(|(ending, ..)| looks.iter().any(|(_, e)| e == ending));
    let endings =
        endings.map(|&(_, ink, shape, label)| Key { ink, sign: Sign::Mark(shape), label: label.to_owned() });
    let median = Key { ink: Ink::Text, sign: Sign::Line, label: "median".into() };
    of_kind.chain(endings).chain((!sample.marks.is_empty()).then_some(median)).collect()
}

fn caption(sample: &Sample) -> String {
    let what = if sample.marks.len() == sample.ops {
        format!("Every op is drawn: {}.", count(sample.ops as u64))
    } else {
        format!(
            "{} of {} ops: time × latency is cut into cells, and one op of each kind and outcome is drawn in each \
             cell. What stands alone is all there; crowds are thinned out.",
            count(sample.marks.len() as u64),
            count(sample.ops as u64)
        )
    };
    format!("{what} An op of unknown outcome is drawn at the time for which its client waited.")
}
