//! What a history is made of.
//!
//! Values that workloads write are numbers, unique per key (or per record field); clients expand them to bytes of
//! the wanted size and recognise them again. Times are nanoseconds since the run began, on the controller's
//! monotonic clock, or on another host's as compared with it ([`Entry::Clocks`]). A node is its number: 3 is `n3`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A logical client, in Jepsen's sense: it has at most one op open, and retires when an op's outcome is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessId(pub u32);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Call {
    /// A register's value.
    Read { key: u64 },
    /// Sets a register.
    Write { key: u64, value: u64 },
    /// Sets a register to `to` if it holds `from`.
    Cas { key: u64, from: u64, to: u64 },
    /// A transaction over lists and registers.
    Txn(Vec<MicroCall>),
    /// YCSB: writes a whole record; every field carries `value`.
    Insert { key: u64, value: u64 },
    /// YCSB: writes one field of a record.
    Update { key: u64, field: u32, value: u64 },
    /// YCSB: all fields of a record.
    ReadRecord { key: u64 },
    /// YCSB: up to `limit` records from `key` on, in the store's order.
    Scan { key: u64, limit: u32 },
    /// YCSB: all fields of a record, then a write of one of them.
    ReadModifyWrite { key: u64, field: u32, value: u64 },
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MicroCall {
    /// A list.
    ReadList { key: u64 },
    /// Adds an element at a list's end.
    Append { key: u64, value: u64 },
    /// A register.
    Read { key: u64 },
    /// Sets a register.
    Write { key: u64, value: u64 },
}

/// What a field without a value is read as: an update of a record that was never inserted makes one with a single field.
/// Values that are written are greater.
pub const FIELD_NEVER_WRITTEN: u64 = 0;

/// What the system answered to a call that took effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// `Write`, `Insert`, `Update`.
    Done,
    /// `Read`: `None` if the register was never written.
    Value(Option<u64>),
    /// `Cas`: whether the register held `from`. `false` says for certain that it did not.
    Swapped(bool),
    /// `Txn`: one answer for each step.
    Txn(Vec<MicroAnswer>),
    /// `ReadRecord`, `ReadModifyWrite`: the value in each field, [`FIELD_NEVER_WRITTEN`] where there is none; `None` if there
    /// is no such record.
    Fields(Option<Vec<u64>>),
    /// `Scan`: how many records came back. The client has seen to it that they are in order and whole.
    Rows(u32),
    /// The answer is none that this call can have, or its bytes are none that anybody wrote: corruption.
    Corrupt(String),
}

/// The answer to one step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MicroAnswer {
    /// `ReadList`; absent is empty.
    List(Vec<u64>),
    /// `Read`.
    Value(Option<u64>),
    /// `Append`, `Write`.
    Done,
}

/// How an op ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It took effect.
    Ok(Answer),
    /// It took no effect and never will.
    Fail(String),
    /// It may or may not have taken effect, and may yet.
    Info(String),
}

/// The part of a run that an op belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Records are loaded; no faults.
    Load,
    /// Workload beside nemesis.
    Run,
    /// After the final heal: reads of everything.
    Final,
}

/// What happened to a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultStage {
    /// It is in force; `detail` is how we know.
    Installed,
    /// It was not put in force; `detail` is why.
    Skipped,
    /// It may or may not be in force; `detail` is what went wrong.
    Indeterminate,
    /// It is over; `detail` is the evidence that it bit (packets dropped, time stopped, …).
    Healed,
    /// It is over and nothing shows that it ever bit.
    NeverBit,
}

/// A fault came, went or was skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultEvent {
    /// Numbers the faults of a run; `Installed` and `Healed` of one fault share it.
    pub id: u32,
    /// The fault's name in plans: `kill`, `pause`, `partition-halves`, …
    pub fault: String,
    /// The line of the plan's nemesis that it belongs to, from 1 on; `None` if that was not recorded.
    pub line: Option<u32>,
    /// The nodes it is on, or `n1|n2,n3` for a partition: short, for a person.
    pub targets: String,
    /// What happened.
    pub stage: FaultStage,
    /// Evidence or reason.
    pub detail: String,
}

/// One entry of the history file, in the order in which the controller saw them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A phase begins.
    Phase { time: u64, phase: Phase },
    /// A process asks. `intended` is when the schedule wanted it to (equal to `time` in a closed loop): latency counts from
    /// there, effects from `time`. `to` is the node that is asked first, or that the process is bound to, if that is known.
    Invoke { time: u64, intended: u64, process: ProcessId, to: Option<u32>, call: Call },
    /// The process's open op ends. `by` are the nodes whose answers made the outcome; empty if they are not known.
    Return { time: u64, process: ProcessId, by: Vec<u32>, outcome: Outcome },
    /// A fault.
    Fault { time: u64, event: FaultEvent },
    /// The history was recorded in several places. Times are as the controller's clock would have told them, give or take so much,
    /// in nanoseconds.
    Clocks { time: u64, uncertainty: u64 },
    /// From now on this process is hostile, with the op that it has open. Its ops may take effect at any time of the run, any number
    /// of times, or never, whatever they were answered.
    Hostile { time: u64, process: ProcessId },
    /// From now on this node's replica lies: what it says counts in no judgement any more.
    Liar { time: u64, node: u32 },
}

impl Entry {
    /// When it was recorded.
    #[must_use]
    pub fn time(&self) -> u64 {
        match self {
            Entry::Phase { time, .. }
            | Entry::Invoke { time, .. }
            | Entry::Return { time, .. }
            | Entry::Fault { time, .. }
            | Entry::Clocks { time, .. }
            | Entry::Hostile { time, .. }
            | Entry::Liar { time, .. } => *time,
        }
    }
}

/// The kinds of op that tables and plots tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpKind {
    Read,
    Write,
    Cas,
    Txn,
    Insert,
    Update,
    Scan,
    ReadModifyWrite,
}

impl Call {
    /// Which kind of op this is.
    #[must_use]
    pub fn kind(&self) -> OpKind {
        match self {
            Call::Read { .. } | Call::ReadRecord { .. } => OpKind::Read,
            Call::Write { .. } => OpKind::Write,
            Call::Cas { .. } => OpKind::Cas,
            Call::Txn(_) => OpKind::Txn,
            Call::Insert { .. } => OpKind::Insert,
            Call::Update { .. } => OpKind::Update,
            Call::Scan { .. } => OpKind::Scan,
            Call::ReadModifyWrite { .. } => OpKind::ReadModifyWrite,
        }
    }
}

impl OpKind {
    /// The name in tables, plots and exports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            OpKind::Read => "read",
            OpKind::Write => "write",
            OpKind::Cas => "cas",
            OpKind::Txn => "txn",
            OpKind::Insert => "insert",
            OpKind::Update => "update",
            OpKind::Scan => "scan",
            OpKind::ReadModifyWrite => "read-modify-write",
        }
    }
}

/// An invocation with its completion: what checkers work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// The position of the invocation among the history's entries.
    pub index: u64,
    /// Who.
    pub process: ProcessId,
    /// In which phase it was invoked.
    pub phase: Phase,
    /// Whether the process was hostile before the op ended: see [`Entry::Hostile`].
    pub is_hostile: bool,
    /// What.
    pub call: Call,
    /// The node that was asked first, if that is known.
    pub to: Option<u32>,
    /// When the schedule wanted it.
    pub intended: u64,
    /// When it was asked.
    pub invoked: u64,
    /// When it ended, if it did; an `Info` op has effects until the end of time all the same.
    pub returned: Option<u64>,
    /// The nodes whose answers made the outcome, as far as they are known.
    pub by: Vec<u32>,
    /// How it ended; an op still open at the end of the history is `Info`, and so is one that only liars have answered
    /// ([`Entry::Liar`]).
    pub outcome: Outcome,
}
