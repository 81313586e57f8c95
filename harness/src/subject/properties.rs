//! What the harness has to know of a subject before it starts one.

use super::Reads;
use nemesis::Group;
use protocol::quorum::Quorums;
use protocol::{NodeId, Placement};
use runtime::Durability;
use serde::{Deserialize, Serialize};
use workloads::Spec;

/// What a subject is, in a table: `list` prints it, a plan is checked against it before anything starts.
#[derive(Clone, Debug)]
pub(crate) struct Properties {
    /// The name in plans and reports.
    pub name: &'static str,
    /// One line for `list`.
    pub about: &'static str,
    /// The node program: of ours, a binary of this workspace; of others, found on the PATH.
    pub program: &'static str,
    /// Whether it is there to show how one is made.
    pub is_example: bool,
    /// What it promises its clients.
    pub promise: Promise,
    /// Which sets of replicas decide, and so how many may crash or lie.
    pub quorums: Quorums,
    /// How many replicas it has, if that is no plan's to say.
    pub replicas: Option<u32>,
    /// Whether one of them leads.
    pub leads: bool,
    /// Whom its clients ask.
    pub client: ClientKind,
    /// Whether members can be replaced while it runs.
    pub changes_members: bool,
    /// Whether replicas can be compared by what they say of their states, or why not.
    pub marks: Result<(), &'static str>,
    /// What it uses clocks for.
    pub clocks: Clocks,
    /// The ways to read that it has besides its default, and what reports call each; the default's name comes first.
    pub reads: &'static [(Reads, &'static str)],
    /// Whether it can run without waiting for its disk.
    pub durability: &'static [Durability],
    /// How its replicas can be made to lie.
    pub adversaries: &'static [&'static str],
    /// Whether its clients can ask what a workload asks, or why not.
    pub workloads: fn(&Spec) -> Result<(), &'static str>,
}

impl Properties {
    /// A group of it, for the nemesis.
    #[must_use]
    pub(crate) fn group(&self, founders: Vec<NodeId>, placement: Placement) -> Group {
        let nodes = placement.nodes().collect();
        Group { nodes, founders, placement, quorums: self.quorums, changes_members: self.changes_members }
    }
}

/// Of a subject whose clients can ask anything.
pub(crate) fn any_workload(_: &Spec) -> Result<(), &'static str> {
    Ok(())
}

/// What a subject promises its clients. Checks follow from promise and workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Promise {
    /// Each operation takes effect at one moment between call and answer; transactions are strictly serializable.
    Linearizable,
    /// Replicas that have seen the same have the same state, and when nothing is written any more all have seen the same.
    Convergent,
}

impl Promise {
    /// Whether it is more than `other`: a system that promises only `other` may break it.
    #[must_use]
    pub(crate) fn is_more_than(self, other: Promise) -> bool {
        match (self, other) {
            (Promise::Linearizable, Promise::Convergent) => true,
            (Promise::Linearizable, Promise::Linearizable) | (Promise::Convergent, _) => false,
        }
    }

    /// The name in plans and reports.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Promise::Linearizable => "linearizable",
            Promise::Convergent => "convergent",
        }
    }
}

/// Whom clients ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientKind {
    /// Whoever leads.
    Leader,
    /// Everybody; what enough of them say alike is the answer.
    Matching,
}

/// What a subject uses clocks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clocks {
    /// For nothing.
    None,
    /// For time-outs: clocks that are wrong cost service.
    Availability,
}

impl ClientKind {
    /// In a word or two.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            ClientKind::Leader => "the leader",
            ClientKind::Matching => "all replicas",
        }
    }
}

impl Clocks {
    /// In a word.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Clocks::None => "nothing",
            Clocks::Availability => "time-outs",
        }
    }
}
