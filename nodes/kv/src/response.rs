//! What the state machine answers, and why a replica refuses.

use crate::command::Key;
use crate::value::Value;
use protocol::ReplicaId;
use protocol::describe::{Listed, Shortened, Words};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The answer to a [`crate::Command`] that took effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// `Write`, `Insert`, `Update`: done.
    Done,
    /// `Read`: the value, `None` if the key is absent.
    Value(Option<Value>),
    /// `Cas`: whether the value was as expected, and so replaced.
    Swapped(bool),
    /// `Delete`: whether there was something to delete.
    Deleted(bool),
    /// `Append`: elements in the list now. `Splice`: characters in the text now.
    Length(u64),
    /// `Scan`: rows in key order.
    Rows(Vec<(Key, Value)>),
    /// `Txn`: one answer for each micro-op.
    Txn(Vec<MicroResponse>),
    /// The command cannot apply to the value that is there (an `Append` to bytes, say): no effect.
    WrongType,
    /// A `Splice` beyond the end of the text: no effect.
    OutOfRange,
    /// The answer, or the value that the command would leave, exceeds [`crate::command::ANSWER_BYTES_MAX`]: no
    /// effect. Ask for less at once.
    TooLarge,
}

/// The answer to a [`crate::MicroOp`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MicroResponse {
    /// `Read`.
    Value(Option<Value>),
    /// `Write`, `Append`.
    Done,
}

/// Why a replica did not carry out a request. Unless said otherwise, this attempt had no effect and will
/// have none; an earlier attempt of the same command may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Only the leader accepts this.
    #[error("not the leader")]
    NotLeader {
        /// Where to go, if known.
        leader: Option<ReplicaId>,
    },
    /// Too much is under way already.
    #[error("busy")]
    Busy,
    /// The replica has accepted the command and then lost track of it (a change of leader): this attempt may
    /// still take effect.
    #[error("outcome unknown: {0}")]
    Uncertain(String),
    /// The session's later commands have been answered already, or the session is forgotten: whether the
    /// command took effect can no longer be told.
    #[error("session expired")]
    SessionExpired,
    /// The command breaks a bound.
    #[error("invalid: {0}")]
    Invalid(String),
    /// The replica cannot write (its disk is full, say).
    #[error("unavailable: {0}")]
    Unavailable(String),
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Response::Done => f.write_str("done"),
            Response::Value(value) => read(value.as_ref(), f),
            Response::Swapped(true) => f.write_str("swapped"),
            Response::Swapped(false) => f.write_str("not swapped"),
            Response::Deleted(true) => f.write_str("deleted"),
            Response::Deleted(false) => f.write_str("nothing to delete"),
            Response::Length(length) => write!(f, "length {length}"),
            Response::Rows(rows) => write!(f, "{} rows", rows.len()),
            Response::Txn(answers) => write!(f, "txn{}", Listed(answers)),
            Response::WrongType => f.write_str("wrong type"),
            Response::OutOfRange => f.write_str("out of range"),
            Response::TooLarge => f.write_str("too large"),
        }
    }
}

impl fmt::Display for MicroResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MicroResponse::Value(value) => read(value.as_ref(), f),
            MicroResponse::Done => f.write_str("done"),
        }
    }
}

fn read(value: Option<&Value>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value {
        None => f.write_str("nothing"),
        Some(Value::Bytes(bytes)) => write!(f, "value {}", Shortened(bytes)),
        // What tells one state of a list from another is at its end.
        Some(Value::List(elements)) => {
            write!(f, "list of {}", elements.len())?;
            elements.last().map_or(Ok(()), |last| write!(f, ", the last {}", Shortened(last)))
        }
        Some(Value::Record(fields)) => write!(f, "record of {} fields", fields.len()),
        Some(Value::Text(text)) => write!(f, "text of {} characters", text.len_chars()),
    }
}

/// What a replica says to a request, in a line.
#[derive(Debug)]
pub struct InBrief<'a>(pub &'a Result<Response, Refusal>);

impl fmt::Display for InBrief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(response) => response.fmt(f),
            Err(Refusal::NotLeader { leader: Some(leader) }) => write!(f, "refused: {leader} leads"),
            Err(refusal) => write!(f, "refused: {}", Words(&refusal.to_string())),
        }
    }
}
