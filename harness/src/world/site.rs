//! What does not change from one run of a campaign to the next: programs, and the hosts that they are on.

use crate::binaries;
use crate::campaign::UsageError;
use crate::cli::Place;
use crate::cluster::{ClusterConf, Security};
use crate::host::ssh::Program;
use crate::host::{Remote, Stay, probe_quota};
use crate::plan::{Plan, World};
use crate::progress::Progress;
use crate::store;
use crate::subject::{Deployment, System};
use anyhow::{Context, bail};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokio::task::JoinSet;

/// Where the runs of a campaign take place.
#[derive(Debug)]
pub(crate) struct Site {
    /// Found, or built, before the first run.
    programs: BTreeMap<System, PathBuf>,
    pub(super) ground: Ground,
}

/// On what.
#[derive(Debug)]
pub(super) enum Ground {
    /// This machine, at these addresses if they are given.
    Here(Option<ClusterConf>),
    /// Hosts over SSH.
    There(Fleet),
}

/// Hosts whose agents run.
#[derive(Debug)]
pub(super) struct Fleet {
    /// In the order of the replicas.
    pub(super) hosts: Vec<Remote>,
    /// Where load is made, if not here.
    load_hosts: Vec<Remote>,
    security: Option<Security>,
    programs: BTreeMap<System, Program>,
    /// Holds the local ends of connections.
    _sockets: tempfile::TempDir,
}

impl Site {
    /// Finds or builds the programs of these systems, and over SSH puts them on as many hosts as there are nodes.
    ///
    /// # Errors
    /// If a program is missing or cannot be built, or a host cannot be had, or something that is demanded cannot.
    pub(crate) async fn prepare(
        world: World,
        systems: impl Iterator<Item = System>,
        nodes: usize,
        place: &Place,
        conf: Option<ClusterConf>,
        stay: Stay,
        demands: Demands,
    ) -> anyhow::Result<Site> {
        if let (World::Local, Some(cpus)) = (world, demands.cpu_quota) {
            probe_quota().map_err(|why| no_quota(cpus, &format!("this machine: {why:#}")))?;
        }
        let mut programs = BTreeMap::new();
        for system in systems {
            if let Entry::Vacant(vacant) = programs.entry(system) {
                let program = system.properties().program;
                vacant.insert(match system.deployment() {
                    Deployment::Own => binaries::find(program, place.bin_dir.as_deref())?,
                    Deployment::Foreign(foreign) => binaries::on_path(program, foreign.package())?,
                });
            }
        }
        let ground = match world {
            World::Local => Ground::Here(conf),
            World::Ssh => {
                let conf = conf.context("the ssh world needs hosts: name their file with --cluster")?;
                Ground::There(Fleet::deploy(&conf, nodes, &programs, stay).await?)
            }
        };
        let site = Site { programs, ground };
        let met = match &site.ground {
            Ground::There(fleet) => fleet.meets(demands).await,
            Ground::Here(_) => Ok(()),
        };
        match met {
            Ok(()) => Ok(site),
            Err(why) => {
                site.leave().await;
                Err(why)
            }
        }
    }

    /// How a system's nodes and clients speak to each other.
    pub(crate) fn security_of(&self, system: System) -> Security {
        let (said, usual) = match &self.ground {
            Ground::Here(conf) => (conf.as_ref().and_then(|conf| conf.security), Security::Plaintext),
            Ground::There(fleet) => (fleet.security, Security::Tls),
        };
        // A foreign system has its own ways, and is left with its defaults.
        if system.is_ours() { said.unwrap_or(usual) } else { Security::Plaintext }
    }

    /// The other hosts that make load; none if it is made here.
    pub(crate) fn load_hosts(&self) -> &[Remote] {
        match &self.ground {
            Ground::Here(_) => &[],
            Ground::There(fleet) => &fleet.load_hosts,
        }
    }

    /// A system's program on this machine.
    pub(super) fn program(&self, system: System) -> &Path {
        &self.programs[&system]
    }

    /// Goes, and leaves what runs on hosts as it is.
    pub(crate) fn leave_running(&self) {
        if let Ground::There(fleet) = &self.ground {
            fleet.all().for_each(Remote::leave);
        }
    }

    /// Ends what runs on hosts for this campaign.
    pub(crate) async fn leave(self) {
        if let Ground::There(fleet) = self.ground {
            join_all(fleet.all().map(Remote::quit)).await;
        }
    }
}

/// What a plan needs of wherever it runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demands {
    /// A limit on the processors that each node may use.
    cpu_quota: Option<f64>,
    /// Kernels that can hold back what this foreign system sends.
    far_foreign: Option<System>,
}

impl Demands {
    /// What a plan needs.
    pub(crate) fn of(plan: &Plan) -> Self {
        let foreign = plan.subjects.iter().map(|subject| subject.system).find(|system| !system.is_ours());
        Self { cpu_quota: plan.cpu_quota, far_foreign: foreign.filter(|_| plan.links.is_some()) }
    }
}

/// The plan cannot be run on this host.
fn no_netem(system: System, why: &str) -> anyhow::Error {
    let system = system.name();
    UsageError(format!(
        "links: {system} is a foreign process, and only netem can hold back what it sends, which cannot be had on host {why}"
    ))
    .into()
}

/// The plan cannot be run here.
fn no_quota(cpus: f64, why: &str) -> anyhow::Error {
    UsageError(format!("cpu_quota {cpus} cannot be had on {why}")).into()
}

impl Fleet {
    async fn deploy(
        conf: &ClusterConf,
        nodes: usize,
        programs: &BTreeMap<System, PathBuf>,
        stay: Stay,
    ) -> anyhow::Result<Fleet> {
        let servers = conf.hosts_for(nodes)?;
        // Nodes that stay need nobody to ask them.
        let clients = if stay == Stay::WithController { &conf.clients[..] } else { &[] };
        let confs: Vec<_> = servers.iter().chain(clients).collect();
        let own = binaries::own()?;
        let gauntlet = Program::read(&own)?;
        let read = |(system, path): (&System, &PathBuf)| Ok((*system, Program::read(path)?));
        let programs = programs.iter().map(read).collect::<anyhow::Result<BTreeMap<_, _>>>()?;
        let to_send: Vec<Program> =
            [gauntlet.clone()].into_iter().chain(programs.values().cloned()).collect();
        let progress = Progress::new("hosts");
        progress.step(&format!("deploying to {}", confs.len()));
        // A Unix socket's path has at most 107 bytes.
        let sockets = store::temporary()?;
        let begun = Instant::now();
        let mut beginning = JoinSet::new();
        for (i, host) in confs.iter().enumerate() {
            let to_send = if i < servers.len() { to_send.clone() } else { vec![gauntlet.clone()] };
            let (host, dir) = ((*host).clone(), sockets.path().to_owned());
            let peer = confs[(i + 1) % confs.len()].address;
            beginning.spawn(async move { (i, Remote::begin(host, &to_send, &dir, peer, stay).await) });
        }
        let (mut hosts, mut problems) = (BTreeMap::new(), Vec::new());
        for (i, begun) in beginning.join_all().await {
            match begun {
                Ok(host) => drop(hosts.insert(i, host)),
                Err(error) => problems.push(format!("host {}: {error:#}", confs[i].name)),
            }
        }
        progress.done();
        tracing::info!(hosts = hosts.len(), took = ?begun.elapsed(), "deployed");
        if !problems.is_empty() {
            for host in hosts.into_values() {
                host.quit().await;
            }
            problems.sort();
            bail!("{}", problems.join("; "));
        }
        let mut hosts: Vec<_> = hosts.into_values().collect();
        Ok(Fleet {
            load_hosts: hosts.split_off(servers.len()),
            hosts,
            security: conf.security,
            programs,
            _sockets: sockets,
        })
    }

    /// # Errors
    /// What a host cannot do, and why.
    async fn meets(&self, demands: Demands) -> anyhow::Result<()> {
        for host in &self.hosts {
            let name = &host.conf().name;
            if let Some(cpus) = demands.cpu_quota
                && let Err(why) = host.probe_quota().await
            {
                return Err(no_quota(cpus, &format!("host {name}: {why}")));
            }
            if let (Some(system), Some(why)) = (demands.far_foreign, &host.means().network.netem) {
                return Err(no_netem(system, &format!("{name}: {why}")));
            }
        }
        Ok(())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Remote> {
        self.hosts.iter().chain(&self.load_hosts)
    }

    /// Where a system's program is on a host.
    pub(super) fn program_on(&self, system: System, host: &Remote) -> PathBuf {
        self.programs[&system].on(host.conf())
    }
}
