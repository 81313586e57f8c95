//! The journal: what a replica has promised to remember.
//!
//! `format.rs` specifies the bytes, `batches.rs` gathers records and knows what is durable, `writer.rs` puts batches on disk,
//! `recover.rs` reads them back.

mod batches;
pub mod format;
mod recover;
mod writer;

pub use batches::Batches;
pub use format::{Gathering, segment_name};
pub use writer::{Writer, Written};

use crate::bugs::Bug;
use crate::disk::Disk;
use protocol::codec::{self, Wire};
use protocol::{Bugs, JournalPosition};
use std::path::PathBuf;

/// Why a journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk refuses. What was being written may or may not be there; nothing of it was acknowledged.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// What was durable is damaged.
    #[error("journal is damaged: {0}")]
    Damaged(Damage),
    /// A record is over the bound of a frame.
    #[error("journal record of {bytes} bytes, allowed are {bytes_max}")]
    RecordTooLarge {
        /// Of its encoding.
        bytes: usize,
        /// Allowed.
        bytes_max: usize,
    },
    /// The folder holds a journal that `durability: memory` would ignore now and believe later.
    #[error("{} holds a journal, which durability: memory would ignore", folder.display())]
    LeftOver {
        /// The journal's folder.
        folder: PathBuf,
    },
}

/// Where a journal is damaged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} at offset {offset}, where record {position} should be: {reason}", file.display())]
pub struct Damage {
    /// Which segment.
    pub file: PathBuf,
    /// In bytes.
    pub offset: u64,
    /// The record that should be there.
    pub position: JournalPosition,
    /// What is there.
    pub reason: String,
}

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A segment is closed before it would grow beyond this.
    pub segment_bytes: u64,
    /// Zeroes are written so far ahead of the batches, so that most syncs find their blocks allocated and
    /// initialised and need no second write of the file system's own journal. Measured with 4 KiB batches: 115 µs a
    /// sync, against 200 when each one extends the file; `fallocate` does not help, because the first write to
    /// each block of it must be journalled all the same.
    pub zeroed_ahead_bytes: usize,
    /// Seeded bugs: none, unless a plan names them.
    pub bugs: Bugs<Bug>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, zeroed_ahead_bytes: 512 << 10, bugs: Bugs::default() }
    }
}

/// A journal that was opened.
#[derive(Debug)]
pub struct Opened<D: Disk> {
    /// Goes on where it ends.
    pub writer: Writer<D>,
    /// What goes there.
    pub batches: Batches,
}

/// Opens the journal on a disk, or begins one, and hands each record to `take`.
///
/// # Errors
/// If the disk refuses or what it holds is damaged.
pub fn open<D: Disk, R: Wire>(
    disk: &D,
    settings: Settings,
    mut take: impl FnMut(JournalPosition, R),
) -> Result<Opened<D>, JournalError> {
    let found = recover::recover(disk, &settings.bugs, &mut |position, bytes| {
        take(position, codec::decode(bytes).map_err(|e| e.to_string())?);
        Ok(())
    })?;
    match found {
        Some(found) => {
            let writer = Writer::reopen(disk.clone(), settings, &found)?;
            Ok(Opened { writer, batches: Batches::new(found.segments, found.next) })
        }
        None => {
            let start = JournalPosition(0);
            let writer = Writer::begin(disk.clone(), settings)?;
            Ok(Opened { writer, batches: Batches::new(vec![start], start) })
        }
    }
}

/// Deletes segments that [`Batches::discard`] has given up: oldest first, so that a crash in between leaves no gap.
///
/// # Errors
/// If the disk refuses: some stay then, which does no harm.
pub fn remove<D: Disk>(disk: &D, names: &[String]) -> std::io::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    names.iter().try_for_each(|name| disk.remove(name))?;
    disk.sync_folder()
}

/// The end of a journal that nobody writes.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    /// The newest segment's file.
    pub file: String,
    /// Where its last batch begins, in bytes. Damage before it can be told from a torn write, damage from there on cannot.
    pub last_batch: u64,
    /// Where that ends.
    pub bytes: u64,
    /// What the next record would get.
    pub next: JournalPosition,
}

/// Looks where a journal that nobody writes ends. `None`: there is none. A torn tail is cut off, as when the journal is opened.
///
/// # Errors
/// As [`open`].
pub fn end<D: Disk>(disk: &D) -> Result<Option<End>, JournalError> {
    let found = recover::recover(disk, &Bugs::default(), &mut |_, _| Ok(()))?;
    Ok(found.map(|found| End {
        file: segment_name(*found.segments.last().expect("a journal has a segment")),
        last_batch: found.last_batch,
        bytes: found.end,
        next: found.next,
    }))
}
