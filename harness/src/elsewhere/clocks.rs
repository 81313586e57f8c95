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

/// By how much two clocks may come apart beside a steady rate, seconds a second: as fast as NTP has a kernel put one right.
const SLEW: f64 = 5e-4;
/// Clocks that differ by more in a second are no clocks.
const SKEW_MAX: f64 = 1e-3;
/// A rate is told from readings that are so far apart.
const BASE_NS_MIN: i64 = 10_000_000_000;

/// The host's clock as the controller's, and by how much that may be wrong, nanoseconds, over a history of this length.
///
/// # Errors
/// If there are no readings, or clocks run too differently.
pub(super) fn compare(readings: &[Reading], length_ns: u64) -> anyhow::Result<(Timeline, u64)> {
    let (first, last) = readings.first().zip(readings.last()).context("its clock was never asked")?;
    let surest = |part: &[Reading]| part.iter().min_by_key(|reading| reading.half).copied();
    let middle =
        readings.partition_point(|reading| reading.theirs < i64::midpoint(first.theirs, last.theirs));
    let (early, late) = readings.split_at(middle);
    let all = surest(readings).expect("there is one");
    let skew = match (surest(early), surest(late)) {
        (Some(early), Some(late)) if late.theirs - early.theirs >= BASE_NS_MIN => {
            (late.ours - early.ours) as f64 / (late.theirs - early.theirs) as f64 - 1.0
        }
        _ => 0.0,
    };
    if skew.abs() > SKEW_MAX {
        bail!("its clock runs {:.0} microseconds a second off the controller's", skew * 1e6);
    }
    let gained = |theirs: i64| (theirs as f64 * skew).round() as i64;
    let timeline = Timeline { begin: all.ours - all.theirs - gained(all.theirs), skew };
    // How far off it is at most at each reading, by that reading itself.
    let told = |reading: &Reading| reading.theirs + timeline.begin + gained(reading.theirs);
    let mut off: Vec<u64> =
        readings.iter().map(|reading| told(reading).abs_diff(reading.ours) + reading.half).collect();
    // Or by those before and after it, since clocks come apart slowly.
    let slewed = |ns: u64| (ns as f64 * SLEW) as u64;
    let apart = |i: usize| slewed(readings[i].theirs.abs_diff(readings[i - 1].theirs));
    for i in 1..off.len() {
        off[i] = off[i].min(off[i - 1] + apart(i));
    }
    for i in (1..off.len()).rev() {
        off[i - 1] = off[i - 1].min(off[i] + apart(i));
    }
    let worst = off.iter().max().copied().unwrap_or(0);
    // Nothing is known between two readings, before the first and after the last.
    let between = readings.windows(2).map(|pair| pair[1].theirs.abs_diff(pair[0].theirs));
    let end = i64::try_from(length_ns).context("a history of centuries")?;
    let before = u64::try_from(first.theirs).unwrap_or(0);
    let after = u64::try_from(end - last.theirs).unwrap_or(0);
    let alone = between.chain([before, after]).max().unwrap_or(0);
    Ok((timeline, worst + slewed(alone)))
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
            let end = readings.last().expect("there is one").theirs.max(0);
            let length = end.unsigned_abs() + chance.random_range(0..2_000_000_000);
            let (timeline, uncertainty) = compare(&readings, length).expect("such clocks are fine");
            // It is of use: a short run may have a slow exchange alone.
            let of_use = if readings.len() > 60 { 4_000_000 } else { 8_000_000 };
            assert!(uncertainty < of_use, "{uncertainty} ns after {} readings", readings.len());
            for theirs in [0, end / 3, end / 2, end, length.cast_signed()] {
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
    fn what_was_not_looked_at_is_less_sure() {
        let readings: Vec<_> =
            (0..60).map(|i| Reading { ours: i * S / 2, theirs: i * S / 2, half: 50_000 }).collect();
        let (_, sure) = compare(&readings, 30_000_000_000).unwrap();
        assert!((300_000..400_000).contains(&sure), "{sure}");
        // Nobody was heard for the second half.
        let (_, unsure) = compare(&readings, 60_000_000_000).unwrap();
        assert!(unsure > 15_000_000, "{unsure}");
    }

    #[test]
    fn no_reading_and_no_clock_are_said() {
        assert!(compare(&[], 1).is_err());
        let reading = |s: i64, rate: i64| Reading { ours: s * S, theirs: s * S * rate, half: 1_000 };
        assert!(
            compare(&[reading(1, 2), reading(60, 2)], 1).unwrap_err().to_string().contains("microseconds")
        );
    }
}
