//! Makes etcd's clients.

use super::client::{EtcdClient, EtcdClientConfig, Target};
use super::leader::LeaderFinder;
use crate::connect::{Binding, Connect, Performed, Performs, Who};
use crate::distances::Distances;
use crate::values::Layout;
use checkers::history::{Call, Outcome};
use protocol::NodeId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Makes clients of these members. The leader is looked for once for all of them.
#[derive(Debug)]
pub struct EtcdConnector {
    members: Arc<BTreeMap<NodeId, SocketAddr>>,
    serializable_reads: bool,
    finder: Arc<LeaderFinder>,
    distances: Distances,
}

/// A client, and what its members are called.
struct Named {
    state: State,
    members: Arc<BTreeMap<NodeId, SocketAddr>>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "a client is nearly always asking; a box would cost an allocation an op"
)]
enum State {
    Idle(EtcdClient),
    /// With a call, which gives the client back.
    Asking(Pin<Box<dyn Future<Output = (EtcdClient, Outcome)>>>),
    /// Between the two.
    Changing,
}

impl EtcdConnector {
    /// `members`: their client ports. `serializable_reads`: read from the member asked, as it is, instead of linearizably. `distances`: how
    /// far clients are from them.
    ///
    /// # Panics
    /// If there are no members.
    #[must_use]
    pub fn new(
        members: BTreeMap<NodeId, SocketAddr>,
        serializable_reads: bool,
        distances: Distances,
    ) -> Self {
        assert!(!members.is_empty(), "clients need members");
        let finder = Arc::new(LeaderFinder::new(&members.values().copied().collect::<Vec<_>>()));
        Self { members: Arc::new(members), serializable_reads, finder, distances }
    }
}

impl Connect for EtcdConnector {
    fn connect(&self, who: &Who) -> Box<dyn Performs> {
        let nodes: Vec<NodeId> = self.members.keys().copied().collect();
        let here = self.distances.standpoint(who.turn, &nodes);
        let one_way = |(node, address): (&NodeId, &SocketAddr)| (*address, here.one_way(*node));
        let one_ways = self.members.iter().map(one_way).collect();
        let target = match who.binding {
            Binding::Replica => Target::Member(self.members[&here.home]),
            // Its members pass writes on, so whoever may go elsewhere goes to the leader.
            Binding::Leader | Binding::Home => Target::Leader(Arc::clone(&self.finder)),
        };
        let (serializable_reads, attempt_timeout) = (self.serializable_reads, who.attempt_timeout);
        let client =
            EtcdClient::new(EtcdClientConfig { target, serializable_reads, attempt_timeout, one_ways });
        Box::new(Named { state: State::Idle(client), members: Arc::clone(&self.members) })
    }
}

impl Named {
    /// The member that a client asks, as far as it is decided.
    fn asked_by(&self, client: &EtcdClient) -> Option<NodeId> {
        let member = client.member()?;
        self.members.iter().find(|(_, address)| **address == member).map(|(node, _)| *node)
    }
}

impl Performs for Named {
    fn begin(&mut self, layout: &Layout, call: &Call, timeout: Duration) -> Option<NodeId> {
        let State::Idle(mut client) = std::mem::replace(&mut self.state, State::Changing) else {
            panic!("{call:?} was begun while another call is under way")
        };
        let to = self.asked_by(&client);
        let (layout, call) = (*layout, call.clone());
        self.state = State::Asking(Box::pin(async move {
            let outcome = client.perform(&layout, &call, timeout).await;
            (client, outcome)
        }));
        to
    }

    fn poll(&mut self, cx: &mut Context<'_>, _layout: &Layout, call: &Call) -> Poll<Performed> {
        let State::Asking(asking) = &mut self.state else { panic!("{call:?} was not begun") };
        let (client, outcome) = ready!(asking.as_mut().poll(cx));
        let answered = matches!(outcome, Outcome::Ok(_));
        let by = self.asked_by(&client).filter(|_| answered).into_iter().collect();
        self.state = State::Idle(client);
        Poll::Ready(Performed { outcome, by })
    }
}
