//! Log replication at the leader (§5.3): adaptive batches, a short pipeline, and the commit rule.
//!
//! A request only appends. When the turn ends, each follower with less than `rounds_in_flight_max` rounds
//! under way gets everything that it lacks; the others get it when a round is answered. So batches grow
//! with load and there is no tick to wait for.
//!
//! All of this leaves in the early lane, before the leader has its own entries on disk (§10.2.1): the leader's term and
//! vote are durable since before it was elected, so in this term nobody else appends at these places, and
//! the leader counts itself only for what is durable. If it crashes and forgets, others may still
//! commit the entries, as with any leader that crashed after sending.

use crate::bugs::Bug;
use crate::ids::{LogId, LogIndex, Round, Term};
use crate::install::Transfer;
use crate::log::Log;
use crate::members::Member;
use crate::message::{AppendEntries, AppendOutcome, AppendReply, Message};
use crate::metrics::DropReason;
use crate::progress::{Flow, Progress};
use crate::record::Entry;
use crate::replica::{Raft, Role};
use protocol::{Effects, ReplicaId, Time, reached};
use std::sync::Arc;

/// What every `AppendEntries` of this moment carries.
#[derive(Clone, Copy)]
struct News {
    term: Term,
    commit: LogIndex,
    round: Round,
}

impl News {
    fn append(self, prev: LogId, entries: Vec<Arc<Entry>>) -> Message {
        let News { term, commit, round } = self;
        Message::AppendEntries(AppendEntries { term, prev, commit, round, entries })
    }
}

impl Raft {
    /// Sends each follower the entries it has room for, and a newly begun round.
    pub(crate) fn replicate(&mut self, out: &mut Effects<Self>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let news = News { term: self.term, commit: self.commit, round: leader.confirmation.round };
        for progress in &mut leader.followers {
            if !progress.gets_snapshot() && prev(&self.log, progress).is_none() {
                let id = self.snapshots.saved.expect("what is discarded is in a saved snapshot");
                let to = progress.member.replica;
                progress.send_snapshot(Transfer::begin(id, to, &self.options, out));
            }
            // With a snapshot under way any follower agrees to the beginning of the log.
            let mut prev = prev(&self.log, progress).unwrap_or(LogId::ZERO);
            while progress.wants_entries(self.log.last().index, self.options.rounds_in_flight_max) {
                let entries = self.log.batch(progress.next, self.options.batch_bytes_max);
                let last = entries.last().expect("a batch is not empty").id();
                progress.sent(last.index, news.round);
                self.metrics.append_rounds_sent += 1;
                out.early.messages.push((progress.member.replica, news.append(prev, entries)));
                prev = last;
            }
            if progress.round_sent < news.round {
                progress.round_sent = news.round;
                // Behind whatever else is under way: if that was lost, the follower has no such entry and says so.
                out.early.messages.push((progress.member.replica, news.append(prev, Vec::new())));
            }
        }
    }

    pub(crate) fn handle_append_reply(
        &mut self,
        now: Time,
        from: ReplicaId,
        reply: AppendReply,
        out: &mut Effects<Self>,
    ) {
        if reply.term > self.term {
            return self.become_follower(now, reply.term, out);
        }
        let last = self.log.last().index;
        let from = self.identify(from, reply.follower);
        let Role::Leader(leader) = &mut self.role else { return self.metrics.drop(DropReason::Stale) };
        // "Your term is over" may arrive when this replica has won the very term that it speaks of.
        if reply.term < self.term || reply.outcome == AppendOutcome::Stale {
            return self.metrics.drop(DropReason::Stale);
        }
        let newest = leader.confirmation.round;
        let Some(progress) = leader.follower(from) else { return self.drop_of_stranger(from) };
        let matched_max = match reply.outcome {
            AppendOutcome::Accepted { matched } => matched,
            AppendOutcome::Rejected { prev, conflict_index, .. } => prev.max(conflict_index),
            AppendOutcome::Stale => LogIndex::ZERO,
        };
        if reply.round > newest || matched_max > last {
            return self.metrics.drop(DropReason::NeverAsked);
        }
        progress.heard_at = now;
        progress.round = progress.round.max(reply.round);
        leader.confirm(self.configurations.newest());
        match reply.outcome {
            AppendOutcome::Accepted { matched } => self.handle_accepted(now, from, matched, reply.round, out),
            AppendOutcome::Rejected { prev, .. } if self.options.bugs.has(Bug::MatchFromReject) => {
                self.handle_accepted(now, from, prev, reply.round, out);
            }
            AppendOutcome::Rejected { prev, conflict_term, conflict_index } => {
                self.metrics.appends_rejected += 1;
                self.back_up(from, prev, conflict_term, conflict_index);
            }
            AppendOutcome::Stale => unreachable!("dropped above"),
        }
        self.bring_up_newcomers(now, out);
        self.finish_read_round(out);
    }

    fn handle_accepted(
        &mut self,
        now: Time,
        from: Member,
        matched: LogIndex,
        round: Round,
        out: &mut Effects<Self>,
    ) {
        let Role::Leader(leader) = &mut self.role else { return };
        let progress = leader.follower(from).expect("just looked at");
        let news = progress.accepted(matched, round);
        if let Flow::Snapshot(transfer) = &mut progress.flow {
            if self.log.term_at(progress.matched).is_some() {
                progress.resume_pipeline();
            } else {
                let saved = self.snapshots.saved.expect("what is discarded is in a saved snapshot");
                transfer.handle_heartbeat_answer(
                    from.replica,
                    progress.matched,
                    round,
                    saved,
                    &self.options,
                    out,
                );
            }
        }
        if news {
            self.advance_commit(now, out);
        }
    }

    /// A follower has no entry like the one at `rejected`: finds the next place to try, a whole term at a time
    /// (§5.3, the end).
    fn back_up(
        &mut self,
        from: Member,
        rejected: LogIndex,
        conflict_term: Option<Term>,
        conflict_index: LogIndex,
    ) {
        let Role::Leader(leader) = &mut self.role else { return };
        let progress = leader.follower(from).expect("just looked at");
        if !progress.is_current_rejection(rejected) || conflict_index > rejected {
            reached!("a rejection is overtaken");
            return self.metrics.drop(DropReason::Stale);
        }
        // From the conflicting term's first entry on, the follower has nothing of the leader's, except if the
        // leader has entries of that term before the rejected place: then the last of those may be common.
        let common = conflict_term.and_then(|term| self.log.last_of_term(term)).filter(|&i| i < rejected);
        if common.is_some() {
            reached!("logs part within a term");
        }
        progress.probe(common.map_or(conflict_index, LogIndex::next));
    }

    /// Commits what a majority has on disk, if it is of this leader's own term (§5.4.2): an earlier term's entry
    /// may still be overwritten even then, and is committed by the first of this term's that follows it.
    pub(crate) fn advance_commit(&mut self, now: Time, out: &mut Effects<Self>) {
        let Role::Leader(leader) = &self.role else { return };
        let configuration = self.configurations.newest();
        let agreed = leader.agreed(configuration, self.durable, |follower| follower.matched);
        if agreed <= self.commit {
            return;
        }
        let own_term = self.log.term_at(agreed) == Some(self.term);
        if !own_term {
            reached!("an earlier term's entry is on a majority of disks and not committed");
        } else if self.commit.next() < leader.noop {
            reached!("entries of earlier terms are committed with one of the own term");
        }
        if own_term || self.options.bugs.has(Bug::CommitPriorTerm) {
            let before = self.commit;
            self.commit_to(agreed, out);
            self.conclude_change(now, before, out);
        }
    }

    /// An answer of somebody whom this leader sends nothing: no member, or a life of one whose disk was wiped since.
    pub(crate) fn drop_of_stranger(&mut self, from: Member) {
        let Role::Leader(leader) = &self.role else { return };
        if leader.followers.iter().any(|progress| progress.member.replica == from.replica) {
            reached!("an answer of another life of a follower's disk does not count");
        }
        self.metrics.drop(DropReason::Stranger);
    }
}

/// What the next entry for a follower follows; `None` if that is discarded.
fn prev(log: &Log, progress: &Progress) -> Option<LogId> {
    let index = progress.next.previous();
    log.term_at(index).map(|term| LogId { index, term })
}
