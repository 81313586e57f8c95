//! What a protocol brings whose replicas run the key-value state machine.

use crate::client::ClientConfig;
use crate::command::Command;
use crate::response::Response;
use protocol::{ClientCore, Incarnation, Protocol, ReplicaId};
use serde::de::DeserializeOwned;

/// A protocol as programs and harness start it, with its client: what goes over the client port is between the two of them.
pub trait Serves: Protocol {
    /// The name in plans, reports, and of the node program: `raft` is `raft-node`.
    const NAME: &'static str;

    /// What a plan may say of it. Unknown keys are refused.
    type Options: Clone + DeserializeOwned + Send + 'static;

    /// From commands to requests, and from replies to what became of them.
    type Client: ClientCore<Command = Command, Response = Response, Request = Self::Request, Reply = Self::Reply>
        + Send
        + 'static;

    /// What a replica is started with.
    fn configure(seat: Seat, options: Self::Options) -> Self::Config;

    /// Checks what a plan says of it.
    ///
    /// # Errors
    /// With the option's name, its value and what is allowed.
    fn check(options: &Self::Options) -> Result<(), String>;

    /// A client that has asked nothing yet.
    fn client(config: ClientConfig) -> Self::Client;
}

/// Who a replica is, and who founds its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// This replica.
    pub replica: ReplicaId,
    /// Which life of its disk this is.
    pub incarnation: Incarnation,
    /// The founders, in order: the same on all replicas.
    pub members: Vec<ReplicaId>,
}
