//! The one task that owns the core: events in, effects out, in turns.
//!
//! A turn ([`protocol::turn`]) takes what is at hand. It is never longer than what had queued, so batches grow with the load and
//! there is no tick.

use crate::alarm::Alarm;
use crate::clock::NodeClock;
use crate::control::Leases;
use crate::event::{Event, TURN_EVENTS_MAX};
use crate::metrics::Durations;
use crate::outlets::Outlets;
use kv::Serves;
use protocol::{Time, Turns};
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
pub(crate) struct Driver<P: Serves> {
    pub(crate) protocol: &'static str,
    pub(crate) turns: Turns<P>,
    pub(crate) outlets: Outlets<P>,
    pub(crate) inbox: mpsc::Receiver<Event<P>>,
    pub(crate) clock: NodeClock,
    pub(crate) alarm: Alarm,
    /// Of the disk that journal and snapshots are on.
    pub(crate) fullness: Fullness,
    pub(crate) leases: Leases,
    /// What was asked for, while it is in force.
    pub(crate) adversary: Option<serde_json::Value>,
    pub(crate) counters: TurnCounters,
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
    pub(crate) timers_fired: u64,
}

impl<P: Serves> Driver<P> {
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
                committed = self.outlets.journal.committed() => committed?,
                gone_off = self.alarm.gone_off() => gone_off.map_err(DriverError::Alarm)?,
                _received = self.inbox.recv_many(&mut events, TURN_EVENTS_MAX) => {}
            }
            self.turn(&mut events)?;
        }
        let journal = &mut self.outlets.journal;
        while journal.durable() < journal.next() {
            if journal.commit()? {
                journal.committed().await?;
            }
        }
        let now = self.begin();
        self.turns.settle(now, &mut self.outlets)?;
        self.outlets.flush();
        Ok(())
    }

    /// A turn begins: what time is it?
    fn begin(&mut self) -> Time {
        self.outlets.machine = Instant::now();
        self.clock.now(self.outlets.machine)
    }

    fn turn(&mut self, events: &mut Vec<Event<P>>) -> Result<(), DriverError> {
        let now = self.begin();
        self.counters.events += events.len() as u64;
        self.counters.events_in_turn_max = self.counters.events_in_turn_max.max(events.len() as u64);
        // What another thread's sync has made durable.
        self.turns.settle(now, &mut self.outlets)?;
        for event in events.drain(..) {
            self.handle(now, event);
        }
        self.let_time_pass(now)?;
        self.turns.end(now, &mut self.outlets)?;
        self.outlets.flush();
        self.counters.turns.add(self.outlets.machine.elapsed());
        let deadline = self.turns.next_due().and_then(|time| self.clock.machine_time_of(time));
        let released = self.outlets.links.next_release();
        match deadline.into_iter().chain(released).chain(self.leases.next()).min() {
            Some(at) => self.alarm.set(at).map_err(DriverError::Alarm),
            None => Ok(()),
        }
    }

    fn handle(&mut self, now: Time, event: Event<P>) {
        let Self { turns, outlets, .. } = self;
        match event {
            Event::Request { client, request } => {
                self.counters.requests += 1;
                turns.input(|core, out| core.handle_request(now, client, request, out));
            }
            Event::Message { from, message, bytes } => {
                self.counters.messages_in += 1;
                let passed = outlets.links.receive(outlets.machine, from, message, bytes);
                if let (Some(message), Some(from)) = (passed, outlets.routes.replica_of(from)) {
                    turns.input(|core, out| core.handle_message(now, from, message, out));
                }
            }
            Event::Ping { from } => outlets.links.receive_ping(from),
            Event::ClientConnected { client, outbound } => outlets.clients.connected(client, outbound),
            Event::ClientWithin { client, replies } => outlets.clients.connected_within(client, replies),
            Event::ClientWritable { client } => outlets.clients.writable(client),
            Event::ClientGone { client } => {
                outlets.clients.gone(client);
                turns.input(|core, _| core.handle_client_gone(now, client));
            }
            Event::PeerConnected { peer, outbound } => outlets.links.connected(peer, outbound),
            Event::PeerWritable { peer } => outlets.links.writable(peer),
            Event::PeerGone { peer } => outlets.links.gone(peer),
            Event::Snapshot(answer) => {
                outlets.snapshots.done();
                if let Some(event) = answer {
                    turns.input(|core, out| core.handle_snapshot(now, event, out));
                }
            }
            Event::Control { request, reply } => {
                let answer = self.control(now, request);
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
    fn let_time_pass(&mut self, now: Time) -> Result<(), DriverError> {
        while let Some(fault) = self.leases.expire(self.outlets.machine) {
            tracing::info!(?fault, "its lease has run out: healed");
            self.heal(fault);
        }
        let Outlets { links, routes, machine, .. } = &mut self.outlets;
        links.release(*machine, |from, message| {
            let from = routes.replica_of(from).expect("every peer stands for a replica");
            self.turns.input(|core, out| core.handle_message(now, from, message, out));
        });
        self.counters.timers_fired += self.turns.fire_timers(now, &mut self.outlets)? as u64;
        Ok(())
    }
}
