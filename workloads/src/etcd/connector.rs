//! Makes etcd's clients.

use super::client::{EtcdClient, EtcdClientConfig, Target};
use super::leader::LeaderFinder;
use crate::connect::{Answering, Binding, Connect, Performed, Performs, Who};
use crate::values::Layout;
use checkers::history::{Call, Outcome};
use protocol::NodeId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Makes clients of these members. The leader is looked for once for all of them.
#[derive(Debug)]
pub struct EtcdConnector {
    members: Arc<BTreeMap<NodeId, SocketAddr>>,
    serializable_reads: bool,
    finder: Arc<LeaderFinder>,
}

/// A client, and what its members are called.
#[derive(Debug)]
struct Named {
    client: EtcdClient,
    members: Arc<BTreeMap<NodeId, SocketAddr>>,
}

impl EtcdConnector {
    /// `members`: their client ports. `serializable_reads`: read from the member asked, as it is, instead of linearizably.
    ///
    /// # Panics
    /// If there are no members.
    #[must_use]
    pub fn new(members: BTreeMap<NodeId, SocketAddr>, serializable_reads: bool) -> Self {
        assert!(!members.is_empty(), "clients need members");
        let finder = Arc::new(LeaderFinder::new(&members.values().copied().collect::<Vec<_>>()));
        Self { members: Arc::new(members), serializable_reads, finder }
    }
}

impl Connect for EtcdConnector {
    fn connect(&self, who: &Who) -> Box<dyn Performs> {
        let member = self.members.values().nth(who.turn % self.members.len());
        let target = match who.binding {
            Binding::Replica => Target::Member(*member.expect("there are members")),
            // Its members pass writes on, so whoever may go elsewhere goes to the leader.
            Binding::Leader | Binding::Home => Target::Leader(Arc::clone(&self.finder)),
        };
        let (serializable_reads, attempt_timeout) = (self.serializable_reads, who.attempt_timeout);
        let client = EtcdClient::new(EtcdClientConfig { target, serializable_reads, attempt_timeout });
        Box::new(Named { client, members: Arc::clone(&self.members) })
    }
}

impl Performs for Named {
    fn asks_first(&self) -> Option<NodeId> {
        let member = self.client.member()?;
        self.members.iter().find(|(_, address)| **address == member).map(|(node, _)| *node)
    }

    fn perform<'a>(&'a mut self, layout: &'a Layout, call: &'a Call, timeout: Duration) -> Answering<'a> {
        Box::pin(async move {
            let outcome = self.client.perform(layout, call, timeout).await;
            let answered = matches!(outcome, Outcome::Ok(_));
            Performed { by: self.asks_first().filter(|_| answered).into_iter().collect(), outcome }
        })
    }
}
