//! A client on tokio: a sans-IO core, and a link to each replica that it may ask.
//!
//! | file | concept |
//! |---|---|
//! | `link.rs` | [`Link`], a way to one replica; [`FramedLink`], the one to its client port |
//! | `stream.rs` | what that speaks over: TCP, or TLS on it |
//! | `delay.rs` | [`Delayed`], a way to a replica that is far away |
//! | `timer.rs` | [`PreciseTimer`], a timer of microseconds |
//! | `alarm.rs` | one timer for a client that sets a new time for every command |

mod alarm;
mod delay;
mod link;
mod stream;
mod timer;

pub use delay::Delayed;
pub use link::{FramedLink, Link, LinkEvent};
pub use stream::ClientTls;
pub use timer::PreciseTimer;

use alarm::Alarm;
use protocol::{ClientCore, ClientEffects, Done, ReplicaId, SessionId, Time};
use std::fmt;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// One logical client with links of its own: one command at a time.
pub struct Client<C: ClientCore, L> {
    core: C,
    effects: ClientEffects<C::Request, C::Response>,
    /// When the command is to be over.
    deadline: Time,
    /// As the core was told last.
    now: Time,
    /// When the core wants its timer handled.
    wake: Option<Time>,
    /// What the core's times count from.
    origin: Instant,
    alarm: Alarm,
    links: Vec<(ReplicaId, L)>,
    /// The link that is looked at first: behind the one that said something last, so that nobody who talks without end keeps
    /// others from being heard.
    turn: usize,
}

/// So many events are handled before others on the same thread have their turn.
const EVENTS_MAX: usize = 64;

/// What a client waits for.
enum Event<R> {
    Reply { replica: ReplicaId, reply: R },
    Down { replica: ReplicaId, maybe_sent: bool },
    Alarm,
}

/// A session that no other client has. Sessions outlive a run in a replica's state, so they must not follow from the run's
/// seed: a second run with that seed would be taken for retries of the first.
#[must_use]
pub fn fresh_session() -> SessionId {
    SessionId(RandomState::new().build_hasher().finish())
}

impl<C: ClientCore, L: Link<Request = C::Request, Reply = C::Reply>> Client<C, L> {
    /// Of a core that has asked nothing yet, and a link to each replica that it may ask. To be made and used within a tokio
    /// runtime.
    #[must_use]
    pub fn new(core: C, links: Vec<(ReplicaId, L)>) -> Self {
        Self {
            core,
            effects: ClientEffects::default(),
            deadline: Time::ZERO,
            now: Time::ZERO,
            wake: None,
            origin: Instant::now(),
            alarm: Alarm::new(),
            links,
            turn: 0,
        }
    }

    fn read_clock(&self) -> Time {
        Time(u64::try_from(self.origin.elapsed().as_nanos()).expect("a client of less than 584 years"))
    }

    /// Runs a command, to be over within `timeout`. The future must not be dropped before it is done, or the client with it.
    pub async fn run(&mut self, command: C::Command, timeout: Duration) -> Done<C::Response> {
        self.begin(command, timeout);
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Begins a command, to be over within `timeout`: [`Client::poll`] goes on with it, and nothing is sent before. The replica that it
    /// will be asked of first, if that is one.
    pub fn begin(&mut self, command: C::Command, timeout: Duration) -> Option<ReplicaId> {
        self.now = self.read_clock();
        self.deadline = self.now + timeout;
        self.submit(command);
        self.effects.asked()
    }

    /// Begins another command, to be over when the last was to be.
    pub fn begin_next(&mut self, command: C::Command) {
        self.now = self.read_clock();
        self.submit(command);
    }

    fn submit(&mut self, command: C::Command) {
        self.links.iter_mut().for_each(|(_, link)| link.begin_command());
        self.wake = None;
        self.core.submit(self.now, self.deadline, command, &mut self.effects);
    }

    /// Goes on with the command that was begun, until it is over.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done<C::Response>> {
        for _ in 0..EVENTS_MAX {
            if let Some(done) = self.carry_out() {
                return Poll::Ready(done);
            }
            // Also while replies never end.
            let event = match self.wake.take_if(|wake| *wake <= self.now) {
                Some(_due) => Event::Alarm,
                None => ready!(self.poll_event(cx)),
            };
            self.now = self.read_clock();
            let (now, effects) = (self.now, &mut self.effects);
            match event {
                Event::Reply { replica, reply } => self.core.handle_reply(now, replica, reply, effects),
                Event::Down { replica, maybe_sent } => {
                    self.core.handle_unreachable(now, replica, maybe_sent, effects);
                }
                Event::Alarm => self.core.handle_timer(now, effects),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Does what the core asked for; the command's end if it is over.
    fn carry_out(&mut self) -> Option<Done<C::Response>> {
        for (replica, request) in self.effects.send.drain(..) {
            let link = self.links.iter_mut().find(|(id, _)| *id == replica);
            let (_, link) = link.expect("the core asks only the replicas it was given");
            link.send(request);
        }
        if let Some(wake) = self.effects.wake.take() {
            self.wake = Some(wake);
        }
        self.effects.done.take()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event<C::Reply>> {
        let links = self.links.len();
        for place in (self.turn..links).chain(0..self.turn) {
            let (replica, link) = &mut self.links[place];
            let Poll::Ready(said) = link.poll(cx) else { continue };
            self.turn = (place + 1) % links;
            let replica = *replica;
            return Poll::Ready(match said {
                LinkEvent::Reply(reply) => Event::Reply { replica, reply },
                LinkEvent::Down { maybe_sent } => Event::Down { replica, maybe_sent },
            });
        }
        let Some(wake) = self.wake else { return Poll::Pending };
        let at = self.origin + Duration::from_nanos(wake.0);
        self.alarm.poll(cx, at).map(|()| {
            self.wake = None;
            Event::Alarm
        })
    }
}

impl<C: ClientCore + fmt::Debug, L: fmt::Debug> fmt::Debug for Client<C, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("core", &self.core).field("links", &self.links).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kv::{ClientConfig, Command, LeaderClient, Matching, MatchingClient, Reply, Request, Response};
    use protocol::{ClientOutcome, RequestId};

    /// A replica that says something whenever it is looked at.
    struct Talker {
        asked: Option<Request>,
        /// What it says is the answer; else it is nobody's.
        answers: bool,
    }

    impl Link for Talker {
        type Request = Request;
        type Reply = Reply;

        fn begin_command(&mut self) {}

        fn send(&mut self, request: Request) {
            self.asked = Some(request);
        }

        fn poll(&mut self, _cx: &mut Context<'_>) -> Poll<LinkEvent<Reply>> {
            let Some(asked) = &self.asked else { return Poll::Pending };
            let id = if self.answers { asked.id } else { RequestId(u64::MAX) };
            Poll::Ready(LinkEvent::Reply(Reply { id, result: Ok(Response::Done) }))
        }
    }

    fn config(replicas: u32) -> ClientConfig {
        ClientConfig {
            session: SessionId(1),
            replicas: (1..=replicas).map(ReplicaId).collect(),
            group: replicas as usize,
            home: ReplicaId(1),
            bound: false,
            attempt_timeout: Duration::from_secs(60),
            backoff: Duration::from_millis(5),
        }
    }

    fn links(answers: &[bool]) -> Vec<(ReplicaId, Talker)> {
        let talker = |answers: &bool| Talker { asked: None, answers: *answers };
        (1..).map(ReplicaId).zip(answers.iter().map(talker)).collect()
    }

    fn write() -> Command {
        Command::Write { key: "k".into(), value: "v".into() }
    }

    #[tokio::test]
    async fn whoever_talks_without_end_keeps_nobody_else_from_being_heard() {
        let core = MatchingClient::new(config(4), Matching { equal: 2, lies: 1 });
        let mut client = Client::new(core, links(&[false, false, true, true]));
        let done = client.run(write(), Duration::from_secs(60)).await;
        let by = vec![ReplicaId(3), ReplicaId(4)];
        assert_eq!(done, Done { outcome: ClientOutcome::Answered(Response::Done), by });
    }

    #[tokio::test]
    async fn whoever_talks_without_end_does_not_hold_up_the_clock() {
        let mut client = Client::new(LeaderClient::new(config(1)), links(&[false]));
        let done = client.run(write(), Duration::from_millis(20)).await;
        assert!(matches!(done.outcome, ClientOutcome::Unknown(_)), "{done:?}");
    }
}
