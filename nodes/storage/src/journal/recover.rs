//! Reading a journal back when a node starts.

use super::format::{self, HEADER_BYTES, Salt, Tail};
use super::{Damage, JournalError};
use crate::bugs::Bug;
use crate::disk::{Disk, DiskFile};
use protocol::{Bugs, JournalPosition};

/// What a disk held.
#[derive(Debug)]
pub(super) struct Found {
    /// First positions of the segments, oldest first. Never empty.
    pub(super) segments: Vec<JournalPosition>,
    /// What the next record gets.
    pub(super) next: JournalPosition,
    /// Of the last segment.
    pub(super) salt: Salt,
    /// Where the last segment's last whole batch begins.
    pub(super) last_batch: u64,
    /// Where the last segment's whole batches end.
    pub(super) end: u64,
}

/// Takes the encoding of one record; an error says why it cannot be one.
pub(super) type Take<'a> = dyn FnMut(JournalPosition, &[u8]) -> Result<(), String> + 'a;

/// Reads all segments, oldest record first; a torn tail is cut off, durably. `None`: there is no journal.
pub(super) fn recover<D: Disk>(
    disk: &D,
    bugs: &Bugs<Bug>,
    take: &mut Take<'_>,
) -> Result<Option<Found>, JournalError> {
    let io = |what: &'static str| move |source| JournalError::Io { what, source };
    let names = disk.names().map_err(io("listing the journal"))?;
    let segments: Vec<_> = names.iter().filter_map(|name| format::parse_segment_name(name)).collect();
    let (Some(&first), Some(&last)) = (segments.first(), segments.last()) else { return Ok(None) };
    let mut next = first;
    let mut tail = Whole::default();
    for &segment in &segments {
        let name = format::segment_name(segment);
        let bytes = disk.read(&name).map_err(io("reading a journal segment"))?;
        let read = read_segment(&bytes, segment, &mut next, (segment == last, bugs), take);
        tail = read.map_err(|(offset, position, reason)| {
            let file = disk.path(&name);
            JournalError::Damaged(Damage { file, offset: offset as u64, position, reason })
        })?;
    }
    // What was read may be in the system's memory only, if the last process was killed before it had synced.
    let file = disk.open_file(&format::segment_name(last)).map_err(io("opening the journal"))?;
    let Whole { last_batch, end, salt } = tail;
    file.set_size(end as u64)
        .and_then(|()| file.sync())
        .and_then(|()| disk.sync_folder())
        .map_err(io("cutting the journal's tail"))?;
    Ok(Some(Found { segments, next, salt, last_batch: last_batch as u64, end: end as u64 }))
}

/// Where in a segment its last whole batch begins and ends.
#[derive(Default)]
struct Whole {
    last_batch: usize,
    end: usize,
    salt: Salt,
}

/// Where in a segment the damage is, which record should be there, and what is wrong.
type At = (usize, JournalPosition, String);

/// Takes a segment's records.
fn read_segment(
    bytes: &[u8],
    segment: JournalPosition,
    next: &mut JournalPosition,
    (is_last, bugs): (bool, &Bugs<Bug>),
    take: &mut Take<'_>,
) -> Result<Whole, At> {
    if segment != *next {
        return Err((0, *next, format!("the journal goes on at {segment} only: records are missing")));
    }
    let salt = format::check_header(bytes, segment).map_err(|reason| (0, segment, reason))?;
    let (mut offset, mut last_batch) = (HEADER_BYTES, HEADER_BYTES);
    while let Some(batch) = format::parse_batch(&bytes[offset..], salt)
        .or_else(|| format::parse_unchecked(&bytes[offset..], salt, bugs, is_last))
    {
        if batch.first != *next {
            return Err((offset, *next, format!("here stands the batch of {}", batch.first)));
        }
        for record in batch.records {
            take(*next, record).map_err(|reason| (offset, *next, reason))?;
            *next = next.next();
        }
        last_batch = offset;
        offset += batch.bytes;
    }
    let whole = Whole { last_batch, end: offset, salt };
    match format::judge_tail(&bytes[offset..], salt, *next) {
        Tail::Clean => Ok(whole),
        Tail::Torn(torn) if is_last => {
            tracing::warn!(%segment, offset, torn, position = %next,
                "the journal ends in an unfinished write, which is cut off");
            Ok(whole)
        }
        Tail::Torn(_) => Err((offset, *next, "no batch, though a later segment exists".to_owned())),
        Tail::Damaged { .. } if is_last && bugs.has(Bug::TruncateAtCorruption) => Ok(whole),
        Tail::Damaged { behind, position } => {
            let reason = format!("no batch, though the batch of {position} is at offset {}", offset + behind);
            Err((offset, *next, reason))
        }
    }
}
