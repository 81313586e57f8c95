use super::solo::*;
use kv::{Command, Refusal, Response, Routing};
use protocol::{ClientId, Protocol, Sequence, SessionId};
use raft::{ForwardAnswer, Forwarded, Message, Options, Ticket, Timer};

/// Diss. §6.2.
#[test]
fn who_does_not_lead_refuses_and_says_who_does() {
    let mut follower = Solo::follower(3, &[1]);
    for command in [write("x", "1"), read("x")] {
        let sent = follower.request(Routing::Leader, command);
        assert_eq!(sent.results(), [Err(Refusal::NotLeader { leader: Some(N2) })]);
    }
    follower.fire(Timer::Election);
    for routing in [Routing::Leader, Routing::Here] {
        let sent = follower.request_all(routing, [write("x", "1"), read("x")]);
        let nobody = Err(Refusal::NotLeader { leader: None });
        assert_eq!(sent.results(), [nobody.clone(), nobody]);
    }
}

#[test]
fn a_command_out_of_bounds_is_refused_by_everybody() {
    let key = bytes::Bytes::new();
    let mut leader = Solo::leader(1, &[], Options::default());
    let sent = leader.request(Routing::Leader, Command::Delete { key });
    assert!(matches!(sent.results()[..], [Err(Refusal::Invalid(_))]));
    assert_eq!(leader.terms(), [1]);
}

/// Diss. §6.3: what was accepted may yet be committed, by whoever leads next.
#[test]
fn a_leader_that_steps_down_does_not_know_what_becomes_of_pending_writes() {
    let mut leader = Solo::leader(1, &[], Options::default());
    leader.request(Routing::Leader, write("x", "1"));
    let sent = leader.deliver(N2, vote(2, false));
    assert!(matches!(sent.results()[..], [Err(Refusal::Uncertain(_))]), "{:?}", sent.results());
}

/// Diss. §6.3.
#[test]
fn a_retry_is_answered_and_not_run_again() {
    let mut leader = Solo::leader(1, &[], Options::default());
    leader.deliver(N2, reply(1, 1, accepted(1)));
    leader.sync();
    let now = leader.now;
    for client in [1, 2] {
        let request = kv::Request {
            id: protocol::RequestId(client),
            session: SessionId(99),
            sequence: Sequence(1),
            routing: Routing::Leader,
            command: Command::Append { key: "l".into(), element: "e".into() },
        };
        leader.host.input(|raft, out| raft.handle_request(now, ClientId(client), request, out));
    }
    leader.host.end_turn(now);
    leader.sync();
    let sent = leader.deliver(N2, reply(1, 1, accepted(3)));
    assert_eq!(sent.results(), [Ok(Response::Length(1)), Ok(Response::Length(1))]);
}

#[test]
fn no_more_requests_are_held_than_may_be() {
    let options = Options { requests_pending_max: 2, ..Options::default() };
    let mut leader = Solo::leader(1, &[], options.clone());
    let sent = leader.request_all(Routing::Leader, [write("x", "1"), read("x"), write("x", "2"), read("x")]);
    assert_eq!(sent.results(), [Err(Refusal::Busy), Err(Refusal::Busy)]);
    let mut follower = Solo::with(options);
    follower.deliver(N2, append(1, raft::LogId::ZERO, 0, &[]));
    let sent = follower.request_all(Routing::Here, [write("x", "1"), read("x"), write("x", "2"), read("x")]);
    assert_eq!(sent.results(), [Err(Refusal::Busy), Err(Refusal::Busy)]);
    assert_eq!(follower.metric("requests_refused_busy"), 2);
}

#[test]
fn no_more_bytes_are_uncommitted_than_may_be() {
    let options = Options { uncommitted_bytes_max: 300, ..Options::default() };
    let mut leader = Solo::leader(1, &[], options);
    let sent = leader.request_all(Routing::Leader, ["1", "2", "3", "4", "5"].map(|value| write("x", value)));
    let refused = sent.results().len();
    assert!((1..5).contains(&refused) && sent.results().iter().all(|r| *r == Err(Refusal::Busy)));
    leader.sync();
    leader.deliver(N2, reply(1, 1, accepted(1 + 5 - refused as u64)));
    assert!(leader.request(Routing::Leader, write("x", "6")).results().is_empty(), "there is room again");
}

#[test]
fn nothing_is_kept_for_a_client_that_is_gone() {
    let mut leader = Solo::leader(1, &[], Options::default());
    leader.request_all(Routing::Leader, [write("x", "1"), read("x")]);
    assert_eq!(leader.metric("requests_pending"), 2);
    let now = leader.now;
    for client in [1, 2] {
        leader.host.input(|raft, _| raft.handle_client_gone(now, ClientId(client)));
    }
    assert_eq!(leader.metric("requests_pending"), 0);
    leader.sync();
    let sent = leader.deliver(N2, reply(1, 1, accepted(2)));
    assert!(sent.results().is_empty() && leader.commit() == 2, "the command runs all the same");

    let mut follower = Solo::follower(3, &[1]);
    follower.deliver(N2, append(3, id(1, 1), 0, &[]));
    follower.request_all(Routing::Here, [write("x", "1"), read("x"), read("y")]);
    for client in [1, 2, 3] {
        follower.host.input(|raft, _| raft.handle_client_gone(now, ClientId(client)));
    }
    assert_eq!(follower.metric("requests_pending"), 0);
}

fn forwarded(sent: &crate::host::Sent) -> Vec<Forwarded> {
    let writes = |(_, message): &(_, Message)| {
        if let Message::Forward(writes) = message { Some(writes.clone()) } else { None }
    };
    sent.early.messages.iter().filter_map(writes).flatten().collect()
}

fn answer(ticket: Ticket, result: Result<Response, Refusal>) -> Message {
    Message::ForwardReply(vec![ForwardAnswer { ticket, result }])
}

#[test]
fn a_follower_passes_writes_on_together_and_answers_for_the_leader() {
    let mut follower = Solo::follower(3, &[1]);
    let sent = follower.request_all(Routing::Here, [write("x", "1"), write("y", "2")]);
    assert_eq!(sent.early.messages.len(), 1);
    let writes = forwarded(&sent);
    let sent = follower.deliver(N2, answer(writes[1].ticket, Ok(Response::Done)));
    assert_eq!(sent.early.replies[0].0, ClientId(2));
    assert_eq!(sent.results(), [Ok(Response::Done)]);
    assert!(
        follower.deliver(N2, answer(writes[1].ticket, Ok(Response::Done))).results().is_empty(),
        "a copy"
    );
}

#[test]
fn a_leader_proposes_what_a_follower_passes_on() {
    let mut leader = Solo::leader(1, &[], Options::default());
    leader.deliver(N2, reply(1, 1, accepted(1)));
    leader.sync();
    let write = Forwarded {
        ticket: Ticket(5),
        session: SessionId(1),
        sequence: Sequence(1),
        command: write("x", "1"),
    };
    leader.deliver(N3, Message::Forward(vec![write]));
    leader.sync();
    let sent = leader.deliver(N2, reply(1, 1, accepted(2)));
    let [(N3, Message::ForwardReply(answers))] = &sent.early.messages[..] else {
        panic!("{:?}", sent.printed())
    };
    assert_eq!(answers[..], [ForwardAnswer { ticket: Ticket(5), result: Ok(Response::Done) }]);
}

/// The network may deliver a write twice: what one copy was refused, the other may have achieved.
#[test]
fn a_refusal_of_what_was_passed_on_is_no_certainty() {
    for refusal in [Refusal::NotLeader { leader: None }, Refusal::Busy, Refusal::Uncertain(String::new())] {
        let mut follower = Solo::follower(3, &[1]);
        let writes = forwarded(&follower.request(Routing::Here, write("x", "1")));
        let sent = follower.deliver(N2, answer(writes[0].ticket, Err(refusal)));
        assert!(matches!(sent.results()[..], [Err(Refusal::Uncertain(_))]), "{:?}", sent.results());
    }
}

#[test]
fn a_follower_gives_up_what_it_passed_on_when_the_leader_changes_or_is_silent() {
    let mut follower = Solo::follower(3, &[1]);
    follower.request(Routing::Here, write("x", "1"));
    let sent = follower.deliver(N3, append(4, id(1, 1), 0, &[]));
    assert!(matches!(sent.results()[..], [Err(Refusal::Uncertain(_))]), "{:?}", sent.results());
    follower.request(Routing::Here, write("x", "2"));
    follower.advance(100);
    assert!(follower.fire(Timer::Patience).results().is_empty());
    follower.advance(1200);
    let sent = follower.fire(Timer::Patience);
    assert!(matches!(sent.results()[..], [Err(Refusal::Uncertain(_))]), "{:?}", sent.results());
    assert!(follower.host.timers().get(Timer::Patience).is_none(), "nothing waits any more");
}

#[test]
fn a_leader_that_steps_down_tells_followers_what_it_tells_clients() {
    let mut leader = Solo::leader(1, &[], Options::default());
    let write = Forwarded {
        ticket: Ticket(5),
        session: SessionId(1),
        sequence: Sequence(1),
        command: write("x", "1"),
    };
    leader.deliver(N3, Message::Forward(vec![write]));
    let sent = leader.deliver(N2, vote(2, false));
    let [(N3, Message::ForwardReply(answers))] = &sent.early.messages[..] else {
        panic!("{:?}", sent.printed())
    };
    assert!(matches!(answers[0].result, Err(Refusal::Uncertain(_))));
}
