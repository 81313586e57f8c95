//! The node's clock: what its core is told the time is. A nemesis may give it an offset and a rate.

use protocol::Time;
use protocol::control::ClockSetting;
use std::time::{Duration, Instant};

/// A [`protocol::NodeClock`] over the machine's monotonic clock.
#[derive(Debug)]
pub(crate) struct NodeClock {
    /// When the node started.
    origin: Instant,
    clock: protocol::NodeClock,
}

impl NodeClock {
    pub(crate) fn new(origin: Instant) -> NodeClock {
        NodeClock { origin, clock: protocol::NodeClock::new() }
    }

    /// Replaces the setting from `machine` on. One that is in force already goes on: who renews a lease says it again, and a
    /// clock that runs slow or fast must not begin anew each time.
    ///
    /// # Errors
    /// If the setting is out of bounds.
    pub(crate) fn set(&mut self, machine: Instant, setting: ClockSetting) -> Result<(), String> {
        if setting == self.clock.setting() {
            return Ok(());
        }
        self.clock.set(self.nanos(machine), setting)
    }

    pub(crate) fn setting(&self) -> ClockSetting {
        self.clock.setting()
    }

    /// The node's time.
    pub(crate) fn now(&mut self, machine: Instant) -> Time {
        self.clock.now(self.nanos(machine))
    }

    /// How far the node's clock is ahead of the machine's, microseconds.
    pub(crate) fn error_us(&mut self, machine: Instant) -> i64 {
        self.clock.error_us(self.nanos(machine))
    }

    /// When on the machine's clock the node's time will be `time`; `None` if it never will be.
    pub(crate) fn machine_time_of(&self, time: Time) -> Option<Instant> {
        self.origin.checked_add(Duration::from_nanos(self.clock.machine_time_of(time)?))
    }

    fn nanos(&self, machine: Instant) -> u64 {
        let since_origin = machine.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(since_origin).expect("a node does not run for 500 years")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_is_set_again_and_again_adds_up() {
        for (rate, error_us) in [(0.5, -2_000_000), (1.5, 2_000_000)] {
            let origin = Instant::now();
            let mut clock = NodeClock::new(origin);
            let setting = ClockSetting { offset_us: 0, rate };
            for tick in 0..=8 {
                clock.set(origin + Duration::from_millis(500 * tick), setting).expect("within bounds");
            }
            assert_eq!(clock.error_us(origin + Duration::from_secs(4)), error_us);
        }
    }
}
