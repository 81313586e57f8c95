//! Raft as a deterministic state machine.
mod append;
mod election;
mod follower_read;
mod forward;
mod ids;
mod install;
mod leader;
mod log;
mod members;
mod message;
mod metrics;
mod options;
mod progress;
mod read;
mod record;
mod recovery;
mod replica;
mod replication;
mod snapshot;
mod write;

pub use ids::{LogId, LogIndex, Round, Term, Ticket};
pub use log::Log;
pub use members::{MEMBERS_MAX, Members};
pub use message::{
    AppendEntries, AppendOutcome, AppendReply, ForwardAnswer, Forwarded, InstallReply, InstallSnapshot,
    Message, ReadIndex, ReadIndexReply, VoteReply, VoteRequest,
};
pub use options::{Config, Options, ReadMode};
pub use record::{ENTRY_BYTES_MAX, Entry, Payload, Record};
pub use replica::{Raft, Timer};
pub use snapshot::Image;
