//! A node: one replica, its disk, its clock, its timers. What a crash loses is lost here.

use crate::cluster::Observer;
use crate::disk::{JOURNAL, SNAPSHOTS, SimDisk};
use crate::outlets::{Halt, OnDisk, Outlets, Released};
use protocol::control::ClockSetting;
use protocol::{
    AdminReply, AdminRequest, ClientId, Incarnation, JournalPosition, NodeClock, NodeId, Protocol, Recovered,
    ReplicaId, Routes, SnapshotEvent, Tampered, Time, Turns,
};
use std::collections::BTreeSet;
use std::time::Duration;
use storage::journal::{self, JournalError, Settings, segment_name};
use storage::snapshots::Snapshots;

/// What a core is told.
#[derive(Debug)]
pub(crate) enum Input<P: Protocol> {
    Message { from: ReplicaId, message: P::Message },
    Request { client: ClientId, request: P::Request },
    ClientGone { client: ClientId },
    Snapshot(SnapshotEvent<P::Image>),
}

/// One node, up or down.
#[derive(Debug)]
pub(crate) struct Node<P: Protocol> {
    pub(crate) id: NodeId,
    pub(crate) replica: ReplicaId,
    pub(crate) routes: Routes,
    pub(crate) incarnation: Incarnation,
    pub(crate) life: Option<Box<Life<P>>>,
    /// Numbers its lives: what was meant for an earlier one is lost.
    pub(crate) lives: u64,
    pub(crate) disk: SimDisk,
    pub(crate) paused: bool,
    /// What it does in each life, if it lies.
    pub(crate) adversary: Option<P::Adversary>,
    /// By lives that are over.
    pub(crate) tampered: Tampered,
    pub(crate) clock_setting: ClockSetting,
    /// Seconds of its machine's clock per second of true time.
    pub(crate) machine_rate: f64,
    /// Clients with a connection to it.
    pub(crate) connected: BTreeSet<ClientId>,
    pub(crate) stalled: bool,
    /// How often a stalled disk kept it waiting.
    pub(crate) held_up: u64,
    /// By how much its disk is slower than the settings say.
    pub(crate) disk_slowness: f64,
    /// Where the last batch begins in the last segment: damage behind it looks like a torn write.
    last_batch: Option<(JournalPosition, u64)>,
}

/// One life of a node's process.
#[derive(Debug)]
pub(crate) struct Life<P: Protocol> {
    pub(crate) turns: Turns<P>,
    pub(crate) on_disk: OnDisk<P>,
    pub(crate) inbox: Vec<Input<P>>,
    pub(crate) clock: NodeClock,
    /// When the life began, true time.
    origin: Time,
    machine_rate: f64,
    /// The wake-up that is set, true time.
    pub(crate) armed: Option<Time>,
    pub(crate) busy_until: Time,
    pub(crate) turn_is_due: bool,
    /// The role, the epoch, and whether it leads, as last told of in words.
    pub(crate) role: Option<(String, u64, bool)>,
}

impl<P: Protocol> Node<P> {
    pub(crate) fn new(routes: Routes, seed: u64, machine_rate: f64) -> Self {
        Self {
            id: routes.me(),
            replica: routes.replica(),
            routes,
            incarnation: Incarnation(0),
            life: None,
            lives: 0,
            disk: SimDisk::new(seed),
            paused: false,
            adversary: None,
            tampered: Tampered::default(),
            clock_setting: ClockSetting::default(),
            machine_rate,
            connected: BTreeSet::new(),
            stalled: false,
            held_up: 0,
            disk_slowness: 1.0,
            last_batch: None,
        }
    }

    /// Starts a life from what the disk holds. The core's first turn is still to come. Tells how many records there were.
    pub(crate) fn start(
        &mut self,
        config: P::Config,
        seed: u64,
        at: Time,
        settings: Settings,
    ) -> Result<u64, Halt> {
        assert!(self.life.is_none(), "{} is up", self.id);
        self.lives += 1;
        let bugs = settings.bugs.clone();
        let disk = self.disk.folder(JOURNAL);
        let mut records = Vec::new();
        let opened = journal::open(&disk, settings, |position, record| records.push((position, record)))
            .map_err(|error| self.refused(&error))?;
        let (snapshots, snapshot) = Snapshots::open(self.disk.folder(SNAPSHOTS), bugs).map_err(|error| {
            if self.disk.has_lost_power() { Halt::PowerLost } else { Halt::Refused(error.to_string()) }
        })?;
        let on_disk = OnDisk::new(disk, opened, snapshots);
        let mut clock = NodeClock::new();
        clock.set(0, self.clock_setting).expect("the setting was accepted");
        let count = records.len() as u64;
        let found = Recovered { snapshot, records };
        let mut turns = Turns::recover(config, seed, clock.now(0), found, on_disk.next())
            .map_err(|error| Halt::Refused(error.to_string()))?;
        turns.set_adversary(self.adversary.clone());
        self.life = Some(Box::new(Life {
            turns,
            on_disk,
            inbox: Vec::new(),
            clock,
            origin: at,
            machine_rate: self.machine_rate,
            armed: None,
            busy_until: at,
            turn_is_due: false,
            role: None,
        }));
        Ok(count)
    }

    fn refused(&self, error: &JournalError) -> Halt {
        match error {
            _ if self.disk.has_lost_power() => Halt::PowerLost,
            JournalError::Io { .. } => Halt::Disk(error.to_string()),
            other @ (JournalError::Damaged(_)
            | JournalError::RecordTooLarge { .. }
            | JournalError::LeftOver { .. }) => Halt::Refused(other.to_string()),
        }
    }

    /// Ends its life, if it has one. `power`: what was not durable may be lost.
    pub(crate) fn end(&mut self, power: bool) {
        if let Some(life) = self.life.take() {
            self.last_batch = life.on_disk.last_batch();
            self.tampered += life.turns.tampered();
        }
        if power || self.disk.has_lost_power() {
            self.disk.restore_power();
        } else {
            self.disk.process_ends();
        }
        self.paused = false;
    }

    /// Damages what it has on disk, where that can be told from a torn write.
    pub(crate) fn flip_bit(&mut self, folder: &'static str) -> Option<(String, usize)> {
        let last = self.life.as_ref().map_or(self.last_batch, |life| life.on_disk.last_batch());
        let (segment, begin) = last?;
        self.disk.folder(folder).flip_bit(Some((&segment_name(segment), begin)))
    }
}

impl<P: Protocol> Life<P> {
    /// The node's time at a true time.
    pub(crate) fn local(&mut self, at: Time) -> Time {
        self.clock.now(machine_nanos(self.origin, self.machine_rate, at))
    }

    pub(crate) fn set_clock(&mut self, at: Time, setting: ClockSetting) {
        let machine = machine_nanos(self.origin, self.machine_rate, at);
        self.clock.set(machine, setting).expect("the setting was accepted");
    }

    /// How far the node's clock is ahead of true time, microseconds.
    pub(crate) fn clock_error_us(&mut self, at: Time) -> i64 {
        let machine = machine_nanos(self.origin, self.machine_rate, at);
        self.clock.error_us(machine)
    }

    /// When the next turn is due, true time.
    pub(crate) fn next_due(&self) -> Option<Time> {
        let machine = self.clock.machine_time_of(self.turns.next_due()?)?;
        Some(self.origin + Duration::from_nanos((machine as f64 / self.machine_rate).ceil() as u64))
    }

    /// One turn with all that is at hand. Tells how many inputs it had.
    pub(crate) fn turn(
        &mut self,
        at: Time,
        sent: &mut Released<P>,
        observer: &mut impl Observer<P>,
    ) -> Result<usize, Halt> {
        let now = self.local(at);
        let Self { turns, on_disk, inbox, .. } = self;
        let mut outlets = Outlets { on_disk, sent, observer };
        turns.settle(now, &mut outlets)?;
        let mut inputs = inbox.len();
        for input in inbox.drain(..) {
            turns.input(|core, out| match input {
                Input::Message { from, message } => core.handle_message(now, from, message, out),
                Input::Request { client, request } => core.handle_request(now, client, request, out),
                Input::ClientGone { client } => core.handle_client_gone(now, client),
                Input::Snapshot(event) => core.handle_snapshot(now, event, out),
            });
            outlets.observer.after_step(turns.core())?;
        }
        inputs += turns.fire_timers(now, &mut outlets)?;
        turns.end(now, &mut outlets)?;
        Ok(inputs)
    }

    pub(crate) fn admin(&mut self, at: Time, request: AdminRequest) -> AdminReply {
        let now = self.local(at);
        self.turns.input(|core, out| core.handle_admin(now, request, out))
    }

    /// The disk has done what it was asked.
    pub(crate) fn synced(&mut self, sent: &mut Released<P>) -> Result<JournalPosition, Halt> {
        self.on_disk.synced(sent)
    }

    /// The snapshot store has done what it was asked.
    pub(crate) fn stored(&mut self, sent: &mut Released<P>) -> Result<(), Halt> {
        let answer = self.on_disk.stored(sent)?;
        self.inbox.extend(answer.map(Input::Snapshot));
        Ok(())
    }
}

fn machine_nanos(origin: Time, rate: f64, at: Time) -> u64 {
    (at.since(origin).as_nanos() as f64 * rate) as u64
}
