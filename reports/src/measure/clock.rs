//! A host's clock beside the controller's.

use super::latency::quantile;
use crate::stored::ClockReading;

/// A clock over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Clock {
    /// Median offset, microseconds.
    pub(crate) offset_us: i64,
    /// Median uncertainty, microseconds.
    pub(crate) uncertainty_us: i64,
    /// The reading that was furthest off for certain.
    pub(crate) extreme: ClockReading,
}

impl ClockReading {
    /// How far ahead the clock was at least, microseconds.
    pub(crate) fn at_least_us(&self) -> i64 {
        self.offset_us.saturating_sub(self.uncertainty_us)
    }

    /// How far ahead it was at most.
    pub(crate) fn at_most_us(&self) -> i64 {
        self.offset_us.saturating_add(self.uncertainty_us)
    }

    /// How far off it was at least; negative if it may have been right. An answer that took seconds, since a connection had
    /// to be made anew, proves nothing, however large its offset.
    fn off_us(&self) -> i64 {
        self.offset_us.saturating_abs().saturating_sub(self.uncertainty_us)
    }
}

impl Clock {
    /// `None` if the clock was never read.
    pub(crate) fn of(readings: &[ClockReading]) -> Option<Self> {
        let extreme = *readings.iter().max_by_key(|reading| reading.off_us())?;
        let median = |of: fn(&ClockReading) -> i64| {
            let mut values: Vec<i64> = readings.iter().map(of).collect();
            values.sort_unstable();
            quantile(&values, 0.5)
        };
        Some(Self {
            offset_us: median(|r| r.offset_us),
            uncertainty_us: median(|r| r.uncertainty_us),
            extreme,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extreme_is_what_is_certain_and_no_slow_answer() {
        let readings = [(10, 100), (-400, 100), (20, 90), (-2_400_000, 2_500_000), (30, 100)];
        let readings =
            readings.map(|(offset_us, uncertainty_us)| ClockReading { at_ns: 0, offset_us, uncertainty_us });
        let clock = Clock { offset_us: 10, uncertainty_us: 100, extreme: readings[1] };
        assert_eq!(Clock::of(&readings), Some(clock));
        assert_eq!(Clock::of(&[]), None);
    }
}
