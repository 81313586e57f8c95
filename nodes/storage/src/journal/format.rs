//! The bytes of a journal.
//!
//! A journal is a row of *segments*, files named `journal-<first position, 20 digits>`. A segment is a row of
//! frames ([`protocol::frame`]: length, CRC32C, payload), then nothing or zeroes:
//!
//! ```text
//! header   frame, payload:  "GAUNTLET JOURNAL"  16 bytes
//!                           version             u32 little-endian
//!                           first position      u64 little-endian, as in the name
//!                           salt                8 bytes, the same in all of the segment, chosen by chance
//! batch    frame, payload:  salt                8 bytes
//!                           first position      u64 little-endian
//!                           records, each:      length u32 little-endian, then its encoding
//! batch    …
//! ```
//!
//! **Invariant.** A batch is what one group commit wrote: it is on disk before the next one is written. So a
//! crash can damage the last batch only, however the disk reorders what it was not yet told to keep; bytes that
//! are no frame with a valid batch anywhere behind them are damage to what was durable. A damaged last
//! batch cannot be told from one that was never finished, and is cut off. (The salt keeps a client from writing a value that
//! looks like a batch behind a torn one.)

use super::JournalError;
use crate::bugs::Bug;
use protocol::{Bugs, JournalPosition, frame};

const MAGIC: &[u8; 16] = b"GAUNTLET JOURNAL";
const VERSION: u32 = 1;
/// Of the header's frame.
pub const HEADER_BYTES: usize = frame::HEADER_BYTES + 16 + 4 + 8 + SALT_BYTES;
const SALT_BYTES: usize = 8;
/// Of a batch's payload, before its records.
const BATCH_HEADER_BYTES: usize = SALT_BYTES + 8;
/// Before each record.
const RECORD_HEADER_BYTES: usize = 4;
/// What a batch's records may take with their headers.
const BATCH_BYTES_MAX: usize = frame::PAYLOAD_BYTES_MAX - BATCH_HEADER_BYTES;

const NAME_PREFIX: &str = "journal-";

/// The name of the file of the segment that begins with this record.
#[must_use]
pub fn segment_name(first: JournalPosition) -> String {
    format!("{NAME_PREFIX}{:020}", first.0)
}

/// The first position of a segment, if the name is one.
pub(super) fn parse_segment_name(name: &str) -> Option<JournalPosition> {
    let digits = name.strip_prefix(NAME_PREFIX)?;
    if digits.len() != 20 {
        return None;
    }
    digits.parse().ok().map(JournalPosition)
}

/// What no client can know.
pub type Salt = [u8; SALT_BYTES];

pub(super) fn header(first: JournalPosition, salt: Salt) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    frame::frame_into(&mut out, |out| {
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&first.0.to_le_bytes());
        out.extend_from_slice(&salt);
    });
    out
}

/// Checks a segment's header against its name, and tells its salt.
///
/// # Errors
/// With what is wrong with it.
pub fn check_header(bytes: &[u8], first: JournalPosition) -> Result<Salt, String> {
    let Ok(Some((payload, HEADER_BYTES))) = frame::parse(bytes, HEADER_BYTES) else {
        return Err("the header is damaged".to_owned());
    };
    let salt = *payload.last_chunk().expect("a payload of this length has a salt");
    if bytes[..HEADER_BYTES] != header(first, salt) {
        return Err(format!("the header is not of version {VERSION} and first position {first}"));
    }
    Ok(salt)
}

/// One batch as it stands in a segment.
pub struct Batch<'a> {
    pub first: JournalPosition,
    /// The encodings of its records, in order.
    pub records: Vec<&'a [u8]>,
    /// With the frame's header.
    pub bytes: usize,
}

/// The batch at the start of `bytes`, or `None` if there is no whole one of this salt.
#[must_use]
pub fn parse_batch(bytes: &[u8], salt: Salt) -> Option<Batch<'_>> {
    let (payload, length) = frame::parse(bytes, frame::PAYLOAD_BYTES_MAX).ok()??;
    parse_payload(payload, length, salt)
}

/// What stands at the start of `bytes`, if the bugs let it pass for a batch though its checksum does not.
pub(super) fn parse_unchecked<'a>(
    bytes: &'a [u8],
    salt: Salt,
    bugs: &Bugs<Bug>,
    at_end: bool,
) -> Option<Batch<'a>> {
    if !(bugs.has(Bug::NoChecksum) || at_end && bugs.has(Bug::TornAccepted)) {
        return None;
    }
    let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    let payload = bytes.get(frame::HEADER_BYTES..frame::HEADER_BYTES + length)?;
    parse_payload(payload, frame::HEADER_BYTES + length, salt)
}

fn parse_payload(payload: &[u8], length: usize, salt: Salt) -> Option<Batch<'_>> {
    let (first, mut rest) = payload.strip_prefix(&salt)?.split_first_chunk()?;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (size, behind) = rest.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let (record, behind) = behind.split_at_checked(u32::from_le_bytes(*size) as usize)?;
        records.push(record);
        rest = behind;
    }
    if records.is_empty() {
        return None;
    }
    Some(Batch { first: JournalPosition(u64::from_le_bytes(*first)), records, bytes: length })
}

/// What stands behind the last whole batch of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing, or zeroes.
    Clean,
    /// The remains of a write that was not finished: so many bytes up to the last that is not zero.
    Torn(usize),
    /// Damage: a whole batch that belongs here follows so many bytes further on.
    Damaged { behind: usize, position: JournalPosition },
}

/// Judges the bytes behind the last whole batch, where `next` should stand. A batch that was written later has a later
/// position.
pub(super) fn judge_tail(bytes: &[u8], salt: Salt, next: JournalPosition) -> Tail {
    let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else { return Tail::Clean };
    for behind in 1..=last {
        // The salt is compared first, because a checksum over what a damaged length field claims may take long.
        let salted =
            bytes.get(behind + frame::HEADER_BYTES..).is_some_and(|payload| payload.starts_with(&salt));
        if salted
            && let Some(batch) = parse_batch(&bytes[behind..], salt)
            && batch.first > next
        {
            return Tail::Damaged { behind, position: batch.first };
        }
    }
    Tail::Torn(last + 1)
}

/// The records of a commit that is being gathered, and their encodings.
#[derive(Debug)]
pub struct Gathering {
    pub first: JournalPosition,
    /// Each with its header.
    pub records: Vec<u8>,
}

impl Gathering {
    /// Adds a record, encoded by `write`. If it does not fit, the bytes are as before and the record comes back.
    ///
    /// # Errors
    /// [`JournalError::RecordTooLarge`].
    ///
    /// # Panics
    /// Never: the bound is below 4 GiB.
    pub fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<Option<Vec<u8>>, JournalError> {
        let start = self.records.len();
        self.records.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        write(&mut self.records);
        let size = self.records.len() - start - RECORD_HEADER_BYTES;
        if size + RECORD_HEADER_BYTES > BATCH_BYTES_MAX {
            return Err(JournalError::RecordTooLarge { bytes: size, bytes_max: BATCH_BYTES_MAX });
        }
        let field = u32::try_from(size).expect("bounded by the line above").to_le_bytes();
        self.records[start..start + RECORD_HEADER_BYTES].copy_from_slice(&field);
        if self.records.len() > BATCH_BYTES_MAX {
            return Ok(Some(self.records.split_off(start)));
        }
        Ok(None)
    }

    /// How much space the batch takes.
    #[must_use]
    pub fn framed_bytes(&self) -> u64 {
        (frame::HEADER_BYTES + BATCH_HEADER_BYTES + self.records.len()) as u64
    }

    /// Appends the batch as it goes to disk.
    pub fn frame_into(&self, salt: Salt, out: &mut Vec<u8>) {
        frame::frame_into(out, |out| {
            out.extend_from_slice(&salt);
            out.extend_from_slice(&self.first.0.to_le_bytes());
            out.extend_from_slice(&self.records);
        });
    }
}
