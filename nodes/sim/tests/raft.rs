//! Raft in the simulator: the same seed gives the same run, and what the cluster can do to it bites.

use kv::{ClientConfig, Command, LeaderClient, Request, Response, Routing};
use protocol::control::{LinkCondition, OneWayCondition};
use protocol::{
    Bugs, ClientCore, ClientEffects, ClientId, ClientOutcome, Effects, JournalPosition, Mute, NodeId,
    Placement, Protocol, ReplicaId, RequestId, Sequence, SessionId, Time,
};
use raft::{Config, Invariants, Options, Raft, Timer};
use sim::{Broken, Cluster, Crash, DiskSettings, NetworkSettings, Observer, Output, Settings, TraceWhat};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const CLIENT: ClientId = ClientId(1);

#[derive(Default)]
struct Checked(Invariants);

impl Observer<Raft> for Checked {
    fn after_step(&mut self, core: &Raft) -> Result<(), Broken> {
        let broken = |violation: raft::Violation| Broken {
            detector: violation.detector(),
            what: violation.to_string(),
        };
        self.0.after_step(core).map_err(broken)
    }

    fn restarted(&mut self, replica: ReplicaId) {
        self.0.restarted(replica);
    }
}

fn settings() -> Settings {
    Settings {
        distances: BTreeMap::new(),
        network: NetworkSettings { latency_min: MS / 10, latency_mean: MS / 5, datagrams: false },
        client_latency_mean: MS / 5,
        disk: DiskSettings { sync_min: MS / 10, sync_mean: MS, store_mean: 5 * MS, segment_bytes: 8 << 10 },
        turn: MS / 50,
        input: MS / 500,
        clock_drift: 0.01,
        storage_bugs: Bugs::default(),
        in_words: true,
    }
}

/// A cluster under one client that writes key after key.
struct World {
    cluster: Cluster<Raft>,
    observer: Checked,
    client: LeaderClient,
    wake: Option<Time>,
    written: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        World::with(seed, settings())
    }

    fn with(seed: u64, settings: Settings) -> Self {
        let replicas: Vec<_> = (1..=3).map(ReplicaId).collect();
        let members = replicas.clone();
        let options = Options {
            snapshot_every_entries: 50,
            log_keep_entries: 5,
            snapshot_chunk_bytes: 500,
            ..Options::default()
        };
        let configure = move |replica, incarnation| Config {
            replica,
            incarnation,
            members: members.clone(),
            options: options.clone(),
        };
        let client = LeaderClient::new(ClientConfig {
            session: SessionId(seed + 1),
            replicas,
            group: 3,
            home: ReplicaId(1),
            bound: false,
            attempt_timeout: 300 * MS,
            backoff: 20 * MS,
        });
        let mut world = Self {
            cluster: Cluster::new(seed, Placement::one_each(3), settings, configure),
            observer: Checked::default(),
            client,
            wake: None,
            written: 0,
        };
        for node in (1..=3).map(NodeId) {
            world.cluster.start(node, &mut world.observer);
        }
        world.submit();
        world
    }

    fn submit(&mut self) {
        let key = format!("key {}", self.written % 10).into_bytes();
        let value = format!("value {}", self.written).into_bytes();
        let command = Command::Write { key: key.into(), value: value.into() };
        let now = self.cluster.now();
        let mut out = ClientEffects::default();
        self.client.submit(now, now + Duration::from_secs(3600), command, &mut out);
        self.carry_out(out);
    }

    fn carry_out(&mut self, out: ClientEffects<kv::Request, Response>) {
        for (to, request) in out.send {
            self.cluster.request(CLIENT, NodeId(to.0), request);
        }
        self.wake = out.wake;
        if let Some(at) = out.wake {
            self.cluster.alarm(at, 0);
        }
        if let Some(done) = out.done {
            assert!(matches!(done.outcome, ClientOutcome::Answered(Response::Done)), "{done:?}");
            self.written += 1;
            self.submit();
        }
    }

    fn run(&mut self, for_how_long: Duration) {
        let until = self.cluster.now() + for_how_long;
        while let Some(output) = self.cluster.next(until, &mut self.observer) {
            let now = self.cluster.now();
            let mut out = ClientEffects::default();
            match output {
                Output::Reply { from, reply, .. } => {
                    self.client.handle_reply(now, ReplicaId(from.0), reply, &mut out);
                }
                Output::Lost { node, .. } => {
                    self.client.handle_unreachable(now, ReplicaId(node.0), true, &mut out);
                }
                Output::Alarm(_) if self.wake.is_some_and(|wake| wake <= now) => {
                    self.client.handle_timer(now, &mut out);
                }
                Output::Alarm(_) => continue,
                Output::Stopped { node, why } => {
                    assert_eq!(why, sim::Stop::Doomed, "{node}");
                    self.cluster.start(node, &mut self.observer);
                    continue;
                }
                Output::Broken(broken) => panic!("{broken:?}"),
            }
            if out.wake.is_none() && out.done.is_none() {
                out.wake = self.wake;
            }
            self.carry_out(out);
        }
    }

    fn restart(&mut self, node: NodeId, crash: Crash) {
        self.cluster.crash(node, crash, &mut self.observer);
        self.cluster.start(node, &mut self.observer);
    }
}

/// A run with crashes of all kinds.
fn stormy(seed: u64) -> World {
    let mut world = World::new(seed);
    for round in 0..30u32 {
        world.run(300 * MS);
        let victim = NodeId(round % 3 + 1);
        match round % 5 {
            0 => world.restart(victim, Crash::Process),
            1 => world.restart(victim, Crash::Power),
            2 => world.cluster.crash_soon(victim, round, false),
            3 => world.cluster.crash_soon(victim, round, true),
            _ => {
                world.cluster.pause(victim, true);
                world.run(700 * MS);
                world.cluster.pause(victim, false);
            }
        }
    }
    world.run(Duration::from_secs(3));
    world
}

#[test]
fn the_same_seed_gives_the_same_run_to_the_byte() {
    let words =
        |seed| -> String { stormy(seed).cluster.events().iter().map(|event| format!("{event}\n")).collect() };
    let first = words(7);
    assert!(first.lines().count() > 10_000, "there is something to compare");
    assert!(first == words(7));
    assert!(first != words(8));
}

#[test]
fn work_goes_on_through_crashes_of_all_kinds() {
    for seed in 0..10 {
        let world = stormy(seed);
        let lives = |world: &World| {
            let started = |event: &&sim::TraceEvent| matches!(event.what, TraceWhat::Started { .. });
            world.cluster.events().iter().filter(started).count()
        };
        assert!(lives(&world) >= 3 + 20, "seed {seed}: {} lives", lives(&world));
        assert!(world.written > 1_000, "seed {seed}: {} writes", world.written);
    }
}

#[test]
fn a_core_is_copied_and_both_go_on_alike_until_they_are_told_something_else() {
    let mut world = World::new(3);
    world.run(300 * MS);
    let now = world.cluster.now();
    let later = now + Duration::from_secs(5);
    for node in world.cluster.nodes() {
        let mut one = world.cluster.core(node).expect("it is up").clone();
        let mut other = one.clone();
        assert_eq!(one.fingerprint(), other.fingerprint());
        let effects = |core: &mut Raft, timer| {
            let mut out = Effects::new(JournalPosition(1 << 40));
            core.handle_timer(later, timer, &mut out);
            core.end_turn(later, &mut out);
            format!("{out:?}")
        };
        assert_eq!(effects(&mut one, Timer::Election), effects(&mut other, Timer::Election));
        assert_eq!(one.fingerprint(), other.fingerprint());
        let before = other.fingerprint();
        let heard = Request {
            id: RequestId(1),
            session: SessionId(77),
            sequence: Sequence(1),
            routing: Routing::Here,
            command: Command::Write { key: b"k".to_vec().into(), value: b"v".to_vec().into() },
        };
        let mut out = Effects::new(JournalPosition(1 << 41));
        one.handle_request(later, ClientId(9), heard, &mut out);
        assert_eq!(other.fingerprint(), before, "a copy shares nothing");
    }
    let fingerprints: BTreeSet<u64> =
        world.cluster.nodes().map(|node| world.cluster.core(node).expect("it is up").fingerprint()).collect();
    assert_eq!(fingerprints.len(), 3, "different replicas are different states");
}

/// Whoever leads, in the highest term that anybody is in.
fn leader(world: &World) -> NodeId {
    let leads = |node: &NodeId| world.cluster.status(*node).is_some_and(|status| status.leads);
    let epoch = |node: &NodeId| world.cluster.status(*node).expect("it is up").epoch;
    world.cluster.nodes().filter(leads).max_by_key(epoch).expect("somebody leads")
}

#[test]
fn a_silent_leader_is_replaced_and_is_silent_in_all_its_lives_until_it_is_correct_again() {
    let mut world = World::new(1);
    world.run(1_000 * MS);
    let silent = leader(&world);
    world.cluster.set_adversary(silent, Some(Mute::Silence));
    let written = world.written;
    world.run(3_000 * MS);
    assert_ne!(leader(&world), silent);
    assert!(world.written > written, "the others serve");
    let withheld = world.cluster.tampered(silent).withheld;
    assert!(withheld > 0);

    world.restart(silent, Crash::Process);
    world.run(1_000 * MS);
    let status = world.cluster.status(silent).expect("it is up");
    assert!(!status.leads && world.cluster.tampered(silent).withheld > withheld);
    let followed = |world: &World| world.cluster.link_counters(silent, leader(world)).passed;
    let said = followed(&world);
    world.run(1_000 * MS);
    assert_eq!(followed(&world), said, "nothing leaves it");

    world.cluster.set_adversary(silent, None);
    let withheld = world.cluster.tampered(silent);
    world.run(1_000 * MS);
    assert!(followed(&world) > said);
    assert_eq!(world.cluster.tampered(silent), withheld);
}

/// On messages of one kind, on all links between three nodes.
fn everywhere(kind: &str, condition: LinkCondition) -> BTreeMap<(NodeId, NodeId), OneWayCondition> {
    let on_kind = OneWayCondition { kinds: [(kind.into(), condition)].into(), ..OneWayCondition::default() };
    let pairs = (1..=3).flat_map(|from| (1..=3).map(move |to| (NodeId(from), NodeId(to))));
    pairs.filter(|(from, to)| from != to).map(|link| (link, on_kind.clone())).collect()
}

/// The kinds of messages and their links, by number.
fn sent(world: &World) -> BTreeMap<u64, (&'static str, NodeId, NodeId)> {
    let of = |event: &sim::TraceEvent| {
        let TraceWhat::Sent { message, from, to, kind, .. } = event.what else { return None };
        Some((message, (kind, from, to)))
    };
    world.cluster.events().iter().filter_map(of).collect()
}

/// How many messages got lost on their way, by kind, and how many arrived.
fn lost_and_arrived(
    world: &World,
    since: usize,
) -> (BTreeMap<&'static str, usize>, BTreeMap<&'static str, usize>) {
    let (sent, mut lost, mut arrived) = (sent(world), BTreeMap::new(), BTreeMap::new());
    for event in &world.cluster.events()[since..] {
        if let TraceWhat::Dropped { message, why: "lost" } = event.what {
            *lost.entry(sent[&message].0).or_default() += 1;
        } else if let TraceWhat::Received { message } = event.what {
            *arrived.entry(sent[&message].0).or_default() += 1;
        }
    }
    (lost, arrived)
}

#[test]
fn one_kind_of_messages_is_lost_and_the_others_pass() {
    let mut world = World::new(3);
    world.run(1_000 * MS);
    let (before, leader) = (world.written, leader(&world));
    let since = world.cluster.events().len();
    world.cluster.set_links(&everywhere("append-reply", LinkCondition { loss: 1.0, ..Default::default() }));
    world.run(1_000 * MS);
    let (lost, arrived) = lost_and_arrived(&world, since);
    assert_eq!(lost.keys().collect::<Vec<_>>(), [&"append-reply"], "{lost:?}");
    assert!(arrived["append-entries"] > 20, "{arrived:?}");
    assert!(world.written <= before + 1, "nobody can tell the leader that it has a majority");
    let counted = |world: &World, kind| -> u64 {
        let others = world.cluster.nodes().filter(|node| *node != leader);
        others.map(|node| world.cluster.kind_counters(node, leader, kind).lost).sum()
    };
    let counters = counted(&world, "append-reply");
    assert!(counters > 20 && counters <= lost["append-reply"] as u64, "{counters} of {lost:?}");
    assert_eq!(counted(&world, "append-entries"), 0);
    for node in world.cluster.nodes() {
        assert_eq!(world.cluster.link_counters(node, leader).lost, 0, "what a kind loses is counted there");
    }

    world.cluster.set_links(&BTreeMap::new());
    world.run(2_000 * MS);
    assert!(world.written > before + 100, "{} writes", world.written);
    assert_eq!(counted(&world, "append-reply"), counters, "none after that");
}

#[test]
fn a_late_kind_holds_up_no_other_and_keeps_its_own_order() {
    let mut world = World::new(4);
    world.run(1_000 * MS);
    let leader = leader(&world);
    // Heartbeats and entries are as late as that, votes are not, so that another leads.
    let late = LinkCondition { latency_us: 2_000_000, ..Default::default() };
    world.cluster.set_links(&everywhere("append-entries", late));
    let since = world.cluster.events().len();
    world.run(3_000 * MS);
    let (_, arrived) = lost_and_arrived(&world, since);
    assert!(arrived["request-vote"] > 0 && arrived["request-vote-reply"] > 0, "{arrived:?}");
    let delayed: u64 = world
        .cluster
        .nodes()
        .map(|to| world.cluster.kind_counters(leader, to, "append-entries").delayed)
        .sum();
    assert!(delayed > 0);
    world.cluster.set_links(&BTreeMap::new());
    world.run(3_000 * MS);

    let (sent, mut last) = (sent(&world), BTreeMap::new());
    for event in world.cluster.events() {
        let TraceWhat::Received { message } = event.what else { continue };
        if let ("append-entries", from, to) = sent[&message] {
            let before = last.insert((from, to), message).unwrap_or_default();
            assert!(before < message, "{event}");
        }
    }
    assert!(last.len() > 2, "{last:?}");
}

#[test]
fn distances_are_there_all_the_time_and_a_delay_comes_on_top() {
    // n3 is far from the others, and so is the client from it.
    let far = 70 * MS;
    let to_n3 = [(1, 3), (3, 1), (2, 3), (3, 2)].map(|(from, to)| ((NodeId(from), NodeId(to)), far));
    let mut world = World::with(5, Settings { distances: to_n3.into(), ..settings() });
    world.cluster.place_client(CLIENT, [(NodeId(3), far)].into());
    world.run(1_000 * MS);
    let late = LinkCondition { latency_us: 30_000, ..Default::default() };
    let all = (1..=3).flat_map(|from| (1..=3).map(move |to| (NodeId(from), NodeId(to))));
    let faulted: BTreeMap<_, OneWayCondition> = all.map(|link| (link, late.into())).collect();
    world.cluster.set_links(&faulted);
    world.run(500 * MS);
    world.cluster.set_links(&BTreeMap::new());
    world.run(1_000 * MS);

    let (mut sent, mut seen) = (BTreeMap::new(), BTreeMap::<_, (Duration, u32)>::new());
    for event in world.cluster.events() {
        if let TraceWhat::Sent { message, from, to, .. } = event.what {
            sent.insert(message, (event.at, from, to));
        } else if let TraceWhat::Received { message } = event.what {
            let (at, from, to) = sent[&message];
            let in_force = (at > Time::ZERO + 1_000 * MS) && (at < Time::ZERO + 1_500 * MS);
            let is_far = from == NodeId(3) || to == NodeId(3);
            let least = seen.entry((is_far, in_force)).or_insert((Duration::MAX, 0));
            *least = (least.0.min(event.at.since(at)), least.1 + 1);
        }
    }
    let least = |is_far, in_force| {
        let (least, messages) = seen[&(is_far, in_force)];
        assert!(messages > 10, "{seen:?}");
        least
    };
    let within = |took: Duration, from: Duration| (from..from + 5 * MS).contains(&took);
    assert!(within(least(true, false), far), "{seen:?}");
    assert!(within(least(true, true), far + 30 * MS), "{seen:?}");
    assert!(within(least(false, false), Duration::ZERO), "{seen:?}");
    assert!(within(least(false, true), 30 * MS), "{seen:?}");
    assert!(world.written > 100, "n1 and n2 are near: {}", world.written);
}

#[test]
fn twins_hear_what_the_routes_say_and_are_both_heard() {
    // n4 stands for replica 3 as n3 does. What both of them do to Raft is not looked at.
    struct Blind;
    impl Observer<Raft> for Blind {
        fn after_step(&mut self, _: &Raft) -> Result<(), Broken> {
            Ok(())
        }

        fn restarted(&mut self, _: ReplicaId) {}
    }
    let mut placement = Placement::one_each(3);
    placement.place(NodeId(4), ReplicaId(3));
    let members = (1..=3).map(ReplicaId).collect::<Vec<_>>();
    let configure = move |replica, incarnation| {
        let (members, options) = (members.clone(), Options::default());
        Config { replica, incarnation, members, options }
    };
    let mut cluster = Cluster::<Raft>::new(1, placement, settings(), configure);
    for node in (1..=2).map(NodeId) {
        cluster.set_routes(node, [(ReplicaId(3), [NodeId(4)].into())].into()).expect("n4 stands for it");
    }
    for node in (1..=4).map(NodeId) {
        cluster.start(node, &mut Blind);
    }
    let passed = |cluster: &Cluster<Raft>, from, to| cluster.link_counters(NodeId(from), NodeId(to)).passed;
    while cluster.next(Time::ZERO + 2_000 * MS, &mut Blind).is_some() {}
    let heard = |cluster: &Cluster<Raft>, node| passed(cluster, 1, node) + passed(cluster, 2, node);
    assert_eq!((heard(&cluster, 3), heard(&cluster, 4) > 10), (0, true));
    assert!(passed(&cluster, 3, 1) > 0 && passed(&cluster, 4, 1) > 0, "both speak as replica 3");

    for node in (1..=2).map(NodeId) {
        cluster.set_routes(node, BTreeMap::new()).expect("as at first");
    }
    while cluster.next(Time::ZERO + 4_000 * MS, &mut Blind).is_some() {}
    assert!(heard(&cluster, 3) > 10);
    let error = cluster.set_routes(NodeId(1), [(ReplicaId(3), [NodeId(2)].into())].into());
    assert_eq!(error.expect_err("n2 is somebody else"), "node 2 does not stand for replica 3");
}
