//! The systems under test: what they are called, how they read and write, and what they may be told.

use crate::elsewhere::Target;
use protocol::Bugs;
use runtime::Durability;
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::sync::Arc;
use workloads::etcd::EtcdConnector;
use workloads::{ClientTls, Connect, KvConnector, KvNodes};

/// A system that the harness knows how to start and to speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum System {
    /// Our Raft.
    Raft,
    /// Our key-value store on one node: the baseline.
    Standalone,
    /// etcd, found on the PATH: a foreign system.
    Etcd,
}

impl System {
    /// All of them, for `list`.
    pub(crate) const ALL: [System; 3] = [System::Raft, System::Standalone, System::Etcd];

    /// The name in plans and reports.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            System::Raft => "raft",
            System::Standalone => "standalone",
            System::Etcd => "etcd",
        }
    }

    /// One line for `list`.
    #[must_use]
    pub(crate) fn description(self) -> &'static str {
        match self {
            System::Raft => "Raft: majority-replicated log, elected leader",
            System::Standalone => "the same key-value store on one node, unreplicated: the baseline",
            System::Etcd => "etcd from the PATH, over gRPC: a foreign subject",
        }
    }

    /// The node program; foreign ones come from the PATH.
    #[must_use]
    pub(crate) fn program(self) -> &'static str {
        match self {
            System::Raft => "raft-node",
            System::Standalone => "standalone-node",
            System::Etcd => "etcd",
        }
    }

    /// Whether replicas can be held to having equal states where they have applied equally much.
    ///
    /// # Errors
    /// Why they cannot.
    pub(crate) fn agreement(self) -> Result<(), &'static str> {
        match self {
            System::Raft | System::Standalone => Ok(()),
            System::Etcd => Err("etcd does not tell a digest of its state"),
        }
    }

    /// Whether nodes can become members, and members cease to be, while it runs.
    #[must_use]
    pub(crate) fn changes_members(self) -> bool {
        matches!(self, System::Raft)
    }

    /// Whether one of its replicas is where requests are best sent.
    #[must_use]
    pub(crate) fn leads(self) -> bool {
        match self {
            System::Raft | System::Standalone | System::Etcd => true,
        }
    }

    /// What makes its clients. `tls`: what they show, if its nodes speak TLS.
    #[must_use]
    pub(crate) fn connector(self, target: &Target, tls: Option<ClientTls>) -> Arc<dyn Connect> {
        let group = || KvNodes { nodes: target.nodes.clone(), group: target.group, tls };
        match self {
            System::Raft => Arc::new(KvConnector::<raft::Raft>::new(group())),
            System::Standalone => Arc::new(KvConnector::<standalone::Standalone>::new(group())),
            System::Etcd => {
                let members = target.nodes.iter().map(|(node, (_, address))| (*node, *address)).collect();
                Arc::new(EtcdConnector::new(members, target.reads == Reads::Local))
            }
        }
    }

    /// Whether its nodes are our own processes, with link conditioner, clock and control socket.
    #[must_use]
    pub(crate) fn is_ours(self) -> bool {
        !matches!(self, System::Etcd)
    }
}

/// How reads are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reads {
    /// As the system does by default: linearizable.
    #[default]
    Default,
    /// Raft: a round of heartbeats confirms the leader before each batch of reads.
    ReadIndex,
    /// Raft: within a lease, under a bound on clock drift.
    Lease,
    /// From the replica's own state: unsafe. etcd calls it serializable.
    Local,
}

/// One system under test, as a plan configures it. In a plan: a system's name, or a map.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Subject {
    /// Its name in tables and folders.
    pub name: String,
    /// What it is.
    pub system: System,
    /// How it reads.
    pub reads: Reads,
    /// Whether acknowledged writes are on disk.
    pub durability: Durability,
    /// Replicas, if not as many as the plan says. Standalone always has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Seeded bugs of storage.
    #[serde(skip_serializing_if = "Bugs::is_empty")]
    pub storage_bugs: Bugs<storage::Bug>,
    /// The protocol's own options.
    #[serde(skip_serializing_if = "serde_yaml::Value::is_null")]
    pub options: serde_yaml::Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectMap {
    name: Option<String>,
    system: System,
    #[serde(default)]
    reads: Reads,
    #[serde(default)]
    durability: Durability,
    replicas: Option<u32>,
    #[serde(default)]
    storage_bugs: Bugs<storage::Bug>,
    #[serde(default)]
    options: serde_yaml::Value,
}

impl From<SubjectMap> for Subject {
    fn from(map: SubjectMap) -> Self {
        let SubjectMap { name, system, reads, durability, replicas, storage_bugs, options } = map;
        let name = name.unwrap_or_else(|| system.name().into());
        Subject { name, system, reads, durability, replicas, storage_bugs, options }
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrMap;
        impl<'de> Visitor<'de> for NameOrMap {
            type Value = Subject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a system's name, or a map with `system`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Subject, E> {
                Subject::by_name(name).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Subject, A::Error> {
                SubjectMap::deserialize(MapAccessDeserializer::new(map)).map(Subject::from)
            }
        }
        deserializer.deserialize_any(NameOrMap)
    }
}

impl Subject {
    /// The subject that a bare system name means.
    ///
    /// # Errors
    /// If there is no such system; names those that there are.
    pub(crate) fn by_name(name: &str) -> Result<Subject, String> {
        let system = System::ALL.into_iter().find(|system| system.name() == name).ok_or_else(|| {
            let known: Vec<_> = System::ALL.iter().map(|system| system.name()).collect();
            format!("unknown system `{name}`, expected one of {}", known.join(", "))
        })?;
        Ok(Subject {
            name: name.into(),
            system,
            reads: Reads::Default,
            durability: Durability::Fsync,
            replicas: None,
            storage_bugs: Bugs::default(),
            options: serde_yaml::Value::Null,
        })
    }

    /// How many replicas it has under a plan that says `replicas`.
    #[must_use]
    pub(crate) fn replicas_under(&self, replicas: u32) -> u32 {
        match self.system {
            System::Standalone => 1,
            System::Raft | System::Etcd => self.replicas.unwrap_or(replicas),
        }
    }

    /// Takes a read mode from the command line, where the system has it.
    pub(crate) fn override_reads(&mut self, reads: Reads) {
        if !matches!(self.system, System::Standalone) {
            self.reads = reads;
        }
    }

    /// How it reads, for reports.
    #[must_use]
    pub(crate) fn reads_in_words(&self) -> &'static str {
        match (self.system, self.reads) {
            (System::Standalone, _) => "own state (one node)",
            (System::Raft, Reads::Default | Reads::ReadIndex) => "read index",
            (System::Raft, Reads::Lease) => "lease",
            (System::Etcd, Reads::Local) => "serializable (unsafe)",
            (System::Etcd, _) => "linearizable",
            (System::Raft, Reads::Local) => "local (unsafe)",
        }
    }

    /// What is wrong with it, if anything.
    #[must_use]
    pub(crate) fn problem(&self) -> Option<String> {
        let folder_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(folder_name) {
            return Some(format!("name `{}` cannot be a folder's: letters, digits, - _ . only", self.name));
        }
        if self.replicas == Some(0) {
            return Some("replicas is 0".into());
        }
        match self.system {
            System::Standalone if self.replicas.is_some_and(|n| n != 1) => {
                Some("standalone has one replica".into())
            }
            System::Standalone if self.reads != Reads::Default => Some("standalone has no read modes".into()),
            System::Etcd if self.durability == Durability::Memory => {
                Some("etcd cannot run without fsync: durability must be `fsync`".into())
            }
            System::Etcd if matches!(self.reads, Reads::Lease | Reads::ReadIndex) => {
                Some("etcd reads are `default` (linearizable) or `local` (serializable)".into())
            }
            System::Etcd if !self.storage_bugs.is_empty() => Some("etcd has no seeded bugs".into()),
            System::Etcd if !self.options.is_null() => Some("etcd takes no options".into()),
            _ => self.node_options().err(),
        }
    }

    /// The options that the plan gives.
    ///
    /// # Errors
    /// If they are no map.
    pub(crate) fn options_given(&self) -> Result<serde_yaml::Mapping, String> {
        match &self.options {
            serde_yaml::Value::Null => Ok(serde_yaml::Mapping::new()),
            serde_yaml::Value::Mapping(map) => Ok(map.clone()),
            other => Err(format!("options is not a map: {other:?}")),
        }
    }

    /// The options as the node's own configuration file holds them, checked by the protocol's own parser.
    ///
    /// # Errors
    /// If the protocol does not know an option or its value.
    pub(crate) fn node_options(&self) -> Result<serde_yaml::Value, String> {
        let mut options = self.options_given()?;
        if self.system == System::Raft && self.reads != Reads::Default {
            let word = serde_yaml::to_value(self.reads).expect("a name");
            options.insert("read".into(), word);
        }
        let options = serde_yaml::Value::Mapping(options);
        match self.system {
            System::Raft => {
                let options = parse::<raft::Options>(&options)?;
                options.validate().map_err(|error| format!("options: {error}"))?;
            }
            System::Standalone => {
                parse::<standalone::Options>(&options)?;
            }
            System::Etcd => {}
        }
        Ok(options)
    }
}

/// Options as a protocol's own parser takes them.
fn parse<O: serde::de::DeserializeOwned>(options: &serde_yaml::Value) -> Result<O, String> {
    serde_yaml::from_value(options.clone()).map_err(|error| format!("options: {error}"))
}
