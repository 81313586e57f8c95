//! The command under way: one or more *attempts*, requests with the same session and sequence under different request ids.

use crate::command::Command;
use crate::request::{Request, Routing};
use crate::response::{Refusal, Response};
use protocol::{ClientEffects, ClientOutcome, Done, ReplicaId, RequestId, Sequence, SessionId, Time};
use std::time::Duration;

pub(super) type Effects = ClientEffects<Request, Response>;

/// The command that is under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    command: Command,
    session: SessionId,
    sequence: Sequence,
    deadline: Time,
    first_request: RequestId,
    /// Oldest first, numbered from `first_request` on.
    attempts: Vec<Attempt>,
    /// Whether the last attempts are waited for; else a refusal is being sat out.
    waiting: bool,
    /// When the wait ends, of whichever kind.
    until: Time,
    /// The last bad news, empty while there is none.
    pub(super) trouble: String,
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) replica: ReplicaId,
    fate: Fate,
}

/// What is known of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing has been heard: it may take effect.
    Open,
    /// The same, and the connection that it went over is gone.
    Lost,
    /// There is an answer to it, which need not be the answer to the command.
    Answered,
    /// It never left: it had no effect and will have none.
    Unsent,
    /// The replica says that it had no effect and will have none.
    Refused,
    /// The replica itself does not know.
    Uncertain,
}

impl Attempt {
    /// Whether a word may still come.
    pub(super) fn is_open(&self) -> bool {
        self.fate == Fate::Open
    }

    fn is_undecided(&self) -> bool {
        matches!(self.fate, Fate::Open | Fate::Lost)
    }
}

impl UnderWay {
    pub(super) fn new(
        now: Time,
        deadline: Time,
        command: Command,
        (session, sequence): (SessionId, Sequence),
        first_request: RequestId,
    ) -> Self {
        Self {
            command,
            session,
            sequence,
            deadline,
            first_request,
            attempts: Vec::new(),
            waiting: false,
            until: now,
            trouble: String::new(),
        }
    }

    pub(super) fn command(&self) -> &Command {
        &self.command
    }

    pub(super) fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// The id that the next request of this client gets.
    pub(super) fn next_request(&self) -> RequestId {
        RequestId(self.first_request.0 + self.attempts.len() as u64)
    }

    pub(super) fn is_late(&self, now: Time) -> bool {
        now >= self.deadline
    }

    /// Sends the command to a replica.
    pub(super) fn attempt(&mut self, replica: ReplicaId, routing: Routing, out: &mut Effects) {
        let request = Request {
            id: self.next_request(),
            session: self.session,
            sequence: self.sequence,
            routing,
            command: self.command.clone(),
        };
        self.attempts.push(Attempt { replica, fate: Fate::Open });
        out.send.push((replica, request));
    }

    /// The attempt that was made under this id, unless it was made for an older command.
    pub(super) fn position(&self, request: RequestId) -> Option<usize> {
        let position = usize::try_from(request.0.checked_sub(self.first_request.0)?).ok()?;
        (position < self.attempts.len()).then_some(position)
    }

    /// A replica answers an attempt; whether that is its first word to it.
    pub(super) fn answered(&mut self, position: usize) -> bool {
        self.decide(position, Fate::Answered)
    }

    /// A replica refuses an attempt; whether that is its first word to it.
    pub(super) fn refused(&mut self, position: usize, refusal: &Refusal) -> bool {
        let uncertain = matches!(refusal, Refusal::Uncertain(_));
        self.decide(position, if uncertain { Fate::Uncertain } else { Fate::Refused })
    }

    fn decide(&mut self, position: usize, fate: Fate) -> bool {
        let attempt = &mut self.attempts[position];
        let undecided = attempt.is_undecided();
        if undecided {
            attempt.fate = fate;
        }
        undecided
    }

    /// Nothing of this command was sent to a replica, nor will be of what has been attempted.
    pub(super) fn unsent(&mut self, replica: ReplicaId) {
        self.cut_off(replica, Fate::Unsent);
    }

    /// Nothing more of what has been attempted will be sent to a replica, and no reply comes over the connection that is gone.
    pub(super) fn lost(&mut self, replica: ReplicaId) {
        self.cut_off(replica, Fate::Lost);
    }

    fn cut_off(&mut self, replica: ReplicaId, fate: Fate) {
        let there = |attempt: &&mut Attempt| attempt.replica == replica && attempt.is_undecided();
        self.attempts.iter_mut().filter(there).for_each(|attempt| attempt.fate = fate);
    }

    /// Whether replies are waited for.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Nothing is done for so long, unless something happens. `waiting`: for replies.
    pub(super) fn rest(&mut self, now: Time, waiting: bool, duration: Duration, out: &mut Effects) {
        self.waiting = waiting;
        self.until = now + duration;
        self.ask_for_wake(out);
    }

    /// Whether the rest is over; else the driver is asked to wake once more.
    pub(super) fn has_rested(&self, now: Time, out: &mut Effects) -> bool {
        let rested = now >= self.until.min(self.deadline);
        if !rested {
            self.ask_for_wake(out);
        }
        rested
    }

    fn ask_for_wake(&self, out: &mut Effects) {
        out.wake = Some(self.until.min(self.deadline));
    }

    /// Whether all attempts were without effect, if all replicas but `lies` of them say the truth.
    fn is_without_effect(&self, lies: usize) -> bool {
        self.attempts.iter().all(|attempt| match attempt.fate {
            Fate::Unsent => true,
            // Whoever lies may see to it that what he refuses is carried out.
            Fate::Refused => lies == 0,
            Fate::Open | Fate::Lost | Fate::Answered | Fate::Uncertain => false,
        })
    }

    /// How it ends without an answer.
    pub(super) fn unanswered(&self, lies: usize) -> Done<Response> {
        let trouble = match self.attempts.len() {
            0 => "no time for an attempt".to_owned(),
            1 => self.trouble.clone(),
            attempts => format!("{} (after {attempts} attempts)", self.trouble),
        };
        if !self.is_without_effect(lies) {
            return Done { outcome: ClientOutcome::Unknown(trouble), by: Vec::new() };
        }
        let refused = self.attempts.iter().filter(|attempt| attempt.fate == Fate::Refused);
        let mut by: Vec<_> = refused.map(|attempt| attempt.replica).collect();
        by.sort_unstable();
        by.dedup();
        Done { outcome: ClientOutcome::Failed(trouble), by }
    }
}
