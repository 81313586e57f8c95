//! The clients behind HTTP: those that the protocol brings. What they ask of this node's replica goes to the core without a
//! socket, what they ask of others to their client ports.

use crate::client_port::ClientIds;
use crate::config::NodeConfig;
use crate::event::Event;
use crate::security::Security;
use client::{Client, ClientTls, FramedLink, Link, LinkEvent, fresh_session};
use kv::{ClientConfig, Command, Response, Serves};
use protocol::{ClientId, Done, ReplicaId};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// A command is over after so long: who asks by HTTP goes to another node then.
const COMMAND_PATIENCE: Duration = Duration::from_secs(3);
/// Without an answer for so long, a client tries again.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it sits out a refusal.
const BACKOFF: Duration = Duration::from_millis(50);
/// Replies that wait for a client within this node: it asks one thing at a time, in a few attempts.
const REPLIES_MAX: usize = 16;

/// Where requests by HTTP are carried out.
pub(crate) struct Front<P: Serves> {
    shared: Arc<Shared<P>>,
}

struct Shared<P: Serves> {
    events: mpsc::Sender<Event<P>>,
    ids: ClientIds,
    /// This node's.
    own: ReplicaId,
    others: BTreeMap<ReplicaId, SocketAddr>,
    group: usize,
    tls: Option<ClientTls>,
    /// Those that are not at work.
    idle: Mutex<Vec<FrontClient<P>>>,
}

type FrontClient<P> = Client<<P as Serves>::Client, NodeLink<P>>;

impl<P: Serves> Clone for Front<P> {
    fn clone(&self) -> Self {
        Front { shared: Arc::clone(&self.shared) }
    }
}

impl<P: Serves> Front<P> {
    pub(crate) fn new(
        config: &NodeConfig,
        security: &Security,
        ids: ClientIds,
        events: mpsc::Sender<Event<P>>,
    ) -> Self {
        let (placement, own) = (config.placement(), config.replica());
        let others = placement.iter().filter(|(_, replica)| *replica != own);
        let others =
            others.filter_map(|(node, replica)| Some((replica, *config.clients.get(&node)?))).collect();
        let (group, tls) = (config.members().len(), security.client_tls());
        Front { shared: Arc::new(Shared { events, ids, own, others, group, tls, idle: Mutex::default() }) }
    }

    /// Where all events go.
    pub(crate) fn events(&self) -> &mpsc::Sender<Event<P>> {
        &self.shared.events
    }

    /// Runs a command. If the future is dropped, so is the client that was at work.
    pub(crate) async fn run(&self, command: Command) -> Done<Response> {
        let idle = self.idle().pop();
        let mut client = idle.unwrap_or_else(|| self.client());
        let done = client.run(command, COMMAND_PATIENCE).await;
        self.idle().push(client);
        done
    }

    fn idle(&self) -> impl std::ops::DerefMut<Target = Vec<FrontClient<P>>> {
        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client that stays with this node where that is enough.
    fn client(&self) -> FrontClient<P> {
        let Shared { events, ids, own, others, group, tls, .. } = &*self.shared;
        let there = |(replica, address): (&ReplicaId, &SocketAddr)| {
            (*replica, NodeLink::There(FramedLink::new(*replica, *address, tls.clone())))
        };
        let mut links = vec![(*own, NodeLink::Here(Here::new(ids.next(), events.clone())))];
        links.extend(others.iter().map(there));
        let core = P::client(ClientConfig {
            session: fresh_session(),
            replicas: links.iter().map(|(replica, _)| *replica).collect(),
            group: *group,
            home: *own,
            bound: true,
            attempt_timeout: ATTEMPT_TIMEOUT,
            backoff: BACKOFF,
        });
        Client::new(core, links)
    }
}

/// A way to a replica.
enum NodeLink<P: Serves> {
    Here(Here<P>),
    There(FramedLink<P::Request, P::Reply>),
}

impl<P: Serves> Link for NodeLink<P> {
    type Request = P::Request;
    type Reply = P::Reply;

    fn begin_command(&mut self) {
        match self {
            NodeLink::Here(_) => {}
            NodeLink::There(link) => link.begin_command(),
        }
    }

    fn send(&mut self, request: P::Request) {
        match self {
            NodeLink::Here(here) => here.send(request),
            NodeLink::There(link) => link.send(request),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent<P::Reply>> {
        match self {
            NodeLink::Here(here) => here.poll(cx),
            NodeLink::There(link) => link.poll(cx),
        }
    }
}

/// To this node's own core.
struct Here<P: Serves> {
    /// To the task that passes requests on: whoever asks does not wait for the core.
    requests: mpsc::UnboundedSender<P::Request>,
    replies: mpsc::Receiver<P::Reply>,
    /// Something was asked since the node was found to stop.
    asked: bool,
}

impl<P: Serves> Here<P> {
    fn new(client: ClientId, events: mpsc::Sender<Event<P>>) -> Self {
        let (requests, inbox) = mpsc::unbounded_channel();
        let (outbox, replies) = mpsc::channel(REPLIES_MAX);
        tokio::spawn(pass_on(client, inbox, outbox, events));
        Here { requests, replies, asked: false }
    }

    fn send(&mut self, request: P::Request) {
        self.asked = true;
        if self.requests.send(request).is_err() {
            tracing::debug!("the node is stopping");
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent<P::Reply>> {
        match self.replies.poll_recv(cx) {
            Poll::Ready(Some(reply)) => Poll::Ready(LinkEvent::Reply(reply)),
            // The node is stopping.
            Poll::Ready(None) if std::mem::take(&mut self.asked) => {
                Poll::Ready(LinkEvent::Down { maybe_sent: true })
            }
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// Has the core know a client, its requests, and that it is gone. Ends early only when the core has.
async fn pass_on<P: Serves>(
    client: ClientId,
    mut inbox: mpsc::UnboundedReceiver<P::Request>,
    replies: mpsc::Sender<P::Reply>,
    events: mpsc::Sender<Event<P>>,
) {
    let mut sent = events.send(Event::ClientWithin { client, replies }).await;
    while sent.is_ok() {
        let Some(request) = inbox.recv().await else { break };
        sent = events.send(Event::Request { client, request }).await;
    }
    events.send(Event::ClientGone { client }).await.ok();
}
