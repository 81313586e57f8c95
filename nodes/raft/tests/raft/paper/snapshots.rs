use super::solo::*;
use crate::host::{Host, Sent};
use kv::{Response, Routing};
use protocol::{Protocol, ReplicaId, SnapshotId, Time};
use raft::{LogIndex, Message, Options, Payload, Timer};

fn options() -> Options {
    Options { snapshot_every_entries: 3, log_keep_entries: 1, snapshot_chunk_bytes: 8, ..Options::default() }
}

/// A leader of term 1 that has applied `writes` writes, on its own disk and n2's.
fn leader(writes: usize, options: Options) -> Solo {
    let mut leader = Solo::leader(1, &[], options);
    leader.deliver(N2, reply(1, 1, accepted(1)));
    for _ in 0..writes {
        leader.request(Routing::Leader, write("x", "1"));
        leader.sync();
        let last = leader.host.core().log().last().index.0;
        leader.deliver(N2, reply(1, 1, accepted(last)));
    }
    leader.sync();
    leader
}

/// §7.
#[test]
fn a_snapshot_is_saved_after_so_many_entries_and_only_then_is_the_log_discarded() {
    let mut leader = leader(2, options());
    assert_eq!(leader.host.snapshot_effects, ["save 3/t1"]);
    assert_eq!(leader.host.core().log().base(), id(0, 0), "the snapshot is not durable");
    leader.io();
    assert_eq!(leader.host.core().log().base(), id(2, 1), "an entry is kept for slow followers");
    assert_eq!(leader.host.snapshot_effects.len(), 1, "not before term and vote are restated durably");
    leader.sync();
    assert_eq!(leader.host.snapshot_effects[1], "discard before @3, keep 3/t1");
    let kept: Vec<String> = leader.host.disk.records.iter().map(|(_, record)| record.to_string()).collect();
    assert!(kept[0].starts_with("Entry 3/t1"), "{kept:?}");
    assert_eq!(kept[1..], ["HardState t1, vote n1"]);
}

/// §7: the snapshot stands for what was discarded.
#[test]
fn a_replica_recovers_from_its_snapshot_and_what_follows_it() {
    let mut leader = leader(2, options());
    leader.io();
    leader.request(Routing::Leader, write("y", "2"));
    leader.sync();
    let digest = leader.host.core().store().digest();
    leader.restart();
    assert_eq!((leader.commit(), leader.term(), leader.terms()), (3, 1, vec![1]));
    assert_eq!(leader.host.core().store().digest(), digest);
}

/// n3, an empty replica.
fn n3() -> Host {
    let members = [N1, N2, N3].to_vec();
    let mut host = Host::new(config(N3, members, options()));
    host.start(9, Time::ZERO).unwrap();
    host
}

/// All messages for `to` arrive; what is written becomes durable; the snapshot store works.
fn exchange(sent: Sent, to: ReplicaId, host: &mut Host, from: ReplicaId, now: Time) -> Vec<Message> {
    let mut answers = Vec::new();
    let mut collect = |sent: Sent| {
        let all = sent.early.messages.into_iter().chain(sent.durable.messages);
        answers.extend(all.filter(|(of, _)| *of == from).map(|(_, message)| message));
    };
    for (_, message) in
        sent.early.messages.into_iter().chain(sent.durable.messages).filter(|(of, _)| *of == to)
    {
        host.input(|raft, out| raft.handle_message(now, from, message, out));
        collect(host.end_turn(now));
    }
    collect(host.sync(usize::MAX, now));
    while host.has_io() {
        host.finish_io();
        host.answer(now);
        collect(host.end_turn(now));
        collect(host.sync(usize::MAX, now));
    }
    answers
}

/// §7: `InstallSnapshot`, for a follower that needs what is discarded.
#[test]
fn a_follower_that_needs_what_is_discarded_gets_the_snapshot_in_chunks() {
    let mut leader = leader(4, options());
    leader.io();
    leader.sync();
    let mut n3 = n3();
    leader.advance(50);
    let mut sent = leader.fire(Timer::Heartbeat);
    let mut chunks = 0;
    for _ in 0..100 {
        chunks +=
            sent.early.messages.iter().filter(|(_, m)| matches!(m, Message::InstallSnapshot(_))).count();
        let answers = exchange(sent, N3, &mut n3, N1, leader.now);
        if answers.is_empty() {
            break;
        }
        let mut next = leader.deliver_all(answers.into_iter().map(|message| (N3, message)));
        next.early.messages.extend(leader.io().early.messages);
        sent = next;
    }
    assert!(chunks > 3, "{chunks} chunks of 8 bytes");
    assert_eq!(n3.core().status().metrics["snapshots_installed"], 1);
    assert_eq!(n3.core().commit(), leader.host.core().commit());
    assert_eq!(n3.core().store().digest(), leader.host.core().store().digest());
    n3.crash(0);
    n3.start(10, leader.now).unwrap();
    assert_eq!((n3.core().commit(), n3.core().log().last()), (LogIndex(3), id(5, 1)), "nothing is forgotten");
    // Entries follow as to everybody.
    let sent = leader.request(Routing::Leader, write("z", "3"));
    assert_eq!(sent.appends(N3).len(), 1);
}

/// A leader whose snapshot covers 5 entries, with its first chunk for n3 sent.
fn transferring() -> (Solo, Message) {
    let mut leader = leader(4, options());
    leader.io();
    leader.sync();
    leader.advance(50);
    leader.fire(Timer::Heartbeat);
    let sent = leader.io();
    let [(N3, chunk)] = &sent.early.messages[..] else { panic!("{:?}", sent.printed()) };
    (leader, chunk.clone())
}

fn install_reply(chunk: &Message, received: u64) -> Message {
    let Message::InstallSnapshot(chunk) = chunk else { panic!("{chunk}") };
    Message::InstallReply(raft::InstallReply {
        term: chunk.term,
        follower: protocol::Incarnation(0),
        id: chunk.id,
        received,
    })
}

#[test]
fn a_chunk_that_was_lost_is_sent_again_when_a_later_heartbeat_is_answered() {
    let (mut leader, chunk) = transferring();
    leader.deliver(N3, reply(1, 2, accepted(0)));
    assert!(leader.io().printed().is_empty(), "that heartbeat went out before the chunk");
    leader.advance(50);
    leader.fire(Timer::Heartbeat);
    leader.deliver(N3, reply(1, 3, accepted(0)));
    let sent = leader.io();
    assert_eq!(sent.early.messages, [(N3, chunk)]);
}

#[test]
fn a_transfer_goes_on_where_the_follower_says() {
    let (mut leader, chunk) = transferring();
    leader.deliver(N3, install_reply(&chunk, 8));
    let sent = leader.io();
    let (_, second) = &sent.early.messages[0];
    assert!(second.to_string().contains("bytes 8+8"), "{second}");
    leader.deliver(N3, install_reply(&chunk, 8));
    assert!(leader.io().printed().is_empty(), "a copy of an answer");
    // The follower has restarted.
    leader.deliver(N3, install_reply(&chunk, 0));
    assert_eq!(leader.io().early.messages, [(N3, chunk)]);
}

/// The chunks of two leaders' encodings do not mix.
#[test]
fn a_new_leaders_snapshot_is_received_from_its_beginning() {
    let (_, chunk) = transferring();
    let mut n3 = n3();
    let Message::InstallSnapshot(mut other) = chunk.clone() else { unreachable!() };
    exchange(sent_to(N3, [chunk]), N3, &mut n3, N1, Time::ZERO);
    assert_eq!(n3.snapshot_effects, ["write 3/t1 at 0+8"]);
    other.term = raft::Term(2);
    other.offset = 8;
    let answers =
        exchange(sent_to(N3, [Message::InstallSnapshot(other.clone())]), N3, &mut n3, N2, Time::ZERO);
    assert_eq!(answers[0].to_string(), "InstallReply t2 3/t1 received 0");
    other.offset = 0;
    exchange(sent_to(N3, [Message::InstallSnapshot(other)]), N3, &mut n3, N2, Time::ZERO);
    assert_eq!(n3.snapshot_effects[1], "write 3/t1 at 0+8");
}

fn sent_to(to: ReplicaId, messages: impl IntoIterator<Item = Message>) -> Sent {
    let mut sent = Sent::default();
    sent.early.messages.extend(messages.into_iter().map(|message| (to, message)));
    sent
}

/// §7: "If instead the follower has entries that conflict, all are discarded; if the snapshot describes a
/// prefix of its log, entries following the snapshot are still valid and must be retained."
#[test]
fn what_follows_a_matching_entry_is_kept_and_a_conflicting_log_is_discarded() {
    drop(protocol::reached::take());
    let (leader, _) = transferring();
    let (id3, bytes) = leader.host.disk.snapshots.last_key_value().unwrap();
    assert_eq!((id3.number, id3.tag), (3, 1));
    for (terms, kept) in [(&[1, 1, 1, 1, 1][..], &[1, 1][..]), (&[1, 1, 2, 2], &[]), (&[1, 1], &[])] {
        let mut follower = Solo::follower(3, terms);
        follower.deliver(N2, whole(*id3, bytes));
        let sent = follower.io();
        assert_eq!((follower.terms(), follower.commit()), (kept.to_vec(), 3), "from a log of {terms:?}");
        assert_eq!(sent.printed(), ["early n2 AppendReply t3 r0 accepted up to 3"]);
        // What was acknowledged survives, whether or not the journal knows of the snapshot yet.
        follower.restart();
        assert_eq!((follower.terms(), follower.commit()), (kept.to_vec(), 3));
    }
    let reached = protocol::reached::take();
    assert_eq!(reached["a snapshot is installed below entries that stay"], 1);
    assert_eq!(reached["a snapshot is installed over a conflicting log"], 1);
}

/// A snapshot in one chunk, from the leader of term 3.
fn whole(id: SnapshotId, bytes: &bytes::Bytes) -> Message {
    let (term, bytes) = (raft::Term(3), bytes.clone());
    Message::InstallSnapshot(raft::InstallSnapshot { term, id, offset: 0, bytes, last: true })
}

/// The snapshot store takes its time, and meanwhile the log brings all that is in the snapshot and more.
#[test]
fn a_snapshot_that_the_log_has_overtaken_changes_nothing() {
    drop(protocol::reached::take());
    let (leader, _) = transferring();
    let (id3, bytes) = leader.host.disk.snapshots.last_key_value().unwrap();
    let mut follower = Solo::follower(3, &[1, 1]);
    follower.deliver(N2, whole(*id3, bytes));
    follower.deliver(N2, append(3, id(2, 1), 4, &[1, 3, 3]));
    let digest = follower.host.core().store().digest();
    assert!(follower.io().printed().is_empty());
    assert_eq!((follower.terms(), follower.commit()), (vec![1, 1, 1, 3, 3], 4));
    assert_eq!(follower.host.core().store().digest(), digest);
    assert_eq!(protocol::reached::take()["a snapshot arrives that the log has overtaken"], 1);
}

/// The log, not only the snapshot, holds what clients were told.
#[test]
fn sessions_are_part_of_a_snapshot() {
    let mut leader = leader(2, options());
    leader.io();
    leader.sync();
    leader.restart();
    leader.win();
    leader.deliver(N2, reply(2, 1, accepted(4)));
    let now = leader.now;
    let request = kv::Request {
        id: protocol::RequestId(77),
        session: protocol::SessionId(1),
        sequence: protocol::Sequence(1),
        routing: Routing::Leader,
        command: write("x", "another value, were it not a retry"),
    };
    leader.host.input(|raft, out| raft.handle_request(now, protocol::ClientId(7), request, out));
    leader.host.end_turn(now);
    leader.sync();
    let sent = leader.deliver(N2, reply(2, 1, accepted(5)));
    assert_eq!(sent.results(), [Ok(Response::Done)]);
    let value = leader.host.core().store().read(&read("x"));
    assert_eq!(value, Response::Value(Some(kv::Value::Bytes("1".into()))));
}

/// A snapshot that cannot be saved costs nothing but room.
#[test]
fn a_failed_save_is_tried_again_later() {
    let mut leader = leader(2, options());
    let now = leader.now;
    leader.host.fail_save(now);
    leader.sync();
    assert_eq!(leader.metric("snapshots_failed"), 1);
    for _ in 0..3 {
        assert_eq!(leader.host.snapshot_effects.len(), 1);
        leader.request(Routing::Leader, write("x", "1"));
        leader.sync();
        let last = leader.host.core().log().last().index;
        leader.deliver(N2, reply(1, 1, accepted(last.0)));
        leader.sync();
    }
    assert_eq!(leader.host.snapshot_effects, ["save 3/t1", "save 6/t1"]);
    assert_eq!(leader.host.core().log().entry(LogIndex(1)).map(|e| e.payload.clone()), Some(Payload::Noop));
}
