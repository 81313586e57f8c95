//! The clients that replies go to, as the core's task sees them.

use crate::event::Event;
use crate::outbound::{Flushed, Outbound};
use kv::Serves;
use protocol::{ClientId, codec, frame};
use std::collections::HashMap;
use std::io;
use tokio::sync::mpsc;

/// A client that lets more than this pile up is dropped.
const BACKLOG_BYTES_MAX: usize = 16 << 20;

/// All clients.
#[derive(Debug)]
pub(crate) struct Clients<P: Serves> {
    sockets: HashMap<ClientId, Socket>,
    /// Those within this node, which need no socket.
    within: HashMap<ClientId, mpsc::Sender<P::Reply>>,
    /// Sockets with something to send.
    dirty: Vec<ClientId>,
    events: mpsc::Sender<Event<P>>,
    /// Dropped because they did not read what they had asked for.
    pub(crate) dropped_slow: u64,
    pub(crate) replies: u64,
}

#[derive(Debug)]
struct Socket {
    outbound: Outbound,
    dirty: bool,
}

impl<P: Serves> Clients<P> {
    pub(crate) fn new(events: mpsc::Sender<Event<P>>) -> Self {
        let (sockets, within, dirty) = (HashMap::new(), HashMap::new(), Vec::new());
        Clients { sockets, within, dirty, events, dropped_slow: 0, replies: 0 }
    }

    pub(crate) fn connected(&mut self, client: ClientId, outbound: Outbound) {
        self.sockets.insert(client, Socket { outbound, dirty: false });
    }

    pub(crate) fn connected_within(&mut self, client: ClientId, replies: mpsc::Sender<P::Reply>) {
        self.within.insert(client, replies);
    }

    pub(crate) fn gone(&mut self, client: ClientId) {
        self.sockets.remove(&client);
        self.within.remove(&client);
    }

    pub(crate) fn connections(&self) -> usize {
        self.sockets.len()
    }

    /// Queues a reply, to leave with the next [`Clients::flush`].
    pub(crate) fn send(&mut self, client: ClientId, reply: P::Reply) {
        self.replies += 1;
        let Some(socket) = self.sockets.get_mut(&client) else { return self.send_within(client, reply) };
        // The state machine bounds its answers to what a frame holds.
        frame::frame_into(socket.outbound.buffer(), |out| codec::encode_into(&reply, out));
        if !socket.dirty {
            socket.dirty = true;
            self.dirty.push(client);
        }
    }

    fn send_within(&mut self, client: ClientId, reply: P::Reply) {
        // Neither: the client has gone meanwhile, which is its right.
        let Some(replies) = self.within.get(&client) else { return };
        if let Err(error) = replies.try_send(reply) {
            tracing::debug!(%client, %error, "a client within this node does not take its reply");
        }
    }

    /// Writes what is queued, a system call for each client.
    pub(crate) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for client in dirty.drain(..) {
            let Some(socket) = self.sockets.get_mut(&client) else { continue };
            socket.dirty = false;
            let flushed = socket.outbound.flush();
            self.settle(client, flushed);
        }
        // Back for its memory.
        self.dirty = dirty;
    }

    /// A socket that was full takes more.
    pub(crate) fn writable(&mut self, client: ClientId) {
        let Some(socket) = self.sockets.get_mut(&client) else { return };
        let flushed = socket.outbound.writable();
        self.settle(client, flushed);
    }

    fn settle(&mut self, client: ClientId, flushed: io::Result<Flushed>) {
        let Some(socket) = self.sockets.get_mut(&client) else { return };
        match flushed {
            Ok(Flushed::Settled) => {}
            Ok(Flushed::Full(half)) => {
                let events = self.events.clone();
                tokio::spawn(async move {
                    if let Err(error) = half.writable().await {
                        tracing::debug!(%client, %error, "waiting for a client");
                    }
                    // Fails only when the node stops.
                    events.send(Event::ClientWritable { client }).await.ok();
                });
            }
            Err(error) => {
                tracing::debug!(%client, %error, "client dropped: writing to it failed");
                socket.outbound.close();
                return;
            }
        }
        if socket.outbound.backlog_bytes() > BACKLOG_BYTES_MAX {
            tracing::warn!(%client, bytes = socket.outbound.backlog_bytes(),
                "client dropped: it does not read its replies");
            self.dropped_slow += 1;
            socket.outbound.close();
            self.sockets.remove(&client);
        }
    }
}
