//! A whole history in memory: invocations paired with their returns.

use super::error::HistoryError;
use super::op::{Entry, FaultEvent, Op, Outcome, Phase, ProcessId};
use super::reader::{Ending, Reader};
use rustc_hash::FxHashMap;
use std::path::Path;

/// What checkers and reports read.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// By invocation, in the order in which they were recorded.
    pub ops: Vec<Op>,
    /// Time (nanoseconds since the run began) and event.
    pub faults: Vec<(u64, FaultEvent)>,
    /// When which phase began. Ops before the first phase belong to [`Phase::Run`].
    pub phases: Vec<(u64, Phase)>,
    /// By how much times may be off, nanoseconds: 0 if all of it was recorded in one place.
    pub clock_uncertainty: u64,
    /// Whether the file was whole.
    pub ending: Ending,
}

impl History {
    /// Reads a whole history file. One that ends early is loaded as far as it goes, see [`History::ending`].
    ///
    /// # Errors
    /// If the file cannot be read, is corrupt before its end, or its entries do not pair.
    pub fn load(path: impl AsRef<Path>) -> Result<History, HistoryError> {
        let mut reader = Reader::open(path)?;
        let mut pairing = Pairing::default();
        for entry in &mut reader {
            pairing.add(entry?)?;
        }
        let ending = reader.ending().expect("a reader without an error has come to an end").clone();
        Ok(pairing.finish(ending))
    }

    /// Pairs entries that are in memory.
    ///
    /// # Errors
    /// If they do not pair.
    pub fn from_entries(entries: impl IntoIterator<Item = Entry>) -> Result<History, HistoryError> {
        let mut pairing = Pairing::default();
        for entry in entries {
            pairing.add(entry)?;
        }
        Ok(pairing.finish(Ending::Complete))
    }

    /// How many entries it came from.
    #[must_use]
    pub fn entries(&self) -> u64 {
        let returned = self.ops.iter().filter(|op| op.returned.is_some()).count();
        (self.ops.len() + returned + self.faults.len() + self.phases.len()) as u64
            + u64::from(self.clock_uncertainty > 0)
    }

    /// The same with each op as long as it may have been: what is in order here was in order for certain, whatever the clocks said.
    #[must_use]
    pub fn widened(&self) -> History {
        let mut wide = self.clone();
        for op in &mut wide.ops {
            op.invoked = op.invoked.saturating_sub(self.clock_uncertainty);
            op.returned = op.returned.map(|returned| returned.saturating_add(self.clock_uncertainty));
        }
        wide
    }
}

#[derive(Default)]
struct Pairing {
    ops: Vec<Op>,
    faults: Vec<(u64, FaultEvent)>,
    phases: Vec<(u64, Phase)>,
    clock_uncertainty: u64,
    /// Which op each process has open: a position in `ops`.
    open: FxHashMap<ProcessId, usize>,
    entries: u64,
}

impl Pairing {
    fn add(&mut self, entry: Entry) -> Result<(), HistoryError> {
        let index = self.entries;
        self.entries += 1;
        match entry {
            Entry::Phase { time, phase } => self.phases.push((time, phase)),
            Entry::Fault { time, event } => self.faults.push((time, event)),
            Entry::Clocks { uncertainty, .. } => {
                self.clock_uncertainty = self.clock_uncertainty.max(uncertainty);
            }
            Entry::Invoke { time, intended, process, call } => {
                if let Some(open) = self.open.insert(process, self.ops.len()) {
                    return Err(HistoryError::StillOpen {
                        entry: index,
                        process,
                        open: self.ops[open].index,
                    });
                }
                let phase = self.phases.last().map_or(Phase::Run, |(_, phase)| *phase);
                let outcome = Outcome::Info("still open when the history ended".to_string());
                self.ops.push(Op {
                    index,
                    process,
                    phase,
                    call,
                    intended,
                    invoked: time,
                    returned: None,
                    outcome,
                });
            }
            Entry::Return { time, process, outcome } => {
                let Some(open) = self.open.remove(&process) else {
                    return Err(HistoryError::NothingOpen { entry: index, process });
                };
                let op = &mut self.ops[open];
                if time < op.invoked {
                    let (invoked, returned) = (op.invoked, time);
                    return Err(HistoryError::BackInTime { entry: index, process, invoked, returned });
                }
                op.returned = Some(time);
                op.outcome = outcome;
            }
        }
        Ok(())
    }

    fn finish(self, ending: Ending) -> History {
        let Pairing { ops, faults, phases, clock_uncertainty, .. } = self;
        History { ops, faults, phases, clock_uncertainty, ending }
    }
}
