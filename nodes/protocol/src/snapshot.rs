//! Saving, sending and receiving a core's state, without the core touching a file.
//!
//! A snapshot's *image* is cheap for a core to make (its state is persistent data that shares structure);
//! the driver encodes and writes it beside the core's further work. Between replicas it travels in chunks
//! of its encoded bytes, which the core asks the driver to read, puts into messages of its own, and
//! asks the receiving driver to write.

use crate::ids::{JournalPosition, ReplicaId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A snapshot's name, made by the core that saves it. Drivers and stores may assume one thing: of two on one replica's disk, the greater
/// covers more. Ordered by `number` first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SnapshotId {
    /// Grows with what is covered: the last log index, or how many snapshots there were before.
    pub number: u64,
    /// What the core has to know besides: a term, a view, a hash.
    pub tag: u64,
}

/// What a core asks of its driver's snapshot store. Carried out in order, after the records of the same
/// turn are durable.
#[derive(Debug, Clone, PartialEq)]
pub enum SnapshotEffect<I> {
    /// Encode and save this image durably, then answer [`SnapshotEvent::Saved`]. At most one save is
    /// under way at a time.
    Save {
        /// Its name.
        id: SnapshotId,
        /// The state.
        image: I,
    },
    /// Read a part of a saved snapshot's encoding, then answer [`SnapshotEvent::Chunk`] (or `Failed`).
    Read {
        /// For whom: comes back in the answer.
        to: ReplicaId,
        /// Which snapshot.
        id: SnapshotId,
        /// From which byte on.
        offset: u64,
        /// At most so many bytes.
        length_max: u32,
    },
    /// Put a chunk of another replica's snapshot at `offset` of a file beside ours (offset 0 begins it
    /// anew). After the last chunk: verify, make durable, decode, answer [`SnapshotEvent::Received`].
    Write {
        /// Which snapshot.
        id: SnapshotId,
        /// Where the chunk goes.
        offset: u64,
        /// The chunk.
        bytes: Bytes,
        /// Nothing follows.
        last: bool,
    },
    /// Snapshots older than `keep`, and journal records before `before`, are no longer needed.
    Discard {
        /// The oldest snapshot still needed: the newest durable one, or an older one that another replica is receiving.
        keep: SnapshotId,
        /// The first record still needed.
        before: JournalPosition,
    },
}

/// What a driver answers.
#[derive(Debug, Clone, PartialEq)]
pub enum SnapshotEvent<I> {
    /// The image is durable; its encoding has `size` bytes.
    Saved {
        /// Its name.
        id: SnapshotId,
        /// In bytes.
        size: u64,
    },
    /// A part of a saved snapshot.
    Chunk {
        /// For whom it was read.
        to: ReplicaId,
        /// Which snapshot.
        id: SnapshotId,
        /// Of the chunk's first byte.
        offset: u64,
        /// The chunk.
        bytes: Bytes,
        /// Nothing follows.
        last: bool,
    },
    /// A snapshot from another replica is whole and durable on our disk.
    Received {
        /// Its name.
        id: SnapshotId,
        /// The state.
        image: I,
    },
    /// A save, read or write did not work; the core goes on without it and may try again.
    Failed {
        /// Which snapshot.
        id: SnapshotId,
        /// Why, for the log.
        reason: String,
    },
}
