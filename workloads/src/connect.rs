//! What the load engine asks of any system: clients.

use crate::values::Layout;
use checkers::history::{Call, Outcome};
use protocol::NodeId;
use serde::{Deserialize, Serialize};
use std::task::{Context, Poll};
use std::time::Duration;

/// Makes the clients of one system. One is for one load: what its clients share may live on that load's runtime.
pub trait Connect: Send + Sync {
    /// A client that has asked nothing yet. It connects when it needs to. To be made and used within a tokio runtime.
    fn connect(&self, who: &Who) -> Box<dyn Performs>;
}

/// One logical client: one call at a time. Begun and polled rather than awaited, so that a call costs no memory.
pub trait Performs {
    /// Begins a call, to be over within `timeout`; nothing of it is sent yet. The node that it will be asked of first, if that is one
    /// and known.
    fn begin(&mut self, layout: &Layout, call: &Call, timeout: Duration) -> Option<NodeId>;

    /// Goes on with the call that was begun, which must be given again, until it is over.
    fn poll(&mut self, cx: &mut Context<'_>, layout: &Layout, call: &Call) -> Poll<Performed>;
}

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
