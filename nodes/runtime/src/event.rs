//! Everything that can happen to a core.

use crate::outbound::Outbound;
use protocol::control::{ControlReply, ControlRequest};
use protocol::{ClientId, NodeId, Protocol, SnapshotEvent};
use tokio::sync::{mpsc, oneshot};

/// How many events may wait. Whoever produces them waits beyond that: a client is not read from any further.
pub(crate) const EVENTS_WAITING_MAX: usize = 4096;
/// How many events one turn takes at most.
pub(crate) const TURN_EVENTS_MAX: usize = 1024;

/// One event, in the order in which it reaches the core.
#[derive(Debug)]
pub(crate) enum Event<P: Protocol> {
    /// A client has connected. Precedes its requests.
    ClientConnected { client: ClientId, outbound: Outbound },
    /// A client within this node is there. Precedes its requests.
    ClientWithin { client: ClientId, replies: mpsc::Sender<P::Reply> },
    /// A client asks.
    Request { client: ClientId, request: P::Request },
    /// A client's socket, once full, takes more.
    ClientWritable { client: ClientId },
    /// A client's connection has ended.
    ClientGone { client: ClientId },
    /// Our connection to a peer is up. Its messages come on another one.
    PeerConnected { peer: NodeId, outbound: Outbound },
    /// Our connection to a peer, once full, takes more.
    PeerWritable { peer: NodeId },
    /// Our connection to a peer has ended.
    PeerGone { peer: NodeId },
    /// A peer says something, in so many bytes.
    Message { from: NodeId, message: P::Message, bytes: usize },
    /// A peer has nothing to say, and says so.
    Ping { from: NodeId },
    /// The snapshot store has done a step, and mostly answers.
    Snapshot(Option<SnapshotEvent<P::Image>>),
    /// The control socket, or `/status`.
    Control { request: ControlRequest, reply: oneshot::Sender<ControlReply> },
    /// `/metrics`.
    Metrics { reply: oneshot::Sender<String> },
}
