use super::solo::*;
use kv::{Refusal, Response, Routing};
use protocol::{AdminReply, AdminRequest, ReplicaId};
use raft::{Message, Options, ReadMode, Term, Timer};

fn leader(read: ReadMode) -> Solo {
    let mut leader = Solo::leader(2, &[1], Options { read, ..Options::default() });
    leader.deliver(N2, reply(2, 1, accepted(2)));
    leader
}

fn transfer(leader: &mut Solo, to: ReplicaId) -> (AdminReply, crate::host::Sent) {
    leader.admin(AdminRequest::TransferLeadership { to })
}

/// Diss. §3.10, steps 1 to 3.
#[test]
fn a_leader_that_hands_over_takes_no_writes_and_tells_the_heir_when_it_has_everything() {
    let mut leader = leader(ReadMode::ReadIndex);
    leader.request(Routing::Leader, write("x", "1"));
    let (answer, sent) = transfer(&mut leader, N2);
    assert_eq!((answer, sent.printed().len()), (AdminReply::Accepted, 0), "n2 lacks the write");
    assert_eq!(leader.request(Routing::Leader, write("x", "2")).results(), [Err(Refusal::Busy)]);
    assert_eq!(leader.terms(), [1, 2, 2]);
    let sent = leader.deliver(N2, reply(2, 1, accepted(3)));
    assert_eq!(sent.printed(), ["early n2 TimeoutNow t2"]);
    let sent = leader.deliver(N2, vote(3, false));
    assert!(
        matches!(sent.results()[..], [Err(Refusal::Uncertain(_))]),
        "what was taken before may be committed"
    );
}

#[test]
fn an_heir_that_has_everything_is_told_at_once_and_one_that_cannot_lead_is_refused() {
    let mut leader = leader(ReadMode::ReadIndex);
    for stranger in [ReplicaId(4), ReplicaId(9)] {
        assert!(matches!(transfer(&mut leader, stranger).0, AdminReply::Refused { .. }));
    }
    assert_eq!(transfer(&mut leader, N1).0, AdminReply::Accepted);
    assert_eq!(leader.request(Routing::Leader, write("x", "1")).results(), [], "it leads, and goes on");
    leader.sync();
    leader.deliver(N2, reply(2, 1, accepted(3)));
    assert_eq!(transfer(&mut leader, N2).1.printed(), ["early n2 TimeoutNow t2"]);
    assert!(matches!(transfer(&mut leader, N3).0, AdminReply::Refused { .. }), "one at a time");
    assert!(matches!(leader.change(&[1, 2]).0, AdminReply::Refused { .. }));
    let mut follower = Solo::follower(3, &[1]);
    assert_eq!(transfer(&mut follower, N2).0, AdminReply::NotLeader { leader: Some(N2) });
}

/// Diss. §3.10: "If leadership transfer does not complete after about an election timeout, the prior leader aborts the
/// transfer and resumes accepting client requests."
#[test]
fn a_leader_whose_heir_does_not_take_over_tells_it_again_and_then_goes_on() {
    let mut leader = leader(ReadMode::ReadIndex);
    transfer(&mut leader, N2);
    leader.advance(50);
    let sent = leader.fire(Timer::Heartbeat);
    assert_eq!(sent.printed().last().unwrap(), "early n2 TimeoutNow t2", "the first may be lost");
    leader.advance(600);
    leader.deliver(N3, reply(2, 2, accepted(2)));
    leader.fire(Timer::Heartbeat);
    assert_eq!(leader.metric("transfers_given_up"), 1);
    assert!(leader.request(Routing::Leader, write("x", "1")).results().is_empty(), "taken");
    assert_eq!(leader.terms(), [1, 2, 2]);
}

/// Diss. §6.4.1 against §4.2.3: the promise that a lease rests on does not hold for whom the leader has told to break it.
#[test]
fn a_leader_that_has_told_an_heir_has_no_lease_for_the_rest_of_its_term() {
    let mut leader = leader(ReadMode::Lease);
    assert_eq!(leader.request(Routing::Leader, read("x")).results(), [Ok(Response::Value(None))]);
    transfer(&mut leader, N2);
    assert!(leader.request(Routing::Leader, read("x")).results().is_empty());
    assert_eq!(leader.deliver(N3, reply(2, 2, accepted(2))).results(), [Ok(Response::Value(None))]);
    leader.advance(650);
    leader.deliver(N3, reply(2, 2, accepted(2)));
    leader.fire(Timer::Heartbeat);
    leader.deliver(N3, reply(2, 3, accepted(2)));
    assert_eq!(leader.metric("transfers_given_up"), 1);
    assert!(
        leader.request(Routing::Leader, read("x")).results().is_empty(),
        "the message may be on its way still"
    );
    assert_eq!(leader.deliver(N3, reply(2, 4, accepted(2))).results(), [Ok(Response::Value(None))]);
}

/// Before it tells anybody there is no reason to.
#[test]
fn a_leader_whose_heir_lacks_something_keeps_its_lease() {
    let mut leader = leader(ReadMode::Lease);
    leader.request(Routing::Leader, write("x", "1"));
    transfer(&mut leader, N3);
    assert_eq!(leader.request(Routing::Leader, read("x")).results(), [Ok(Response::Value(None))]);
}

/// Diss. §3.10, step 3: "This request has the same effect as the target server's election timer firing".
#[test]
fn an_heir_seeks_election_at_once_without_a_pre_vote() {
    let mut heir = Solo::follower(4, &[1, 4]);
    heir.deliver(N2, append(4, id(2, 4), 0, &[]));
    heir.deliver(N2, Message::TimeoutNow(Term(4)));
    let sent = heir.sync();
    assert_eq!(
        sent.printed(),
        [
            "durable n2 RequestVote t5 last 2/t4, handed over",
            "durable n3 RequestVote t5 last 2/t4, handed over"
        ]
    );
    assert!(heir.deliver(N2, Message::TimeoutNow(Term(4))).printed().is_empty(), "a copy");
    heir.advance(1000);
    heir.fire(Timer::Election);
    heir.deliver(N3, pre_vote(6, true));
    let sent = heir.sync();
    assert!(
        sent.printed().iter().all(|line| !line.contains("handed over")),
        "no longer: {:?}",
        sent.printed()
    );
}

#[test]
fn who_is_told_by_a_leader_of_another_term_does_nothing() {
    let mut replica = Solo::follower(4, &[1, 4]);
    for term in [3, 5] {
        replica.deliver(N2, Message::TimeoutNow(Term(term)));
        assert_eq!((replica.role().as_str(), replica.term()), ("follower", 4));
    }
}

/// Diss. §4.2.3: "servers … should include a special flag in a RequestVote request to indicate this behavior ('I have permission
/// to disrupt the leader—it told me to!')."
#[test]
fn a_promise_to_the_leader_does_not_bind_against_its_heir() {
    for handed_over in [false, true] {
        let mut voter = Solo::follower(4, &[1, 4]);
        voter.deliver(N2, append(4, id(2, 4), 0, &[]));
        let mut question = ask(5, id(2, 4));
        question.handed_over = handed_over;
        voter.deliver(N3, Message::RequestVote(question));
        assert_eq!(voter.sync().printed().len(), usize::from(handed_over));
        let mut leader = leader(ReadMode::ReadIndex);
        leader.deliver(N3, Message::RequestVote(raft::VoteRequest { last: id(2, 2), ..question }));
        assert_eq!(leader.role() == "leader", !handed_over);
    }
}
