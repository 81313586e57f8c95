//! What the journal holds.

use kv::Command;
use protocol::{Sequence, SessionId};
use serde::{Deserialize, Serialize};

/// A write that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Who asked.
    pub session: SessionId,
    /// Which of its commands.
    pub sequence: Sequence,
    /// What was run.
    pub command: Command,
}

impl Record {
    /// At least as many bytes as the encoding has.
    pub(crate) fn encoded_bytes_max(&self) -> usize {
        const INTEGER_BYTES_MAX: usize = 10;
        2 * INTEGER_BYTES_MAX + self.command.encoded_bytes_max()
    }
}
