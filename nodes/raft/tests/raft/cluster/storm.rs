//! One storm: a cluster, clients, and everything that can go wrong; then calm.

mod operator;
mod standing;

use super::clients::{self, Client, Lists, Next};
use super::found::{Found, caught, ensure};
use super::world::{Event, MS, Weather, World};
use crate::host::{self, Host};
use operator::Operator;
use protocol::Detector::{Divergence, Invariant, Linearizability, Liveness};
use protocol::{Bugs, ClientId, Incarnation, Protocol, ReplicaId, RequestId, Time};
use raft::{Bug, Config, Invariants, Options, ReadMode, Term};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use standing::Before;
pub(crate) use standing::Standing;

/// How long everything goes wrong, and by when all must be well afterwards.
const STORM: Time = Time(4_000 * MS);
const CALM: Time = Time(20_000 * MS);

/// What a storm is to be.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) replicas: u32,
    pub(crate) read: ReadMode,
    pub(crate) bugs: Bugs<Bug>,
    /// In place of all that can go wrong at random.
    pub(crate) standing: Option<Standing>,
    /// An operator changes members, with so many replicas that are none at first, has others lead, and has disks wiped.
    pub(crate) operator: Option<u32>,
    /// Whether replicas are looked into. Without that, only clients can find something.
    pub(crate) inside: bool,
}

impl Setup {
    pub(crate) fn new(replicas: u32, read: ReadMode) -> Self {
        Self { replicas, read, bugs: Bugs::default(), standing: None, operator: None, inside: true }
    }
}

pub(crate) struct Storm {
    world: World,
    invariants: Option<Invariants>,
    clients: Vec<Client>,
    lists: Lists,
    replicas: Vec<ReplicaId>,
    calm: bool,
    /// How likely a new leader is to crash soon: what Figure 8 needs.
    regicide: f64,
    /// How likely a replica is to crash when its term or vote is not durable yet.
    perfidy: f64,
    /// How likely a fault is to cut a leader off from the others, but not from its clients: what leases must stand.
    isolation: f64,
    standing: Option<Standing>,
    operated: bool,
    operator: Operator,
    before: Option<Before>,
    last_leader: Term,
    report: Report,
}

/// What happened.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) elections: u64,
    pub(crate) writes: u64,
    pub(crate) reads: u64,
    pub(crate) snapshots_installed: u64,
    pub(crate) truncated: u64,
    pub(crate) crashes: u64,
    pub(crate) wipes: u64,
    pub(crate) changes: u64,
    pub(crate) transfers: u64,
    pub(crate) trace: u64,
}

fn options(rng: &mut Xoshiro256PlusPlus, setup: &Setup) -> Options {
    let read = setup.read;
    let (election_timeout_ms_min, election_timeout_ms_max) = match (setup.standing, setup.operator) {
        (Some(Standing::LostLeader), _) => (600, 660),
        // Long leases, so that a leader that has handed over would have time to use its own.
        (_, Some(_)) if read == ReadMode::Lease && rng.random_bool(0.4) => (300, 360),
        _ => (60, 120),
    };
    Options {
        election_timeout_ms_min,
        election_timeout_ms_max,
        heartbeat_ms: 15,
        read,
        // Clocks that go wrong enough to show in leases as short as these.
        clock_drift_max: if read == ReadMode::Lease { 0.2 } else { 0.02 },
        // Often one entry at a time, so that leaders fall between entries.
        batch_bytes_max: if rng.random_bool(0.3) { 1 } else { rng.random_range(1..2000) },
        rounds_in_flight_max: rng.random_range(1..4),
        requests_pending_max: if rng.random_bool(0.2) { 2 } else { 100 },
        uncommitted_bytes_max: 1 << 20,
        snapshot_every_entries: rng.random_range(4..60),
        snapshot_every_bytes: if rng.random_bool(0.2) { 1500 } else { 1 << 20 },
        log_keep_entries: rng.random_range(0..10),
        snapshot_chunk_bytes: rng.random_range(100..1500),
        catch_up_ms_max: if setup.operator.is_some() { rng.random_range(100..1000) } else { 1000 },
        bugs: setup.bugs.clone(),
        ..Options::default()
    }
}

impl Storm {
    /// Runs one storm, to what happened in it or what it has found wrong.
    pub(crate) fn run(seed: u64, setup: &Setup) -> Result<Report, Found> {
        caught(|| {
            let mut storm = Self::new(seed, setup);
            storm.begin();
            while !storm.step()? {}
            storm.end()
        })
    }

    fn new(seed: u64, setup: &Setup) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(!seed);
        let founders: Vec<ReplicaId> = (1..=setup.replicas).map(ReplicaId).collect();
        let all = setup.replicas + setup.operator.unwrap_or(0);
        let replicas: Vec<ReplicaId> = (1..=all).map(ReplicaId).collect();
        let options = options(&mut rng, setup);
        let incarnation = Incarnation(0);
        let config =
            |&replica| Config { replica, incarnation, members: founders.clone(), options: options.clone() };
        let configs = replicas.iter().map(config).collect();
        let mut world = World::new(seed, configs, options.clock_drift_max);
        // What leases must stand.
        let isolation = if setup.read == ReadMode::Lease { 0.5 } else { 0.0 };
        world.isolation_of_testators = isolation;
        let wild = |rng: &mut Xoshiro256PlusPlus| rng.random_bool(0.3) && setup.standing.is_none();
        let clients = (1..=5).map(|n| Client::new(n, replicas[n as usize % replicas.len()])).collect();
        Self {
            world,
            invariants: setup.inside.then(Invariants::default),
            clients,
            lists: Lists::default(),
            replicas,
            calm: false,
            regicide: if wild(&mut rng) { 0.8 } else { 0.0 },
            perfidy: if wild(&mut rng) { 0.3 } else { 0.0 },
            isolation,
            standing: setup.standing,
            operated: setup.operator.is_some(),
            operator: Operator::default(),
            before: None,
            last_leader: Term::ZERO,
            report: Report::default(),
        }
    }

    fn begin(&mut self) {
        for id in self.replicas.clone() {
            self.world.at(Time(0), Event::Restart { of: id });
        }
        for number in 0..self.clients.len() {
            let client = self.clients[number].id;
            self.world.after(0..300 * MS, Event::Client { client, attempt: None });
        }
        self.world.after(0..500 * MS, Event::Nemesis);
        if self.operated {
            self.world.after(0..500 * MS, Event::Operator);
        }
    }

    /// Whether all is over.
    fn step(&mut self) -> Result<bool, Found> {
        let event = self.world.next();
        match event {
            Event::Nemesis => match self.standing {
                Some(standing) => self.cut_for_good(standing),
                None => self.disturb(),
            },
            Event::Operator => self.operate()?,
            Event::Client { client, attempt } => self.client_acts(client, attempt),
            Event::Reply { client, from, reply } => self.client_hears(client, from, reply)?,
            Event::Crash { of } => {
                if self.world.is_up(of) && !self.calm {
                    self.crash(of)?;
                }
            }
            Event::Restart { of } => {
                if !self.world.is_up(of) {
                    self.world.start(of);
                    self.check(of)?;
                }
            }
            Event::Deliver { to: of, .. }
            | Event::Request { to: of, .. }
            | Event::Timers { of }
            | Event::EndTurn { of }
            | Event::Sync { of }
            | Event::Io { of }
            | Event::IoAnswer { of } => {
                if self.world.is_up(of) {
                    self.replica_acts(of, event);
                    self.check(of)?;
                }
            }
        }
        if !self.calm && self.world.now > STORM {
            self.expect_service()?;
            self.calm_down();
        }
        ensure(self.world.now < CALM, Liveness, || format!("no convergence: {}", self.describe()))?;
        Ok(self.calm && self.has_converged() && (!self.operated || self.last_wish_is_fulfilled()?))
    }

    fn replica_acts(&mut self, of: ReplicaId, event: Event) {
        let world = &mut self.world;
        match event {
            Event::Deliver { from, message, .. } => {
                world.input(of, |raft, now, out| raft.handle_message(now, from, message, out));
            }
            Event::Request { client, request, .. } => {
                world.input(of, |raft, now, out| raft.handle_request(now, client, request, out));
            }
            Event::Timers { .. } => world.fire_timers(of),
            Event::EndTurn { .. } => world.end_turn(of),
            Event::Sync { .. } => world.sync(of),
            Event::Io { .. } => world.finish_io(of),
            Event::IoAnswer { .. } => world.answer_io(of),
            Event::Reply { .. }
            | Event::Client { .. }
            | Event::Nemesis
            | Event::Operator
            | Event::Crash { .. }
            | Event::Restart { .. } => unreachable!("{event:?} is not a replica's"),
        }
    }

    /// After each step of a replica.
    fn check(&mut self, id: ReplicaId) -> Result<(), Found> {
        let host = &self.world.hosts[&id];
        if let Some(invariants) = &mut self.invariants {
            invariants.after_step(host.core())?;
        }
        if self.calm {
            return Ok(());
        }
        let forgetful = host.unsynced.iter().any(|(_, r)| matches!(r, raft::Record::HardState { .. }));
        if host.core().is_leader() && host.core().term() > self.last_leader {
            self.last_leader = host.core().term();
            if self.world.rng.random_bool(self.regicide) {
                let soon = if self.world.rng.random_bool(0.5) { 5 } else { 20 };
                self.world.after(0..soon * MS, Event::Crash { of: id });
            }
        }
        if forgetful && self.perfidy > 0.0 && self.world.rng.random_bool(self.perfidy) {
            self.world.after(0..MS, Event::Crash { of: id });
        }
        Ok(())
    }

    fn crash(&mut self, id: ReplicaId) -> Result<(), Found> {
        self.report.crashes += 1;
        self.count(id)?;
        if let Some(invariants) = &mut self.invariants {
            invariants.restarted(id);
        }
        self.world.crash(id);
        let down = if self.world.rng.random_bool(0.5) { 20 } else { 600 };
        self.world.after(MS..down * MS, Event::Restart { of: id });
        Ok(())
    }

    fn disturb(&mut self) {
        if self.calm {
            return;
        }
        let world = &mut self.world;
        // Whoever leads has most to lose.
        let leads = |id: &&ReplicaId| world.hosts[*id].up().is_some_and(raft::Raft::is_leader);
        let leader = self.replicas.iter().find(leads).filter(|_| world.rng.random_bool(0.4));
        let victim = *leader.or(self.replicas.choose(&mut world.rng)).expect("there are replicas");
        let isolated = leader.filter(|_| world.rng.random_bool(self.isolation));
        if let Some(&leader) = isolated {
            self.world.isolate(leader);
            return self.world.after(80 * MS..250 * MS, Event::Nemesis);
        }
        match world.rng.random_range(0..10) {
            0..3 => {
                let now = world.now;
                world.at(now, Event::Crash { of: victim });
            }
            3..5 => {
                // Two sides.
                let side: Vec<bool> = self.replicas.iter().map(|_| world.rng.random_bool(0.5)).collect();
                for (a, &from) in self.replicas.iter().enumerate() {
                    for (b, &to) in self.replicas.iter().enumerate() {
                        if side[a] != side[b] {
                            world.cut.insert((from, to));
                        }
                    }
                }
            }
            5 => {
                // Nobody hears the victim, or it hears nobody.
                let deaf = world.rng.random_bool(0.5);
                for &other in &self.replicas {
                    world.cut.insert(if deaf { (other, victim) } else { (victim, other) });
                }
            }
            6 => {
                let other = *self.replicas.choose(&mut world.rng).expect("there are replicas");
                world.cut.insert((victim, other));
            }
            7 => {
                world.weather = Weather {
                    loss: world.rng.random_range(0.0..0.2),
                    duplicate: world.rng.random_range(0.0..0.2),
                    delay: world.rng.random_range(0.0..0.2),
                };
            }
            _ => {
                world.cut.clear();
                world.weather = Weather::default();
            }
        }
        world.after(MS..250 * MS, Event::Nemesis);
    }

    fn writes(&self) -> u64 {
        self.clients.iter().map(|client| client.done_writes).sum()
    }

    fn elections(&self) -> u64 {
        self.world.hosts.values().map(|host| host.core().status().metrics["elections_won"]).sum()
    }

    fn calm_down(&mut self) {
        self.calm = true;
        self.world.isolation_of_testators = 0.0;
        self.world.cut.clear();
        self.world.weather = Weather::default();
        for id in self.replicas.clone() {
            let now = self.world.now;
            self.world.at(now, Event::Restart { of: id });
        }
    }

    fn client_acts(&mut self, id: ClientId, attempt: Option<RequestId>) {
        let client = self.clients.iter_mut().find(|client| client.id == id).expect("a client");
        match attempt {
            None if client.is_idle() => {
                if self.calm {
                    return;
                }
                client.begin(&mut self.lists, &mut self.world.rng);
            }
            // Nothing came back for too long.
            Some(attempt) if client.open_request() == Some(attempt) => {
                client.target = *self.replicas.choose(&mut self.world.rng).expect("there are replicas");
            }
            _ => return,
        }
        self.send_attempt(id);
    }

    fn send_attempt(&mut self, id: ClientId) {
        let client = self.clients.iter_mut().find(|client| client.id == id).expect("a client");
        let Some(request) = client.attempt(self.calm, &mut self.world.rng) else {
            return self.world.after(0..50 * MS, Event::Client { client: id, attempt: None });
        };
        let attempt = Some(request.id);
        self.world.after(MS / 10..2 * MS, Event::Request { to: client.target, client: id, request });
        self.world.after(30 * MS..200 * MS, Event::Client { client: id, attempt });
    }

    fn client_hears(&mut self, id: ClientId, from: ReplicaId, reply: kv::Reply) -> Result<(), Found> {
        let client = self.clients.iter_mut().find(|client| client.id == id).expect("a client");
        if client.target != from {
            return Ok(());
        }
        match client.handle_reply(&mut self.lists, self.world.now, reply)? {
            Next::Done => self.world.after(0..12 * MS, Event::Client { client: id, attempt: None }),
            Next::Again(to) => {
                let other = self.replicas.choose(&mut self.world.rng);
                client.target = to.or(other.copied()).expect("there are replicas");
                let attempt = client.open_request();
                self.world.after(MS..30 * MS, Event::Client { client: id, attempt });
            }
            Next::Ignore => {}
        }
        Ok(())
    }

    /// Whether all voters are up and have applied everything, but for those whose disk is lost, and no client waits.
    fn has_converged(&self) -> bool {
        let Some(leader) = self.leader().map(|id| self.world.hosts[&id].core()) else { return false };
        let commit = leader.commit();
        let has_all = |raft: &raft::Raft| raft.commit() == commit && raft.log().last().index == commit;
        let is_well = |host: &Host| host.up().is_some_and(has_all);
        !leader.is_changing() && self.clients.iter().all(Client::is_idle) && self.voters(leader).all(is_well)
    }

    /// Those who vote, but for those whose disk is lost.
    fn voters<'a>(&'a self, leader: &'a raft::Raft) -> impl Iterator<Item = &'a Host> {
        let voters = leader.configuration().new.iter();
        voters
            .map(|member| (member, &self.world.hosts[&member.replica]))
            .filter_map(|(member, host)| (host::member(host) == member).then_some(host))
    }

    fn describe(&self) -> String {
        let describe = |raft: &raft::Raft| {
            let (status, last, members) = (raft.status(), raft.log().last(), raft.configuration());
            let (role, term, commit) = (status.role, status.epoch, status.state.count + status.behind);
            format!("{role} in t{term} under {:?}, committed {commit} of {last}, {members}", status.leader)
        };
        let hosts = self.world.hosts.values();
        let statuses = hosts.map(|host| format!("\n{}: {:?}", host::member(host), host.up().map(describe)));
        let open = self.clients.iter().filter(|client| !client.is_idle()).map(|client| client.id);
        format!("{:?} wait{}", open.collect::<Vec<_>>(), statuses.collect::<String>())
    }

    fn end(mut self) -> Result<Report, Found> {
        let leader = self.world.hosts[&self.leader().expect("all is well")].core();
        let digests: Vec<u64> = self.voters(leader).map(|host| host.core().store().digest()).collect();
        let equal = digests.windows(2).all(|pair| pair[0] == pair[1]);
        ensure(equal, Divergence, || format!("the states differ: {}", self.describe()))?;
        let store = leader.store();
        let mut held = 0;
        for key in 0..clients::KEYS {
            let kv::Response::Value(value) = store.read(&kv::Command::Read { key: clients::key(key) }) else {
                panic!("a read answers with a value")
            };
            let elements = clients::elements(value.as_ref());
            self.lists.whole(key, &elements)?;
            held += elements.iter().filter(|e| self.lists.acknowledged.get(e) == Some(&key)).count();
        }
        let all = held == self.lists.acknowledged.len();
        ensure(all, Linearizability, || "an acknowledged write is lost".to_owned())?;
        for id in self.replicas.clone() {
            if self.world.is_up(id) {
                self.count(id)?;
            }
        }
        self.report.trace = self.world.trace;
        self.report.writes = self.writes();
        self.report.reads = self.clients.iter().map(|client| client.done_reads).sum();
        Ok(self.report)
    }

    /// Takes over what a life of a replica has counted.
    fn count(&mut self, id: ReplicaId) -> Result<(), Found> {
        let metrics = self.world.hosts[&id].core().status().metrics;
        self.report.elections += metrics["elections_won"];
        self.report.snapshots_installed += metrics["snapshots_installed"];
        self.report.truncated += metrics["entries_truncated"];
        self.report.changes += metrics["changes_done"];
        self.report.transfers += metrics["transfers_received"];
        for reason in ["malformed", "absurd", "from_itself", "second_leader", "contradicts", "never_asked"] {
            let dropped = metrics[&format!("messages_dropped_{reason}")];
            let none = dropped == 0 || self.invariants.is_none();
            ensure(none, Invariant, || format!("{id} dropped what nobody sends: {reason}"))?;
        }
        Ok(())
    }
}
