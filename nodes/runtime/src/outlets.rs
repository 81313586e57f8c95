//! What is around a core that runs on a node: links, clients, journal, snapshot store.

use crate::clients::Clients;
use crate::driver::DriverError;
use crate::journal::Journal;
use crate::snapshot::SnapshotStore;
use crate::transport::Links;
use kv::Serves;
use protocol::{JournalPosition, Lane, Outbox, Outside, Routes, SnapshotEffect, SnapshotEvent};
use std::time::Instant;

/// Where a core's effects go.
#[derive(Debug)]
pub(crate) struct Outlets<P: Serves> {
    pub(crate) routes: Routes,
    /// When the turn began.
    pub(crate) machine: Instant,
    pub(crate) links: Links<P>,
    pub(crate) clients: Clients<P>,
    pub(crate) journal: Journal,
    pub(crate) snapshots: SnapshotStore<P>,
    pub(crate) messages_out: u64,
}

impl<P: Serves> Outlets<P> {
    /// Writes to the sockets.
    pub(crate) fn flush(&mut self) {
        self.links.flush();
        self.clients.flush();
    }
}

impl<P: Serves> Outside<P> for Outlets<P> {
    type Stop = DriverError;

    fn release(&mut self, _lane: Lane, outbox: &mut Outbox<P>) -> Result<(), DriverError> {
        self.messages_out += outbox.messages.len() as u64;
        for (to, message) in outbox.messages.drain(..) {
            for node in self.routes.to(to) {
                self.links.send(self.machine, *node, &message);
            }
        }
        for (client, reply) in outbox.replies.drain(..) {
            self.clients.send(client, reply);
        }
        Ok(())
    }

    fn append(&mut self, position: JournalPosition, record: P::Record) -> Result<(), DriverError> {
        Ok(self.journal.append(position, &record)?)
    }

    fn commit(&mut self) -> Result<(), DriverError> {
        if self.journal.durable() < self.journal.next() {
            // The others work while this disk does.
            self.flush();
            self.journal.commit()?;
        }
        Ok(())
    }

    fn durable(&self) -> JournalPosition {
        self.journal.durable()
    }

    fn snapshot(
        &mut self,
        step: SnapshotEffect<P::Image>,
    ) -> Result<Option<SnapshotEvent<P::Image>>, DriverError> {
        if let SnapshotEffect::Discard { before, .. } = &step {
            self.journal.discard(*before);
        }
        Ok(self.snapshots.submit(step))
    }
}
