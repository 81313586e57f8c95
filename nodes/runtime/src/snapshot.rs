//! The snapshot store's thread: it saves, reads and receives images beside the core's work.

use crate::config::{Durability, Keeping};
use crate::event::Event;
use kv::Serves;
use protocol::{Bugs, SnapshotEffect, SnapshotEvent};
use std::path::Path;
use std::sync::mpsc as std_mpsc;
use storage::Folder;
use storage::snapshots::{Newest, SnapshotError, Snapshots, Steps};
use tokio::sync::mpsc;

/// Where a core's snapshot effects go.
#[derive(Debug)]
pub(crate) struct SnapshotStore<P: Serves> {
    steps: Steps<P::Image>,
    thread: std_mpsc::Sender<SnapshotEffect<P::Image>>,
}

impl<P: Serves> SnapshotStore<P> {
    /// Opens the store in a folder; answers go to `events`.
    ///
    /// # Errors
    /// If the disk refuses, or there are snapshots and none is whole.
    pub(crate) fn open(
        folder: &Path,
        keeping: &Keeping,
        bugs: Bugs<storage::Bug>,
        events: mpsc::Sender<Event<P>>,
    ) -> Result<(SnapshotStore<P>, Newest<P::Image>), SnapshotError> {
        let (snapshots, newest) = match keeping.durability {
            Durability::Memory => (Snapshots::in_memory(), None),
            Durability::Fsync => Snapshots::open(keeping.open(folder)?, bugs)?,
        };
        let (thread, queue) = std_mpsc::channel();
        std::thread::Builder::new()
            .name("snapshots".to_owned())
            .spawn(move || work(snapshots, &queue, &events))?;
        Ok((SnapshotStore { steps: Steps::default(), thread }, newest))
    }

    /// Hands on an effect; an answer comes back if it cannot be carried out.
    pub(crate) fn submit(&mut self, effect: SnapshotEffect<P::Image>) -> Option<SnapshotEvent<P::Image>> {
        let refused = self.steps.submit(effect);
        self.go_on();
        refused
    }

    /// The thread has done what it was given.
    pub(crate) fn done(&mut self) {
        self.steps.done();
        self.go_on();
    }

    fn go_on(&mut self) {
        if let Some(step) = self.steps.take()
            && self.thread.send(step).is_err()
        {
            tracing::error!("the snapshot store's thread is gone");
        }
    }
}

fn work<P: Serves>(
    mut snapshots: Snapshots<Folder>,
    queue: &std_mpsc::Receiver<SnapshotEffect<P::Image>>,
    events: &mpsc::Sender<Event<P>>,
) {
    while let Ok(effect) = queue.recv() {
        let answer = snapshots.carry_out(effect);
        if events.blocking_send(Event::Snapshot(answer)).is_err() {
            return;
        }
    }
}
