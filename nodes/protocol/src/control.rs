//! What the control socket speaks: one JSON value a line, request then reply.
//!
//! The socket is a Unix socket (mode 0600) in the node's data folder: no open port can inject a fault.
//! Every fault is *leased*: unless renewed within the lease it heals itself, so that a dead controller leaves
//! nothing faulted.

use crate::admin::{AdminReply, AdminRequest};
use crate::adversary::Tampered;
use crate::ids::{NodeId, ReplicaId};
use crate::status::Status;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The state of one direction of one link. Applied by the sender to what it sends (`outbound`) or by the
/// receiver to what arrives (`inbound`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkCondition {
    /// Nothing passes; what is sent meanwhile is lost.
    pub blocked: bool,
    /// Added to each message, microseconds.
    pub latency_us: u64,
    /// Added on top, drawn uniformly from 0 to this, microseconds. Order is kept unless `reorder` says otherwise.
    pub jitter_us: u64,
    /// Probability that a message is lost, 0 to 1.
    pub loss: f64,
    /// Probability that a message arrives twice, 0 to 1.
    pub duplicate: f64,
    /// Probability that a message is held back behind later ones (by up to `reorder_us`), 0 to 1.
    pub reorder: f64,
    /// How long a reordered message is held back at most, microseconds.
    pub reorder_us: u64,
    /// Bytes a second that pass; 0 is unlimited. What exceeds it queues (bounded), then is lost.
    pub rate_bytes_s: u64,
}

impl Default for LinkCondition {
    fn default() -> Self {
        Self {
            blocked: false,
            latency_us: 0,
            jitter_us: 0,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_us: 0,
            rate_bytes_s: 0,
        }
    }
}

impl LinkCondition {
    /// Whether messages pass as if there were no conditioner.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        *self == Self::default()
    }
}

/// The state of one direction of one link, where kinds of messages are told apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OneWayCondition {
    /// Of all messages.
    pub all: LinkCondition,
    /// Of messages of one kind ([`crate::Describe::kind`]), on top: both parts act, each by itself, and each is counted by itself. Has no
    /// rate: its bytes have no kind. Messages of such a kind keep their order among themselves only.
    pub kinds: BTreeMap<String, LinkCondition>,
}

impl OneWayCondition {
    /// Whether messages pass as if there were no conditioner.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.all.is_clear() && self.kinds.values().all(LinkCondition::is_clear)
    }
}

impl From<LinkCondition> for OneWayCondition {
    fn from(all: LinkCondition) -> Self {
        Self { all, kinds: BTreeMap::new() }
    }
}

/// The two directions of the link to one peer, as this node sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkConditions {
    /// What this node sends.
    pub outbound: OneWayCondition,
    /// What arrives here.
    pub inbound: OneWayCondition,
}

impl LinkConditions {
    /// Whether nothing is conditioned, either way.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.outbound.is_clear() && self.inbound.is_clear()
    }
}

/// A node's clock as a function of the machine's: `offset + rate × machine time since the setting`.
/// The node's monotonic time never runs backwards; a negative offset stops it until it is caught up with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockSetting {
    /// Microseconds ahead of the machine's clock (negative: behind).
    pub offset_us: i64,
    /// Seconds of node time per second of machine time; 1 is true.
    pub rate: f64,
}

impl Default for ClockSetting {
    fn default() -> Self {
        Self { offset_us: 0, rate: 1.0 }
    }
}

/// What the conditioner did to the messages of one direction of one link since the node started. What the condition of a kind did is
/// counted for that kind, and there only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkCounters {
    /// Let through (now or later).
    pub passed: u64,
    /// Lost because the link was blocked.
    pub blocked: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// Delayed.
    pub delayed: u64,
    /// Held back behind later ones.
    pub reordered: u64,
    /// Held up or lost by the rate limit.
    pub throttled: u64,
}

/// What the conditions of kinds of messages did, by kind: those kinds for which there ever was a condition.
pub type KindCounters = BTreeMap<String, LinkCounters>;

/// A request on the control socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ControlRequest {
    /// Everything about the node.
    Status,
    /// Replace the conditions of all links (peers not named are clear) until the lease ends.
    SetLinks {
        /// By peer.
        links: BTreeMap<NodeId, LinkConditions>,
        /// Milliseconds from now.
        lease_ms: u64,
    },
    /// Replace the clock setting until the lease ends.
    SetClock {
        /// The new setting.
        clock: ClockSetting,
        /// Milliseconds from now.
        lease_ms: u64,
    },
    /// The disk holds no more until the lease ends, or has room again.
    SetDisk {
        /// Which of both.
        full: bool,
        /// Milliseconds from now.
        lease_ms: u64,
    },
    /// The replica lies until the lease ends, or is correct again.
    SetAdversary {
        /// How, in the words of its protocol ([`crate::Protocol::Adversary`]). `None`: it is correct.
        spec: Option<serde_json::Value>,
        /// Milliseconds from now.
        lease_ms: u64,
    },
    /// Send what is for these replicas to these nodes only (replicas not named: to all nodes that stand for them), until
    /// told otherwise or healed.
    SetRoutes {
        /// By replica.
        routes: BTreeMap<ReplicaId, BTreeSet<NodeId>>,
    },
    /// Extend the leases of all that is set.
    Renew {
        /// Milliseconds from now.
        lease_ms: u64,
    },
    /// Undo every fault now.
    Heal,
    /// Other members, or another leader. No fault, and not undone by any of these.
    Admin(AdminRequest),
}

/// The reply to any [`ControlRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlReply {
    /// Done: the state after it.
    Ok(Box<NodeStatus>),
    /// What the core says to [`ControlRequest::Admin`].
    Admin(AdminReply),
    /// Not done.
    Error(String),
}

/// Everything about a node that a nemesis or an operator asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Which node.
    pub node: NodeId,
    /// The replica that it stands for.
    pub replica: ReplicaId,
    /// Its process.
    pub pid: u32,
    /// `raft`, `standalone`, …
    pub protocol: String,
    /// The core's own words.
    pub core: Status,
    /// Conditions in force (clear links are left out).
    pub links: BTreeMap<NodeId, LinkConditions>,
    /// What the conditioner did, outbound.
    pub outbound: BTreeMap<NodeId, LinkCounters>,
    /// What the conditioner did, inbound.
    pub inbound: BTreeMap<NodeId, LinkCounters>,
    /// What the conditions of kinds of messages did, outbound, by kind.
    #[serde(default)]
    pub outbound_kinds: BTreeMap<NodeId, KindCounters>,
    /// What the conditions of kinds of messages did, inbound, by kind.
    #[serde(default)]
    pub inbound_kinds: BTreeMap<NodeId, KindCounters>,
    /// The clock setting in force.
    pub clock: ClockSetting,
    /// Node clock minus machine clock at this moment, microseconds: the evidence that a clock fault bites.
    pub clock_error_us: i64,
    /// Whether its disk is said to be full.
    pub disk_full: bool,
    /// Writes that were refused for that, since the node started.
    pub writes_refused: u64,
    /// Where it was told to send what is for these replicas.
    #[serde(default)]
    pub routes: BTreeMap<ReplicaId, BTreeSet<NodeId>>,
    /// How its replica lies, while it does.
    #[serde(default)]
    pub adversary: Option<serde_json::Value>,
    /// What its adversaries did since the node started.
    #[serde(default)]
    pub tampered: Tampered,
    /// Faults that healed because their lease ran out, since the node started.
    pub leases_expired: u64,
}
