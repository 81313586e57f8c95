//! The local world: node processes on loopback, no root, every one on a leash.

use crate::binaries;
use crate::cluster::ClusterConf;
use crate::plan::Cell;
use crate::subject::{Reads, System};
use crate::world::node::Node;
use crate::world::ports::{HeldPorts, Ports, free_ports};
use crate::world::recipes::{OwnNode, etcd_recipe, unsynced};
use anyhow::Context;
use checkers::digests::{Settled, Sighting, Statuses};
use nemesis::{InjectError, World};
use protocol::control::{ControlRequest, NodeStatus};
use protocol::{AdminReply, AdminRequest, Incarnation, ReplicaId, Status};
use runtime::{Durability, Unsynced};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;
use workloads::load::Endpoint;

/// The most states that are taken down on the way: hours of polling.
const SIGHTINGS_MAX: usize = 100_000;

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
    durability: Durability,
    /// What becomes of what a killed node had not synced.
    unsynced: Unsynced,
    nodes: BTreeMap<ReplicaId, Node>,
    /// Of our own systems.
    own: BTreeMap<ReplicaId, OwnNode>,
    founders: Vec<ReplicaId>,
    /// Who votes, as far as was seen.
    voters: BTreeSet<ReplicaId>,
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
        let ids = cell.plan.nodes(subject);
        let founders: Vec<_> = (1..=cell.replicas()).map(ReplicaId).collect();
        let (ports, held) = free_ports(&ids, site.cluster.as_ref())?;
        let short =
            tempfile::Builder::new().prefix("gauntlet-").tempdir().context("making a temporary folder")?;
        let (mut nodes, mut own) = (BTreeMap::new(), BTreeMap::new());
        for id in &ids {
            let node_dir = dir.join(id.to_string());
            std::fs::create_dir_all(&node_dir).with_context(|| format!("making {}", node_dir.display()))?;
            let recipe = match subject.system {
                System::Raft | System::Standalone => {
                    let node = OwnNode::prepare(cell, *id, &node_dir, &ports, short.path())?;
                    let recipe = node.recipe(program, &node_dir);
                    own.insert(*id, node);
                    recipe
                }
                System::Etcd => etcd_recipe(*id, program, &node_dir, &ports),
            };
            nodes.insert(*id, Node::new(recipe));
        }
        let serializable_reads = subject.reads == Reads::Local;
        let mut cluster = LocalCluster {
            system: subject.system,
            serializable_reads,
            durability: subject.durability,
            unsynced: unsynced(cell),
            nodes,
            own,
            voters: founders.iter().copied().collect(),
            founders,
            ports,
            _held: held,
            sightings: BTreeSet::new(),
            _short: short,
        };
        for node in cluster.nodes.values_mut() {
            node.start().await?;
        }
        Ok(cluster)
    }

    /// What runs.
    #[must_use]
    pub(crate) fn system(&self) -> System {
        self.system
    }

    /// Where clients go while members may change: to all nodes.
    #[must_use]
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint_of(|_| true)
    }

    /// Where clients go while nothing changes: to those who vote.
    #[must_use]
    pub(crate) fn voters_endpoint(&self) -> Endpoint {
        self.endpoint_of(|id| self.voters.contains(&id))
    }

    /// Who votes, as far as was seen.
    #[must_use]
    pub(crate) fn voters(&self) -> Vec<ReplicaId> {
        self.voters.iter().copied().collect()
    }

    /// These vote.
    pub(crate) fn saw_voters(&mut self, voters: impl Iterator<Item = ReplicaId>) {
        self.voters = voters.filter(|voter| self.nodes.contains_key(voter)).collect();
    }

    fn endpoint_of(&self, is_meant: impl Fn(ReplicaId) -> bool) -> Endpoint {
        match self.system {
            System::Raft | System::Standalone => {
                let meant = self.ports.iter().filter(|(id, _)| is_meant(**id));
                Endpoint::Kv { replicas: meant.map(|(id, ports)| (*id, ports.client)).collect(), tls: None }
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
    pub(crate) async fn status(&mut self, id: ReplicaId) -> anyhow::Result<NodeStatus> {
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

pub(crate) fn sighting(status: &NodeStatus) -> Sighting {
    let Status { applied, digest, .. } = status.core;
    Sighting { node: status.replica.to_string(), applied, digest }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn failed(error: anyhow::Error) -> InjectError {
    InjectError::Failed(format!("{error:#}"))
}

impl World for LocalCluster {
    fn nodes(&self) -> Vec<ReplicaId> {
        self.nodes.keys().copied().collect()
    }

    fn founders(&self) -> Vec<ReplicaId> {
        self.founders.clone()
    }

    fn life(&self, node: ReplicaId) -> Incarnation {
        self.own.get(&node).map(OwnNode::life).unwrap_or_default()
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

    async fn lose_power(&mut self, nodes: &[ReplicaId]) -> Vec<Result<String, InjectError>> {
        if self.unsynced == Unsynced::Kept {
            let why = match (self.system.is_ours(), self.durability) {
                (false, _) => "it is a foreign process: what it has not synced outlives it",
                (true, Durability::Memory) => "nothing is on disk, so a kill says it all",
                (true, Durability::Fsync) => "its nodes were started with `unsynced: kept`",
            };
            return nodes.iter().map(|_| Err(InjectError::Unsupported(why.into()))).collect();
        }
        // All at once: what one had sent before it went must not become durable on another in the meantime.
        for node in nodes {
            self.node(*node).strike();
        }
        let mut gone = Vec::new();
        for node in nodes {
            let killed = self.node(*node).kill().await.map_err(failed);
            gone.push(killed.map(|words| words + ", and what it had not synced with it"));
        }
        gone
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

    async fn administer(
        &mut self,
        node: ReplicaId,
        request: &AdminRequest,
    ) -> Result<AdminReply, InjectError> {
        self.node(node).administer(request).await.map_err(failed)
    }

    async fn wipe(&mut self, node: ReplicaId) -> Result<String, InjectError> {
        let Some(own) = self.own.get_mut(&node) else {
            return Err(InjectError::Unsupported(format!("{node} is a foreign process")));
        };
        if self.durability == Durability::Memory {
            return Err(InjectError::Unsupported("nothing is on disk, so a kill says it all".into()));
        }
        let process = self.nodes.get_mut(&node).expect("each of our own nodes has a process");
        let gone = process.kill().await.map_err(failed)?;
        own.wipe().map_err(failed)?;
        process.start().await.map_err(failed)?;
        Ok(format!("{gone}, its disk empty, back as {node}{}", own.life()))
    }

    fn unexpected_exits(&mut self) -> Vec<(ReplicaId, String)> {
        self.nodes.iter_mut().filter_map(|(id, node)| node.take_exit().map(|words| (*id, words))).collect()
    }
}
