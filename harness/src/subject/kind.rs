//! What an entry of the table of subjects can do, for whoever does not know which it is.

use super::{Properties, Reads, Subject};
use crate::elsewhere::Target;
use crate::host::Log;
use crate::host::node::Recipe;
use crate::plan::{Cell, Plan};
use crate::sim::one::{Run, Simulated};
use crate::sim::settings::Knobs;
use crate::subjects;
use crate::world::ports::Ports;
use crate::world::recipes::Layout;
use anyhow::Context;
use futures_util::future::BoxFuture;
use kv::{Seat, Serves};
use protocol::{Bug, BugInfo, Describe, Incarnation, NodeId, Protocol, ReplicaId};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_yaml::{Mapping, Value};
use sim::Observer;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use workloads::{ClientTls, Connect, KvConnector, KvNodes};

/// An entry of the table of subjects: a system that the harness knows how to start and to speak to.
#[derive(Clone, Copy)]
pub(crate) struct System(&'static dyn Kind);

/// What the harness asks of an entry.
pub(crate) trait Kind: Sync {
    /// What there is to know of it beforehand.
    fn properties(&self) -> &'static Properties;

    /// How its nodes are started.
    fn deployment(&self) -> Deployment;

    /// What makes its clients. `tls`: what they show, if its nodes speak TLS.
    fn connector(&self, target: &Target, tls: Option<ClientTls>) -> Arc<dyn Connect>;

    /// Its seeded bugs: none, unless a plan names them.
    fn bugs(&self) -> Vec<BugInfo> {
        Vec::new()
    }

    /// Situations that a campaign may come across.
    fn situations(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// The kinds of messages between its nodes, for faults that name them; `None` if nobody on a link can tell.
    fn message_kinds(&self) -> Option<&'static [&'static str]> {
        None
    }

    /// The options of a subject as its nodes' configuration files hold them, checked by the protocol's own parser.
    ///
    /// # Errors
    /// If the protocol does not know an option or its value.
    fn node_options(&self, subject: &Subject) -> Result<Value, String>;

    /// What a seed draws of its options in the simulator; `None` if there is nothing to draw.
    fn draw(&self, _knobs: &Knobs, _clocks_are_bent: bool, _rng: &mut Xoshiro256PlusPlus) -> Option<Drawn> {
        None
    }

    /// How far clocks' rates may be off before its promise does not hold any more, by its options: within 1 ± this. `None` if it
    /// does not say.
    fn clock_drift_max(&self, _options: &Value) -> Option<f64> {
        None
    }

    /// Changes a campaign's plan so that a bug can show in it.
    fn prepare_exam(&self, _bug: &BugInfo, _plan: &mut Plan) {}

    /// The plan, YAML, under which a bug must show on processes, without the bug.
    fn trial(&self, _bug: &BugInfo) -> Option<&'static str> {
        None
    }

    /// Runs a resolved cell in virtual time. `in_words`: with all that happens told in words.
    ///
    /// # Errors
    /// If it cannot be simulated.
    fn simulate(&self, cell: &Cell, in_words: bool) -> anyhow::Result<Simulated>;
}

/// How nodes are started.
#[derive(Clone, Copy)]
pub(crate) enum Deployment {
    /// Our own program, with a configuration file, a control socket, and our journal.
    Own,
    /// Somebody else's.
    Foreign(&'static dyn Foreign),
}

/// Somebody else's system.
pub(crate) trait Foreign: Sync {
    /// The Debian package that its program is in.
    fn package(&self) -> &'static str;

    /// How a node is started.
    fn recipe(&self, node: NodeId, layout: &Layout, ports: &BTreeMap<NodeId, Ports>) -> Recipe;

    /// Where a node writes what it has promised to remember, below its data folder.
    fn log(&self) -> Log;

    /// Who leads, by client address, as far as the nodes tell.
    fn leader<'a>(&'a self, clients: &'a [SocketAddr]) -> BoxFuture<'a, Option<SocketAddr>>;
}

/// What a seed draws.
#[derive(Debug)]
pub(crate) struct Drawn {
    /// Options under which rare paths are common.
    pub options: Mapping,
    /// How reads are answered, where neither plan nor scenario says it.
    pub reads: Reads,
    /// Machines' clocks run at rates within 1 ± this.
    pub clock_drift: f64,
}

/// A protocol of ours as an entry. What is the same for all of them is written here, once.
pub(crate) trait OwnSystem: Sync + 'static {
    /// Its replicas.
    type Core: Serves;
    /// Looks at replicas after each of their steps in the simulator.
    type Observer: Observer<Self::Core> + Default;

    /// What there is to know of it beforehand.
    const PROPERTIES: Properties;
    /// Situations that a campaign may come across, besides those of the state machine.
    const SITUATIONS: &'static [&'static str] = &[];
    /// Its seeded bugs that must show on processes, each with the plan, YAML, under which it must.
    const TRIALS: &'static [(&'static str, &'static str)] = &[];

    /// Its seeded bugs.
    fn bugs() -> Vec<BugInfo> {
        Vec::new()
    }

    /// Tells it how to read, in its options.
    fn set_reads(_reads: Reads, _options: &mut Mapping) {}

    /// As [`Kind::draw`].
    fn draw(_knobs: &Knobs, _clocks_are_bent: bool, _rng: &mut Xoshiro256PlusPlus) -> Option<Drawn> {
        None
    }

    /// As [`Kind::clock_drift_max`].
    fn clock_drift_max(_options: &Value) -> Option<f64> {
        None
    }

    /// As [`Kind::prepare_exam`].
    fn prepare_exam(_bug: &BugInfo, _plan: &mut Plan) {}
}

impl<S: OwnSystem> Kind for S {
    fn properties(&self) -> &'static Properties {
        const { &S::PROPERTIES }
    }

    fn deployment(&self) -> Deployment {
        Deployment::Own
    }

    fn connector(&self, target: &Target, tls: Option<ClientTls>) -> Arc<dyn Connect> {
        let (nodes, group, distances) = (target.nodes.clone(), target.group, target.distances.clone());
        Arc::new(KvConnector::<S::Core>::new(KvNodes { nodes, group, tls, distances }))
    }

    fn bugs(&self) -> Vec<BugInfo> {
        S::bugs().into_iter().chain(storage::Bug::ALL.iter().map(|bug| bug.info())).collect()
    }

    fn situations(&self) -> Vec<&'static str> {
        S::SITUATIONS.iter().chain(kv::SITUATIONS).copied().collect()
    }

    fn message_kinds(&self) -> Option<&'static [&'static str]> {
        Some(<S::Core as Protocol>::Message::KINDS)
    }

    fn node_options(&self, subject: &Subject) -> Result<Value, String> {
        let mut options = subject.options_given()?;
        if subject.reads != Reads::Default {
            S::set_reads(subject.reads, &mut options);
        }
        let options = Value::Mapping(options);
        let parsed = serde_yaml::from_value(options.clone()).map_err(|error| format!("options: {error}"))?;
        S::Core::check(&parsed).map_err(|error| format!("options: {error}"))?;
        Ok(options)
    }

    fn draw(&self, knobs: &Knobs, clocks_are_bent: bool, rng: &mut Xoshiro256PlusPlus) -> Option<Drawn> {
        S::draw(knobs, clocks_are_bent, rng)
    }

    fn clock_drift_max(&self, options: &Value) -> Option<f64> {
        S::clock_drift_max(options)
    }

    fn prepare_exam(&self, bug: &BugInfo, plan: &mut Plan) {
        S::prepare_exam(bug, plan);
    }

    fn trial(&self, bug: &BugInfo) -> Option<&'static str> {
        S::TRIALS.iter().find(|(id, _)| *id == bug.id).map(|(_, plan)| *plan)
    }

    fn simulate(&self, cell: &Cell, in_words: bool) -> anyhow::Result<Simulated> {
        let options = self.node_options(cell.subject()).map_err(anyhow::Error::msg)?;
        let options: <S::Core as Serves>::Options = serde_yaml::from_value(options).context("options")?;
        let members: Vec<_> = (1..=cell.replicas()).map(ReplicaId).collect();
        let configure = move |replica, incarnation: Incarnation| {
            let seat = Seat { replica, incarnation, members: members.clone() };
            S::Core::configure(seat, options.clone())
        };
        Ok(Run::<S::Core, S::Observer>::new(cell, in_words, S::Observer::default(), configure).all())
    }
}

impl System {
    /// An entry.
    pub(crate) const fn new(kind: &'static dyn Kind) -> Self {
        Self(kind)
    }

    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = System> {
        subjects::ALL.iter().copied()
    }

    /// The entry of this name.
    pub(crate) fn by_name(name: &str) -> Option<System> {
        System::all().find(|system| system.name() == name)
    }

    /// The name in plans and reports.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        self.properties().name
    }

    /// Whether its nodes are our own processes, with link conditioner, clock and control socket.
    #[must_use]
    pub(crate) fn is_ours(self) -> bool {
        matches!(self.deployment(), Deployment::Own)
    }
}

impl Deref for System {
    type Target = dyn Kind;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for System {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for System {}

impl PartialOrd for System {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for System {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}

impl Serialize for System {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for System {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        System::by_name(&name).ok_or_else(|| de::Error::custom(unknown(&name)))
    }
}

/// That there is no entry of this name.
pub(super) fn unknown(name: &str) -> String {
    let known: Vec<_> = System::all().map(System::name).collect();
    format!("unknown system `{name}`, expected one of {}", known.join(", "))
}
