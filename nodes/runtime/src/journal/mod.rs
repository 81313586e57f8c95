//! The journal as the core's task drives it: what goes to disk when, and on which thread.
//!
//! Records are gathered while the disk is busy and written together: one `fdatasync` for all that queued.
//! [`storage::journal`] has the bytes.
//!
//! A sync is done on the core's own thread while the disk is quick, and on another one when it was slow. On its
//! own thread it costs no wake-up, and the core has little else to do: it has sent its early lane, and what
//! arrives meanwhile makes the next, larger turn. But a disk that stalls must not silence the replica.

use crate::config::{Durability, Keeping};
use protocol::codec::{self, Wire};
use protocol::{Bugs, JournalPosition};
use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};
use storage::journal::{Gathering, JournalError, Opened, Settings, Writer, Written, segment_name};
use storage::{Disk, Folder};
use tokio::task::JoinHandle;

/// After a sync that took longer than this the next ones are done on another thread … It is less than a leader may be
/// silent for, and more than a busy machine's scheduler makes a thread wait.
const SLOW_SYNC: Duration = Duration::from_millis(20);
/// … until so many in a row were quicker.
const QUICK_SYNCS_AFTER_SLOW: u32 = 64;

/// What the journal did since the node started.
#[derive(Debug, Default, Clone)]
pub(crate) struct JournalCounters {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// How long syncs took, done inline or on another thread.
    pub(crate) syncs_inline: crate::metrics::Durations,
    pub(crate) syncs_on_thread: crate::metrics::Durations,
}

/// The journal of one replica.
#[derive(Debug)]
pub(crate) struct Journal {
    /// `None`: durability is memory.
    disk: Option<OnDisk>,
    /// The position of the next record.
    next: JournalPosition,
    /// Every record before this is durable.
    durable: JournalPosition,
    pub(crate) counters: JournalCounters,
}

#[derive(Debug)]
struct OnDisk {
    disk: Folder,
    writer: Place,
    /// Not yet given to the writer; only the last may grow.
    gathering: VecDeque<Gathering>,
    /// Kept for their memory.
    spare: Vec<Vec<u8>>,
    /// First positions, oldest first.
    segments: VecDeque<JournalPosition>,
    /// How many quick syncs on the other thread it takes until they are done inline again.
    wary: u32,
    /// A commit takes at least so long.
    slow: Duration,
}

/// Where the writer is.
#[derive(Debug)]
enum Place {
    Here(Box<Writer<Folder>>),
    OnThread(JoinHandle<Commit>),
    /// Only while it changes places, and after an error.
    Nowhere,
}

/// A commit that is over.
#[derive(Debug)]
struct Commit {
    writer: Box<Writer<Folder>>,
    batch: Gathering,
    took: Duration,
    result: Result<Written, JournalError>,
}

impl Journal {
    /// Opens the journal in a folder and hands each record to `take`.
    ///
    /// # Errors
    /// If the disk refuses or what it holds is damaged.
    pub(crate) fn open<R: Wire>(
        folder: &Path,
        keeping: &Keeping,
        bugs: Bugs<storage::Bug>,
        take: impl FnMut(JournalPosition, R),
    ) -> Result<Journal, JournalError> {
        match keeping.durability {
            Durability::Fsync => {
                let disk = keeping
                    .open(folder)
                    .map_err(|source| JournalError::Io { what: "making the journal's folder", source })?;
                Journal::open_disk(disk, Settings { bugs, ..Settings::default() }, take)
            }
            Durability::Memory => Journal::open_memory(folder),
        }
    }

    fn open_memory(folder: &Path) -> Result<Journal, JournalError> {
        if folder.exists() {
            return Err(JournalError::LeftOver { folder: folder.to_owned() });
        }
        let start = JournalPosition(0);
        Ok(Journal { disk: None, next: start, durable: start, counters: JournalCounters::default() })
    }

    fn open_disk<R: Wire>(
        disk: Folder,
        settings: Settings,
        take: impl FnMut(JournalPosition, R),
    ) -> Result<Journal, JournalError> {
        let Opened { writer, segments, next } = storage::journal::open(&disk, settings, take)?;
        let on_disk = OnDisk {
            disk,
            writer: Place::Here(Box::new(writer)),
            gathering: VecDeque::new(),
            spare: Vec::new(),
            segments: segments.into(),
            wary: 0,
            slow: Duration::ZERO,
        };
        let counters = JournalCounters::default();
        Ok(Journal { disk: Some(on_disk), next, durable: next, counters })
    }

    /// From now on a commit takes at least so long: a slow disk, simulated.
    pub(crate) fn slow_down(&mut self, least: Duration) {
        if let Some(disk) = &mut self.disk {
            disk.slow = least;
        }
    }

    /// The position that the next record gets.
    pub(crate) fn next(&self) -> JournalPosition {
        self.next
    }

    /// Every record before this one is durable.
    pub(crate) fn durable(&self) -> JournalPosition {
        self.durable
    }

    /// Adds a record to what the next commit writes.
    pub(crate) fn append<R: Wire>(&mut self, record: &R) -> Result<(), JournalError> {
        self.counters.records += 1;
        if let Some(disk) = &mut self.disk {
            disk.gather(self.next, |out| codec::encode_into(record, out))?;
        }
        self.next = self.next.next();
        if self.disk.is_none() {
            self.durable = self.next;
        }
        Ok(())
    }

    /// Writes what was appended, unless an earlier commit is under way. Tells whether a commit is under way on
    /// another thread now, for [`Journal::committed`] to wait for.
    pub(crate) fn commit(&mut self) -> Result<bool, JournalError> {
        loop {
            let Some(disk) = &mut self.disk else { return Ok(false) };
            if matches!(disk.writer, Place::OnThread(_)) {
                return Ok(true);
            }
            let Some(batch) = disk.gathering.pop_front() else { return Ok(false) };
            let place = std::mem::replace(&mut disk.writer, Place::Nowhere);
            let Place::Here(writer) = place else { panic!("the journal is used after an error") };
            let slow = disk.slow;
            if disk.wary > 0 {
                let commit = tokio::task::spawn_blocking(move || Commit::carry_out(writer, batch, slow));
                disk.writer = Place::OnThread(commit);
                return Ok(true);
            }
            let commit = Commit::carry_out(writer, batch, slow);
            self.counters.syncs_inline.add(commit.took);
            self.finish(commit)?;
        }
    }

    /// Waits for the commit that is under way on another thread; for ever if there is none. May be dropped
    /// and called again.
    pub(crate) async fn committed(&mut self) -> Result<(), JournalError> {
        let Some(OnDisk { writer: Place::OnThread(handle), .. }) = &mut self.disk else {
            return std::future::pending().await;
        };
        let commit = handle.await.expect("a commit does not panic");
        self.counters.syncs_on_thread.add(commit.took);
        self.finish(commit)
    }

    fn finish(&mut self, commit: Commit) -> Result<(), JournalError> {
        let written = commit.result?;
        let disk = self.disk.as_mut().expect("only a disk commits");
        disk.wary =
            if commit.took > SLOW_SYNC { QUICK_SYNCS_AFTER_SLOW } else { disk.wary.saturating_sub(1) };
        disk.writer = Place::Here(commit.writer);
        disk.segments.extend(written.segment);
        self.counters.bytes += written.bytes;
        self.durable = disk.gathering.front().map_or(self.next, |waiting| waiting.first);
        let mut spare = commit.batch.records;
        spare.clear();
        if disk.spare.len() < 2 && spare.capacity() <= 4 << 20 {
            disk.spare.push(spare);
        }
        Ok(())
    }

    /// Records before `before` are no longer needed: deletes the segments that hold nothing else, on another
    /// thread.
    pub(crate) fn discard(&mut self, before: JournalPosition) {
        let Some(on_disk) = &mut self.disk else { return };
        let mut names = Vec::new();
        while on_disk.segments.get(1).is_some_and(|second| *second <= before) {
            names.extend(on_disk.segments.pop_front().map(segment_name));
        }
        if names.is_empty() {
            return;
        }
        let disk = on_disk.disk.clone();
        tokio::task::spawn_blocking(move || {
            // Oldest first, so that a crash in between leaves no gap.
            let removed =
                names.iter().try_for_each(|name| disk.remove(name)).and_then(|()| disk.sync_folder());
            if let Err(error) = removed {
                tracing::warn!(%error, "old journal segments stay on disk");
            }
        });
    }
}

impl OnDisk {
    fn gather(
        &mut self,
        position: JournalPosition,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), JournalError> {
        if self.gathering.is_empty() {
            let records = self.spare.pop().unwrap_or_default();
            self.gathering.push_back(Gathering { first: position, records });
        }
        let batch = self.gathering.back_mut().expect("pushed above");
        if let Some(records) = batch.add(write)? {
            self.gathering.push_back(Gathering { first: position, records });
        }
        Ok(())
    }
}

impl Commit {
    #[expect(clippy::disallowed_methods, reason = "a slow disk blocks the thread that waits for it")]
    fn carry_out(mut writer: Box<Writer<Folder>>, batch: Gathering, slow: Duration) -> Commit {
        let begun = Instant::now();
        // Before the sync: whoever is killed meanwhile has not synced.
        if !slow.is_zero() {
            std::thread::sleep(slow);
        }
        let result = writer.commit(&batch);
        Commit { writer, batch, took: begun.elapsed(), result }
    }
}

#[cfg(test)]
mod tests;
