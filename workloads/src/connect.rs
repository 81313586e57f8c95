//! What the load engine asks of any system: clients.

use crate::values::Layout;
use checkers::history::{Call, Outcome};
use protocol::NodeId;
use serde::{Deserialize, Serialize};
use std::pin::Pin;
use std::time::Duration;

/// Makes the clients of one system. One is for one load: what its clients share may live on that load's runtime.
pub trait Connect: Send + Sync {
    /// A client that has asked nothing yet. It connects when it needs to. To be made and used within a tokio runtime.
    fn connect(&self, who: &Who) -> Box<dyn Performs>;
}

/// One logical client: one call at a time.
pub trait Performs {
    /// The node that a call is asked of first which is made now, if that is one and known.
    fn asks_first(&self) -> Option<NodeId>;

    /// Carries out a call, to be over within `timeout`. The future must not be dropped before it is done, or the client with it.
    fn perform<'a>(&'a mut self, layout: &'a Layout, call: &'a Call, timeout: Duration) -> Answering<'a>;
}

/// A call on its way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Performed> + 'a>>;

/// The end of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Performed {
    /// What became of it.
    pub outcome: Outcome,
    /// The nodes whose replies that rests on.
    pub by: Vec<NodeId>,
}

/// Which client is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    /// Where it goes.
    pub binding: Binding,
    /// Clients take turns at the nodes.
    pub turn: usize,
    /// An attempt that has no answer after so long is followed by another.
    pub attempt_timeout: Duration,
}

/// Where clients go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binding {
    /// Each client stays with one replica, the replicas taking turns, so that stale ones are seen.
    Replica,
    /// Clients follow the leader.
    Leader,
    /// Each client begins with a replica of its own, the replicas taking turns, and goes to others while that does not serve.
    Home,
}
