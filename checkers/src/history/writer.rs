//! Records a history.

use super::error::HistoryError;
use super::format::{self, ENTRY_BYTES_MAX, HEADER_BYTES, Header, PAYLOAD_BYTES_CUT};
use super::op::Entry;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Appends entries to a new history file.
///
/// What was flushed survives the death of this process (not of the machine: only [`Writer::finish`] syncs). If a
/// write fails, the entries stay in memory and the next attempt writes them again over whatever part had
/// reached the disk, so a full disk that is cleared in time costs nothing.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
    /// Where the next chunk goes.
    offset: u64,
    /// The next chunk's number.
    ordinal: u32,
    /// The open chunk: room for its header, then its payload so far.
    chunk: Vec<u8>,
    /// Entries in the open chunk.
    chunk_entries: u32,
    /// The time of the last entry in the open chunk; zero if there is none.
    before: u64,
    /// Entries in the chunks before the open one.
    entries: u64,
}

impl Writer {
    /// Creates the file. What was there is gone.
    ///
    /// # Errors
    /// [`HistoryError::Io`].
    pub fn create(path: impl AsRef<Path>) -> Result<Writer, HistoryError> {
        let path = path.as_ref().to_path_buf();
        let created = File::create(&path).and_then(|file| {
            file.write_all_at(&format::preamble(), 0)?;
            Ok(file)
        });
        let file =
            created.map_err(|source| HistoryError::Io { action: "create", path: path.clone(), source })?;
        let mut chunk = Vec::with_capacity(HEADER_BYTES + PAYLOAD_BYTES_CUT + 1024);
        chunk.resize(HEADER_BYTES, 0);
        let offset = format::PREAMBLE_BYTES as u64;
        Ok(Writer { file, path, offset, ordinal: 0, chunk, chunk_entries: 0, before: 0, entries: 0 })
    }

    /// Adds an entry to the open chunk, and writes the chunk if it is full.
    ///
    /// # Errors
    /// [`HistoryError::Io`] if a full chunk cannot be written: it stays in memory with this entry, but no further
    /// entry is taken until a write succeeds.
    /// [`HistoryError::EntryTooLarge`]: the entry is not taken.
    pub fn push(&mut self, entry: &Entry) -> Result<(), HistoryError> {
        if self.is_full() {
            self.flush()?;
        }
        let start = self.chunk.len();
        format::encode(entry, self.before, &mut self.chunk);
        let bytes = self.chunk.len() - start;
        if bytes > ENTRY_BYTES_MAX {
            self.chunk.truncate(start);
            return Err(HistoryError::EntryTooLarge { bytes, limit: ENTRY_BYTES_MAX });
        }
        self.before = entry.time();
        self.chunk_entries += 1;
        if self.is_full() { self.flush() } else { Ok(()) }
    }

    /// Writes the open chunk, so that the death of this process can no longer lose it.
    ///
    /// # Errors
    /// [`HistoryError::Io`].
    pub fn flush(&mut self) -> Result<(), HistoryError> {
        if self.chunk_entries == 0 {
            return Ok(());
        }
        self.write_chunk(false)?;
        self.entries += u64::from(self.chunk_entries);
        self.chunk_entries = 0;
        Ok(())
    }

    /// Flushes, writes the end marker and syncs.
    ///
    /// # Errors
    /// [`HistoryError::Io`].
    pub fn finish(mut self) -> Result<(), HistoryError> {
        self.flush()?;
        self.chunk.extend_from_slice(&format::end_payload(self.entries, self.ordinal));
        self.write_chunk(true)?;
        self.file.sync_all().map_err(|source| HistoryError::Io { action: "sync", path: self.path, source })
    }

    fn is_full(&self) -> bool {
        self.chunk.len() >= HEADER_BYTES + PAYLOAD_BYTES_CUT
    }

    fn write_chunk(&mut self, end: bool) -> Result<(), HistoryError> {
        let payload = &self.chunk[HEADER_BYTES..];
        let header = Header {
            end,
            ordinal: self.ordinal,
            length: u32::try_from(payload.len()).expect("a chunk is cut before it is this long"),
            entries: if end { 0 } else { self.chunk_entries },
            crc: crc32c::crc32c(payload),
        };
        self.chunk[..HEADER_BYTES].copy_from_slice(&header.encode());
        self.file.write_all_at(&self.chunk, self.offset).map_err(|source| HistoryError::Io {
            action: "write",
            path: self.path.clone(),
            source,
        })?;
        self.offset += self.chunk.len() as u64;
        self.ordinal += 1;
        self.chunk.truncate(HEADER_BYTES);
        self.before = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Call, Ending, ProcessId, Reader};

    #[test]
    fn entries_outlive_a_failed_write_and_are_written_by_the_next() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("history.bin");
        let entry = |time| Entry::Invoke {
            time,
            intended: time,
            process: ProcessId(3),
            to: None,
            call: Call::Read { key: 1 },
        };
        let mut writer = Writer::create(&path).unwrap();
        writer.push(&entry(0)).unwrap();
        writer.flush().unwrap();

        // A handle that cannot be written to stands for a disk that cannot.
        let writable = std::mem::replace(&mut writer.file, File::open(&path).unwrap());
        let mut taken = 1;
        let refused = loop {
            match writer.push(&entry(taken)) {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
        };
        taken += 1;
        assert!(refused.to_string().starts_with("cannot write "), "{refused}");
        assert!(writer.push(&entry(taken)).is_err(), "memory is bounded: nothing more is taken");
        assert!(writer.flush().is_err());

        writer.file = writable;
        writer.push(&entry(taken)).unwrap();
        writer.finish().unwrap();
        let mut reader = Reader::open(&path).unwrap();
        let found: Vec<Entry> = reader.by_ref().map(Result::unwrap).collect();
        assert_eq!(found, (0..=taken).map(entry).collect::<Vec<_>>());
        assert_eq!(reader.ending(), Some(&Ending::Complete));
    }
}
