//! A node: one replica, its disk, its clock, its timers. What a crash loses is lost here.

use crate::cluster::{Broken, Observer};
use crate::disk::{JOURNAL, SNAPSHOTS, SimDisk};
use protocol::control::ClockSetting;
use protocol::{
    ClientId, Effects, Incarnation, JournalPosition, NodeClock, NodeId, Outbox, Protocol, Recovered,
    ReplicaId, SnapshotEffect, SnapshotEvent, Time, Timers,
};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use storage::journal::{self, Batches, Gathering, JournalError, Opened, Settings, Writer, segment_name};
use storage::snapshots::{Snapshots, Steps};

/// What a core is told.
#[derive(Debug)]
pub(crate) enum Input<P: Protocol> {
    Message { from: ReplicaId, message: P::Message },
    Request { client: ClientId, request: P::Request },
    ClientGone { client: ClientId },
    Snapshot(SnapshotEvent<P::Image>),
}

/// Why a life ends.
#[derive(Debug)]
pub(crate) enum Halt {
    /// As the nemesis wants it.
    Doomed,
    /// In the middle of what the disk was doing.
    PowerLost,
    /// The disk refuses.
    Disk(String),
    /// What the disk holds is refused.
    Refused(String),
    /// An invariant does not hold.
    Broken(Broken),
}

impl From<Broken> for Halt {
    fn from(broken: Broken) -> Self {
        Halt::Broken(broken)
    }
}

/// What a turn lets out, in order, and what it asks the disk for.
#[derive(Debug)]
pub(crate) struct Sent<P: Protocol> {
    pub(crate) messages: Vec<(ReplicaId, P::Message)>,
    pub(crate) replies: Vec<(ClientId, P::Reply)>,
    /// A sync has begun.
    pub(crate) sync_begun: bool,
    /// The snapshot store has begun with something.
    pub(crate) store_begun: bool,
}

impl<P: Protocol> Default for Sent<P> {
    fn default() -> Self {
        Self { messages: Vec::new(), replies: Vec::new(), sync_begun: false, store_begun: false }
    }
}

/// One node, up or down.
#[derive(Debug)]
pub(crate) struct Node<P: Protocol> {
    pub(crate) id: NodeId,
    pub(crate) replica: ReplicaId,
    pub(crate) incarnation: Incarnation,
    pub(crate) life: Option<Box<Life<P>>>,
    /// Numbers its lives: what was meant for an earlier one is lost.
    pub(crate) lives: u64,
    pub(crate) disk: SimDisk,
    pub(crate) paused: bool,
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
    pub(crate) core: P,
    effects: Effects<P>,
    pub(crate) inbox: Vec<Input<P>>,
    timers: Timers<P::Timer>,
    pub(crate) clock: NodeClock,
    /// When the life began, true time.
    origin: Time,
    machine_rate: f64,
    /// The wake-up that is set, true time.
    pub(crate) armed: Option<Time>,
    pub(crate) busy_until: Time,
    pub(crate) turn_is_due: bool,
    journal: LiveJournal,
    held: VecDeque<Held<P>>,
    told: JournalPosition,
    snapshots: Snapshots<SimDisk>,
    steps: Steps<P::Image>,
    /// What the snapshot store is busy with.
    storing: Option<SnapshotEffect<P::Image>>,
    /// The role, the epoch, and whether it leads, as last told of in words.
    pub(crate) role: Option<(String, u64, bool)>,
    /// After so many more effects the process is gone.
    pub(crate) effects_left: Option<u32>,
}

#[derive(Debug)]
struct LiveJournal {
    disk: SimDisk,
    writer: Writer<SimDisk>,
    batches: Batches,
    /// Written, and not synced yet.
    syncing: Option<Gathering>,
}

/// A turn's durable lane, until every record before `before` is durable.
#[derive(Debug)]
struct Held<P: Protocol> {
    before: JournalPosition,
    outbox: Outbox<P>,
    snapshots: Vec<SnapshotEffect<P::Image>>,
}

impl<P: Protocol> Node<P> {
    pub(crate) fn new(id: NodeId, replica: ReplicaId, seed: u64, machine_rate: f64) -> Self {
        Self {
            id,
            replica,
            incarnation: Incarnation(0),
            life: None,
            lives: 0,
            disk: SimDisk::new(seed),
            paused: false,
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
        let Opened { writer, batches } = opened;
        let next = batches.next();
        let mut clock = NodeClock::new();
        clock.set(0, self.clock_setting).expect("the setting was accepted");
        let mut effects = Effects::new(next);
        let count = records.len() as u64;
        let core = P::recover(config, seed, clock.now(0), Recovered { snapshot, records }, &mut effects)
            .map_err(|error| Halt::Refused(error.to_string()))?;
        self.life = Some(Box::new(Life {
            core,
            effects,
            inbox: Vec::new(),
            timers: Timers::default(),
            clock,
            origin: at,
            machine_rate: self.machine_rate,
            armed: None,
            busy_until: at,
            turn_is_due: false,
            journal: LiveJournal { disk, writer, batches, syncing: None },
            held: VecDeque::new(),
            told: next,
            snapshots,
            steps: Steps::default(),
            storing: None,
            role: None,
            effects_left: None,
        }));
        Ok(count)
    }

    fn refused(&self, error: &JournalError) -> Halt {
        match error {
            _ if self.disk.has_lost_power() => Halt::PowerLost,
            JournalError::Io { .. } => Halt::Disk(error.to_string()),
            other => Halt::Refused(other.to_string()),
        }
    }

    /// Ends its life, if it has one. `power`: what was not durable may be lost.
    pub(crate) fn end(&mut self, power: bool) {
        if let Some(life) = self.life.take() {
            self.last_batch = life.journal.last_batch();
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
        let last = self.life.as_ref().map_or(self.last_batch, |life| life.journal.last_batch());
        let (segment, begin) = last?;
        self.disk.folder(folder).flip_bit(Some((&segment_name(segment), begin)))
    }
}

impl LiveJournal {
    fn last_batch(&self) -> Option<(JournalPosition, u64)> {
        Some((self.batches.segments().next_back()?, self.writer.last_batch()))
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

    /// When the earliest timer is due, true time.
    pub(crate) fn next_timer(&self) -> Option<Time> {
        let machine = self.clock.machine_time_of(self.timers.next()?)?;
        Some(self.origin + Duration::from_nanos((machine as f64 / self.machine_rate).ceil() as u64))
    }

    /// One turn with all that is at hand. Tells how many inputs it had.
    pub(crate) fn turn(
        &mut self,
        at: Time,
        sent: &mut Sent<P>,
        observer: &mut impl Observer<P>,
    ) -> Result<usize, Halt> {
        let now = self.local(at);
        self.settle(now, sent, observer)?;
        let mut inputs = self.inbox.len();
        let mut inbox = std::mem::take(&mut self.inbox);
        for input in inbox.drain(..) {
            self.input(now, input);
            observer.after_step(&self.core)?;
        }
        self.inbox = inbox;
        while let Some(timer) = self.timers.pop_due(now) {
            self.core.handle_timer(now, timer, &mut self.effects);
            observer.after_step(&self.core)?;
            inputs += 1;
        }
        loop {
            self.core.end_turn(now, &mut self.effects);
            observer.after_step(&self.core)?;
            if !self.carry_out(now, sent, observer)? {
                return Ok(inputs);
            }
        }
    }

    fn input(&mut self, now: Time, input: Input<P>) {
        let (core, out) = (&mut self.core, &mut self.effects);
        match input {
            Input::Message { from, message } => core.handle_message(now, from, message, out),
            Input::Request { client, request } => core.handle_request(now, client, request, out),
            Input::ClientGone { client } => core.handle_client_gone(now, client),
            Input::Snapshot(event) => core.handle_snapshot(now, event, out),
        }
    }

    pub(crate) fn admin(&mut self, at: Time, request: protocol::AdminRequest) -> protocol::AdminReply {
        let now = self.local(at);
        self.core.handle_admin(now, request, &mut self.effects)
    }

    /// One effect more: perhaps the last.
    fn effect(&mut self) -> Result<(), Halt> {
        match &mut self.effects_left {
            None => Ok(()),
            Some(0) => Err(Halt::Doomed),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// Carries out what the core asks for; tells whether the core was told something and may ask for more.
    fn carry_out(
        &mut self,
        now: Time,
        sent: &mut Sent<P>,
        observer: &mut impl Observer<P>,
    ) -> Result<bool, Halt> {
        for change in self.effects.timers.drain(..) {
            self.timers.apply(change);
        }
        let early = std::mem::take(&mut self.effects.early);
        self.release(early, sent)?;
        let mut records = std::mem::take(&mut self.effects.records);
        for record in records.drain(..) {
            self.journal.append::<P>(&record)?;
        }
        self.effects.records = records;
        let before = self.journal.batches.next();
        if !self.effects.durable.is_empty() || !self.effects.snapshots.is_empty() {
            let outbox = std::mem::take(&mut self.effects.durable);
            let snapshots = std::mem::take(&mut self.effects.snapshots);
            self.held.push_back(Held { before, outbox, snapshots });
        }
        self.effect()?;
        self.begin_sync(sent)?;
        self.settle(now, sent, observer)
    }

    fn begin_sync(&mut self, sent: &mut Sent<P>) -> Result<(), Halt> {
        sent.sync_begun |= self.journal.begin_sync()?;
        Ok(())
    }

    /// The disk has done what it was asked.
    pub(crate) fn synced(&mut self, sent: &mut Sent<P>) -> Result<JournalPosition, Halt> {
        self.journal.end_sync()?;
        self.begin_sync(sent)?;
        Ok(self.journal.batches.durable())
    }

    /// Releases the durable lanes that need not wait any longer, and tells the core how far its records are durable.
    fn settle(
        &mut self,
        now: Time,
        sent: &mut Sent<P>,
        observer: &mut impl Observer<P>,
    ) -> Result<bool, Halt> {
        let mut told = false;
        let durable = self.journal.batches.durable();
        while self.held.front().is_some_and(|held| held.before <= durable) {
            let held = self.held.pop_front().expect("looked at above");
            self.release(held.outbox, sent)?;
            for effect in held.snapshots {
                self.effect()?;
                told |= self.store(now, effect, sent)?;
            }
        }
        if self.told < durable {
            self.told = durable;
            self.core.handle_durable(now, durable, &mut self.effects);
            observer.after_step(&self.core)?;
            told = true;
        }
        Ok(told)
    }

    fn release(&mut self, outbox: Outbox<P>, sent: &mut Sent<P>) -> Result<(), Halt> {
        let Outbox { messages, replies } = outbox;
        if self.effects_left.is_none() {
            sent.messages.extend(messages);
            sent.replies.extend(replies);
            return Ok(());
        }
        for message in messages {
            self.effect()?;
            sent.messages.push(message);
        }
        for reply in replies {
            self.effect()?;
            sent.replies.push(reply);
        }
        Ok(())
    }

    /// Hands an effect to the snapshot store; tells whether the core was told that it cannot be carried out.
    fn store(
        &mut self,
        now: Time,
        effect: SnapshotEffect<P::Image>,
        sent: &mut Sent<P>,
    ) -> Result<bool, Halt> {
        if let SnapshotEffect::Discard { before, .. } = &effect {
            self.journal.discard(*before)?;
        }
        let refused = self.steps.submit(effect);
        self.begin_store(sent);
        let Some(event) = refused else { return Ok(false) };
        self.core.handle_snapshot(now, event, &mut self.effects);
        Ok(true)
    }

    fn begin_store(&mut self, sent: &mut Sent<P>) {
        if let Some(step) = self.steps.take() {
            self.storing = Some(step);
            sent.store_begun = true;
        }
    }

    /// The snapshot store does what it was asked first.
    pub(crate) fn stored(&mut self, disk: &SimDisk, sent: &mut Sent<P>) -> Result<(), Halt> {
        let answer = self.snapshots.carry_out(self.storing.take().expect("it is busy with something"));
        self.steps.done();
        if disk.has_lost_power() {
            return Err(Halt::PowerLost);
        }
        self.inbox.extend(answer.map(Input::Snapshot));
        self.begin_store(sent);
        Ok(())
    }
}

fn machine_nanos(origin: Time, rate: f64, at: Time) -> u64 {
    (at.since(origin).as_nanos() as f64 * rate) as u64
}

impl LiveJournal {
    fn append<P: Protocol>(&mut self, record: &P::Record) -> Result<(), Halt> {
        let appended = self.batches.append(self.batches.next(), record);
        appended.map_err(|error| Halt::Disk(error.to_string()))
    }

    /// Writes the next batch, unless one is under way; tells whether a sync has begun.
    fn begin_sync(&mut self) -> Result<bool, Halt> {
        let Some(batch) = self.batches.take() else { return Ok(false) };
        let written = self.writer.write(&batch).map_err(|error| self.halted(&error))?;
        self.batches.written(written.segment);
        self.syncing = Some(batch);
        Ok(true)
    }

    fn end_sync(&mut self) -> Result<(), Halt> {
        self.writer.sync().map_err(|error| self.halted(&error))?;
        self.batches.synced(self.syncing.take().expect("a sync has begun"));
        Ok(())
    }

    fn discard(&mut self, before: JournalPosition) -> Result<(), Halt> {
        match journal::remove(&self.disk, &self.batches.discard(before)) {
            Err(_) if self.disk.has_lost_power() => Err(Halt::PowerLost),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn halted(&self, error: &JournalError) -> Halt {
        if self.disk.has_lost_power() { Halt::PowerLost } else { Halt::Disk(error.to_string()) }
    }
}
