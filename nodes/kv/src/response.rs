//! What the state machine answers, and why a replica refuses.

use crate::command::Key;
use crate::value::Value;
use protocol::ReplicaId;
use serde::{Deserialize, Serialize};

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
