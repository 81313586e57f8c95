//! What the runner needs of hosts and processes.

use crate::exit::Exit;
use protocol::control::{ControlRequest, NodeStatus, OneWayCondition};
use protocol::{AdminReply, AdminRequest, Incarnation, NodeId, Placement};
use serde::{Deserialize, Serialize};

/// Why a fault could not be put in force or taken back.
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

/// How a node came back on a disk that had lost what was synced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comeback {
    /// Nothing was lost after all.
    Whole(String),
    /// It carries on without it; what was lost.
    Forgetful(String),
    /// It refused that disk, and has the one from before back; what it said.
    Refused(String),
}

/// By what means links are made bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkMeans {
    /// In a few words.
    pub by: &'static str,
    /// What is counted: messages, packets.
    pub unit: &'static str,
}

/// A process that is gone with its power.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dark {
    /// What shows it.
    pub evidence: String,
    /// It is known that nothing was unsynced: no more happened than at a kill.
    pub lost_nothing: bool,
}

/// A cluster whose processes and links can be broken. Every method that works says in a few words what shows it.
#[expect(async_fn_in_trait, reason = "one task owns a world; its futures need not be Send")]
pub trait World {
    /// All nodes, up or not.
    fn nodes(&self) -> Vec<NodeId>;

    /// Which replica each of them stands for.
    fn placement(&self) -> Placement;

    /// Those who are members from the beginning.
    fn founders(&self) -> Vec<NodeId>;

    /// In which life a node's disk is.
    fn life(&self, node: NodeId) -> Incarnation;

    /// Who leads, as far as can be told.
    async fn leader(&mut self) -> Option<NodeId>;

    /// Ends the process at once.
    async fn kill(&mut self, node: NodeId) -> Result<String, InjectError>;

    /// Ends the processes at once, and with them what they had not synced; an answer for each.
    async fn lose_power(&mut self, nodes: &[NodeId]) -> Vec<Result<Dark, InjectError>>;

    /// Starts a killed process again and waits until it serves.
    async fn restart(&mut self, node: NodeId) -> Result<String, InjectError>;

    /// Stops the process where it stands.
    async fn pause(&mut self, node: NodeId) -> Result<String, InjectError>;

    /// Lets a stopped process go on; the evidence says whether it stood still.
    async fn resume(&mut self, node: NodeId) -> Result<String, InjectError>;

    /// Other programs begin to want this of the node's host.
    async fn press(&mut self, node: NodeId, pressure: Pressure) -> Result<String, InjectError>;

    /// They end; what they had, or `None` if that was nothing to speak of.
    async fn release(&mut self, node: NodeId, pressure: Pressure) -> Result<Option<String>, InjectError>;

    /// Asks the node itself: link conditions, clock.
    async fn control(&mut self, node: NodeId, request: ControlRequest) -> Result<NodeStatus, InjectError>;

    /// By what means this condition comes about on links between nodes.
    fn link_means(&self, condition: &OneWayCondition) -> LinkMeans;

    /// In a few words, whose clocks a clock fault bends.
    fn clock_means(&self) -> &'static str;

    /// Asks the node for other members, or another leader.
    async fn administer(&mut self, node: NodeId, request: &AdminRequest) -> Result<AdminReply, InjectError>;

    /// Ends the process at once (if it runs), takes its disk away, and starts it with an empty one, in the next life.
    async fn wipe(&mut self, node: NodeId) -> Result<String, InjectError>;

    /// Ends the process at once, flips a bit of what its disk holds where storage can tell, and starts it again to see it refuse its
    /// disk. Which bit follows from `chance`.
    async fn flip_bit(&mut self, node: NodeId, chance: u64) -> Result<String, InjectError>;

    /// The disk holds no more, for as long as this is said again every few seconds.
    async fn fill_disk(&mut self, node: NodeId) -> Result<String, InjectError>;

    /// It has room again; how many writes it has refused, as far as a process that runs still can tell.
    async fn free_disk(&mut self, node: NodeId) -> Result<u64, InjectError>;

    /// Whether its nodes can be replaced by other members.
    fn changes_members(&self) -> bool;

    /// Ends the process at once and cuts so many bytes off the end of what its disk holds durably.
    async fn truncate(&mut self, node: NodeId, bytes: u64) -> Result<String, InjectError>;

    /// Starts a process again whose disk was cut, and looks whether it stays.
    async fn come_back(&mut self, node: NodeId) -> Result<Comeback, InjectError>;

    /// Copies the disk while the process stands still.
    async fn copy_disk(&mut self, node: NodeId) -> Result<String, InjectError>;

    /// Ends the process at once, puts the copy in place of its disk, starts it from that, and looks whether it stays.
    async fn roll_back(&mut self, node: NodeId) -> Result<Comeback, InjectError>;

    /// Processes that ended by themselves since this was last asked.
    async fn unexpected_exits(&mut self) -> Vec<(NodeId, Exit)>;
}
