//! What can be broken.

use crate::target::Shape;
use protocol::control::ClockSetting;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// Which kinds of messages a link fault is on, by the names that the subject's protocol gives them. Left out: on all that crosses the link.
pub type Kinds = Option<BTreeSet<String>>;

/// One kind of fault with its numbers. In a plan: `kill`, `{ partition: halves }`,
/// `{ delay: { latency: 50ms, jitter: 10ms } }`, …
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// SIGKILL; started again when the fault ends.
    Kill,
    /// The machine loses power: what was not synced may be lost; started again when the fault ends.
    PowerLoss,
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
        /// On which kinds of messages.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kinds: Kinds,
    },
    /// Messages to and from the targets are lost.
    Loss {
        /// Of each message, 0 to 1.
        probability: f64,
        /// On which kinds of messages.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kinds: Kinds,
    },
    /// Messages to and from the targets arrive twice.
    Duplicate {
        /// Of each message, 0 to 1.
        probability: f64,
        /// On which kinds of messages.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kinds: Kinds,
    },
    /// Messages to and from the targets overtake each other.
    Reorder {
        /// Of each message, 0 to 1.
        probability: f64,
        /// How long a message is held back at most.
        #[serde(with = "humantime_serde")]
        within: Duration,
        /// On which kinds of messages.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kinds: Kinds,
    },
    /// Links to and from the targets are slow. Has no kinds: its bytes have none.
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
    /// Other programs want the processors of the targets' hosts.
    CpuPressure {
        /// How many, each for a whole processor.
        workers: u32,
    },
    /// Other programs want the memory of the targets' hosts.
    MemoryPressure {
        /// How much, in use all the time.
        mebibytes: u32,
    },
    /// The targets' disks do nothing.
    DiskStall,
    /// The targets' disks are slow.
    DiskSlow {
        /// So many times slower.
        times: f64,
    },
    /// The targets' disks hold no more.
    DiskFull,
    /// A bit of what the targets' disks hold flips, where storage can tell that from a torn write.
    BitFlip,
    /// The targets are killed, and the end of what their disks held durably is cut off; started again from what is left when the
    /// fault ends.
    Truncate {
        /// How much; the seed draws it where it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
    },
    /// The targets' disks are copied when the fault begins; when it ends the targets are killed and started again from the copies.
    Rollback,
    /// The targets' disks are lost; each comes back with an empty one, as another member, which an operator has take the old one's
    /// place.
    Wipe,
    /// An operator makes the targets the voters: some of the nodes, drawn by the seed.
    Members,
    /// An operator has the target lead.
    Transfer,
}

impl Fault {
    /// The name in tables, bands and histories.
    #[must_use]
    pub fn name(&self) -> String {
        let of_kinds = |name: &str, kinds: &Kinds| match kinds {
            None => name.to_owned(),
            Some(kinds) => format!("{name}-{}", kinds.iter().cloned().collect::<Vec<_>>().join("+")),
        };
        match self {
            Fault::Kill => "kill".into(),
            Fault::PowerLoss => "power-loss".into(),
            Fault::Pause => "pause".into(),
            Fault::Partition(shape) => format!("partition-{}", shape.name()),
            Fault::Delay { kinds, .. } => of_kinds("delay", kinds),
            Fault::Loss { kinds, .. } => of_kinds("loss", kinds),
            Fault::Duplicate { kinds, .. } => of_kinds("duplicate", kinds),
            Fault::Reorder { kinds, .. } => of_kinds("reorder", kinds),
            Fault::Rate { .. } => "rate".into(),
            Fault::ClockOffset { .. } => "clock-offset".into(),
            Fault::ClockRate { .. } => "clock-rate".into(),
            Fault::ClockStrobe { .. } => "clock-strobe".into(),
            Fault::CpuPressure { .. } => "cpu-pressure".into(),
            Fault::MemoryPressure { .. } => "memory-pressure".into(),
            Fault::DiskStall => "disk-stall".into(),
            Fault::DiskSlow { .. } => "disk-slow".into(),
            Fault::DiskFull => "disk-full".into(),
            Fault::BitFlip => "bit-flip".into(),
            Fault::Truncate { .. } => "truncate".into(),
            Fault::Rollback => "rollback".into(),
            Fault::Wipe => "wipe".into(),
            Fault::Members => "members".into(),
            Fault::Transfer => "transfer".into(),
        }
    }

    /// The kinds of messages that it is on, if not on all that crosses a link.
    #[must_use]
    pub fn kinds(&self) -> Option<&BTreeSet<String>> {
        match self {
            Fault::Delay { kinds, .. }
            | Fault::Loss { kinds, .. }
            | Fault::Duplicate { kinds, .. }
            | Fault::Reorder { kinds, .. } => kinds.as_ref(),
            Fault::Kill
            | Fault::PowerLoss
            | Fault::Pause
            | Fault::Partition(_)
            | Fault::Rate { .. }
            | Fault::ClockOffset { .. }
            | Fault::ClockRate { .. }
            | Fault::ClockStrobe { .. }
            | Fault::CpuPressure { .. }
            | Fault::MemoryPressure { .. }
            | Fault::DiskStall
            | Fault::DiskSlow { .. }
            | Fault::DiskFull
            | Fault::BitFlip
            | Fault::Truncate { .. }
            | Fault::Rollback
            | Fault::Wipe
            | Fault::Members
            | Fault::Transfer => None,
        }
    }

    /// Whether a node forgets by it what it had promised to remember: more than protocols that count on their disks survive.
    #[must_use]
    pub fn is_amnesia(&self) -> bool {
        matches!(self, Fault::Truncate { .. } | Fault::Rollback)
    }

    /// Whether members, their disks or their leader change by it.
    #[must_use]
    pub fn changes_group(&self) -> bool {
        matches!(self, Fault::Members | Fault::Wipe | Fault::BitFlip | Fault::Transfer)
    }

    /// What it does to a clock when it begins; `None` if it is none of clocks.
    #[must_use]
    pub fn clock_setting(&self) -> Option<ClockSetting> {
        match self {
            Fault::ClockOffset { offset_ms } | Fault::ClockStrobe { offset_ms, .. } => {
                Some(ClockSetting { offset_us: offset_ms * 1_000, rate: 1.0 })
            }
            Fault::ClockRate { rate } => Some(ClockSetting { offset_us: 0, rate: *rate }),
            Fault::Kill
            | Fault::PowerLoss
            | Fault::Pause
            | Fault::Partition(_)
            | Fault::Delay { .. }
            | Fault::Loss { .. }
            | Fault::Duplicate { .. }
            | Fault::Reorder { .. }
            | Fault::Rate { .. }
            | Fault::CpuPressure { .. }
            | Fault::MemoryPressure { .. }
            | Fault::DiskStall
            | Fault::DiskSlow { .. }
            | Fault::DiskFull
            | Fault::BitFlip
            | Fault::Truncate { .. }
            | Fault::Rollback
            | Fault::Wipe
            | Fault::Members
            | Fault::Transfer => None,
        }
    }

    /// The fault that a bare name on the command line means, with numbers that bite.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Fault> {
        let ms = Duration::from_millis;
        Some(match name {
            "kill" => Fault::Kill,
            "power-loss" => Fault::PowerLoss,
            "pause" => Fault::Pause,
            "partition" => Fault::Partition(Shape::Halves),
            "delay" => Fault::Delay { latency: ms(50), jitter: ms(20), kinds: None },
            "loss" => Fault::Loss { probability: 0.1, kinds: None },
            "duplicate" => Fault::Duplicate { probability: 0.2, kinds: None },
            "reorder" => Fault::Reorder { probability: 0.2, within: ms(30), kinds: None },
            "rate" => Fault::Rate { bytes_per_s: 200_000 },
            "clock-offset" => Fault::ClockOffset { offset_ms: 5_000 },
            "clock-rate" => Fault::ClockRate { rate: 1.5 },
            "clock-strobe" => Fault::ClockStrobe { offset_ms: 500, period: ms(200) },
            "cpu-pressure" => Fault::CpuPressure { workers: 4 },
            "memory-pressure" => Fault::MemoryPressure { mebibytes: 512 },
            "disk-stall" => Fault::DiskStall,
            "disk-slow" => Fault::DiskSlow { times: 20.0 },
            "disk-full" => Fault::DiskFull,
            "bit-flip" => Fault::BitFlip,
            "truncate" => Fault::Truncate { bytes: None },
            "rollback" => Fault::Rollback,
            "wipe" => Fault::Wipe,
            "members" => Fault::Members,
            "transfer" => Fault::Transfer,
            _ => return name.strip_prefix("partition-").and_then(Shape::by_name).map(Fault::Partition),
        })
    }

    /// The names that [`Fault::by_name`] knows.
    pub const NAMES: &'static [&'static str] = &[
        "kill",
        "power-loss",
        "pause",
        "partition",
        "partition-one",
        "partition-leader",
        "partition-busiest",
        "partition-halves",
        "partition-majority",
        "partition-minority-third",
        "partition-majorities-ring",
        "partition-bridge",
        "partition-one-way",
        "partition-deaf",
        "partition-leader-deaf",
        "delay",
        "loss",
        "duplicate",
        "reorder",
        "rate",
        "clock-offset",
        "clock-rate",
        "clock-strobe",
        "cpu-pressure",
        "memory-pressure",
        "disk-stall",
        "disk-slow",
        "disk-full",
        "bit-flip",
        "truncate",
        "rollback",
        "wipe",
        "members",
        "transfer",
    ];

    /// What is wrong with it, whatever it is on, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        let nothing = self.kinds().is_some_and(BTreeSet::is_empty);
        let nothing = nothing.then(|| "kinds is empty: leave it out to mean all messages".to_owned());
        nothing.or_else(|| self.problem_of_numbers())
    }

    fn problem_of_numbers(&self) -> Option<String> {
        let probability =
            |p: f64| (!(p > 0.0 && p <= 1.0)).then(|| format!("probability {p} is not over 0 and up to 1"));
        match self {
            Fault::Kill
            | Fault::PowerLoss
            | Fault::Pause
            | Fault::DiskStall
            | Fault::DiskFull
            | Fault::BitFlip
            | Fault::Truncate { bytes: None }
            | Fault::Rollback
            | Fault::Wipe
            | Fault::Members
            | Fault::Transfer => None,
            Fault::Truncate { bytes: Some(bytes) } => (!(1..=TRUNCATED_BYTES_MAX).contains(bytes))
                .then(|| format!("bytes {bytes} is not 1 to {TRUNCATED_BYTES_MAX}")),
            Fault::CpuPressure { workers } => {
                (!(1..=1024).contains(workers)).then(|| format!("workers {workers} is not 1 to 1024"))
            }
            Fault::MemoryPressure { mebibytes } => (!(1..=1 << 20).contains(mebibytes))
                .then(|| format!("mebibytes {mebibytes} is not 1 to {}", 1 << 20)),
            Fault::DiskSlow { times } => (!(1.0..=1e6).contains(times) || *times == 1.0)
                .then(|| format!("times {times} is not over 1 and up to 1000000")),
            Fault::Partition(shape) => shape.problem(),
            Fault::Delay { latency, jitter, .. } if latency.is_zero() && jitter.is_zero() => {
                Some("neither latency nor jitter".into())
            }
            Fault::Delay { latency, jitter, .. } => too_long((*latency).max(*jitter)),
            Fault::Loss { probability: p, .. } | Fault::Duplicate { probability: p, .. } => probability(*p),
            Fault::Reorder { probability: p, within, .. } => {
                let zero = || within.is_zero().then(|| "within is 0".into());
                probability(*p).or_else(zero).or_else(|| too_long(*within))
            }
            Fault::Rate { bytes_per_s } => (*bytes_per_s == 0).then(|| "bytes_per_s is 0".into()),
            Fault::ClockOffset { offset_ms } => offset(*offset_ms),
            Fault::ClockRate { rate } => (!(0.01..=100.0).contains(rate) || *rate == 1.0)
                .then(|| format!("rate {rate} is not 0.01 to 100 without 1")),
            Fault::ClockStrobe { offset_ms, period } => {
                let short = *period < Duration::from_millis(10);
                offset(*offset_ms)
                    .or_else(|| short.then(|| "period is below 10ms".into()))
                    .or_else(|| too_long(*period))
            }
        }
    }
}

/// A node refuses longer delays than this.
const DELAY_MAX: Duration = Duration::from_secs(600);
/// More than a segment of any journal.
const TRUNCATED_BYTES_MAX: u64 = 1 << 30;
/// Two clocks that are further apart say no more about a system than these.
const OFFSET_MS_MAX: u64 = 86_400_000;

fn too_long(delay: Duration) -> Option<String> {
    (delay > DELAY_MAX).then(|| format!("{delay:?} is over {DELAY_MAX:?}"))
}

fn offset(offset_ms: i64) -> Option<String> {
    let allowed = 1..=OFFSET_MS_MAX;
    (!allowed.contains(&offset_ms.unsigned_abs()))
        .then(|| format!("offset_ms {offset_ms} is not 1 to {OFFSET_MS_MAX}, either way"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_nodes_would_refuse_are_refused_in_the_plan() {
        for fault in [
            Fault::ClockOffset { offset_ms: i64::MAX },
            Fault::ClockOffset { offset_ms: i64::MIN },
            Fault::ClockStrobe { offset_ms: 0, period: Duration::from_millis(10) },
            Fault::Delay { latency: Duration::MAX, jitter: Duration::ZERO, kinds: None },
            Fault::Reorder { probability: 0.5, within: Duration::MAX, kinds: None },
            Fault::Delay { latency: Duration::ZERO, jitter: Duration::ZERO, kinds: None },
            Fault::Loss { probability: 0.5, kinds: Some(BTreeSet::new()) },
            Fault::Truncate { bytes: Some(0) },
            Fault::Truncate { bytes: Some(u64::MAX) },
        ] {
            assert!(fault.problem().is_some(), "{fault:?}");
        }
    }

    #[test]
    fn a_plan_may_name_kinds_and_the_faults_name_says_them() {
        let parse = |text: &str| serde_json::from_str::<Fault>(text);
        let fault = parse(r#"{"loss": {"probability": 1, "kinds": ["vote", "commit", "vote"]}}"#).unwrap();
        assert_eq!(fault.kinds().unwrap().iter().collect::<Vec<_>>(), ["commit", "vote"]);
        assert_eq!(fault.name(), "loss-commit+vote");
        let all = parse(r#"{"loss": {"probability": 1}}"#).unwrap();
        assert_eq!((all.kinds(), all.name().as_str()), (None, "loss"));
        let error = parse(r#"{"rate": {"bytes_per_s": 9, "kinds": ["vote"]}}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `kinds`"), "{error}");
    }

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
