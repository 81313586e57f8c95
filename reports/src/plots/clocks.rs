//! Hosts' clocks beside the controller's over time.

use super::{Plot, run_axis, run_rows};
use crate::draw::frame::{
    Heading, Key, Sign, TimeAxis, WIDTH, broken_line, heading, height_below, nothing, time_axis, time_frame,
    y_ticks,
};
use crate::draw::ink::Ink;
use crate::draw::scale::Scale;
use crate::draw::scene::{Area, Point, Scene, Stroke};
use crate::draw::strip::BAND;
use crate::measure::clock::Clock;
use crate::measure::perf::Perf;
use crate::measure::seconds;
use crate::stored::{ClockReading, HostRecord};
use crate::text::{cut, offset_unit};

const HEIGHT: f32 = 240.0;
/// More hosts than this are not drawn.
const HOSTS_MAX: usize = 24;
/// Two readings at most are drawn in each of so many columns.
const COLUMNS: f64 = 400.0;
/// A line breaks where there is no reading for longer than this; there should be one a second.
const SILENCE_S: f64 = 5.0;
/// What is less certain than the median by more than this factor says little.
const VAGUE: i64 = 10;

/// What is drawn of a clock.
struct Drawn {
    /// All of it, as a band.
    all: Vec<ClockReading>,
    /// What is about as certain as most of it, as a line.
    certain: Vec<ClockReading>,
}

/// Draws a line for each host, in a band as wide as it may be wrong.
pub(crate) fn plot(hosts: &[HostRecord], perf: &Perf) -> Plot {
    let axis = run_axis(perf);
    let shown = &hosts[..hosts.len().min(HOSTS_MAX)];
    let mut scene = Scene::new(WIDTH, 0.0, "Offset of each host's clock to the controller's over time");
    let key = |(nth, host): (usize, &HostRecord)| Key {
        ink: Ink::nth(nth),
        sign: Sign::Line,
        label: cut(&host.name, 30),
    };
    let legend = shown.iter().enumerate().map(key).collect();
    let mut subtitle = "ahead of the controller's (above 0) or behind".to_owned();
    if hosts.len() > HOSTS_MAX {
        subtitle += &format!("; the first {HOSTS_MAX} of {} hosts", hosts.len());
    }
    let top = heading(&mut scene, &Heading { title: "Clocks of the hosts", subtitle: &subtitle, legend });
    let frame = time_frame(&mut scene, &run_rows(perf, axis), axis, top, HEIGHT, BAND);
    time_axis(&mut scene, &frame, axis);
    let clocks: Vec<Drawn> = shown.iter().map(|host| Drawn::of(&host.clock, axis)).collect();
    if clocks.iter().all(|clock| clock.all.is_empty()) {
        nothing(&mut scene, frame.plot, "no clock was read");
    } else {
        let y = offset_axis(&mut scene, frame.plot, &clocks);
        for (nth, clock) in clocks.iter().enumerate() {
            parts(&clock.all, axis).for_each(|part| draw_band(&mut scene, part, &frame.x, &y, Ink::nth(nth)));
        }
        for (nth, clock) in clocks.iter().enumerate() {
            for part in parts(&clock.certain, axis) {
                let points =
                    part.iter().map(|r| (frame.x.at(seconds(r.at_ns)), Some(y.at(r.offset_us as f64))));
                broken_line(&mut scene, points, Stroke::new(Ink::nth(nth), 1.6));
            }
        }
    }
    scene.height = height_below(frame.plot.top, HEIGHT);
    let caption = "The controller's clock is the reference; a band is as wide as a reading may be wrong, half its round trip. Readings too \
                   close to draw one by one are put together where they agree; one much less certain than most has a band only, cut \
                   off where the axis ends.";
    Plot { name: "clocks".into(), scene, caption: caption.into() }
}

impl Drawn {
    fn of(readings: &[ClockReading], axis: TimeAxis) -> Self {
        let all = thinned(readings, axis);
        let vague_us = Clock::of(readings).map_or(0, |clock| clock.uncertainty_us.saturating_mul(VAGUE));
        let certain = all.iter().filter(|reading| reading.uncertainty_us <= vague_us).copied().collect();
        Self { all, certain }
    }
}

/// Readings within `axis`, by time, two in each column at most. As long as a column's agree, they are put together: the clock was
/// where all of them say that it may have been. Otherwise it moved, and those that show that it was furthest ahead and
/// furthest behind are kept.
fn thinned(readings: &[ClockReading], axis: TimeAxis) -> Vec<ClockReading> {
    let within = |r: &&ClockReading| (axis.from_s..=axis.to_s).contains(&seconds(r.at_ns));
    let mut within: Vec<ClockReading> = readings.iter().filter(within).copied().collect();
    within.sort_by_key(|r| r.at_ns);
    let column = |r: &ClockReading| ((seconds(r.at_ns) - axis.from_s) / column_s(axis)) as u64;
    let mut kept = Vec::new();
    for column in within.chunk_by(|a, b| column(a) == column(b)) {
        let ahead = *column.iter().max_by_key(|r| r.at_least_us()).expect("a chunk is not empty");
        let behind = *column.iter().min_by_key(|r| r.at_most_us()).expect("a chunk is not empty");
        let (low, high) = (ahead.at_least_us(), behind.at_most_us());
        if low <= high {
            kept.push(ClockReading {
                at_ns: ahead.at_ns.midpoint(behind.at_ns),
                offset_us: low.midpoint(high),
                uncertainty_us: high.saturating_sub(low) / 2,
            });
        } else if ahead.at_ns < behind.at_ns {
            kept.extend([ahead, behind]);
        } else {
            kept.extend([behind, ahead]);
        }
    }
    kept
}

fn column_s(axis: TimeAxis) -> f64 {
    (axis.to_s - axis.from_s) / COLUMNS
}

/// The stretches in which a clock was read steadily.
fn parts(clock: &[ClockReading], axis: TimeAxis) -> impl Iterator<Item = &[ClockReading]> {
    // What is left in two neighbouring columns may lie as far apart as both are wide.
    let silence_s = SILENCE_S.max(2.0 * column_s(axis));
    clock.chunk_by(move |a, b| seconds(b.at_ns) - seconds(a.at_ns) <= silence_s)
}

/// An axis of microseconds that holds 0, all that is certain and what the rest proves, labelled in the unit that suits.
fn offset_axis(scene: &mut Scene, plot: Area, clocks: &[Drawn]) -> Scale {
    let certain = clocks.iter().flat_map(|clock| &clock.certain);
    let certain = certain.flat_map(|r| [r.at_least_us(), r.at_most_us()]);
    let proven = clocks.iter().flat_map(|clock| &clock.all);
    let proven = proven.flat_map(|r| [r.at_least_us().max(0), r.at_most_us().min(0)]);
    let (low, high) = certain.chain(proven).fold((0, 0), |(low, high), us| (low.min(us), high.max(us)));
    let (low, high) = (low as f64, high as f64);
    let room = ((high - low) * 0.05).max(1.0);
    let (low, high) = (low - room, high + room);
    let (unit_us, unit) = offset_unit(high.max(-low));
    let units = Scale::linear((low / unit_us, high / unit_us), (plot.bottom, plot.top));
    let mut ticks = units.ticks(6);
    ticks.iter_mut().flat_map(|tick| &mut tick.label).for_each(|label| *label += &format!(" {unit}"));
    y_ticks(scene, plot, &units, &ticks);
    let y = Scale::linear((low, high), (plot.bottom, plot.top));
    scene.rule((plot.left, y.at(0.0)), (plot.right, y.at(0.0)), Stroke::new(Ink::Axis, 1.2));
    y
}

fn draw_band(scene: &mut Scene, part: &[ClockReading], x: &Scale, y: &Scale, ink: Ink) {
    let place = |r: &ClockReading, us: i64| Point { x: x.at(seconds(r.at_ns)), y: y.at(us as f64) };
    let upper = part.iter().map(|r| place(r, r.at_most_us()));
    let lower = part.iter().rev().map(|r| place(r, r.at_least_us()));
    let (edge, paint) = (upper.chain(lower).collect(), ink.at(0.16));
    match part {
        [_] => scene.line(edge, Stroke { paint, ..Stroke::new(ink, 3.0) }),
        _ => scene.fill(edge, paint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const AXIS: TimeAxis = TimeAxis { from_s: 0.0, to_s: 7200.0, since: "the run began" };

    fn reading(at_s: u64, offset_us: i64, uncertainty_us: i64) -> ClockReading {
        ClockReading { at_ns: at_s * S, offset_us, uncertainty_us }
    }

    #[test]
    fn two_hours_thin_out_and_what_is_certain_stays() {
        let mut clock: Vec<ClockReading> =
            (0..7200).map(|s| reading(s, if s % 2 == 0 { 95 } else { -95 }, 100)).collect();
        // A step of one second, as long as one reading; and an answer that came late.
        clock[3000] = reading(3000, 1_000_000, 100);
        clock[5000] = reading(5000, -2_000_000, 2_100_000);
        let kept = thinned(&clock, AXIS);
        assert!((400..410).contains(&kept.len()), "{}", kept.len());
        assert_eq!(parts(&kept, AXIS).count(), 1);
        // The others are together surer than the one that stands alone, and it is in the line all the same.
        let line = Drawn::of(&clock, AXIS).certain;
        let far: Vec<_> = line.iter().filter(|r| r.offset_us.abs() > 95).collect();
        assert_eq!(far, [&clock[3000]]);
        let drawn = Drawn::of(&clock[4990..5010], TimeAxis { from_s: 4990.0, to_s: 5010.0, ..AXIS });
        assert_eq!((drawn.all.len(), drawn.certain.len()), (20, 19));
    }

    #[test]
    fn a_minute_is_drawn_whole_and_breaks_where_nobody_answered() {
        let axis = TimeAxis { to_s: 60.0, ..AXIS };
        let mut clock: Vec<ClockReading> = (0..60).map(|s| reading(s, 5, 100)).collect();
        clock.drain(20..30);
        clock.reverse();
        let kept = thinned(&clock, axis);
        assert_eq!(kept.len(), 50);
        assert_eq!(parts(&kept, axis).map(<[_]>::len).collect::<Vec<_>>(), [20, 30]);
    }
}
