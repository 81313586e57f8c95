//! What a replica counts.

use std::collections::BTreeMap;

/// Counts since the replica started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) pre_votes_started: u64,
    pub(crate) elections_started: u64,
    pub(crate) elections_won: u64,
    pub(crate) leaderships_lost: u64,
    pub(crate) append_rounds_sent: u64,
    pub(crate) appends_rejected: u64,
    pub(crate) entries_appended: u64,
    pub(crate) entries_truncated: u64,
    pub(crate) snapshots_saved: u64,
    pub(crate) snapshots_failed: u64,
    pub(crate) snapshots_installed: u64,
    pub(crate) snapshot_chunks_sent: u64,
    pub(crate) reads_served: u64,
    pub(crate) reads_by_lease: u64,
    pub(crate) read_rounds: u64,
    pub(crate) requests_forwarded: u64,
    pub(crate) requests_refused_busy: u64,
    pub(crate) changes_begun: u64,
    pub(crate) changes_done: u64,
    pub(crate) changes_given_up: u64,
    pub(crate) transfers_begun: u64,
    pub(crate) transfers_given_up: u64,
    pub(crate) transfers_received: u64,
    dropped: [u64; DropReason::ALL.len()],
}

/// Why a message was dropped. Stale messages are the network's daily work; impossible ones no replica that
/// keeps to the protocol sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// An answer in an earlier term, or to what is no longer asked.
    Stale,
    /// A candidate's request, so soon after the leader was heard from.
    Sticky,
    /// A request that only a leader can fulfil.
    NotLeading,
    /// There is no room for what it asks.
    Busy,
    /// An answer of no member, or of another life of one: it does not count.
    Stranger,
    /// A request for the vote of another life of this replica's disk.
    OfAnotherLife,
    /// Impossible: from this replica.
    FromItself,
    /// Impossible: a number that no execution reaches.
    Absurd,
    /// Impossible: entries that do not follow one another, or a command out of bounds.
    Malformed,
    /// Impossible: another leader in the term that this replica leads.
    SecondLeader,
    /// Impossible: it contradicts what is committed, or what the same leader has said.
    Contradicts,
    /// Impossible: an answer to what was never asked.
    NeverAsked,
}

impl DropReason {
    const ALL: [DropReason; 12] = [
        DropReason::Stale,
        DropReason::Sticky,
        DropReason::NotLeading,
        DropReason::Busy,
        DropReason::Stranger,
        DropReason::OfAnotherLife,
        DropReason::FromItself,
        DropReason::Absurd,
        DropReason::Malformed,
        DropReason::SecondLeader,
        DropReason::Contradicts,
        DropReason::NeverAsked,
    ];

    fn metric(self) -> &'static str {
        match self {
            DropReason::Stale => "messages_dropped_stale",
            DropReason::Sticky => "messages_dropped_sticky",
            DropReason::NotLeading => "messages_dropped_not_leading",
            DropReason::Busy => "messages_dropped_busy",
            DropReason::Stranger => "messages_dropped_stranger",
            DropReason::OfAnotherLife => "messages_dropped_of_another_life",
            DropReason::FromItself => "messages_dropped_from_itself",
            DropReason::Absurd => "messages_dropped_absurd",
            DropReason::Malformed => "messages_dropped_malformed",
            DropReason::SecondLeader => "messages_dropped_second_leader",
            DropReason::Contradicts => "messages_dropped_contradicts",
            DropReason::NeverAsked => "messages_dropped_never_asked",
        }
    }
}

impl Metrics {
    /// Counts a message that goes no further.
    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    /// All counts by name.
    pub(crate) fn by_name(&self) -> BTreeMap<String, u64> {
        let counts = [
            ("pre_votes_started", self.pre_votes_started),
            ("elections_started", self.elections_started),
            ("elections_won", self.elections_won),
            ("leaderships_lost", self.leaderships_lost),
            ("append_rounds_sent", self.append_rounds_sent),
            ("appends_rejected", self.appends_rejected),
            ("entries_appended", self.entries_appended),
            ("entries_truncated", self.entries_truncated),
            ("snapshots_saved", self.snapshots_saved),
            ("snapshots_failed", self.snapshots_failed),
            ("snapshots_installed", self.snapshots_installed),
            ("snapshot_chunks_sent", self.snapshot_chunks_sent),
            ("reads_served", self.reads_served),
            ("reads_by_lease", self.reads_by_lease),
            ("read_rounds", self.read_rounds),
            ("requests_forwarded", self.requests_forwarded),
            ("requests_refused_busy", self.requests_refused_busy),
            ("changes_begun", self.changes_begun),
            ("changes_done", self.changes_done),
            ("changes_given_up", self.changes_given_up),
            ("transfers_begun", self.transfers_begun),
            ("transfers_given_up", self.transfers_given_up),
            ("transfers_received", self.transfers_received),
            ("messages_dropped", self.dropped.iter().sum()),
        ];
        let reasons = DropReason::ALL.map(|reason| (reason.metric(), self.dropped[reason as usize]));
        counts.into_iter().chain(reasons).map(|(name, count)| (name.to_owned(), count)).collect()
    }
}
