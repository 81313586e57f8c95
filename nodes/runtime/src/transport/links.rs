//! The links to all peers, as the core's task sees them.

use super::conditioner::{self, Conditioner};
use super::packet::PacketRef;
use crate::event::Event;
use crate::outbound::{Flushed, Outbound};
use kv::Serves;
use protocol::control::{KindCounters, LinkConditions, LinkCounters};
use protocol::{Describe, NodeId, codec, frame};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// What waits for one peer at most; later messages are lost until it reads again.
const BACKLOG_BYTES_MAX: usize = 16 << 20;
/// How often each link is pinged.
const PING_EVERY: Duration = Duration::from_millis(500);

/// The links to all peers.
#[derive(Debug)]
pub(crate) struct Links<P: Serves> {
    links: BTreeMap<NodeId, Link<P>>,
    chance: Xoshiro256PlusPlus,
    /// `None` before the first.
    next_ping: Option<Instant>,
    events: mpsc::Sender<Event<P>>,
}

#[derive(Debug)]
struct Link<P: Serves> {
    connection: Option<Outbound>,
    outbound: Conditioner<Vec<u8>>,
    inbound: Conditioner<P::Message>,
    losses: Losses,
}

/// Messages that were lost without any fault being set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Losses {
    /// There was no connection.
    pub(crate) unconnected: u64,
    /// Too much was waiting already.
    pub(crate) backlog: u64,
}

impl<P: Serves> Links<P> {
    /// To these peers, each with how much longer than it does what is sent there is to take.
    pub(crate) fn new(
        peers: impl Iterator<Item = (NodeId, Duration)>,
        seed: u64,
        events: mpsc::Sender<Event<P>>,
    ) -> Self {
        let link = |(peer, distance)| {
            let (outbound, inbound) = (Conditioner::new(distance), Conditioner::new(Duration::ZERO));
            (peer, Link { connection: None, outbound, inbound, losses: Losses::default() })
        };
        let chance = Xoshiro256PlusPlus::seed_from_u64(seed);
        Links { links: peers.map(link).collect(), chance, next_ping: None, events }
    }

    pub(crate) fn connected(&mut self, peer: NodeId, outbound: Outbound) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.connection = Some(outbound);
        }
    }

    pub(crate) fn gone(&mut self, peer: NodeId) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.connection = None;
        }
    }

    /// Queues a message, to leave with the next [`Links::flush`] or when its link's condition lets it.
    pub(crate) fn send(&mut self, now: Instant, to: NodeId, message: &P::Message) {
        let Some(link) = self.links.get_mut(&to) else { panic!("a message to {to}, which is no peer") };
        link.send(now, &PacketRef::Message(message), &mut self.chance);
    }

    /// Pings every link if it is time to.
    fn ping(&mut self, now: Instant) {
        if self.links.is_empty() || self.next_ping.is_some_and(|at| now < at) {
            return;
        }
        self.next_ping = Some(now + PING_EVERY);
        for link in self.links.values_mut().filter(|link| link.connection.is_some()) {
            link.send(now, &PacketRef::Ping, &mut self.chance);
        }
    }

    /// A ping has arrived. There is nothing to hold back: either it came through or it did not.
    pub(crate) fn receive_ping(&mut self, from: NodeId) {
        if let Some(link) = self.links.get_mut(&from) {
            link.inbound.see();
        }
    }

    /// A message has arrived: comes back if it passes at once.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        from: NodeId,
        message: P::Message,
        bytes: usize,
    ) -> Option<P::Message> {
        // Only peers get past the hello.
        let link = self.links.get_mut(&from)?;
        if link.inbound.is_transparent() {
            link.inbound.pass();
            return Some(message);
        }
        link.inbound.take(now, Some(message.kind()), (message, bytes), &mut self.chance, |message| {
            codec::decode(&codec::encode(message)).expect("what was decoded can be encoded and decoded again")
        });
        None
    }

    /// Pings, and lets go of what conditions held back: outbound into the next [`Links::flush`], inbound to the
    /// caller.
    pub(crate) fn release(&mut self, now: Instant, mut deliver: impl FnMut(NodeId, P::Message)) {
        self.ping(now);
        for (peer, link) in &mut self.links {
            while let Some((frame, _)) = link.outbound.release(now) {
                link.put(|out| out.extend_from_slice(&frame));
            }
            while let Some((message, _)) = link.inbound.release(now) {
                deliver(*peer, message);
            }
        }
    }

    /// When [`Links::release`] has something to do.
    pub(crate) fn next_release(&self) -> Option<Instant> {
        let next = |link: &Link<P>| link.outbound.next_leaves().into_iter().chain(link.inbound.next_leaves());
        self.links.values().flat_map(next).chain(self.next_ping).min()
    }

    /// Writes what is queued, a system call for each peer.
    pub(crate) fn flush(&mut self) {
        for (peer, link) in &mut self.links {
            if let Some(connection) = &mut link.connection {
                let flushed = connection.flush();
                settle(*peer, connection, flushed, &self.events);
            }
        }
    }

    /// A connection that was full takes more.
    pub(crate) fn writable(&mut self, peer: NodeId) {
        if let Some(connection) = self.links.get_mut(&peer).and_then(|link| link.connection.as_mut()) {
            let flushed = connection.writable();
            settle(peer, connection, flushed, &self.events);
        }
    }

    /// Replaces all conditions; peers not named are clear.
    ///
    /// # Errors
    /// If a condition is out of bounds or for somebody who is no peer: nothing is changed.
    pub(crate) fn set(
        &mut self,
        now: Instant,
        conditions: &BTreeMap<NodeId, LinkConditions>,
    ) -> Result<(), String> {
        for (peer, conditions) in conditions {
            if !self.links.contains_key(peer) {
                return Err(format!("{peer} is no peer"));
            }
            let ways = [("outbound", &conditions.outbound), ("inbound", &conditions.inbound)];
            for (direction, condition) in ways {
                conditioner::check(condition, P::Message::KINDS)
                    .map_err(|e| format!("{peer} {direction}: {e}"))?;
            }
        }
        for (peer, link) in &mut self.links {
            let wanted = conditions.get(peer).cloned().unwrap_or_default();
            link.outbound.set(now, wanted.outbound);
            link.inbound.set(now, wanted.inbound);
        }
        Ok(())
    }

    /// The conditions in force; clear links are left out.
    pub(crate) fn conditions(&self) -> BTreeMap<NodeId, LinkConditions> {
        let of = |(peer, link): (&NodeId, &Link<P>)| {
            let (outbound, inbound) = (link.outbound.condition().clone(), link.inbound.condition().clone());
            (*peer, LinkConditions { outbound, inbound })
        };
        self.links.iter().map(of).filter(|(_, conditions)| !conditions.is_clear()).collect()
    }

    /// What the conditioners did: outbound, inbound.
    pub(crate) fn counters(&self) -> (BTreeMap<NodeId, LinkCounters>, BTreeMap<NodeId, LinkCounters>) {
        let outbound = self.links.iter().map(|(peer, link)| (*peer, link.outbound.counters)).collect();
        let inbound = self.links.iter().map(|(peer, link)| (*peer, link.inbound.counters)).collect();
        (outbound, inbound)
    }

    /// What the conditions of kinds of messages did, where there ever were any: outbound, inbound.
    pub(crate) fn kind_counters(&self) -> (BTreeMap<NodeId, KindCounters>, BTreeMap<NodeId, KindCounters>) {
        let of = |counters: fn(&Link<P>) -> &KindCounters| {
            let all = self.links.iter().map(move |(peer, link)| (*peer, counters(link)));
            all.filter(|(_, kinds)| !kinds.is_empty()).map(|(peer, kinds)| (peer, kinds.clone())).collect()
        };
        (of(|link| &link.outbound.kind_counters), of(|link| &link.inbound.kind_counters))
    }

    /// What was lost without any fault being set.
    pub(crate) fn losses(&self) -> BTreeMap<NodeId, Losses> {
        self.links.iter().map(|(peer, link)| (*peer, link.losses)).collect()
    }

    /// How many peers are connected.
    pub(crate) fn connections(&self) -> usize {
        self.links.values().filter(|link| link.connection.is_some()).count()
    }
}

impl<P: Serves> Link<P> {
    fn send(&mut self, now: Instant, packet: &PacketRef<'_, P::Message>, chance: &mut Xoshiro256PlusPlus) {
        if self.outbound.is_transparent() {
            self.outbound.pass();
            self.put(|out| frame::frame_into(out, |out| codec::encode_into(packet, out)));
        } else {
            let mut bytes = Vec::new();
            frame::frame_into(&mut bytes, |out| codec::encode_into(packet, out));
            let (kind, size) = (packet.kind(), bytes.len());
            self.outbound.take(now, kind, (bytes, size), chance, Vec::clone);
        }
    }

    fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        match &mut self.connection {
            None => self.losses.unconnected += 1,
            Some(connection) if connection.backlog_bytes() > BACKLOG_BYTES_MAX => self.losses.backlog += 1,
            Some(connection) => write(connection.buffer()),
        }
    }
}

fn settle<P: Serves>(
    peer: NodeId,
    connection: &Outbound,
    flushed: io::Result<Flushed>,
    events: &mpsc::Sender<Event<P>>,
) {
    match flushed {
        Ok(Flushed::Settled) => {}
        Ok(Flushed::Full(half)) => {
            let events = events.clone();
            tokio::spawn(async move {
                if let Err(error) = half.writable().await {
                    tracing::debug!(%peer, %error, "waiting for a peer");
                }
                // Fails only when the node stops.
                events.send(Event::PeerWritable { peer }).await.ok();
            });
        }
        Err(error) => {
            // Whoever dialled reads the end of the connection and dials again.
            tracing::debug!(%peer, %error, "connection to a peer broke");
            connection.close();
        }
    }
}
