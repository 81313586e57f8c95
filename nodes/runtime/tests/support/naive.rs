//! The least that can be called replication, to test the driver with: replica 1 leads for ever, and a write is
//! answered when every follower that it knows of and the leader itself have it on disk. It tolerates nothing.

use kv::{
    ClientConfig, Command, LeaderClient, Matching, MatchingClient, Refusal, Reply, Request, Response,
    Routing, Seat,
};
use protocol::{
    ClientCore, ClientEffects, ClientId, Describe, Effects, JournalPosition, Mute, Protocol, RecoverError,
    Recovered, ReplicaId, RequestId, Sequence, SessionId, SnapshotEffect, SnapshotEvent, SnapshotId,
    StateMark, Status, Time,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

const LEADER: ReplicaId = ReplicaId(1);

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) replica: ReplicaId,
    pub(crate) members: Vec<ReplicaId>,
    /// A snapshot is saved whenever so many records were applied; 0: never.
    pub(crate) snapshot_every: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Write {
    session: SessionId,
    sequence: Sequence,
    command: Command,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    Replicate { first: u64, writes: Vec<Write> },
    Have { before: u64 },
}

impl Describe for Message {
    const KINDS: &'static [&'static str] = &["replicate", "have"];

    fn kind(&self) -> &'static str {
        match self {
            Message::Replicate { .. } => "replicate",
            Message::Have { .. } => "have",
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Replicate { first, writes } => {
                write!(f, "Replicate {} writes from {first} on", writes.len())
            }
            Message::Have { before } => write!(f, "Have all before {before}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Resend,
}

#[derive(Clone, Debug)]
pub(crate) struct Naive {
    config: Config,
    store: kv::Store,
    /// All writes, by position.
    log: Vec<Write>,
    waiting: VecDeque<(u64, ClientId, RequestId)>,
    sent: u64,
    have: BTreeMap<ReplicaId, u64>,
    durable: u64,
    applied: u64,
    ticks: u64,
    snapshots: u64,
}

impl Naive {
    fn is_leader(&self) -> bool {
        self.config.replica == LEADER
    }

    fn apply(&mut self, out: &mut Effects<Self>) {
        let decided = if self.is_leader() {
            self.have.values().copied().chain([self.durable]).min().unwrap_or(0)
        } else {
            self.durable
        };
        while self.applied < decided {
            let write = &self.log[self.applied as usize];
            let result = self.store.apply(write.session, write.sequence, &write.command);
            if self.waiting.front().is_some_and(|(index, ..)| *index == self.applied) {
                let (_, client, id) = self.waiting.pop_front().expect("looked at above");
                out.early.replies.push((client, Reply { id, result }));
            }
            self.applied += 1;
            if self.applied.is_multiple_of(self.config.snapshot_every) {
                let id = SnapshotId { number: self.applied, tag: 1 };
                out.snapshots.push(SnapshotEffect::Save { id, image: self.store.image() });
            }
        }
    }

    fn replicate(&mut self, first: u64, to: &[ReplicaId], out: &mut Effects<Self>) {
        let writes = self.log[first as usize..].to_vec();
        for peer in to {
            out.early.messages.push((*peer, Message::Replicate { first, writes: writes.clone() }));
        }
    }
}

impl Protocol for Naive {
    type Config = Config;
    type Request = Request;
    type Reply = Reply;
    type Message = Message;
    type Record = Write;
    type Timer = Timer;
    type Image = kv::Image;
    type Adversary = Mute;

    fn recover(
        config: Config,
        _seed: u64,
        now: Time,
        disk: Recovered<Self>,
        out: &mut Effects<Self>,
    ) -> Result<Self, RecoverError> {
        let log: Vec<_> = disk.records.into_iter().map(|(_, write)| write).collect();
        let others = config.members.iter().filter(|id| **id != config.replica);
        let have = others.map(|id| (*id, 0)).collect();
        let (sent, durable) = (log.len() as u64, log.len() as u64);
        out.set_timer(Timer::Resend, now + Duration::from_millis(20));
        let store = kv::Store::new(kv::Limits::default());
        let mut core = Naive {
            config,
            store,
            log,
            waiting: VecDeque::new(),
            sent,
            have,
            durable,
            applied: 0,
            ticks: 0,
            snapshots: 0,
        };
        core.apply(out);
        Ok(core)
    }

    fn handle_request(&mut self, _now: Time, from: ClientId, request: Request, out: &mut Effects<Self>) {
        let Request { id, session, sequence, routing, command } = request;
        if let Err(refusal) = command.validate() {
            out.early.replies.push((from, Reply { id, result: Err(refusal) }));
        } else if command.is_read_only() && (routing == Routing::Here || self.is_leader()) {
            let result = Ok(self.store.read(&command));
            out.early.replies.push((from, Reply { id, result }));
        } else if !self.is_leader() {
            let result = Err(Refusal::NotLeader { leader: Some(LEADER) });
            out.early.replies.push((from, Reply { id, result }));
        } else {
            let write = Write { session, sequence, command };
            self.waiting.push_back((self.log.len() as u64, from, id));
            self.log.push(write.clone());
            out.record(write);
        }
    }

    fn handle_client_gone(&mut self, _now: Time, _from: ClientId) {}

    fn handle_message(&mut self, _now: Time, from: ReplicaId, message: Message, out: &mut Effects<Self>) {
        match message {
            Message::Replicate { first, writes } => {
                let have = self.log.len() as u64;
                if first <= have {
                    for write in writes.into_iter().skip((have - first) as usize) {
                        self.log.push(write.clone());
                        out.record(write);
                    }
                }
                let before = self.log.len() as u64;
                out.durable.messages.push((from, Message::Have { before }));
            }
            Message::Have { before } => {
                let known = self.have.entry(from).or_default();
                *known = before.max(*known);
                self.apply(out);
            }
        }
    }

    fn handle_timer(&mut self, now: Time, timer: Timer, out: &mut Effects<Self>) {
        self.ticks += 1;
        out.set_timer(timer, now + Duration::from_millis(20));
        if self.is_leader() {
            let behind: Vec<_> = self.have.iter().map(|(id, have)| (*id, *have)).collect();
            for (peer, have) in behind {
                self.replicate(have, &[peer], out);
            }
        }
    }

    fn handle_durable(&mut self, _now: Time, before: JournalPosition, out: &mut Effects<Self>) {
        self.durable = before.0;
        self.apply(out);
    }

    fn handle_snapshot(&mut self, _now: Time, event: SnapshotEvent<kv::Image>, _out: &mut Effects<Self>) {
        match event {
            SnapshotEvent::Saved { .. } => self.snapshots += 1,
            other @ (SnapshotEvent::Chunk { .. }
            | SnapshotEvent::Received { .. }
            | SnapshotEvent::Failed { .. }) => panic!("{other:?} was not asked for"),
        }
    }

    fn end_turn(&mut self, _now: Time, out: &mut Effects<Self>) {
        if self.is_leader() && self.sent < self.log.len() as u64 {
            let peers: Vec<_> = self.have.keys().copied().collect();
            self.replicate(self.sent, &peers, out);
            self.sent = self.log.len() as u64;
        }
    }

    fn status(&self) -> Status {
        Status {
            role: if self.is_leader() { "leader" } else { "follower" }.to_owned(),
            serves: true,
            leads: self.is_leader(),
            leader: Some(LEADER),
            epoch: 1,
            state: StateMark::at_index(self.applied, self.store.digest()),
            keys: self.store.len() as u64,
            metrics: [("ticks".to_owned(), self.ticks), ("snapshots_saved".to_owned(), self.snapshots)]
                .into(),
            ..Status::default()
        }
    }
}

impl kv::Serves for Naive {
    const NAME: &'static str = "naive";

    type Options = ();
    type Client = Client;

    fn configure(seat: Seat, (): ()) -> Config {
        Config { replica: seat.replica, members: seat.members, snapshot_every: 0 }
    }

    fn check((): &()) -> Result<(), String> {
        Ok(())
    }

    fn client(config: ClientConfig) -> Client {
        match config.group {
            4 => Client::Matching(MatchingClient::new(config, Matching { equal: 2, lies: 1 })),
            _ => Client::Leader(LeaderClient::new(config)),
        }
    }
}

/// Of a group of four, one that wants two equal answers.
#[derive(Debug)]
pub(crate) enum Client {
    Leader(LeaderClient),
    Matching(MatchingClient),
}

type Out = ClientEffects<Request, Response>;

impl Client {
    fn core(
        &mut self,
    ) -> &mut dyn ClientCore<Command = Command, Request = Request, Reply = Reply, Response = Response> {
        match self {
            Client::Leader(client) => client,
            Client::Matching(client) => client,
        }
    }
}

impl ClientCore for Client {
    type Command = Command;
    type Request = Request;
    type Reply = Reply;
    type Response = Response;

    fn submit(&mut self, now: Time, deadline: Time, command: Command, out: &mut Out) {
        self.core().submit(now, deadline, command, out);
    }

    fn handle_reply(&mut self, now: Time, from: ReplicaId, reply: Reply, out: &mut Out) {
        self.core().handle_reply(now, from, reply, out);
    }

    fn handle_unreachable(&mut self, now: Time, replica: ReplicaId, maybe_sent: bool, out: &mut Out) {
        self.core().handle_unreachable(now, replica, maybe_sent, out);
    }

    fn handle_timer(&mut self, now: Time, out: &mut Out) {
        self.core().handle_timer(now, out);
    }
}
