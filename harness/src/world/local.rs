//! The local world: node processes on loopback, no root, every one on a leash.

use crate::binaries;
use crate::cluster::{self, ClusterConf};
use crate::plan::Cell;
use crate::subject::{Reads, System};
use crate::world::node::{Node, Ready, Recipe};
use anyhow::{Context, bail};
use checkers::digests::{Settled, Sighting, Statuses};
use nemesis::{InjectError, World};
use protocol::Status;
use protocol::control::{ControlRequest, NodeStatus};
use protocol::{Incarnation, ReplicaId};
use runtime::{NodeConfig, SOCKET_NAME};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::time::{Instant, timeout};
use workloads::load::Endpoint;

/// The most states that are taken down on the way: hours of polling.
const SIGHTINGS_MAX: usize = 100_000;

/// The ports of one node.
#[derive(Clone, Copy, Debug)]
struct Ports {
    peer: SocketAddr,
    client: SocketAddr,
    http: SocketAddr,
}

/// What does not change from one run of a campaign to the next.
#[derive(Debug)]
pub(crate) struct Site {
    /// Found, or built, before the first run.
    programs: BTreeMap<System, PathBuf>,
    /// Which hosts the nodes run on.
    cluster: Option<ClusterConf>,
}

impl Site {
    /// Finds or builds the programs of these systems.
    ///
    /// # Errors
    /// If one is missing or cannot be built.
    pub(crate) fn prepare(
        systems: impl Iterator<Item = System>,
        bin_dir: Option<&Path>,
        cluster: Option<ClusterConf>,
    ) -> anyhow::Result<Site> {
        let mut programs = BTreeMap::new();
        for system in systems {
            if let Entry::Vacant(vacant) = programs.entry(system) {
                let name = system.program();
                let ours = system.is_ours();
                vacant.insert(if ours { binaries::find(name, bin_dir)? } else { binaries::on_path(name)? });
            }
        }
        Ok(Site { programs, cluster })
    }
}

/// The processes of one run.
#[derive(Debug)]
pub(crate) struct LocalCluster {
    system: System,
    serializable_reads: bool,
    nodes: BTreeMap<ReplicaId, Node>,
    ports: BTreeMap<ReplicaId, Ports>,
    _held: HeldPorts,
    /// What replicas were heard to say of their states.
    sightings: BTreeSet<Sighting>,
    /// Holds short names for the nodes' data folders: a Unix socket's path has at most 107 bytes.
    _short: tempfile::TempDir,
}

impl LocalCluster {
    /// Deploys a cell's subject below `dir` and starts all its nodes.
    ///
    /// # Errors
    /// If a program is missing, or a node does not start: which, and what it said.
    pub(crate) async fn start(cell: &Cell, dir: &Path, site: &Site) -> anyhow::Result<LocalCluster> {
        let subject = cell.subject();
        let program = &site.programs[&subject.system];
        let ids: Vec<ReplicaId> = (1..=cell.replicas()).map(ReplicaId).collect();
        let (ports, held) = free_ports(&ids, site.cluster.as_ref())?;
        let short =
            tempfile::Builder::new().prefix("gauntlet-").tempdir().context("making a temporary folder")?;
        let mut nodes = BTreeMap::new();
        for id in &ids {
            let node_dir = dir.join(id.to_string());
            std::fs::create_dir_all(&node_dir).with_context(|| format!("making {}", node_dir.display()))?;
            let recipe = match subject.system {
                System::Raft | System::Standalone => {
                    own_recipe(cell, *id, program, &node_dir, &ports, short.path())?
                }
                System::Etcd => etcd_recipe(*id, program, &node_dir, &ports),
            };
            nodes.insert(*id, Node::new(recipe));
        }
        let serializable_reads = subject.reads == Reads::Local;
        let (system, sightings) = (subject.system, BTreeSet::new());
        let mut cluster =
            LocalCluster { system, serializable_reads, nodes, ports, _held: held, sightings, _short: short };
        for node in cluster.nodes.values_mut() {
            node.start().await?;
        }
        Ok(cluster)
    }

    /// Where clients go.
    #[must_use]
    pub(crate) fn endpoint(&self) -> Endpoint {
        match self.system {
            System::Raft | System::Standalone => {
                Endpoint::Kv { replicas: self.ports.iter().map(|(id, ports)| (*id, ports.client)).collect() }
            }
            System::Etcd => Endpoint::Etcd {
                members: self.ports.values().map(|ports| ports.client).collect(),
                serializable_reads: self.serializable_reads,
            },
        }
    }

    /// Processor time of all nodes over all their lives, seconds.
    #[must_use]
    pub(crate) fn cpu_s(&self) -> f64 {
        self.nodes.values().map(Node::cpu_s).sum()
    }

    /// Ends all processes, politely where that works.
    pub(crate) async fn stop(&mut self) {
        for node in self.nodes.values_mut() {
            node.stop().await;
        }
    }

    /// All that replicas said of their states.
    #[must_use]
    pub(crate) fn statuses(&self, settled: Option<Settled>) -> Statuses {
        Statuses { sightings: self.sightings.iter().cloned().collect(), settled }
    }

    /// What a node of ours says of itself.
    async fn status(&mut self, id: ReplicaId) -> anyhow::Result<NodeStatus> {
        let status = self.node(id).control(&ControlRequest::Status).await?;
        self.saw(&status);
        Ok(status)
    }

    /// Takes down what a replica has said of its state.
    fn saw(&mut self, status: &NodeStatus) {
        // One that stands alone has nobody to agree with, and may lose what is not on disk yet.
        if self.nodes.len() > 1 && self.sightings.len() < SIGHTINGS_MAX {
            self.sightings.insert(sighting(status));
        }
    }

    fn node(&mut self, id: ReplicaId) -> &mut Node {
        self.nodes.get_mut(&id).expect("the schedule names nodes of this cluster only")
    }
}

fn sighting(status: &NodeStatus) -> Sighting {
    let Status { applied, digest, .. } = status.core;
    Sighting { node: status.replica.to_string(), applied, digest }
}

/// One of our own nodes, with its configuration written.
fn own_recipe(
    cell: &Cell,
    id: ReplicaId,
    program: &Path,
    node_dir: &Path,
    ports: &BTreeMap<ReplicaId, Ports>,
    short: &Path,
) -> anyhow::Result<Recipe> {
    let subject = cell.subject();
    let data = node_dir.join("data");
    std::fs::create_dir_all(&data).with_context(|| format!("making {}", data.display()))?;
    let data_dir: PathBuf = short.join(id.to_string());
    std::os::unix::fs::symlink(&data, &data_dir)
        .with_context(|| format!("linking {}", data_dir.display()))?;
    let config = NodeConfig {
        replica: id,
        incarnation: Incarnation(0),
        members: None,
        peers: ports.iter().map(|(id, ports)| (*id, ports.peer)).collect(),
        client_address: ports[&id].client,
        http_address: ports[&id].http,
        data_dir: data_dir.clone(),
        durability: subject.durability,
        storage_bugs: subject.storage_bugs.clone(),
        seed: cell.seed.wrapping_mul(1_000).wrapping_add(u64::from(id.0)),
        options: subject.node_options().map_err(anyhow::Error::msg)?,
    };
    let file = node_dir.join("node.yaml");
    crate::store::write(&file, serde_yaml::to_string(&config).context("encoding")?.as_bytes())?;
    Ok(Recipe {
        name: id.to_string(),
        program: program.to_owned(),
        args: vec!["--config".into(), file.into()],
        dir: node_dir.to_owned(),
        control: Some(data_dir.join(SOCKET_NAME)),
        ready: Ready::PrintsLine,
    })
}

/// An etcd member with its default settings.
fn etcd_recipe(id: ReplicaId, program: &Path, node_dir: &Path, ports: &BTreeMap<ReplicaId, Ports>) -> Recipe {
    let url = |address: SocketAddr| format!("http://{address}");
    let members: Vec<_> = ports.iter().map(|(id, ports)| format!("{id}={}", url(ports.peer))).collect();
    let own = ports[&id];
    let args = [
        ("--name", id.to_string()),
        ("--data-dir", node_dir.join("data").display().to_string()),
        ("--listen-peer-urls", url(own.peer)),
        ("--initial-advertise-peer-urls", url(own.peer)),
        ("--listen-client-urls", url(own.client)),
        ("--advertise-client-urls", url(own.client)),
        ("--initial-cluster", members.join(",")),
        ("--initial-cluster-state", "new".into()),
        ("--log-level", "warn".into()),
    ];
    Recipe {
        name: id.to_string(),
        program: program.to_owned(),
        args: args.into_iter().flat_map(|(flag, value)| [flag.into(), value.into()]).collect(),
        dir: node_dir.to_owned(),
        control: None,
        ready: Ready::Listens(own.client),
    }
}

/// Sockets that are bound and never listen. They share their ports with the nodes, whose listeners allow it, and with nobody
/// else: otherwise another run, or a client's own end of a connection, may take the port of a node that is down, which
/// could not start again.
type HeldPorts = Vec<TcpSocket>;

/// Ports that nobody has now, nor will have while they are held.
fn free_ports(
    ids: &[ReplicaId],
    conf: Option<&ClusterConf>,
) -> anyhow::Result<(BTreeMap<ReplicaId, Ports>, HeldPorts)> {
    let mut held = Vec::new();
    let mut free = |host: IpAddr| -> anyhow::Result<SocketAddr> {
        let (socket, address) = hold_port(host).with_context(|| format!("finding a free port on {host}"))?;
        held.push(socket);
        Ok(address)
    };
    let ports = |id: &ReplicaId| {
        let host = cluster::address(conf, *id)?;
        Ok((*id, Ports { peer: free(host)?, client: free(host)?, http: free(host)? }))
    };
    let ports = ids.iter().map(ports).collect::<anyhow::Result<_>>()?;
    Ok((ports, held))
}

fn hold_port(host: IpAddr) -> std::io::Result<(TcpSocket, SocketAddr)> {
    let socket = if host.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(false)?;
    socket.bind((host, 0).into())?;
    // Only now: two that both allow it from the beginning could be given one port.
    socket.set_reuseaddr(true)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn failed(error: anyhow::Error) -> InjectError {
    InjectError::Failed(format!("{error:#}"))
}

impl World for LocalCluster {
    fn nodes(&self) -> Vec<ReplicaId> {
        self.nodes.keys().copied().collect()
    }

    async fn leader(&mut self) -> Option<ReplicaId> {
        if let Endpoint::Etcd { members, .. } = self.endpoint() {
            let leader = workloads::etcd::leader(&members).await?;
            return self.ports.iter().find(|(_, ports)| ports.client == leader).map(|(id, _)| *id);
        }
        let mut leaders = Vec::new();
        let awake = self.nodes.iter().filter(|(_, node)| node.is_up() && !node.is_paused());
        for id in awake.map(|(id, _)| *id).collect::<Vec<_>>() {
            let asked = timeout(Duration::from_millis(500), self.status(id)).await;
            if let Ok(Ok(status)) = asked
                && status.core.is_leader
            {
                leaders.push((status.core.epoch, id));
            }
        }
        leaders.into_iter().max().map(|(_, id)| id)
    }

    async fn kill(&mut self, node: ReplicaId) -> Result<String, InjectError> {
        self.node(node).kill().await.map_err(failed)
    }

    async fn restart(&mut self, node: ReplicaId) -> Result<String, InjectError> {
        let node = self.node(node);
        if node.is_up() {
            return Err(InjectError::Unsupported(format!("{} runs already", node.name())));
        }
        node.start().await.map_err(failed)?;
        Ok(format!("runs again as pid {}", node.pid().unwrap_or_default()))
    }

    async fn pause(&mut self, node: ReplicaId) -> Result<String, InjectError> {
        self.node(node).pause().await.map_err(failed)
    }

    async fn resume(&mut self, node: ReplicaId) -> Result<String, InjectError> {
        self.node(node).resume().await.map_err(failed)
    }

    async fn control(&mut self, node: ReplicaId, request: ControlRequest) -> Result<NodeStatus, InjectError> {
        if !self.system.is_ours() {
            let why = format!(
                "{} is a foreign process: it has no link conditioner or clock of ours",
                self.system.name()
            );
            return Err(InjectError::Unsupported(why));
        }
        let status = self.node(node).control(&request).await.map_err(failed)?;
        self.saw(&status);
        Ok(status)
    }

    fn unexpected_exits(&mut self) -> Vec<(ReplicaId, String)> {
        self.nodes.iter_mut().filter_map(|(id, node)| node.take_exit().map(|words| (*id, words))).collect()
    }
}

/// Asks every node for its status until one leads, all that run know it, and it is the same.
///
/// # Errors
/// If that takes longer than `deadline`.
pub(crate) async fn wait_for_agreement(cluster: &mut LocalCluster, deadline: Duration) -> anyhow::Result<()> {
    if !cluster.system.is_ours() {
        return Ok(());
    }
    let agreed = timeout(deadline, async {
        loop {
            let mut leaders = Vec::new();
            for id in cluster.nodes() {
                leaders.push(cluster.status(id).await.ok().and_then(|status| status.core.leader));
            }
            if leaders[0].is_some() && leaders.iter().all(|leader| *leader == leaders[0]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    if agreed.await.is_err() { bail!("no leader that all nodes follow within {deadline:?}") } else { Ok(()) }
}

/// Asks every node for its state until all say the same, but no longer than `bound`: nobody asks anything of them any more, so
/// they must come to the same place. `None` where states are not told.
pub(crate) async fn wait_for_one_state(cluster: &mut LocalCluster, bound: Duration) -> Option<Settled> {
    cluster.system.agreement().ok()?;
    let deadline = Instant::now() + bound;
    loop {
        let (mut last, mut silent) = (Vec::new(), Vec::new());
        for id in cluster.nodes() {
            match cluster.status(id).await {
                Ok(status) => last.push(sighting(&status)),
                Err(error) => {
                    tracing::warn!(node = %id, %error, "it does not tell its state");
                    silent.push(id.to_string());
                }
            }
        }
        let is_one = silent.is_empty()
            && last
                .windows(2)
                .all(|pair| (pair[0].applied, pair[0].digest) == (pair[1].applied, pair[1].digest));
        if is_one || Instant::now() >= deadline {
            let bound_ms = u64::try_from(bound.as_millis()).expect("some seconds");
            return Some(Settled { bound_ms, last, silent });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    #[tokio::test]
    async fn a_held_port_is_the_nodes_again_and_again_and_nobody_elses() {
        let ids = [ReplicaId(1), ReplicaId(2)];
        let (ports, held) = free_ports(&ids, None).expect("there are ports");
        let address = ports[&ReplicaId(1)].client;
        for _life in 0..3 {
            TcpStream::connect(address).expect_err("nobody listens");
            let node = TcpListener::bind(address).expect("nodes allow it to be shared");
            TcpStream::connect(address).expect("the node listens");
            drop(node);
        }
        let stranger = TcpSocket::new_v4().expect("a socket");
        stranger.set_reuseaddr(false).expect("a setting");
        stranger.bind(address).expect_err("it is held");
        // Another run at the same time, many times over.
        let taken: BTreeSet<u16> =
            held.iter().map(|socket| socket.local_addr().expect("it is bound").port()).collect();
        assert_eq!(taken.len(), 6);
        let others: Vec<_> =
            (0..500).map(|_| hold_port(Ipv4Addr::LOCALHOST.into()).expect("there are ports")).collect();
        assert!(!others.iter().any(|(_, address)| taken.contains(&address.port())));
    }
}
