//! The one task that owns the core: events in, effects out, in turns.
//!
//! A turn takes what is at hand, hands it to the core, and carries out what the core asks for, in this order:
//! the early lane leaves; the records go to the journal; when they are durable, the durable lane leaves and the
//! core is told. A turn is never longer than what had queued, so batches grow with the load and there is no tick.

use crate::alarm::Alarm;
use crate::clients::Clients;
use crate::clock::NodeClock;
use crate::control::Leases;
use crate::event::{Event, KvProtocol, TURN_EVENTS_MAX};
use crate::journal::Journal;
use crate::metrics::Durations;
use crate::snapshot::SnapshotStore;
use crate::transport::Links;
use protocol::{Effects, JournalPosition, NodeId, Outbox, Placement, SnapshotEffect, Time, Timers};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::time::Instant;
use storage::Fullness;
use storage::journal::JournalError;
use tokio::sync::mpsc;

/// Why a node stops without being told to.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// Nothing can be made durable any more, so nothing can be acknowledged.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The system's timer does not work.
    #[error("timer: {0}")]
    Alarm(#[source] io::Error),
}

/// Everything that the core's task owns.
#[derive(Debug)]
pub(crate) struct Driver<P: KvProtocol> {
    pub(crate) node: NodeId,
    /// Which node stands for which replica.
    pub(crate) placement: Placement,
    pub(crate) protocol: &'static str,
    pub(crate) core: P,
    pub(crate) effects: Effects<P>,
    pub(crate) inbox: mpsc::Receiver<Event<P>>,
    pub(crate) clock: NodeClock,
    pub(crate) timers: Timers<P::Timer>,
    pub(crate) alarm: Alarm,
    pub(crate) journal: Journal,
    /// What the core was told of the journal's durability.
    pub(crate) told: JournalPosition,
    /// Durable lanes of earlier turns, oldest first.
    pub(crate) held: VecDeque<Held<P>>,
    pub(crate) clients: Clients<P>,
    pub(crate) links: Links<P>,
    pub(crate) snapshots: SnapshotStore<P>,
    /// Of the disk that journal and snapshots are on.
    pub(crate) fullness: Fullness,
    pub(crate) leases: Leases,
    pub(crate) counters: TurnCounters,
}

/// A turn's durable lane, until every record before `before` is durable.
#[derive(Debug)]
pub(crate) struct Held<P: KvProtocol> {
    before: JournalPosition,
    outbox: Outbox<P>,
    snapshots: Vec<SnapshotEffect<P::Image>>,
}

/// What the turns did since the node started.
#[derive(Debug, Default)]
pub(crate) struct TurnCounters {
    /// How long turns took, syncs on the core's thread included.
    pub(crate) turns: Durations,
    pub(crate) events: u64,
    pub(crate) events_in_turn_max: u64,
    pub(crate) requests: u64,
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) timers_fired: u64,
}

impl<P: KvProtocol> Driver<P> {
    /// Drives the core until `stop` is ready, then makes what it has asked for durable and returns.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), DriverError> {
        let mut stop = std::pin::pin!(stop);
        let mut events = Vec::with_capacity(TURN_EVENTS_MAX);
        // What recovery asked for.
        self.turn(&mut events)?;
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                committed = self.journal.committed() => committed?,
                gone_off = self.alarm.gone_off() => gone_off.map_err(DriverError::Alarm)?,
                _received = self.inbox.recv_many(&mut events, TURN_EVENTS_MAX) => {}
            }
            self.turn(&mut events)?;
        }
        while self.journal.durable() < self.journal.next() {
            if self.journal.commit()? {
                self.journal.committed().await?;
            }
        }
        let machine = Instant::now();
        let now = self.clock.now(machine);
        self.settle(machine, now);
        self.clients.flush();
        self.links.flush();
        Ok(())
    }

    fn turn(&mut self, events: &mut Vec<Event<P>>) -> Result<(), DriverError> {
        let machine = Instant::now();
        let now = self.clock.now(machine);
        self.counters.events += events.len() as u64;
        self.counters.events_in_turn_max = self.counters.events_in_turn_max.max(events.len() as u64);
        // What another thread's sync has made durable.
        self.settle(machine, now);
        for event in events.drain(..) {
            self.handle(machine, now, event);
        }
        self.let_time_pass(machine, now);
        loop {
            self.core.end_turn(now, &mut self.effects);
            if !self.carry_out(machine, now)? {
                break;
            }
        }
        self.clients.flush();
        self.links.flush();
        self.counters.turns.add(machine.elapsed());
        let deadline = self.timers.next().and_then(|time| self.clock.machine_time_of(time));
        let next = deadline.into_iter().chain(self.links.next_release()).chain(self.leases.next()).min();
        match next {
            Some(at) => self.alarm.set(at).map_err(DriverError::Alarm),
            None => Ok(()),
        }
    }

    fn handle(&mut self, machine: Instant, now: Time, event: Event<P>) {
        let (core, out) = (&mut self.core, &mut self.effects);
        match event {
            Event::Request { client, request } => {
                self.counters.requests += 1;
                core.handle_request(now, client, request, out);
            }
            Event::Message { from, message, bytes } => {
                self.counters.messages_in += 1;
                let passed = self.links.receive(machine, from, message, bytes);
                if let (Some(message), Some(from)) = (passed, self.placement.replica_of(from)) {
                    core.handle_message(now, from, message, out);
                }
            }
            Event::Ping { from } => self.links.receive_ping(from),
            Event::ClientConnected { client, outbound } => self.clients.connected(client, outbound),
            Event::ClientWritable { client } => self.clients.writable(client),
            Event::ClientGone { client } => {
                self.clients.gone(client);
                core.handle_client_gone(now, client);
            }
            Event::Http(request) => {
                self.counters.requests += 1;
                let (client, request) = self.clients.expect(request);
                core.handle_request(now, client, request, out);
            }
            Event::PeerConnected { peer, outbound } => self.links.connected(peer, outbound),
            Event::PeerWritable { peer } => self.links.writable(peer),
            Event::PeerGone { peer } => self.links.gone(peer),
            Event::Snapshot(answer) => {
                self.snapshots.done();
                if let Some(event) = answer {
                    core.handle_snapshot(now, event, out);
                }
            }
            Event::Control { request, reply } => {
                let answer = self.control(machine, now, request);
                if reply.send(answer).is_err() {
                    tracing::debug!("whoever asked for control has gone");
                }
            }
            Event::Metrics { reply } => {
                if reply.send(self.metrics()).is_err() {
                    tracing::debug!("whoever asked for metrics has gone");
                }
            }
        }
    }

    /// Timers, messages that conditions held back, leases.
    fn let_time_pass(&mut self, machine: Instant, now: Time) {
        let expired = self.leases.expire(machine);
        if expired.links {
            tracing::info!("the lease of the link conditions has run out: healed");
            self.heal_links(machine);
        }
        if expired.clock {
            tracing::info!("the lease of the clock setting has run out: healed");
            self.heal_clock(machine);
        }
        if expired.disk {
            tracing::info!("the lease of the full disk has run out: it has room");
            self.free_disk();
        }
        let (core, out) = (&mut self.core, &mut self.effects);
        let placement = &self.placement;
        self.links.release(machine, |from, message| {
            let from = placement.replica_of(from).expect("every peer stands for a replica");
            core.handle_message(now, from, message, out);
        });
        while let Some(timer) = self.timers.pop_due(now) {
            self.counters.timers_fired += 1;
            core.handle_timer(now, timer, out);
        }
    }

    /// Carries out what the core asks for; tells whether the core was told something and may ask for more.
    fn carry_out(&mut self, machine: Instant, now: Time) -> Result<bool, DriverError> {
        for change in self.effects.timers.drain(..) {
            self.timers.apply(change);
        }
        let mut early = std::mem::take(&mut self.effects.early);
        self.release(machine, &mut early);
        // Back for its memory.
        self.effects.early = early;
        for record in self.effects.records.drain(..) {
            self.journal.append(self.journal.next(), &record)?;
        }
        let before = self.journal.next();
        if !self.effects.durable.is_empty() || !self.effects.snapshots.is_empty() {
            let outbox = std::mem::take(&mut self.effects.durable);
            let snapshots = std::mem::take(&mut self.effects.snapshots);
            self.held.push_back(Held { before, outbox, snapshots });
        }
        if self.journal.durable() < before {
            // The others work while this disk does.
            self.links.flush();
            self.clients.flush();
            self.journal.commit()?;
        }
        Ok(self.settle(machine, now))
    }

    /// Releases the durable lanes that need not wait any longer, and tells the core how far its records are
    /// durable; tells whether the core was told anything.
    fn settle(&mut self, machine: Instant, now: Time) -> bool {
        let mut told = false;
        let durable = self.journal.durable();
        while self.held.front().is_some_and(|held| held.before <= durable) {
            let mut held = self.held.pop_front().expect("looked at above");
            self.release(machine, &mut held.outbox);
            for effect in held.snapshots {
                told |= self.snapshot(now, effect);
            }
        }
        if self.told < durable {
            self.told = durable;
            self.core.handle_durable(now, durable, &mut self.effects);
            told = true;
        }
        told
    }

    fn release(&mut self, machine: Instant, outbox: &mut Outbox<P>) {
        self.counters.messages_out += outbox.messages.len() as u64;
        for (to, message) in outbox.messages.drain(..) {
            for node in self.placement.nodes_of(to).filter(|node| *node != self.node) {
                self.links.send(machine, node, &message);
            }
        }
        for (client, reply) in outbox.replies.drain(..) {
            self.clients.send(client, reply);
        }
    }

    /// Hands an effect to the snapshot store; tells whether the core was told that it cannot be carried out.
    fn snapshot(&mut self, now: Time, effect: SnapshotEffect<P::Image>) -> bool {
        if let SnapshotEffect::Discard { before, .. } = &effect {
            self.journal.discard(*before);
        }
        let Some(answer) = self.snapshots.submit(effect) else { return false };
        self.core.handle_snapshot(now, answer, &mut self.effects);
        true
    }
}
