//! What a host is asked to do, and what it says of it.

use crate::host::Secret;
use anyhow::Context;
use protocol::ReplicaId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tls::{Credentials, TlsFiles};
use workloads::load::{LoadConfig, LoadEnd};
use workloads::{ClientTls, Endpoint, Progress, Spec};

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
    pub target: LoadTarget,
    /// What is asked.
    pub spec: Spec,
    /// How.
    pub config: LoadConfig,
}

/// Where load goes: an [`Endpoint`] in a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum LoadTarget {
    /// Our own nodes.
    Kv {
        /// Their client ports.
        replicas: BTreeMap<ReplicaId, SocketAddr>,
        /// If they speak TLS.
        tls: Option<TlsFiles>,
    },
    /// etcd.
    Etcd {
        /// Its members' client ports.
        members: Vec<SocketAddr>,
        /// Read from the member asked, as it is.
        serializable_reads: bool,
    },
}

impl LoadTarget {
    /// What the load engine takes.
    ///
    /// # Errors
    /// If the files for TLS cannot be read.
    pub(super) fn endpoint(self) -> anyhow::Result<Endpoint> {
        Ok(match self {
            LoadTarget::Kv { replicas, tls } => {
                let credentials = tls.map(|files| Credentials::read(&files)).transpose();
                let credentials = credentials.context("what it shows to nodes")?;
                Endpoint::Kv { replicas, tls: credentials.as_ref().map(ClientTls::new) }
            }
            LoadTarget::Etcd { members, serializable_reads } => {
                Endpoint::Etcd { members, serializable_reads }
            }
        })
    }
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
