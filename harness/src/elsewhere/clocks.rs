//! How a host's monotonic clock compares with the controller's, from exchanges of which it is known how long they took.

use anyhow::{Context, bail};
use checkers::history::Timeline;

/// One exchange: what both clocks said in the middle of it, as far as can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// The controller's, nanoseconds since the run began.
    pub ours: i64,
    /// The host's, nanoseconds since its history began.
    pub theirs: i64,
    /// Either may be off by so much: half of how long the exchange took.
    pub half: u64,
}

/// Over how long, or up to twice as long, one exchange has to be good.
const WINDOW_NS: i64 = 5_000_000_000;
/// What two clocks wander beside a steady rate, seconds a second: more than those of machines do.
const WANDER: f64 = 1e-5;
/// By how much two clocks differ at most where that cannot be told, seconds a second: crystals keep to a half of it.
const SKEW_UNTOLD: f64 = 2e-4;
/// Clocks that differ by more in a second are no clocks.
const SKEW_MAX: f64 = 1e-3;
/// A rate is told from readings that are so far apart.
const BASE_NS_MIN: i64 = 2 * WINDOW_NS;
/// What is between two readings, and before the first and after the last.
const BEAT_NS: i64 = 1_000_000_000;

/// The host's clock as the controller's, and by how much that may be wrong, nanoseconds.
///
/// # Errors
/// If there are no readings, or clocks run too differently.
pub(super) fn compare(readings: &[Reading]) -> anyhow::Result<(Timeline, u64)> {
    let (first, last) = readings.first().zip(readings.last()).context("its clock was never asked")?;
    let surest = |part: &[Reading]| part.iter().min_by_key(|reading| reading.half).copied();
    let middle = readings.partition_point(|reading| reading.theirs < (first.theirs + last.theirs) / 2);
    let (early, late) = readings.split_at(middle);
    let all = surest(readings).expect("there is one");
    let (skew, skew_off) = match (surest(early), surest(late)) {
        (Some(early), Some(late)) if late.theirs - early.theirs >= BASE_NS_MIN => {
            let base = (late.theirs - early.theirs) as f64;
            let skew = (late.ours - early.ours) as f64 / base - 1.0;
            (skew, (early.half + late.half) as f64 / base)
        }
        _ => (0.0, SKEW_UNTOLD),
    };
    if skew.abs() > SKEW_MAX {
        bail!("its clock runs {:.0} microseconds a second off the controller's", skew * 1e6);
    }
    let gained = |theirs: i64| (theirs as f64 * skew).round() as i64;
    let timeline = Timeline { begin: all.ours - all.theirs - gained(all.theirs), skew };
    let off = |reading: &Reading| {
        let told = reading.theirs + timeline.begin + gained(reading.theirs);
        told.abs_diff(reading.ours) + reading.half
    };
    // The best of each stretch of time says how far off it is at most there.
    let stretches = ((last.theirs - first.theirs) / WINDOW_NS).max(1);
    let length = (last.theirs - first.theirs) / stretches;
    let worst = (0..stretches).filter_map(|nth| {
        let begin = first.theirs + nth * length;
        let of = readings.iter().filter(|reading| (begin..=begin + length).contains(&reading.theirs));
        of.map(off).min()
    });
    let worst = worst.max().unwrap_or(0);
    let gap = readings.windows(2).map(|pair| pair[1].theirs - pair[0].theirs).max().unwrap_or(0);
    let alone_ns = gap.max(length).max(BEAT_NS) as f64;
    Ok((timeline, worst + (alone_ns * (WANDER + skew_off)) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    const S: i64 = 1_000_000_000;

    #[test]
    fn the_stated_uncertainty_holds_whatever_the_ways_there_and_back_took() {
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(7);
        for _ in 0..200 {
            let (begin, skew) = (chance.random_range(-S..S), chance.random_range(-1e-4..1e-4));
            let theirs_of = |ours: i64| ((ours - begin) as f64 / (1.0 + skew)) as i64;
            let mut readings = Vec::new();
            for beat in 0..chance.random_range(1..120) {
                let asked = beat * S / 2;
                // Most ways are short, a few long, and the way back has nothing to do with the way there.
                let mut way = || match chance.random_range(0..10) {
                    0 => chance.random_range(100_000..5_000_000),
                    _ => chance.random_range(50_000..200_000_i64),
                };
                let (there, back) = (way(), way());
                let half = (there + back) / 2;
                let theirs = theirs_of(asked + there);
                readings.push(Reading { ours: asked + half, theirs, half: half.unsigned_abs() });
            }
            let (timeline, uncertainty) = compare(&readings).expect("such clocks are fine");
            // It is of use: a long run tells the rates, a short one may have a slow exchange alone.
            let of_use = if readings.len() > 60 { 800_000 } else { 8_000_000 };
            assert!(uncertainty < of_use, "{uncertainty} ns after {} readings", readings.len());
            let end = readings.last().expect("there is one").theirs.max(0);
            for theirs in [readings[0].theirs.max(0), end / 3, end / 2, end] {
                let truth = (theirs as f64 * (1.0 + skew)) as i64 + begin;
                if truth < 0 {
                    continue;
                }
                let told = timeline.at(theirs.unsigned_abs());
                let off = told.abs_diff(truth.unsigned_abs());
                assert!(off <= uncertainty, "{off} ns off, stated were {uncertainty}: {readings:?}");
            }
        }
    }

    #[test]
    fn no_reading_and_no_clock_are_said() {
        assert!(compare(&[]).is_err());
        let reading = |s: i64, rate: i64| Reading { ours: s * S, theirs: s * S * rate, half: 1_000 };
        assert!(compare(&[reading(1, 2), reading(60, 2)]).unwrap_err().to_string().contains("microseconds"));
    }
}
