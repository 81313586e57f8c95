//! The logical clients of a simulated run: real client cores under a real generator. What they are asked and answered is
//! the history.

use crate::sim::alarm::Alarm;
use checkers::history::{Call, Entry, Outcome, Phase, ProcessId};
use kv::{ClientConfig, Response, Serves};
use protocol::{ClientCore, ClientEffects, ClientId, Done, NodeId, ReplicaId, SessionId, Time};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use sim::Cluster;
use std::collections::BTreeMap;
use std::time::Duration;
use workloads::perform::{Performing, Step};
use workloads::recorder::greatest_key_written;
use workloads::values::Layout;
use workloads::{Binding, Contacts, Distances, Generator, Next, Performed, Scope, Share, Spec};

/// What a simulated run leaves: the history while it is made.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    pub(crate) entries: Vec<Entry>,
    /// Whose requests a client's are.
    pub(crate) processes: BTreeMap<ClientId, ProcessId>,
    /// Keys 0 up to this were written, or may have been.
    keys_used: u64,
    processes_used: u32,
    sessions_begun: u64,
    clients_begun: u64,
    pub(crate) ops: u64,
    pub(crate) ok: u64,
}

/// How clients behave, the same in all phases.
#[derive(Clone, Debug)]
pub(crate) struct ClientSettings {
    pub(crate) workload: Spec,
    pub(crate) binding: Binding,
    /// By how many workers each key is read in the final phase.
    pub(crate) readers: u32,
    /// How many replicas the group has.
    pub(crate) group: usize,
    /// How far clients are from nodes.
    pub(crate) distances: Distances,
    pub(crate) workers: u32,
    pub(crate) op_timeout: Duration,
    pub(crate) attempt_timeout: Duration,
    /// Between an answer and the next op, on average.
    pub(crate) think_mean: Duration,
    pub(crate) seed: u64,
    /// No more ops than this in the run phase, if given.
    pub(crate) ops_max: Option<u64>,
}

/// The clients of one phase.
pub(crate) struct Clients<P: Serves> {
    settings: ClientSettings,
    layout: Layout,
    nodes: Vec<NodeId>,
    generator: Box<dyn Generator>,
    slots: Vec<Slot<P::Client>>,
    chance: Xoshiro256PlusPlus,
    begun: u64,
    stopping: bool,
}

struct Slot<C> {
    process: ProcessId,
    client: ClientId,
    core: C,
    contacts: Contacts,
    open: Option<Open>,
    /// How many requests of the command under way went to whom, as far as they may have arrived.
    asked: BTreeMap<ReplicaId, u32>,
    wake: Option<Time>,
    /// Waits for any op to end.
    waiting: bool,
    done: bool,
}

struct Open {
    call: Call,
    deadline: Time,
    performing: Performing,
}

/// A worker pauses so long at least after an op that did not succeed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);
/// After a refusal that names no better replica.
const BACKOFF: Duration = Duration::from_millis(20);

impl Recording {
    pub(crate) fn phase(&mut self, time: Time, phase: Phase) {
        self.entries.push(Entry::Phase { time: time.0, phase });
    }
}

impl<P: Serves> Clients<P> {
    /// The clients of a phase; they begin to ask at once. `nodes`: those that they may go to.
    pub(crate) fn begin(
        phase: Phase,
        settings: ClientSettings,
        nodes: Vec<NodeId>,
        recording: &mut Recording,
        cluster: &mut Cluster<P>,
    ) -> Self {
        let scope = Scope {
            phase,
            workers: settings.workers,
            seed: settings.seed,
            keys_used: recording.keys_used,
            share: Share::WHOLE,
            readers: settings.readers,
        };
        let seed = settings.seed ^ (phase as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut clients = Self {
            layout: settings.workload.layout(),
            generator: settings.workload.generator(&scope),
            nodes,
            slots: Vec::new(),
            chance: Xoshiro256PlusPlus::seed_from_u64(seed),
            begun: 0,
            stopping: false,
            settings,
        };
        let first = recording.processes_used;
        recording.processes_used += clients.settings.workers;
        for slot in 0..clients.settings.workers {
            let made = clients.slot(slot, ProcessId(first + slot), recording, cluster);
            clients.slots.push(made);
            let at = cluster.now() + clients.think();
            cluster.alarm(at, Alarm::Ask { slot }.number());
        }
        clients
    }

    fn slot(
        &self,
        slot: u32,
        process: ProcessId,
        recording: &mut Recording,
        cluster: &mut Cluster<P>,
    ) -> Slot<P::Client> {
        recording.sessions_begun += 1;
        recording.clients_begun += 1;
        let here = self.settings.distances.standpoint(slot as usize, &self.nodes);
        let home = here.home;
        let placement = cluster.placement();
        let replica_of = |node| placement.replica_of(node).expect("clients are told of nodes that there are");
        let placed = here.nodes.iter().map(|node| (*node, replica_of(*node)));
        let contacts = Contacts::new(placed, home, slot as usize);
        let home = replica_of(home);
        let core = P::client(ClientConfig {
            session: SessionId(self.settings.seed ^ (recording.sessions_begun << 20) ^ 0x5e55),
            group: self.settings.group,
            home,
            bound: self.settings.binding == Binding::Replica,
            replicas: contacts.replicas(),
            attempt_timeout: self.settings.attempt_timeout,
            backoff: BACKOFF,
        });
        let client = ClientId(recording.clients_begun << 16 | u64::from(slot));
        recording.processes.insert(client, process);
        if here.is_somewhere() {
            cluster.place_client(client, here.one_ways().collect());
        }
        Slot {
            process,
            client,
            core,
            contacts,
            open: None,
            asked: BTreeMap::new(),
            wake: None,
            waiting: false,
            done: false,
        }
    }

    fn think(&mut self) -> Duration {
        let uniform: f64 = self.chance.random();
        self.settings.think_mean.mul_f64((-(1.0 - uniform).ln()).min(5.0))
    }

    /// No op begins any more.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether nothing is open and nothing will be asked.
    pub(crate) fn are_done(&self) -> bool {
        self.slots.iter().all(|slot| slot.open.is_none() && (slot.done || self.stopping))
    }

    /// Ends what is open: its outcome is unknown.
    pub(crate) fn abandon(&mut self, now: Time, recording: &mut Recording) {
        for slot in &mut self.slots {
            if slot.open.take().is_some() {
                let outcome = Outcome::Info("the run ended".to_owned());
                recording.entries.push(Entry::Return {
                    time: now.0,
                    process: slot.process,
                    by: Vec::new(),
                    outcome,
                });
            }
        }
    }

    /// A worker's time to ask has come.
    pub(crate) fn ask(&mut self, slot: u32, recording: &mut Recording, cluster: &mut Cluster<P>) {
        let now = cluster.now();
        let Some(worker) = self.slots.get_mut(slot as usize) else { return };
        if worker.open.is_some() || worker.done {
            return;
        }
        worker.waiting = false;
        if self.stopping || self.settings.ops_max.is_some_and(|max| self.begun >= max) {
            worker.done = true;
            return;
        }
        match self.generator.next(now.0, slot) {
            Next::Op(call) => self.begin_op(slot, call, recording, cluster),
            Next::Pending(Some(at)) => cluster.alarm(Time(at), Alarm::Ask { slot }.number()),
            Next::Pending(None) => worker.waiting = true,
            Next::Done => worker.done = true,
        }
    }

    fn begin_op(&mut self, slot: u32, call: Call, recording: &mut Recording, cluster: &mut Cluster<P>) {
        let now = cluster.now();
        self.begun += 1;
        recording.ops += 1;
        if let Some(key) = greatest_key_written(&call) {
            recording.keys_used = recording.keys_used.max(key + 1);
        }
        let worker = &mut self.slots[slot as usize];
        let process = worker.process;
        cluster.note(|| format!("process {process} asks {call:?}"));
        let (performing, command) = Performing::begin(&self.layout, &call);
        let deadline = now + self.settings.op_timeout;
        worker.open = Some(Open { call: call.clone(), deadline, performing });
        worker.asked.clear();
        let mut out = ClientEffects::default();
        worker.core.submit(now, deadline, command, &mut out);
        let to = out.asked().map(|replica| worker.contacts.node(replica).0);
        recording.entries.push(Entry::Invoke { time: now.0, intended: now.0, process, to, call });
        self.carry_out(slot, out, recording, cluster);
    }

    fn carry_out(
        &mut self,
        slot: u32,
        out: ClientEffects<P::Request, Response>,
        recording: &mut Recording,
        cluster: &mut Cluster<P>,
    ) {
        let worker = &mut self.slots[slot as usize];
        for (to, request) in out.send {
            *worker.asked.entry(to).or_default() += 1;
            cluster.request(worker.client, worker.contacts.node(to), request);
        }
        if let Some(wake) = out.wake {
            worker.wake = Some(wake);
            cluster.alarm(wake, Alarm::Wake { slot }.number());
        }
        if let Some(done) = out.done {
            self.answered(slot, done, recording, cluster);
        }
    }

    fn answered(
        &mut self,
        slot: u32,
        done: Done<Response>,
        recording: &mut Recording,
        cluster: &mut Cluster<P>,
    ) {
        let worker = &mut self.slots[slot as usize];
        worker.wake = None;
        let open = worker.open.as_mut().expect("only an open op is answered");
        match open.performing.answered(&self.layout, &open.call, done) {
            Step::Command(command) => {
                let (now, deadline) = (cluster.now(), open.deadline);
                worker.asked.clear();
                let mut out = ClientEffects::default();
                worker.core.submit(now, deadline, command, &mut out);
                self.carry_out(slot, out, recording, cluster);
            }
            Step::Done { outcome, by } => {
                let by = by.into_iter().map(|replica| worker.contacts.node(replica)).collect();
                self.complete(slot, Performed { outcome, by }, recording, cluster);
            }
        }
    }

    fn complete(
        &mut self,
        slot: u32,
        Performed { outcome, by }: Performed,
        recording: &mut Recording,
        cluster: &mut Cluster<P>,
    ) {
        let now = cluster.now();
        let worker = &mut self.slots[slot as usize];
        let open = worker.open.take().expect("only an open op ends");
        cluster.note(|| format!("process {} gets {outcome:?}", worker.process));
        self.generator.complete(now.0, slot, &open.call, &outcome);
        let mut pause = Duration::ZERO;
        match &outcome {
            Outcome::Ok(_) => recording.ok += 1,
            Outcome::Fail(_) => pause = PAUSE_AFTER_ERROR,
            Outcome::Info(_) => {
                pause = PAUSE_AFTER_ERROR;
                cluster.client_gone(worker.client);
            }
        }
        let (process, retires) = (worker.process, matches!(outcome, Outcome::Info(_)));
        let by = by.into_iter().map(|node| node.0).collect();
        recording.entries.push(Entry::Return { time: now.0, process, by, outcome });
        if retires {
            let next = ProcessId(recording.processes_used);
            recording.processes_used += 1;
            self.slots[slot as usize] = self.slot(slot, next, recording, cluster);
        }
        let at = now + pause + self.think();
        cluster.alarm(at, Alarm::Ask { slot }.number());
        for (other, worker) in (0..).zip(&mut self.slots) {
            if std::mem::take(&mut worker.waiting) {
                cluster.alarm(now, Alarm::Ask { slot: other }.number());
            }
        }
    }

    fn slot_of(&self, client: ClientId) -> Option<u32> {
        let slot = (client.0 & 0xffff) as u32;
        self.slots.get(slot as usize).filter(|worker| worker.client == client).map(|_| slot)
    }

    /// A replica has answered.
    pub(crate) fn reply(
        &mut self,
        client: ClientId,
        from: NodeId,
        reply: P::Reply,
        recording: &mut Recording,
        cluster: &mut Cluster<P>,
    ) {
        let (Some(slot), Some(from)) = (self.slot_of(client), cluster.placement().replica_of(from)) else {
            return;
        };
        let mut out = ClientEffects::default();
        self.slots[slot as usize].core.handle_reply(cluster.now(), from, reply, &mut out);
        self.carry_out(slot, out, recording, cluster);
    }

    /// A replica is gone, or not there.
    pub(crate) fn lost(
        &mut self,
        client: ClientId,
        (node, refused): (NodeId, bool),
        recording: &mut Recording,
        cluster: &mut Cluster<P>,
    ) {
        let (Some(slot), Some(replica)) = (self.slot_of(client), cluster.placement().replica_of(node)) else {
            return;
        };
        let worker = &mut self.slots[slot as usize];
        let asked = worker.asked.entry(replica).or_default();
        *asked = asked.saturating_sub(u32::from(refused));
        let maybe_sent = *asked > 0;
        let mut out = ClientEffects::default();
        worker.core.handle_unreachable(cluster.now(), replica, maybe_sent, &mut out);
        self.carry_out(slot, out, recording, cluster);
    }

    /// A client core wanted to be woken now, unless it has thought better of it.
    pub(crate) fn wake(&mut self, slot: u32, recording: &mut Recording, cluster: &mut Cluster<P>) {
        let now = cluster.now();
        let Some(worker) = self.slots.get_mut(slot as usize) else { return };
        if worker.open.is_none() || worker.wake.is_none_or(|wake| wake > now) {
            return;
        }
        worker.wake = None;
        let mut out = ClientEffects::default();
        worker.core.handle_timer(now, &mut out);
        self.carry_out(slot, out, recording, cluster);
    }
}
