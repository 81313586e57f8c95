//! Faults as intervals.

use super::seconds;
use checkers::history::{FaultEvent, FaultStage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What kind of thing breaks: one colour each in every plot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Processes that stop or die.
    Process,
    /// Links that carry nothing.
    Partition,
    /// Links that carry badly.
    Packet,
    /// Clocks that are wrong.
    Clock,
    /// Disks that fail.
    Disk,
    /// Replicas that lie.
    Byzantine,
    /// Any other.
    Other,
}

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It was in force, and evidence shows that it bit.
    Bit,
    /// It was in force and nothing shows that it bit.
    NeverBit,
    /// It may or may not have been in force.
    Indeterminate,
    /// It was in force when the history ended.
    Unhealed,
    /// It was not put in force.
    Skipped,
}

/// One fault of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultSpan {
    /// Its number.
    pub id: u32,
    /// Its name in plans.
    pub fault: String,
    /// The nodes it is on.
    pub targets: String,
    /// Its kind.
    pub family: Family,
    /// What became of it.
    pub fate: Fate,
    /// When it came, seconds since the run began.
    pub start_s: f64,
    /// When it went; `None` if it was skipped or never went.
    pub end_s: Option<f64>,
    /// What the nemesis said when it came: how we know, why not, what went wrong.
    pub came: String,
    /// What the nemesis said when it went: the evidence that it bit.
    pub went: String,
}

impl FaultSpan {
    /// Whether it may have been in force at any time.
    #[must_use]
    pub fn was_in_force(&self) -> bool {
        self.fate != Fate::Skipped
    }
}

impl Family {
    /// Every family, in the order of legends.
    pub const ALL: [Family; 7] = [
        Family::Process,
        Family::Partition,
        Family::Packet,
        Family::Clock,
        Family::Disk,
        Family::Byzantine,
        Family::Other,
    ];

    /// The family of a fault by its name in plans: `clock-offset` and `clock-rate` are of the clock.
    #[must_use]
    pub fn of(fault: &str) -> Self {
        match fault.split('-').next().unwrap_or(fault) {
            "kill" | "pause" | "power" => Family::Process,
            "partition" => Family::Partition,
            "delay" | "loss" | "duplicate" | "reorder" | "rate" => Family::Packet,
            "clock" => Family::Clock,
            "disk" | "bit" => Family::Disk,
            "byzantine" | "twins" => Family::Byzantine,
            _ => Family::Other,
        }
    }

    /// The name in legends.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Family::Process => "process",
            Family::Partition => "partition",
            Family::Packet => "packets",
            Family::Clock => "clock",
            Family::Disk => "disk",
            Family::Byzantine => "byzantine",
            Family::Other => "other",
        }
    }
}

impl Fate {
    /// In words for tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fate::Bit => "bit",
            Fate::NeverBit => "never bit",
            Fate::Indeterminate => "indeterminate",
            Fate::Unhealed => "not healed",
            Fate::Skipped => "skipped",
        }
    }
}

/// Puts the events of each fault together, in the order in which faults came.
#[must_use]
pub fn fault_spans(events: &[(u64, FaultEvent)]) -> Vec<FaultSpan> {
    let mut position_of = BTreeMap::new();
    let mut spans: Vec<FaultSpan> = Vec::new();
    for (time, event) in events {
        let position = *position_of.entry(event.id).or_insert_with(|| {
            spans.push(FaultSpan {
                id: event.id,
                fault: event.fault.clone(),
                targets: event.targets.clone(),
                family: Family::of(&event.fault),
                fate: Fate::Unhealed,
                start_s: seconds(*time),
                end_s: None,
                came: String::new(),
                went: String::new(),
            });
            spans.len() - 1
        });
        let span = &mut spans[position];
        match event.stage {
            FaultStage::Installed => span.came.clone_from(&event.detail),
            FaultStage::Skipped => {
                span.fate = Fate::Skipped;
                span.came.clone_from(&event.detail);
            }
            FaultStage::Indeterminate => {
                span.fate = Fate::Indeterminate;
                span.came.clone_from(&event.detail);
            }
            FaultStage::Healed | FaultStage::NeverBit => {
                span.end_s = Some(seconds(*time));
                span.went.clone_from(&event.detail);
                if event.stage == FaultStage::NeverBit {
                    span.fate = Fate::NeverBit;
                } else if span.fate != Fate::Indeterminate {
                    span.fate = Fate::Bit;
                }
            }
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time_s: u64, id: u32, stage: FaultStage, detail: &str) -> (u64, FaultEvent) {
        let event = FaultEvent {
            id,
            fault: "kill".into(),
            line: None,
            targets: "n1".into(),
            stage,
            detail: detail.into(),
        };
        (time_s * 1_000_000_000, event)
    }

    #[test]
    fn events_of_one_fault_become_one_span_with_its_fate() {
        let spans = fault_spans(&[
            event(1, 1, FaultStage::Installed, "pid 7 gone"),
            event(2, 2, FaultStage::Skipped, "no leader"),
            event(3, 1, FaultStage::Healed, "down for 2 s"),
            event(4, 3, FaultStage::Indeterminate, "socket closed"),
            event(5, 3, FaultStage::Healed, "0 packets"),
            event(6, 4, FaultStage::Installed, "rule added"),
            event(7, 4, FaultStage::NeverBit, "0 packets"),
            event(8, 5, FaultStage::Installed, "stopped"),
        ]);
        let seen: Vec<_> = spans.iter().map(|s| (s.id, s.fate, s.start_s, s.end_s)).collect();
        assert_eq!(
            seen,
            [
                (1, Fate::Bit, 1.0, Some(3.0)),
                (2, Fate::Skipped, 2.0, None),
                (3, Fate::Indeterminate, 4.0, Some(5.0)),
                (4, Fate::NeverBit, 6.0, Some(7.0)),
                (5, Fate::Unhealed, 8.0, None),
            ]
        );
        assert_eq!((spans[0].came.as_str(), spans[0].went.as_str()), ("pid 7 gone", "down for 2 s"));
    }

    #[test]
    fn every_fault_name_has_its_family() {
        let families =
            ["kill", "partition-halves", "delay", "clock-rate", "rate", "pause", "zap"].map(Family::of);
        assert_eq!(
            families,
            [
                Family::Process,
                Family::Partition,
                Family::Packet,
                Family::Clock,
                Family::Packet,
                Family::Process,
                Family::Other
            ]
        );
    }
}
