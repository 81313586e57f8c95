//! What the nemesis wants done, and what shows that it was. A world carries actions out and decides nothing.

use crate::disk::DiskCondition;
use protocol::control::{ClockSetting, KindCounters, LinkConditions, LinkCounters, NodeStatus};
use protocol::{AdminReply, AdminRequest, NodeId, Status};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Ask every node what its replica says of itself. [`Evidence::Seen`]
    Look,
    /// Read what a node has counted. [`Evidence::Read`]
    Read(NodeId),
    /// End a node's process at once. [`Evidence::Words`]
    Kill(NodeId),
    /// End these processes at once, and with them what they had not synced. [`Evidence::Dark`]
    LosePower(Vec<NodeId>),
    /// Start a process that is gone, and wait until it serves. [`Evidence::Words`]
    Start(NodeId),
    /// Stop a process where it stands. [`Evidence::Words`]
    Pause(NodeId),
    /// Let a stopped process go on. [`Evidence::Words`]
    Resume(NodeId),
    /// Other programs begin to want this of a node's host. [`Evidence::Words`]
    Press(NodeId, Pressure),
    /// They end. [`Evidence::Released`]
    Release(NodeId, Pressure),
    /// All links of a node are like this; peers that are not named are clear. [`Evidence::Read`]
    Links(NodeId, BTreeMap<NodeId, LinkConditions>),
    /// A node's clock is like this. [`Evidence::Read`]
    Clock(NodeId, ClockSetting),
    /// A node's disk is like this. [`Evidence::Words`]
    Disk(NodeId, DiskCondition),
    /// End a process and flip a bit of what its disk holds, where storage can tell; which bit follows from the number.
    /// [`Evidence::Words`]
    FlipBit(NodeId, u64),
    /// Start a process from a disk of which a bit was flipped: [`Evidence::Comeback`], which is whole where it is not known yet whether
    /// the node refuses it.
    StartDamaged(NodeId),
    /// End a process, if it runs, and start it with an empty disk, as another member. [`Evidence::Words`]
    Wipe(NodeId),
    /// End a process and cut this number of bytes off the end of its log on disk. [`Evidence::Words`]
    Truncate(NodeId, u64),
    /// Start a process whose disk was cut, and look whether it stays. [`Evidence::Comeback`]
    ComeBack(NodeId),
    /// Copy a disk while its process stands still. [`Evidence::Words`]
    CopyDisk(NodeId),
    /// End a process, put the copy in place of its disk, start it, and look whether it stays. [`Evidence::Comeback`]
    RollBack(NodeId),
    /// Ask a replica for other members, or another leader. [`Evidence::Answer`]
    Ask(NodeId, AdminRequest),
}

/// What shows that an action was carried out. It becomes words where a fault ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// What those replicas say of themselves that answer.
    Seen(BTreeMap<NodeId, Status>),
    /// What a node has counted.
    Read(Box<Reading>),
    /// In words, what the world saw when it did it.
    Words(String),
    /// For each process what became of it.
    Dark(Vec<Result<Dark, InjectError>>),
    /// What other programs had, or `None` if that was nothing to speak of.
    Released(Option<String>),
    /// How a node came back on a disk that has forgotten or is damaged.
    Comeback(Comeback),
    /// What a replica said to an operator.
    Answer(AdminReply),
}

/// Why an action was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum InjectError {
    /// This cannot be had here: nothing was done.
    #[error("{0}")]
    Unsupported(String),
    /// It may or may not have been done.
    #[error("{0}")]
    Failed(String),
}

/// What other programs want of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Pressure {
    /// So many processors, all the time.
    Cpu(u32),
    /// So many mebibytes, in use all the time.
    MemoryMib(u32),
}

/// How a node came back on a disk that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comeback {
    /// Nothing was lost after all, as far as is known.
    Whole(String),
    /// It carries on without what it has lost; what that was.
    Forgetful(String),
    /// It refused that disk; what it said.
    Refused(String),
}

/// A process that is gone with its power.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dark {
    /// What shows it.
    pub evidence: String,
    /// It is known that nothing was unsynced: no more happened than at a kill.
    pub lost_nothing: bool,
}

/// What a node has counted since its process started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Which node.
    pub node: NodeId,
    /// Its process: where this differs from the last reading, all counters began anew.
    pub process: u32,
    /// What became of what it sent.
    pub outbound: BTreeMap<NodeId, LinkCounters>,
    /// What became of what arrived.
    pub inbound: BTreeMap<NodeId, LinkCounters>,
    /// What became of those kinds of messages that were conditioned, of what it sent.
    pub outbound_kinds: BTreeMap<NodeId, KindCounters>,
    /// The same of what arrived.
    pub inbound_kinds: BTreeMap<NodeId, KindCounters>,
    /// Its clock minus true time at this moment, microseconds.
    pub clock_error_us: i64,
    /// What its disk did.
    pub disk: DiskCounters,
}

/// What a disk did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounters {
    /// Syncs.
    pub syncs: u64,
    /// Work that waited for a disk that did nothing.
    pub held_up: u64,
    /// Writes that were refused because it was full.
    pub refused: u64,
}

impl From<NodeStatus> for Reading {
    fn from(status: NodeStatus) -> Self {
        Self {
            node: status.node,
            process: status.pid,
            outbound: status.outbound,
            inbound: status.inbound,
            outbound_kinds: status.outbound_kinds,
            inbound_kinds: status.inbound_kinds,
            clock_error_us: status.clock_error_us,
            disk: DiskCounters { refused: status.writes_refused, ..DiskCounters::default() },
        }
    }
}

impl Action {
    /// The node that it is done to; `None`: to all, or to several.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        match self {
            Action::Look | Action::LosePower(_) => None,
            Action::Read(node)
            | Action::Kill(node)
            | Action::Start(node)
            | Action::Pause(node)
            | Action::Resume(node)
            | Action::Press(node, _)
            | Action::Release(node, _)
            | Action::Links(node, _)
            | Action::Clock(node, _)
            | Action::Disk(node, _)
            | Action::FlipBit(node, _)
            | Action::StartDamaged(node)
            | Action::Wipe(node)
            | Action::Truncate(node, _)
            | Action::ComeBack(node)
            | Action::CopyDisk(node)
            | Action::RollBack(node)
            | Action::Ask(node, _) => Some(*node),
        }
    }
}

/// A world answered an action with evidence of another.
fn odd(evidence: &Evidence) -> ! {
    unreachable!("a world answers with evidence of what it was asked for, not {evidence:?}")
}

/// What is expected of an action.
///
/// # Panics
/// Each, if the world answered with evidence of another action.
impl Evidence {
    pub(crate) fn seen(self) -> BTreeMap<NodeId, Status> {
        if let Evidence::Seen(statuses) = self { statuses } else { odd(&self) }
    }

    pub(crate) fn reading(self) -> Box<Reading> {
        if let Evidence::Read(reading) = self { reading } else { odd(&self) }
    }

    pub(crate) fn words(self) -> String {
        if let Evidence::Words(words) = self { words } else { odd(&self) }
    }

    pub(crate) fn dark(self) -> Vec<Result<Dark, InjectError>> {
        if let Evidence::Dark(dark) = self { dark } else { odd(&self) }
    }

    pub(crate) fn released(self) -> Option<String> {
        if let Evidence::Released(words) = self { words } else { odd(&self) }
    }

    pub(crate) fn comeback(self) -> Comeback {
        if let Evidence::Comeback(comeback) = self { comeback } else { odd(&self) }
    }

    pub(crate) fn answer(self) -> AdminReply {
        if let Evidence::Answer(reply) = self { reply } else { odd(&self) }
    }
}
