//! Log replication at a follower (§5.3).

use crate::bugs::Bug;
use crate::ids::{LogId, LogIndex, Round};
use crate::message::{AppendEntries, AppendOutcome, AppendReply, Message};
use crate::metrics::DropReason;
use crate::record::{Payload, Record};
use crate::replica::{LeaderView, Raft};
use protocol::{Effects, ReplicaId, Time, reached};
use std::sync::Arc;

impl Raft {
    pub(crate) fn handle_append_entries(
        &mut self,
        now: Time,
        from: ReplicaId,
        message: AppendEntries,
        out: &mut Effects<Self>,
    ) {
        if message.term < self.term {
            return self.reply_stale(from, out);
        }
        if message.term == self.term && self.is_leader() {
            return self.metrics.drop(DropReason::SecondLeader);
        }
        if !is_well_formed(&message) {
            return self.metrics.drop(DropReason::Malformed);
        }
        self.follow(now, from, message.term, out);
        if self.contradicts_committed(message.prev) {
            return self.metrics.drop(DropReason::Contradicts);
        }
        if let Some(outcome) = self.conflict(&message) {
            return self.reply_to_append(from, message.round, outcome, out);
        }
        let last_new = LogIndex(message.prev.index.0 + message.entries.len() as u64);
        let (round, commit) = (message.round, message.commit);
        if !self.take_entries(message, out) {
            return self.metrics.drop(DropReason::Contradicts);
        }
        if self.options.bugs.has(Bug::TruncateOnAppend) {
            self.cut_off(last_new.max(self.commit).next());
            self.view.matched = self.view.matched.min(self.log.last().index);
        }
        self.view.matched = self.view.matched.max(last_new);
        self.learn_commit(commit, out);
        // What is committed is the same in every leader's log, whether or not it was in this message.
        let matched = last_new.max(self.commit);
        self.reply_to_append(from, round, AppendOutcome::Accepted { matched }, out);
    }

    fn contradicts_committed(&self, prev: LogId) -> bool {
        prev.index <= self.commit && self.log.term_at(prev.index).is_some_and(|term| term != prev.term)
    }

    /// Why the log has no entry like the one before the message's entries, if it has none (§5.3).
    fn conflict(&self, message: &AppendEntries) -> Option<AppendOutcome> {
        let prev = message.prev.index;
        if prev < self.log.base().index {
            // Discarded, so committed, so the same.
            return None;
        }
        match self.log.term_at(prev) {
            Some(term) if term == message.prev.term => None,
            Some(term) => {
                let conflict_index = self.log.first_of_term_at(prev).max(self.commit.next());
                Some(AppendOutcome::Rejected { prev, conflict_term: Some(term), conflict_index })
            }
            None => {
                let conflict_index = self.log.last().index.next();
                Some(AppendOutcome::Rejected { prev, conflict_term: None, conflict_index })
            }
        }
    }

    /// Appends what is new. An entry that is there already stays, and so does what follows it: this message may be
    /// older than another that has brought more. Only a *conflicting* entry is cut off, with all that follow (§5.3).
    ///
    /// Whether the message could be right: `false` if it contradicts what is committed, or what the same leader has said.
    fn take_entries(&mut self, message: AppendEntries, out: &mut Effects<Self>) -> bool {
        let discarded = self.log.base().index;
        let is_new = |entry: &Arc<crate::Entry>| {
            entry.index > discarded && self.log.term_at(entry.index) != Some(entry.term)
        };
        let Some(first_new) = message.entries.iter().position(is_new) else { return true };
        let index = message.entries[first_new].index;
        if index <= self.commit.max(self.view.matched) {
            return false;
        }
        self.cut_off(index);
        for entry in message.entries.into_iter().skip(first_new) {
            // The record cuts the journal's log off at this entry too.
            let position = out.record(Record::Entry(Arc::clone(&entry)));
            if let Payload::Configuration(configuration) = &entry.payload {
                self.configurations.append(entry.index, configuration.clone());
            }
            self.log.push(entry, position);
            self.metrics.entries_appended += 1;
        }
        true
    }

    /// Cuts off the entry at `index` and all that follow, if there are any.
    fn cut_off(&mut self, index: LogIndex) {
        let last = self.log.last().index;
        if index <= last {
            reached!("a follower cuts off conflicting entries");
            self.metrics.entries_truncated += last.0 - index.previous().0;
            self.log.truncate(index);
            if self.configurations.truncate(index) {
                reached!("a configuration is rolled back");
            }
            self.durable = self.durable.min(index.previous());
        }
    }

    /// The leader has committed up to `commit`. Of that, this replica may apply only what it knows to be in the
    /// leader's log: behind the last new entry its own log may hold something else (§5.3).
    pub(crate) fn learn_commit(&mut self, commit: LogIndex, out: &mut Effects<Self>) {
        self.view.commit = self.view.commit.max(commit);
        let LeaderView { commit, mut matched, .. } = self.view;
        let last = self.log.last().index;
        if matched < commit && matched < last {
            reached!("a follower may not commit what it has behind the leader's entries");
        }
        if self.options.bugs.has(Bug::CommitPastNew) {
            matched = last;
        }
        self.commit_to(commit.min(matched), out);
    }

    /// Answers in the lane that the answer needs: an acceptance must not claim what a crash could lose, be it
    /// entries or the term in which they were accepted.
    pub(crate) fn reply_to_append(
        &mut self,
        to: ReplicaId,
        round: Round,
        outcome: AppendOutcome,
        out: &mut Effects<Self>,
    ) {
        let (term, follower) = (self.term, self.me.incarnation);
        let reply = |outcome| Message::AppendReply(AppendReply { term, follower, round, outcome });
        let AppendOutcome::Accepted { matched } = outcome else {
            return out.early.messages.push((to, reply(outcome)));
        };
        if self.term_is_durable() && matched <= self.durable || self.options.bugs.has(Bug::AckBeforeFsync) {
            return out.early.messages.push((to, reply(outcome)));
        }
        // A new round confirms the leader's office, which depends on no disk: reads wait for it. So it is
        // answered at once, with what is durable.
        if self.term_is_durable() && round > self.view.round {
            let matched = matched.min(self.durable);
            out.early.messages.push((to, reply(AppendOutcome::Accepted { matched })));
        }
        out.durable.messages.push((to, reply(outcome)));
        self.view.round = self.view.round.max(round);
    }

    /// Tells a leader of an earlier term that its term is over.
    pub(crate) fn reply_stale(&self, to: ReplicaId, out: &mut Effects<Self>) {
        let (term, follower, round) = (self.term, self.me.incarnation, Round::ZERO);
        let reply = AppendReply { term, follower, round, outcome: AppendOutcome::Stale };
        out.early.messages.push((to, Message::AppendReply(reply)));
    }
}

/// Whether the entries follow `prev` and one another, in terms that do not decrease up to the message's, and name possible
/// members.
fn is_well_formed(message: &AppendEntries) -> bool {
    let mut last = message.prev;
    for entry in &message.entries {
        if entry.index != last.index.next() || entry.term < last.term {
            return false;
        }
        if matches!(&entry.payload, Payload::Configuration(configuration) if configuration.validate().is_err())
        {
            return false;
        }
        last = entry.id();
    }
    last.term <= message.term
}
