//! What crosses the client port: a framed [`Request`] in, a framed [`Reply`] out, pipelined, in any order.

use crate::command::Command;
use crate::response::{Refusal, Response};
use protocol::{RequestId, Sequence, SessionId};
use serde::{Deserialize, Serialize};

/// A client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Comes back in the reply.
    pub id: RequestId,
    /// Who asks: the scope of `sequence`.
    pub session: SessionId,
    /// Which command of the session; a retry repeats it. Read-only commands may leave it 0.
    pub sequence: Sequence,
    /// What a replica that does not lead shall do.
    pub routing: Routing,
    /// What to run.
    pub command: Command,
}

/// What a replica that does not lead shall do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Routing {
    /// Refuse, and say who leads.
    Leader,
    /// See to it itself: pass a write on, answer a read from its own state as its read mode allows.
    Here,
}

/// A replica answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Of the request.
    pub id: RequestId,
    /// The answer.
    pub result: Result<Response, Refusal>,
}
