//! What a host is asked to do, and what it says of it.

use crate::host::Secret;
use crate::subject::{Reads, System};
use protocol::{NodeId, ReplicaId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tls::TlsFiles;
use workloads::load::{LoadConfig, LoadEnd};
use workloads::{Distances, Progress, Spec};

/// To the agent of a host that makes load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum LoadRequest {
    /// Begin; whatever was before ends.
    Begin {
        /// With what.
        order: Box<LoadOrder>,
        /// What it needs to be let in, in files.
        secrets: Vec<Secret>,
    },
    /// How does it go?
    Look,
    /// Ask nothing more, and wait for what is open.
    Stop,
}

/// The run phase of one host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LoadOrder {
    /// Where load goes.
    pub target: Target,
    /// If that speaks TLS.
    pub tls: Option<TlsFiles>,
    /// What is asked.
    pub spec: Spec,
    /// How.
    pub config: LoadConfig,
}

/// Where load goes: what runs there, which makes its clients.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Target {
    /// What runs.
    pub system: System,
    /// How it reads.
    pub reads: Reads,
    /// The nodes that clients may ask: which replica each stands for, and where its client port is.
    pub nodes: BTreeMap<NodeId, (ReplicaId, SocketAddr)>,
    /// How many replicas the group has.
    pub group: usize,
    /// How far clients are from them.
    pub distances: Distances,
}

/// How the load of one host goes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct LoadState {
    /// When its history begins, by the host's monotonic clock, nanoseconds.
    pub origin_ns: u64,
    /// As of a moment ago.
    pub progress: Progress,
    /// Once it is over and its history is whole.
    pub ended: Option<LoadEnded>,
}

/// What is left of a load that is over.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct LoadEnded {
    /// Why.
    pub end: LoadEnd,
    /// Keys 0 up to this were written, or may have been.
    pub keys_used: u64,
    /// Processes 0 up to this have asked something.
    pub processes_used: u32,
    /// When, nanoseconds since its history began.
    pub ended_ns: u64,
}
