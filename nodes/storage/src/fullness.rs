//! A disk that is said to be full: it keeps what it has, and refuses to hold more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Whether a disk is full. Clones speak of the same disk, which may have several folders.
#[derive(Clone, Debug, Default)]
pub struct Fullness(Arc<State>);

#[derive(Debug, Default)]
struct State {
    full: AtomicBool,
    refused: AtomicU64,
}

impl Fullness {
    /// From now on it is full, or is not.
    pub fn set(&self, full: bool) {
        self.0.full.store(full, Ordering::Relaxed);
    }

    /// Whether it is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.full.load(Ordering::Relaxed)
    }

    /// How many writes it has refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Something is to be written.
    ///
    /// # Errors
    /// If there is no room for it.
    pub(crate) fn admit(&self) -> io::Result<()> {
        if self.is_full() {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
            let reason = "No space left on device (a fault says so)";
            return Err(io::Error::new(io::ErrorKind::StorageFull, reason));
        }
        Ok(())
    }
}
