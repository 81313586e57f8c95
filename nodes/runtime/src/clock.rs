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

    /// Replaces the setting from `machine` on.
    ///
    /// # Errors
    /// If the setting is out of bounds.
    pub(crate) fn set(&mut self, machine: Instant, setting: ClockSetting) -> Result<(), String> {
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
