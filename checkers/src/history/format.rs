//! The bytes of a history file. All integers are little-endian; every CRC is CRC-32C.
//!
//! ```text
//! file      = preamble chunk* end
//!
//! preamble  = 0  magic    8 bytes  "GNTLHIST"
//!             8  version  u32      2; files of version 1 are read too
//!            12  crc      u32      of bytes 0..12
//!
//! chunk     = 0  magic    4 bytes  "CHNK"
//!             4  ordinal  u32      0, 1, 2, …
//!             8  length   u32      bytes of payload, at most 64 MiB + 64 KiB
//!            12  entries  u32      in the payload
//!            16  crc      u32      of the payload
//!            20  crc      u32      of bytes 0..20
//!            24  payload  entries, back to back
//!
//! end       = a chunk with the magic "DONE", the next ordinal and no entries;
//!             its payload: entries in the file u64, chunks before this one u32
//! ```
//!
//! An entry is the postcard encoding of [`Stored`]: a variant number, then the fields as variable-length integers.
//! Times are differences, so that they take two or three bytes: `elapsed` is signed and counts from the entry
//! before (in a chunk's first entry from zero, so that every chunk can be read by itself), `lag` from the schedule's
//! time to the invocation. `to` and `by` are nodes' numbers. Version 1 knew neither, nor lines, nor the last two kinds of
//! entry ([`super::version_1`]).
//!
//! A chunk's own header has a checksum of its own, so that a length can be believed before the payload is read, and
//! so that behind damage the next whole chunk can be found: damage with whole chunks behind it is corruption,
//! damage with nothing behind it is a torn end.

use super::op::{Call, Entry, FaultEvent, Outcome, Phase, ProcessId};
use super::version_1;
use serde::{Deserialize, Serialize};

/// The first bytes of a file.
pub(super) const PREAMBLE_BYTES: usize = 16;
/// Bytes of a chunk before its payload.
pub(super) const HEADER_BYTES: usize = 24;
/// The payload at which the writer cuts a chunk.
pub(super) const PAYLOAD_BYTES_CUT: usize = 64 << 10;
/// The largest entry: a transaction that read very long lists.
pub(super) const ENTRY_BYTES_MAX: usize = 64 << 20;
/// The largest payload: the entry that goes beyond the cut is the largest.
const PAYLOAD_BYTES_MAX: usize = PAYLOAD_BYTES_CUT + ENTRY_BYTES_MAX;

const MAGIC: &[u8; 8] = b"GNTLHIST";
const CHUNK: &[u8; 4] = b"CHNK";
const END: &[u8; 4] = b"DONE";
const END_PAYLOAD_BYTES: usize = 12;

/// The versions of the format that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Until the history said who was asked.
    First = 1,
    /// What is written.
    Second = 2,
}

/// An entry as it is stored. Generic so that the writer borrows what the reader owns.
#[derive(Serialize, Deserialize)]
enum Stored<C, B, O, E> {
    Invoke { elapsed: i64, lag: i64, process: ProcessId, to: Option<u32>, call: C },
    Return { elapsed: i64, process: ProcessId, by: B, outcome: O },
    Phase { elapsed: i64, phase: Phase },
    Fault { elapsed: i64, event: E },
    Clocks { elapsed: i64, uncertainty: u64 },
    Hostile { elapsed: i64, process: ProcessId },
    Liar { elapsed: i64, node: u32 },
}

/// What the reader gets back.
type StoredOwned = Stored<Call, Vec<u32>, Outcome, FaultEvent>;

/// Appends the entry's encoding to `payload`; `before` is the time of the entry before it in the chunk, or zero.
pub(super) fn encode(entry: &Entry, before: u64, payload: &mut Vec<u8>) {
    let since = |time: u64| time.wrapping_sub(before).cast_signed();
    let stored = match entry {
        Entry::Invoke { time, intended, process, to, call } => Stored::Invoke {
            elapsed: since(*time),
            lag: time.wrapping_sub(*intended).cast_signed(),
            process: *process,
            to: *to,
            call,
        },
        Entry::Return { time, process, by, outcome } => {
            Stored::Return { elapsed: since(*time), process: *process, by, outcome }
        }
        Entry::Phase { time, phase } => Stored::Phase { elapsed: since(*time), phase: *phase },
        Entry::Fault { time, event } => Stored::Fault { elapsed: since(*time), event },
        Entry::Clocks { time, uncertainty } => {
            Stored::Clocks { elapsed: since(*time), uncertainty: *uncertainty }
        }
        Entry::Hostile { time, process } => Stored::Hostile { elapsed: since(*time), process: *process },
        Entry::Liar { time, node } => Stored::Liar { elapsed: since(*time), node: *node },
    };
    *payload =
        postcard::to_extend(&stored, std::mem::take(payload)).expect("an entry has no unencodable value");
}

/// Decodes the entry at the start of `payload`: the entry and how many bytes it took.
pub(super) fn decode(
    version: Version,
    payload: &[u8],
    before: u64,
) -> Result<(Entry, usize), postcard::Error> {
    let (entry, rest) = match version {
        Version::First => {
            let (stored, rest) = postcard::take_from_bytes::<version_1::Stored>(payload)?;
            (stored.entry(before), rest)
        }
        Version::Second => {
            let (stored, rest) = postcard::take_from_bytes::<StoredOwned>(payload)?;
            (stored.entry(before), rest)
        }
    };
    Ok((entry, payload.len() - rest.len()))
}

impl StoredOwned {
    fn entry(self, before: u64) -> Entry {
        let at = |elapsed| time_after(before, elapsed);
        match self {
            Stored::Invoke { elapsed, lag, process, to, call } => {
                let time = at(elapsed);
                Entry::Invoke { time, intended: intended(time, lag), process, to, call }
            }
            Stored::Return { elapsed, process, by, outcome } => {
                Entry::Return { time: at(elapsed), process, by, outcome }
            }
            Stored::Phase { elapsed, phase } => Entry::Phase { time: at(elapsed), phase },
            Stored::Fault { elapsed, event } => Entry::Fault { time: at(elapsed), event },
            Stored::Clocks { elapsed, uncertainty } => Entry::Clocks { time: at(elapsed), uncertainty },
            Stored::Hostile { elapsed, process } => Entry::Hostile { time: at(elapsed), process },
            Stored::Liar { elapsed, node } => Entry::Liar { time: at(elapsed), node },
        }
    }
}

/// The time of an entry, by that of the entry before it.
pub(super) fn time_after(before: u64, elapsed: i64) -> u64 {
    before.wrapping_add(elapsed.cast_unsigned())
}

/// When the schedule wanted an invocation.
pub(super) fn intended(time: u64, lag: i64) -> u64 {
    time.wrapping_sub(lag.cast_unsigned())
}

/// The first bytes of every file that is written.
pub(super) fn preamble() -> [u8; PREAMBLE_BYTES] {
    let mut bytes = [0; PREAMBLE_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&(Version::Second as u32).to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The version of a file that begins so, or what is wrong with its first bytes: there may be fewer than there should be.
pub(super) fn check_preamble(bytes: &[u8]) -> Result<Version, String> {
    let magic = bytes.len().min(MAGIC.len());
    if bytes[..magic] != MAGIC[..magic] {
        return Err("it does not begin with GNTLHIST".to_string());
    }
    let Some(bytes) = bytes.first_chunk::<PREAMBLE_BYTES>() else { return Ok(Version::Second) };
    if u32_at(bytes, 12) != crc32c::crc32c(&bytes[..12]) {
        return Err("the checksum of its first bytes does not match".to_string());
    }
    match u32_at(bytes, 8) {
        1 => Ok(Version::First),
        2 => Ok(Version::Second),
        version => Err(format!("it has version {version}, known are 1 and 2")),
    }
}

/// What stands before a chunk's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Whether this is the end marker.
    pub end: bool,
    /// Which chunk.
    pub ordinal: u32,
    /// Bytes of payload.
    pub length: u32,
    /// Entries in the payload.
    pub entries: u32,
    /// Of the payload.
    pub crc: u32,
}

impl Header {
    /// The header as bytes.
    pub(super) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(if self.end { END } else { CHUNK });
        bytes[4..8].copy_from_slice(&self.ordinal.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.entries.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..20]);
        bytes[20..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header in these bytes, if they are one.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        let end = &bytes[..4] == END;
        if !(end || &bytes[..4] == CHUNK) || u32_at(bytes, 20) != crc32c::crc32c(&bytes[..20]) {
            return None;
        }
        let header = Header {
            end,
            ordinal: u32_at(bytes, 4),
            length: u32_at(bytes, 8),
            entries: u32_at(bytes, 12),
            crc: u32_at(bytes, 16),
        };
        (header.length as usize <= PAYLOAD_BYTES_MAX).then_some(header)
    }
}

/// The end marker's payload.
pub(super) fn end_payload(entries: u64, chunks: u32) -> [u8; END_PAYLOAD_BYTES] {
    let mut bytes = [0; END_PAYLOAD_BYTES];
    bytes[..8].copy_from_slice(&entries.to_le_bytes());
    bytes[8..].copy_from_slice(&chunks.to_le_bytes());
    bytes
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
