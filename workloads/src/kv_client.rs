//! Clients of our own replicas: whichever core the protocol brings, over connections to their client ports.

use crate::connect::{Binding, Connect, Performed, Performs, Who};
use crate::contacts::Contacts;
use crate::distances::Distances;
use crate::perform::{Performing, Step};
use crate::values::Layout;
use checkers::history::{Call, Outcome};
use client::{Client, ClientTls, Delayed, FramedLink, fresh_session};
use kv::{ClientConfig, Command, Response, Serves};
use protocol::{Done, NodeId, Protocol, ReplicaId};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How long a client waits after a refusal that names no better replica.
const BACKOFF: Duration = Duration::from_millis(5);

/// The nodes of a group, as its clients see them.
#[derive(Clone, Debug)]
pub struct KvNodes {
    /// Those that may be asked: which replica each stands for, and where its client port is.
    pub nodes: BTreeMap<NodeId, (ReplicaId, SocketAddr)>,
    /// How many replicas the group has.
    pub group: usize,
    /// If they speak TLS.
    pub tls: Option<ClientTls>,
    /// How far clients are from them.
    pub distances: Distances,
}

/// Makes clients of a group that runs `P`.
#[derive(Debug)]
pub struct KvConnector<P> {
    group: KvNodes,
    /// The node that answered last any client that follows the leader: probably that; 0 while there is none.
    answered_last: Arc<AtomicU32>,
    protocol: PhantomData<fn() -> P>,
}

/// The way from a client to a replica's client port.
type Way<P> = Delayed<FramedLink<<P as Protocol>::Request, <P as Protocol>::Reply>>;

/// One logical client with a session and connections of its own.
#[derive(Debug)]
pub struct KvClient<P: Serves> {
    client: Client<P::Client, Way<P>>,
    performing: Performing,
    contacts: Contacts,
    answered_last: Arc<AtomicU32>,
}

impl<P: Serves> KvConnector<P> {
    /// For these nodes.
    ///
    /// # Panics
    /// If there are none.
    #[must_use]
    pub fn new(group: KvNodes) -> Self {
        assert!(!group.nodes.is_empty(), "clients need nodes");
        Self { group, answered_last: Arc::default(), protocol: PhantomData }
    }

    /// As [`Connect::connect`].
    #[must_use]
    pub fn client(&self, who: &Who) -> KvClient<P> {
        let nodes = &self.group.nodes;
        let all: Vec<NodeId> = nodes.keys().copied().collect();
        let here = self.group.distances.standpoint(who.turn, &all);
        let last = NodeId(self.answered_last.load(Ordering::Relaxed));
        let first = match who.binding {
            Binding::Replica | Binding::Home => here.home,
            Binding::Leader if nodes.contains_key(&last) => last,
            Binding::Leader => here.nodes[0],
        };
        let placed = here.nodes.iter().map(|node| (*node, nodes[node].0));
        let contacts = Contacts::new(placed, first, who.turn);
        let link = |(replica, node): (ReplicaId, NodeId)| {
            let link = FramedLink::new(replica, nodes[&node].1, self.group.tls.clone());
            (replica, Delayed::new(link, here.one_way(node)))
        };
        let core = P::client(ClientConfig {
            session: fresh_session(),
            replicas: contacts.replicas(),
            group: self.group.group,
            home: nodes[&first].0,
            bound: who.binding == Binding::Replica,
            attempt_timeout: who.attempt_timeout,
            backoff: BACKOFF,
        });
        KvClient {
            client: Client::new(core, contacts.iter().map(link).collect()),
            performing: Performing::default(),
            contacts,
            answered_last: Arc::clone(&self.answered_last),
        }
    }
}

impl<P: Serves> Connect for KvConnector<P> {
    fn connect(&self, who: &Who) -> Box<dyn Performs> {
        Box::new(self.client(who))
    }
}

impl<P: Serves> KvClient<P> {
    /// Runs a command, to be over within `timeout`.
    pub async fn run(&mut self, command: Command, timeout: Duration) -> Done<Response> {
        self.client.run(command, timeout).await
    }
}

impl<P: Serves> Performs for KvClient<P> {
    fn begin(&mut self, layout: &Layout, call: &Call, timeout: Duration) -> Option<NodeId> {
        let (performing, command) = Performing::begin(layout, call);
        self.performing = performing;
        self.client.begin(command, timeout).map(|replica| self.contacts.node(replica))
    }

    fn poll(&mut self, cx: &mut Context<'_>, layout: &Layout, call: &Call) -> Poll<Performed> {
        loop {
            let done = ready!(self.client.poll(cx));
            match self.performing.answered(layout, call, done) {
                Step::Command(next) => self.client.begin_next(next),
                Step::Done { outcome, by } => {
                    let by: Vec<_> = by.into_iter().map(|replica| self.contacts.node(replica)).collect();
                    if let (Outcome::Ok(_), [node, ..]) = (&outcome, &by[..]) {
                        self.answered_last.store(node.0, Ordering::Relaxed);
                    }
                    return Poll::Ready(Performed { outcome, by });
                }
            }
        }
    }
}
