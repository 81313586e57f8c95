//! What crosses the client port: a framed [`Request`] in, a framed [`Reply`] out, pipelined, in any order.

use crate::command::{self, Command};
use crate::response::{InBrief, Refusal, Response};
use protocol::{Describe, RequestId, Sequence, SessionId};
use serde::{Deserialize, Serialize};
use std::fmt;

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

impl Describe for Request {
    const KINDS: &'static [&'static str] = command::KINDS;

    fn kind(&self) -> &'static str {
        self.command.kind()
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request { id, session, sequence, routing, command } = self;
        let here = match routing {
            Routing::Leader => "",
            Routing::Here => ", here",
        };
        write!(f, "{id} {session}{sequence} {command}{here}")
    }
}

impl Describe for Reply {
    const KINDS: &'static [&'static str] = &["answer", "refusal"];

    fn kind(&self) -> &'static str {
        match self.result {
            Ok(_) => "answer",
            Err(_) => "refusal",
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, InBrief(&self.result))
    }
}
