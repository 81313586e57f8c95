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

/// One of our own nodes, with its configuration written.
pub(crate) fn own_recipe(
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
        unsynced: unsynced(cell),
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
