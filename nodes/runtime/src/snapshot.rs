//! The snapshot store's thread: it saves, reads and receives images beside the core's work.

use crate::config::{Durability, Keeping};
use crate::event::{Event, KvProtocol};
use protocol::{Bugs, SnapshotEffect, SnapshotEvent};
use std::path::Path;
use std::sync::mpsc as std_mpsc;
use storage::Folder;
use storage::snapshots::{Newest, SnapshotError, Snapshots};
use tokio::sync::mpsc;

/// Tasks that may wait. A core has one save under way, and a chunk or two for each peer.
const TASKS_WAITING_MAX: usize = 256;

/// Where a core's snapshot effects go.
#[derive(Debug)]
pub(crate) struct SnapshotStore<P: KvProtocol> {
    tasks: std_mpsc::SyncSender<SnapshotEffect<P::Image>>,
}

impl<P: KvProtocol> SnapshotStore<P> {
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
        let (tasks, queue) = std_mpsc::sync_channel(TASKS_WAITING_MAX);
        std::thread::Builder::new()
            .name("snapshots".to_owned())
            .spawn(move || work(snapshots, &queue, &events))?;
        Ok((SnapshotStore { tasks }, newest))
    }

    /// Hands on an effect; an answer comes back if it cannot be carried out.
    pub(crate) fn submit(&self, effect: SnapshotEffect<P::Image>) -> Option<SnapshotEvent<P::Image>> {
        let effect = match self.tasks.try_send(effect) {
            Ok(()) => return None,
            Err(std_mpsc::TrySendError::Full(effect) | std_mpsc::TrySendError::Disconnected(effect)) => {
                effect
            }
        };
        let id = match effect {
            SnapshotEffect::Save { id, .. }
            | SnapshotEffect::Read { id, .. }
            | SnapshotEffect::Write { id, .. } => id,
            // The next one covers it.
            SnapshotEffect::Discard { .. } => return None,
        };
        Some(SnapshotEvent::Failed { id, reason: "the snapshot store is busy".to_owned() })
    }
}

fn work<P: KvProtocol>(
    mut snapshots: Snapshots<Folder>,
    queue: &std_mpsc::Receiver<SnapshotEffect<P::Image>>,
    events: &mpsc::Sender<Event<P>>,
) {
    while let Ok(effect) = queue.recv() {
        if let Some(answer) = snapshots.carry_out(effect)
            && events.blocking_send(Event::Snapshot(answer)).is_err()
        {
            return;
        }
    }
}
