//! Ops a second by outcome over time.

use super::quantiles::bucket;
use super::{NO_OPS, Plot, run_axis, run_rows};
use crate::draw::frame::{
    Frame, Heading, Key, Sign, WIDTH, draw_gaps, gaps_key, heading, height_below, nothing, time_axis,
    time_frame, time_grid, y_ticks,
};
use crate::draw::ink::Ink;
use crate::draw::scale::Scale;
use crate::draw::scene::{Area, Point, Scene, Stroke};
use crate::draw::strip::{BAND, draw_bands};
use crate::measure::perf::Perf;
use crate::text::{count, duration};

const HEIGHT: f32 = 220.0;
/// Failures and unknown outcomes are few: on the axis of successes nobody would see them.
const TROUBLE_HEIGHT: f32 = 70.0;

/// Draws successes, and below them failures and unknown outcomes on an axis of their own.
pub(crate) fn plot(perf: &Perf) -> Plot {
    let axis = run_axis(perf);
    let mut scene = Scene::new(WIDTH, 0.0, "Operations a second by outcome over time");
    let subtitle = format!("ops/s by completion, in buckets of {}", bucket(perf));
    let top =
        heading(&mut scene, &Heading { title: "Throughput", subtitle: &subtitle, legend: legend(perf) });
    let rows = run_rows(perf, axis);
    let mut frame = time_frame(&mut scene, &rows, axis, top, HEIGHT, BAND);
    let series = &perf.series;
    let trouble = highest(&series.fail_s).max(highest(&series.info_s));
    let upper = frame.plot;
    if trouble > 0.0 {
        time_grid(&mut scene, &frame, axis);
        // The time axis belongs below both.
        frame.plot = Area { top: upper.bottom + 14.0, bottom: upper.bottom + 14.0 + TROUBLE_HEIGHT, ..upper };
        draw_bands(&mut scene, &rows, &frame.x, frame.plot, BAND);
        time_axis(&mut scene, &frame, axis);
        let y = Scale::linear((0.0, trouble * 1.1), (frame.plot.bottom, frame.plot.top));
        y_ticks(&mut scene, frame.plot, &y, &y.ticks(3));
        draw_steps(&mut scene, perf, &series.fail_s, &frame, &y, Ink::Fail);
        draw_steps(&mut scene, perf, &series.info_s, &frame, &y, Ink::Danger);
    } else {
        time_axis(&mut scene, &frame, axis);
    }
    let below = std::mem::replace(&mut frame.plot, upper);
    if highest(&series.ok_s) > 0.0 {
        let y = Scale::linear((0.0, highest(&series.ok_s) * 1.05), (upper.bottom, upper.top));
        y_ticks(&mut scene, upper, &y, &y.ticks(6));
        draw_steps(&mut scene, perf, &series.ok_s, &frame, &y, Ink::Ok);
    } else {
        nothing(&mut scene, upper, if trouble > 0.0 { "no operation succeeded" } else { NO_OPS });
    }
    draw_gaps(&mut scene, &perf.service, &frame, 0.0);
    scene.height = height_below(below.top, below.height());
    Plot { name: "throughput".into(), scene, caption: caption(perf) }
}

fn highest(rates: &[f64]) -> f64 {
    rates.iter().copied().fold(0.0, f64::max)
}

fn legend(perf: &Perf) -> Vec<Key> {
    let all = &perf.overall;
    let key =
        |ink, n: u64, label: &str| Key { ink, sign: Sign::Line, label: format!("{} {label}", count(n)) };
    let mut keys = vec![key(Ink::Ok, all.ok, "ok")];
    if all.fail > 0 {
        keys.push(key(Ink::Fail, all.fail, "failed (below)"));
    }
    if all.info > 0 {
        keys.push(key(Ink::Danger, all.info, "of unknown outcome (below)"));
    }
    keys.extend(gaps_key(&perf.service));
    keys
}

/// Buckets as steps over a light area; where there is nothing, there is no line.
fn draw_steps(scene: &mut Scene, perf: &Perf, rates: &[f64], frame: &Frame, y: &Scale, ink: Ink) {
    let series = &perf.series;
    // Whole half pixels, so that neighbours neither overlap nor leave a seam.
    let snap = |x: f32| (x * 2.0).round() / 2.0;
    let edge = |bucket: usize| snap(frame.x.at(series.start_s + bucket as f64 * series.bucket_s));
    let bottom = frame.plot.bottom;
    let mut steps: Vec<Point> = Vec::new();
    for (bucket, &rate) in rates.iter().enumerate() {
        let (left, right, top) = (edge(bucket), edge(bucket + 1), y.at(rate));
        if rate > 0.0 {
            scene.rect(Area { left, right, top, bottom }, ink.at(0.16));
            if steps.is_empty() {
                steps.push(Point { x: left, y: bottom });
            }
            steps.extend([Point { x: left, y: top }, Point { x: right, y: top }]);
        } else if let Some(&last) = steps.last() {
            steps.push(Point { y: bottom, ..last });
            scene.line(std::mem::take(&mut steps), Stroke::new(ink, 1.5));
        }
    }
    if !steps.is_empty() {
        scene.line(steps, Stroke::new(ink, 1.5));
    }
}

fn caption(perf: &Perf) -> String {
    format!(
        "Counts are of the run phase. Red bars at the foot: no op succeeded for more than {} while at least one was \
         waited for.",
        duration(perf.service.threshold_ms as f64)
    )
}
