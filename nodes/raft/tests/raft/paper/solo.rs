//! Replica n1 of three with the others played by the test. Nothing becomes durable until the test says so.

use crate::host::{Host, Sent};
use bytes::Bytes;
use kv::{Command, Routing};
use protocol::{
    AdminReply, AdminRequest, ClientId, Incarnation, Protocol, ReplicaId, RequestId, Sequence, SessionId,
    Time,
};
use raft::{
    AppendEntries, AppendOutcome, AppendReply, Config, Entry, LogId, LogIndex, Member, Message, Options,
    Payload, Record, Round, Term, Timer, VoteReply, VoteRequest,
};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const N1: ReplicaId = ReplicaId(1);
pub(crate) const N2: ReplicaId = ReplicaId(2);
pub(crate) const N3: ReplicaId = ReplicaId(3);

pub(crate) struct Solo {
    pub(crate) host: Host,
    pub(crate) now: Time,
    requests: u64,
}

pub(crate) fn id(index: u64, term: u64) -> LogId {
    LogId { index: LogIndex(index), term: Term(term) }
}

/// Entries of these terms, from `first` on.
pub(crate) fn entries(first: u64, terms: &[u64]) -> Vec<Arc<Entry>> {
    let entry = |(i, &term): (usize, &u64)| {
        Arc::new(Entry { index: LogIndex(first + i as u64), term: Term(term), payload: Payload::Noop })
    };
    terms.iter().enumerate().map(entry).collect()
}

pub(crate) fn append(term: u64, prev: LogId, commit: u64, terms: &[u64]) -> Message {
    Message::AppendEntries(AppendEntries {
        term: Term(term),
        prev,
        commit: LogIndex(commit),
        round: Round(1),
        entries: entries(prev.index.0 + 1, terms),
    })
}

pub(crate) fn reply(term: u64, round: u64, outcome: AppendOutcome) -> Message {
    Message::AppendReply(AppendReply {
        term: Term(term),
        follower: Incarnation(0),
        round: Round(round),
        outcome,
    })
}

pub(crate) fn accepted(matched: u64) -> AppendOutcome {
    AppendOutcome::Accepted { matched: LogIndex(matched) }
}

/// A candidate's question to a founder.
pub(crate) fn ask(term: u64, last: LogId) -> VoteRequest {
    let (candidate, voter) = (Incarnation(0), Incarnation(0));
    VoteRequest { term: Term(term), last, candidate, voter, handed_over: false }
}

pub(crate) fn founder(replica: ReplicaId) -> Member {
    Member { replica, incarnation: Incarnation(0) }
}

/// Of a replica in the first life of its disk.
pub(crate) fn config(replica: ReplicaId, members: Vec<ReplicaId>, options: Options) -> Config {
    Config { replica, incarnation: Incarnation(0), members, options }
}

pub(crate) fn request_vote(term: u64, last: LogId) -> Message {
    Message::RequestVote(ask(term, last))
}

pub(crate) fn vote(term: u64, granted: bool) -> Message {
    Message::RequestVoteReply(VoteReply { term: Term(term), granted, voter: Incarnation(0) })
}

pub(crate) fn pre_vote(term: u64, granted: bool) -> Message {
    Message::PreVoteReply(VoteReply { term: Term(term), granted, voter: Incarnation(0) })
}

pub(crate) fn write(key: &'static str, value: &'static str) -> Command {
    Command::Write { key: Bytes::from_static(key.as_bytes()), value: Bytes::from_static(value.as_bytes()) }
}

pub(crate) fn read(key: &'static str) -> Command {
    Command::Read { key: Bytes::from_static(key.as_bytes()) }
}

impl Solo {
    /// A follower that has never heard of anybody.
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        Self::among(3, options)
    }

    pub(crate) fn among(replicas: u32, options: Options) -> Self {
        let members = (1..=replicas).map(ReplicaId).collect();
        let mut solo = Self { host: Host::new(config(N1, members, options)), now: Time::ZERO, requests: 0 };
        solo.host.start(1, solo.now).expect("an empty disk");
        solo
    }

    /// A follower in `term` whose durable log has entries of these terms.
    pub(crate) fn follower(term: u64, terms: &[u64]) -> Self {
        let mut solo = Self::new();
        solo.deliver(N2, append(term, LogId::ZERO, 0, terms));
        solo.sync();
        // Long enough ago not to be sticky.
        solo.advance(1000);
        solo
    }

    /// The leader of `term`, with a log of these terms and the no-op of its own, all durable.
    pub(crate) fn leader(term: u64, terms: &[u64], options: Options) -> Self {
        let mut solo = Self::with(options);
        if term > 1 {
            solo.deliver(N2, append(term - 1, LogId::ZERO, 0, terms));
            solo.sync();
        }
        solo.win();
        solo
    }

    /// Wins an election with the vote of n2.
    pub(crate) fn win(&mut self) {
        let term = self.host.core().term().0 + 1;
        self.advance(2000);
        self.fire(Timer::Election);
        self.deliver(N2, pre_vote(term, true));
        self.sync();
        self.deliver(N2, vote(term, true));
        self.sync();
        assert!(self.host.core().is_leader(), "{:?}", self.host.core().status());
    }

    pub(crate) fn advance(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
    }

    pub(crate) fn deliver(&mut self, from: ReplicaId, message: Message) -> Sent {
        self.deliver_all([(from, message)])
    }

    /// Several messages in one turn.
    pub(crate) fn deliver_all(&mut self, messages: impl IntoIterator<Item = (ReplicaId, Message)>) -> Sent {
        let now = self.now;
        for (from, message) in messages {
            self.host.input(|raft, out| raft.handle_message(now, from, message, out));
        }
        self.host.end_turn(now)
    }

    pub(crate) fn fire(&mut self, timer: Timer) -> Sent {
        let now = self.now;
        let at = self.host.take_timer(timer).unwrap_or_else(|| panic!("{timer:?} is not set"));
        assert!(at <= now, "{timer:?} is due at {at}, it is {now}");
        self.host.input(|raft, out| raft.handle_timer(now, timer, out));
        self.host.end_turn(now)
    }

    pub(crate) fn sync(&mut self) -> Sent {
        self.host.sync(usize::MAX, self.now)
    }

    pub(crate) fn request(&mut self, routing: Routing, command: Command) -> Sent {
        self.request_all(routing, [command])
    }

    /// Several requests of different clients in one turn.
    pub(crate) fn request_all(
        &mut self,
        routing: Routing,
        commands: impl IntoIterator<Item = Command>,
    ) -> Sent {
        let now = self.now;
        for command in commands {
            self.requests += 1;
            let request = kv::Request {
                id: RequestId(self.requests),
                session: SessionId(self.requests),
                sequence: Sequence(1),
                routing,
                command,
            };
            let client = ClientId(self.requests);
            self.host.input(|raft, out| raft.handle_request(now, client, request, out));
        }
        self.host.end_turn(now)
    }

    /// An operator asks.
    pub(crate) fn admin(&mut self, request: AdminRequest) -> (AdminReply, Sent) {
        let (now, mut answer) = (self.now, None);
        self.host.input(|raft, out| answer = Some(raft.handle_admin(now, request, out)));
        (answer.expect("an answer"), self.host.end_turn(now))
    }

    /// An operator asks for these voters, in the first life of their disks.
    pub(crate) fn change(&mut self, voters: &[u32]) -> (AdminReply, Sent) {
        let voters = voters.iter().map(|&id| (ReplicaId(id), Incarnation(0))).collect();
        self.admin(AdminRequest::ChangeMembers { voters })
    }

    /// The snapshot store does all that it was asked.
    pub(crate) fn io(&mut self) -> Sent {
        self.host.finish_io();
        let mut all = Sent::default();
        while self.host.has_answer() {
            self.host.answer(self.now);
            let sent = self.host.end_turn(self.now);
            all.early.messages.extend(sent.early.messages);
            all.early.replies.extend(sent.early.replies);
            all.durable.messages.extend(sent.durable.messages);
        }
        all
    }

    /// Loses what is not durable and starts again.
    pub(crate) fn restart(&mut self) {
        self.host.crash(0);
        self.host.start(2, self.now).expect("a disk that the replica has written");
    }

    pub(crate) fn terms(&self) -> Vec<u64> {
        self.host.core().log().entries().map(|entry| entry.term.0).collect()
    }

    pub(crate) fn term(&self) -> u64 {
        self.host.core().term().0
    }

    pub(crate) fn commit(&self) -> u64 {
        self.host.core().commit().0
    }

    pub(crate) fn role(&self) -> String {
        self.host.core().status().role
    }

    pub(crate) fn metric(&self, name: &str) -> u64 {
        self.host.core().status().metrics[name]
    }

    pub(crate) fn last_hard_state(&self) -> Option<(u64, Option<ReplicaId>)> {
        self.host.written.iter().rev().find_map(|(_, record)| match record {
            Record::HardState { term, vote } => Some((term.0, vote.map(|vote| vote.replica))),
            Record::Entry(_) | Record::LogStart { .. } => None,
        })
    }
}

/// Looking at what a replica has sent.
pub(crate) trait Look {
    /// All messages, as printed, early ones first.
    fn printed(&self) -> Vec<String>;
    /// The results of all replies to clients.
    fn results(&self) -> Vec<Result<kv::Response, kv::Refusal>>;
    fn appends(&self, replica: ReplicaId) -> Vec<&AppendEntries>;
}

impl Look for Sent {
    fn printed(&self) -> Vec<String> {
        let lanes = [("early", &self.early), ("durable", &self.durable)];
        lanes
            .iter()
            .flat_map(|(lane, out)| out.messages.iter().map(move |(to, m)| format!("{lane} {to} {m}")))
            .collect()
    }

    fn results(&self) -> Vec<Result<kv::Response, kv::Refusal>> {
        assert!(self.durable.replies.is_empty(), "replies need not wait");
        self.early.replies.iter().map(|(_, reply)| reply.result.clone()).collect()
    }

    fn appends(&self, replica: ReplicaId) -> Vec<&AppendEntries> {
        assert!(!self.durable.messages.iter().any(|(_, m)| matches!(m, Message::AppendEntries(_))));
        let to_replica = self.early.messages.iter().filter(|(to, _)| *to == replica);
        to_replica
            .filter_map(|(_, m)| if let Message::AppendEntries(m) = m { Some(m) } else { None })
            .collect()
    }
}
