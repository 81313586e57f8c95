//! The node's clock: what its core is told the time is. A nemesis may give it an offset and a rate.

use crate::control::ClockSetting;
use crate::time::Time;

/// A clock over the machine's monotonic clock, which is given as nanoseconds since the node started. It begins a day after
/// the origin of [`Time`], agrees with the machine's until it is set, and never runs backwards.
#[derive(Debug)]
pub struct NodeClock {
    setting: ClockSetting,
    /// When the setting was made, in the machine's nanoseconds.
    set_at: i128,
    /// The latest time that was told.
    latest: Time,
}

const NANOS: i128 = 1_000_000_000;

impl NodeClock {
    /// A clock starts a day after the origin of [`Time`], so that a negative offset has room.
    const START: i128 = 86_400 * NANOS;
    /// The fastest rate that may be set.
    const RATE_MAX: f64 = 1_000.0;
    /// The largest offset that may be set, either way: a day.
    const OFFSET_US_MAX: u64 = 86_400_000_000;

    /// The clock of a node that starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { setting: ClockSetting::default(), set_at: Self::START, latest: Time::ZERO }
    }

    /// Replaces the setting from `machine` on.
    ///
    /// # Errors
    /// If the setting is out of bounds.
    pub fn set(&mut self, machine: u64, setting: ClockSetting) -> Result<(), String> {
        if !(0.0..=Self::RATE_MAX).contains(&setting.rate) {
            return Err(format!("clock rate {}, allowed are 0 to {}", setting.rate, Self::RATE_MAX));
        }
        if setting.offset_us.unsigned_abs() > Self::OFFSET_US_MAX {
            let (offset, most) = (setting.offset_us, Self::OFFSET_US_MAX);
            return Err(format!("clock offset of {offset} us, allowed are {most} us either way"));
        }
        // What was told before stands: the clock does not run backwards.
        self.now(machine);
        self.setting = setting;
        self.set_at = machine_nanos(machine);
        Ok(())
    }

    /// What is in force.
    #[must_use]
    pub fn setting(&self) -> ClockSetting {
        self.setting
    }

    /// The node's time.
    pub fn now(&mut self, machine: u64) -> Time {
        let nanos = u64::try_from(self.nominal(machine)).unwrap_or(0);
        self.latest = self.latest.max(Time(nanos));
        self.latest
    }

    /// How far the node's clock is ahead of the machine's, microseconds.
    pub fn error_us(&mut self, machine: u64) -> i64 {
        let error = i128::from(self.now(machine).0) - machine_nanos(machine);
        i64::try_from(error / 1_000).unwrap_or(i64::MAX)
    }

    /// When on the machine's clock the node's time will be `time`; `None` if it never will be.
    #[must_use]
    pub fn machine_time_of(&self, time: Time) -> Option<u64> {
        let ahead = i128::from(time.0) - self.set_at - self.offset_nanos();
        let machine = if self.setting.rate == 1.0 {
            self.set_at + ahead
        } else if ahead <= 0 {
            self.set_at
        } else if self.setting.rate > 0.0 {
            // Rounded up, so that the time has come when the machine's has.
            self.set_at + (ahead as f64 / self.setting.rate).ceil() as i128
        } else {
            return None;
        };
        u64::try_from((machine - Self::START).max(0)).ok()
    }

    /// What the setting says, whether or not it was ever later.
    fn nominal(&self, machine: u64) -> i128 {
        let since_setting = machine_nanos(machine) - self.set_at;
        let scaled = if self.setting.rate == 1.0 {
            since_setting
        } else {
            (since_setting as f64 * self.setting.rate) as i128
        };
        self.set_at + self.offset_nanos() + scaled
    }

    fn offset_nanos(&self) -> i128 {
        i128::from(self.setting.offset_us) * 1_000
    }
}

impl Default for NodeClock {
    fn default() -> Self {
        Self::new()
    }
}

/// The machine's time on the node's scale.
fn machine_nanos(machine: u64) -> i128 {
    NodeClock::START + i128::from(machine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;

    fn setting(offset_us: i64, rate: f64) -> ClockSetting {
        ClockSetting { offset_us, rate }
    }

    #[test]
    fn an_offset_is_told_and_healed() {
        let start = 7;
        let mut clock = NodeClock::new();
        let before = clock.now(start);
        clock.set(start, setting(2_000_000, 1.0)).expect("in bounds");
        assert_eq!(clock.now(start).since(before), Duration::from_secs(2));
        assert_eq!(clock.error_us(start + SECOND), 2_000_000);
        clock.set(start + SECOND, ClockSetting::default()).expect("in bounds");
        // It was at 3 s: it stops until the machine is there.
        assert_eq!(clock.now(start + 2 * SECOND).since(before), Duration::from_secs(3));
        assert_eq!(clock.now(start + 4 * SECOND).since(before), Duration::from_secs(4));
        assert_eq!(clock.error_us(start + 4 * SECOND), 0);
    }

    #[test]
    fn a_clock_that_stands_still_never_gets_anywhere() {
        let start = 7;
        let mut clock = NodeClock::new();
        clock.set(start, setting(0, 0.0)).expect("in bounds");
        let stopped = clock.now(start);
        assert_eq!(clock.now(start + 100 * SECOND), stopped);
        assert_eq!(clock.machine_time_of(stopped + Duration::from_secs(1)), None);
    }

    #[test]
    fn nonsense_is_refused() {
        let start = 7;
        let mut clock = NodeClock::new();
        for rate in [-1.0, f64::NAN, f64::INFINITY, 1e9] {
            clock.set(start, setting(0, rate)).expect_err("out of bounds");
        }
        clock.set(start, setting(i64::MIN, 1.0)).expect_err("out of bounds");
    }

    proptest! {
        #[test]
        fn time_never_runs_backwards_and_comes_when_it_was_promised(
            steps in prop::collection::vec((0..3_000u64, -5_000_000..5_000_000i64, 0.0..3.0f64), 1..20),
            wait_us in 0..10_000_000u64,
        ) {
            let mut machine = 0;
            let mut clock = NodeClock::new();
            let mut latest = clock.now(machine);
            for (ms, offset_us, rate) in steps {
                machine += ms * 1_000_000;
                prop_assert!(clock.now(machine) >= latest);
                latest = clock.now(machine);
                clock.set(machine, setting(offset_us, rate)).expect("in bounds");
                prop_assert!(clock.now(machine) >= latest);
                latest = clock.now(machine);
            }
            let wanted = latest + Duration::from_micros(wait_us);
            if let Some(at) = clock.machine_time_of(wanted) {
                prop_assert!(clock.now(at + 2_000) >= wanted);
            }
        }
    }
}
