//! A client with its clock, and what it asked for last.

use bytes::Bytes;
use kv::client::ClientConfig;
use kv::{Command, Refusal, Reply, Request, Response};
use protocol::{ClientCore, ClientEffects, ClientOutcome, ReplicaId, RequestId, SessionId, Time};
use std::time::Duration;

pub(crate) const ONE: ReplicaId = ReplicaId(1);
pub(crate) const TWO: ReplicaId = ReplicaId(2);
pub(crate) const THREE: ReplicaId = ReplicaId(3);
pub(crate) const ATTEMPT: Duration = Duration::from_millis(100);
pub(crate) const BACKOFF: Duration = Duration::from_millis(10);
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);

/// A client of kv.
pub(crate) trait KvClient:
    ClientCore<Command = Command, Request = Request, Reply = Reply, Response = Response>
{
}
impl<C: ClientCore<Command = Command, Request = Request, Reply = Reply, Response = Response>> KvClient for C {}

/// For a client of replicas 1 to `replicas`.
pub(crate) fn config(replicas: u32, home: ReplicaId, bound: bool) -> ClientConfig {
    ClientConfig {
        session: SessionId(7),
        replicas: (1..=replicas).map(ReplicaId).collect(),
        group: replicas as usize,
        home,
        bound,
        attempt_timeout: ATTEMPT,
        backoff: BACKOFF,
    }
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn write() -> Command {
    Command::Write { key: Bytes::from_static(b"k"), value: Bytes::new() }
}

pub(crate) struct Driver<C> {
    pub(crate) client: C,
    pub(crate) now: Time,
    pub(crate) out: ClientEffects<Request, Response>,
}

impl<C: KvClient> Driver<C> {
    pub(crate) fn of(client: C) -> Self {
        Self { client, now: Time::ZERO, out: ClientEffects::default() }
    }

    /// Submits, and gives what was sent.
    pub(crate) fn submit_to_all(&mut self, command: Command) -> Vec<(ReplicaId, Request)> {
        self.client.submit(self.now, self.now + DEADLINE, command, &mut self.out);
        std::mem::take(&mut self.out.send)
    }

    pub(crate) fn submit(&mut self, command: Command) -> Request {
        self.client.submit(self.now, self.now + DEADLINE, command, &mut self.out);
        self.sent().1
    }

    pub(crate) fn write(&mut self) -> Request {
        self.submit(write())
    }

    /// The one request that was sent since the last look.
    pub(crate) fn sent(&mut self) -> (ReplicaId, Request) {
        assert_eq!(self.out.send.len(), 1, "{:?}", self.out);
        self.out.send.remove(0)
    }

    pub(crate) fn sent_nothing(&self) {
        assert!(self.out.send.is_empty(), "{:?}", self.out);
    }

    pub(crate) fn reply(&mut self, from: ReplicaId, to: RequestId, result: Result<Response, Refusal>) {
        self.client.handle_reply(self.now, from, Reply { id: to, result }, &mut self.out);
    }

    pub(crate) fn refuse(&mut self, from: ReplicaId, to: &Request, refusal: Refusal) {
        self.reply(from, to.id, Err(refusal));
    }

    pub(crate) fn unreachable(&mut self, replica: ReplicaId, maybe_sent: bool) {
        self.client.handle_unreachable(self.now, replica, maybe_sent, &mut self.out);
    }

    /// The clock goes on to when the client wants to be woken, which is so long from now.
    pub(crate) fn wake_after(&mut self, expected: Duration) {
        let wake = self.out.wake.take().expect("a command under way has a deadline");
        assert_eq!(wake.since(self.now), expected);
        self.now = wake;
        self.client.handle_timer(self.now, &mut self.out);
    }

    pub(crate) fn is_under_way(&self) {
        assert_eq!(self.out.done, None);
        assert!(self.out.wake.is_some());
    }

    /// How the command ended, and whose word that is.
    pub(crate) fn done_by(&mut self) -> (ClientOutcome<Response>, Vec<ReplicaId>) {
        self.sent_nothing();
        let done = self.out.done.take().expect("the command is over");
        (done.outcome, done.by)
    }

    pub(crate) fn done(&mut self) -> ClientOutcome<Response> {
        self.done_by().0
    }

    pub(crate) fn answered(&mut self, by: &[ReplicaId]) {
        assert_eq!(self.done_by(), (ClientOutcome::Answered(Response::Done), by.to_vec()));
    }

    pub(crate) fn failed(&mut self) -> Vec<ReplicaId> {
        let (outcome, by) = self.done_by();
        assert!(matches!(outcome, ClientOutcome::Failed(_)), "{outcome:?}");
        by
    }

    pub(crate) fn unknown(&mut self) {
        let (outcome, by) = self.done_by();
        assert!(matches!(outcome, ClientOutcome::Unknown(_)) && by.is_empty(), "{outcome:?} by {by:?}");
    }

    /// Ends the command: whatever is tried from now on is refused for certain.
    pub(crate) fn refuse_until_deadline(&mut self) {
        let begun = self.now;
        while self.out.done.is_none() {
            match self.out.send.pop() {
                Some((replica, request)) => self.refuse(replica, &request, Refusal::Busy),
                None => {
                    self.now = self.out.wake.expect("under way");
                    self.client.handle_timer(self.now, &mut self.out);
                }
            }
        }
        assert!(self.now.since(begun) <= DEADLINE);
    }
}

pub(crate) fn not_leader(leader: Option<ReplicaId>) -> Refusal {
    Refusal::NotLeader { leader }
}

pub(crate) fn unavailable() -> Refusal {
    Refusal::Unavailable("disk full".to_owned())
}

pub(crate) fn uncertain() -> Refusal {
    Refusal::Uncertain("deposed".to_owned())
}
