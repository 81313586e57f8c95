//! Reads a history back, as far as it is whole.

use super::error::HistoryError;
use super::format::{self, HEADER_BYTES, Header, PREAMBLE_BYTES, Version};
use super::op::Entry;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How a history file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its end marker: nothing that was recorded is missing.
    Complete,
    /// Without: whoever recorded it died, or the file was cut. What came before is whole.
    Truncated {
        /// How many entries could be read.
        entries: u64,
        /// The file, the chunk, the byte and what is missing there.
        reason: String,
    },
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Complete => write!(f, "complete"),
            Ending::Truncated { entries, reason } => write!(f, "truncated after {entries} entries: {reason}"),
        }
    }
}

/// Iterates over the entries of a history file, one chunk in memory at a time.
#[derive(Debug)]
pub struct Reader {
    file: File,
    path: PathBuf,
    file_bytes: u64,
    version: Version,
    /// Where the chunk in memory begins.
    chunk_offset: u64,
    /// Where the next chunk begins.
    next_offset: u64,
    /// The next chunk's number.
    next_ordinal: u32,
    payload: Vec<u8>,
    /// How much of the payload has been decoded.
    decoded: usize,
    /// How many entries of the payload have not.
    entries_left: u32,
    /// The time of the entry before, in this chunk.
    before: u64,
    entries: u64,
    ending: Option<Ending>,
    failed: bool,
}

/// What comes next in the file.
enum Step {
    Chunk,
    Ended(Ending),
}

impl Reader {
    /// Opens a file and looks at its first bytes.
    ///
    /// # Errors
    /// [`HistoryError::Io`], [`HistoryError::NotAHistory`].
    pub fn open(path: impl AsRef<Path>) -> Result<Reader, HistoryError> {
        let path = path.as_ref().to_path_buf();
        let opened = File::open(&path).and_then(|file| {
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        });
        let (file, file_bytes) =
            opened.map_err(|source| HistoryError::Io { action: "open", path: path.clone(), source })?;
        let mut reader = Reader {
            file,
            path,
            file_bytes,
            version: Version::Second,
            chunk_offset: 0,
            next_offset: PREAMBLE_BYTES as u64,
            next_ordinal: 0,
            payload: Vec::new(),
            decoded: 0,
            entries_left: 0,
            before: 0,
            entries: 0,
            ending: None,
            failed: false,
        };
        reader.check_preamble()?;
        Ok(reader)
    }

    /// How the file ended; `None` while there may be more entries, and after an error.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    fn check_preamble(&mut self) -> Result<(), HistoryError> {
        let mut found = [0; PREAMBLE_BYTES];
        let there = self.file_bytes.min(PREAMBLE_BYTES as u64) as usize;
        self.read_at(&mut found[..there], 0)?;
        self.version = format::check_preamble(&found[..there])
            .map_err(|reason| HistoryError::NotAHistory { path: self.path.clone(), reason })?;
        if there < PREAMBLE_BYTES {
            self.ending =
                Some(self.truncated(0, format!("the file ends after {there} of its first 16 bytes")));
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), HistoryError> {
        self.file.read_exact_at(buffer, offset).map_err(|source| HistoryError::Io {
            action: "read",
            path: self.path.clone(),
            source,
        })
    }

    fn truncated(&self, offset: u64, what: impl fmt::Display) -> Ending {
        let reason = format!("{}: chunk {} at byte {offset}: {what}", self.path.display(), self.next_ordinal);
        Ending::Truncated { entries: self.entries, reason }
    }

    fn corrupt(&self, chunk: u32, offset: u64, reason: impl Into<String>) -> HistoryError {
        HistoryError::Corrupt { path: self.path.clone(), chunk, offset, reason: reason.into() }
    }

    /// Loads the next chunk that has entries.
    fn next_chunk(&mut self) -> Result<Step, HistoryError> {
        let offset = self.next_offset;
        let left = self.file_bytes - offset;
        if left < HEADER_BYTES as u64 {
            let what = match left {
                0 => "the file ends here, without an end marker".to_string(),
                _ => format!("the file ends after {left} of the {HEADER_BYTES} bytes of a chunk's header"),
            };
            return Ok(Step::Ended(self.truncated(offset, what)));
        }
        let mut bytes = [0; HEADER_BYTES];
        self.read_at(&mut bytes, offset)?;
        let Some(header) = Header::decode(&bytes) else {
            return self.damaged(offset, "its header is damaged");
        };
        if header.ordinal != self.next_ordinal {
            let reason = format!("chunk {} stands where chunk {} belongs", header.ordinal, self.next_ordinal);
            return Err(self.corrupt(self.next_ordinal, offset, reason));
        }
        let there = left - HEADER_BYTES as u64;
        if u64::from(header.length) > there {
            let what = format!("the file ends after {there} of the chunk's {} bytes", header.length);
            return Ok(Step::Ended(self.truncated(offset, what)));
        }
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(header.length as usize, 0);
        self.read_at(&mut payload, offset + HEADER_BYTES as u64)?;
        let computed = crc32c::crc32c(&payload);
        self.payload = payload;
        if computed != header.crc {
            let what = format!("the checksum is {:08x}, computed {computed:08x}", header.crc);
            return self.damaged(offset, &what);
        }
        self.chunk_offset = offset;
        self.next_offset = offset + (HEADER_BYTES as u64) + u64::from(header.length);
        if header.end {
            return self.end_marker().map(Step::Ended);
        }
        self.next_ordinal += 1;
        (self.decoded, self.entries_left, self.before) = (0, header.entries, 0);
        Ok(Step::Chunk)
    }

    fn end_marker(&self) -> Result<Ending, HistoryError> {
        let (chunk, offset) = (self.next_ordinal, self.chunk_offset);
        if self.payload != format::end_payload(self.entries, chunk) {
            let reason =
                format!("the end marker counts other than the {} entries that were read", self.entries);
            return Err(self.corrupt(chunk, offset, reason));
        }
        if self.next_offset != self.file_bytes {
            let reason = format!("{} bytes follow the end marker", self.file_bytes - self.next_offset);
            return Err(self.corrupt(chunk, offset, reason));
        }
        Ok(Ending::Complete)
    }

    /// Tells a torn end from corruption: behind a torn end no whole header follows.
    fn damaged(&self, offset: u64, what: &str) -> Result<Step, HistoryError> {
        match self.later_header(offset + 1)? {
            Some(later) => {
                let reason = format!("{what}, and a whole chunk follows at byte {later}");
                Err(self.corrupt(self.next_ordinal, offset, reason))
            }
            None => Ok(Step::Ended(self.truncated(offset, what))),
        }
    }

    /// Where, from `from` on, the header of a later chunk stands.
    fn later_header(&self, from: u64) -> Result<Option<u64>, HistoryError> {
        const BLOCK_BYTES: u64 = 1 << 20;
        let mut block = Vec::new();
        let mut start = from;
        while start + HEADER_BYTES as u64 <= self.file_bytes {
            let length = (self.file_bytes - start).min(BLOCK_BYTES);
            block.resize(length as usize, 0);
            self.read_at(&mut block, start)?;
            for (at, window) in block.windows(HEADER_BYTES).enumerate() {
                let header = window.first_chunk().and_then(Header::decode);
                if header.is_some_and(|header| header.ordinal > self.next_ordinal) {
                    return Ok(Some(start + at as u64));
                }
            }
            // The next block overlaps by all but one byte of a header.
            start += length - (HEADER_BYTES as u64 - 1);
        }
        Ok(None)
    }

    fn next_entry(&mut self) -> Result<Option<Entry>, HistoryError> {
        while self.entries_left == 0 {
            if self.decoded < self.payload.len() && self.next_ordinal > 0 {
                let left = self.payload.len() - self.decoded;
                let reason = format!("{left} bytes are left over behind its entries");
                return Err(self.corrupt(self.next_ordinal - 1, self.chunk_offset, reason));
            }
            if let Step::Ended(ending) = self.next_chunk()? {
                self.ending = Some(ending);
                return Ok(None);
            }
        }
        let decoded = format::decode(self.version, &self.payload[self.decoded..], self.before);
        let (entry, bytes) = decoded.map_err(|error| {
            let reason = format!("an entry cannot be decoded: {error}");
            self.corrupt(self.next_ordinal - 1, self.chunk_offset, reason)
        })?;
        self.decoded += bytes;
        self.entries_left -= 1;
        self.entries += 1;
        self.before = entry.time();
        Ok(Some(entry))
    }
}

impl Iterator for Reader {
    type Item = Result<Entry, HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ending.is_some() || self.failed {
            return None;
        }
        let next = self.next_entry().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}
