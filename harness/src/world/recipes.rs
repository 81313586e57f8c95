//! How each system's nodes are started.

use crate::host::node::{Ready, Recipe};
use crate::plan::Cell;
use crate::world::ports::Ports;
use nemesis::Fault;
use protocol::{Incarnation, NodeId, ReplicaId};
use runtime::{Durability, NodeConfig, SOCKET_NAME, Unsynced};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tls::TlsFiles;

/// What becomes of what the cell's nodes have not synced when their power fails. It is lost if the plan has power losses. Our own nodes keep
/// it in their memory for that, so that a kill and a power loss are the same; foreign ones are given a disk that can lose it.
#[must_use]
pub(crate) fn unsynced(cell: &Cell) -> Unsynced {
    let subject = cell.subject();
    let on_disk = subject.durability == Durability::Fsync;
    let loses_power = cell.schedule().iter().any(|injection| injection.fault == Fault::PowerLoss);
    if on_disk && loses_power { Unsynced::Lost } else { Unsynced::Kept }
}

/// How long each sync of a journal takes at least: `None` is as long as the disk takes.
fn journal_sync_ms_min(cell: &Cell) -> u64 {
    let least = cell.plan.journal_sync_min.unwrap_or_default();
    u64::try_from(least.as_millis()).expect("validated: under a second")
}

/// How far it is from a node to the others, one way.
fn distance_us(cell: &Cell, node: NodeId) -> BTreeMap<NodeId, u64> {
    let Some(links) = &cell.plan.links else { return BTreeMap::new() };
    let one_way = links.one_way_from(node, &cell.plan.nodes(cell.subject()));
    let us = |way: Duration| u64::try_from(way.as_micros()).expect("validated: under a minute");
    one_way.into_iter().map(|(other, way)| (other, us(way))).collect()
}

/// Where everything of a node is on its host.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The node's program.
    pub program: PathBuf,
    /// Its own folder: configuration, log, data.
    pub dir: PathBuf,
    /// Its data folder.
    pub data: PathBuf,
    /// A short name for that.
    pub data_link: Option<PathBuf>,
}

impl Layout {
    /// On this machine, below a run's folder, with a short name in `short`.
    #[must_use]
    pub(crate) fn here(id: NodeId, dir: &Path, short: &Path, program: &Path) -> Layout {
        let dir = dir.join(id.to_string());
        let data_link = Some(short.join(id.to_string()));
        Layout { program: program.to_owned(), data: dir.join("data"), dir, data_link }
    }

    /// On another host, below its folder for runs.
    #[must_use]
    pub(crate) fn there(id: NodeId, runs: &Path, program: PathBuf) -> Layout {
        let dir = runs.join(id.to_string());
        Layout { program, data: dir.join("data"), dir, data_link: None }
    }

    /// Its configuration file.
    #[must_use]
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("node.yaml")
    }
}

/// One of our own nodes: what it is started with.
#[derive(Debug)]
pub(crate) struct OwnNode {
    config: NodeConfig,
}

impl OwnNode {
    /// In its first life.
    ///
    /// # Errors
    /// If the plan's options are none of the protocol.
    pub(crate) fn new(
        cell: &Cell,
        id: NodeId,
        layout: &Layout,
        ports: &BTreeMap<NodeId, Ports>,
        tls: Option<TlsFiles>,
    ) -> anyhow::Result<OwnNode> {
        let subject = cell.subject();
        let founders: Vec<_> = (1..=cell.replicas()).map(ReplicaId).collect();
        let config = NodeConfig {
            node: id,
            twins: cell.plan.placement(subject).twins(),
            incarnation: Incarnation(0),
            members: (founders.len() < ports.len()).then_some(founders),
            peers: ports.iter().map(|(id, ports)| (*id, ports.peer)).collect(),
            distance_us: distance_us(cell, id),
            client_address: ports[&id].client,
            clients: ports
                .iter()
                .filter(|(other, _)| **other != id)
                .map(|(id, ports)| (*id, ports.client))
                .collect(),
            http_address: ports[&id].http,
            tls,
            data_dir: layout.data_link.clone().unwrap_or_else(|| layout.data.clone()),
            durability: subject.durability,
            unsynced: unsynced(cell),
            journal_sync_ms_min: journal_sync_ms_min(cell),
            storage_bugs: subject.storage_bugs.clone(),
            seed: cell.seed.wrapping_mul(1_000).wrapping_add(u64::from(id.0)),
            options: subject.node_options().map_err(anyhow::Error::msg)?,
        };
        Ok(OwnNode { config })
    }

    /// What is in its configuration file.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        serde_yaml::to_string(&self.config).expect("a configuration is plain data")
    }

    /// How it is started.
    #[must_use]
    pub(crate) fn recipe(&self, layout: &Layout) -> Recipe {
        Recipe {
            name: self.config.node.to_string(),
            program: layout.program.clone(),
            args: vec!["--config".into(), layout.config().into()],
            dir: layout.dir.clone(),
            control: Some(self.config.data_dir.join(SOCKET_NAME)),
            ready: Ready::PrintsLine,
        }
    }

    /// In which life its disk is.
    #[must_use]
    pub(crate) fn life(&self) -> Incarnation {
        self.config.incarnation
    }

    /// Its disk is taken away: it is somebody else from now on.
    pub(crate) fn begin_next_life(&mut self) {
        self.config.incarnation.0 += 1;
    }
}
