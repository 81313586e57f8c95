//! Whatever another replica sends, nothing panics, and what is committed stays.

use crate::host::Host;
use kv::{Command, Refusal, Response};
use protocol::{Incarnation, Protocol, ReplicaId, Sequence, SessionId, SnapshotId, Time, codec};
use raft::{
    AppendEntries, AppendOutcome, AppendReply, Config, Configuration, Entry, ForwardAnswer, Forwarded,
    InstallReply, InstallSnapshot, LogId, LogIndex, Members, Message, Options, Payload, ReadIndex,
    ReadIndexReply, Round, Term, Ticket, Timer, VoteReply, VoteRequest,
};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Mostly plausible numbers, sometimes absurd ones.
fn number(rng: &mut Xoshiro256PlusPlus) -> u64 {
    match rng.random_range(0..40) {
        0 => u64::MAX,
        1 => 1 << 60,
        2 => rng.random(),
        _ => rng.random_range(0..8),
    }
}

fn id(rng: &mut Xoshiro256PlusPlus) -> LogId {
    LogId { index: LogIndex(number(rng)), term: Term(number(rng)) }
}

fn life(rng: &mut Xoshiro256PlusPlus) -> Incarnation {
    Incarnation(if rng.random_bool(0.9) { 0 } else { 1 })
}

/// Sometimes of nobody.
fn members(rng: &mut Xoshiro256PlusPlus) -> Members {
    let mut voters = BTreeMap::new();
    for id in 0..5_u32 {
        if rng.random_bool(0.6) {
            voters.insert(id, life(rng));
        }
    }
    codec::decode(&codec::encode(&voters)).expect("a map is a map")
}

fn configuration(rng: &mut Xoshiro256PlusPlus) -> Payload {
    let old = rng.random_bool(0.5).then(|| members(rng));
    Payload::Configuration(Configuration { old, new: members(rng) })
}

fn entries(rng: &mut Xoshiro256PlusPlus, prev: LogId) -> Vec<Arc<Entry>> {
    let mut last = prev;
    let count = rng.random_range(0..4);
    let mut entries = Vec::new();
    for _ in 0..count {
        // Mostly one after the other.
        let index = if rng.random_bool(0.95) { last.index.0.wrapping_add(1) } else { number(rng) };
        let term = if rng.random_bool(0.8) { last.term } else { Term(number(rng)) };
        last = LogId { index: LogIndex(index), term };
        let payload = if rng.random_bool(0.8) { Payload::Noop } else { configuration(rng) };
        entries.push(Arc::new(Entry { index: last.index, term, payload }));
    }
    entries
}

fn snapshot(rng: &mut Xoshiro256PlusPlus) -> SnapshotId {
    SnapshotId { number: number(rng), tag: number(rng) }
}

fn command(rng: &mut Xoshiro256PlusPlus) -> Command {
    let key = vec![b'k'; rng.random_range(0..3)].into();
    if rng.random_bool(0.5) { Command::Delete { key } } else { Command::Read { key } }
}

fn vote_request(rng: &mut Xoshiro256PlusPlus, term: Term) -> VoteRequest {
    let (candidate, voter) = (life(rng), life(rng));
    VoteRequest { term, last: id(rng), candidate, voter, handed_over: rng.random_bool(0.3) }
}

/// To a replica in term `current`.
fn message(rng: &mut Xoshiro256PlusPlus, current: Term) -> Message {
    let term = match rng.random_range(0..10) {
        0..4 => current,
        4..7 => current.next(),
        _ => Term(number(rng)),
    };
    let (round, ticket) = (Round(number(rng)), Ticket(number(rng)));
    match rng.random_range(0..13) {
        12 => Message::TimeoutNow(term),
        0 => Message::PreVote(vote_request(rng, term)),
        1 => Message::PreVoteReply(VoteReply { term, granted: rng.random(), voter: life(rng) }),
        2 => Message::RequestVote(vote_request(rng, term)),
        3 => Message::RequestVoteReply(VoteReply { term, granted: rng.random(), voter: life(rng) }),
        4 | 5 => {
            let prev = id(rng);
            let entries = entries(rng, prev);
            Message::AppendEntries(AppendEntries {
                term,
                prev,
                commit: LogIndex(number(rng)),
                round,
                entries,
            })
        }
        6 => {
            let outcome = match rng.random_range(0..3) {
                0 => AppendOutcome::Accepted { matched: LogIndex(number(rng)) },
                1 => AppendOutcome::Rejected {
                    prev: LogIndex(number(rng)),
                    conflict_term: rng.random_bool(0.5).then(|| Term(number(rng))),
                    conflict_index: LogIndex(number(rng)),
                },
                _ => AppendOutcome::Stale,
            };
            Message::AppendReply(AppendReply { term, follower: life(rng), round, outcome })
        }
        7 => {
            let bytes = vec![0; rng.random_range(0..5)].into();
            let (id, offset, last) = (snapshot(rng), number(rng), rng.random());
            Message::InstallSnapshot(InstallSnapshot { term, id, offset, bytes, last })
        }
        8 => {
            let (follower, id, received) = (life(rng), snapshot(rng), number(rng));
            Message::InstallReply(InstallReply { term, follower, id, received })
        }
        9 => {
            let (session, sequence) = (SessionId(number(rng)), Sequence(number(rng)));
            Message::Forward(vec![Forwarded { ticket, session, sequence, command: command(rng) }; 2])
        }
        10 => {
            let result = if rng.random() { Ok(Response::Done) } else { Err(Refusal::Busy) };
            Message::ForwardReply(vec![ForwardAnswer { ticket, result }; 2])
        }
        _ if rng.random() => Message::ReadIndex(ReadIndex { ticket }),
        _ => Message::ReadIndexReply(ReadIndexReply { term, ticket, index: LogIndex(number(rng)) }),
    }
}

#[test]
fn no_message_makes_a_replica_panic_or_take_back_what_is_committed() {
    let mut roles = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let members = (1..=3).map(ReplicaId).collect();
        let options = Options { snapshot_every_entries: 3, log_keep_entries: 1, ..Options::default() };
        let mut host =
            Host::new(Config { replica: ReplicaId(1), incarnation: Incarnation(0), members, options });
        let mut now = Time::ZERO;
        // What a store makes of garbage is the store's affair.
        host.store_is_dead = true;
        host.start(seed, now).expect("an empty disk");
        let mut committed: Vec<LogId> = Vec::new();
        for _ in 0..400 {
            now = now + Duration::from_millis(rng.random_range(0..60));
            let timer = [Timer::Election, Timer::Heartbeat, Timer::Patience][rng.random_range(0..3)];
            if host.timers().get(timer).is_some_and(|at| at <= now) {
                host.take_timer(timer);
                host.input(|raft, out| raft.handle_timer(now, timer, out));
            }
            let (from, message) = (ReplicaId(rng.random_range(0..5)), message(&mut rng, host.core().term()));
            let decoded = codec::decode::<Message>(&codec::encode(&message)).expect("what was encoded");
            assert_eq!(decoded, message);
            host.input(|raft, out| raft.handle_message(now, from, message, out));
            host.end_turn(now);
            if rng.random_bool(0.5) {
                host.sync(usize::MAX, now);
            }
            roles.insert(host.core().status().role);
            let log = host.core().log();
            for id in &committed {
                assert_eq!(log.term_at(id.index), Some(id.term), "seed {seed}: {id} was committed");
            }
            let known = committed.len() as u64;
            let news = known + 1..=host.core().commit().0;
            committed.extend(news.map(|index| {
                let index = LogIndex(index);
                LogId { index, term: log.term_at(index).expect("what is committed is there") }
            }));
        }
    }
    assert_eq!(roles.len(), 4, "all roles were taken: {roles:?}");
}
