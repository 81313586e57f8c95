//! A whole history in memory: invocations paired with their returns.

use super::error::HistoryError;
use super::op::{Entry, FaultEvent, Op, Outcome, Phase, ProcessId};
use super::reader::{Ending, Reader};
use rustc_hash::FxHashMap;
use std::fmt::Write as _;
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
    /// From when on which process was hostile.
    pub hostile: Vec<(u64, ProcessId)>,
    /// From when on which node's replica has lied.
    pub liars: Vec<(u64, u32)>,
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
        let others = self.faults.len() + self.phases.len() + self.hostile.len() + self.liars.len();
        (self.ops.len() + returned + others) as u64 + u64::from(self.clock_uncertainty > 0)
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

    /// A history of nothing.
    #[must_use]
    pub fn empty() -> History {
        Pairing::default().finish(Ending::Complete)
    }
}

#[derive(Default)]
struct Pairing {
    ops: Vec<Op>,
    faults: Vec<(u64, FaultEvent)>,
    phases: Vec<(u64, Phase)>,
    clock_uncertainty: u64,
    hostile: Vec<(u64, ProcessId)>,
    liars: Vec<(u64, u32)>,
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
            Entry::Hostile { time, process } => self.hostile.push((time, process)),
            Entry::Liar { time, node } => self.liars.push((time, node)),
            Entry::Invoke { time, intended, process, to, call } => {
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
                    is_hostile: false,
                    call,
                    to,
                    intended,
                    invoked: time,
                    returned: None,
                    by: Vec::new(),
                    outcome,
                });
            }
            Entry::Return { time, process, by, outcome } => {
                let Some(open) = self.open.remove(&process) else {
                    return Err(HistoryError::NothingOpen { entry: index, process });
                };
                let op = &mut self.ops[open];
                if time < op.invoked {
                    let (invoked, returned) = (op.invoked, time);
                    return Err(HistoryError::BackInTime { entry: index, process, invoked, returned });
                }
                op.returned = Some(time);
                op.by = by;
                op.outcome = outcome;
            }
        }
        Ok(())
    }

    fn finish(mut self, ending: Ending) -> History {
        self.tell_hostile_ops();
        self.discard_lies();
        let Pairing { ops, faults, phases, clock_uncertainty, hostile, liars, .. } = self;
        History { ops, faults, phases, clock_uncertainty, hostile, liars, ending }
    }

    /// By time, not by place: who marks a process is not who records its ops.
    fn tell_hostile_ops(&mut self) {
        let since = earliest(&self.hostile);
        if since.is_empty() {
            return;
        }
        for op in &mut self.ops {
            let ended_by = op.returned.unwrap_or(u64::MAX);
            op.is_hostile = since.get(&op.process).is_some_and(|time| *time <= ended_by);
        }
    }

    /// What liars alone have answered says nothing: the op may or may not have taken effect, and may yet.
    fn discard_lies(&mut self) {
        let since = earliest(&self.liars);
        if since.is_empty() {
            return;
        }
        for op in &mut self.ops {
            let Some(returned) = op.returned.filter(|_| !op.by.is_empty()) else { continue };
            let lies = |node: &u32| since.get(node).is_some_and(|time| *time <= returned);
            if op.by.iter().all(lies) {
                let mut why = "answered only by replicas that lie:".to_string();
                for node in &op.by {
                    write!(why, " n{node}").expect("a string takes all that is written to it");
                }
                op.outcome = Outcome::Info(why);
            }
        }
    }
}

/// The first time of each.
fn earliest<T: Copy + Eq + std::hash::Hash>(marks: &[(u64, T)]) -> FxHashMap<T, u64> {
    let mut earliest = FxHashMap::default();
    for (time, of) in marks {
        let first = earliest.entry(*of).or_insert(*time);
        *first = (*first).min(*time);
    }
    earliest
}
