//! Writes: from a request to an entry, and from an applied entry to an answer (§5.3, §6.3).

use crate::bugs::Bug;
use crate::ids::{LogIndex, Ticket};
use crate::record::{ENTRY_BYTES_MAX, Entry, Payload, Record};
use crate::replica::{Raft, Role};
use kv::{Command, Refusal, Reply, Response, Routing};
use protocol::{ClientId, Effects, ReplicaId, RequestId, Sequence, SessionId, Time};
use std::sync::Arc;

/// Who waits for an entry to be applied.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiter {
    /// A client of this replica.
    Client { client: ClientId, id: RequestId },
    /// A client of a follower.
    Follower { replica: ReplicaId, ticket: Ticket },
}

/// An entry of this leader's that somebody waits for.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) index: LogIndex,
    pub(crate) waiter: Waiter,
}

impl Pending {
    pub(crate) fn is_of(&self, client: ClientId) -> bool {
        matches!(self.waiter, Waiter::Client { client: of, .. } if of == client)
    }
}

impl Raft {
    /// A client's write.
    pub(crate) fn handle_write(
        &mut self,
        now: Time,
        client: ClientId,
        request: kv::Request,
        out: &mut Effects<Self>,
    ) {
        if self.is_leader() {
            let kv::Request { id, session, sequence, command, .. } = request;
            return self.propose(now, Waiter::Client { client, id }, session, sequence, command, out);
        }
        match request.routing {
            Routing::Leader => {
                let refusal = Refusal::NotLeader { leader: self.leader };
                out.early.replies.push((client, Reply { id: request.id, result: Err(refusal) }));
            }
            Routing::Here => self.forward(now, request, client, out),
        }
    }

    /// Appends a command to the leader's log. It is sent when the turn ends, with whatever else came in.
    pub(crate) fn propose(
        &mut self,
        now: Time,
        waiter: Waiter,
        session: SessionId,
        sequence: Sequence,
        command: Command,
        out: &mut Effects<Self>,
    ) {
        let uncommitted = self.log.bytes_end(self.log.last().index) - self.log.bytes_end(self.commit);
        // A write that is refused had no effect; the heir will take it.
        if self.is_full() || uncommitted > self.options.uncommitted_bytes_max || self.is_handing_over() {
            self.metrics.requests_refused_busy += 1;
            return self.answer_write(waiter, Err(Refusal::Busy), out);
        }
        let index = self.append(now, Payload::Command { session, sequence, command }, out);
        if self.options.bugs.has(Bug::AckOnAppend) {
            let result = self.expected_result(index);
            return self.answer_write(waiter, result, out);
        }
        self.pending.push_back(Pending { index, waiter });
    }

    /// Appends an entry of the leader's own term to its log (§5.3: a leader never does anything else to it).
    pub(crate) fn append(&mut self, now: Time, payload: Payload, out: &mut Effects<Self>) -> LogIndex {
        let index = self.log.last().index.next();
        if let Payload::Configuration(configuration) = &payload {
            self.configurations.append(index, configuration.clone());
            if let Role::Leader(leader) = &mut self.role {
                leader.configure(configuration, self.me, now, index.previous());
            }
        }
        let entry = Arc::new(Entry { index, term: self.term, payload });
        let bytes = entry.bytes();
        assert!(bytes <= ENTRY_BYTES_MAX, "a valid command makes an entry of {bytes} bytes");
        let position = out.record(Record::Entry(Arc::clone(&entry)));
        self.log.push(entry, position);
        self.metrics.entries_appended += 1;
        index
    }

    /// Raises the commit index and applies what it now covers (§5.3).
    pub(crate) fn commit_to(&mut self, index: LogIndex, out: &mut Effects<Self>) {
        if index <= self.commit {
            return;
        }
        let last = self.log.last();
        assert!(index <= last.index, "commit index {index} is beyond the last entry {last}");
        self.commit = index;
        while self.applied < self.commit {
            self.apply_next(out);
        }
        self.serve_ready_reads(out);
        self.save_snapshot_if_due(out);
    }

    fn apply_next(&mut self, out: &mut Effects<Self>) {
        let index = self.applied.next();
        let entry = self.log.entry(index).expect("what is not applied is not discarded");
        self.applied = index;
        let Payload::Command { session, sequence, command } = &entry.payload else { return };
        let result = if self.options.bugs.has(Bug::RetryAppliedTwice) {
            // Each entry as if of a session of its own.
            self.store.apply(SessionId(!index.0), Sequence(1), command)
        } else {
            self.store.apply(*session, *sequence, command)
        };
        if self.pending.front().is_some_and(|pending| pending.index == index) {
            let pending = self.pending.pop_front().expect("just looked at");
            // In the early lane: a majority has the entry on disk, whether or not this replica has.
            self.answer_write(pending.waiter, result, out);
        }
    }

    /// What the command at `index` will be answered if all up to there is committed: for [`Bug::AckOnAppend`] only.
    fn expected_result(&self, index: LogIndex) -> Result<Response, Refusal> {
        let mut store = self.store.clone();
        let ahead = (self.applied.0 + 1..=index.0).filter_map(|index| self.log.entry(LogIndex(index)));
        let results = ahead.filter_map(|entry| match &entry.payload {
            Payload::Command { session, sequence, command } => {
                Some(store.apply(*session, *sequence, command))
            }
            Payload::Noop | Payload::Configuration(_) => None,
        });
        results.last().expect("there is a command at the index")
    }

    /// This replica leads no more: whether what its clients asked will be committed, others decide.
    pub(crate) fn give_up_pending(&mut self, out: &mut Effects<Self>) {
        for pending in std::mem::take(&mut self.pending) {
            let refusal = Refusal::Uncertain("the leader has lost its office".to_owned());
            self.answer_write(pending.waiter, Err(refusal), out);
        }
    }

    fn answer_write(&mut self, waiter: Waiter, result: Result<Response, Refusal>, out: &mut Effects<Self>) {
        match waiter {
            Waiter::Client { client, id } => out.early.replies.push((client, Reply { id, result })),
            Waiter::Follower { replica, ticket } => self.forwards.owe(replica, ticket, result),
        }
    }

    /// Whether as many requests wait as may.
    pub(crate) fn is_full(&self) -> bool {
        self.requests_held() >= self.options.requests_pending_max
    }

    /// How many requests wait.
    pub(crate) fn requests_held(&self) -> usize {
        let reads = match &self.role {
            Role::Leader(leader) => leader.reads.len(),
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => 0,
        };
        self.pending.len() + reads + self.forwards.len() + self.follower_reads.len()
    }
}
