//! The client that believes what several replicas say alike.
//!
//! A command is one or more *rounds*: the same command, asked of every replica.
//!
//! | a round meets | then |
//! |---|---|
//! | `equal` equal answers | the command is over |
//! | more than `lies` times `Invalid` | the command is over: it never had an effect, whoever has it |
//! | more than `lies` times `SessionExpired` | the command is over, unknown unless nothing of it was sent |
//! | an answer or a refusal from everybody, or a lost connection | wait, then begin another round |
//! | silence | begin another round |
//!
//! Answers count within their round, so that equal ones tell of one time, and those of the last round but one count still. Of each
//! replica the first word in a round counts.
//!
//! **Failed or unknown.** `Invalid` follows from the command alone, so one replica that does not lie knows it for all, and one of more than
//! `lies` is such. Any other refusal speaks of the refusing replica's own copy of the command: where replicas may lie, whoever refuses may
//! pass the command on all the same, so only what was sent to nobody has certainly failed.

use super::ClientConfig;
use super::numbers::Numbers;
use super::under_way::{Effects, UnderWay};
use crate::command::Command;
use crate::request::{Reply, Request, Routing};
use crate::response::{Refusal, Response};
use protocol::{ClientCore, ClientOutcome, Done, ReplicaId, Time};
use std::collections::BTreeSet;

/// Whom a [`MatchingClient`] believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matching {
    /// So many equal answers are the answer: f + 1, or a quorum.
    pub equal: usize,
    /// So many replicas may lie: f.
    pub lies: usize,
}

/// Asks all replicas, and again under one sequence number until enough of them answer alike or the deadline has come.
#[derive(Debug)]
pub struct MatchingClient {
    config: ClientConfig,
    matching: Matching,
    numbers: Numbers,
    pending: Option<Pending>,
}

/// The command that is under way.
#[derive(Debug)]
struct Pending {
    command: UnderWay,
    /// To each attempt, as far as it was heard. A round is as many attempts as there are replicas.
    answers: Vec<Option<Response>>,
    invalid: BTreeSet<ReplicaId>,
    expired: BTreeSet<ReplicaId>,
}

impl MatchingClient {
    /// A client that has asked nothing yet.
    ///
    /// # Panics
    /// If there are no replicas, a duration is zero, or liars alone could make an answer.
    #[must_use]
    pub fn new(config: ClientConfig, matching: Matching) -> Self {
        config.check();
        assert!(matching.equal > matching.lies, "{matching:?}: liars alone could make an answer");
        let numbers = Numbers::new(config.session);
        Self { config, matching, numbers, pending: None }
    }

    fn begin_round(&mut self, now: Time, out: &mut Effects) {
        let Some(Pending { command, answers, .. }) = &mut self.pending else { return };
        if command.is_late(now) {
            return self.end_unanswered(out);
        }
        // A replica that answers at length in every round does not fill the memory.
        let forgotten = answers.len().saturating_sub(self.config.replicas.len());
        answers[..forgotten].iter_mut().for_each(|answer| *answer = None);
        for replica in &self.config.replicas {
            command.attempt(*replica, Routing::Here, out);
            answers.push(None);
        }
        command.rest(now, true, self.config.attempt_timeout, out);
    }

    /// Begins another round soon, if nobody is left in this one who may say something.
    fn back_off_if_all_spoke(&mut self, now: Time, out: &mut Effects) {
        let Some(Pending { command, .. }) = &mut self.pending else { return };
        let round = command.attempts().len() - self.config.replicas.len()..;
        if !command.is_waiting() || command.attempts()[round].iter().any(|attempt| attempt.is_open()) {
            return;
        }
        if command.is_late(now) {
            return self.end_unanswered(out);
        }
        command.rest(now, false, self.config.backoff, out);
    }

    fn handle_answer(&mut self, position: usize, response: Response, out: &mut Effects) {
        let Some(Pending { command, answers, .. }) = &mut self.pending else { return };
        let first = position - position % self.config.replicas.len();
        let round = first..first + self.config.replicas.len();
        let like_it = round.filter(|place| *place == position || answers[*place].as_ref() == Some(&response));
        let by: Vec<_> = like_it.map(|place| command.attempts()[place].replica).collect();
        if by.len() >= self.matching.equal {
            return self.end(Done { outcome: ClientOutcome::Answered(response), by }, out);
        }
        command.trouble = format!("{} of {} answers that must be equal", by.len(), self.matching.equal);
        answers[position] = Some(response);
    }

    fn handle_refusal(&mut self, replica: ReplicaId, refusal: &Refusal, out: &mut Effects) {
        let Some(Pending { command, invalid, expired, .. }) = &mut self.pending else { return };
        command.trouble = format!("{replica}: {refusal}");
        match refusal {
            Refusal::Invalid(_) => {
                invalid.insert(replica);
                if invalid.len() > self.matching.lies {
                    let outcome = ClientOutcome::Failed(std::mem::take(&mut command.trouble));
                    let by = invalid.iter().copied().collect();
                    self.end(Done { outcome, by }, out);
                }
            }
            Refusal::SessionExpired => {
                expired.insert(replica);
                if expired.len() > self.matching.lies {
                    self.numbers.expired();
                    self.end_unanswered(out);
                }
            }
            Refusal::NotLeader { .. } | Refusal::Busy | Refusal::Unavailable(_) | Refusal::Uncertain(_) => {}
        }
    }

    fn end_unanswered(&mut self, out: &mut Effects) {
        let pending = self.pending.as_ref().expect("only a command under way ends");
        self.end(pending.command.unanswered(self.matching.lies), out);
    }

    fn end(&mut self, done: Done<Response>, out: &mut Effects) {
        let pending = self.pending.take().expect("only a command under way ends");
        self.numbers.end(&pending.command, matches!(done.outcome, ClientOutcome::Answered(_)));
        out.done = Some(done);
        out.wake = None;
    }
}

impl ClientCore for MatchingClient {
    type Command = Command;
    type Request = Request;
    type Reply = Reply;
    type Response = Response;

    fn submit(&mut self, now: Time, deadline: Time, command: Command, out: &mut Effects) {
        assert!(self.pending.is_none(), "{command:?} was submitted while {:?} is under way", self.pending);
        match self.numbers.begin(now, deadline, command) {
            Ok(command) => {
                let (invalid, expired) = (BTreeSet::new(), BTreeSet::new());
                self.pending = Some(Pending { command, answers: Vec::new(), invalid, expired });
                self.begin_round(now, out);
            }
            Err(done) => out.done = Some(done),
        }
    }

    fn handle_reply(&mut self, now: Time, from: ReplicaId, reply: Reply, out: &mut Effects) {
        let Some(Pending { command, .. }) = &mut self.pending else { return };
        let Some(position) = command.position(reply.id) else { return };
        // Nobody speaks for another replica.
        if command.attempts()[position].replica != from {
            return;
        }
        match reply.result {
            Ok(response) if command.answered(position) => self.handle_answer(position, response, out),
            Err(refusal) if command.refused(position, &refusal) => self.handle_refusal(from, &refusal, out),
            Ok(_) | Err(_) => return,
        }
        self.back_off_if_all_spoke(now, out);
    }

    fn handle_unreachable(&mut self, now: Time, replica: ReplicaId, maybe_sent: bool, out: &mut Effects) {
        let Some(Pending { command, .. }) = &mut self.pending else { return };
        command.trouble = format!("{replica}: unreachable");
        if maybe_sent {
            command.lost(replica);
        } else {
            command.unsent(replica);
        }
        self.back_off_if_all_spoke(now, out);
    }

    fn handle_timer(&mut self, now: Time, out: &mut Effects) {
        let Some(Pending { command, .. }) = &mut self.pending else { return };
        if !command.has_rested(now, out) {
            return;
        }
        if command.is_waiting() && command.trouble.is_empty() {
            command.trouble = "no answer".to_owned();
        }
        self.begin_round(now, out);
    }
}
