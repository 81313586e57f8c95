//! How each system's nodes are started.

use crate::plan::Cell;
use crate::world::node::{Ready, Recipe};
use crate::world::ports::Ports;
use anyhow::Context;
use nemesis::Fault;
use protocol::{Incarnation, ReplicaId};
use runtime::{Durability, NodeConfig, SOCKET_NAME, Unsynced};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What becomes of what the cell's nodes have not synced when they are killed. It is lost if the plan has power losses, in which
/// a kill and a power loss are the same.
#[must_use]
pub(crate) fn unsynced(cell: &Cell) -> Unsynced {
    let subject = cell.subject();
    let on_disk = subject.system.is_ours() && subject.durability == Durability::Fsync;
    let loses_power = cell.schedule().iter().any(|injection| injection.fault == Fault::PowerLoss);
    if on_disk && loses_power { Unsynced::Lost } else { Unsynced::Kept }
}

/// How long each sync of a journal takes at least: `None` is as long as the disk takes.
fn journal_sync_ms_min(cell: &Cell) -> u64 {
    let least = cell.plan.journal_sync_min.unwrap_or_default();
    u64::try_from(least.as_millis()).expect("validated: under a second")
}

/// One of our own nodes: what it is started with, and where that is written.
#[derive(Debug)]
pub(crate) struct OwnNode {
    file: PathBuf,
    config: NodeConfig,
}

impl OwnNode {
    /// Makes its data folder below `node_dir`, with a short name in `short`, and writes its configuration.
    ///
    /// # Errors
    /// If the folders or the file cannot be written.
    pub(crate) fn prepare(
        cell: &Cell,
        id: ReplicaId,
        node_dir: &Path,
        ports: &BTreeMap<ReplicaId, Ports>,
        short: &Path,
    ) -> anyhow::Result<OwnNode> {
        let subject = cell.subject();
        let data = node_dir.join("data");
        std::fs::create_dir_all(&data).with_context(|| format!("making {}", data.display()))?;
        let data_dir: PathBuf = short.join(id.to_string());
        std::os::unix::fs::symlink(&data, &data_dir)
            .with_context(|| format!("linking {}", data_dir.display()))?;
        let founders: Vec<_> = (1..=cell.replicas()).map(ReplicaId).collect();
        let config = NodeConfig {
            replica: id,
            incarnation: Incarnation(0),
            members: (founders.len() < ports.len()).then_some(founders),
            peers: ports.iter().map(|(id, ports)| (*id, ports.peer)).collect(),
            client_address: ports[&id].client,
            http_address: ports[&id].http,
            tls: None,
            data_dir,
            durability: subject.durability,
            unsynced: unsynced(cell),
            journal_sync_ms_min: journal_sync_ms_min(cell),
            storage_bugs: subject.storage_bugs.clone(),
            seed: cell.seed.wrapping_mul(1_000).wrapping_add(u64::from(id.0)),
            options: subject.node_options().map_err(anyhow::Error::msg)?,
        };
        let node = OwnNode { file: node_dir.join("node.yaml"), config };
        node.write()?;
        Ok(node)
    }

    fn write(&self) -> anyhow::Result<()> {
        crate::store::write(&self.file, serde_yaml::to_string(&self.config).context("encoding")?.as_bytes())
    }

    /// How it is started.
    #[must_use]
    pub(crate) fn recipe(&self, program: &Path, node_dir: &Path) -> Recipe {
        Recipe {
            name: self.config.replica.to_string(),
            program: program.to_owned(),
            args: vec!["--config".into(), self.file.clone().into()],
            dir: node_dir.to_owned(),
            control: Some(self.config.data_dir.join(SOCKET_NAME)),
            ready: Ready::PrintsLine,
        }
    }

    /// In which life its disk is.
    #[must_use]
    pub(crate) fn life(&self) -> Incarnation {
        self.config.incarnation
    }

    /// Takes its disk away while it does not run. It is somebody else from now on.
    ///
    /// # Errors
    /// If its data folder cannot be emptied, or its configuration not be written.
    pub(crate) fn wipe(&mut self) -> anyhow::Result<()> {
        let data = std::fs::canonicalize(&self.config.data_dir).context("finding the data folder")?;
        std::fs::remove_dir_all(&data)
            .and_then(|()| std::fs::create_dir(&data))
            .with_context(|| format!("emptying {}", data.display()))?;
        self.config.incarnation.0 += 1;
        self.write()
    }
}

/// An etcd member with its default settings.
pub(crate) fn etcd_recipe(
    id: ReplicaId,
    program: &Path,
    node_dir: &Path,
    ports: &BTreeMap<ReplicaId, Ports>,
) -> Recipe {
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
