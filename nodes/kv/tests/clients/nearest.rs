//! The client that stays near its home.

use crate::driver::{
    ATTEMPT, BACKOFF, Driver, ONE, THREE, TWO, config, not_leader, unavailable, uncertain, write,
};
use kv::{NearestClient, Refusal, Request, Response, Routing};
use protocol::ReplicaId;

fn driver(bound: bool) -> Driver<NearestClient> {
    Driver::of(NearestClient::new(config(3, TWO, bound)))
}

/// A command that this replica answers, being asked first.
fn served_by(driver: &mut Driver<NearestClient>, replica: ReplicaId) {
    let sent = driver.submit_to_all(write());
    let [(asked, request)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(*asked, replica);
    driver.reply(replica, request.id, Ok(Response::Done));
    driver.answered(&[replica]);
}

#[test]
fn home_is_asked_first_and_sees_to_it_itself() {
    let mut driver = driver(false);
    let write = driver.write();
    assert_eq!(write.routing, Routing::Here);
    driver.reply(TWO, write.id, Ok(Response::Done));
    driver.answered(&[TWO]);
    served_by(&mut driver, TWO);
}

#[test]
fn silence_sends_a_command_on_under_the_same_session_and_sequence() {
    let mut driver = driver(false);
    let first = driver.write();
    let mut last = first.id;
    for next in [THREE, ONE, TWO] {
        driver.wake_after(ATTEMPT);
        let (to, retry) = driver.sent();
        assert_eq!(to, next);
        assert_ne!(retry.id, last);
        last = retry.id;
        assert_eq!(Request { id: first.id, ..retry }, first);
    }
}

#[test]
fn a_replica_out_of_reach_sends_it_on_at_once_and_a_refusal_after_a_wait() {
    let mut driver = driver(false);
    driver.write();
    driver.unreachable(TWO, false);
    assert_eq!(driver.sent().0, THREE);
    for refusal in [Refusal::Busy, unavailable(), uncertain(), not_leader(None), not_leader(Some(THREE))] {
        let mut driver = self::driver(false);
        let write = driver.write();
        driver.refuse(TWO, &write, refusal);
        driver.sent_nothing();
        driver.wake_after(BACKOFF);
        assert_eq!(driver.sent().0, THREE);
    }
}

#[test]
fn it_goes_home_after_a_while() {
    let mut driver = driver(false);
    driver.write();
    let left = driver.now + ATTEMPT;
    driver.wake_after(ATTEMPT);
    let (_, retry) = driver.sent();
    driver.reply(THREE, retry.id, Ok(Response::Done));
    driver.answered(&[THREE]);
    driver.now = left + ATTEMPT * 4;
    served_by(&mut driver, THREE);
    driver.now = left + ATTEMPT * 5;
    // Home is silent still: it is away for as long again.
    driver.write();
    driver.wake_after(ATTEMPT);
    let (to, retry) = driver.sent();
    assert_eq!(to, THREE);
    driver.reply(THREE, retry.id, Ok(Response::Done));
    driver.answered(&[THREE]);
    driver.now = driver.now + ATTEMPT * 4;
    served_by(&mut driver, THREE);
    driver.now = driver.now + ATTEMPT;
    served_by(&mut driver, TWO);
    served_by(&mut driver, TWO);
}

#[test]
fn trouble_elsewhere_keeps_nobody_from_home() {
    let mut driver = driver(false);
    driver.write();
    driver.wake_after(ATTEMPT);
    driver.sent();
    driver.wake_after(ATTEMPT);
    let (to, retry) = driver.sent();
    assert_eq!(to, ONE);
    driver.reply(ONE, retry.id, Ok(Response::Done));
    driver.answered(&[ONE]);
    driver.now = driver.now + ATTEMPT * 4;
    served_by(&mut driver, TWO);
}

#[test]
fn a_late_answer_from_home_is_the_answer_and_the_next_command_goes_there() {
    let mut driver = driver(false);
    let first = driver.write();
    driver.wake_after(ATTEMPT);
    driver.sent();
    driver.reply(TWO, first.id, Ok(Response::Done));
    driver.answered(&[TWO]);
    served_by(&mut driver, TWO);
}

#[test]
fn bound_it_stays_at_home() {
    let mut driver = driver(true);
    let write = driver.write();
    driver.refuse(TWO, &write, Refusal::Busy);
    driver.wake_after(BACKOFF);
    assert_eq!(driver.sent().0, TWO);
    driver.wake_after(ATTEMPT);
    let (to, retry) = driver.sent();
    assert_eq!(to, TWO);
    driver.reply(TWO, retry.id, Ok(Response::Done));
    driver.answered(&[TWO]);
    served_by(&mut driver, TWO);
}

#[test]
fn one_silent_attempt_leaves_it_unknown_and_refusals_alone_fail_it() {
    let mut driver = driver(false);
    let write = driver.write();
    driver.refuse(TWO, &write, Refusal::Busy);
    driver.refuse_until_deadline();
    assert_eq!(driver.failed(), [ONE, TWO, THREE]);
    driver.write();
    driver.wake_after(ATTEMPT);
    driver.refuse_until_deadline();
    driver.unknown();
}
