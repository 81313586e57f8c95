//! Raft as a deterministic state machine.
//!
//! **Tolerates** crashes of any minority of replicas, with loss of everything that was not durable, and a network
//! that loses, duplicates, reorders and delays. Not lies: what no correct replica sends is dropped and counted, as far as it
//! can be told, but a replica is believed. A minority's disks may be lost altogether, if what comes back says so
//! ([`Config::incarnation`]). Clocks matter for availability only, except under [`ReadMode::Lease`],
//! which rests on [`Options::clock_drift_max`].
//!
//! **Paper**: Ongaro and Ousterhout, *In Search of an Understandable Consensus Algorithm (Extended Version)*, 2014 (§), and
//! Ongaro, *Consensus: Bridging Theory and Practice*, 2014 (diss. §).
//!
//! # Messages
//!
//! | message | lane | asks or says | answered by |
//! |---|---|---|---|
//! | [`Message::PreVote`] | early | could I win the next term? | `PreVoteReply`, early |
//! | [`Message::RequestVote`] | durable | vote for me | `RequestVoteReply`, durable if granted |
//! | [`Message::AppendEntries`] | early | these entries follow; this is committed; this is my newest round | `AppendReply`, durable if it acknowledges what is not durable yet |
//! | [`Message::InstallSnapshot`] | early | a chunk of my snapshot | `InstallReply`, early; after the last one `AppendReply` |
//! | [`Message::Forward`] | early | my clients' writes | `ForwardReply`, early |
//! | [`Message::ReadIndex`] | early | up to where must I apply before I answer reads? | `ReadIndexReply`, early |
//! | [`Message::TimeoutNow`] | early | seek election at once | nothing, or the heir's `RequestVote` |
//!
//! Beside each message that leaves early stands why it may. Answers to clients all do: they tell of committed
//! entries, which a majority has on disk.
//!
//! # Files
//!
//! | section | file |
//! |---|---|
//! | Figure 3.1, state; where inputs go | `replica.rs`; `leader.rs` and `progress.rs` for what only leaders have |
//! | §5.1 terms, indexes | `ids.rs` |
//! | §5.2, §5.4.1 elections; diss. §4.2.3, §6.2, §9.6 | `election.rs` |
//! | §5.3 the log, its entries, the journal's records | `log.rs`, `record.rs` |
//! | §5.3 replication, §5.4.2 the commit rule; diss. §10.2 pipelining and batching | `replication.rs` (leader), `append.rs` (follower) |
//! | §5.3 applying; diss. §6.3 answers to writes | `write.rs` |
//! | §7 snapshots: saving, discarding; transfer | `snapshot.rs`; `install.rs` |
//! | Figure 3.1, persistent state; recovery | `recovery.rs` |
//! | diss. §6.4 reads | `read.rs` (leader), `follower_read.rs` |
//! | diss. §6.2 finding the leader: routing | `forward.rs` |
//! | §6; diss. §4.2 to §4.4: who votes; the configurations in the log; changing them | `members.rs`, `configurations.rs`, `change.rs` |
//! | diss. §3.10 leadership transfer | `handover.rs` |
//! | configuration of a replica, times derived from it | `options.rs` |
//! | Figure 3, the five properties, for whoever checks a run | `invariants/` |
//! | seeded bugs; situations that runs should come across | `bugs.rs`; `situations.rs` |
//! | messages, counts | `message.rs`, `metrics.rs` |
//!
//! # Deviations, and why
//!
//! - **PreVote, stickiness and CheckQuorum are not options.** Without all three together a replica with one bad link can
//!   depose leaders for ever. A replica that heard from a leader within the least election timeout refuses
//!   candidates whatever their term, and so does one that has just started: a lease rests on that promise, which is
//!   on no disk.
//! - **Candidates ask again** every heartbeat interval, those who have not agreed: a lost message, or stickiness that ends a
//!   moment later, does not cost another election timeout.
//! - **Rounds**: everything a leader sends carries the number of its newest round, answers echo it. Reads, leases and
//!   CheckQuorum live from that; there is no message for confirmation alone. A round is answered before entries are
//!   durable, so reads do not wait for disks.
//! - **Acceptance may claim more or less than the request's entries**: all that is committed at the follower (it
//!   matches any leader), or only what is durable.
//! - **Rejections name the conflicting term and its first index** (the optimisation at the end of §5.3).
//! - **The commit index is learnt up to what is known to match** in this term, not only from the message that
//!   carries it; a leader's answer to `ReadIndex` carries it too.
//! - **One chunk of a snapshot is under way** at a time, and the follower says where to go on. Discarding
//!   waits, for a while, for a follower that is receiving a snapshot.
//! - **Writes that a follower passes on** are answered as uncertain when the leader refused them, because the network
//!   may have delivered a second copy.
//! - **A member is a replica in one life of its disk** ([`Member`]). Whose disk was wiped has forgotten what it promised, so it
//!   comes back as somebody else: votes are asked of, given to and counted for lives, and so are acknowledgements. A
//!   change of members puts the new life in the old one's place. Nothing can tell a wiped disk that comes back under its
//!   old number.
//! - **Newcomers are in no log.** They catch up as followers without a vote that only their leader knows of (diss. §4.2.1 leaves
//!   that open): a change whose leader is deposed before joint consensus has not happened, and nobody has to clean up
//!   after it. There are no lasting learners.
//! - **Any set of members may follow any other**, always by joint consensus (§6). The group takes up another change when
//!   the last one is committed, and an entry of the leader's own term.
//! - **Whoever is left out by a change that it does not know to be committed goes on seeking election** (diss. §4.2.2): its log may be
//!   the only one long enough. Once it knows, it is silent.
//! - **A leader that is left out hands over** when it steps down, so that nobody waits for an election timeout.
//! - **After a transfer of leadership was tried, there is no lease for the rest of the term**, should it have failed: the heir may
//!   break the promise that the lease rests on at any later time. Reads are confirmed by rounds instead.
//! - **A leader whose disk stalls keeps its office**: it commits through the others whatever can be committed at all. Were it
//!   to step down, its vote would be missing as its acknowledgements are now.

mod append;
mod bugs;
mod change;
mod configurations;
mod election;
mod follower_read;
mod forward;
mod handover;
mod ids;
mod install;
mod invariants;
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
mod situations;
mod snapshot;
mod write;

pub use bugs::Bug;
pub use ids::{LogId, LogIndex, Round, Term, Ticket};
pub use invariants::{Invariants, Violation};
pub use log::Log;
pub use members::{Configuration, MEMBERS_MAX, Member, Members};
pub use message::{
    AppendEntries, AppendOutcome, AppendReply, ForwardAnswer, Forwarded, InstallReply, InstallSnapshot,
    Message, ReadIndex, ReadIndexReply, VoteReply, VoteRequest,
};
pub use options::{Config, Options, ReadMode};
pub use record::{ENTRY_BYTES_MAX, Entry, Payload, Record};
pub use replica::{Raft, Timer};
pub use situations::SITUATIONS;
pub use snapshot::Image;

impl kv::Serves for Raft {
    type Client = kv::LeaderClient;

    fn client(config: kv::ClientConfig) -> kv::LeaderClient {
        kv::LeaderClient::new(config)
    }
}
