//! What a protocol brings whose replicas run the key-value state machine.

use crate::client::ClientConfig;
use crate::command::Command;
use crate::response::Response;
use protocol::{ClientCore, Protocol};

/// A protocol with its client: what goes over the client port is between the two of them.
pub trait Serves: Protocol {
    /// From commands to requests, and from replies to what became of them.
    type Client: ClientCore<Command = Command, Response = Response, Request = Self::Request, Reply = Self::Reply>
        + Send
        + 'static;

    /// A client that has asked nothing yet.
    fn client(config: ClientConfig) -> Self::Client;
}
