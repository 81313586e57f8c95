//! Clients that wait for one replica at a time.
//!
//! | an attempt meets | then |
//! |---|---|
//! | an answer | the command is over, whichever of its attempts it is the answer to |
//! | `NotLeader` with a leader, if the client follows | go there at once, after a few such hops in a row wait first |
//! | `NotLeader` otherwise, `Busy`, `Unavailable`, `Uncertain` | wait, then try the next replica |
//! | no connection, or a lost one | try the next replica at once, after a few such hops in a row wait first |
//! | silence | try the next replica |
//! | `SessionExpired`, `Invalid` | the command is over |
//!
//! A bound client waits and tries the same replica where another one goes on to the next.

use super::ClientConfig;
use super::numbers::Numbers;
use super::under_way::{Effects, UnderWay};
use crate::command::Command;
use crate::request::{Reply, Request, Routing};
use crate::response::{Refusal, Response};
use protocol::{ClientCore, ClientOutcome, Done, ReplicaId, Time};
use std::fmt::Debug;
use std::time::Duration;

/// Whom a client that is not bound asks first, and whose word it follows.
pub trait Route: Debug {
    /// For a client that has asked nothing yet.
    fn new(home: ReplicaId, attempt_timeout: Duration) -> Self;

    /// What a replica that does not lead shall do.
    fn routing(bound: bool) -> Routing;

    /// Where a command begins; `last`: who answered last, or would have been asked next.
    fn first(&self, now: Time, last: ReplicaId) -> ReplicaId;

    /// Whether it goes where a replica says that the leader is.
    fn follows(&self) -> bool;

    /// A replica was silent, out of reach or unwilling.
    fn troubled(&mut self, now: Time, replica: ReplicaId);
}

/// Retries under one sequence number, at one replica after the other, until the deadline.
#[derive(Debug)]
pub struct OneByOne<R> {
    config: ClientConfig,
    route: R,
    numbers: Numbers,
    /// Where the next attempt goes.
    target: ReplicaId,
    /// Attempts since the last wait that were made at once.
    hops: u32,
    pending: Option<UnderWay>,
}

/// So many attempts are made without a wait between them.
const HOPS_MAX: u32 = 3;

impl<R: Route> OneByOne<R> {
    /// A client that has asked nothing yet.
    ///
    /// # Panics
    /// If there are no replicas, or a duration is zero.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        config.check();
        Self {
            route: R::new(config.home, config.attempt_timeout),
            numbers: Numbers::new(config.session),
            target: config.home,
            hops: 0,
            pending: None,
            config,
        }
    }

    /// Sends the command to the target.
    fn attempt(&mut self, now: Time, out: &mut Effects) {
        let Some(pending) = &mut self.pending else { return };
        if pending.is_late(now) {
            return self.end_unanswered(out);
        }
        pending.attempt(self.target, R::routing(self.config.bound), out);
        pending.rest(now, true, self.config.attempt_timeout, out);
    }

    /// Attempts again at once, unless that has been done too often in a row.
    fn hop(&mut self, now: Time, out: &mut Effects) {
        if self.hops < HOPS_MAX {
            self.hops += 1;
            self.attempt(now, out);
        } else {
            self.back_off(now, out);
        }
    }

    fn back_off(&mut self, now: Time, out: &mut Effects) {
        let Some(pending) = &mut self.pending else { return };
        if pending.is_late(now) {
            return self.end_unanswered(out);
        }
        self.hops = 0;
        pending.rest(now, false, self.config.backoff, out);
    }

    /// The next attempt goes to the replica behind this one, unless bound.
    fn go_on_from(&mut self, now: Time, replica: ReplicaId) {
        self.route.troubled(now, replica);
        if !self.config.bound {
            let replicas = &self.config.replicas;
            let position = replicas.iter().position(|r| *r == replica).map_or(0, |position| position + 1);
            self.target = replicas[position % replicas.len()];
        }
    }

    /// Where a refusal sends this client, if it may and can go there.
    fn other_leader(&self, hint: Option<ReplicaId>, refused_by: ReplicaId) -> Option<ReplicaId> {
        let known = |leader: &ReplicaId| self.config.replicas.contains(leader) && *leader != refused_by;
        hint.filter(known).filter(|_| self.route.follows() && !self.config.bound)
    }

    fn handle_refusal(&mut self, now: Time, position: usize, refusal: &Refusal, out: &mut Effects) {
        let Some(pending) = &mut self.pending else { return };
        let is_awaited = pending.is_waiting() && position + 1 == pending.attempts().len();
        if !pending.refused(position, refusal) || !is_awaited {
            return;
        }
        let replica = pending.attempts()[position].replica;
        pending.trouble = format!("{replica}: {refusal}");
        match refusal {
            Refusal::NotLeader { leader } => match self.other_leader(*leader, replica) {
                Some(leader) => {
                    self.target = leader;
                    self.hop(now, out);
                }
                None => {
                    self.go_on_from(now, replica);
                    self.back_off(now, out);
                }
            },
            Refusal::Busy | Refusal::Unavailable(_) | Refusal::Uncertain(_) => {
                self.go_on_from(now, replica);
                self.back_off(now, out);
            }
            Refusal::SessionExpired => {
                self.numbers.expired();
                self.end_unanswered(out);
            }
            Refusal::Invalid(_) => self.end_unanswered(out),
        }
    }

    fn end_unanswered(&mut self, out: &mut Effects) {
        let pending = self.pending.as_ref().expect("only a command under way ends");
        self.end(pending.unanswered(0), out);
    }

    fn end(&mut self, done: Done<Response>, out: &mut Effects) {
        let pending = self.pending.take().expect("only a command under way ends");
        self.numbers.end(&pending, matches!(done.outcome, ClientOutcome::Answered(_)));
        out.done = Some(done);
        out.wake = None;
    }

    /// The replica whose reply is waited for.
    fn awaited(&self) -> Option<ReplicaId> {
        let pending = self.pending.as_ref().filter(|pending| pending.is_waiting())?;
        pending.attempts().last().map(|attempt| attempt.replica)
    }
}

impl<R: Route> ClientCore for OneByOne<R> {
    type Command = Command;
    type Request = Request;
    type Reply = Reply;
    type Response = Response;

    fn submit(&mut self, now: Time, deadline: Time, command: Command, out: &mut Effects) {
        assert!(self.pending.is_none(), "{command:?} was submitted while {:?} is under way", self.pending);
        if !self.config.bound {
            self.target = self.route.first(now, self.target);
        }
        match self.numbers.begin(now, deadline, command) {
            Ok(pending) => self.pending = Some(pending),
            Err(done) => {
                out.done = Some(done);
                return;
            }
        }
        self.hops = 0;
        self.attempt(now, out);
    }

    fn handle_reply(&mut self, now: Time, from: ReplicaId, reply: Reply, out: &mut Effects) {
        let Some(pending) = &mut self.pending else { return };
        let Some(position) = pending.position(reply.id) else { return };
        match reply.result {
            Ok(response) => {
                if !self.config.bound {
                    self.target = from;
                }
                self.end(Done { outcome: ClientOutcome::Answered(response), by: vec![from] }, out);
            }
            Err(refusal) => self.handle_refusal(now, position, &refusal, out),
        }
    }

    fn handle_unreachable(&mut self, now: Time, replica: ReplicaId, maybe_sent: bool, out: &mut Effects) {
        let awaited = self.awaited();
        let Some(pending) = &mut self.pending else { return };
        if !maybe_sent {
            pending.unsent(replica);
        }
        if awaited != Some(replica) {
            return;
        }
        pending.trouble = format!("{replica}: unreachable");
        self.go_on_from(now, replica);
        if self.config.bound {
            self.back_off(now, out);
        } else {
            self.hop(now, out);
        }
    }

    fn handle_timer(&mut self, now: Time, out: &mut Effects) {
        let awaited = self.awaited();
        let Some(pending) = &mut self.pending else { return };
        if !pending.has_rested(now, out) {
            return;
        }
        if let Some(silent) = awaited {
            pending.trouble = format!("{silent}: no answer");
            self.hops = 0;
            self.go_on_from(now, silent);
        }
        self.attempt(now, out);
    }
}
