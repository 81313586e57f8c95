//! A client of our own replicas: drives the sans-IO [`LeaderClient`] over framed TCP or TLS connections.

mod alarm;
mod link;
mod stream;

pub use stream::ClientTls;

use alarm::Alarm;
use kv::{ClientConfig, Command, LeaderClient, Reply, Request, Response};
use link::{Link, LinkEvent};
use protocol::{ClientCore, ClientEffects, Done, ReplicaId, SessionId, Time};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// How long a client waits after a refusal that names no better replica.
const BACKOFF: Duration = Duration::from_millis(5);

/// How a [`KvClient`] behaves.
#[derive(Clone, Debug)]
pub struct KvClientConfig {
    /// Where the replicas' client ports are.
    pub replicas: BTreeMap<ReplicaId, SocketAddr>,
    /// If the replicas speak TLS.
    pub tls: Option<ClientTls>,
    /// Stay with this replica instead of following the leader.
    pub bound_to: Option<ReplicaId>,
    /// The replica to try first: the one that led last, say.
    pub first: Option<SocketAddr>,
    /// Without an answer for so long, try again.
    pub attempt_timeout: Duration,
}

/// One logical client with a session and connections of its own: one command at a time.
#[derive(Debug)]
pub struct KvClient {
    core: LeaderClient,
    effects: ClientEffects<Request, Response>,
    /// When the core wants its timer handled.
    wake: Option<Time>,
    /// What the core's times count from.
    origin: Instant,
    alarm: Alarm,
    links: Vec<(ReplicaId, Link)>,
    answered_last: Option<SocketAddr>,
}

/// What a client waits for.
enum Event {
    Reply { replica: ReplicaId, address: SocketAddr, reply: Reply },
    Down { replica: ReplicaId, maybe_sent: bool },
    Alarm,
}

/// A session that no other client has. Sessions outlive a run in a replica's state, so they must not follow from the run's
/// seed: a second run with that seed would be taken for retries of the first.
fn fresh_session() -> SessionId {
    SessionId(RandomState::new().build_hasher().finish())
}

impl KvClient {
    /// A client that has asked nothing yet. It connects when it needs to. To be made and used within a tokio runtime.
    ///
    /// # Panics
    /// If there are no replicas.
    #[must_use]
    pub fn new(config: &KvClientConfig) -> Self {
        assert!(!config.replicas.is_empty(), "a client needs replicas");
        let mut replicas: Vec<ReplicaId> = config.replicas.keys().copied().collect();
        if let Some(first) = config.replicas.values().position(|address| Some(*address) == config.first) {
            replicas.rotate_left(first);
        }
        let core = LeaderClient::new(ClientConfig {
            session: fresh_session(),
            group: replicas.len(),
            home: config.bound_to.unwrap_or(replicas[0]),
            bound: config.bound_to.is_some(),
            replicas,
            attempt_timeout: config.attempt_timeout,
            backoff: BACKOFF,
        });
        Self {
            core,
            effects: ClientEffects::default(),
            wake: None,
            origin: Instant::now(),
            alarm: Alarm::new(),
            links: config
                .replicas
                .iter()
                .map(|(id, address)| (*id, Link::new(*id, *address, config.tls.clone())))
                .collect(),
            answered_last: None,
        }
    }

    /// The replica that answered last: with clients that follow the leader, probably it.
    #[must_use]
    pub fn answered_last(&self) -> Option<SocketAddr> {
        self.answered_last
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.origin.elapsed().as_nanos()).expect("a client of less than 584 years"))
    }

    /// Runs a command, to be over within `timeout`. The future must not be dropped before it is done, or the client with it.
    pub async fn run(&mut self, command: Command, timeout: Duration) -> Done<Response> {
        self.links.iter_mut().for_each(|(_, link)| link.begin_command());
        self.wake = None;
        let now = self.now();
        self.core.submit(now, now + timeout, command, &mut self.effects);
        loop {
            if let Some(done) = self.carry_out() {
                return done;
            }
            let event = poll_fn(|cx| self.poll_event(cx)).await;
            let now = self.now();
            let effects = &mut self.effects;
            match event {
                Event::Reply { replica, address, reply } => {
                    self.answered_last = Some(address);
                    self.core.handle_reply(now, replica, reply, effects);
                }
                Event::Down { replica, maybe_sent } => {
                    self.core.handle_unreachable(now, replica, maybe_sent, effects);
                }
                Event::Alarm => self.core.handle_timer(now, effects),
            }
        }
    }

    /// Does what the core asked for; the command's end if it is over.
    fn carry_out(&mut self) -> Option<Done<Response>> {
        for (replica, request) in self.effects.send.drain(..) {
            let link = self.links.iter_mut().find(|(id, _)| *id == replica);
            let (_, link) = link.expect("the core asks only the replicas it was given");
            link.send(&request);
        }
        if let Some(wake) = self.effects.wake.take() {
            self.wake = Some(wake);
        }
        self.effects.done.take()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        for (replica, link) in &mut self.links {
            match link.poll(cx) {
                Poll::Ready(LinkEvent::Reply(reply)) => {
                    return Poll::Ready(Event::Reply { replica: *replica, address: link.address(), reply });
                }
                Poll::Ready(LinkEvent::Down { maybe_sent }) => {
                    return Poll::Ready(Event::Down { replica: *replica, maybe_sent });
                }
                Poll::Pending => {}
            }
        }
        let Some(wake) = self.wake else { return Poll::Pending };
        let at = self.origin + Duration::from_nanos(wake.0);
        self.alarm.poll(cx, at).map(|()| {
            self.wake = None;
            Event::Alarm
        })
    }
}
