//! Latency quantiles over time.

use super::scatter::latency_scale;
use super::{NO_OPS, Plot, run_axis, run_rows};
use crate::draw::frame::{
    Heading, Key, Sign, WIDTH, broken_line, draw_gaps, gaps_key, heading, height_below, nothing, time_axis,
    time_frame, y_ticks,
};
use crate::draw::ink::Ink;
use crate::draw::scene::{Scene, Stroke};
use crate::draw::strip::BAND;
use crate::measure::perf::Perf;
use crate::text::duration;

const HEIGHT: f32 = 260.0;

/// Draws median, p95, p99 and maximum.
pub(crate) fn plot(perf: &Perf) -> Plot {
    let axis = run_axis(perf);
    let series = &perf.series;
    let lines = [
        ("max", &series.max_ms, Stroke::new(Ink::Fail, 1.2)),
        ("p99", &series.p99_ms, Stroke::new(Ink::Hue(1), 2.0)),
        ("p95", &series.p95_ms, Stroke::new(Ink::Hue(2), 1.6)),
        ("p50", &series.p50_ms, Stroke::new(Ink::Hue(0), 2.2)),
    ];
    let mut scene = Scene::new(WIDTH, 0.0, "Latency quantiles over time, on a logarithmic axis");
    let key = |&(name, _, stroke): &(&str, _, Stroke)| Key {
        ink: stroke.paint.ink,
        sign: Sign::Line,
        label: name.to_owned(),
    };
    let legend = lines.iter().rev().map(key).chain(gaps_key(&perf.service)).collect();
    let subtitle = format!("of ok and unknown ops, by intended start, in buckets of {}", bucket(perf));
    let top = heading(&mut scene, &Heading { title: "Latency quantiles", subtitle: &subtitle, legend });
    let rows = run_rows(perf, axis);
    let frame = time_frame(&mut scene, &rows, axis, top, HEIGHT, BAND);
    time_axis(&mut scene, &frame, axis);
    if series.max_ms.iter().all(Option::is_none) {
        nothing(&mut scene, frame.plot, NO_OPS);
    } else {
        let values = series.p50_ms.iter().chain(&series.max_ms).flatten().copied();
        let y = latency_scale(values, (frame.plot.bottom, frame.plot.top));
        y_ticks(&mut scene, frame.plot, &y, &y.ticks_ms());
        for (_, values, stroke) in lines {
            let points = values
                .iter()
                .enumerate()
                .map(|(at, value)| (frame.x.at(series.middle_s(at)), value.map(|ms| y.at(ms))));
            broken_line(&mut scene, points, stroke);
        }
    }
    draw_gaps(&mut scene, &perf.service, &frame, 0.0);
    scene.height = height_below(frame.plot.top, HEIGHT);
    let caption = "Latency counts from the intended start, so waiting behind a slow op is not hidden; time-outs count with \
                   the time waited, refused ops do not count. A line ends where no op was meant to start: clients of a closed \
                   loop that wait do not ask.";
    Plot { name: "latency-quantiles".into(), scene, caption: caption.into() }
}

/// The width of a bucket, in words.
pub(super) fn bucket(perf: &Perf) -> String {
    duration(perf.series.bucket_s * 1e3)
}
