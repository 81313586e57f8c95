//! The snapshot store: what a core's snapshot effects do to a disk.
//!
//! A snapshot is a file `snapshot-<number, 20 digits>-<tag, 20 digits>`, which is also what travels to other
//! replicas, so that the checksum goes with it:
//!
//! ```text
//! "GAUNTLET IMAGE\0\0"   16 bytes
//! version              u32 little-endian
//! number, tag          u64 little-endian each, as in the name
//! length               u64 little-endian, of the image
//! crc32c               u32 little-endian, of all of the above and the image
//! image                its encoding
//! ```
//!
//! It is written under another name, synced, renamed, and the folder is synced: whatever has the name is whole.

mod steps;

pub use steps::Steps;

use crate::bugs::Bug;
use crate::disk::{Disk, DiskFile};
use bytes::Bytes;
use protocol::{Bugs, SnapshotEffect, SnapshotEvent, SnapshotId, codec};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

const MAGIC: &[u8; 16] = b"GAUNTLET IMAGE\0\0";
const VERSION: u32 = 1;
const CRC_AT: usize = 16 + 4 + 8 + 8 + 8;
const HEADER_BYTES: usize = CRC_AT + 4;

const NAME_PREFIX: &str = "snapshot-";
const SAVING: &str = "saving";
const RECEIVING: &str = "receiving";

/// So much is written between two syncs, so that the journal's syncs do not wait behind a whole image.
const SYNC_EVERY_BYTES: usize = 4 << 20;
/// The longest chunk that is read at once.
const CHUNK_BYTES_MAX: usize = 8 << 20;

/// Why the snapshots on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk refuses.
    #[error("snapshots: {0}")]
    Io(#[from] io::Error),
    /// There are snapshots, and none of them is whole.
    #[error("no snapshot is usable: {}: {reason}", file.display())]
    Damaged {
        /// The newest one.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The newest usable snapshot in a folder.
pub type Newest<I> = Option<(SnapshotId, I)>;

/// Where snapshots are kept.
#[derive(Debug)]
pub struct Snapshots<D: Disk>(Storage<D>);

#[derive(Debug)]
enum Storage<D: Disk> {
    Disk { disk: D, receiving: Option<D::File>, bugs: Bugs<Bug> },
    Memory { saved: BTreeMap<SnapshotId, Bytes>, receiving: Vec<u8> },
}

impl<D: Disk> Snapshots<D> {
    /// Opens the store on a disk, and finds the newest snapshot.
    ///
    /// # Errors
    /// If the disk refuses, or there are snapshots and none is whole.
    pub fn open<I: protocol::Wire>(disk: D, bugs: Bugs<Bug>) -> Result<(Self, Newest<I>), SnapshotError> {
        // A rename that a killed process made may not have been durable.
        disk.sync_folder()?;
        let newest = load_newest(&disk, &bugs)?;
        Ok((Self(Storage::Disk { disk, receiving: None, bugs }), newest))
    }

    /// A store that forgets everything when its process ends.
    #[must_use]
    pub fn in_memory() -> Self {
        Self(Storage::Memory { saved: BTreeMap::new(), receiving: Vec::new() })
    }

    /// Does what a core asks, to the end, and answers. After a failure of the disk the core goes on without.
    pub fn carry_out<I: protocol::Wire>(&mut self, effect: SnapshotEffect<I>) -> Option<SnapshotEvent<I>> {
        let storage = &mut self.0;
        let (id, done) = match effect {
            SnapshotEffect::Save { id, image } => (id, storage.save(id, &image)),
            SnapshotEffect::Read { to, id, offset, length_max } => {
                let chunk = storage.read(id, offset, length_max as usize);
                (id, chunk.map(|(bytes, last)| Some(SnapshotEvent::Chunk { to, id, offset, bytes, last })))
            }
            SnapshotEffect::Write { id, offset, bytes, last } => {
                (id, storage.receive(id, offset, &bytes, last))
            }
            SnapshotEffect::Discard { keep, .. } => (keep, storage.discard(keep).map(|()| None)),
        };
        done.unwrap_or_else(|error| {
            tracing::warn!(?id, %error, "snapshot");
            Some(SnapshotEvent::Failed { id, reason: error.to_string() })
        })
    }
}

impl<D: Disk> Storage<D> {
    fn save<I: protocol::Wire>(&mut self, id: SnapshotId, image: &I) -> io::Result<Option<SnapshotEvent<I>>> {
        let bytes = encode(id, image);
        let size = bytes.len() as u64;
        match self {
            Storage::Memory { saved, .. } => {
                saved.insert(id, bytes.into());
            }
            Storage::Disk { disk, bugs, .. } => {
                let file = disk.create(SAVING)?;
                for (piece, at) in bytes.chunks(SYNC_EVERY_BYTES).zip((0..).step_by(SYNC_EVERY_BYTES)) {
                    file.write_all_at(piece, at)?;
                    file.sync()?;
                }
                publish(disk, bugs, SAVING, id)?;
            }
        }
        Ok(Some(SnapshotEvent::Saved { id, size }))
    }

    fn read(&mut self, id: SnapshotId, offset: u64, length_max: usize) -> io::Result<(Bytes, bool)> {
        let length_max = length_max.min(CHUNK_BYTES_MAX);
        let (bytes, size) = match self {
            Storage::Memory { saved, .. } => {
                let whole = saved.get(&id).ok_or(io::ErrorKind::NotFound)?;
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
                let end = start.saturating_add(length_max).min(whole.len());
                (whole.slice(start..end), whole.len() as u64)
            }
            Storage::Disk { disk, .. } => {
                let file = disk.open_file(&name(id))?;
                (file.read_at(offset, length_max)?.into(), file.size()?)
            }
        };
        let last = offset.saturating_add(bytes.len() as u64) >= size;
        Ok((bytes, last))
    }

    fn receive<I: protocol::Wire>(
        &mut self,
        id: SnapshotId,
        offset: u64,
        chunk: &[u8],
        last: bool,
    ) -> io::Result<Option<SnapshotEvent<I>>> {
        let gap = |size: u64| io::Error::other(format!("chunk at {offset} of a file of {size} bytes"));
        let bytes = match self {
            Storage::Memory { receiving, .. } => {
                let at = usize::try_from(offset).ok().filter(|at| *at <= receiving.len());
                receiving.truncate(at.ok_or_else(|| gap(receiving.len() as u64))?);
                receiving.extend_from_slice(chunk);
                if last { std::mem::take(receiving) } else { return Ok(None) }
            }
            Storage::Disk { disk, receiving, .. } => {
                if offset == 0 {
                    *receiving = Some(disk.create(RECEIVING)?);
                }
                let file = receiving.as_ref().ok_or_else(|| gap(0))?;
                let size = file.size()?;
                if offset > size {
                    return Err(gap(size));
                }
                file.set_size(offset)?;
                file.write_all_at(chunk, offset)?;
                file.sync()?;
                if !last {
                    return Ok(None);
                }
                *receiving = None;
                disk.read(RECEIVING)?
            }
        };
        let (found, image) = decode(&bytes, &Bugs::default()).map_err(io::Error::other)?;
        if found != id {
            return Err(io::Error::other(format!("it says that it is {found:?}")));
        }
        match self {
            Storage::Memory { saved, .. } => {
                saved.insert(id, bytes.into());
            }
            Storage::Disk { disk, bugs, .. } => {
                publish(disk, bugs, RECEIVING, id)?;
            }
        }
        Ok(Some(SnapshotEvent::Received { id, image }))
    }

    fn discard(&mut self, keep: SnapshotId) -> io::Result<()> {
        match self {
            Storage::Memory { saved, .. } => saved.retain(|id, _| *id >= keep),
            Storage::Disk { disk, .. } => {
                for old in disk.names()?.iter().filter(|name| parse_name(name).is_some_and(|id| id < keep)) {
                    disk.remove(old)?;
                }
                disk.sync_folder()?;
            }
        }
        Ok(())
    }
}

/// A file that is whole gets the name of a snapshot, durably.
fn publish<D: Disk>(disk: &D, bugs: &Bugs<Bug>, file: &str, id: SnapshotId) -> io::Result<()> {
    disk.rename(file, &name(id))?;
    if bugs.has(Bug::RenameNotSynced) {
        return Ok(());
    }
    disk.sync_folder()
}

/// An older one than the newest is used only if the newest is damaged: the journal then tells the core whether it
/// still goes back so far.
fn load_newest<D: Disk, I: protocol::Wire>(disk: &D, bugs: &Bugs<Bug>) -> Result<Newest<I>, SnapshotError> {
    let mut worst = None;
    let mut ids: Vec<_> = disk.names()?.iter().filter_map(|name| parse_name(name)).collect();
    ids.sort_unstable();
    for id in ids.into_iter().rev() {
        let file = disk.path(&name(id));
        match decode(&disk.read(&name(id))?, bugs) {
            Ok((found, image)) if found == id => return Ok(Some((id, image))),
            Ok((found, _)) => {
                worst.get_or_insert((file, format!("it says that it is {found:?}")));
            }
            Err(reason) => {
                tracing::warn!(file = %file.display(), %reason, "snapshot is not usable");
                worst.get_or_insert((file, reason));
            }
        }
    }
    match worst {
        None => Ok(None),
        Some((file, reason)) => Err(SnapshotError::Damaged { file, reason }),
    }
}

fn name(id: SnapshotId) -> String {
    format!("{NAME_PREFIX}{:020}-{:020}", id.number, id.tag)
}

fn parse_name(name: &str) -> Option<SnapshotId> {
    let (number, tag) = name.strip_prefix(NAME_PREFIX)?.split_once('-')?;
    Some(SnapshotId { number: number.parse().ok()?, tag: tag.parse().ok()? })
}

fn encode<I: protocol::Wire>(id: SnapshotId, image: &I) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&id.number.to_le_bytes());
    out.extend_from_slice(&id.tag.to_le_bytes());
    out.extend_from_slice(&[0; 12]);
    codec::encode_into(image, &mut out);
    let length = (out.len() - HEADER_BYTES) as u64;
    out[CRC_AT - 8..CRC_AT].copy_from_slice(&length.to_le_bytes());
    let crc = checksum(&out);
    out[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    out
}

fn decode<I: protocol::Wire>(bytes: &[u8], bugs: &Bugs<Bug>) -> Result<(SnapshotId, I), String> {
    let Some((header, image)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err("it is shorter than a header".to_owned());
    };
    let number = |at: usize| {
        let field: [u8; 8] = header[at..at + 8].try_into().expect("eight bytes within the header");
        u64::from_le_bytes(field)
    };
    if !header.starts_with(MAGIC) || header[16..20] != VERSION.to_le_bytes() {
        return Err(format!("it is no image of version {VERSION}"));
    }
    if number(CRC_AT - 8) != image.len() as u64 {
        return Err(format!("its image has {} bytes, not {}", image.len(), number(CRC_AT - 8)));
    }
    if header[CRC_AT..] != checksum(bytes).to_le_bytes() && !bugs.has(Bug::NoChecksum) {
        return Err("its checksum does not match".to_owned());
    }
    let image = codec::decode(image).map_err(|e| e.to_string())?;
    Ok((SnapshotId { number: number(20), tag: number(28) }, image))
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_AT]), &bytes[HEADER_BYTES..])
}

#[cfg(test)]
mod tests;
