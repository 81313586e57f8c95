//! The journal as the core's task drives it: what goes to disk when, and on which thread.
//!
//! [`storage::journal`] gathers records and has their bytes; here they are written: one `fdatasync` for all that queued.
//!
//! A sync is done on the core's own thread while the disk is quick, and on another one when it was slow. On its
//! own thread it costs no wake-up, and the core has little else to do: it has sent its early lane, and what
//! arrives meanwhile makes the next, larger turn. But a disk that stalls must not silence the replica.

use crate::config::{Durability, Keeping};
use protocol::codec::Wire;
use protocol::{Bugs, JournalPosition};
use std::path::Path;
use std::time::{Duration, Instant};
use storage::Folder;
use storage::journal::{Batches, Gathering, JournalError, Opened, Settings, Writer, Written};
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
    kept: Kept,
    pub(crate) counters: JournalCounters,
}

#[derive(Debug)]
enum Kept {
    /// Durability is memory: every record before this position counts as durable.
    Memory(JournalPosition),
    OnDisk(Box<OnDisk>),
}

#[derive(Debug)]
struct OnDisk {
    disk: Folder,
    writer: Place,
    batches: Batches,
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
        Ok(Journal::new(Kept::Memory(JournalPosition(0))))
    }

    fn open_disk<R: Wire>(
        disk: Folder,
        settings: Settings,
        take: impl FnMut(JournalPosition, R),
    ) -> Result<Journal, JournalError> {
        let Opened { writer, batches } = storage::journal::open(&disk, settings, take)?;
        let writer = Place::Here(Box::new(writer));
        let on_disk = OnDisk { disk, writer, batches, wary: 0, slow: Duration::ZERO };
        Ok(Journal::new(Kept::OnDisk(Box::new(on_disk))))
    }

    fn new(kept: Kept) -> Journal {
        Journal { kept, counters: JournalCounters::default() }
    }

    /// From now on a commit takes at least so long: a slow disk, simulated.
    pub(crate) fn slow_down(&mut self, least: Duration) {
        if let Kept::OnDisk(disk) = &mut self.kept {
            disk.slow = least;
        }
    }

    /// The position that the next record gets.
    pub(crate) fn next(&self) -> JournalPosition {
        match &self.kept {
            Kept::Memory(next) => *next,
            Kept::OnDisk(disk) => disk.batches.next(),
        }
    }

    /// Every record before this one is durable.
    pub(crate) fn durable(&self) -> JournalPosition {
        match &self.kept {
            Kept::Memory(next) => *next,
            Kept::OnDisk(disk) => disk.batches.durable(),
        }
    }

    /// Adds a record, whose position is the next one, to what the next commit writes.
    pub(crate) fn append<R: Wire>(
        &mut self,
        position: JournalPosition,
        record: &R,
    ) -> Result<(), JournalError> {
        self.counters.records += 1;
        match &mut self.kept {
            Kept::Memory(next) => *next = position.next(),
            Kept::OnDisk(disk) => disk.batches.append(position, record)?,
        }
        Ok(())
    }

    /// Writes what was appended, unless an earlier commit is under way. Tells whether a commit is under way on
    /// another thread now, for [`Journal::committed`] to wait for.
    pub(crate) fn commit(&mut self) -> Result<bool, JournalError> {
        let Kept::OnDisk(disk) = &mut self.kept else { return Ok(false) };
        while let Some(batch) = disk.batches.take() {
            let place = std::mem::replace(&mut disk.writer, Place::Nowhere);
            let Place::Here(writer) = place else { panic!("the journal is used after an error") };
            let slow = disk.slow;
            if disk.wary > 0 {
                let commit = tokio::task::spawn_blocking(move || Commit::carry_out(writer, batch, slow));
                disk.writer = Place::OnThread(commit);
                break;
            }
            let commit = Commit::carry_out(writer, batch, slow);
            self.counters.syncs_inline.add(commit.took);
            self.counters.bytes += disk.finish(commit)?;
        }
        Ok(matches!(disk.writer, Place::OnThread(_)))
    }

    /// Waits for the commit that is under way on another thread; for ever if there is none. May be dropped
    /// and called again.
    pub(crate) async fn committed(&mut self) -> Result<(), JournalError> {
        let Kept::OnDisk(disk) = &mut self.kept else { return std::future::pending().await };
        let Place::OnThread(handle) = &mut disk.writer else { return std::future::pending().await };
        let commit = handle.await.expect("a commit does not panic");
        self.counters.syncs_on_thread.add(commit.took);
        self.counters.bytes += disk.finish(commit)?;
        Ok(())
    }

    /// Records before `before` are no longer needed: deletes the segments that hold nothing else, on another
    /// thread.
    pub(crate) fn discard(&mut self, before: JournalPosition) {
        let Kept::OnDisk(on_disk) = &mut self.kept else { return };
        let names = on_disk.batches.discard(before);
        if names.is_empty() {
            return;
        }
        let disk = on_disk.disk.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = storage::journal::remove(&disk, &names) {
                tracing::warn!(%error, "old journal segments stay on disk");
            }
        });
    }
}

impl OnDisk {
    /// A commit is over; tells how many bytes it has written.
    fn finish(&mut self, commit: Commit) -> Result<u64, JournalError> {
        let written = commit.result?;
        self.wary =
            if commit.took > SLOW_SYNC { QUICK_SYNCS_AFTER_SLOW } else { self.wary.saturating_sub(1) };
        self.writer = Place::Here(commit.writer);
        self.batches.written(written.segment);
        self.batches.synced(commit.batch);
        Ok(written.bytes)
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
