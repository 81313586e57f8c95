//! The state, its digest and its image.
//!
//! INTERFACE SKETCH, to be implemented.

use crate::command::Command;
use crate::response::{Refusal, Response};
use protocol::{Sequence, SessionId};
use serde::{Deserialize, Serialize};

/// Bounds of the state. Equal on all replicas of a group: they decide outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Sessions remembered; the one used longest ago is forgotten first.
    pub sessions_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sessions_max: 100_000 }
    }
}

/// The state.
#[derive(Clone, Debug)]
pub struct Store {
    limits: Limits,
}

/// The state as a snapshot holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {}

impl Store {
    /// Nothing.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// Carries out a command once per (session, sequence): a retry gets the first answer again.
    ///
    /// # Errors
    /// [`Refusal::SessionExpired`] if it can no longer be told whether the command is a retry;
    /// [`Refusal::Invalid`] if it breaks a bound.
    pub fn apply(&mut self, session: SessionId, sequence: Sequence, command: &Command) -> Result<Response, Refusal> {
        let _ = (session, sequence, command, self.limits);
        Ok(Response::Done)
    }

    /// Answers a read-only command from the state as it is.
    ///
    /// # Panics
    /// If the command is not read-only.
    #[must_use]
    pub fn read(&self, command: &Command) -> Response {
        let _ = command;
        Response::Done
    }

    /// Equal states have equal digests; kept incrementally. Sessions are part of the state.
    #[must_use]
    pub fn digest(&self) -> u64 {
        0
    }

    /// Keys in the state.
    #[must_use]
    pub fn len(&self) -> usize {
        0
    }

    /// Whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The state as a snapshot holds it: shares structure, costs no copy.
    #[must_use]
    pub fn image(&self) -> Image {
        Image {}
    }

    /// The state that an image holds.
    #[must_use]
    pub fn from_image(limits: Limits, image: &Image) -> Self {
        let _ = image;
        Self { limits }
    }
}
