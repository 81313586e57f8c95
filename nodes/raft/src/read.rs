//! Reads that do not go through the log (§6.4), at the leader.
//!
//! A leader answers a read when (1) it has committed an entry of its own term, so that its commit index is not behind
//! what earlier leaders have acknowledged, (2) a majority has answered something that it sent after the
//! read arrived, so that it led when the read arrived, and (3) it has applied what was committed then.
//! Reads that wait while a round is under way share the next one.

use crate::bugs::Bug;
use crate::ids::{LogIndex, Round, Ticket};
use crate::leader::Leader;
use crate::message::{Message, ReadIndex, ReadIndexReply};
use crate::metrics::DropReason;
use crate::options::ReadMode;
use crate::replica::{Raft, Role};
use kv::{Command, Refusal, Reply, Response, Routing};
use protocol::{ClientId, Effects, ReplicaId, RequestId, Time, reached};
use std::collections::BTreeMap;

/// A client's read that waits.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) client: ClientId,
    pub(crate) id: RequestId,
    pub(crate) command: Command,
}

/// The reads that a leader holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaderReads {
    waiting: Questions,
    /// Waits for `asked.round` to be confirmed. `waiting` takes turns with it, so neither allocates for long.
    asked: Questions,
    round: Option<AskedRound>,
}

#[derive(Debug, Clone, Copy)]
struct AskedRound {
    round: Round,
    /// The commit index when the round began.
    index: LogIndex,
}

#[derive(Clone, Debug, Default)]
struct Questions {
    own: Vec<Read>,
    /// A follower has one question open at a time: a newer one replaces it.
    followers: BTreeMap<ReplicaId, Ticket>,
}

impl Questions {
    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.followers.is_empty()
    }
}

impl LeaderReads {
    /// How many clients' reads wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.own.len() + self.asked.own.len()
    }

    pub(crate) fn push(&mut self, read: Read) {
        self.waiting.own.push(read);
    }

    pub(crate) fn forget_client(&mut self, client: ClientId) {
        self.waiting.own.retain(|read| read.client != client);
        self.asked.own.retain(|read| read.client != client);
    }

    /// All reads of clients, to be refused.
    pub(crate) fn into_reads(self) -> impl Iterator<Item = Read> {
        self.asked.own.into_iter().chain(self.waiting.own)
    }
}

impl Raft {
    /// A client's read-only command.
    pub(crate) fn handle_read(&mut self, now: Time, read: Read, routing: Routing, out: &mut Effects<Self>) {
        if routing == Routing::Leader && !self.is_leader() {
            return self.refuse(&read, Refusal::NotLeader { leader: self.leader }, out);
        }
        // Declared unsafe: the state may be any number of commands behind.
        if self.options.read == ReadMode::Local {
            return self.answer_read(&read, out);
        }
        if self.lease_holds(now) {
            self.metrics.reads_by_lease += 1;
            return self.answer_read(&read, out);
        }
        if self.is_full() {
            self.metrics.requests_refused_busy += 1;
            return self.refuse(&read, Refusal::Busy, out);
        }
        match &mut self.role {
            Role::Leader(leader) => leader.reads.push(read),
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => {
                self.read_as_follower(now, read, out);
            }
        }
    }

    /// Whether this replica leads and no other can have been elected yet (§6.4.1).
    ///
    /// The lease runs from when the newest confirmed round *began*: those who answered it heard from this
    /// leader no earlier, and keep to it for [`Timing::sticky`](crate::options::Timing). `now` must have been
    /// taken after the read arrived: the read takes effect at `now`, however long the answer takes from there.
    fn lease_holds(&self, now: Time) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        if self.options.read != ReadMode::Lease || self.commit < leader.noop || leader.lease_given_up {
            return false;
        }
        let holds = leader.confirmation.began_at().is_some_and(|began| now < began + self.timing.lease);
        if !holds {
            reached!("a read comes when the lease has ended");
        }
        holds
    }

    /// A follower's reads wait for this leader's word.
    pub(crate) fn handle_read_index(
        &mut self,
        now: Time,
        from: ReplicaId,
        ask: ReadIndex,
        out: &mut Effects<Self>,
    ) {
        let lease_holds = self.lease_holds(now);
        let Role::Leader(leader) = &mut self.role else {
            return self.metrics.drop(DropReason::NotLeading);
        };
        if lease_holds {
            let reply = ReadIndexReply { term: self.term, ticket: ask.ticket, index: self.commit };
            out.early.messages.push((from, Message::ReadIndexReply(reply)));
        } else {
            leader.reads.waiting.followers.insert(from, ask.ticket);
        }
    }

    /// Begins a round for the reads that wait, unless one is under way or the own no-op is not committed.
    pub(crate) fn begin_read_round(&mut self, now: Time, out: &mut Effects<Self>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Leader { reads, noop, .. } = &mut **leader;
        if reads.waiting.is_empty() || reads.round.is_some() {
            return;
        }
        if self.commit < *noop && !self.options.bugs.has(Bug::ReadIndexNoNoop) {
            return;
        }
        std::mem::swap(&mut reads.waiting, &mut reads.asked);
        let round = leader.begin_round(now, self.configurations.newest());
        leader.reads.round = Some(AskedRound { round, index: self.commit });
        self.metrics.read_rounds += 1;
        self.finish_read_round(out);
    }

    /// Answers the reads of the round, if a majority has confirmed it.
    ///
    /// All answers take the early lane: they tell of committed entries only, which a majority has on disk
    /// whatever this replica may lose.
    pub(crate) fn finish_read_round(&mut self, out: &mut Effects<Self>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(asked) = leader.reads.round else { return };
        if !leader.confirmation.covers(asked.round) && !self.options.bugs.has(Bug::LocalRead) {
            return;
        }
        if leader.confirmation.has_overtaken(asked.round) {
            reached!("a read is confirmed by a later round than its own");
        }
        assert!(self.applied >= asked.index, "applied {} but {} was committed", self.applied, asked.index);
        leader.reads.round = None;
        let mut questions = std::mem::take(&mut leader.reads.asked);
        for (to, ticket) in std::mem::take(&mut questions.followers) {
            let reply = ReadIndexReply { term: self.term, ticket, index: asked.index };
            out.early.messages.push((to, Message::ReadIndexReply(reply)));
        }
        for read in questions.own.drain(..) {
            self.answer_read(&read, out);
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.reads.asked = questions;
        }
    }

    /// Answers from the state as it is.
    pub(crate) fn answer_read(&mut self, read: &Read, out: &mut Effects<Self>) {
        self.metrics.reads_served += 1;
        let response: Response = self.store.read(&read.command);
        out.early.replies.push((read.client, Reply { id: read.id, result: Ok(response) }));
    }

    /// Refuses: a read has no effect, so this is always the whole truth.
    pub(crate) fn refuse(&mut self, read: &Read, refusal: Refusal, out: &mut Effects<Self>) {
        out.early.replies.push((read.client, Reply { id: read.id, result: Err(refusal) }));
    }
}
