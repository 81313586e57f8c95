//! A node's life: start, recover, serve, stop.

use crate::alarm::Alarm;
use crate::client_port::{self, ClientIds};
use crate::clients::Clients;
use crate::clock::NodeClock;
use crate::config::{Durability, Keeping, NodeConfig};
use crate::control::{self, Leases};
use crate::driver::{Driver, DriverError, TurnCounters};
use crate::event::{EVENTS_WAITING_MAX, Event};
use crate::front::Front;
use crate::http;
use crate::journal::Journal;
use crate::outlets::Outlets;
use crate::security::Security;
use crate::snapshot::SnapshotStore;
use crate::transport::{self, Group, Links};
use kv::Serves;
use protocol::{RecoverError, Recovered, Routes, Turns};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use storage::Fullness;
use storage::journal::JournalError;
use storage::snapshots::SnapshotError;
use tls::TlsError;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;

/// The journal's folder in the data folder.
pub const JOURNAL: &str = "journal";

/// What a node prints, on one line, when it has recovered and listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Always true: the line that says so.
    pub ready: bool,
    /// The node's process.
    pub pid: u32,
    /// The client port.
    pub client: SocketAddr,
    /// The HTTP port.
    pub http: SocketAddr,
    /// The control socket.
    pub control: PathBuf,
}

/// Why a node does not start, or stops without being told to.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data folder cannot be used.
    #[error("data folder {}: {source}", folder.display())]
    Folder {
        /// Which folder.
        folder: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process runs on the data folder.
    #[error("data folder {} is in use by process {holder}", folder.display())]
    InUse {
        /// Which folder.
        folder: PathBuf,
        /// The process id that it left there.
        holder: String,
    },
    /// A port cannot be had.
    #[error("{port} port {address}: {source}")]
    Port {
        /// Which one.
        port: &'static str,
        /// Where.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The files of TLS cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The control socket cannot be had.
    #[error("control socket: {0}")]
    Control(#[source] io::Error),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The snapshots cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The core cannot start from what the disk holds.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The node was running.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The system refuses something else that a node needs.
    #[error("starting: {0}")]
    System(#[source] io::Error),
}

/// Runs a node until `stop` is ready, or until it cannot go on. Calls `ready` once it serves.
///
/// Must be called on a tokio runtime of one thread. Its tasks end with that runtime.
///
/// # Errors
/// If it does not start or cannot go on.
pub async fn serve<P: Serves>(
    protocol: &'static str,
    config: &NodeConfig,
    core_config: P::Config,
    ready: impl FnOnce(&Ready),
    stop: impl Future<Output = ()>,
) -> Result<(), NodeError> {
    let folder = |source| NodeError::Folder { folder: config.data_dir.clone(), source };
    std::fs::create_dir_all(&config.data_dir).map_err(folder)?;
    let _lock = lock(&config.data_dir)?;
    let security = Security::load(config)?;
    let ports = Ports::bind(config)?;
    let (events, inbox) = mpsc::channel(EVENTS_WAITING_MAX);
    let driver = recover::<P>(protocol, config, core_config, events.clone(), inbox)?;
    let line = ports.ready().map_err(NodeError::System)?;
    let group = Group::new(protocol, config.node, &config.peers, config.placement());
    ports.serve(config, &security, &group, &events);
    tracing::info!(node = %config.node, replica = %config.replica(), protocol, durability = config.durability.name(), ?security,
        client = %line.client, http = %line.http, "serving");
    ready(&line);
    Ok(driver.run(stop).await?)
}

/// Reads the disk and starts the core from it.
fn recover<P: Serves>(
    protocol: &'static str,
    config: &NodeConfig,
    core_config: P::Config,
    events: mpsc::Sender<Event<P>>,
    inbox: mpsc::Receiver<Event<P>>,
) -> Result<Driver<P>, NodeError> {
    let begun = Instant::now();
    let mut records = Vec::new();
    let bugs = config.storage_bugs.clone();
    let keeping =
        Keeping { durability: config.durability, unsynced: config.unsynced, fullness: Fullness::default() };
    let mut journal =
        Journal::open(&config.data_dir.join(JOURNAL), &keeping, bugs.clone(), |position, record| {
            records.push((position, record));
        })?;
    journal.slow_down(Duration::from_millis(config.journal_sync_ms_min));
    let (snapshots, snapshot) =
        SnapshotStore::open(&config.data_dir.join("snapshots"), &keeping, bugs, events.clone())?;
    let read = records.len();
    let disk = Recovered { snapshot, records };
    let mut clock = NodeClock::new(begun);
    let turns = Turns::recover(core_config, config.seed, clock.now(Instant::now()), disk, journal.next())?;
    if config.durability == Durability::Fsync {
        tracing::info!(records = read, next = %journal.next(), took = ?begun.elapsed(), "recovered");
    }
    let distance = |peer| Duration::from_micros(config.distance_us.get(peer).copied().unwrap_or(0));
    let peers = config.peers.keys().filter(|peer| **peer != config.node).map(|peer| (*peer, distance(peer)));
    let outlets = Outlets {
        routes: Routes::new(config.node, config.placement()),
        machine: begun,
        links: Links::new(peers, config.seed, events.clone()),
        clients: Clients::new(events),
        journal,
        snapshots,
        messages_out: 0,
    };
    Ok(Driver {
        protocol,
        turns,
        outlets,
        inbox,
        clock,
        alarm: Alarm::new().map_err(NodeError::System)?,
        fullness: keeping.fullness,
        leases: Leases::default(),
        adversary: None,
        counters: TurnCounters::default(),
    })
}

/// Everything that a node listens on.
#[derive(Debug)]
struct Ports {
    client: TcpListener,
    http: TcpListener,
    /// `None`: there are no peers.
    peer: Option<TcpListener>,
    control: UnixListener,
    control_path: PathBuf,
}

impl Ports {
    fn bind(config: &NodeConfig) -> Result<Ports, NodeError> {
        let listen = |port, address| {
            client_port::listen(address).map_err(|source| NodeError::Port { port, address, source })
        };
        let peer = match config.peers.len() {
            1 => None,
            _ => Some(listen("peer", config.peers[&config.node])?),
        };
        let client = listen("client", config.client_address)?;
        let http = listen("HTTP", config.http_address)?;
        let (control, control_path) = control::listen(&config.data_dir).map_err(NodeError::Control)?;
        Ok(Ports { client, http, peer, control, control_path })
    }

    fn ready(&self) -> io::Result<Ready> {
        Ok(Ready {
            ready: true,
            pid: std::process::id(),
            client: self.client.local_addr()?,
            http: self.http.local_addr()?,
            control: self.control_path.clone(),
        })
    }

    fn serve<P: Serves>(
        self,
        config: &NodeConfig,
        security: &Security,
        group: &Group,
        events: &mpsc::Sender<Event<P>>,
    ) {
        let ids = ClientIds::default();
        let secured = || security.clone();
        let front = Front::new(config, security, ids.clone(), events.clone());
        tokio::spawn(client_port::serve(self.client, secured(), ids, events.clone()));
        tokio::spawn(http::serve(self.http, secured(), front));
        tokio::spawn(control::serve(self.control, events.clone()));
        if let Some(peer) = self.peer {
            tokio::spawn(transport::serve(peer, secured(), group.clone(), events.clone()));
        }
        for peer in group.peers() {
            let (group, events) = (group.clone(), events.clone());
            tokio::spawn(transport::keep_connected(group, secured(), peer, config.seed, events));
        }
    }
}

/// Two processes on one folder would both believe its journal to be theirs. The lock goes with the process.
fn lock(data_dir: &Path) -> Result<File, NodeError> {
    let folder = |source| NodeError::Folder { folder: data_dir.to_owned(), source };
    let path = data_dir.join("lock");
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(folder)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(folder)?;
            return Err(NodeError::InUse { folder: data_dir.to_owned(), holder: holder.trim().to_owned() });
        }
        Err(error) => return Err(folder(error.into())),
    }
    file.set_len(0).map_err(folder)?;
    writeln!(file, "{}", std::process::id()).map_err(folder)?;
    Ok(file)
}
