//! The nodes of one run, on this machine or on hosts over SSH.

use crate::cluster::Security;
use crate::elsewhere::Target;
use crate::host::{
    Host, HostReply, HostRequest, Log, NodeRequest, Prepared, Remote, Secret, Supervisor, Throttling,
};
use crate::plan::Cell;
use crate::sightings::sighting;
use crate::store;
use crate::subject::{Deployment, Reads, System};
use crate::world::network::{self, Counted};
use crate::world::ports::{HeldPorts, Ports, fixed_ports, free_ports};
use crate::world::recipes::{Layout, OwnNode, unsynced};
use crate::world::secrets::Secrets;
use crate::world::site::{Ground, Site};
use anyhow::Context;
use checkers::digests::{Settled, Sighting, Sightings, Statuses};
use futures_util::future::join_all;
use nemesis::runner::LEASE;
use nemesis::{
    Action, Comeback, Dark, DiskCondition, Evidence, Exit, Group, InjectError, LinkMeans, Processes, Reading,
};
use protocol::control::{ControlReply, ControlRequest, NodeStatus, OneWayCondition};
use protocol::{NodeId, Placement, ReplicaId, Status};
use reports::stored::HostRecord;
use runtime::{Durability, JOURNAL, Unsynced};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tls::TlsFiles;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use workloads::{ClientTls, Distances};

/// The most states that are taken down on the way: hours of polling.
const SIGHTINGS_MAX: usize = 100_000;
/// A disk that stops with nothing to lose is looked at so often again, after so long.
const CUT_LOOKS: u32 = 10;
const CUT_LOOK: Duration = Duration::from_millis(20);
/// A node that has not said within this what its replica is about is not asked any longer.
const LOOK_DEADLINE: Duration = Duration::from_millis(500);
/// What a host is called that `cluster.conf` does not name.
const THIS_MACHINE: &str = "this machine";
/// What is not fetched from a host: sockets, and what nobody but the node may know.
const NOT_FETCHED: [&str; 3] = ["*.sock", "lock", "*.key"];

/// The nodes of one run.
#[derive(Debug)]
pub(crate) struct Cluster {
    system: System,
    reads: Reads,
    durability: Durability,
    /// What becomes of what a node had not synced when its power fails.
    unsynced: Unsynced,
    /// Why foreign nodes have no disks that can lose that, if they were to have some.
    no_disk: Option<String>,
    pub(super) hosts: Vec<Host>,
    /// Which of the hosts each node is on, and in which folder.
    places: BTreeMap<NodeId, NodePlace>,
    /// Of our own systems.
    own: BTreeMap<NodeId, OwnNode>,
    founders: Vec<NodeId>,
    placement: Placement,
    /// Who votes, as far as was seen.
    voters: BTreeSet<NodeId>,
    /// How far clients are from nodes.
    distances: Distances,
    /// How far foreign nodes are from one another, one way: their hosts' kernels see to that. Ours see to it themselves.
    pub(super) far: BTreeMap<NodeId, BTreeMap<NodeId, Duration>>,
    pub(super) ports: BTreeMap<NodeId, Ports>,
    _held: HeldPorts,
    /// What replicas were heard to say of their states.
    sightings: Sightings,
    /// When the run's history began; what is told before is told at 0.
    origin: Option<Instant>,
    /// If nodes and clients speak TLS.
    secrets: Option<Secrets>,
    client_tls: Option<ClientTls>,
    /// What hosts' kernels did to packets, as far as it was told.
    pub(super) counted: Counted,
    /// How often nodes with a quota had used it up when the run phase began.
    throttling: BTreeMap<NodeId, Throttling>,
    /// What of ours did not hold, so that what it was to do may not have been done.
    lapses: Vec<String>,
    /// Holds short names for the nodes' data folders: a Unix socket's path has at most 107 bytes.
    _short: tempfile::TempDir,
}

#[derive(Debug)]
struct NodePlace {
    host: usize,
    dir: PathBuf,
    /// If it may not use all processors: what its host is called, and how many.
    quota: Option<(String, f64)>,
}

impl Cluster {
    /// Deploys a cell's subject below `dir` and starts all its nodes.
    ///
    /// # Errors
    /// If a node does not start: which, and what it said.
    pub(crate) async fn start(cell: &Cell, dir: &Path, site: &Site) -> anyhow::Result<Cluster> {
        let subject = cell.subject();
        let ids = cell.plan.nodes(subject);
        let founders: Vec<_> = (1..=cell.replicas()).map(NodeId).collect();
        let short = store::temporary()?;
        let (ports, held, hosts) = match &site.ground {
            Ground::Here(conf) => {
                let (ports, held) = free_ports(&ids, conf.as_ref())?;
                (ports, held, vec![Host::Here(Supervisor::default())])
            }
            Ground::There(fleet) => {
                begin_runs(fleet.all()).await?;
                let hosts = fleet.hosts[..ids.len()].iter().cloned().map(Host::There).collect();
                (fixed_ports(&ids, &fleet.hosts), HeldPorts::new(), hosts)
            }
        };
        let secrets = (site.security_of(subject.system) == Security::Tls).then(Secrets::new);
        let client_tls = secrets.as_ref().map(Secrets::client_tls).transpose()?;
        let mut cluster = Cluster {
            secrets,
            client_tls,
            system: subject.system,
            reads: subject.reads,
            durability: subject.durability,
            unsynced: unsynced(cell),
            no_disk: None,
            hosts,
            places: BTreeMap::new(),
            own: BTreeMap::new(),
            voters: founders.iter().copied().collect(),
            founders,
            placement: cell.plan.placement(subject),
            distances: cell.plan.links.as_ref().map(|links| links.distances(&ids)).unwrap_or_default(),
            far: BTreeMap::new(),
            ports,
            _held: held,
            sightings: Sightings::default(),
            origin: None,
            counted: Counted::default(),
            throttling: BTreeMap::new(),
            lapses: Vec::new(),
            _short: short,
        };
        if cluster.wants_lossy_disks() {
            cluster.no_disk = cluster.probe_disks().await;
        }
        for (i, id) in ids.iter().enumerate() {
            let conf = match &site.ground {
                Ground::Here(conf) => conf.as_ref().map(|conf| &conf.servers[i]),
                Ground::There(fleet) => Some(fleet.hosts[i].conf()),
            };
            let said = conf.and_then(|conf| conf.cpu_quota).into_iter().chain(cell.plan.cpu_quota);
            let name = conf.map_or_else(|| THIS_MACHINE.to_owned(), |conf| conf.name.clone());
            let quota = said.min_by(f64::total_cmp).map(|cpus| (name, cpus));
            let (layout, host) = match &site.ground {
                Ground::Here(_) => {
                    let layout = Layout::here(*id, dir, cluster._short.path(), site.program(subject.system));
                    (layout, 0)
                }
                Ground::There(fleet) => {
                    let remote = &fleet.hosts[i];
                    let program = fleet.program_on(subject.system, remote);
                    (Layout::there(*id, &remote.runs(), program), i)
                }
            };
            cluster.prepare(cell, *id, host, (layout, quota)).await?;
        }
        if let Some(links) = cell.plan.links.as_ref().filter(|_| !subject.system.is_ours()) {
            cluster.far = ids.iter().map(|id| (*id, links.one_way_from(*id, &ids))).collect();
            cluster.set_far().await?;
        }
        for id in ids {
            let name = cluster.name(id);
            cluster.done(id, NodeRequest::Start).await.with_context(|| format!("starting {name}"))?;
        }
        Ok(cluster)
    }

    async fn prepare(
        &mut self,
        cell: &Cell,
        id: NodeId,
        host: usize,
        (layout, quota): (Layout, Option<(String, f64)>),
    ) -> anyhow::Result<()> {
        let secrets =
            self.secrets.as_ref().map(|secrets| secrets.of_replica(self.replica_of(id), &layout.dir));
        let (tls, secrets) = secrets.map_or((None, Vec::new()), |(files, secrets)| (Some(files), secrets));
        let (recipe, config, log) = match self.system.deployment() {
            Deployment::Own => {
                let node = OwnNode::new(cell, id, &layout, &self.ports, tls)?;
                let (recipe, config) = (node.recipe(&layout), (layout.config(), node.text()));
                self.own.insert(id, node);
                (recipe, Some(config), Log::Journal(JOURNAL.into()))
            }
            Deployment::Foreign(foreign) => (foreign.recipe(id, &layout, &self.ports), None, foreign.log()),
        };
        let cpu_quota = quota.as_ref().map(|(_, cpus)| *cpus);
        self.places.insert(id, NodePlace { host, dir: layout.dir, quota });
        let (data, data_link) = (layout.data, layout.data_link);
        let on_lossy_disk = self.wants_lossy_disks() && self.no_disk.is_none();
        let prepared =
            Prepared { node: id, recipe, config, secrets, data, data_link, cpu_quota, log, on_lossy_disk };
        self.hosts[host].ask(HostRequest::Prepare(Box::new(prepared))).await?;
        Ok(())
    }

    fn wants_lossy_disks(&self) -> bool {
        !self.system.is_ours() && self.unsynced == Unsynced::Lost
    }

    /// Why not all hosts can give a foreign node a disk that loses what was not synced; `None` if they can.
    async fn probe_disks(&mut self) -> Option<String> {
        for host in &mut self.hosts {
            if let Err(why) = host.ask(HostRequest::ProbeDisk).await {
                let name = match host {
                    Host::Here(_) => THIS_MACHINE.to_owned(),
                    Host::There(remote) => format!("host {}", remote.conf().name),
                };
                return Some(format!("what a foreign process has not synced outlives it on {name}: {why}"));
            }
        }
        None
    }

    /// What a reader of the report has to know of how power is lost, if it is.
    #[must_use]
    pub(crate) fn unsynced_in_words(&self) -> Option<&'static str> {
        match (self.unsynced, self.system.is_ours(), &self.no_disk) {
            (Unsynced::Kept, ..) => None,
            (Unsynced::Lost, true, _) => Some("in the node's memory: killed, it loses them"),
            (Unsynced::Lost, false, None) => Some(
                "in a file system of ours below the node: it loses them with the power, not when it is killed",
            ),
            (Unsynced::Lost, false, Some(_)) => Some("kept by the hosts: no power is lost"),
        }
    }

    /// What clients need to be let in, written to files of this folder; `None` if everybody is.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn write_client_secrets(&self, dir: &Path) -> anyhow::Result<Option<TlsFiles>> {
        let Some(secrets) = &self.secrets else { return Ok(None) };
        let (files, secrets) = secrets.of_clients(dir);
        secrets.iter().try_for_each(Secret::write)?;
        Ok(Some(files))
    }

    /// Where each node serves whom, a line each.
    #[must_use]
    pub(crate) fn addresses(&self) -> String {
        let line = |(id, ports): (&NodeId, &Ports)| {
            format!("{id}: clients {}, HTTP {}, peers {}", ports.client, ports.http, ports.peer)
        };
        self.ports.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// What runs.
    #[must_use]
    pub(crate) fn system(&self) -> System {
        self.system
    }

    /// Where clients go while members may change: to all nodes.
    #[must_use]
    pub(crate) fn target(&self) -> Target {
        self.target_of(|_| true)
    }

    /// Where clients go while nothing changes: to those who vote.
    #[must_use]
    pub(crate) fn voters_target(&self) -> Target {
        self.target_of(|id| self.voters.contains(&id))
    }

    fn target_of(&self, is_meant: impl Fn(NodeId) -> bool) -> Target {
        let meant = self.ports.iter().filter(|(id, _)| is_meant(**id));
        Target {
            system: self.system,
            reads: self.reads,
            nodes: meant.map(|(id, ports)| (*id, (self.replica_of(*id), ports.client))).collect(),
            group: self.founders.len(),
            distances: self.distances.clone(),
        }
    }

    /// What clients show to nodes, if those speak TLS.
    #[must_use]
    pub(crate) fn client_tls(&self) -> Option<ClientTls> {
        self.client_tls.clone()
    }

    /// The same for clients on another host, in files of this folder there.
    #[must_use]
    pub(crate) fn client_secrets(&self, dir: &Path) -> (Option<TlsFiles>, Vec<Secret>) {
        let secrets = self.secrets.as_ref().map(|secrets| secrets.of_clients(dir));
        secrets.map_or((None, Vec::new()), |(tls, secrets)| (Some(tls), secrets))
    }

    fn replica_of(&self, node: NodeId) -> ReplicaId {
        self.placement.replica_of(node).expect("a node of this run")
    }

    /// Who votes, as far as was seen.
    #[must_use]
    pub(crate) fn voters(&self) -> Vec<NodeId> {
        self.voters.iter().copied().collect()
    }

    /// These vote.
    pub(crate) fn saw_voters(&mut self, voters: impl Iterator<Item = NodeId>) {
        self.voters = voters.filter(|voter| self.places.contains_key(voter)).collect();
    }

    /// Processor time of all nodes over all their lives, seconds; without that of hosts that do not tell.
    pub(crate) async fn cpu_s(&mut self) -> f64 {
        let mut sum = 0.0;
        for host in &mut self.hosts {
            match host.ask(HostRequest::CpuTime).await {
                Ok(HostReply::CpuTime(seconds)) => sum += seconds,
                other => tracing::warn!(?other, "a host does not tell its nodes' processor time"),
            }
        }
        sum
    }

    /// Ends all processes, politely where that works, and fetches what they left on other hosts into `dir`. What could not be
    /// had is said.
    pub(crate) async fn stop(&mut self, dir: &Path) -> Vec<String> {
        let mut problems = Vec::new();
        for (id, NodePlace { host, dir: on_host, .. }) in &self.places {
            let stop = HostRequest::Node { node: *id, request: NodeRequest::Stop };
            if let Err(error) = self.hosts[*host].ask(stop).await {
                problems.push(format!("{id}: {error}"));
            }
            if let Host::There(remote) = &self.hosts[*host]
                && let Err(error) = remote.fetch(on_host, &dir.join(id.to_string()), &NOT_FETCHED).await
            {
                problems.push(format!("{id}: what it left could not be fetched: {error:#}"));
            }
        }
        problems
    }

    /// The run phase begins: what is known of other hosts from here on is of it.
    pub(crate) async fn begin_watch(&mut self) {
        join_all(self.remotes().iter().map(Remote::begin_watch)).await;
        self.throttling = self.throttling_now().await;
    }

    /// What other hosts say of the run phase, which is over; times are since `origin`. A host that does not answer has no counters. And
    /// which hosts took faults back by themselves, or what else of ours did not hold, so that less was in force than is written.
    pub(crate) async fn end_watch(&mut self, origin: Instant) -> (Vec<HostRecord>, Vec<String>) {
        let (mut records, mut lapses) = (Vec::new(), std::mem::take(&mut self.lapses));
        for (i, remote) in self.remotes().into_iter().enumerate() {
            let name = remote.conf().name.clone();
            if remote.expired() > 0 {
                lapses.push(format!(
                    "host {name} took faults back by itself: the controller was not heard for too long"
                ));
            }
            let watched = remote.end_watch().await;
            records.push(HostRecord {
                name,
                nodes: self
                    .places
                    .iter()
                    .filter(|(_, at)| at.host == i)
                    .map(|(id, _)| id.to_string())
                    .collect(),
                clock: watched.readings(origin),
                counters: watched.counters,
                means: network::means_in_words(remote.means()),
            });
        }
        self.add_throttling(&mut records).await;
        (records, lapses)
    }

    /// How often nodes with a quota had used it up, since their groups were made.
    async fn throttling_now(&mut self) -> BTreeMap<NodeId, Throttling> {
        let mut all = BTreeMap::new();
        if self.places.values().all(|place| place.quota.is_none()) {
            return all;
        }
        for host in &mut self.hosts {
            match host.ask(HostRequest::Throttling).await {
                Ok(HostReply::Throttling(told)) => all.extend(told),
                other => tracing::warn!(?other, "a host does not tell what its nodes' quotas did"),
            }
        }
        all
    }

    async fn add_throttling(&mut self, records: &mut Vec<HostRecord>) {
        for (id, now) in self.throttling_now().await {
            let Some((name, cpus)) = &self.places[&id].quota else { continue };
            let before = self.throttling.get(&id).copied().unwrap_or_default();
            let counters = [
                ("cpu.stat:nr_periods".to_owned(), now.periods.saturating_sub(before.periods)),
                ("cpu.stat:nr_throttled".to_owned(), now.throttled.saturating_sub(before.throttled)),
            ];
            let index = records.iter().position(|record| record.name == *name).unwrap_or_else(|| {
                // On this machine.
                let nodes = vec![id.to_string()];
                records.push(HostRecord { name: name.clone(), nodes, ..HostRecord::default() });
                records.len() - 1
            });
            records[index].counters.extend(counters);
            records[index].means.push((format!("cpu_quota {cpus}"), "a control group".to_owned()));
        }
    }

    fn remotes(&self) -> Vec<Remote> {
        let other = |host: &Host| match host {
            Host::Here(_) => None,
            Host::There(remote) => Some(remote.clone()),
        };
        self.hosts.iter().filter_map(other).collect()
    }

    /// All that replicas said of their states.
    #[must_use]
    pub(crate) fn statuses(&self, settled: Option<Settled>) -> Statuses {
        Statuses { sightings: self.sightings.to_vec(), settled }
    }

    /// What a node of ours says of itself.
    pub(crate) async fn status(&mut self, id: NodeId) -> anyhow::Result<NodeStatus> {
        let status = self.ask_status(id, ControlRequest::Status).await?;
        self.saw(&status);
        Ok(status)
    }

    /// Takes down what a replica has said of its state.
    fn saw(&mut self, status: &NodeStatus) {
        // One that stands alone has nobody to agree with, and may lose what is not on disk yet.
        if self.places.len() > 1 && self.sightings.len() < SIGHTINGS_MAX {
            let sighting = self.sighting(status);
            self.sightings.add(sighting);
        }
    }

    /// The run's history begins: times are since then.
    pub(crate) fn begin_history(&mut self, origin: Instant) {
        self.origin = Some(origin);
    }

    /// What a replica says of its state.
    pub(crate) fn sighting(&self, status: &NodeStatus) -> Sighting {
        let elapsed = self.origin.map_or(Duration::ZERO, |origin| origin.elapsed());
        let time = u64::try_from(elapsed.as_nanos()).expect("a run is shorter than centuries");
        sighting(status.node, time, &status.core)
    }

    /// A node's name in messages: with its host's, where that says more.
    fn name(&self, id: NodeId) -> String {
        match &self.hosts[self.places[&id].host] {
            Host::Here(_) => id.to_string(),
            Host::There(remote) => format!("{id} on host {}", remote.conf().name),
        }
    }

    /// The other host that a node is on.
    pub(super) fn remote(&self, id: NodeId) -> Option<&Remote> {
        match &self.hosts[self.places[&id].host] {
            Host::Here(_) => None,
            Host::There(remote) => Some(remote),
        }
    }

    pub(super) async fn ask(&mut self, node: NodeId, request: NodeRequest) -> Result<HostReply, InjectError> {
        let place = self.places.get(&node).expect("the schedule names nodes of this cluster only");
        self.hosts[place.host].ask(HostRequest::Node { node, request }).await
    }

    /// Has something done to a node; what shows it.
    async fn done(&mut self, node: NodeId, request: NodeRequest) -> Result<String, InjectError> {
        match self.ask(node, request).await? {
            HostReply::Done(words) => Ok(words),
            other => Err(odd(node, &other)),
        }
    }

    /// Has a node start from a disk that has lost something.
    async fn came_back(&mut self, node: NodeId, request: NodeRequest) -> Result<Comeback, InjectError> {
        match self.ask(node, request).await? {
            HostReply::CameBack(comeback) => Ok(comeback),
            other => Err(odd(node, &other)),
        }
    }

    fn needs_disk(&self) -> Result<(), InjectError> {
        match self.durability {
            Durability::Memory => Err(InjectError::Unsupported("nothing is on disk".into())),
            Durability::Fsync => Ok(()),
        }
    }

    /// Asks a node of ours itself.
    pub(super) async fn ask_status(
        &mut self,
        id: NodeId,
        request: ControlRequest,
    ) -> Result<NodeStatus, InjectError> {
        match self.ask_itself(id, request).await? {
            ControlReply::Ok(status) => Ok(*status),
            other => Err(odd(id, &other)),
        }
    }

    /// Asks a node of ours itself; that it will not is an error.
    async fn ask_itself(&mut self, id: NodeId, request: ControlRequest) -> Result<ControlReply, InjectError> {
        match self.ask(id, NodeRequest::Control(request)).await? {
            HostReply::Control(ControlReply::Error(why)) => Err(InjectError::Failed(format!("{id}: {why}"))),
            HostReply::Control(reply) => Ok(reply),
            other => Err(odd(id, &other)),
        }
    }

    /// The same for all of these at once, as far as that can be had.
    async fn ask_at_once(
        &mut self,
        nodes: &[NodeId],
        request: &NodeRequest,
    ) -> BTreeMap<NodeId, Result<HostReply, InjectError>> {
        let (mut answers, mut asking) = (BTreeMap::new(), JoinSet::new());
        for node in nodes {
            let (node, request) = (*node, HostRequest::Node { node: *node, request: request.clone() });
            match &mut self.hosts[self.places[&node].host] {
                here @ Host::Here(_) => drop(answers.insert(node, here.ask(request).await)),
                Host::There(remote) => {
                    let remote = remote.clone();
                    asking.spawn(async move { (node, remote.ask(request).await) });
                }
            }
        }
        answers.extend(asking.join_all().await);
        answers
    }

    /// Cuts the power of foreign nodes, whose disks can lose what was not synced.
    async fn cut_power(&mut self, nodes: &[NodeId]) -> Vec<Result<Dark, InjectError>> {
        // What one had sent before must not become durable on another in the meantime, so all disks stop first. They are not dark before
        // they have something to lose, or have been asked for nothing for a while.
        let mut synced = nodes.to_vec();
        for _ in 0..CUT_LOOKS {
            let answers = self.ask_at_once(&synced, &NodeRequest::CutPower).await;
            synced.retain(|node| matches!(answers[node], Ok(HostReply::Unsynced(false))));
            if synced.is_empty() {
                break;
            }
            tokio::time::sleep(CUT_LOOK).await;
        }
        // Whether they are gone is seen by what follows.
        self.ask_at_once(nodes, &NodeRequest::Strike).await;
        let mut dark = Vec::new();
        for node in nodes {
            dark.push(match self.ask(*node, NodeRequest::LosePower).await {
                Ok(HostReply::Dark(gone)) => Ok(gone),
                Ok(other) => Err(odd(*node, &other)),
                Err(error) => Err(error),
            });
        }
        dark
    }
}

fn odd(node: NodeId, answer: &impl fmt::Debug) -> InjectError {
    InjectError::Failed(format!("{node}: an answer to something else: {answer:?}"))
}

/// Hosts forget an earlier run, all at once.
async fn begin_runs(hosts: impl Iterator<Item = &Remote>) -> anyhow::Result<()> {
    join_all(hosts.map(Remote::begin_run)).await.into_iter().collect()
}

impl Processes for Cluster {
    fn group(&self) -> Group {
        self.system.properties().group(self.founders.clone(), self.placement.clone())
    }

    async fn carry_out(&mut self, action: &Action) -> Result<Evidence, InjectError> {
        match action {
            Action::Look => Ok(Evidence::Seen(self.look().await)),
            Action::Read(node) => self.control(*node, ControlRequest::Status).await.map(read),
            Action::Kill(node) => self.done(*node, NodeRequest::Kill).await.map(Evidence::Words),
            Action::LosePower(nodes) => Ok(Evidence::Dark(self.lose_power(nodes).await)),
            Action::Start(node) => self.done(*node, NodeRequest::Start).await.map(Evidence::Words),
            Action::Pause(node) => self.done(*node, NodeRequest::Pause).await.map(Evidence::Words),
            Action::Resume(node) => self.done(*node, NodeRequest::Resume).await.map(Evidence::Words),
            Action::Press(node, pressure) => {
                self.done(*node, NodeRequest::Press(*pressure)).await.map(Evidence::Words)
            }
            Action::Release(node, pressure) => {
                match self.ask(*node, NodeRequest::Release(*pressure)).await? {
                    HostReply::Released(words) => Ok(Evidence::Released(words)),
                    other => Err(odd(*node, &other)),
                }
            }
            Action::Links(node, links) => {
                let request = ControlRequest::SetLinks { links: links.clone(), lease_ms: lease_ms() };
                self.control(*node, request).await.map(read)
            }
            Action::Clock(node, clock) => {
                let request = ControlRequest::SetClock { clock: *clock, lease_ms: lease_ms() };
                self.control(*node, request).await.map(read)
            }
            Action::Disk(node, condition) => self.set_disk(*node, *condition).await.map(Evidence::Words),
            Action::FlipBit(node, chance) => self.flip_bit(*node, *chance).await.map(Evidence::Words),
            Action::StartDamaged(node) => {
                let refused = self.done(*node, NodeRequest::StartDamaged).await?;
                Ok(Evidence::Comeback(Comeback::Refused(refused)))
            }
            Action::Wipe(node) => self.wipe(*node).await.map(Evidence::Words),
            Action::Truncate(node, bytes) => {
                self.needs_disk()?;
                self.done(*node, NodeRequest::Truncate(*bytes)).await.map(Evidence::Words)
            }
            Action::ComeBack(node) => {
                self.came_back(*node, NodeRequest::ComeBack).await.map(Evidence::Comeback)
            }
            Action::CopyDisk(node) => {
                self.needs_disk()?;
                self.done(*node, NodeRequest::CopyDisk).await.map(Evidence::Words)
            }
            Action::RollBack(node) => {
                self.came_back(*node, NodeRequest::RollBack).await.map(Evidence::Comeback)
            }
            Action::Ask(node, request) => {
                match self.ask_itself(*node, ControlRequest::Admin(request.clone())).await? {
                    ControlReply::Admin(reply) => Ok(Evidence::Answer(reply)),
                    other => Err(odd(*node, &other)),
                }
            }
        }
    }

    async fn heal(&mut self, node: NodeId) -> Result<NodeStatus, InjectError> {
        self.control(node, ControlRequest::Heal).await
    }

    async fn unexpected_exits(&mut self) -> Vec<(NodeId, Exit)> {
        let mut exits = Vec::new();
        for host in &mut self.hosts {
            match host.ask(HostRequest::Exits).await {
                Ok(HostReply::Exits { nodes, disks }) => {
                    exits.extend(nodes);
                    self.lapses.extend(disks);
                }
                other => tracing::warn!(?other, "a host does not tell which nodes ended"),
            }
        }
        exits
    }

    fn link_means(&self, condition: &OneWayCondition) -> LinkMeans {
        self.means_of(condition)
    }

    fn clock_means(&self) -> &'static str {
        self.clocks_bent()
    }
}

fn read(status: NodeStatus) -> Evidence {
    Evidence::Read(Box::new(Reading::from(status)))
}

fn lease_ms() -> u64 {
    u64::try_from(LEASE.as_millis()).expect("a few seconds")
}

/// What the nemesis wants done.
impl Cluster {
    /// All nodes, up or not.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.places.keys().copied().collect()
    }

    /// Which replica each node stands for.
    pub(super) fn placement(&self) -> &Placement {
        &self.placement
    }

    async fn control(&mut self, node: NodeId, request: ControlRequest) -> Result<NodeStatus, InjectError> {
        let status = self.control_with_host(node, request).await?;
        if self.system.is_ours() {
            self.saw(&status);
        }
        Ok(status)
    }

    /// What the replicas say of themselves that answer; of a foreign system only who leads.
    async fn look(&mut self) -> BTreeMap<NodeId, Status> {
        if let Deployment::Foreign(foreign) = self.system.deployment() {
            let members: Vec<_> = self.ports.values().map(|ports| ports.client).collect();
            let Some(leader) = foreign.leader(&members).await else { return BTreeMap::new() };
            let leads = |client| Status { leads: client == leader, ..Status::default() };
            return self.ports.iter().map(|(node, ports)| (*node, leads(ports.client))).collect();
        }
        let mut statuses = BTreeMap::new();
        for node in self.nodes() {
            // One that is down or paused refuses at once.
            if let Ok(Ok(status)) = timeout(LOOK_DEADLINE, self.status(node)).await {
                statuses.insert(node, status.core);
            }
        }
        statuses
    }

    async fn lose_power(&mut self, nodes: &[NodeId]) -> Vec<Result<Dark, InjectError>> {
        let why_not = match (self.unsynced, self.durability) {
            (Unsynced::Lost, _) => self.no_disk.as_deref(),
            (Unsynced::Kept, Durability::Memory) => Some("nothing is on disk, so a kill says it all"),
            (Unsynced::Kept, Durability::Fsync) => Some("its nodes were started with `unsynced: kept`"),
        };
        if let Some(why) = why_not {
            return nodes.iter().map(|_| Err(InjectError::Unsupported(why.to_owned()))).collect();
        }
        if !self.system.is_ours() {
            return self.cut_power(nodes).await;
        }
        // All at once: what one had sent before it went must not become durable on another in the meantime. Whether they are gone is
        // seen by the kill that follows.
        self.ask_at_once(nodes, &NodeRequest::Strike).await;
        let mut gone = Vec::new();
        for node in nodes {
            let killed = self.done(*node, NodeRequest::Kill).await;
            let evidence = killed.map(|words| words + ", and what it had not synced with it");
            gone.push(evidence.map(|evidence| Dark { evidence, lost_nothing: false }));
        }
        gone
    }

    async fn wipe(&mut self, node: NodeId) -> Result<String, InjectError> {
        let Some(own) = self.own.get_mut(&node) else {
            return Err(InjectError::Unsupported(format!("{node} is a foreign process")));
        };
        if self.durability == Durability::Memory {
            return Err(InjectError::Unsupported("nothing is on disk, so a kill says it all".into()));
        }
        own.begin_next_life();
        let (life, config) = (own.life(), own.text());
        let gone = self.done(node, NodeRequest::Wipe { config }).await?;
        Ok(format!("{gone}, its disk empty, back as {node}{life}"))
    }

    async fn flip_bit(&mut self, node: NodeId, chance: u64) -> Result<String, InjectError> {
        if !self.system.is_ours() {
            return Err(InjectError::Unsupported(format!("{node} is a foreign process")));
        }
        self.needs_disk()?;
        self.done(node, NodeRequest::FlipBit { chance }).await
    }

    /// A disk that holds no more, or has room again. A disk that does nothing or is slow is a simulated one.
    async fn set_disk(&mut self, node: NodeId, condition: DiskCondition) -> Result<String, InjectError> {
        if condition.stalled || condition.times_slower != 1.0 {
            return Err(InjectError::Unsupported("only in the simulator".into()));
        }
        if condition.full { self.fill_disk(node).await } else { self.free_disk(node).await }
    }

    async fn fill_disk(&mut self, node: NodeId) -> Result<String, InjectError> {
        self.needs_disk()?;
        let why_not = if self.remote(node).is_some() {
            match self.done(node, NodeRequest::FillDisk).await {
                Err(InjectError::Unsupported(why)) => why,
                filled => return filled,
            }
        } else {
            "its disk is this machine's".to_owned()
        };
        if !self.system.is_ours() {
            return Err(InjectError::Unsupported(format!("{why_not}, and {node} is a foreign process")));
        }
        self.ask_status(node, ControlRequest::SetDisk { full: true, lease_ms: lease_ms() }).await?;
        Ok(format!("it refuses to write more, by the node itself ({why_not})"))
    }

    async fn free_disk(&mut self, node: NodeId) -> Result<String, InjectError> {
        if self.remote(node).is_some() {
            self.done(node, NodeRequest::FreeDisk).await?;
        }
        // A process that is gone refuses nothing any more.
        if self.system.is_ours() {
            drop(self.ask_status(node, ControlRequest::SetDisk { full: false, lease_ms: 0 }).await);
        }
        Ok("it has room again".into())
    }
}
