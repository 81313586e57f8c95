//! The systems under test: what a plan may say of one, and what an entry of their table can do.
//!
//! | file | concept |
//! |---|---|
//! | `mod.rs` | [`Subject`]: one as a plan configures it |
//! | `properties.rs` | [`Properties`]: what there is to know of one beforehand |
//! | `faults.rs` | which faults one can have, and where |
//! | `kind.rs` | [`System`]: an entry of the table; [`OwnSystem`] and [`Foreign`], what one is made of |
//!
//! The entries are in `subjects/`, one file each.

pub(crate) mod faults;
mod kind;
mod properties;

pub(crate) use kind::{Deployment, Drawn, Foreign, Kind, OwnSystem, System};
pub(crate) use properties::{ClientKind, Clocks, Promise, Properties, any_workload};

use nemesis::Fault;
use protocol::Bugs;
use runtime::Durability;
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// How reads are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reads {
    /// As the system does by default: linearizable.
    #[default]
    Default,
    /// A round of heartbeats confirms the leader before each batch of reads.
    ReadIndex,
    /// Within the leader's lease, under a bound on clock drift.
    Lease,
    /// From the replica's own state: unsafe. etcd calls it serializable.
    Local,
}

/// What is to be found of a control: a subject that is held to more than it promises, to see that the harness would find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Expect {
    /// That it does not keep what it is held to. If it does, nothing is known.
    Invalid,
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
    /// Replicas, if not as many as the plan says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// What it is held to, if not to what it promises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promise: Option<Promise>,
    /// What is to be found of it, if it is a control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
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
    promise: Option<Promise>,
    expect: Option<Expect>,
    #[serde(default)]
    storage_bugs: Bugs<storage::Bug>,
    #[serde(default)]
    options: serde_yaml::Value,
}

impl From<SubjectMap> for Subject {
    fn from(map: SubjectMap) -> Self {
        let SubjectMap { name, system, reads, durability, replicas, promise, expect, storage_bugs, options } =
            map;
        let name = name.unwrap_or_else(|| system.name().into());
        Subject { name, system, reads, durability, replicas, promise, expect, storage_bugs, options }
    }
}

impl Reads {
    /// The name in plans.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Reads::Default => "default",
            Reads::ReadIndex => "read-index",
            Reads::Lease => "lease",
            Reads::Local => "local",
        }
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
        let system = System::by_name(name).ok_or_else(|| kind::unknown(name))?;
        Ok(Subject {
            name: name.into(),
            system,
            reads: Reads::Default,
            durability: Durability::Fsync,
            replicas: None,
            promise: None,
            expect: None,
            storage_bugs: Bugs::default(),
            options: serde_yaml::Value::Null,
        })
    }

    /// What it is held to.
    #[must_use]
    pub(crate) fn promise(&self) -> Promise {
        self.promise.unwrap_or(self.system.properties().promise)
    }

    /// Whether a violation of what it is held to is what a plan expects.
    #[must_use]
    pub(crate) fn is_control(&self) -> bool {
        match self.expect {
            Some(Expect::Invalid) => true,
            None => false,
        }
    }

    /// Why what it is held to is more than it promises, if it is.
    #[must_use]
    pub(crate) fn outside_its_promise(&self) -> Option<String> {
        let (own, held) = (self.system.properties().promise, self.promise());
        if held.is_more_than(own) {
            return Some(format!("it is held to {} and promises {}", held.name(), own.name()));
        }
        let weak = self.reads == Reads::Local && held == Promise::Linearizable;
        weak.then(|| format!("its reads are {} and it is held to {}", self.reads_in_words(), held.name()))
    }

    /// How many replicas it has under a plan that says `replicas`.
    #[must_use]
    pub(crate) fn replicas_under(&self, replicas: u32) -> u32 {
        self.system.properties().replicas.or(self.replicas).unwrap_or(replicas)
    }

    /// Takes a read mode from the command line, where the system has it.
    pub(crate) fn override_reads(&mut self, reads: Reads) {
        if self.system.properties().reads.len() > 1 {
            self.reads = reads;
        }
    }

    /// How it reads, for reports.
    #[must_use]
    pub(crate) fn reads_in_words(&self) -> &'static str {
        let named = self.system.properties().reads.iter().find(|(reads, _)| *reads == self.reads);
        named.map_or("–", |(_, words)| words)
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
        let properties = self.system.properties();
        let name = properties.name;
        if let Some(fixed) = properties.replicas
            && self.replicas.is_some_and(|n| n != fixed)
        {
            return Some(format!("{name} has {fixed} replica{}", if fixed == 1 { "" } else { "s" }));
        }
        if !properties.reads.iter().any(|(reads, _)| *reads == self.reads) {
            let known: Vec<_> = properties.reads.iter().map(|(reads, _)| reads.name()).collect();
            return Some(format!("{name} reads are {}, not {}", known.join(", "), self.reads.name()));
        }
        if !properties.durability.contains(&self.durability) {
            let known: Vec<_> = properties.durability.iter().map(|durability| durability.name()).collect();
            let said = self.durability.name();
            return Some(format!("{name} has durability {}, not {said}", known.join(", ")));
        }
        self.node_options().err().or_else(|| self.expects_too_much())
    }

    fn expects_too_much(&self) -> Option<String> {
        let is_held_to_more = self.promise().is_more_than(self.system.properties().promise);
        match (self.expect, self.outside_its_promise()) {
            (None, Some(why)) if is_held_to_more => Some(format!(
                "{why}: say `expect: invalid` to have it as a control, which passes if it is found broken"
            )),
            (Some(Expect::Invalid), None) => Some(format!(
                "`expect: invalid`, but it promises what it is held to ({}): nothing is to be found",
                self.promise().name()
            )),
            (None, _) | (Some(Expect::Invalid), Some(_)) => None,
        }
    }

    /// Why its links cannot have a fault on the kinds of messages that the fault names, if so.
    pub(crate) fn lacks_kinds(&self, fault: &Fault) -> Option<String> {
        let kinds = fault.kinds()?;
        let (name, fault) = (self.system.name(), fault.name());
        let Some(known) = self.system.message_kinds() else {
            return Some(format!(
                "{fault}: nothing on a link can tell the kinds of {name}'s messages; leave `kinds` out for it"
            ));
        };
        let unknown = kinds.iter().find(|kind| !known.contains(&kind.as_str()))?;
        Some(match known {
            [] => format!("{fault}: {name} has no messages between its nodes, so none of kind `{unknown}`"),
            _ => format!(
                "{fault}: {name} has no messages of kind `{unknown}`, expected of {}",
                known.join(", ")
            ),
        })
    }

    /// The options that the plan gives.
    ///
    /// # Errors
    /// If they are no map.
    pub(crate) fn options_given(&self) -> Result<serde_yaml::Mapping, String> {
        let options = &self.options;
        let given =
            if options.is_null() { Some(serde_yaml::Mapping::new()) } else { options.as_mapping().cloned() };
        given.ok_or_else(|| format!("options is not a map: {options:?}"))
    }

    /// The options as the node's own configuration file holds them, checked by the protocol's own parser.
    ///
    /// # Errors
    /// If the protocol does not know an option or its value.
    pub(crate) fn node_options(&self) -> Result<serde_yaml::Value, String> {
        self.system.node_options(self)
    }
}
