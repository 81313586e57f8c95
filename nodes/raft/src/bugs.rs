//! Seeded bugs: known ways to get Raft wrong. Each is one `if` beside the line that it breaks.

use protocol::Detector::{Divergence, Effects, Invariant, Linearizability, Liveness};

protocol::bugs! {
    /// A way to get Raft wrong.
    pub enum Bug;

    CommitPriorTerm = "raft.commit-prior-term" {
        wrong: "A leader commits an earlier term's entry by counting replicas.",
        needs: "three replicas or more, four changes of leader",
        source: "Figure 8, §5.4.2",
        caught_by: [Linearizability, Divergence, Invariant],
        real: false,
    }
    VoteNotDurable = "raft.vote-not-durable" {
        wrong: "A vote is given before it and its term are on disk.",
        needs: "power loss in an election",
        source: "Figure 2: persistent state is updated before responding",
        caught_by: [Invariant, Linearizability],
        real: false,
    }
    AckBeforeFsync = "raft.ack-before-fsync" {
        wrong: "A follower acknowledges entries before they are on disk.",
        needs: "power loss of a majority",
        source: "Figure 2: persistent state is updated before responding",
        caught_by: [Linearizability, Invariant],
        real: true,
    }
    CountDuplicateVotes = "raft.count-duplicate-votes" {
        wrong: "A candidate counts a vote that arrives twice as two.",
        needs: "duplicated packets",
        source: "§5.2: votes from a majority of the servers",
        caught_by: [Invariant],
        real: false,
    }
    LocalRead = "raft.local-read" {
        wrong: "A leader answers reads without having a majority confirm that it still leads.",
        needs: "a leader that is cut off or paused",
        source: "§8; diss. §6.4",
        caught_by: [Linearizability],
        real: true,
    }
    ReadIndexNoNoop = "raft.read-index-no-noop" {
        wrong: "A leader answers reads before it has committed an entry of its own term.",
        needs: "a read just after an election",
        source: "§8; diss. §6.4, step 1",
        caught_by: [Linearizability],
        real: false,
    }
    LeaseNoDrift = "raft.lease-no-drift" {
        wrong: "A lease is measured as if all clocks went at the same rate.",
        needs: "`read: lease`, clocks whose rates differ, or a pause",
        source: "diss. §6.4.1",
        caught_by: [Linearizability],
        real: true,
    }
    TruncateOnAppend = "raft.truncate-on-append" {
        wrong: "A follower cuts its log off behind any AppendEntries, not only at a conflict.",
        needs: "delays that reorder",
        source: "§5.3; Figure 2, AppendEntries, step 3",
        caught_by: [Linearizability, Divergence, Liveness, Invariant],
        real: false,
    }
    MatchFromReject = "raft.match-from-reject" {
        wrong: "A leader takes a rejection for a match.",
        needs: "a follower whose log differs, then a healed link to it",
        source: "Figure 2, Rules for Servers, Leaders",
        caught_by: [Linearizability, Divergence, Liveness, Invariant],
        real: false,
    }
    CommitPastNew = "raft.commit-past-new" {
        wrong: "A follower commits up to the end of its log, not up to the last new entry.",
        needs: "a stale tail, then a heartbeat",
        source: "Figure 2, AppendEntries, step 5",
        caught_by: [Divergence],
        real: false,
    }
    NoCheckQuorum = "raft.no-check-quorum" {
        wrong: "A leader that hears no majority keeps its office, and the followers that hear it.",
        needs: "a leader that is heard by some replicas and hears fewer than a majority, for good",
        source: "diss. §6.2",
        caught_by: [Liveness],
        real: false,
    }
    NoPreVote = "raft.no-pre-vote" {
        wrong: "Whoever hears no leader begins a new term, and is listened to.",
        needs: "partial connectivity for good: five replicas in a chain",
        source: "diss. §4.2.3, §9.6",
        caught_by: [Liveness],
        real: false,
    }
    SnapshotKeepsLog = "raft.snapshot-keeps-log" {
        wrong: "An installed snapshot leaves a conflicting log behind it in place.",
        needs: "a follower whose log differs, and a leader that has discarded what it needs",
        source: "§7; Figure 13, step 6",
        caught_by: [Liveness, Divergence, Invariant],
        real: false,
    }
    CompactEarly = "raft.compact-early" {
        wrong: "The log is discarded when a snapshot is begun, not when it is durable.",
        needs: "a crash between the two",
        source: "§7",
        caught_by: [Linearizability, Invariant],
        real: false,
    }
    SnapshotNoSessions = "raft.snapshot-no-sessions" {
        wrong: "Snapshots leave client sessions out.",
        needs: "a snapshot, then a retry",
        source: "§8; diss. §6.3",
        caught_by: [Effects, Divergence, Linearizability],
        real: true,
    }
    RetryAppliedTwice = "raft.retry-applied-twice" {
        wrong: "Clients' retries are not recognised.",
        needs: "a timeout or a change of leader, and commands that tell twice from once",
        source: "§8; diss. §6.3",
        caught_by: [Effects],
        real: true,
    }
    AckOnAppend = "raft.ack-on-append" {
        wrong: "A leader answers a write when it is appended, not when it is committed.",
        needs: "a leader that is cut off",
        source: "§5.3",
        caught_by: [Linearizability],
        real: true,
    }
    SingleServerChange = "raft.single-server-change" {
        wrong: "One member is added or removed at once, before the leader has committed an entry of its own term.",
        needs: "four replicas or more, two leaders that change members one after the other",
        source: "Ongaro, bug in single-server membership changes, raft-dev 2015",
        caught_by: [Linearizability, Divergence, Invariant],
        real: false,
    }
    Amnesia = "raft.amnesia" {
        wrong: "A replica whose disk was wiped votes and acknowledges as if it were the same.",
        needs: "a wiped disk, and a quorum that rests on what it held",
        source: "Figure 2: persistent state",
        caught_by: [Linearizability, Divergence, Invariant],
        real: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Bug as _;
    use std::collections::BTreeSet;

    #[test]
    fn every_bug_has_an_id_of_its_own_and_something_that_may_catch_it() {
        let ids: BTreeSet<&str> = Bug::ALL.iter().map(|bug| bug.info().id).collect();
        assert_eq!(ids.len(), Bug::ALL.len());
        assert!(ids.iter().all(|id| id.starts_with("raft.")), "{ids:?}");
        assert!(Bug::ALL.iter().all(|bug| !bug.info().caught_by.is_empty()));
    }
}
