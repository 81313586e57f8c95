use super::solo::*;
use kv::{Refusal, Response, Routing};
use protocol::ReplicaId;
use raft::{LogId, LogIndex, Message, Options, ReadIndex, ReadIndexReply, ReadMode, Term, Ticket, Timer};

fn absent() -> Result<Response, Refusal> {
    Ok(Response::Value(None))
}

/// A leader that has committed its no-op, with round 1 answered.
fn leader(read: ReadMode) -> Solo {
    let mut leader = Solo::leader(2, &[1], Options { read, ..Options::default() });
    leader.deliver(N2, reply(2, 1, accepted(2)));
    assert_eq!(leader.commit(), 2);
    leader
}

fn rounds(sent: &crate::host::Sent, to: ReplicaId) -> Vec<u64> {
    sent.appends(to).iter().map(|m| m.round.0).collect()
}

/// Diss. §6.4, step 1: before that, the leader does not know what was acknowledged by others.
#[test]
fn a_leader_serves_no_read_before_it_has_committed_its_noop() {
    let mut leader = Solo::leader(2, &[1], Options::default());
    let sent = leader.request(Routing::Leader, read("x"));
    assert!(sent.printed().is_empty() && sent.results().is_empty());
    let sent = leader.deliver(N2, reply(2, 1, accepted(1)));
    assert!(rounds(&sent, N2).is_empty(), "nothing is confirmed for it either");
    let sent = leader.deliver(N2, reply(2, 1, accepted(2)));
    assert_eq!((rounds(&sent, N2), rounds(&sent, N3)), (vec![2], vec![2]));
    assert_eq!(leader.deliver(N2, reply(2, 2, accepted(2))).results(), [absent()]);
}

/// Diss. §6.4, step 3: an answer to an earlier message proves nothing.
#[test]
fn a_read_waits_for_a_majority_to_answer_a_round_that_began_after_it() {
    let mut leader = leader(ReadMode::ReadIndex);
    let sent = leader.request(Routing::Leader, read("x"));
    assert_eq!((rounds(&sent, N2), rounds(&sent, N3)), (vec![2], vec![2]));
    assert!(leader.deliver(N3, reply(2, 1, accepted(2))).results().is_empty());
    assert_eq!(leader.deliver(N3, reply(2, 2, accepted(2))).results(), [absent()]);
}

/// Diss. §6.4: one round for all reads that have accumulated, the next one when it is over.
#[test]
fn reads_share_a_round_and_those_that_come_later_share_the_next() {
    let mut leader = leader(ReadMode::ReadIndex);
    leader.request_all(Routing::Leader, [read("x"), read("y")]);
    let sent = leader.request(Routing::Leader, read("z"));
    assert!(sent.printed().is_empty(), "a round is under way");
    let sent = leader.deliver(N2, reply(2, 2, accepted(2)));
    assert_eq!((sent.results(), rounds(&sent, N2)), (vec![absent(), absent()], vec![3]));
    assert_eq!(leader.deliver(N2, reply(2, 3, accepted(2))).results(), [absent()]);
    assert_eq!(leader.metric("read_rounds"), 2);
}

/// A round rides on entries, and any answer counts, even a rejection.
#[test]
fn writes_confirm_reads() {
    let mut leader = leader(ReadMode::ReadIndex);
    let sent = leader.request_all(Routing::Leader, [write("x", "1"), read("x")]);
    let [message] = sent.appends(N2)[..] else { panic!("{:?}", sent.printed()) };
    assert_eq!((message.round.0, message.entries.len()), (2, 1));
    let rejection =
        raft::AppendOutcome::Rejected { prev: LogIndex(2), conflict_term: None, conflict_index: LogIndex(2) };
    assert_eq!(
        leader.deliver(N3, reply(2, 2, rejection)).results(),
        [absent()],
        "the write is not committed"
    );
}

/// Diss. §6.4: what the round is for.
#[test]
fn a_leader_that_was_deposed_does_not_answer_reads() {
    let mut leader = leader(ReadMode::ReadIndex);
    leader.request(Routing::Leader, read("x"));
    let sent = leader.deliver(N2, reply(3, 0, raft::AppendOutcome::Stale));
    assert_eq!(sent.results(), [Err(Refusal::NotLeader { leader: None })]);
}

/// Diss. §6.4.1. The lease runs from when the round began, not from when it was answered.
#[test]
fn a_lease_serves_reads_until_it_ends_and_runs_from_the_beginning_of_its_round() {
    let mut leader = Solo::leader(2, &[1], Options { read: ReadMode::Lease, ..Options::default() });
    leader.advance(100);
    leader.deliver(N2, reply(2, 1, accepted(2)));
    leader.advance(196);
    assert_eq!(leader.request(Routing::Leader, read("x")).results(), [absent()], "296 of 297 ms");
    leader.advance(1);
    let sent = leader.request(Routing::Leader, read("x"));
    assert!(sent.results().is_empty());
    assert_eq!(rounds(&sent, N2), [2], "it is confirmed instead");
    assert_eq!(leader.deliver(N2, reply(2, 2, accepted(2))).results(), [absent()]);
    assert_eq!(leader.request(Routing::Leader, read("x")).results(), [absent()], "with a new lease");
}

/// Diss. §6.4, step 1 holds for leases too.
#[test]
fn a_lease_does_not_replace_the_noop() {
    let mut leader = Solo::leader(2, &[1], Options { read: ReadMode::Lease, ..Options::default() });
    leader.deliver(N2, reply(2, 1, accepted(1)));
    assert!(leader.request(Routing::Leader, read("x")).results().is_empty());
}

/// Declared unsafe, so that others can show it.
#[test]
fn local_reads_are_answered_by_any_replica_at_once() {
    let options = Options { read: ReadMode::Local, ..Options::default() };
    let mut replica = Solo::with(options);
    assert_eq!(replica.request(Routing::Here, read("x")).results(), [absent()]);
    let refused = Err(Refusal::NotLeader { leader: None });
    assert_eq!(replica.request(Routing::Leader, read("x")).results(), [refused]);
}

fn ask(sent: &crate::host::Sent) -> Vec<(ReplicaId, Ticket)> {
    let question = |(to, message): &(ReplicaId, Message)| {
        if let Message::ReadIndex(ReadIndex { ticket }) = message { Some((*to, *ticket)) } else { None }
    };
    sent.early.messages.iter().filter_map(question).collect()
}

fn told(ticket: Ticket, term: u64, index: u64) -> Message {
    Message::ReadIndexReply(ReadIndexReply { term: Term(term), ticket, index: LogIndex(index) })
}

/// Diss. §6.4, the end.
#[test]
fn a_follower_asks_the_leader_for_a_read_index_and_applies_up_to_it_before_it_answers() {
    let mut follower = Solo::follower(3, &[1]);
    follower.deliver(N2, append(3, id(1, 1), 0, &[]));
    let sent = follower.request_all(Routing::Here, [read("x"), read("y")]);
    let [(N2, first)] = ask(&sent)[..] else { panic!("{:?}", sent.printed()) };
    let sent = follower.request(Routing::Here, read("z"));
    assert!(ask(&sent).is_empty(), "one question at a time");
    let sent = follower.deliver(N2, told(first, 3, 2));
    assert!(sent.results().is_empty(), "2 is not there yet");
    let [(N2, second)] = ask(&sent)[..] else { panic!("{:?}", sent.printed()) };
    // The leader's answer has said that 2 is committed, whatever this message says.
    let sent = follower.deliver(N2, append(3, id(1, 1), 1, &[3]));
    assert_eq!(sent.results(), [absent(), absent()]);
    assert_eq!(follower.deliver(N2, told(second, 3, 2)).results(), [absent()]);
}

#[test]
fn a_follower_asks_again_and_asks_the_next_leader_and_gives_up_in_the_end() {
    let mut follower = Solo::follower(3, &[1]);
    follower.deliver(N2, append(3, id(1, 1), 0, &[]));
    let sent = follower.request(Routing::Here, read("x"));
    let question = ask(&sent);
    follower.advance(50);
    assert_eq!(ask(&follower.fire(Timer::Patience)), question);
    let sent = follower.deliver(N3, append(4, id(1, 1), 0, &[]));
    assert_eq!(ask(&sent), [(N3, question[0].1)]);
    follower.advance(2000);
    assert_eq!(follower.fire(Timer::Patience).results(), [Err(Refusal::NotLeader { leader: Some(N3) })]);
    assert!(follower.deliver(N2, told(question[0].1, 3, 1)).results().is_empty());
    assert!(follower.host.timers().get(Timer::Patience).is_none(), "nothing waits any more");
}

/// Diss. §6.4: the leader confirms its office for followers as for its own clients.
#[test]
fn a_leader_answers_a_followers_question_after_a_round() {
    let mut leader = leader(ReadMode::ReadIndex);
    let question = Message::ReadIndex(ReadIndex { ticket: Ticket(7) });
    let sent = leader.deliver_all([(N3, question.clone()), (N3, question)]);
    assert_eq!(rounds(&sent, N2), [2]);
    let sent = leader.deliver(N2, reply(2, 2, accepted(2)));
    assert_eq!(sent.printed(), ["early n3 ReadIndexReply t2 index 2"], "once, although it was asked twice");
}

#[test]
fn a_new_leader_answers_the_reads_that_it_held_as_a_follower() {
    let mut replica = Solo::follower(3, &[1]);
    replica.deliver(N2, append(3, LogId::ZERO, 0, &[]));
    replica.request(Routing::Here, read("x"));
    replica.win();
    replica.deliver(N2, reply(4, 1, accepted(2)));
    assert_eq!(replica.deliver(N2, reply(4, 2, accepted(2))).results(), [absent()]);
}
