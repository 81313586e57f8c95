//! The state as a snapshot holds it.
//!
//! ```text
//! digest    u64, of all that follows, as Store::digest
//! sessions  sequence of (session, last sequence, its answer), used longest ago first
//! entries   sequence of (key, value), keys ascending
//! ```
//! in the encoding of [`protocol::codec`]. Decoding refuses what no store can hold, and a digest that is not that of
//! the content: an `Image` that exists is the image of a state.

use crate::entries::Entries;
use crate::session::SessionTable;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The state as a snapshot holds it: see [`crate::Store::image`].
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unverified")]
pub struct Image {
    digest: u64,
    sessions: SessionTable,
    entries: Entries,
}

/// What an image claims to be.
#[derive(Deserialize)]
struct Unverified {
    digest: u64,
    sessions: SessionTable,
    entries: Entries,
}

#[derive(Debug, thiserror::Error)]
#[error("the image's digest is {claimed:016x}, its content's {computed:016x}")]
struct WrongDigest {
    claimed: u64,
    computed: u64,
}

impl Image {
    pub(crate) fn new(entries: Entries, sessions: SessionTable) -> Self {
        Self { digest: entries.digest().wrapping_add(sessions.digest()), sessions, entries }
    }

    pub(crate) fn entries(&self) -> &Entries {
        &self.entries
    }

    pub(crate) fn sessions(&self) -> &SessionTable {
        &self.sessions
    }

    /// The same entries, with no session known. A snapshot like this forgets what was applied: a seeded bug.
    #[must_use]
    pub fn without_sessions(self) -> Self {
        Self::new(self.entries, SessionTable::default())
    }

    /// As [`crate::Store::digest`].
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }
}

impl TryFrom<Unverified> for Image {
    type Error = WrongDigest;

    fn try_from(unverified: Unverified) -> Result<Self, WrongDigest> {
        let image = Self::new(unverified.entries, unverified.sessions);
        if image.digest == unverified.digest {
            Ok(image)
        } else {
            Err(WrongDigest { claimed: unverified.digest, computed: image.digest })
        }
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("keys", &self.entries.len())
            .field("sessions", &self.sessions.len())
            .field("digest", &format_args!("{:016x}", self.digest))
            .finish()
    }
}
