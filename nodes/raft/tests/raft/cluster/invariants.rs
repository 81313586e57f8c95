//! The five properties of Figure 3.2, checked after every step.

use protocol::{ReplicaId, codec};
use raft::{LogId, LogIndex, Raft, Term};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// What has been seen of all replicas, over all their lives.
#[derive(Default)]
pub(crate) struct Invariants {
    leaders: BTreeMap<Term, ReplicaId>,
    /// For each entry that any log ever held: what it follows, and its content.
    entries: BTreeMap<(LogIndex, Term), (LogId, u64)>,
    /// For each index that any replica took for committed.
    committed: BTreeMap<LogIndex, LogId>,
    /// The state's digest after each index at which some step ended.
    digests: BTreeMap<LogIndex, u64>,
    seen: BTreeMap<ReplicaId, Seen>,
}

/// How a replica was after its last step. Forgotten when it crashes.
#[derive(Default)]
struct Seen {
    log: BTreeMap<LogIndex, LogId>,
    last: LogId,
    led: Option<Term>,
    term: Term,
    commit: LogIndex,
}

impl Invariants {
    pub(crate) fn forget(&mut self, id: ReplicaId) {
        self.seen.remove(&id);
    }

    pub(crate) fn check(&mut self, id: ReplicaId, raft: &Raft) {
        self.log_matching(id, raft);
        self.election_safety_and_leader_completeness(id, raft);
        self.leader_append_only(id, raft);
        self.state_machine_safety(id, raft);
        let seen = self.seen.entry(id).or_default();
        assert!(raft.term() >= seen.term, "{id} went from {} back to {}", seen.term, raft.term());
        seen.last = raft.log().last();
        seen.led = raft.is_leader().then(|| raft.term());
        seen.term = raft.term();
        seen.commit = raft.commit();
    }

    /// If two logs hold an entry with the same index and term, they are the same up to there. By induction: the same
    /// content, and the same predecessor.
    fn log_matching(&mut self, id: ReplicaId, raft: &Raft) {
        let seen = self.seen.entry(id).or_default();
        let log = raft.log();
        let last = log.last();
        seen.log.split_off(&last.index.next());
        let mut entries = log.entries().rev().peekable();
        while let Some(entry) = entries.next() {
            if seen.log.get(&entry.index) == Some(&entry.id()) {
                break;
            }
            seen.log.insert(entry.index, entry.id());
            let prev = entries.peek().map_or(log.base(), |prev| prev.id());
            let content = xxh3_64(&codec::encode(&entry.payload));
            let known = *self.entries.entry((entry.index, entry.term)).or_insert((prev, content));
            assert_eq!(known, (prev, content), "Log Matching: {} differs on {id}", entry.id());
        }
    }

    fn election_safety_and_leader_completeness(&mut self, id: ReplicaId, raft: &Raft) {
        let seen = &self.seen[&id];
        if !raft.is_leader() || seen.led == Some(raft.term()) {
            return;
        }
        let term = raft.term();
        let leader = *self.leaders.entry(term).or_insert(id);
        assert_eq!(leader, id, "Election Safety: {leader} and {id} both lead {term}");
        for (index, committed) in self.committed.range(raft.log().base().index..) {
            let held = raft.log().term_at(*index);
            assert_eq!(
                held,
                Some(committed.term),
                "Leader Completeness: {id} leads {term} without {committed}"
            );
        }
    }

    fn leader_append_only(&mut self, id: ReplicaId, raft: &Raft) {
        let seen = &self.seen[&id];
        if seen.led == Some(raft.term()) && raft.is_leader() {
            let held = raft.log().term_at(seen.last.index);
            let discarded = seen.last.index < raft.log().base().index;
            assert!(discarded || held == Some(seen.last.term), "Leader Append-Only: {id} lost {}", seen.last);
        }
    }

    fn state_machine_safety(&mut self, id: ReplicaId, raft: &Raft) {
        let before = self.seen[&id].commit;
        assert!(raft.commit() >= before, "{id} took back {before}, is at {}", raft.commit());
        let log = raft.log();
        for index in before.0 + 1..=raft.commit().0 {
            let index = LogIndex(index);
            let Some(term) = log.term_at(index) else { continue };
            let applied = LogId { index, term };
            let committed = *self.committed.entry(index).or_insert(applied);
            assert_eq!(committed, applied, "State Machine Safety: {id} applied another entry");
        }
        let digest = raft.store().digest();
        let known = *self.digests.entry(raft.commit()).or_insert(digest);
        assert_eq!(known, digest, "State Machine Safety: {id} has another state at {}", raft.commit());
    }
}
