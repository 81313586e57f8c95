//! What a fault in force holds on to, until it ends.

use crate::action::{DiskCounters, Pressure};
use crate::disk::DiskCondition;
use crate::exit::Exit;
use crate::links::LinkFault;
use protocol::NodeId;
use protocol::control::{ClockSetting, LinkCounters};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a fault holds on to.
#[derive(Debug)]
pub(crate) enum Hold {
    Down {
        nodes: Vec<NodeId>,
        /// They lost their power, and nothing with it.
        lost_nothing: bool,
    },
    Paused(Vec<NodeId>),
    Links {
        fault: LinkFault,
        before: LinkCounters,
    },
    Clock {
        nodes: Vec<NodeId>,
        setting: ClockSetting,
        strobe: Option<Strobe>,
        error_us_most: u64,
    },
    Disk {
        nodes: Vec<NodeId>,
        condition: DiskCondition,
        before: BTreeMap<NodeId, DiskCounters>,
        /// Those who could not go on with a full disk, with what they said.
        stopped: BTreeMap<NodeId, Exit>,
        /// Those of them that were started again before this ended, in words.
        went_on: Vec<String>,
    },
    /// Other programs use these nodes' hosts.
    Pressed(Pressure, Vec<NodeId>),
    /// Down, and the end of their disks is cut off.
    Truncated(Vec<NodeId>),
    /// There are copies of their disks as they were.
    Copied(Vec<NodeId>),
    /// Down, and a bit of its disk is flipped.
    Flipped(NodeId),
    /// The operator was asked for other voters.
    Members,
    /// A disk was lost, and its node is to be another member where members can change.
    NewDisk,
    /// The operator was asked for another leader.
    Transfer,
}

/// A clock that jumps there and back.
#[derive(Debug)]
pub(crate) struct Strobe {
    pub(crate) period: Duration,
    pub(crate) next: Duration,
    pub(crate) ahead: bool,
}

impl Hold {
    pub(crate) fn links(&self) -> Option<&LinkFault> {
        if let Hold::Links { fault, .. } = self { Some(fault) } else { None }
    }

    pub(crate) fn strobe(&self) -> Option<&Strobe> {
        if let Hold::Clock { strobe, .. } = self { strobe.as_ref() } else { None }
    }

    /// Whether this node's process is gone by it, and stays so until it ends.
    pub(crate) fn keeps_down(&self, node: NodeId) -> bool {
        match self {
            Hold::Down { nodes, .. } | Hold::Truncated(nodes) => nodes.contains(&node),
            Hold::Disk { stopped, .. } => stopped.contains_key(&node),
            Hold::Flipped(flipped) => *flipped == node,
            Hold::Paused(_)
            | Hold::Links { .. }
            | Hold::Clock { .. }
            | Hold::Pressed(..)
            | Hold::Copied(_)
            | Hold::Members
            | Hold::NewDisk
            | Hold::Transfer => false,
        }
    }

    /// Why nothing can be asked of this node, if it is because of this, in words that a fault's number completes.
    pub(crate) fn occupies(&self, node: NodeId) -> Option<String> {
        if let Hold::Paused(nodes) = self
            && nodes.contains(&node)
        {
            return Some(format!("{node} is paused"));
        }
        if let Hold::Disk { stopped, .. } = self
            && stopped.contains_key(&node)
        {
            return Some(format!("{node} has stopped at its full disk,"));
        }
        self.keeps_down(node).then(|| format!("{node} is down"))
    }

    /// Why this node's disk is not to be touched otherwise, if it is because of this.
    pub(crate) fn needs_disk(&self, node: NodeId) -> Option<String> {
        if let Hold::Copied(nodes) = self
            && nodes.contains(&node)
        {
            return Some(format!("the disk of {node} is to be rolled back"));
        }
        self.fills(node).then(|| format!("the disk of {node} is full"))
    }

    fn fills(&self, node: NodeId) -> bool {
        matches!(self, Hold::Disk { nodes, condition, .. } if condition.full && nodes.contains(&node))
    }

    /// Where to note that this node has stopped, if its disk is full by it.
    pub(crate) fn stopped_when_full(&mut self, node: NodeId) -> Option<&mut BTreeMap<NodeId, Exit>> {
        let fills = self.fills(node);
        if let Hold::Disk { stopped, .. } = self { fills.then_some(stopped) } else { None }
    }

    /// Lets go of these nodes' processes: those that are to be started, and those that are to go on.
    pub(crate) fn release_processes(
        &mut self,
        saved: &[NodeId],
        start: &mut Vec<NodeId>,
        resume: &mut Vec<NodeId>,
    ) {
        let release = |nodes: &mut Vec<NodeId>, to: &mut Vec<NodeId>| {
            to.extend(nodes.iter().filter(|node| saved.contains(node)));
            nodes.retain(|node| !saved.contains(node));
        };
        match self {
            Hold::Down { nodes, .. } => release(nodes, start),
            Hold::Paused(nodes) => release(nodes, resume),
            Hold::Disk { stopped, went_on, .. } => {
                for node in saved {
                    if let Some(exit) = stopped.remove(node) {
                        went_on.push(format!("{node}: it stopped: {}", exit.last_line()));
                        start.push(*node);
                    }
                }
            }
            // What these have taken from a disk is given back when they end.
            Hold::Truncated(_) | Hold::Copied(_) | Hold::Flipped(_) => {}
            Hold::Links { .. }
            | Hold::Clock { .. }
            | Hold::Pressed(..)
            | Hold::Members
            | Hold::NewDisk
            | Hold::Transfer => {}
        }
    }
}
