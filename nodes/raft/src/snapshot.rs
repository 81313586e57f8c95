//! Saving snapshots and discarding what they make superfluous (§7).

use crate::bugs::Bug;
use crate::ids::{LogId, LogIndex};
use crate::install::Receiving;
use crate::members::Configuration;
use crate::progress::Flow;
use crate::record::Record;
use crate::replica::{Raft, Role};
use protocol::{Effects, SnapshotEffect, SnapshotEvent, SnapshotId, Time, reached};
use serde::{Deserialize, Serialize};

/// What a snapshot holds besides its last entry's index and term, which are its [`SnapshotId`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Who decides, as of the last entry.
    pub configuration: Configuration,
    /// The state machine, client sessions included.
    pub kv: kv::Image,
}

/// A transfer to a follower holds back discarding until this many more snapshots are due: then a follower so
/// slow begins anew, lest the leader's memory fill up.
const SNAPSHOTS_HELD_BACK_MAX: u64 = 4;

/// What a replica knows of snapshots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshots {
    /// The newest durable one. Entries are discarded only if they are in it.
    pub(crate) saved: Option<SnapshotId>,
    saving: Option<SnapshotId>,
    pub(crate) receiving: Option<Receiving>,
    /// The last entry of the newest one that was begun, saved or not, …
    begun: LogIndex,
    /// … and the log's bytes up to there.
    begun_bytes_end: u64,
}

impl Snapshots {
    /// After a start from `saved`.
    pub(crate) fn recovered(saved: Option<SnapshotId>) -> Self {
        let begun = saved.map_or(LogIndex::ZERO, |id| LogIndex(id.number));
        Self { saved, begun, ..Self::default() }
    }
}

impl Raft {
    /// Saves a snapshot if enough was applied since the last.
    pub(crate) fn save_snapshot_if_due(&mut self, out: &mut Effects<Self>) {
        let snapshots = &mut self.snapshots;
        let entries = self.applied.0 - snapshots.begun.0;
        let bytes_end = self.log.bytes_end(self.applied);
        let due = entries >= self.options.snapshot_every_entries
            || bytes_end - snapshots.begun_bytes_end >= self.options.snapshot_every_bytes;
        if !due || snapshots.saving.is_some() {
            return;
        }
        let term =
            self.log.term_at(self.applied).expect("what is applied is discarded up to a snapshot only");
        let id = SnapshotId::from(LogId { index: self.applied, term });
        snapshots.saving = Some(id);
        snapshots.begun = self.applied;
        snapshots.begun_bytes_end = bytes_end;
        let mut kv = self.store.image();
        if self.options.bugs.has(Bug::SnapshotNoSessions) {
            kv = kv.without_sessions();
        }
        let image = Image { configuration: self.configurations.as_of(self.applied).clone(), kv };
        out.snapshots.push(SnapshotEffect::Save { id, image });
        if self.options.bugs.has(Bug::CompactEarly) {
            self.compact(id, None, out);
        }
    }

    pub(crate) fn handle_snapshot_event(
        &mut self,
        now: Time,
        event: SnapshotEvent<Image>,
        out: &mut Effects<Self>,
    ) {
        match event {
            SnapshotEvent::Saved { id, .. } => self.snapshot_saved(now, id, out),
            SnapshotEvent::Chunk { to, id, offset, bytes, last } => {
                self.send_chunk(to, id, offset, bytes, last, out);
            }
            SnapshotEvent::Received { id, image } => self.install(id, &image, out),
            SnapshotEvent::Failed { id, .. } => {
                reached!("a snapshot cannot be read or saved");
                self.metrics.snapshots_failed += 1;
                // Tried again when as much has been applied once more.
                self.snapshots.saving.take_if(|saving| *saving == id);
                self.fail_transfers(id, out);
            }
        }
    }

    fn snapshot_saved(&mut self, now: Time, id: SnapshotId, out: &mut Effects<Self>) {
        self.snapshots.saving.take_if(|saving| *saving == id);
        if self.snapshots.saved.is_some_and(|saved| saved >= id) {
            return;
        }
        self.metrics.snapshots_saved += 1;
        let in_transfer = self.snapshot_in_transfer(now);
        if in_transfer.is_some() {
            reached!("a log is compacted while a follower receives a snapshot");
        }
        self.compact(id, in_transfer, out);
        self.save_snapshot_if_due(out);
    }

    /// A snapshot stands for what is in it from now on. Of the log, as much is kept as slow followers may need.
    fn compact(&mut self, id: SnapshotId, in_transfer: Option<SnapshotId>, out: &mut Effects<Self>) {
        self.snapshots.saved = Some(id);
        let mut upto = id.number.saturating_sub(self.options.log_keep_entries);
        let kept_bytes = self.log.bytes_end(LogIndex(id.number)) - self.log.bytes_end(LogIndex(upto));
        if kept_bytes > self.options.snapshot_every_bytes {
            upto = id.number;
        }
        if let Some(in_transfer) = in_transfer {
            upto = upto.min(in_transfer.number);
        }
        self.log.compact(LogIndex(upto));
        self.configurations.compact(LogIndex(upto));
        self.discard(in_transfer.unwrap_or(id), out);
    }

    /// The oldest snapshot that a live follower is receiving from this leader: it must be able to finish, and to
    /// go on from the log then.
    fn snapshot_in_transfer(&self, now: Time) -> Option<SnapshotId> {
        let Role::Leader(leader) = &self.role else { return None };
        let held_back_max = SNAPSHOTS_HELD_BACK_MAX.saturating_mul(self.options.snapshot_every_entries);
        let transfers = leader.followers.iter().filter_map(|progress| match &progress.flow {
            Flow::Snapshot(transfer) if now < progress.heard_at + self.timing.election_max => {
                Some(transfer.id)
            }
            Flow::Snapshot(_) | Flow::Probe { .. } | Flow::Pipeline => None,
        });
        transfers.filter(|id| self.applied.0 - id.number <= held_back_max).min()
    }

    /// A snapshot that was received is the newest.
    pub(crate) fn adopt_snapshot(&mut self, id: SnapshotId, out: &mut Effects<Self>) {
        self.snapshots.saved = Some(id);
        self.snapshots.begun = self.applied;
        self.snapshots.begun_bytes_end = self.log.bytes_end(self.applied);
        self.discard(id, out);
    }

    /// Lets go of what is on disk and superfluous. Term and vote are stated again first, so that they
    /// lie behind what is discarded.
    fn discard(&mut self, keep: SnapshotId, out: &mut Effects<Self>) {
        let restated = out.record(Record::HardState { term: self.term, vote: self.vote });
        let before = self.log.first_position().unwrap_or(restated);
        out.snapshots.push(SnapshotEffect::Discard { keep, before });
    }
}
