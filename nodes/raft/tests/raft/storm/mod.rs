//! Random storms over a group in the simulator: loss, duplication, reordering, delays, partitions, slow disks, clocks that drift,
//! power losses, and replicas that die in the middle of their work.
//!
//! During the storm the paper's five properties are checked after every step ([`raft::Invariants`]) and clients check
//! that what they are told is linearizable (`lists.rs`). Then everything heals, and the group must converge, serve,
//! and hold every acknowledged write once.
//!
//! `gauntlet sim` has more faults, more workloads and more seeds; this is what a change of the core is tried with first.

mod bugs;
mod clients;
mod lists;
mod operator;
mod trouble;

use clients::{CLIENTS, Client};
use lists::Lists;
use operator::Operator;
use protocol::Detector::{Divergence, Invariant, Liveness};
use protocol::{Bugs, Detector, Incarnation, NodeId, Placement, Protocol, ReplicaId, Time};
use raft::{Bug, Config, Invariants, Options, Raft, ReadMode, Term};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use sim::{Broken, Cluster, Crash, DiskSettings, NetworkSettings, Observer, Output, Settings, Stop};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;
use trouble::{Before, Links, Standing};

const MS: Duration = Duration::from_millis(1);
/// How long everything goes wrong, and by when all must be well afterwards.
const STORM: Time = Time(4_000_000_000);
const CALM: Time = Time(20_000_000_000);
/// Between two looks at who leads.
const GLANCE: Duration = Duration::from_millis(2);

/// What a storm is to be.
#[derive(Clone, Debug)]
struct Setup {
    replicas: u32,
    read: ReadMode,
    bugs: Bugs<Bug>,
    /// In place of all that can go wrong at random.
    standing: Option<Standing>,
    /// An operator changes members, with so many replicas that are none at first, has others lead, and has disks wiped.
    operator: Option<u32>,
    /// Whether replicas are looked into. Without that, only clients can find something.
    inside: bool,
}

impl Setup {
    fn new(replicas: u32, read: ReadMode) -> Self {
        Self { replicas, read, bugs: Bugs::default(), standing: None, operator: None, inside: true }
    }
}

/// What happened: a storm that never bites proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Report {
    elections: u64,
    writes: u64,
    reads: u64,
    snapshots_installed: u64,
    truncated: u64,
    crashes: u64,
    wipes: u64,
    changes: u64,
    transfers: u64,
}

/// It is wrong that this is not so.
fn ensure(is_so: bool, detector: Detector, what: impl FnOnce() -> String) -> Result<(), Broken> {
    if is_so { Ok(()) } else { Err(Broken { detector, what: what() }) }
}

fn broken(violation: &raft::Violation) -> Broken {
    Broken { detector: violation.detector(), what: violation.to_string() }
}

/// Looks at replicas after each of their steps.
struct Watch {
    invariants: Option<Invariants>,
    terms_led: BTreeSet<Term>,
    /// Who has begun to lead since somebody asked.
    new_leader: Option<NodeId>,
}

impl Observer<Raft> for Watch {
    fn after_step(&mut self, core: &Raft) -> Result<(), Broken> {
        if core.is_leader() && self.terms_led.insert(core.term()) {
            self.new_leader = Some(NodeId(core.replica().0));
        }
        let Some(invariants) = &mut self.invariants else { return Ok(()) };
        invariants.after_step(core).map_err(|violation| broken(&violation))
    }

    fn restarted(&mut self, replica: ReplicaId) {
        if let Some(invariants) = &mut self.invariants {
            invariants.restarted(replica);
        }
    }
}

/// What is to be done at a time.
#[derive(Clone, Copy)]
enum Alarm {
    Disturb,
    Operate,
    Crash(NodeId),
    Start(NodeId),
    CutOff(NodeId),
    /// Of clients.
    Ask(usize),
    Wake(usize),
}

struct Storm {
    setup: Setup,
    cluster: Cluster<Raft>,
    observer: Watch,
    nodes: Vec<NodeId>,
    rng: Xoshiro256PlusPlus,
    /// All that were set, by their numbers.
    alarms: Vec<Alarm>,
    clients: Vec<Client>,
    clients_begun: u64,
    lists: Lists,
    elements: u64,
    links: Links,
    operator: Operator,
    before: Option<Before>,
    drift: f64,
    calm: bool,
    /// How likely a new leader is to crash soon: what Figure 8 needs.
    crash_new_leader: f64,
    /// How likely a fault is to cut a leader off from the others, but not from its clients: what leases must stand.
    isolate_leader: f64,
    report: Report,
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

fn settings(rng: &mut Xoshiro256PlusPlus, clock_drift: f64) -> Settings {
    Settings {
        distances: BTreeMap::new(),
        network: NetworkSettings { latency_min: MS / 20, latency_mean: MS, datagrams: true },
        client_latency_mean: MS / 2,
        disk: DiskSettings {
            sync_min: MS / 10,
            sync_mean: MS,
            store_mean: 10 * MS,
            segment_bytes: rng.random_range(200..8 << 10),
        },
        turn: MS / 50,
        input: MS / 200,
        clock_drift,
        storage_bugs: Bugs::default(),
        in_words: false,
    }
}

impl Storm {
    /// Runs one storm, to what happened in it or what it has found wrong.
    fn run(seed: u64, setup: &Setup) -> Result<Report, Broken> {
        let mut storm = Self::new(seed, setup);
        storm.begin();
        while storm.cluster.now() < STORM {
            storm.advance()?;
            storm.look();
        }
        storm.expect_service()?;
        storm.calm_down();
        while !(storm.has_converged() && (setup.operator.is_none() || storm.last_wish_is_fulfilled()?)) {
            storm.advance()?;
            let is_late = storm.cluster.now() > CALM;
            ensure(!is_late, Liveness, || format!("no convergence: {}", storm.describe()))?;
        }
        storm.end()
    }

    fn new(seed: u64, setup: &Setup) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(!seed);
        let founders: Vec<ReplicaId> = (1..=setup.replicas).map(ReplicaId).collect();
        let count = setup.replicas + setup.operator.unwrap_or(0);
        let options = options(&mut rng, setup);
        let drift = options.clock_drift_max;
        // Of links that are cut for good, the clocks are set when that is done.
        let settings = settings(&mut rng, if setup.standing.is_none() { drift } else { 0.0 });
        let configure = move |replica, incarnation: Incarnation| Config {
            replica,
            incarnation,
            members: founders.clone(),
            options: options.clone(),
        };
        let is_wild = setup.standing.is_none() && rng.random_bool(0.3);
        Self {
            cluster: Cluster::new(seed, Placement::one_each(count), settings, configure),
            observer: Watch {
                invariants: setup.inside.then(Invariants::default),
                terms_led: BTreeSet::new(),
                new_leader: None,
            },
            nodes: (1..=count).map(NodeId).collect(),
            rng,
            alarms: Vec::new(),
            clients: Vec::new(),
            clients_begun: 0,
            lists: Lists::default(),
            elements: 0,
            links: Links::default(),
            operator: Operator::default(),
            before: None,
            drift,
            calm: false,
            crash_new_leader: if is_wild { 0.8 } else { 0.0 },
            isolate_leader: if setup.read == ReadMode::Lease { 0.5 } else { 0.0 },
            report: Report::default(),
            setup: setup.clone(),
        }
    }

    fn replicas(&self) -> Vec<ReplicaId> {
        self.nodes.iter().map(|node| ReplicaId(node.0)).collect()
    }

    /// Some time from now, in milliseconds.
    fn alarm(&mut self, ms: Range<u64>, alarm: Alarm) {
        let wait = Duration::from_micros(self.rng.random_range(ms.start * 1000..ms.end * 1000));
        self.alarm_at(self.cluster.now() + wait, alarm);
    }

    fn alarm_at(&mut self, at: Time, alarm: Alarm) {
        self.cluster.alarm(at, self.alarms.len() as u64);
        self.alarms.push(alarm);
    }

    fn begin(&mut self) {
        for node in self.nodes.clone() {
            if self.setup.standing.is_none() && self.rng.random_bool(0.3) {
                self.cluster.slow_disk(node, 10.0);
            }
            self.cluster.start(node, &mut self.observer);
        }
        for place in 0..CLIENTS {
            self.begin_client(place);
            self.alarm(0..300, Alarm::Ask(place));
        }
        self.alarm(0..500, Alarm::Disturb);
        if self.setup.operator.is_some() {
            self.alarm(0..500, Alarm::Operate);
        }
    }

    /// Lets a moment pass.
    fn advance(&mut self) -> Result<(), Broken> {
        let until = self.cluster.now() + GLANCE;
        while let Some(output) = self.cluster.next(until, &mut self.observer) {
            match output {
                Output::Reply { client, from, reply } => self.hear(client, from, reply)?,
                Output::Lost { client, node, refused } => self.lose(client, node, refused)?,
                Output::Alarm(number) => self.carry_out_alarm(self.alarms[number as usize])?,
                Output::Stopped { node, why: Stop::Doomed } => {
                    self.report.crashes += 1;
                    self.restart_later(node);
                }
                Output::Stopped { node, why } => {
                    return Err(Broken { detector: Invariant, what: format!("{node}: {why}") });
                }
                Output::Broken(broken) => return Err(broken),
            }
        }
        Ok(())
    }

    fn carry_out_alarm(&mut self, alarm: Alarm) -> Result<(), Broken> {
        match alarm {
            Alarm::Disturb => self.disturb(),
            Alarm::Operate => self.operate(),
            Alarm::Crash(node) if !self.calm => self.crash(node, Crash::Power),
            Alarm::Start(node) if !self.cluster.is_up(node) => {
                self.cluster.start(node, &mut self.observer);
            }
            Alarm::CutOff(node) if !self.calm => self.cut_off(node),
            Alarm::Crash(_) | Alarm::Start(_) | Alarm::CutOff(_) => {}
            Alarm::Ask(client) => return self.ask(client),
            Alarm::Wake(client) => return self.wake(client),
        }
        Ok(())
    }

    fn look(&mut self) {
        if let Some(leader) = self.observer.new_leader.take()
            && self.rng.random_bool(self.crash_new_leader)
        {
            let soon = if self.rng.random_bool(0.5) { 5 } else { 20 };
            self.alarm(0..soon, Alarm::Crash(leader));
        }
    }

    /// The node that leads in the highest term.
    fn leader(&self) -> Option<NodeId> {
        let cores = self.nodes.iter().filter_map(|node| Some((*node, self.cluster.core(*node)?)));
        let leaders = cores.filter(|(_, core)| core.is_leader());
        leaders.max_by_key(|(_, core)| core.term()).map(|(node, _)| node)
    }

    fn calm_down(&mut self) {
        self.calm = true;
        self.clear();
        for node in self.nodes.clone() {
            self.alarm(0..1, Alarm::Start(node));
        }
    }

    /// Those who vote, but for those whose disk is lost; `None` if one of them is down.
    fn voters<'a>(&'a self, leader: &'a Raft) -> Option<Vec<&'a Raft>> {
        let voters = leader.configuration().new.iter();
        let voters = voters.map(|member| (NodeId(member.replica.0), member.incarnation));
        voters
            .filter(|(node, life)| self.cluster.incarnation(*node) == *life)
            .map(|(node, _)| self.cluster.core(node))
            .collect()
    }

    /// Whether all voters have applied everything, and no client waits.
    fn has_converged(&self) -> bool {
        let Some(leader) = self.leader().and_then(|node| self.cluster.core(node)) else { return false };
        let commit = leader.commit();
        let has_all = |raft: &&Raft| raft.commit() == commit && raft.log().last().index == commit;
        !leader.is_changing()
            && self.clients.iter().all(Client::is_idle)
            && self.voters(leader).is_some_and(|voters| voters.iter().all(has_all))
    }

    fn describe(&self) -> String {
        let describe = |raft: &Raft| {
            let (status, last, members) = (raft.status(), raft.log().last(), raft.configuration());
            let (role, term, commit) = (status.role, status.epoch, raft.commit());
            format!("{role} in t{term} under {:?}, committed {commit} of {last}, {members}", status.leader)
        };
        let nodes = self.nodes.iter();
        let nodes = nodes.map(|node| format!("\n{node}: {:?}", self.cluster.core(*node).map(describe)));
        let waiting = self.clients.iter().filter(|client| !client.is_idle()).count();
        format!("{waiting} clients wait{}", nodes.collect::<String>())
    }

    fn end(mut self) -> Result<Report, Broken> {
        for node in self.nodes.clone() {
            self.count(node);
            let metrics = self.cluster.core(node).map(|core| core.status().metrics).unwrap_or_default();
            for reason in
                ["malformed", "absurd", "from_itself", "second_leader", "contradicts", "never_asked"]
            {
                let none = metrics.get(&format!("messages_dropped_{reason}")).is_none_or(|count| *count == 0);
                ensure(none || !self.setup.inside, Invariant, || {
                    format!("{node} dropped what nobody sends: {reason}")
                })?;
            }
        }
        let leader = self.leader().and_then(|node| self.cluster.core(node)).expect("all is well");
        let digests = self.voters(leader).expect("all is well").into_iter().map(|raft| raft.store().digest());
        let equal = digests.collect::<BTreeSet<_>>().len() == 1;
        ensure(equal, Divergence, || format!("the states differ: {}", self.describe()))?;
        self.lists.held_by(leader.store())?;
        self.report.elections = self.observer.terms_led.len() as u64;
        Ok(self.report)
    }

    /// Takes over what a life of a replica has counted.
    fn count(&mut self, node: NodeId) {
        let Some(core) = self.cluster.core(node) else { return };
        let metrics = core.status().metrics;
        self.report.snapshots_installed += metrics["snapshots_installed"];
        self.report.truncated += metrics["entries_truncated"];
        self.report.changes += metrics["changes_done"];
        self.report.transfers += metrics["transfers_received"];
    }
}

/// So many storms find nothing, and bite.
fn run(count: u64, setup: &Setup) {
    let mut sum = Report::default();
    for seed in 0..count {
        let report = Storm::run(seed, setup).unwrap_or_else(|found| {
            panic!("seed {seed} of {setup:?} finds {found:?}");
        });
        sum.elections += report.elections;
        sum.writes += report.writes;
        sum.reads += report.reads;
        sum.snapshots_installed += report.snapshots_installed;
        sum.truncated += report.truncated;
        sum.crashes += report.crashes;
        sum.wipes += report.wipes;
        sum.changes += report.changes;
        sum.transfers += report.transfers;
    }
    println!("{count} storms of {setup:?}: {sum:?}");
    if setup.operator.is_some() {
        assert!(sum.changes > count && sum.transfers > count / 2, "members hardly change: {sum:?}");
        assert!(sum.wipes > count / 2, "hardly a disk is lost: {sum:?}");
    }
    assert!(sum.elections > 2 * count && sum.crashes > count, "the storms are too mild: {sum:?}");
    assert!(sum.writes > 20 * count && sum.reads > 10 * count, "hardly anything is served: {sum:?}");
    // A group of one has nobody to part from.
    if setup.replicas > 2 {
        assert!(sum.snapshots_installed > count / 2, "hardly a snapshot is sent: {sum:?}");
        assert!(sum.truncated > count / 2, "logs hardly part: {sum:?}");
    }
}

#[test]
fn a_storm_over_three_replicas_breaks_nothing() {
    run(100, &Setup::new(3, ReadMode::ReadIndex));
}

#[test]
fn a_storm_over_five_replicas_breaks_nothing() {
    run(60, &Setup::new(5, ReadMode::ReadIndex));
}

#[test]
fn a_storm_with_lease_reads_and_clocks_that_drift_within_the_bound_breaks_nothing() {
    run(60, &Setup::new(3, ReadMode::Lease));
    run(30, &Setup::new(5, ReadMode::Lease));
}

#[test]
fn a_storm_with_changing_members_breaks_nothing() {
    for (founders, outside, read) in [
        (3, 2, ReadMode::ReadIndex),
        (3, 4, ReadMode::Lease),
        (4, 1, ReadMode::ReadIndex),
        (5, 2, ReadMode::ReadIndex),
        (1, 3, ReadMode::ReadIndex),
    ] {
        run(40, &Setup { operator: Some(outside), ..Setup::new(founders, read) });
    }
}

#[test]
fn a_storm_over_one_and_two_and_four_replicas_breaks_nothing() {
    for replicas in [1, 2, 4] {
        run(20, &Setup::new(replicas, ReadMode::ReadIndex));
    }
}

/// A majority that is connected serves, and under one leader in the end; clocks that differ as much as is allowed make no
/// read stale.
#[test]
fn links_that_are_cut_for_good_do_not_stop_a_majority() {
    for read in [ReadMode::ReadIndex, ReadMode::Lease] {
        for (replicas, standing) in [
            (3, Standing::DeafLeader),
            (3, Standing::LostLeader),
            (5, Standing::DeafLeader),
            (5, Standing::LostLeader),
            (5, Standing::Chain),
        ] {
            let setup = Setup { standing: Some(standing), ..Setup::new(replicas, read) };
            for seed in 0..10 {
                let found = Storm::run(seed, &setup).err();
                assert!(found.is_none(), "seed {seed} of {setup:?} finds {found:?}");
            }
        }
    }
}

/// Once in a thousand storms. `paper/snapshots.rs` has a test of each.
const TOO_RARE: [&str; 2] =
    ["a snapshot is installed below entries that stay", "a snapshot arrives that the log has overtaken"];

/// What is hard to get right has happened, and went right.
#[test]
fn storms_come_across_every_situation() {
    drop(protocol::reached::take());
    for (replicas, read) in [(3, ReadMode::ReadIndex), (5, ReadMode::ReadIndex), (3, ReadMode::Lease)] {
        for seed in 0..60 {
            let setup = Setup::new(replicas, read);
            assert_eq!(Storm::run(seed, &setup).err(), None);
            assert_eq!(Storm::run(seed, &Setup { operator: Some(2), ..setup }).err(), None);
        }
    }
    let reached = protocol::reached::take();
    println!("{reached:#?}");
    let missed = raft::SITUATIONS.iter().filter(|situation| !reached.contains_key(*situation));
    let missed: Vec<_> = missed.filter(|situation| !TOO_RARE.contains(situation)).collect();
    assert!(missed.is_empty(), "{missed:#?}");
    assert!(reached.contains_key("a retry is answered from the session table"));
}

/// The oracle is not blind: reads from whatever state a replica has are found out.
#[test]
fn local_reads_are_found_not_to_be_linearizable() {
    let setup = Setup::new(3, ReadMode::Local);
    let found = (0..20).find_map(|seed| Storm::run(seed, &setup).err()).expect("20 storms show a stale read");
    assert!(found.detector == Detector::Linearizability && found.what.contains("stale"), "{found:?}");
}
