//! What replicas say to one another. `lib.rs` has the table of messages.

use crate::ids::{LogId, LogIndex, Round, Term, Ticket};
use crate::record::Entry;
use bytes::Bytes;
use kv::response::InBrief;
use kv::{Command, Refusal, Response};
use protocol::describe::Listed;
use protocol::{Describe, Incarnation, Sequence, SessionId, SnapshotId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// From one replica to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// Would you vote for me in this term? (§9.6)
    PreVote(VoteRequest),
    /// Yes or no; a promise of nothing.
    PreVoteReply(VoteReply),
    /// Vote for me in this term (§5.2).
    RequestVote(VoteRequest),
    /// Yes or no.
    RequestVoteReply(VoteReply),
    /// Entries, or none: a heartbeat (§5.3).
    AppendEntries(AppendEntries),
    /// How it went.
    AppendReply(AppendReply),
    /// A chunk of a snapshot (§7).
    InstallSnapshot(InstallSnapshot),
    /// How much of the snapshot has arrived.
    InstallReply(InstallReply),
    /// Writes of the sender's clients, for the leader to propose.
    Forward(Vec<Forwarded>),
    /// What became of forwarded writes.
    ForwardReply(Vec<ForwardAnswer>),
    /// The sender has reads: up to where must it apply before it answers them? (§6.4)
    ReadIndex(ReadIndex),
    /// Up to here.
    ReadIndexReply(ReadIndexReply),
    /// Seek election at once, says the leader of this term (diss. §3.10).
    TimeoutNow(Term),
}

/// A candidate's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteRequest {
    /// The term that the vote is for.
    pub term: Term,
    /// The candidate's last entry.
    pub last: LogId,
    /// Which life of its disk asks.
    pub candidate: Incarnation,
    /// Which life of the voter's disk has the vote, in the candidate's configuration. Another one is not meant.
    pub voter: Incarnation,
    /// The leader of the term before has asked for this election: no promise to it stands in the way (diss. §4.2.3).
    pub handed_over: bool,
}

/// The answer to a [`VoteRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteReply {
    /// If granted, the term of the request; else the voter's own.
    pub term: Term,
    /// Whether the vote is given.
    pub granted: bool,
    /// Which life of the voter's disk answers: it counts for no other.
    pub voter: Incarnation,
}

/// A leader's entries, and its news.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppendEntries {
    /// The leader's term.
    pub term: Term,
    /// What the entries follow.
    pub prev: LogId,
    /// The leader's commit index.
    pub commit: LogIndex,
    /// The leader's newest round.
    pub round: Round,
    /// One after the other, from `prev.index + 1` on.
    pub entries: Vec<Arc<Entry>>,
}

/// The answer to [`AppendEntries`] (and to the last chunk of a snapshot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendReply {
    /// The follower's term.
    pub term: Term,
    /// Which life of the follower's disk answers: it counts for no other.
    pub follower: Incarnation,
    /// The round of the request.
    pub round: Round,
    /// How it went.
    pub outcome: AppendOutcome,
}

/// How [`AppendEntries`] went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppendOutcome {
    /// The follower's log is durably the leader's up to `matched`. It may be beyond the request's last entry
    /// (what is committed matches in any case) or before it (if a later reply is to say the rest).
    Accepted {
        /// Up to here.
        matched: LogIndex,
    },
    /// The follower has no entry like `prev`.
    Rejected {
        /// The index of the request's `prev`.
        prev: LogIndex,
        /// The term of what the follower has there; `None` if its log is too short.
        conflict_term: Option<Term>,
        /// The first index of that term in its log, or the one after its last entry.
        conflict_index: LogIndex,
    },
    /// The request's term is over.
    Stale,
}

/// A chunk of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallSnapshot {
    /// The leader's term.
    pub term: Term,
    /// Which snapshot.
    pub id: SnapshotId,
    /// Of the chunk's first byte.
    pub offset: u64,
    /// The chunk.
    pub bytes: Bytes,
    /// Nothing follows.
    pub last: bool,
}

/// The answer to [`InstallSnapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallReply {
    /// The follower's term.
    pub term: Term,
    /// Which life of the follower's disk answers.
    pub follower: Incarnation,
    /// Which snapshot.
    pub id: SnapshotId,
    /// How many bytes of it have arrived without a gap: where to go on.
    pub received: u64,
}

/// A write that a follower passes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarded {
    /// Comes back in the answer.
    pub ticket: Ticket,
    /// Who asks.
    pub session: SessionId,
    /// Which of its commands.
    pub sequence: Sequence,
    /// What to run.
    pub command: Command,
}

/// What became of a forwarded write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForwardAnswer {
    /// Of the [`Forwarded`].
    pub ticket: Ticket,
    /// The answer.
    pub result: Result<Response, Refusal>,
}

/// A follower's question for its reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadIndex {
    /// Comes back in the answer.
    pub ticket: Ticket,
}

/// The answer to [`ReadIndex`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadIndexReply {
    /// The leader's term.
    pub term: Term,
    /// Of the [`ReadIndex`].
    pub ticket: Ticket,
    /// The leader's commit index after the question arrived, confirmed by a majority.
    pub index: LogIndex,
}

impl Message {
    /// The greatest term that the message speaks of, if it speaks of any.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        match self {
            Message::PreVote(m) | Message::RequestVote(m) => Some(m.term),
            Message::PreVoteReply(m) | Message::RequestVoteReply(m) => Some(m.term),
            Message::AppendEntries(m) => Some(m.term),
            Message::AppendReply(m) => Some(m.term),
            Message::InstallSnapshot(m) => Some(m.term),
            Message::InstallReply(m) => Some(m.term),
            Message::ReadIndexReply(m) => Some(m.term),
            Message::TimeoutNow(term) => Some(*term),
            Message::Forward(_) | Message::ForwardReply(_) | Message::ReadIndex(_) => None,
        }
    }
}

impl Describe for Message {
    const KINDS: &'static [&'static str] = &[
        "pre-vote",
        "pre-vote-reply",
        "request-vote",
        "request-vote-reply",
        "append-entries",
        "append-reply",
        "install-snapshot",
        "install-reply",
        "forward",
        "forward-reply",
        "read-index",
        "read-index-reply",
        "timeout-now",
    ];

    fn kind(&self) -> &'static str {
        match self {
            Message::PreVote(_) => "pre-vote",
            Message::PreVoteReply(_) => "pre-vote-reply",
            Message::RequestVote(_) => "request-vote",
            Message::RequestVoteReply(_) => "request-vote-reply",
            Message::AppendEntries(_) => "append-entries",
            Message::AppendReply(_) => "append-reply",
            Message::InstallSnapshot(_) => "install-snapshot",
            Message::InstallReply(_) => "install-reply",
            Message::Forward(_) => "forward",
            Message::ForwardReply(_) => "forward-reply",
            Message::ReadIndex(_) => "read-index",
            Message::ReadIndexReply(_) => "read-index-reply",
            Message::TimeoutNow(_) => "timeout-now",
        }
    }

    fn repeats(&self, earlier: &Self) -> bool {
        fn without_round(message: &Message) -> Message {
            let mut message = message.clone();
            if let Message::AppendEntries(AppendEntries { round, .. })
            | Message::AppendReply(AppendReply { round, .. }) = &mut message
            {
                *round = Round::default();
            }
            message
        }
        without_round(self) == without_round(earlier)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::PreVote(m) => write!(f, "PreVote {m}"),
            Message::PreVoteReply(m) => write!(f, "PreVoteReply {m}"),
            Message::RequestVote(m) => write!(f, "RequestVote {m}"),
            Message::RequestVoteReply(m) => write!(f, "RequestVoteReply {m}"),
            Message::AppendEntries(m) => {
                write!(f, "AppendEntries {} {} prev {} commit {}", m.term, m.round, m.prev, m.commit)?;
                Listed(&m.entries).fmt(f)
            }
            Message::AppendReply(m) => {
                write!(f, "AppendReply {} {} {}{}", m.term, m.round, m.outcome, life(" from", m.follower))
            }
            Message::InstallSnapshot(m) => {
                let end = if m.last { ", the last" } else { "" };
                let id = LogId::from(m.id);
                write!(f, "InstallSnapshot {} {id} bytes {}+{}{end}", m.term, m.offset, m.bytes.len())
            }
            Message::InstallReply(m) => {
                let of = LogId::from(m.id);
                write!(f, "InstallReply {} {of} received {}{}", m.term, m.received, life(" from", m.follower))
            }
            Message::Forward(writes) => write!(f, "Forward{}", Listed(writes)),
            Message::ForwardReply(answers) => write!(f, "ForwardReply{}", Listed(answers)),
            Message::ReadIndex(_) => write!(f, "ReadIndex"),
            Message::ReadIndexReply(m) => write!(f, "ReadIndexReply {} index {}", m.term, m.index),
            Message::TimeoutNow(term) => write!(f, "TimeoutNow {term}"),
        }
    }
}

impl fmt::Display for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} {}", self.session, self.sequence, self.command)
    }
}

impl fmt::Display for ForwardAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        InBrief(&self.result).fmt(f)
    }
}

impl fmt::Display for VoteRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handed_over = if self.handed_over { ", handed over" } else { "" };
        let (by, of) = (life(" by", self.candidate), life(" of", self.voter));
        write!(f, "{} last {}{by}{of}{handed_over}", self.term, self.last)
    }
}

impl fmt::Display for VoteReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let granted = if self.granted { "granted" } else { "refused" };
        write!(f, "{} {granted}{}", self.term, life(" by", self.voter))
    }
}

impl fmt::Display for AppendOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendOutcome::Accepted { matched } => write!(f, "accepted up to {matched}"),
            AppendOutcome::Rejected { prev, conflict_term: None, conflict_index } => {
                write!(f, "rejected {prev}: the log ends before {conflict_index}")
            }
            AppendOutcome::Rejected { prev, conflict_term: Some(term), conflict_index } => {
                write!(f, "rejected {prev}: {term} from {conflict_index} on")
            }
            AppendOutcome::Stale => write!(f, "stale"),
        }
    }
}

/// Which life it is, unless it is the first.
fn life(preposition: &str, incarnation: Incarnation) -> String {
    if incarnation == Incarnation(0) { String::new() } else { format!("{preposition} {incarnation}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::{Configuration, MEMBERS_MAX, Members};
    use crate::record::Payload;
    use protocol::ReplicaId;

    /// No line is longer than this, in bytes.
    const LINE_BYTES_MAX: usize = 8000;

    fn command(bytes: usize) -> Command {
        let bytes = Bytes::from(vec![b'\n'; bytes]);
        Command::Write { key: bytes.clone(), value: bytes }
    }

    fn append_entries(round: u64, payloads: Vec<Payload>) -> Message {
        let entry = |(n, payload)| Arc::new(Entry { index: LogIndex(n), term: Term(2), payload });
        Message::AppendEntries(AppendEntries {
            term: Term(2),
            prev: LogId::default(),
            commit: LogIndex(0),
            round: Round(round),
            entries: (1..).zip(payloads).map(entry).collect(),
        })
    }

    fn append_reply(round: u64, matched: u64) -> Message {
        let outcome = AppendOutcome::Accepted { matched: LogIndex(matched) };
        let (term, follower, round) = (Term(2), Incarnation(1), Round(round));
        Message::AppendReply(AppendReply { term, follower, round, outcome })
    }

    /// One of each kind; lists are this long, and so many bytes whatever a client may choose.
    fn messages(count: usize, bytes: usize) -> Vec<Message> {
        let (term, life) = (Term(2), Incarnation(1));
        let last = LogId::default();
        let request = VoteRequest { term, last, candidate: life, voter: life, handed_over: true };
        let reply = VoteReply { term, granted: true, voter: life };
        let id = SnapshotId { number: 1, tag: 1 };
        let forwarded = Forwarded {
            ticket: Ticket(1),
            session: SessionId(1),
            sequence: Sequence(1),
            command: command(bytes),
        };
        let answer = ForwardAnswer { ticket: Ticket(1), result: Err(Refusal::Uncertain("\n".repeat(bytes))) };
        let payload =
            Payload::Command { session: SessionId(1), sequence: Sequence(1), command: command(bytes) };
        vec![
            Message::PreVote(request),
            Message::PreVoteReply(reply),
            Message::RequestVote(request),
            Message::RequestVoteReply(reply),
            append_entries(1, vec![payload; count]),
            append_reply(1, 1),
            Message::InstallSnapshot(InstallSnapshot {
                term,
                id,
                offset: 0,
                bytes: vec![0; bytes].into(),
                last: true,
            }),
            Message::InstallReply(InstallReply { term, follower: life, id, received: 7 }),
            Message::Forward(vec![forwarded; count]),
            Message::ForwardReply(vec![answer; count]),
            Message::ReadIndex(ReadIndex { ticket: Ticket(1) }),
            Message::ReadIndexReply(ReadIndexReply { term, ticket: Ticket(1), index: LogIndex(1) }),
            Message::TimeoutNow(term),
        ]
    }

    #[test]
    fn every_kind_is_listed_once_and_there_is_one_of_each() {
        let kinds: Vec<_> = messages(1, 1).iter().map(Message::kind).collect();
        assert_eq!(kinds, Message::KINDS);
    }

    #[test]
    fn whatever_a_message_holds_it_says_one_short_line_that_begins_with_its_kind() {
        let members: Vec<_> = (1..).take(MEMBERS_MAX).map(|n| ReplicaId(u32::MAX - n)).collect();
        let members = Members::founders(&members).unwrap();
        let joint = Configuration { old: Some(members.clone()), new: members };
        let mut messages = messages(1000, 1 << 16);
        messages.push(append_entries(u64::MAX, vec![Payload::Configuration(joint); 1000]));
        for message in messages {
            let line = message.to_string();
            assert!(line.len() <= LINE_BYTES_MAX && !line.contains('\n'), "{} bytes: {line}", line.len());
            let word = line.split(' ').next().unwrap();
            assert_eq!(word.to_lowercase(), message.kind().replace('-', ""));
        }
    }

    #[test]
    fn a_heartbeat_repeats_another_whatever_its_round_and_entries_repeat_themselves_only() {
        let noop = || vec![Payload::Noop];
        assert!(append_entries(7, vec![]).repeats(&append_entries(6, vec![])));
        assert!(append_entries(7, noop()).repeats(&append_entries(6, noop())));
        assert!(!append_entries(7, noop()).repeats(&append_entries(7, vec![])));
        assert!(append_reply(7, 3).repeats(&append_reply(6, 3)));
        assert!(!append_reply(7, 4).repeats(&append_reply(6, 3)));
        // What differs beyond what a line shows.
        let many = |last: Payload| append_entries(1, [vec![Payload::Noop; 50], vec![last]].concat());
        let write = Payload::Command { session: SessionId(1), sequence: Sequence(1), command: command(1) };
        assert!(!many(write).repeats(&many(Payload::Noop)));
    }
}
