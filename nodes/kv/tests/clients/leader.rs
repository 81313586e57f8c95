//! The client that follows the leader: one test a row of the table in `one_by_one.rs`.

use crate::driver::{
    ATTEMPT, BACKOFF, DEADLINE, Driver, ONE, THREE, TWO, config, millis, not_leader, unavailable, uncertain,
};
use bytes::Bytes;
use kv::{Command, LeaderClient, Refusal, Request, Response, Routing};
use protocol::{ClientCore, ClientOutcome, ReplicaId, RequestId, Sequence, SessionId, Time};

fn driver() -> Driver<LeaderClient> {
    Driver::of(LeaderClient::new(config(3, ONE, false)))
}

#[test]
fn commands_are_numbered_and_reads_are_not() {
    let mut driver = driver();
    for sequence in 1..4 {
        let write = driver.write();
        assert_eq!((write.session, write.sequence), (SessionId(7), Sequence(sequence)));
        assert_eq!(write.routing, Routing::Leader);
        driver.reply(ONE, write.id, Ok(Response::Done));
        driver.answered(&[ONE]);
        let read = driver.submit(Command::Read { key: Bytes::from_static(b"k") });
        assert_eq!(read.sequence, Sequence(0));
        driver.reply(ONE, read.id, Ok(Response::Done));
        driver.answered(&[ONE]);
    }
}

#[test]
fn a_retry_keeps_the_sequence_under_a_new_request_id() {
    let mut driver = driver();
    let first = driver.write();
    driver.wake_after(ATTEMPT);
    let (replica, second) = driver.sent();
    assert_eq!(replica, TWO, "silence sends it on");
    assert_ne!(second.id, first.id);
    assert_eq!(Request { id: first.id, ..second }, first);
}

#[test]
fn a_late_answer_to_an_earlier_attempt_is_the_answer() {
    let mut driver = driver();
    let first = driver.write();
    driver.wake_after(ATTEMPT);
    let (_, second) = driver.sent();
    driver.reply(ONE, first.id, Ok(Response::Done));
    driver.answered(&[ONE]);
    // The other attempt's answer comes while the next command is under way.
    let next = driver.write();
    driver.reply(TWO, second.id, Ok(Response::WrongType));
    driver.reply(TWO, RequestId(next.id.0 + 1), Ok(Response::WrongType));
    assert_eq!(driver.out.done, None);
    driver.reply(ONE, next.id, Ok(Response::Done));
    driver.answered(&[ONE]);
}

#[test]
fn who_answers_is_asked_first_next_time() {
    let mut driver = driver();
    let write = driver.write();
    driver.refuse(ONE, &write, not_leader(Some(THREE)));
    let (leader, write) = driver.sent();
    assert_eq!(leader, THREE);
    driver.reply(THREE, write.id, Ok(Response::Done));
    driver.answered(&[THREE]);
    driver.client.submit(driver.now, driver.now + DEADLINE, write.command, &mut driver.out);
    assert_eq!(driver.sent().0, THREE);
}

#[test]
fn replicas_that_point_at_each_other_make_no_hot_loop() {
    let mut driver = driver();
    let mut request = driver.write();
    let mut attempts = 1;
    let mut at = ONE;
    while driver.now.since(Time::ZERO) < DEADLINE - BACKOFF {
        let other = if at == ONE { TWO } else { ONE };
        driver.refuse(at, &request, not_leader(Some(other)));
        if driver.out.send.is_empty() {
            driver.wake_after(BACKOFF);
        }
        (at, request) = driver.sent();
        assert_eq!(at, other);
        attempts += 1;
    }
    assert!(attempts < 500, "{attempts} attempts in a second");
    driver.refuse(at, &request, not_leader(Some(ONE)));
    while driver.out.done.is_none() {
        if let Some((to, request)) = driver.out.send.pop() {
            driver.refuse(to, &request, not_leader(None));
        } else {
            driver.now = driver.out.wake.expect("under way");
            driver.client.handle_timer(driver.now, &mut driver.out);
        }
    }
    driver.failed();
}

#[test]
fn a_hint_that_leads_nowhere_is_none() {
    for hint in [None, Some(ONE), Some(ReplicaId(99))] {
        let mut driver = driver();
        let write = driver.write();
        driver.refuse(ONE, &write, not_leader(hint));
        driver.sent_nothing();
        driver.wake_after(BACKOFF);
        assert_eq!(driver.sent().0, TWO);
    }
}

#[test]
fn a_refusal_for_now_is_sat_out_before_the_next_replica_is_tried() {
    for refusal in [Refusal::Busy, unavailable(), uncertain()] {
        let mut driver = driver();
        let first = driver.write();
        driver.refuse(ONE, &first, refusal);
        driver.sent_nothing();
        driver.wake_after(BACKOFF);
        let (replica, second) = driver.sent();
        assert_eq!((replica, second.sequence), (TWO, first.sequence));
    }
}

#[test]
fn a_bound_client_stays() {
    let mut driver = Driver::of(LeaderClient::new(config(3, TWO, true)));
    let mut request = driver.write();
    assert_eq!(request.routing, Routing::Here);
    for refusal in [not_leader(Some(ONE)), not_leader(None), Refusal::Busy, unavailable()] {
        driver.refuse(TWO, &request, refusal);
        driver.wake_after(BACKOFF);
        let (to, next) = driver.sent();
        assert_eq!(to, TWO);
        request = next;
    }
    driver.wake_after(ATTEMPT);
    assert_eq!(driver.sent().0, TWO);
    driver.unreachable(TWO, true);
    driver.sent_nothing();
    driver.wake_after(BACKOFF);
    let (to, request) = driver.sent();
    assert_eq!(to, TWO);
    driver.reply(TWO, request.id, Ok(Response::Done));
    driver.answered(&[TWO]);
}

#[test]
fn connections_refused_all_round_make_no_hot_loop() {
    let mut driver = driver();
    driver.write();
    driver.unreachable(ONE, false);
    for replica in [TWO, THREE, ONE] {
        assert_eq!(driver.sent().0, replica);
        driver.unreachable(replica, false);
    }
    driver.sent_nothing();
    driver.wake_after(BACKOFF);
    assert_eq!(driver.sent().0, TWO);
}

#[test]
fn a_command_refused_every_time_has_failed() {
    let mut driver = driver();
    let write = driver.write();
    driver.refuse(ONE, &write, not_leader(None));
    driver.refuse_until_deadline();
    assert_eq!(driver.failed(), [ONE, TWO, THREE], "on whose word");
}

#[test]
fn one_attempt_that_may_have_taken_effect_makes_it_unknown() {
    type Happening = fn(&mut Driver<LeaderClient>, &Request);
    let happenings: [(&str, Happening); 4] = [
        ("silence", |driver, _| driver.wake_after(ATTEMPT)),
        ("a connection lost with the request under way", |driver, _| driver.unreachable(ONE, true)),
        ("a replica that does not know", |driver, request| driver.refuse(ONE, request, uncertain())),
        ("a replica that does not know, then a second reply", |driver, request| {
            driver.refuse(ONE, request, uncertain());
            driver.refuse(ONE, request, Refusal::Busy);
        }),
    ];
    for (name, happening) in happenings {
        for command in [Command::Delete { key: "k".into() }, Command::Read { key: "k".into() }] {
            let mut driver = driver();
            let request = driver.submit(command);
            happening(&mut driver, &request);
            driver.refuse_until_deadline();
            let outcome = driver.done();
            assert!(matches!(outcome, ClientOutcome::Unknown(_)), "{name}: {outcome:?}");
        }
    }
}

#[test]
fn what_was_never_sent_has_failed() {
    let mut driver = driver();
    driver.write();
    driver.unreachable(ONE, false);
    driver.refuse_until_deadline();
    driver.failed();
}

#[test]
fn a_late_refusal_settles_an_attempt_that_was_given_up() {
    let mut driver = driver();
    let first = driver.write();
    driver.wake_after(ATTEMPT);
    driver.refuse(ONE, &first, not_leader(Some(THREE)));
    let (replica, second) = driver.sent();
    driver.sent_nothing();
    assert_eq!(replica, TWO, "the hint is as old as the refusal");
    driver.refuse(TWO, &second, Refusal::Busy);
    driver.refuse_until_deadline();
    driver.failed();
}

#[test]
fn a_report_that_nothing_was_sent_settles_every_attempt_there() {
    let mut driver = driver();
    driver.write();
    driver.wake_after(ATTEMPT);
    driver.sent();
    driver.unreachable(ONE, false);
    driver.sent_nothing();
    driver.unreachable(TWO, false);
    driver.refuse_until_deadline();
    driver.failed();
}

#[test]
fn a_report_about_another_replica_settles_nothing_here() {
    let mut driver = driver();
    driver.write();
    driver.wake_after(ATTEMPT);
    driver.sent();
    driver.unreachable(TWO, false);
    driver.refuse_until_deadline();
    driver.unknown();
}

#[test]
fn an_expired_session_leaves_unknown_what_may_have_been_sent_before() {
    let mut driver = driver();
    let write = driver.write();
    driver.refuse(ONE, &write, Refusal::SessionExpired);
    driver.failed();
    let write = driver.write();
    assert_ne!(write.session, SessionId(7), "nothing is to be had in that session");
    assert_eq!(write.sequence, Sequence(1));
    driver.wake_after(ATTEMPT);
    let (_, retry) = driver.sent();
    driver.refuse(TWO, &retry, Refusal::SessionExpired);
    driver.unknown();
}

#[test]
fn an_invalid_command_is_over_at_once() {
    let mut driver = driver();
    let write = driver.write();
    driver.refuse(ONE, &write, Refusal::Invalid("bounds of another version".to_owned()));
    driver.failed();
    let empty_key = Command::Delete { key: Bytes::new() };
    driver.client.submit(driver.now, driver.now + DEADLINE, empty_key, &mut driver.out);
    driver.failed();
}

#[test]
fn a_session_goes_on_only_if_it_is_known_to_exist() {
    let mut driver = driver();
    let first = driver.write();
    driver.refuse(ONE, &first, Refusal::Busy);
    driver.refuse_until_deadline();
    driver.failed();
    driver.now = Time::ZERO;
    let second = driver.write();
    assert_ne!(second.session, first.session, "no replica may know of the first");
    assert_eq!(second.sequence, Sequence(1));
    driver.reply(TWO, second.id, Ok(Response::Done));
    driver.answered(&[TWO]);
    let third = driver.write();
    assert_eq!((third.session, third.sequence), (second.session, Sequence(2)));
    driver.refuse(TWO, &third, uncertain());
    driver.refuse_until_deadline();
    driver.unknown();
    driver.now = Time::ZERO;
    let fourth = driver.write();
    assert_eq!((fourth.session, fourth.sequence), (second.session, Sequence(3)));
    driver.refuse(THREE, &fourth, Refusal::SessionExpired);
    driver.failed();
    let fifth = driver.write();
    assert_ne!(fifth.session, second.session, "it was forgotten");
    assert_eq!(fifth.sequence, Sequence(1));
}

#[test]
fn nothing_is_sent_after_the_deadline() {
    let mut driver = driver();
    driver.client.submit(Time(5), Time(5), Command::Delete { key: "k".into() }, &mut driver.out);
    driver.failed();
    let write = driver.write();
    driver.now = driver.now + DEADLINE;
    driver.refuse(ONE, &write, not_leader(Some(TWO)));
    driver.failed();
    driver.now = Time::ZERO;
    let write = driver.write();
    driver.now = driver.now + DEADLINE;
    driver.reply(ONE, write.id, Ok(Response::Done));
    driver.answered(&[ONE]);
}

#[test]
fn a_timer_that_fires_early_or_late_is_harmless() {
    let mut driver = driver();
    driver.client.handle_timer(driver.now, &mut driver.out);
    assert_eq!(driver.out.wake, None);
    driver.write();
    driver.now = driver.now + millis(40);
    driver.client.handle_timer(driver.now, &mut driver.out);
    driver.sent_nothing();
    driver.wake_after(millis(60));
    driver.sent();
    driver.now = driver.now + millis(5000);
    driver.client.handle_timer(driver.now, &mut driver.out);
    driver.unknown();
}
