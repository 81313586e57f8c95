//! Putting batches on disk: the part of a journal that blocks.

use super::format::{self, Gathering, HEADER_BYTES, Salt};
use super::recover::Found;
use super::{JournalError, Settings};
use crate::disk::{Disk, DiskFile};
use protocol::JournalPosition;

/// The end of a journal.
#[derive(Debug)]
pub struct Writer<D: Disk> {
    disk: D,
    file: D::File,
    settings: Settings,
    salt: Salt,
    /// Where the next batch goes.
    offset: u64,
    /// Where the last one begins.
    last_batch: u64,
    /// Up to here the file is zeroes behind `offset`.
    zeroed: u64,
    /// Kept for its memory.
    frame: Vec<u8>,
}

/// What a commit did.
#[derive(Debug)]
pub struct Written {
    /// To disk, zeroes ahead not counted.
    pub bytes: u64,
    /// The first position of a segment that was begun.
    pub segment: Option<JournalPosition>,
}

impl<D: Disk> Writer<D> {
    /// Goes on where a journal ended.
    pub(super) fn reopen(disk: D, settings: Settings, found: &Found) -> Result<Self, JournalError> {
        let last = found.segments.last().expect("a journal has a segment");
        let file = disk
            .open_file(&format::segment_name(*last))
            .map_err(|source| JournalError::Io { what: "opening the journal", source })?;
        let (salt, offset, last_batch) = (found.salt, found.end, found.last_batch);
        Ok(Writer { disk, file, settings, salt, offset, last_batch, zeroed: offset, frame: Vec::new() })
    }

    /// Begins a journal.
    pub(super) fn begin(disk: D, settings: Settings) -> Result<Self, JournalError> {
        let first = JournalPosition(0);
        let (file, salt) = begin_segment(&disk, first)?;
        let offset = HEADER_BYTES as u64;
        Ok(Writer {
            disk,
            file,
            settings,
            salt,
            offset,
            last_batch: offset,
            zeroed: offset,
            frame: Vec::new(),
        })
    }

    /// Where the next batch goes in the last segment, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the last batch of this writer begins in the last segment, in bytes: damage from here on cannot be told from a
    /// torn write.
    #[must_use]
    pub fn last_batch(&self) -> u64 {
        self.last_batch
    }

    /// Writes a batch and waits until it is on disk. After an error the journal's end is unknown: the writer must
    /// not be used again.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn commit(&mut self, batch: &Gathering) -> Result<Written, JournalError> {
        let written = self.write(batch)?;
        self.sync()?;
        Ok(written)
    }

    /// Writes a batch. It is durable after [`Writer::sync`], and nothing else may be written before that. After an error as in
    /// [`Writer::commit`].
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&mut self, batch: &Gathering) -> Result<Written, JournalError> {
        let full = self.offset + batch.framed_bytes() > self.settings.segment_bytes;
        let mut segment = None;
        if full && self.offset > HEADER_BYTES as u64 {
            (self.file, self.salt) = begin_segment(&self.disk, batch.first)?;
            self.offset = HEADER_BYTES as u64;
            self.zeroed = self.offset;
            segment = Some(batch.first);
        }
        self.frame.clear();
        batch.frame_into(self.salt, &mut self.frame);
        let bytes = self.frame.len() as u64;
        let end = self.offset + bytes;
        if end > self.zeroed {
            // The zeroes go out with the batch, in one write and one sync.
            let left = usize::try_from(self.settings.segment_bytes.saturating_sub(end)).unwrap_or(usize::MAX);
            let ahead = self.settings.zeroed_ahead_bytes.min(left);
            self.zeroed = end + ahead as u64;
            self.frame.resize(self.frame.len() + ahead, 0);
        }
        self.file
            .write_all_at(&self.frame, self.offset)
            .map_err(|source| JournalError::Io { what: "writing the journal", source })?;
        self.last_batch = self.offset;
        self.offset = end;
        Ok(Written { bytes, segment })
    }

    /// Waits until what was written is on disk. After an error as in [`Writer::commit`].
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.file.sync().map_err(|source| JournalError::Io { what: "writing the journal", source })
    }
}

/// A new segment, durable with its name before anything is put in it.
fn begin_segment<D: Disk>(disk: &D, first: JournalPosition) -> Result<(D::File, Salt), JournalError> {
    const NEW: &str = "new-segment";
    let make = || {
        let salt = disk.chance()?;
        let file = disk.create(NEW)?;
        file.write_all_at(&format::header(first, salt), 0)?;
        file.sync()?;
        disk.rename(NEW, &format::segment_name(first))?;
        disk.sync_folder()?;
        Ok((file, salt))
    };
    make().map_err(|source| JournalError::Io { what: "beginning a journal segment", source })
}
