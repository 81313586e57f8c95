//! The client that follows a leader, or stays with one replica.
//!
//! A command is one or more *attempts*: requests with the same session and sequence under different request ids.
//!
//! | an attempt meets | then |
//! |---|---|
//! | an answer | the command is over, whichever of its attempts it is the answer to |
//! | `NotLeader` with a leader | go there at once, after a few such hops in a row wait first |
//! | `NotLeader` without, `Busy`, `Unavailable`, `Uncertain` | wait, then try the next replica |
//! | no connection, or a lost one | try the next replica at once, after a few such hops in a row wait first |
//! | silence | try the next replica |
//! | `SessionExpired`, `Invalid` | the command is over |
//!
//! A bound client waits and tries the same replica where another one goes on to the next.
//!
//! **Failed or unknown.** A command without an answer is [`ClientOutcome::Failed`] only if *every* attempt was definitely
//! without effect: refused in words that say so, or never sent. One attempt that is still open, or was lost with its
//! connection, or is `Uncertain`, makes it [`ClientOutcome::Unknown`], whatever the later ones met. (For a read-only
//! command likewise, though it has no effect.) This rests on a connection not duplicating requests, as TCP does not.
//!
//! **Sequences.** No (session, sequence) ever names two commands. A session that has answered once goes on with the next
//! number whatever became of the last; before that, nobody can tell whether a session exists whose
//! command was not answered, so the next command begins a new one.

use crate::command::Command;
use crate::digest::mix;
use crate::request::{Reply, Request, Routing};
use crate::response::{Refusal, Response};
use protocol::{ClientCore, ClientEffects, ClientOutcome, ReplicaId, RequestId, Sequence, SessionId, Time};
use std::time::Duration;

/// How a [`LeaderClient`] behaves.
#[derive(Clone, Debug)]
pub struct LeaderClientConfig {
    /// Its session: unique among all clients of the run.
    pub session: SessionId,
    /// All replicas, in the order in which they are tried.
    pub replicas: Vec<ReplicaId>,
    /// Stay with this replica (`Routing::Here`) instead of following the leader.
    pub bound_to: Option<ReplicaId>,
    /// Without an answer for so long, try again (elsewhere, unless bound).
    pub attempt_timeout: Duration,
    /// Wait so long after a refusal that names no better replica.
    pub backoff: Duration,
}

/// Follows `NotLeader` hints, goes round the replicas when one is silent, retries under one sequence number
/// until the deadline.
#[derive(Debug)]
pub struct LeaderClient {
    config: LeaderClientConfig,
    session: SessionId,
    /// Whether the session has answered a command.
    session_exists: bool,
    /// Sessions begun after the configured one.
    sessions_begun: u64,
    /// Of the next command that is not read-only.
    sequence: Sequence,
    next_request: RequestId,
    /// Where the next attempt goes.
    target: ReplicaId,
    pending: Option<Pending>,
}

/// The command that is under way.
#[derive(Debug)]
struct Pending {
    command: Command,
    sequence: Sequence,
    deadline: Time,
    first_request: RequestId,
    /// Oldest first, numbered from `first_request` on.
    attempts: Vec<Attempt>,
    /// Attempts since the last wait that were made at once.
    hops: u32,
    /// Whether the last attempt is waited for; else its refusal is being sat out.
    waiting: bool,
    /// When the wait ends, of whichever kind.
    until: Time,
    /// The last bad news, empty while there is none.
    trouble: String,
}

#[derive(Debug)]
struct Attempt {
    replica: ReplicaId,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing has been heard: it may take effect.
    Open,
    /// It had no effect and will have none.
    WithoutEffect,
    /// The replica itself does not know.
    Uncertain,
}

/// So many attempts are made without a wait between them.
const HOPS_MAX: u32 = 3;

type Effects = ClientEffects<Request, Response>;

impl LeaderClient {
    /// A client that has asked nothing yet.
    ///
    /// # Panics
    /// If there are no replicas, or a duration is zero.
    #[must_use]
    pub fn new(config: LeaderClientConfig) -> Self {
        assert!(!config.replicas.is_empty(), "a client needs a replica");
        assert!(config.attempt_timeout > Duration::ZERO && config.backoff > Duration::ZERO, "{config:?}");
        Self {
            session: config.session,
            session_exists: false,
            sessions_begun: 0,
            sequence: Sequence(1),
            next_request: RequestId(1),
            target: config.bound_to.unwrap_or(config.replicas[0]),
            pending: None,
            config,
        }
    }

    /// Sends the command to the target.
    fn attempt(&mut self, now: Time, out: &mut Effects) {
        let Some(pending) = &mut self.pending else { return };
        if now >= pending.deadline {
            return self.end_unanswered(out);
        }
        let request = Request {
            id: self.next_request,
            session: self.session,
            sequence: pending.sequence,
            routing: if self.config.bound_to.is_some() { Routing::Here } else { Routing::Leader },
            command: pending.command.clone(),
        };
        self.next_request.0 += 1;
        pending.attempts.push(Attempt { replica: self.target, fate: Fate::Open });
        out.send.push((self.target, request));
        pending.rest(now, true, self.config.attempt_timeout, out);
    }

    /// Attempts again at once, unless that has been done too often in a row.
    fn hop(&mut self, now: Time, out: &mut Effects) {
        let Some(pending) = &mut self.pending else { return };
        if pending.hops < HOPS_MAX {
            pending.hops += 1;
            self.attempt(now, out);
        } else {
            self.back_off(now, out);
        }
    }

    fn back_off(&mut self, now: Time, out: &mut Effects) {
        let Some(pending) = &mut self.pending else { return };
        if now >= pending.deadline {
            return self.end_unanswered(out);
        }
        pending.hops = 0;
        pending.rest(now, false, self.config.backoff, out);
    }

    /// The next attempt goes to the replica behind this one, unless bound.
    fn go_on_from(&mut self, replica: ReplicaId) {
        if self.config.bound_to.is_none() {
            let replicas = &self.config.replicas;
            let position = replicas.iter().position(|r| *r == replica).map_or(0, |position| position + 1);
            self.target = replicas[position % replicas.len()];
        }
    }

    /// Where a refusal sends this client, if it may and can go there.
    fn other_leader(&self, hint: Option<ReplicaId>, refused_by: ReplicaId) -> Option<ReplicaId> {
        let known = |leader: &ReplicaId| self.config.replicas.contains(leader) && *leader != refused_by;
        hint.filter(known).filter(|_| self.config.bound_to.is_none())
    }

    fn handle_refusal(&mut self, now: Time, position: usize, refusal: &Refusal, out: &mut Effects) {
        let Some(pending) = &mut self.pending else { return };
        let is_awaited = pending.waiting && position + 1 == pending.attempts.len();
        let attempt = &mut pending.attempts[position];
        if attempt.fate != Fate::Open {
            return;
        }
        attempt.fate =
            if matches!(refusal, Refusal::Uncertain(_)) { Fate::Uncertain } else { Fate::WithoutEffect };
        if !is_awaited {
            return;
        }
        let replica = attempt.replica;
        pending.trouble = format!("{replica}: {refusal}");
        match refusal {
            Refusal::NotLeader { leader } => match self.other_leader(*leader, replica) {
                Some(leader) => {
                    self.target = leader;
                    self.hop(now, out);
                }
                None => {
                    self.go_on_from(replica);
                    self.back_off(now, out);
                }
            },
            Refusal::Busy | Refusal::Unavailable(_) | Refusal::Uncertain(_) => {
                self.go_on_from(replica);
                self.back_off(now, out);
            }
            Refusal::SessionExpired => {
                self.session_exists = false;
                self.end_unanswered(out);
            }
            Refusal::Invalid(_) => self.end_unanswered(out),
        }
    }

    fn end_unanswered(&mut self, out: &mut Effects) {
        let pending = self.pending.as_mut().expect("only a command under way ends");
        let maybe = pending.attempts.iter().any(|attempt| attempt.fate != Fate::WithoutEffect);
        let trouble = match pending.attempts.len() {
            0 => "no time for an attempt".to_owned(),
            1 => std::mem::take(&mut pending.trouble),
            attempts => format!("{} (after {attempts} attempts)", pending.trouble),
        };
        self.end(if maybe { ClientOutcome::Unknown(trouble) } else { ClientOutcome::Failed(trouble) }, out);
    }

    fn end(&mut self, outcome: ClientOutcome<Response>, out: &mut Effects) {
        let pending = self.pending.take().expect("only a command under way ends");
        if !pending.command.is_read_only() {
            self.session_exists |= matches!(outcome, ClientOutcome::Answered(_));
            if self.session_exists {
                self.sequence.0 += 1;
            } else {
                self.sessions_begun += 1;
                self.session = SessionId(mix(self.config.session.0, self.sessions_begun));
                self.sequence = Sequence(1);
            }
        }
        out.done = Some(outcome);
        out.wake = None;
    }
}

impl Pending {
    /// Where the attempt that is waited for was sent.
    fn awaited(&self) -> Option<ReplicaId> {
        self.attempts.last().filter(|_| self.waiting).map(|attempt| attempt.replica)
    }

    /// The attempt that was made under this id, unless it was made for an older command.
    fn position(&self, request: RequestId) -> Option<usize> {
        let position = usize::try_from(request.0.checked_sub(self.first_request.0)?).ok()?;
        (position < self.attempts.len()).then_some(position)
    }

    /// Nothing is done for so long, unless something happens.
    fn rest(&mut self, now: Time, waiting: bool, duration: Duration, out: &mut Effects) {
        self.waiting = waiting;
        self.until = now + duration;
        self.ask_for_wake(out);
    }

    fn ask_for_wake(&self, out: &mut Effects) {
        out.wake = Some(self.until.min(self.deadline));
    }
}

impl ClientCore for LeaderClient {
    type Command = Command;
    type Request = Request;
    type Reply = Reply;
    type Response = Response;

    fn submit(&mut self, now: Time, deadline: Time, command: Command, out: &mut Effects) {
        assert!(self.pending.is_none(), "{command:?} was submitted while {:?} is under way", self.pending);
        if let Err(refusal) = command.validate() {
            out.done = Some(ClientOutcome::Failed(refusal.to_string()));
            return;
        }
        let sequence = if command.is_read_only() { Sequence(0) } else { self.sequence };
        self.pending = Some(Pending {
            command,
            sequence,
            deadline,
            first_request: self.next_request,
            attempts: Vec::new(),
            hops: 0,
            waiting: false,
            until: now,
            trouble: String::new(),
        });
        self.attempt(now, out);
    }

    fn handle_reply(&mut self, now: Time, from: ReplicaId, reply: Reply, out: &mut Effects) {
        let Some(pending) = &mut self.pending else { return };
        let Some(position) = pending.position(reply.id) else { return };
        match reply.result {
            Ok(response) => {
                if self.config.bound_to.is_none() {
                    self.target = from;
                }
                self.end(ClientOutcome::Answered(response), out);
            }
            Err(refusal) => self.handle_refusal(now, position, &refusal, out),
        }
    }

    fn handle_unreachable(&mut self, now: Time, replica: ReplicaId, maybe_sent: bool, out: &mut Effects) {
        let Some(pending) = &mut self.pending else { return };
        if !maybe_sent {
            let unsent = |attempt: &&mut Attempt| attempt.replica == replica && attempt.fate == Fate::Open;
            pending.attempts.iter_mut().filter(unsent).for_each(|attempt| attempt.fate = Fate::WithoutEffect);
        }
        if pending.awaited() != Some(replica) {
            return;
        }
        pending.trouble = format!("{replica}: unreachable");
        self.go_on_from(replica);
        if self.config.bound_to.is_some() {
            self.back_off(now, out);
        } else {
            self.hop(now, out);
        }
    }

    fn handle_timer(&mut self, now: Time, out: &mut Effects) {
        let Some(pending) = &mut self.pending else { return };
        if now < pending.until.min(pending.deadline) {
            return pending.ask_for_wake(out);
        }
        if let Some(silent) = pending.awaited() {
            pending.trouble = format!("{silent}: no answer");
            pending.hops = 0;
            self.go_on_from(silent);
        }
        self.attempt(now, out);
    }
}
