//! Entries as files of version 1 hold them: nobody wrote down who was asked and who answered.

use super::format::{intended, time_after};
use super::op::{Call, Entry, FaultEvent, FaultStage, Outcome, Phase, ProcessId};
use serde::Deserialize;

/// An entry.
#[derive(Deserialize)]
pub(super) enum Stored {
    Invoke { elapsed: i64, lag: i64, process: ProcessId, call: Call },
    Return { elapsed: i64, process: ProcessId, outcome: Outcome },
    Phase { elapsed: i64, phase: Phase },
    Fault { elapsed: i64, event: Event },
    Clocks { elapsed: i64, uncertainty: u64 },
}

/// A fault that came, went or was skipped.
#[derive(Deserialize)]
pub(super) struct Event {
    id: u32,
    fault: String,
    targets: String,
    stage: FaultStage,
    detail: String,
}

impl Stored {
    /// The entry, by the time of the one before it.
    pub(super) fn entry(self, before: u64) -> Entry {
        let at = |elapsed| time_after(before, elapsed);
        match self {
            Stored::Invoke { elapsed, lag, process, call } => {
                let time = at(elapsed);
                Entry::Invoke { time, intended: intended(time, lag), process, to: None, call }
            }
            Stored::Return { elapsed, process, outcome } => {
                Entry::Return { time: at(elapsed), process, by: Vec::new(), outcome }
            }
            Stored::Phase { elapsed, phase } => Entry::Phase { time: at(elapsed), phase },
            Stored::Fault { elapsed, event } => {
                let Event { id, fault, targets, stage, detail } = event;
                let event = FaultEvent { id, fault, line: None, targets, stage, detail };
                Entry::Fault { time: at(elapsed), event }
            }
            Stored::Clocks { elapsed, uncertainty } => Entry::Clocks { time: at(elapsed), uncertainty },
        }
    }
}
