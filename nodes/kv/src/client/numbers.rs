//! Which numbers a client's commands and requests have.
//!
//! No (session, sequence) ever names two commands. A session that has answered once goes on with the next number whatever became
//! of the last; before that, nobody can tell whether a session exists whose command was not answered, so the next command begins
//! a new one.

use super::under_way::UnderWay;
use crate::command::Command;
use crate::digest::mix;
use protocol::{ClientOutcome, Done, RequestId, Sequence, SessionId, Time};

/// What the next command and its requests are called.
#[derive(Debug)]
pub(super) struct Numbers {
    configured: SessionId,
    session: SessionId,
    /// Whether the session has answered a command.
    session_exists: bool,
    /// Sessions begun after the configured one.
    sessions_begun: u64,
    /// Of the next command that is not read-only.
    sequence: Sequence,
    next_request: RequestId,
}

impl Numbers {
    pub(super) fn new(session: SessionId) -> Self {
        Self {
            configured: session,
            session,
            session_exists: false,
            sessions_begun: 0,
            sequence: Sequence(1),
            next_request: RequestId(1),
        }
    }

    /// A command begins, to be over by `deadline`.
    ///
    /// # Errors
    /// How it ends at once, if it is none.
    pub(super) fn begin<R>(&self, now: Time, deadline: Time, command: Command) -> Result<UnderWay, Done<R>> {
        if let Err(refusal) = command.validate() {
            return Err(Done { outcome: ClientOutcome::Failed(refusal.to_string()), by: Vec::new() });
        }
        let sequence = if command.is_read_only() { Sequence(0) } else { self.sequence };
        Ok(UnderWay::new(now, deadline, command, (self.session, sequence), self.next_request))
    }

    /// The session's commands are refused from now on.
    pub(super) fn expired(&mut self) {
        self.session_exists = false;
    }

    /// A command is over.
    pub(super) fn end(&mut self, ended: &UnderWay, answered: bool) {
        self.next_request = ended.next_request();
        if ended.command().is_read_only() {
            return;
        }
        self.session_exists |= answered;
        if self.session_exists {
            self.sequence.0 += 1;
        } else {
            self.sessions_begun += 1;
            self.session = SessionId(mix(self.configured.0, self.sessions_begun));
            self.sequence = Sequence(1);
        }
    }
}
