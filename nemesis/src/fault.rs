//! What can be broken.

use crate::target::Shape;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One kind of fault with its numbers. In a plan: `kill`, `{ partition: halves }`,
/// `{ delay: { latency: 50ms, jitter: 10ms } }`, …
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// SIGKILL; started again when the fault ends.
    Kill,
    /// SIGSTOP; SIGCONT when the fault ends.
    Pause,
    /// Links are cut, in the given shape. Has no other targets.
    Partition(Shape),
    /// Messages to and from the targets take longer.
    Delay {
        /// Added to each message.
        #[serde(with = "humantime_serde")]
        latency: Duration,
        /// Added on top, drawn uniformly from nothing to this.
        #[serde(with = "humantime_serde", default)]
        jitter: Duration,
    },
    /// Messages to and from the targets are lost.
    Loss {
        /// Of each message, 0 to 1.
        probability: f64,
    },
    /// Messages to and from the targets arrive twice.
    Duplicate {
        /// Of each message, 0 to 1.
        probability: f64,
    },
    /// Messages to and from the targets overtake each other.
    Reorder {
        /// Of each message, 0 to 1.
        probability: f64,
        /// How long a message is held back at most.
        #[serde(with = "humantime_serde")]
        within: Duration,
    },
    /// Links to and from the targets are slow.
    Rate {
        /// Bytes a second that pass.
        bytes_per_s: u64,
    },
    /// The targets' clocks jump.
    ClockOffset {
        /// Milliseconds ahead (negative: behind).
        offset_ms: i64,
    },
    /// The targets' clocks run fast or slow.
    ClockRate {
        /// Seconds of clock per second of time.
        rate: f64,
    },
    /// The targets' clocks jump there and back.
    ClockStrobe {
        /// Milliseconds ahead (negative: behind), every other period.
        offset_ms: i64,
        /// Between two jumps.
        #[serde(with = "humantime_serde")]
        period: Duration,
    },
}

impl Fault {
    /// The name in tables, bands and histories.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Fault::Kill => "kill".into(),
            Fault::Pause => "pause".into(),
            Fault::Partition(shape) => format!("partition-{}", shape.name()),
            Fault::Delay { .. } => "delay".into(),
            Fault::Loss { .. } => "loss".into(),
            Fault::Duplicate { .. } => "duplicate".into(),
            Fault::Reorder { .. } => "reorder".into(),
            Fault::Rate { .. } => "rate".into(),
            Fault::ClockOffset { .. } => "clock-offset".into(),
            Fault::ClockRate { .. } => "clock-rate".into(),
            Fault::ClockStrobe { .. } => "clock-strobe".into(),
        }
    }

    /// The fault that a bare name on the command line means, with numbers that bite.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Fault> {
        let ms = Duration::from_millis;
        Some(match name {
            "kill" => Fault::Kill,
            "pause" => Fault::Pause,
            "partition" => Fault::Partition(Shape::Halves),
            "delay" => Fault::Delay { latency: ms(50), jitter: ms(20) },
            "loss" => Fault::Loss { probability: 0.1 },
            "duplicate" => Fault::Duplicate { probability: 0.2 },
            "reorder" => Fault::Reorder { probability: 0.2, within: ms(30) },
            "rate" => Fault::Rate { bytes_per_s: 200_000 },
            "clock-offset" => Fault::ClockOffset { offset_ms: 5_000 },
            "clock-rate" => Fault::ClockRate { rate: 1.5 },
            "clock-strobe" => Fault::ClockStrobe { offset_ms: 500, period: ms(200) },
            _ => return name.strip_prefix("partition-").and_then(Shape::by_name).map(Fault::Partition),
        })
    }

    /// The names that [`Fault::by_name`] knows.
    pub const NAMES: &'static [&'static str] = &[
        "kill",
        "pause",
        "partition",
        "partition-one",
        "partition-leader",
        "partition-halves",
        "partition-majority",
        "partition-minority-third",
        "partition-majorities-ring",
        "partition-bridge",
        "partition-one-way",
        "delay",
        "loss",
        "duplicate",
        "reorder",
        "rate",
        "clock-offset",
        "clock-rate",
        "clock-strobe",
    ];

    /// What is wrong with the numbers, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        let probability =
            |p: f64| (!(p > 0.0 && p <= 1.0)).then(|| format!("probability {p} is not over 0 and up to 1"));
        match self {
            Fault::Kill | Fault::Pause => None,
            Fault::Partition(shape) => shape.problem(),
            Fault::Delay { latency, jitter } => {
                (latency.is_zero() && jitter.is_zero()).then(|| "neither latency nor jitter".into())
            }
            Fault::Loss { probability: p } | Fault::Duplicate { probability: p } => probability(*p),
            Fault::Reorder { probability: p, within } => {
                probability(*p).or_else(|| within.is_zero().then(|| "within is 0".into()))
            }
            Fault::Rate { bytes_per_s } => (*bytes_per_s == 0).then(|| "bytes_per_s is 0".into()),
            Fault::ClockOffset { offset_ms } => (*offset_ms == 0).then(|| "offset_ms is 0".into()),
            Fault::ClockRate { rate } => (!(0.01..=100.0).contains(rate) || *rate == 1.0)
                .then(|| format!("rate {rate} is not 0.01 to 100 without 1")),
            Fault::ClockStrobe { offset_ms, period } => (*offset_ms == 0
                || *period < Duration::from_millis(10))
            .then(|| "offset_ms is 0 or period is below 10ms".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_name_is_a_sound_fault() {
        for name in Fault::NAMES {
            let fault = Fault::by_name(name).unwrap_or_else(|| panic!("{name} is listed and unknown"));
            assert_eq!(fault.problem(), None, "{name}");
            assert!(fault.name().starts_with(name), "{name} is called {}", fault.name());
        }
        assert_eq!(Fault::by_name("partition-nonsense"), None);
    }
}
