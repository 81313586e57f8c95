//! What can be wrong with a history or with its file.

use super::op::ProcessId;
use std::io;
use std::path::PathBuf;

/// Why a history cannot be written, read or understood. A file that merely ends early is none of these: see
/// [`super::Ending::Truncated`].
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// `create`, `write`, `read`, …
        action: &'static str,
        /// The history file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// The file does not begin as a history of a version that we know.
    #[error("{} is no history: {reason}", path.display())]
    NotAHistory {
        /// The file.
        path: PathBuf,
        /// What is wrong with its first bytes.
        reason: String,
    },
    /// Bytes before the end are not what was written. What comes before them is whole.
    #[error("{} is corrupt: chunk {chunk} at byte {offset}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Counting from 0.
        chunk: u32,
        /// Where the chunk begins.
        offset: u64,
        /// What does not fit.
        reason: String,
    },
    /// An entry so large that no reader would take it back. It was not recorded.
    #[error("an entry of {bytes} bytes cannot be recorded, at most {limit} are allowed")]
    EntryTooLarge {
        /// Its size.
        bytes: usize,
        /// The largest entry.
        limit: usize,
    },
    /// A process asked again before its op ended.
    #[error("entry {entry}: process {process} invokes while its op of entry {open} is open")]
    StillOpen {
        /// The second invocation.
        entry: u64,
        /// Who.
        process: ProcessId,
        /// The first invocation.
        open: u64,
    },
    /// An op ended that never began.
    #[error("entry {entry}: process {process} has no open op that could return")]
    NothingOpen {
        /// The return.
        entry: u64,
        /// Who.
        process: ProcessId,
    },
    /// An op ended before it began.
    #[error("entry {entry}: process {process} returns at {returned} ns from an op invoked at {invoked} ns")]
    BackInTime {
        /// The return.
        entry: u64,
        /// Who.
        process: ProcessId,
        /// Nanoseconds since the run began.
        invoked: u64,
        /// Nanoseconds since the run began.
        returned: u64,
    },
    /// The export could not be written.
    #[error("cannot write the export: {0}")]
    Export(#[from] io::Error),
}
