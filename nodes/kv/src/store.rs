//! The state: keys with their values, and sessions.

use crate::command::Command;
use crate::entries::Entries;
use crate::execute;
use crate::image::Image;
use crate::response::{Refusal, Response};
use crate::session::{Admission, SessionTable, Sessions};
use protocol::{Sequence, SessionId};
use serde::{Deserialize, Serialize};

/// Bounds of the state. Equal on all replicas of a group: they decide outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Sessions remembered, at least one; the one used longest ago is forgotten first. See `session.rs` for what a
    /// forgotten session means.
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
    entries: Entries,
    sessions: Sessions,
}

impl Store {
    /// Nothing.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            entries: Entries::default(),
            sessions: Sessions::new(SessionTable::default(), limits.sessions_max),
        }
    }

    /// Carries out a command once per (session, sequence): a retry gets the first answer again, and changes nothing. A
    /// read-only command is answered from the state as it is, whatever its session and sequence.
    ///
    /// # Errors
    /// [`Refusal::SessionExpired`] if it can no longer be told whether the command is a retry;
    /// [`Refusal::Invalid`] if it breaks a bound. Neither changes anything.
    pub fn apply(
        &mut self,
        session: SessionId,
        sequence: Sequence,
        command: &Command,
    ) -> Result<Response, Refusal> {
        command.validate()?;
        if command.is_read_only() {
            return Ok(self.read(command));
        }
        if let Some(settled) = self.settled(session, sequence) {
            return settled;
        }
        let response = execute::execute(&mut self.entries, command);
        self.sessions.record(session, sequence, response.clone());
        Ok(response)
    }

    /// What [`Store::apply`] answers to a command without carrying it out, if that is so: it is a retry, or refused for its
    /// sequence.
    #[must_use]
    pub fn settled(&self, session: SessionId, sequence: Sequence) -> Option<Result<Response, Refusal>> {
        match self.sessions.admit(session, sequence) {
            Admission::New => None,
            Admission::Answered(answer) => Some(Ok(answer.clone())),
            Admission::Expired => Some(Err(Refusal::SessionExpired)),
        }
    }

    /// Answers a read-only command (within its bounds) from the state as it is.
    ///
    /// # Panics
    /// If the command is not read-only.
    #[must_use]
    pub fn read(&self, command: &Command) -> Response {
        execute::read(&self.entries, command)
    }

    /// Equal states have equal digests, however they came about; kept incrementally. Sessions are part of the state (but not
    /// the order in which they were used).
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.entries.digest().wrapping_add(self.sessions.table().digest())
    }

    /// Of the keys of each range and their values, without sessions: they sum up to the rest of the digest.
    pub(crate) fn range_digests(&self) -> &[u64] {
        self.entries.range_digests()
    }

    /// Keys in the state.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The state as a snapshot holds it: shares structure, costs no copy.
    #[must_use]
    pub fn image(&self) -> Image {
        Image::new(self.entries.clone(), self.sessions.table().clone())
    }

    /// The state that an image holds.
    #[must_use]
    pub fn from_image(limits: Limits, image: &Image) -> Self {
        Self {
            entries: image.entries().clone(),
            sessions: Sessions::new(image.sessions().clone(), limits.sessions_max),
        }
    }
}
