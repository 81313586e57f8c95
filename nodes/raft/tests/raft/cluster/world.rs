//! Virtual time: what happens when, over links, disks and clocks of varying quality.

use crate::host::{Host, Sent, wipe};
use protocol::{ClientId, Protocol, ReplicaId, Time};
use raft::{Config, Message, Timer};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

pub(crate) const MS: u64 = 1_000_000;

/// Something that happens at a time.
#[derive(Debug)]
pub(crate) enum Event {
    Deliver {
        from: ReplicaId,
        to: ReplicaId,
        message: Message,
    },
    Request {
        to: ReplicaId,
        client: ClientId,
        request: kv::Request,
    },
    Reply {
        client: ClientId,
        from: ReplicaId,
        reply: kv::Reply,
    },
    /// Look after the timers of a replica.
    Timers {
        of: ReplicaId,
    },
    /// A turn that was left open ends.
    EndTurn {
        of: ReplicaId,
    },
    /// The journal gets some of what was written to disk.
    Sync {
        of: ReplicaId,
    },
    /// The snapshot store works, then answers.
    Io {
        of: ReplicaId,
    },
    IoAnswer {
        of: ReplicaId,
    },
    /// A client acts: begins an op, or (if this attempt is still open) tries again.
    Client {
        client: ClientId,
        attempt: Option<protocol::RequestId>,
    },
    /// Whatever disturbs.
    Nemesis,
    /// Whoever changes members.
    Operator,
    Crash {
        of: ReplicaId,
    },
    Restart {
        of: ReplicaId,
    },
}

/// How bad the links are.
#[derive(Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) loss: f64,
    pub(crate) duplicate: f64,
    pub(crate) delay: f64,
}

/// A node's clock: `offset + rate × true time`.
#[derive(Clone, Copy)]
struct Clock {
    offset: u64,
    rate: f64,
}

pub(crate) struct World {
    pub(crate) rng: Xoshiro256PlusPlus,
    /// True time; no replica sees it.
    pub(crate) now: Time,
    queue: BinaryHeap<Reverse<Queued>>,
    count: u64,
    pub(crate) hosts: BTreeMap<ReplicaId, Host>,
    clocks: BTreeMap<ReplicaId, Clock>,
    /// Whose snapshot stores take their time.
    slow_stores: BTreeSet<ReplicaId>,
    /// By how much a clock's rate may differ from 1.
    drift: f64,
    /// Directed links that are cut.
    pub(crate) cut: BTreeSet<(ReplicaId, ReplicaId)>,
    pub(crate) weather: Weather,
    /// How likely a leader that has told another to lead hears nothing more.
    pub(crate) isolation_of_testators: f64,
    open: BTreeSet<ReplicaId>,
    /// Fingerprint of all that happened.
    pub(crate) trace: u64,
    lives: u64,
    verbose: bool,
}

#[derive(Debug)]
struct Queued {
    at: Time,
    order: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl World {
    pub(crate) fn new(seed: u64, configs: Vec<Config>, drift: f64) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut hosts = BTreeMap::new();
        let mut clocks = BTreeMap::new();
        let mut slow_stores = BTreeSet::new();
        for config in configs {
            // Mostly as wrong as allowed.
            let rate = match rng.random_range(0..3) {
                0 => 1.0 - drift,
                1 => 1.0 + drift,
                _ => rng.random_range(1.0 - drift..=1.0 + drift),
            };
            clocks.insert(
                config.replica,
                Clock { offset: rng.random_range(100_000 * MS..1_000_000 * MS), rate },
            );
            let replica = config.replica;
            let mut host = Host::new(config);
            if rng.random_bool(0.3) {
                slow_stores.insert(replica);
            }
            host.segment = rng.random_range(0..8);
            hosts.insert(replica, host);
        }
        Self {
            rng,
            now: Time(0),
            queue: BinaryHeap::new(),
            count: 0,
            hosts,
            clocks,
            slow_stores,
            drift,
            cut: BTreeSet::new(),
            weather: Weather::default(),
            isolation_of_testators: 0.0,
            open: BTreeSet::new(),
            trace: 0,
            lives: 0,
            verbose: std::env::var_os("RAFT_TRACE").is_some(),
        }
    }

    pub(crate) fn at(&mut self, at: Time, event: Event) {
        self.count += 1;
        self.queue.push(Reverse(Queued { at, order: self.count, event }));
    }

    pub(crate) fn after(&mut self, nanos: std::ops::Range<u64>, event: Event) {
        let wait = self.rng.random_range(nanos);
        self.at(self.now + Duration::from_nanos(wait), event);
    }

    /// The next thing that happens.
    pub(crate) fn next(&mut self) -> Event {
        let Reverse(next) = self.queue.pop().expect("timers go on for ever");
        self.now = next.at;
        // Whatever two runs do differently, they draw other times for what follows from it.
        self.trace = self.trace.rotate_left(5).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.now.0 ^ self.count;
        if self.verbose {
            println!("{} {:?}", self.now, next.event);
        }
        next.event
    }

    /// What a node's clock shows.
    fn local(&self, id: ReplicaId) -> Time {
        let clock = self.clocks[&id];
        Time(clock.offset + (self.now.0 as f64 * clock.rate) as u64)
    }

    /// From now on a node's clock goes as slowly, or as fast, as is allowed.
    pub(crate) fn bend_clock(&mut self, id: ReplicaId, fast: bool) {
        let rate = if fast { 1.0 + self.drift } else { 1.0 - self.drift };
        let offset = self.local(id).0 - (self.now.0 as f64 * rate) as u64;
        self.clocks.insert(id, Clock { offset, rate });
        self.arm(id);
    }

    /// When a node's clock shows `local`, or a little later.
    fn true_time(&self, id: ReplicaId, local: Time) -> Time {
        let clock = self.clocks[&id];
        Time((local.0.saturating_sub(clock.offset) as f64 / clock.rate) as u64 + 1000)
    }

    pub(crate) fn is_up(&self, id: ReplicaId) -> bool {
        self.hosts[&id].up().is_some()
    }

    pub(crate) fn start(&mut self, id: ReplicaId) {
        self.lives += 1;
        let (seed, now) = (self.lives, self.local(id));
        let host = self.hosts.get_mut(&id).expect("a host");
        let sent = host.start(seed, now).unwrap_or_else(|e| panic!("{id} does not start: {e}"));
        self.carry(id, sent);
    }

    pub(crate) fn crash(&mut self, id: ReplicaId) {
        let host = self.hosts.get_mut(&id).expect("a host");
        let kept = self.rng.random_range(0..=host.unsynced.len());
        host.crash(kept);
        self.open.remove(&id);
    }

    pub(crate) fn wipe(&mut self, id: ReplicaId) {
        wipe(self.hosts.get_mut(&id).expect("a host"));
    }

    /// An input to a replica that is up, as part of a turn.
    pub(crate) fn input(
        &mut self,
        id: ReplicaId,
        input: impl FnOnce(&mut raft::Raft, Time, &mut protocol::Effects<raft::Raft>),
    ) {
        let now = self.local(id);
        self.hosts.get_mut(&id).expect("a host").input(|raft, out| input(raft, now, out));
        // Sometimes a driver has more at hand.
        if self.rng.random_bool(0.3) {
            if self.open.insert(id) {
                self.after(0..2 * MS, Event::EndTurn { of: id });
            }
        } else {
            self.end_turn(id);
        }
    }

    pub(crate) fn end_turn(&mut self, id: ReplicaId) {
        self.open.remove(&id);
        let now = self.local(id);
        let sent = self.hosts.get_mut(&id).expect("a host").end_turn(now);
        self.carry(id, sent);
    }

    pub(crate) fn fire_timers(&mut self, id: ReplicaId) {
        let now = self.local(id);
        let due = |world: &Self| {
            let timers = world.hosts[&id].timers();
            [Timer::Election, Timer::Heartbeat, Timer::Patience]
                .into_iter()
                .find(|timer| timers.get(*timer).is_some_and(|at| at <= now))
        };
        while let Some(timer) = due(self) {
            self.hosts.get_mut(&id).expect("a host").take_timer(timer);
            self.input(id, |raft, now, out| raft.handle_timer(now, timer, out));
        }
    }

    pub(crate) fn sync(&mut self, id: ReplicaId) {
        let now = self.local(id);
        let host = self.hosts.get_mut(&id).expect("a host");
        // A turn that is open has records that were not handed over yet.
        let count = self.rng.random_range(0..=host.unsynced.len());
        let count = if self.rng.random_bool(0.7) { host.unsynced.len() } else { count };
        self.open.remove(&id);
        let sent = host.sync(count, now);
        self.carry(id, sent);
    }

    pub(crate) fn finish_io(&mut self, id: ReplicaId) {
        self.hosts.get_mut(&id).expect("a host").finish_io();
        self.after(0..5 * MS, Event::IoAnswer { of: id });
    }

    pub(crate) fn answer_io(&mut self, id: ReplicaId) {
        let now = self.local(id);
        let host = self.hosts.get_mut(&id).expect("a host");
        if host.has_answer() {
            host.answer(now);
            self.end_turn(id);
        }
    }

    /// Sees to everything that a turn has asked for.
    fn carry(&mut self, id: ReplicaId, sent: Sent) {
        for outgoing in [sent.early, sent.durable] {
            for (to, message) in outgoing.messages {
                self.send(id, to, &message);
            }
            for (client, reply) in outgoing.replies {
                self.after(MS / 10..2 * MS, Event::Reply { client, from: id, reply });
            }
        }
        let host = self.hosts.get_mut(&id).expect("a host");
        for effect in host.snapshot_effects.drain(..) {
            if self.verbose {
                println!("{id}: {effect}");
            }
        }
        host.written.clear();
        let (unsynced, io) = (!host.unsynced.is_empty(), host.has_io());
        self.arm(id);
        if unsynced {
            let slow = if self.rng.random_bool(0.05) { 40 } else { 3 };
            self.after(0..slow * MS, Event::Sync { of: id });
        }
        if io {
            let most = if self.slow_stores.contains(&id) { 600 } else { 20 };
            self.after(0..most * MS, Event::Io { of: id });
        }
    }

    /// Sees to it that timers fire.
    fn arm(&mut self, id: ReplicaId) {
        if let Some(at) = self.hosts[&id].timers().next() {
            let at = self.true_time(id, at).max(self.now + Duration::from_micros(10));
            self.at(at, Event::Timers { of: id });
        }
    }

    /// Cuts all links of a replica, but for those to clients, and no others.
    pub(crate) fn isolate(&mut self, replica: ReplicaId) {
        self.cut.clear();
        for &other in self.hosts.keys() {
            self.cut.extend([(replica, other), (other, replica)]);
        }
    }

    fn send(&mut self, from: ReplicaId, to: ReplicaId, message: &Message) {
        let weather = self.weather;
        if self.cut.contains(&(from, to)) || self.rng.random_bool(weather.loss) {
            return;
        }
        let copies = if self.rng.random_bool(weather.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let most = if self.rng.random_bool(weather.delay) { 400 * MS } else { 4 * MS };
            self.after(MS / 20..most, Event::Deliver { from, to, message: message.clone() });
        }
        if matches!(message, Message::TimeoutNow(_)) && self.rng.random_bool(self.isolation_of_testators) {
            self.isolate(from);
        }
    }
}
