//! What a node is started with: one YAML file.

use kv::Seat;
use protocol::{Bugs, Incarnation, NodeId, Placement, ReplicaId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use storage::{Folder, Fullness};
use tls::TlsFiles;

/// One node of a group. The file is YAML, so JSON parses too; unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Which node this is.
    pub node: NodeId,
    /// Which life of its disk the replica is in: one more than before whenever the data folder was lost. A protocol
    /// that can change its members takes a replica back that has forgotten what it promised only as somebody new.
    #[serde(default)]
    pub incarnation: Incarnation,
    /// Where the peer port of each node is, this one's included.
    pub peers: BTreeMap<NodeId, SocketAddr>,
    /// How much longer than it does what is sent to a peer is to take, one way, microseconds: the group is as if its nodes were far apart.
    /// No fault: it has no lease, is never healed, and faults come on top.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub distance_us: BTreeMap<NodeId, u64>,
    /// Which replica each node stands for, where that is not the one of its own number: twins.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub twins: BTreeMap<NodeId, ReplicaId>,
    /// Which replicas found the group; all, unless it says otherwise. The same on all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<ReplicaId>>,
    /// Where clients connect; port 0 lets the system choose.
    pub client_address: SocketAddr,
    /// Where the client ports of other nodes are. A client behind HTTP asks those that are named here, if it is one that asks several
    /// replicas, and this node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clients: BTreeMap<NodeId, SocketAddr>,
    /// Where HTTP is served; port 0 lets the system choose.
    pub http_address: SocketAddr,
    /// Mutual TLS on the peer, client and HTTP ports; they are plain without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    /// Journal, snapshots, lock file and control socket. Made if it is not there.
    pub data_dir: PathBuf,
    /// Whether what is acknowledged is on disk.
    #[serde(default)]
    pub durability: Durability,
    /// What becomes of what was written and not synced when the process is killed.
    #[serde(default)]
    pub unsynced: Unsynced,
    /// A sync of the journal takes at least so long, milliseconds: a slow disk, simulated. 0: as long as the disk takes.
    #[serde(default)]
    pub journal_sync_ms_min: u64,
    /// Seeded bugs of storage: none, unless a plan names them.
    #[serde(default, skip_serializing_if = "Bugs::is_empty")]
    pub storage_bugs: Bugs<storage::Bug>,
    /// Every random choice of the node follows from it.
    #[serde(default)]
    pub seed: u64,
    /// The protocol's own options.
    #[serde(default)]
    pub options: serde_yaml::Value,
}

/// Whether what is acknowledged is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Nothing is acknowledged before `fdatasync` has returned.
    #[default]
    Fsync,
    /// Nothing is written to disk nor waited for: a restart forgets everything.
    Memory,
}

impl Durability {
    /// The name in plans and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Durability::Fsync => "fsync",
            Durability::Memory => "memory",
        }
    }
}

/// What becomes of what was written and not synced when the process is killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unsynced {
    /// The system keeps it.
    #[default]
    Kept,
    /// It is gone, as after a power loss: until it is synced it is in the process's own memory.
    Lost,
}

/// How a node keeps its folders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keeping {
    pub(crate) durability: Durability,
    pub(crate) unsynced: Unsynced,
    /// Of the disk that all are on.
    pub(crate) fullness: Fullness,
}

impl Keeping {
    /// Opens a folder of the data folder.
    pub(crate) fn open(&self, folder: &Path) -> std::io::Result<Folder> {
        let opened = match self.unsynced {
            Unsynced::Kept => Folder::open(folder)?,
            Unsynced::Lost => Folder::open_losing_unsynced(folder)?,
        };
        Ok(opened.on(self.fullness.clone()))
    }
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("reading {}: {source}", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A key is unknown or missing, or has a value of the wrong type. The reason names key, line and column.
    #[error("{}: {source}", file.display())]
    Parse {
        /// Which file.
        file: PathBuf,
        /// The parser's reason.
        source: serde_yaml::Error,
    },
    /// The values do not fit together.
    #[error("{}: {reason}", file.display())]
    Invalid {
        /// Which file.
        file: PathBuf,
        /// What does not fit.
        reason: String,
    },
}

/// Nobody on Earth is a minute away.
const DISTANCE_US_MAX: u64 = 60_000_000;

/// Only the options, so that the parser itself meets them in the file and can name line and column.
#[derive(Deserialize)]
struct OptionsOf<O> {
    options: Option<O>,
}

impl NodeConfig {
    /// Reads a file, with the protocol's options as `O`.
    ///
    /// # Errors
    /// If the file cannot be read, parsed, or does not make sense.
    pub fn load<O: DeserializeOwned>(file: &Path) -> Result<(NodeConfig, O), ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
        let parse = |source| ConfigError::Parse { file: file.to_owned(), source };
        let config: NodeConfig = serde_yaml::from_str(&text).map_err(parse)?;
        let options: OptionsOf<O> = serde_yaml::from_str(&text).map_err(parse)?;
        let options = match options.options {
            Some(options) => options,
            // None given: every option has its default, or the error says which one has none.
            None => serde_yaml::from_str("{}").map_err(parse)?,
        };
        config.check().map_err(|reason| ConfigError::Invalid { file: file.to_owned(), reason })?;
        Ok((config, options))
    }

    /// Which node stands for which replica.
    #[must_use]
    pub fn placement(&self) -> Placement {
        let own_number = |node: &NodeId| ReplicaId(node.0);
        let seat = |node: &NodeId| (*node, self.twins.get(node).copied().unwrap_or_else(|| own_number(node)));
        self.peers.keys().map(seat).collect()
    }

    /// The replica that this node stands for.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.placement().replica_of(self.node).expect("checked: it is among the peers")
    }

    /// Who the node's replica is, and who founds its group.
    #[must_use]
    pub fn seat(&self) -> Seat {
        Seat { replica: self.replica(), incarnation: self.incarnation, members: self.members() }
    }

    /// The ids of the founders.
    #[must_use]
    pub fn members(&self) -> Vec<ReplicaId> {
        let all = || self.placement().iter().map(|(_, replica)| replica).collect::<BTreeSet<_>>();
        self.members.clone().unwrap_or_else(|| all().into_iter().collect())
    }

    fn check(&self) -> Result<(), String> {
        if !self.peers.contains_key(&self.node) {
            return Err(format!("peers: node {} is not among them", self.node.0));
        }
        if let Some(stranger) = self.twins.keys().find(|node| !self.peers.contains_key(node)) {
            return Err(format!("twins: {} is not among the peers", stranger.0));
        }
        if let Some(stranger) = self.distance_us.keys().find(|node| !self.peers.contains_key(node)) {
            return Err(format!("distance_us: {} is not among the peers", stranger.0));
        }
        if let Some((node, us)) = self.distance_us.iter().find(|(_, us)| **us > DISTANCE_US_MAX) {
            return Err(format!("distance_us: {us} to {} is over {DISTANCE_US_MAX}", node.0));
        }
        if let Some(stranger) = self.clients.keys().find(|node| !self.peers.contains_key(node)) {
            return Err(format!("clients: {} is not among the peers", stranger.0));
        }
        let placement = self.placement();
        let mut founders = self.members.iter().flatten();
        if let Some(stranger) = founders.find(|founder| placement.node_of(**founder).is_none()) {
            return Err(format!("members: no node stands for {}", stranger.0));
        }
        if self.members.as_ref().is_some_and(Vec::is_empty) {
            return Err("members: there are none".to_owned());
        }
        for (key, nodes) in [("peers", &self.peers), ("clients", &self.clients)] {
            if let Some((node, _)) = nodes.iter().find(|(_, address)| address.port() == 0) {
                return Err(format!("{key}: {} has port 0, which nobody could connect to", node.0));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Options {
        election_timeout_ms: u64,
    }

    impl Default for Options {
        fn default() -> Self {
            Self { election_timeout_ms: 150 }
        }
    }

    const MINIMAL: &str = "node: 1\npeers: {1: '127.0.0.1:7001', 2: '127.0.0.1:7002'}\n\
        client_address: 127.0.0.1:0\nhttp_address: 127.0.0.1:0\ndata_dir: /tmp/n1\n";

    fn load(text: &str) -> Result<(NodeConfig, Options), String> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        NodeConfig::load(file.path()).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_left_out_has_its_default_and_a_written_file_reads_back() {
        let (config, options) = load(MINIMAL).expect("minimal");
        assert_eq!(config.durability, Durability::Fsync);
        assert_eq!(options, Options::default());
        let written = serde_yaml::to_string(&config).expect("serialisable");
        assert_eq!(load(&written).expect("written by ourselves").0, config);
    }

    #[test]
    fn options_are_the_protocols_own() {
        let (_, options) = load(&format!("{MINIMAL}options: {{election_timeout_ms: 9}}\n")).expect("known");
        assert_eq!(options, Options { election_timeout_ms: 9 });
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        for (text, key, line) in [
            (format!("{MINIMAL}durabilty: memory\n"), "durabilty", "line 6"),
            (format!("{MINIMAL}options:\n  election_timeout: 9\n"), "election_timeout", "line 7"),
        ] {
            let error = load(&text).expect_err("unknown key");
            assert!(error.contains(key) && error.contains(line), "{error}");
        }
    }

    #[test]
    fn a_node_that_is_no_member_is_refused() {
        let error = load(&MINIMAL.replace("node: 1", "node: 3")).expect_err("not a member");
        assert!(error.contains("node 3 is not among them"), "{error}");
    }

    #[test]
    fn what_is_written_is_lost_with_the_process_only_if_the_file_says_so() {
        let unsynced = |more: &str| load(&format!("{MINIMAL}{more}")).map(|(config, _)| config.unsynced);
        assert_eq!(unsynced(""), Ok(Unsynced::Kept));
        assert_eq!(unsynced("unsynced: lost\n"), Ok(Unsynced::Lost));
        assert!(unsynced("unsynced: some\n").is_err());
    }

    #[test]
    fn founders_are_all_peers_unless_some_are_named() {
        let founders = |text: &str| load(text).map(|(config, _)| config.members());
        assert_eq!(founders(MINIMAL), Ok(vec![ReplicaId(1), ReplicaId(2)]));
        let (config, _) = load(&format!("{MINIMAL}members: [2]\nincarnation: 3\n")).expect("a stranger");
        assert_eq!((config.members(), config.incarnation), (vec![ReplicaId(2)], Incarnation(3)));
        for (members, error) in
            [("[1, 7]", "members: no node stands for 7"), ("[]", "members: there are none")]
        {
            let found = founders(&format!("{MINIMAL}members: {members}\n")).expect_err("impossible members");
            assert!(found.contains(error), "{found}");
        }
    }

    #[test]
    fn distances_are_to_peers_and_of_this_world() {
        let distances = |text: &str| {
            load(&format!("{MINIMAL}distance_us: {text}\n")).map(|(config, _)| config.distance_us)
        };
        assert_eq!(distances("{2: 20000}"), Ok([(NodeId(2), 20_000)].into()));
        for (text, error) in [
            ("{7: 20000}", "distance_us: 7 is not among the peers"),
            ("{2: 60000001}", "distance_us: 60000001 to 2 is over 60000000"),
        ] {
            let found = distances(text).expect_err("nobody is there");
            assert!(found.contains(error), "{found}");
        }
    }

    #[test]
    fn clients_are_known_of_peers_only_and_at_ports_that_exist() {
        let clients =
            |text: &str| load(&format!("{MINIMAL}clients: {text}\n")).map(|(config, _)| config.clients);
        let address = SocketAddr::from(([127, 0, 0, 1], 8002));
        assert_eq!(clients("{2: '127.0.0.1:8002'}"), Ok([(NodeId(2), address)].into()));
        for (text, error) in [
            ("{7: '127.0.0.1:8002'}", "clients: 7 is not among the peers"),
            ("{2: '127.0.0.1:0'}", "clients: 2 has port 0"),
        ] {
            let found = clients(text).expect_err("nobody could be asked there");
            assert!(found.contains(error), "{found}");
        }
    }

    #[test]
    fn twins_are_nodes_of_one_replica() {
        let (config, _) = load(&format!("{MINIMAL}twins: {{2: 1}}\n")).expect("two nodes, one replica");
        assert_eq!((config.replica(), config.members()), (ReplicaId(1), vec![ReplicaId(1)]));
        let error = load(&format!("{MINIMAL}twins: {{7: 1}}\n")).expect_err("no such node");
        assert!(error.contains("twins: 7 is not among the peers"), "{error}");
    }
}
