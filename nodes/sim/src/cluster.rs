//! The cluster: what happens next, and everything that can be done to it.

use crate::disk::{DiskCounters, JOURNAL, SNAPSHOTS};
use crate::network::{Arrivals, Network, NetworkSettings, exponential};
use crate::node::{Input, Life, Node};
use crate::outlets::{Halt, Released};
use crate::queue::Queue;
use crate::trace::{Trace, TraceEvent, TraceWhat};
use protocol::control::{ClockSetting, LinkCounters, OneWayCondition};
use protocol::{
    AdminReply, AdminRequest, Bugs, ClientId, Describe, Detector, Incarnation, NodeId, Placement, Protocol,
    ReplicaId, Routes, Status, Tampered, Time, codec,
};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use storage::journal;

/// How a cluster is when nothing is done to it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Between replicas.
    pub network: NetworkSettings,
    /// What a message takes besides from a node to another that is far away. No fault: faults come on top.
    pub distances: BTreeMap<(NodeId, NodeId), Duration>,
    /// Between a client and a node, one way, on average; exponentially distributed.
    pub client_latency_mean: Duration,
    /// All disks.
    pub disk: DiskSettings,
    /// What a turn costs, …
    pub turn: Duration,
    /// … and each input in it on top.
    pub input: Duration,
    /// Machines' clocks run at a rate within 1 ± this, mostly one as far off one way, the others the other way.
    pub clock_drift: f64,
    /// Seeded bugs of storage.
    pub storage_bugs: Bugs<storage::Bug>,
    /// Whether what happens is told in words, for [`Cluster::events`].
    pub in_words: bool,
}

/// How disks are when nothing is done to them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiskSettings {
    /// The least that a sync takes.
    pub sync_min: Duration,
    /// What it takes on top on average; exponentially distributed.
    pub sync_mean: Duration,
    /// What one step of the snapshot store takes on average; exponentially distributed.
    pub store_mean: Duration,
    /// The journal's segments are closed at this size.
    pub segment_bytes: u64,
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What kind of evidence it is.
    pub detector: Detector,
    /// Who and what.
    pub what: String,
}

/// Looks at cores from outside, after each of their steps.
pub trait Observer<P> {
    /// Whether there is anything that it checks.
    const LOOKS: bool = true;

    /// Checks what a step has changed.
    ///
    /// # Errors
    /// If something is not as it must be.
    fn after_step(&mut self, core: &P) -> Result<(), Broken>;

    /// A node that stands for this replica has lost what was not on its disk.
    fn restarted(&mut self, replica: ReplicaId);
}

/// Nothing is looked at.
impl<P> Observer<P> for () {
    const LOOKS: bool = false;

    fn after_step(&mut self, _core: &P) -> Result<(), Broken> {
        Ok(())
    }

    fn restarted(&mut self, _replica: ReplicaId) {}
}

/// What is told to whoever drives the cluster.
#[derive(Debug)]
pub enum Output<P: Protocol> {
    /// A client gets an answer.
    Reply {
        /// Who.
        client: ClientId,
        /// From whom.
        from: NodeId,
        /// The answer.
        reply: P::Reply,
    },
    /// A client finds that a node's process is gone, or not there.
    Lost {
        /// Who.
        client: ClientId,
        /// Which node.
        node: NodeId,
        /// Whether the node was down already when a request came, which had no effect then.
        refused: bool,
    },
    /// An alarm that was set.
    Alarm(u64),
    /// A node has stopped, by itself or doomed.
    Stopped {
        /// Which.
        node: NodeId,
        /// Why.
        why: Stop,
    },
    /// An observer found something.
    Broken(Broken),
}

/// Why a node stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// As [`Cluster::crash_soon`] wanted it.
    Doomed,
    /// Its disk refused.
    Disk(String),
    /// It refuses what its disk holds.
    Refused(String),
    /// It panicked.
    Panicked(String),
}

/// How a node goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Its process ends: what it wrote stays.
    Process,
    /// Its machine loses power: what was not synced may be lost.
    Power,
}

/// A part of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// The journal's segments.
    Journal,
    /// The snapshots.
    Snapshots,
}

enum What<P: Protocol> {
    Deliver {
        number: u64,
        from: NodeId,
        to: NodeId,
        life: Option<u64>,
        message: P::Message,
    },
    Request {
        client: ClientId,
        to: NodeId,
        request: P::Request,
    },
    ClientGone {
        client: ClientId,
        to: NodeId,
    },
    /// Somebody outside is told.
    Tell(Output<P>),
    /// A node that was busy is free.
    Turn {
        of: NodeId,
        life: u64,
    },
    Timers {
        of: NodeId,
        life: u64,
    },
    Synced {
        of: NodeId,
        life: u64,
    },
    Stored {
        of: NodeId,
        life: u64,
    },
}

/// A group of replicas of one protocol, in virtual time.
pub struct Cluster<P: Protocol> {
    now: Time,
    queue: Queue<What<P>>,
    nodes: BTreeMap<NodeId, Node<P>>,
    placement: Placement,
    network: Network,
    settings: Settings,
    configure: Box<dyn Fn(ReplicaId, Incarnation) -> P::Config>,
    chance: Xoshiro256PlusPlus,
    seed: u64,
    trace: Trace<P>,
    outputs: VecDeque<Output<P>>,
    /// What paused or stalled nodes would have done.
    deferred: BTreeMap<NodeId, Vec<What<P>>>,
    delivered: u64,
    sent: Released<P>,
    /// How far clients are from nodes, one way, as far as that is any way.
    client_distances: BTreeMap<ClientId, BTreeMap<NodeId, Duration>>,
}

/// What may wait for a paused id; what comes on top is lost.
const INBOX_MAX: usize = 10_000;

impl<P: Protocol> Cluster<P> {
    /// A cluster of these nodes, all down, with empty disks. `configure` says how each replica starts.
    pub fn new(
        seed: u64,
        placement: Placement,
        settings: Settings,
        configure: impl Fn(ReplicaId, Incarnation) -> P::Config + 'static,
    ) -> Self {
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
        let drift = settings.clock_drift;
        let (pattern, odd) =
            (chance.random_range(0..3), chance.random_range(0..placement.nodes().count().max(1)));
        let node = |(place, id): (usize, NodeId)| {
            let rate = match pattern {
                // One lags behind all others, or is ahead of them: what leases have to bear.
                0 if place == odd => 1.0 - drift,
                0 => 1.0 + drift,
                1 if place == odd => 1.0 + drift,
                1 => 1.0 - drift,
                _ => chance.random_range(1.0 - drift..=1.0 + drift),
            };
            (id, Node::new(Routes::new(id, placement.clone()), chance.random(), rate))
        };
        let nodes = placement.nodes().enumerate().map(node).collect();
        Self {
            now: Time::ZERO,
            queue: Queue::new(),
            nodes,
            placement,
            network: Network::new(settings.network, settings.distances.clone()),
            trace: Trace::new(settings.in_words),
            settings,
            configure: Box::new(configure),
            chance,
            seed,
            outputs: VecDeque::new(),
            deferred: BTreeMap::new(),
            delivered: 0,
            sent: Released::default(),
            client_distances: BTreeMap::new(),
        }
    }

    /// True time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// All nodes, up or down.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.keys().copied()
    }

    /// How many messages between replicas have arrived.
    #[must_use]
    pub fn messages_delivered(&self) -> u64 {
        self.delivered
    }

    /// A fingerprint of all that has happened.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.trace.fingerprint()
    }

    /// All that has happened, if the settings asked for words.
    #[must_use]
    pub fn events(&self) -> &[TraceEvent] {
        self.trace.events()
    }

    /// Adds words of the caller's to what has happened.
    pub fn note(&mut self, words: impl FnOnce() -> String) {
        self.trace.tell(self.now, || TraceWhat::Note(words()));
    }

    /// Which node stands for which replica.
    #[must_use]
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The core of a node that is up.
    #[must_use]
    pub fn core(&self, id: NodeId) -> Option<&P> {
        Some(self.nodes.get(&id)?.life.as_ref()?.turns.core())
    }

    /// What a node that is up and not paused says about itself.
    #[must_use]
    pub fn status(&self, id: NodeId) -> Option<Status> {
        let node = self.nodes.get(&id).filter(|node| !node.paused)?;
        Some(node.life.as_ref()?.turns.core().status())
    }

    /// Whether a node's process is there, paused or not.
    #[must_use]
    pub fn is_up(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.life.is_some())
    }

    /// What a node's disk has done.
    #[must_use]
    pub fn disk_counters(&self, id: NodeId) -> DiskCounters {
        let node = self.node(id);
        DiskCounters { held_up: node.held_up, ..node.disk.counters() }
    }

    /// What the adversaries of a node have done.
    #[must_use]
    pub fn tampered(&self, id: NodeId) -> Tampered {
        let node = self.node(id);
        let mut all = node.tampered;
        all += node.life.as_ref().map_or_else(Tampered::default, |life| life.turns.tampered());
        all
    }

    /// What one direction of a link has done.
    #[must_use]
    pub fn link_counters(&self, from: NodeId, to: NodeId) -> LinkCounters {
        self.network.counters((from, to))
    }

    /// What the condition of a kind of messages has done on one direction of a link.
    #[must_use]
    pub fn kind_counters(&self, from: NodeId, to: NodeId, kind: &str) -> LinkCounters {
        self.network.kind_counters((from, to), kind)
    }

    /// How far a node's clock is ahead of true time, microseconds; `None` if it is down.
    pub fn clock_error_us(&mut self, id: NodeId) -> Option<i64> {
        let now = self.now;
        Some(self.node_mut(id).life.as_mut()?.clock_error_us(now))
    }

    fn node(&self, id: NodeId) -> &Node<P> {
        self.nodes.get(&id).unwrap_or_else(|| panic!("{id} is no node of this cluster"))
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node<P> {
        self.nodes.get_mut(&id).unwrap_or_else(|| panic!("{id} is no node of this cluster"))
    }

    // What is done to it.

    /// Starts a node that is down from what its disk holds. If that does not work, the next output says why.
    ///
    /// # Panics
    /// If it is up.
    pub fn start(&mut self, id: NodeId, observer: &mut impl Observer<P>) {
        let at = self.now;
        let journal = journal::Settings {
            segment_bytes: self.settings.disk.segment_bytes,
            zeroed_ahead_bytes: 2048,
            bugs: self.settings.storage_bugs.clone(),
        };
        let node = self.nodes.get_mut(&id).expect("a node of this cluster");
        let config = (self.configure)(node.replica, node.incarnation);
        let seed = self.seed ^ (u64::from(id.0) << 32) ^ node.lives.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.trace.mix(u64::from(id.0) << 8 | 1);
        match catch(|| node.start(config, seed, at, journal)) {
            Ok(Ok(records)) => {
                self.trace.tell(at, || TraceWhat::Started { node: id, records });
                self.turn(id, observer);
            }
            Ok(Err(halt)) => self.halt(id, halt, observer),
            Err(panic) => self.stop(id, Stop::Panicked(panic), observer),
        }
    }

    /// Ends a node's process, if there is one.
    pub fn crash(&mut self, id: NodeId, crash: Crash, observer: &mut impl Observer<P>) {
        if self.is_up(id) {
            let why = match crash {
                Crash::Process => "killed",
                Crash::Power => "power lost",
            };
            self.trace.stopped(self.now, id, why);
            self.end(id, crash == Crash::Power, observer);
        } else if crash == Crash::Power {
            self.node_mut(id).end(true);
        }
    }

    /// Ends a node's process, with a loss of power, after so many more effects of its turns (`in_disk`: changes of its disk).
    pub fn crash_soon(&mut self, id: NodeId, after: u32, in_disk: bool) {
        let node = self.node_mut(id);
        if in_disk {
            node.disk.lose_power_after(after);
        } else if let Some(life) = &mut node.life {
            life.on_disk.effects_left = Some(after);
        }
    }

    /// Gives a node that is down a new, empty disk: it has forgotten everything, and is another member from now on.
    ///
    /// # Panics
    /// If it is up.
    pub fn wipe(&mut self, id: NodeId) -> Incarnation {
        let node = self.node_mut(id);
        assert!(node.life.is_none(), "{id} is up");
        node.disk.wipe();
        node.incarnation.0 += 1;
        let incarnation = node.incarnation;
        self.trace.tell(self.now, || TraceWhat::Note(format!("{id} loses its disk")));
        incarnation
    }

    /// Which life of its disk a node is on.
    #[must_use]
    pub fn incarnation(&self, id: NodeId) -> Incarnation {
        self.node(id).incarnation
    }

    /// Stops a node's process for a while, or lets it go on.
    pub fn pause(&mut self, id: NodeId, paused: bool) {
        let node = self.node_mut(id);
        if node.life.is_none() || node.paused == paused {
            return;
        }
        node.paused = paused;
        let life = node.lives;
        self.trace.tell(self.now, || TraceWhat::Paused { node: id, paused });
        if !paused {
            self.resume(id);
            self.queue.push(self.now, What::Turn { of: id, life });
        }
    }

    fn resume(&mut self, id: NodeId) {
        for what in self.deferred.remove(&id).unwrap_or_default() {
            self.queue.push(self.now, what);
        }
    }

    /// Replaces the conditions of all links: those not named are clear.
    ///
    /// # Panics
    /// If one is on a kind of messages that the protocol does not have.
    pub fn set_links(&mut self, conditions: &BTreeMap<(NodeId, NodeId), OneWayCondition>) {
        for kind in conditions.values().flat_map(|condition| condition.kinds.keys()) {
            let kinds = P::Message::KINDS;
            assert!(kinds.contains(&kind.as_str()), "there are no messages of kind {kind}, only {kinds:?}");
        }
        self.network.set(conditions);
    }

    /// Sets a node's clock.
    pub fn set_clock(&mut self, id: NodeId, setting: ClockSetting) {
        let now = self.now;
        let node = self.node_mut(id);
        node.clock_setting = setting;
        let lives = node.lives;
        if let Some(life) = &mut node.life {
            life.set_clock(now, setting);
            life.armed = None;
            self.queue.push(now, What::Timers { of: id, life: lives });
        }
    }

    /// From now on a node sends what is for these replicas to these nodes only; replicas not named: to all nodes that stand for
    /// them.
    ///
    /// # Errors
    /// If a node does not stand for the replica: nothing is changed.
    pub fn set_routes(
        &mut self,
        id: NodeId,
        routes: BTreeMap<ReplicaId, BTreeSet<NodeId>>,
    ) -> Result<(), String> {
        self.trace.tell(self.now, || TraceWhat::Note(format!("{id} sends to {routes:?}")));
        self.node_mut(id).routes.set(routes)
    }

    /// From now on a replica lies, in all its lives, or is correct again.
    pub fn set_adversary(&mut self, id: NodeId, adversary: Option<P::Adversary>) {
        let words = adversary.as_ref().map_or("is correct".to_owned(), |how| format!("lies: {how:?}"));
        self.trace.tell(self.now, || TraceWhat::Note(format!("{id} {words}")));
        let node = self.node_mut(id);
        node.adversary.clone_from(&adversary);
        if let Some(life) = &mut node.life {
            life.turns.set_adversary(adversary);
            self.arm(id);
        }
    }

    /// A disk that does nothing for a while, or does again.
    pub fn stall_disk(&mut self, id: NodeId, stalled: bool) {
        self.node_mut(id).stalled = stalled;
        if !stalled {
            self.resume(id);
        }
    }

    /// A disk that takes so many times as long.
    pub fn slow_disk(&mut self, id: NodeId, times: f64) {
        self.node_mut(id).disk_slowness = times;
    }

    /// A disk that can hold no more, or can again.
    pub fn fill_disk(&mut self, id: NodeId, full: bool) {
        self.node(id).disk.set_full(full);
    }

    /// Flips a bit of what a disk holds, where correct storage can tell; tells which file and where.
    pub fn flip_bit(&mut self, id: NodeId, folder: Folder) -> Option<(String, usize)> {
        let folder = match folder {
            Folder::Journal => JOURNAL,
            Folder::Snapshots => SNAPSHOTS,
        };
        let flipped = self.node_mut(id).flip_bit(folder);
        if let Some((file, at)) = &flipped {
            let words = format!("a bit of {id}'s {file} flips at byte {at}");
            self.trace.tell(self.now, || TraceWhat::Note(words));
        }
        flipped
    }

    /// From now on a client is so far from these nodes, one way, and near to all others.
    pub fn place_client(&mut self, client: ClientId, distances: BTreeMap<NodeId, Duration>) {
        self.client_distances.insert(client, distances);
    }

    fn client_distance(&self, client: ClientId, node: NodeId) -> Duration {
        self.client_distances.get(&client).and_then(|to| to.get(&node)).copied().unwrap_or_default()
    }

    /// A client asks. If the node is down the client is told so.
    pub fn request(&mut self, client: ClientId, to: NodeId, request: P::Request) {
        let at = self.now + self.client_latency() + self.client_distance(client, to);
        self.queue.push(at, What::Request { client, to, request });
    }

    /// A client goes away.
    pub fn client_gone(&mut self, client: ClientId) {
        let at = self.now + self.client_latency();
        let connected: Vec<_> =
            self.nodes.values().filter(|node| node.connected.contains(&client)).map(|node| node.id).collect();
        for to in connected {
            self.queue.push(at + self.client_distance(client, to), What::ClientGone { client, to });
        }
    }

    /// An operator asks a node; `None` if it is down or paused.
    pub fn admin(
        &mut self,
        id: NodeId,
        request: AdminRequest,
        observer: &mut impl Observer<P>,
    ) -> Option<AdminReply> {
        let now = self.now;
        let node = self.nodes.get_mut(&id).filter(|node| !node.paused)?;
        let life = node.life.as_mut()?;
        self.trace.tell(now, || TraceWhat::Note(format!("{id} is told {request:?}")));
        match catch(|| life.admin(now, request)) {
            Ok(reply) => {
                self.trace.tell(now, || TraceWhat::Note(format!("{id} says {reply:?}")));
                self.turn(id, observer);
                Some(reply)
            }
            Err(panic) => {
                self.stop(id, Stop::Panicked(panic), observer);
                None
            }
        }
    }

    /// Comes back as [`Output::Alarm`] at this time.
    pub fn alarm(&mut self, at: Time, name: u64) {
        self.queue.push(at.max(self.now), What::Tell(Output::Alarm(name)));
    }

    // What happens next.

    /// Lets time pass until there is something to tell; `None` at `until`.
    pub fn next(&mut self, until: Time, observer: &mut impl Observer<P>) -> Option<Output<P>> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if self.queue.next_at().is_none_or(|at| at > until) {
                self.now = self.now.max(until);
                return None;
            }
            let (at, what) = self.queue.pop().expect("looked at above");
            self.now = at;
            self.happen(what, observer);
        }
    }

    fn happen(&mut self, what: What<P>, observer: &mut impl Observer<P>) {
        let now = self.now;
        // An alarm is whoever drives the cluster looking at the time: nothing has happened.
        if !matches!(what, What::Tell(Output::Alarm(_))) {
            self.trace.mix(now.0);
        }
        match what {
            What::Deliver { number, from, to, life, message } => {
                self.deliver(number, (from, to), life, message, observer);
            }
            What::Request { client, to, request } => {
                let node = self.nodes.get_mut(&to).expect("a node of this cluster");
                if node.life.is_none() {
                    let at = now + self.client_latency() + self.client_distance(client, to);
                    self.queue.push(at, What::Tell(Output::Lost { client, node: to, refused: true }));
                    return;
                }
                node.connected.insert(client);
                self.trace.tell(now, || TraceWhat::Request { client, node: to, line: request.to_string() });
                self.input(to, Input::Request { client, request }, observer);
            }
            What::ClientGone { client, to } => {
                let node = self.nodes.get_mut(&to).expect("a node of this cluster");
                if node.connected.remove(&client) && node.life.is_some() {
                    self.input(to, Input::ClientGone { client }, observer);
                }
            }
            What::Tell(output) => self.outputs.push_back(output),
            What::Turn { of, life } => {
                if let Some(life) = self.ready(of, life, || What::Turn { of, life }) {
                    life.turn_is_due = false;
                    self.turn(of, observer);
                }
            }
            What::Timers { of, life: number } => {
                let Some(life) = self.ready(of, number, || What::Timers { of, life: number }) else { return };
                if life.armed.is_some_and(|armed| armed > now) {
                    return;
                }
                life.armed = None;
                if life.next_due().is_some_and(|due| due <= now) {
                    self.turn_when_free(of, observer);
                } else {
                    self.arm(of);
                }
            }
            What::Synced { of, life } => self.synced(of, life, observer),
            What::Stored { of, life } => self.stored(of, life, observer),
        }
    }

    /// The life that is meant, unless it is over, or paused: then the thing waits.
    fn ready(&mut self, of: NodeId, life: u64, what: impl FnOnce() -> What<P>) -> Option<&mut Life<P>> {
        let node = self.nodes.get_mut(&of).expect("a node of this cluster");
        if node.lives != life {
            return None;
        }
        if node.paused {
            self.deferred.entry(of).or_default().push(what());
            return None;
        }
        node.life.as_deref_mut()
    }

    fn deliver(
        &mut self,
        number: u64,
        (from, to): (NodeId, NodeId),
        life: Option<u64>,
        message: P::Message,
        observer: &mut impl Observer<P>,
    ) {
        let node = &self.nodes[&to];
        let lost = if self.network.is_blocked((from, to)) {
            self.network.count_blocked((from, to));
            Some("cut on its way")
        } else {
            match &node.life {
                None => Some("nobody there"),
                Some(_) if life.is_some_and(|life| life != node.lives) => Some("the connection is gone"),
                Some(life) if life.inbox.len() >= INBOX_MAX => Some("too many wait"),
                Some(_) => None,
            }
        };
        self.trace.mix(number);
        match lost {
            Some(why) => self.trace.tell(self.now, || TraceWhat::Dropped { message: number, why }),
            None => {
                self.trace.received(self.now, number, (from, to), &message);
                self.delivered += 1;
                let from = self.nodes[&from].replica;
                self.input(to, Input::Message { from, message }, observer);
            }
        }
    }

    fn input(&mut self, to: NodeId, input: Input<P>, observer: &mut impl Observer<P>) {
        let node = self.node_mut(to);
        let Some(life) = &mut node.life else { return };
        life.inbox.push(input);
        if !node.paused {
            self.turn_when_free(to, observer);
        }
    }

    fn turn_when_free(&mut self, of: NodeId, observer: &mut impl Observer<P>) {
        let now = self.now;
        let node = self.node_mut(of);
        let number = node.lives;
        let Some(life) = &mut node.life else { return };
        if life.turn_is_due {
            return;
        }
        if life.busy_until <= now {
            self.turn(of, observer);
        } else {
            life.turn_is_due = true;
            let at = life.busy_until;
            self.queue.push(at, What::Turn { of, life: number });
        }
    }

    /// Carries out a node's turn, and sees to everything that it asks for.
    fn turn(&mut self, of: NodeId, observer: &mut impl Observer<P>) {
        let now = self.now;
        let mut sent = std::mem::take(&mut self.sent);
        let node = self.nodes.get_mut(&of).expect("a node of this cluster");
        let Some(life) = &mut node.life else { return };
        let done = catch(|| life.turn(now, &mut sent, observer));
        if let Ok(Ok(inputs)) = &done {
            let inputs = u32::try_from(*inputs).unwrap_or(u32::MAX);
            life.busy_until = now + self.settings.turn + self.settings.input * inputs;
            if self.trace.in_words() {
                tell_role(of, life, now, &mut self.trace);
            }
        }
        self.release(of, &mut sent);
        self.sent = sent;
        self.conclude(of, done.map(|halted| halted.map(drop)), observer);
    }

    /// Sees to it that what leaves a node arrives, and that its disk gets on.
    fn release(&mut self, of: NodeId, sent: &mut Released<P>) {
        for (to, message) in sent.messages.drain(..) {
            self.send(of, to, message);
        }
        for (client, reply) in sent.replies.drain(..) {
            self.trace.tell(self.now, || TraceWhat::Reply { client, node: of, line: reply.to_string() });
            let at = self.now + self.client_latency() + self.client_distance(client, of);
            self.queue.push(at, What::Tell(Output::Reply { client, from: of, reply }));
        }
        let node = &self.nodes[&of];
        let (life, slowness, disk) = (node.lives, node.disk_slowness, self.settings.disk);
        if std::mem::take(&mut sent.sync_begun) {
            let takes = disk.sync_min + exponential(disk.sync_mean, &mut self.chance);
            self.queue.push(self.now + takes.mul_f64(slowness), What::Synced { of, life });
        }
        if std::mem::take(&mut sent.store_begun) {
            let takes = exponential(disk.store_mean, &mut self.chance);
            self.queue.push(self.now + takes.mul_f64(slowness), What::Stored { of, life });
        }
    }

    /// A message goes to every node that stands for the replica, as far as the sender's routes say.
    fn send(&mut self, from: NodeId, to: ReplicaId, message: P::Message) {
        let mut nodes = SmallVec::<[_; 2]>::from_slice(self.nodes[&from].routes.to(to));
        let Some(last) = nodes.pop() else { return };
        for node in nodes {
            let again = codec::decode(&codec::encode(&message)).expect("what was encoded can be decoded");
            self.send_to(from, node, again);
        }
        self.send_to(from, last, message);
    }

    fn send_to(&mut self, from: NodeId, to: NodeId, message: P::Message) {
        let node = &self.nodes[&to];
        let life = (!self.network.settings().datagrams).then_some(node.lives);
        let size = || codec::encode(&message).len();
        let (now, kind) = (self.now, message.kind());
        let Arrivals { first, second } = self.network.send(now, (from, to), kind, &mut self.chance, size);
        let number = self.trace.sent(self.now, (from, to), &message);
        let Some(first) = first else {
            self.trace.tell(self.now, || TraceWhat::Dropped { message: number, why: "lost" });
            return;
        };
        if let Some(second) = second {
            let bytes = codec::encode(&message);
            let message = codec::decode(&bytes).expect("what was encoded can be decoded");
            let number = self.trace.doubled(self.now, (from, to), &message);
            self.queue.push(second, What::Deliver { number, from, to, life, message });
        }
        self.queue.push(first, What::Deliver { number, from, to, life, message });
    }

    fn synced(&mut self, of: NodeId, number: u64, observer: &mut impl Observer<P>) {
        if self.nodes[&of].stalled && self.nodes[&of].lives == number {
            self.deferred.entry(of).or_default().push(What::Synced { of, life: number });
            self.node_mut(of).held_up += 1;
            return;
        }
        let mut sent = std::mem::take(&mut self.sent);
        let Some(life) = self.ready(of, number, || What::Synced { of, life: number }) else {
            self.sent = sent;
            return;
        };
        let synced = life.synced(&mut sent);
        self.release(of, &mut sent);
        self.sent = sent;
        match synced {
            Ok(before) => {
                self.trace.tell(self.now, || TraceWhat::Durable { node: of, before: before.0 });
                self.turn_when_free(of, observer);
            }
            Err(halt) => self.halt(of, halt, observer),
        }
    }

    fn stored(&mut self, of: NodeId, number: u64, observer: &mut impl Observer<P>) {
        if self.nodes[&of].stalled && self.nodes[&of].lives == number {
            self.deferred.entry(of).or_default().push(What::Stored { of, life: number });
            self.node_mut(of).held_up += 1;
            return;
        }
        let mut sent = std::mem::take(&mut self.sent);
        let Some(life) = self.ready(of, number, || What::Stored { of, life: number }) else {
            self.sent = sent;
            return;
        };
        let stored = life.stored(&mut sent);
        self.release(of, &mut sent);
        self.sent = sent;
        match stored {
            Ok(()) => self.turn_when_free(of, observer),
            Err(halt) => self.halt(of, halt, observer),
        }
    }

    /// Sees to it that timers fire.
    fn arm(&mut self, of: NodeId) {
        let now = self.now;
        let node = self.nodes.get_mut(&of).expect("a node of this cluster");
        let number = node.lives;
        let Some(life) = &mut node.life else { return };
        let Some(due) = life.next_due() else { return };
        // A clock that is rounded down needs a moment more.
        let due = due.max(now + Duration::from_micros(1));
        if life.armed.is_none_or(|armed| due < armed) {
            life.armed = Some(due);
            self.queue.push(due, What::Timers { of, life: number });
        }
    }

    fn conclude(
        &mut self,
        of: NodeId,
        done: Result<Result<(), Halt>, String>,
        observer: &mut impl Observer<P>,
    ) {
        match done {
            Ok(Ok(())) => self.arm(of),
            Ok(Err(halt)) => self.halt(of, halt, observer),
            Err(panic) => self.stop(of, Stop::Panicked(panic), observer),
        }
    }

    fn halt(&mut self, of: NodeId, halt: Halt, observer: &mut impl Observer<P>) {
        match halt {
            Halt::Broken(broken) => self.outputs.push_back(Output::Broken(broken)),
            Halt::Doomed | Halt::PowerLost => self.stop(of, Stop::Doomed, observer),
            Halt::Disk(why) => self.stop(of, Stop::Disk(why), observer),
            Halt::Refused(why) => self.stop(of, Stop::Refused(why), observer),
        }
    }

    fn stop(&mut self, id: NodeId, why: Stop, observer: &mut impl Observer<P>) {
        self.trace.stopped(self.now, id, &why);
        self.end(id, why == Stop::Doomed, observer);
        self.outputs.push_back(Output::Stopped { node: id, why });
    }

    fn end(&mut self, id: NodeId, power: bool, observer: &mut impl Observer<P>) {
        self.trace.mix(u64::from(id.0) << 8 | 2);
        let at = self.now + self.client_latency();
        let node = self.node_mut(id);
        node.end(power);
        let replica = node.replica;
        let connected = std::mem::take(&mut node.connected);
        for client in connected {
            let at = at + self.client_distance(client, id);
            self.queue.push(at, What::Tell(Output::Lost { client, node: id, refused: false }));
        }
        self.deferred.remove(&id);
        observer.restarted(replica);
    }

    fn client_latency(&mut self) -> Duration {
        Duration::from_micros(10) + exponential(self.settings.client_latency_mean, &mut self.chance)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Doomed => f.write_str("power lost in the middle of its work"),
            Stop::Disk(why) => write!(f, "the disk refuses: {why}"),
            Stop::Refused(why) => write!(f, "it refuses its disk: {why}"),
            Stop::Panicked(why) => write!(f, "it panicked: {why}"),
        }
    }
}

impl<P: Protocol> fmt::Debug for Cluster<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("now", &self.now).field("seed", &self.seed).finish_non_exhaustive()
    }
}

fn tell_role<P: Protocol>(id: NodeId, life: &mut Life<P>, now: Time, trace: &mut Trace<P>) {
    let status = life.turns.core().status();
    let (role, epoch, leads) = (status.role, status.epoch, status.leads);
    if life.role.as_ref().is_none_or(|told| *told != (role.clone(), epoch, leads)) {
        life.role = Some((role.clone(), epoch, leads));
        trace.tell(now, || TraceWhat::Role { node: id, role, epoch, leads });
    }
}

/// What a panic says.
fn catch<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned())).unwrap_or_default()
    })
}
