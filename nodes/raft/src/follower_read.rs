//! Linearizable reads at a follower (§6.4): ask the leader up to where to apply, apply, answer.
//!
//! Reads that wait while a question is open share the next one.

use crate::ids::{LogIndex, Ticket};
use crate::message::{Message, ReadIndex, ReadIndexReply};
use crate::metrics::DropReason;
use crate::read::Read;
use crate::replica::{Raft, Timer};
use kv::Refusal;
use protocol::{ClientId, Effects, ReplicaId, Time, reached};
use std::collections::VecDeque;
use std::time::Duration;

/// The reads that a follower holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct FollowerReads {
    waiting: Batch,
    asked: Option<Asked>,
    /// Answered by the leader, not yet applied up to there.
    ready: VecDeque<(LogIndex, Batch)>,
}

#[derive(Clone, Debug, Default)]
struct Batch {
    /// When the first of the reads came.
    since: Time,
    reads: Vec<Read>,
}

#[derive(Clone, Debug)]
struct Asked {
    ticket: Ticket,
    batch: Batch,
}

impl FollowerReads {
    /// How many reads wait.
    pub(crate) fn len(&self) -> usize {
        let asked = self.asked.as_ref().map_or(0, |asked| asked.batch.reads.len());
        let ready: usize = self.ready.iter().map(|(_, batch)| batch.reads.len()).sum();
        self.waiting.reads.len() + asked + ready
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn batches(&mut self) -> impl Iterator<Item = &mut Batch> {
        let asked = self.asked.as_mut().map(|asked| &mut asked.batch);
        let ready = self.ready.iter_mut().map(|(_, batch)| batch);
        std::iter::once(&mut self.waiting).chain(asked).chain(ready)
    }

    pub(crate) fn forget_client(&mut self, client: ClientId) {
        for batch in self.batches() {
            batch.reads.retain(|read| read.client != client);
        }
    }

    /// The reads for which the leader has not answered: a new leader sees to them itself.
    pub(crate) fn take_unanswered(&mut self) -> impl Iterator<Item = Read> + use<> {
        let asked = self.asked.take().map(|asked| asked.batch.reads).unwrap_or_default();
        asked.into_iter().chain(std::mem::take(&mut self.waiting.reads))
    }

    /// Takes the reads that have waited for as long as `patience`.
    fn take_expired(&mut self, now: Time, patience: Duration) -> Vec<Read> {
        let mut expired = Vec::new();
        for batch in self.batches().filter(|batch| batch.since + patience <= now) {
            expired.append(&mut batch.reads);
        }
        self.asked.take_if(|asked| asked.batch.reads.is_empty());
        self.ready.retain(|(_, batch)| !batch.reads.is_empty());
        expired
    }
}

impl Raft {
    /// Holds a read until the leader has answered.
    pub(crate) fn read_as_follower(&mut self, now: Time, read: Read, out: &mut Effects<Self>) {
        if self.leader.is_none() {
            return self.refuse(&read, Refusal::NotLeader { leader: None }, out);
        }
        let waiting = &mut self.follower_reads.waiting;
        if waiting.reads.is_empty() {
            waiting.since = now;
        }
        waiting.reads.push(read);
        self.arm_patience(now, out);
    }

    /// Asks for the reads that wait, unless a question is open.
    pub(crate) fn ask_read_index(&mut self, out: &mut Effects<Self>) {
        let reads = &mut self.follower_reads;
        if reads.asked.is_some() || reads.waiting.reads.is_empty() {
            return;
        }
        let ticket = self.tickets.draw();
        let batch = Batch { since: reads.waiting.since, reads: std::mem::take(&mut reads.waiting.reads) };
        reads.asked = Some(Asked { ticket, batch });
        self.repeat_read_index(out);
    }

    /// Sends the open question (again). It may arrive twice, and an answer to either is right.
    pub(crate) fn repeat_read_index(&mut self, out: &mut Effects<Self>) {
        if let (Some(asked), Some(leader)) = (&self.follower_reads.asked, self.leader) {
            out.early.messages.push((leader, Message::ReadIndex(ReadIndex { ticket: asked.ticket })));
        }
    }

    /// The leader has answered.
    pub(crate) fn handle_read_index_reply(
        &mut self,
        from: ReplicaId,
        reply: ReadIndexReply,
        out: &mut Effects<Self>,
    ) {
        let Some(asked) = self.follower_reads.asked.take_if(|asked| asked.ticket == reply.ticket) else {
            return self.metrics.drop(DropReason::Stale);
        };
        self.follower_reads.ready.push_back((reply.index, asked.batch));
        // The leader's word on what is committed came early: no need to wait for a heartbeat that repeats it.
        if reply.term == self.term && self.leader == Some(from) {
            self.learn_commit(reply.index, out);
        }
        if self.applied < reply.index {
            reached!("a follower's read waits for entries");
        }
        self.serve_ready_reads(out);
    }

    /// Answers the reads whose index is applied.
    pub(crate) fn serve_ready_reads(&mut self, out: &mut Effects<Self>) {
        // Questions are asked one after the other, so their indexes do not decrease by more than a change of
        // leader explains: whoever is behind another waits a little longer, and no less safely.
        while self.follower_reads.ready.front().is_some_and(|&(index, _)| index <= self.applied) {
            let (_, batch) = self.follower_reads.ready.pop_front().expect("just looked at");
            for read in &batch.reads {
                self.answer_read(read, out);
            }
        }
    }

    /// Refuses the reads that no leader has answered for too long.
    pub(crate) fn expire_reads(&mut self, now: Time, out: &mut Effects<Self>) {
        for read in self.follower_reads.take_expired(now, self.timing.patience) {
            self.refuse(&read, Refusal::NotLeader { leader: self.leader }, out);
        }
    }

    /// Sees to it that what waits for a leader does not wait for ever.
    pub(crate) fn arm_patience(&mut self, now: Time, out: &mut Effects<Self>) {
        if !self.patience_armed {
            self.patience_armed = true;
            out.set_timer(Timer::Patience, now + self.timing.heartbeat);
        }
    }

    /// Time to ask again, and to give up on what has waited for too long.
    pub(crate) fn handle_patience(&mut self, now: Time, out: &mut Effects<Self>) {
        self.patience_armed = false;
        self.expire_reads(now, out);
        self.expire_forwards(now, out);
        if !self.is_leader() {
            self.repeat_read_index(out);
        }
        if !self.follower_reads.is_empty() || !self.forwards.is_empty() {
            self.arm_patience(now, out);
        }
    }
}
