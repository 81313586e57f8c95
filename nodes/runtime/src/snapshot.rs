//! The snapshot store: a thread that saves, reads and receives images beside the core's work.
//!
//! A snapshot is a file `snapshot-<upto, 20 digits>-<epoch, 20 digits>`, which is also what travels to other
//! replicas, so that the checksum goes with it:
//!
//! ```text
//! "GAUNTLET IMAGE\0\0"   16 bytes
//! version              u32 little-endian
//! upto, epoch          u64 little-endian each, as in the name
//! length               u64 little-endian, of the image
//! crc32c               u32 little-endian, of all of the above and the image
//! image                its encoding
//! ```
//!
//! It is written under another name, synced, renamed, and the folder is synced: whatever has the name is whole.

use crate::config::Durability;
use crate::disk::{Disk, DiskFile};
use crate::event::{Event, KvProtocol};
use bytes::Bytes;
use protocol::{SnapshotEffect, SnapshotEvent, SnapshotId, codec};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;
use tokio::sync::mpsc;

const MAGIC: &[u8; 16] = b"GAUNTLET IMAGE\0\0";
const VERSION: u32 = 1;
const CRC_AT: usize = 16 + 4 + 8 + 8 + 8;
const HEADER_BYTES: usize = CRC_AT + 4;

const NAME_PREFIX: &str = "snapshot-";
const SAVING: &str = "saving";
const RECEIVING: &str = "receiving";

/// So much is written between two syncs, so that the journal's syncs do not wait behind a whole image.
const SYNC_EVERY_BYTES: usize = 4 << 20;
/// Tasks that may wait. A core has one save under way, and a chunk or two for each peer.
const TASKS_WAITING_MAX: usize = 256;
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
pub(crate) type Newest<I> = Option<(SnapshotId, I)>;

/// Where a core's snapshot effects go.
#[derive(Debug)]
pub(crate) struct SnapshotStore<P: KvProtocol> {
    tasks: std_mpsc::SyncSender<SnapshotEffect<P::Image>>,
}

impl<P: KvProtocol> SnapshotStore<P> {
    /// Opens the store in a folder; answers go to `events`.
    ///
    /// # Errors
    /// If the disk refuses, or there are snapshots and none is whole.
    pub(crate) fn open(
        folder: &Path,
        durability: Durability,
        events: mpsc::Sender<Event<P>>,
    ) -> Result<(SnapshotStore<P>, Newest<P::Image>), SnapshotError> {
        let (storage, newest) = match durability {
            Durability::Memory => (Storage::Memory { saved: BTreeMap::new(), receiving: Vec::new() }, None),
            Durability::Fsync => {
                let disk = Disk::open(folder)?;
                // A rename that a killed process made may not have been durable.
                disk.sync_folder()?;
                let newest = load_newest(&disk)?;
                (Storage::Disk { disk, receiving: None }, newest)
            }
        };
        let (tasks, queue) = std_mpsc::sync_channel(TASKS_WAITING_MAX);
        std::thread::Builder::new()
            .name("snapshots".to_owned())
            .spawn(move || work(storage, &queue, &events))?;
        Ok((SnapshotStore { tasks }, newest))
    }

    /// Hands on an effect; an answer comes back if it cannot be carried out.
    pub(crate) fn submit(&self, effect: SnapshotEffect<P::Image>) -> Option<SnapshotEvent<P::Image>> {
        let effect = match self.tasks.try_send(effect) {
            Ok(()) => return None,
            Err(std_mpsc::TrySendError::Full(effect) | std_mpsc::TrySendError::Disconnected(effect)) => {
                effect
            }
        };
        let id = match effect {
            SnapshotEffect::Save { id, .. }
            | SnapshotEffect::Read { id, .. }
            | SnapshotEffect::Write { id, .. } => id,
            // The next one covers it.
            SnapshotEffect::Discard { .. } => return None,
        };
        Some(SnapshotEvent::Failed { id, reason: "the snapshot store is busy".to_owned() })
    }
}

fn work<P: KvProtocol>(
    mut storage: Storage,
    queue: &std_mpsc::Receiver<SnapshotEffect<P::Image>>,
    events: &mpsc::Sender<Event<P>>,
) {
    while let Ok(effect) = queue.recv() {
        if let Some(answer) = carry_out(&mut storage, effect)
            && events.blocking_send(Event::Snapshot(answer)).is_err()
        {
            return;
        }
    }
}

fn carry_out<I: protocol::Wire>(
    storage: &mut Storage,
    effect: SnapshotEffect<I>,
) -> Option<SnapshotEvent<I>> {
    let (id, done) = match effect {
        SnapshotEffect::Save { id, image } => (id, storage.save(id, &image)),
        SnapshotEffect::Read { to, id, offset, length_max } => {
            let chunk = storage.read(id, offset, length_max as usize);
            (id, chunk.map(|(bytes, last)| Some(SnapshotEvent::Chunk { to, id, offset, bytes, last })))
        }
        SnapshotEffect::Write { id, offset, bytes, last } => (id, storage.receive(id, offset, &bytes, last)),
        SnapshotEffect::Discard { keep, .. } => (keep, storage.discard(keep).map(|()| None)),
    };
    done.unwrap_or_else(|error| {
        tracing::warn!(?id, %error, "snapshot");
        Some(SnapshotEvent::Failed { id, reason: error.to_string() })
    })
}

/// Where snapshots are kept.
#[derive(Debug)]
enum Storage {
    Disk { disk: Disk, receiving: Option<DiskFile> },
    Memory { saved: BTreeMap<SnapshotId, Bytes>, receiving: Vec<u8> },
}

impl Storage {
    fn save<I: protocol::Wire>(&mut self, id: SnapshotId, image: &I) -> io::Result<Option<SnapshotEvent<I>>> {
        let bytes = encode(id, image);
        let size = bytes.len() as u64;
        match self {
            Storage::Memory { saved, .. } => {
                saved.insert(id, bytes.into());
            }
            Storage::Disk { disk, .. } => {
                let file = disk.create(SAVING)?;
                for (piece, at) in bytes.chunks(SYNC_EVERY_BYTES).zip((0..).step_by(SYNC_EVERY_BYTES)) {
                    file.write_all_at(piece, at)?;
                    file.sync()?;
                }
                disk.rename(SAVING, &name(id))?;
                disk.sync_folder()?;
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
            Storage::Disk { disk, receiving } => {
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
        let (found, image) = decode(&bytes).map_err(io::Error::other)?;
        if found != id {
            return Err(io::Error::other(format!("it says that it is {found:?}")));
        }
        match self {
            Storage::Memory { saved, .. } => {
                saved.insert(id, bytes.into());
            }
            Storage::Disk { disk, .. } => {
                disk.rename(RECEIVING, &name(id))?;
                disk.sync_folder()?;
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

/// An older one than the newest is used only if the newest is damaged: the journal then tells the core whether it
/// still goes back so far.
fn load_newest<I: protocol::Wire>(disk: &Disk) -> Result<Newest<I>, SnapshotError> {
    let mut worst = None;
    let mut ids: Vec<_> = disk.names()?.iter().filter_map(|name| parse_name(name)).collect();
    ids.sort_unstable();
    for id in ids.into_iter().rev() {
        let file = disk.path(&name(id));
        match decode(&disk.read(&name(id))?) {
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
    format!("{NAME_PREFIX}{:020}-{:020}", id.upto, id.epoch)
}

fn parse_name(name: &str) -> Option<SnapshotId> {
    let (upto, epoch) = name.strip_prefix(NAME_PREFIX)?.split_once('-')?;
    Some(SnapshotId { upto: upto.parse().ok()?, epoch: epoch.parse().ok()? })
}

fn encode<I: protocol::Wire>(id: SnapshotId, image: &I) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&id.upto.to_le_bytes());
    out.extend_from_slice(&id.epoch.to_le_bytes());
    out.extend_from_slice(&[0; 12]);
    codec::encode_into(image, &mut out);
    let length = (out.len() - HEADER_BYTES) as u64;
    out[CRC_AT - 8..CRC_AT].copy_from_slice(&length.to_le_bytes());
    let crc = checksum(&out);
    out[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    out
}

fn decode<I: protocol::Wire>(bytes: &[u8]) -> Result<(SnapshotId, I), String> {
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
    if header[CRC_AT..] != checksum(bytes).to_le_bytes() {
        return Err("its checksum does not match".to_owned());
    }
    let image = codec::decode(image).map_err(|e| e.to_string())?;
    Ok((SnapshotId { upto: number(20), epoch: number(28) }, image))
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_AT]), &bytes[HEADER_BYTES..])
}

#[cfg(test)]
mod tests;
