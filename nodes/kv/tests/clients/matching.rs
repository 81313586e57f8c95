//! The client that believes what several replicas say alike: four replicas, of which one may lie, unless said otherwise.

use crate::driver::{ATTEMPT, BACKOFF, Driver, ONE, THREE, TWO, config, unavailable, uncertain, write};
use bytes::Bytes;
use kv::{Command, Matching, MatchingClient, Refusal, Request, Response};
use protocol::{ClientCore, ReplicaId, Sequence, SessionId};

const FOUR: ReplicaId = ReplicaId(4);
const ALL: [ReplicaId; 4] = [ONE, TWO, THREE, FOUR];

type Sent = Vec<(ReplicaId, Request)>;

fn of(equal: usize, lies: usize) -> Driver<MatchingClient> {
    Driver::of(MatchingClient::new(config(4, ONE, false), Matching { equal, lies }))
}

fn driver() -> Driver<MatchingClient> {
    of(2, 1)
}

fn asked(sent: &Sent) -> Vec<ReplicaId> {
    sent.iter().map(|(replica, _)| *replica).collect()
}

/// A replica says something to a round.
fn says(
    driver: &mut Driver<MatchingClient>,
    round: &Sent,
    replica: ReplicaId,
    word: Result<Response, Refusal>,
) {
    let (_, request) = round.iter().find(|(to, _)| *to == replica).expect("it was asked");
    driver.reply(replica, request.id, word);
}

/// The clock goes on to when the client wants to be woken, and it asks everybody again.
fn next_round(driver: &mut Driver<MatchingClient>, after: std::time::Duration) -> Sent {
    driver.wake_after(after);
    let round = std::mem::take(&mut driver.out.send);
    assert_eq!(asked(&round), ALL);
    round
}

fn until_deadline(driver: &mut Driver<MatchingClient>) {
    while driver.out.done.is_none() {
        driver.out.send.clear();
        driver.now = driver.out.wake.expect("under way");
        driver.client.handle_timer(driver.now, &mut driver.out);
    }
}

#[test]
fn all_are_asked_and_two_that_say_the_same_are_believed() {
    let mut driver = driver();
    let round = driver.submit_to_all(write());
    assert_eq!(asked(&round), ALL);
    let numbered =
        |(_, request): &(_, Request)| (request.session, request.sequence) == (SessionId(7), Sequence(1));
    assert!(round.iter().all(numbered), "{round:?}");
    says(&mut driver, &round, THREE, Ok(Response::Done));
    driver.is_under_way();
    says(&mut driver, &round, ONE, Ok(Response::WrongType));
    driver.is_under_way();
    says(&mut driver, &round, FOUR, Ok(Response::Done));
    driver.answered(&[THREE, FOUR]);
    // What comes later is for nobody.
    says(&mut driver, &round, TWO, Ok(Response::Done));
    assert_eq!(driver.out.done, None);
    let next = driver.submit_to_all(write());
    assert!(next.iter().all(|(_, request)| request.sequence == Sequence(2)));
}

#[test]
fn the_first_word_of_a_replica_counts_and_nobody_speaks_for_another() {
    let mut driver = driver();
    let round = driver.submit_to_all(write());
    says(&mut driver, &round, TWO, Ok(Response::WrongType));
    says(&mut driver, &round, TWO, Ok(Response::Done));
    says(&mut driver, &round, TWO, Ok(Response::WrongType));
    says(&mut driver, &round, THREE, Ok(Response::Done));
    driver.is_under_way();
    // Two in the name of four.
    driver.reply(TWO, round[3].1.id, Ok(Response::Done));
    driver.is_under_way();
    says(&mut driver, &round, FOUR, Ok(Response::Done));
    driver.answered(&[THREE, FOUR]);
}

#[test]
fn silence_begins_another_round_under_the_same_sequence() {
    let mut driver = driver();
    let first = driver.submit_to_all(write());
    says(&mut driver, &first, ONE, Ok(Response::Done));
    let second = next_round(&mut driver, ATTEMPT);
    for ((_, first), (_, second)) in first.iter().zip(&second) {
        assert_ne!(first.id, second.id);
        assert_eq!(Request { id: first.id, ..second.clone() }, *first);
    }
    // One answer in each round are not two alike; a late one to the first is.
    says(&mut driver, &second, TWO, Ok(Response::Done));
    driver.is_under_way();
    says(&mut driver, &first, THREE, Ok(Response::Done));
    driver.answered(&[ONE, THREE]);
}

#[test]
fn when_all_have_spoken_and_not_agreed_it_waits_and_asks_again() {
    let mut driver = of(3, 1);
    let read = || Command::Read { key: Bytes::from_static(b"k") };
    let round = driver.submit_to_all(read());
    says(&mut driver, &round, ONE, Ok(Response::Value(None)));
    says(&mut driver, &round, TWO, Ok(Response::Value(None)));
    says(&mut driver, &round, THREE, Ok(Response::Done));
    driver.sent_nothing();
    says(&mut driver, &round, FOUR, Err(Refusal::Busy));
    let round = next_round(&mut driver, BACKOFF);
    // As good as having spoken: no word can come from there.
    for replica in [ONE, TWO] {
        says(&mut driver, &round, replica, Err(unavailable()));
    }
    driver.unreachable(THREE, true);
    driver.sent_nothing();
    driver.unreachable(FOUR, false);
    let round = next_round(&mut driver, BACKOFF);
    for replica in [FOUR, TWO, ONE] {
        says(&mut driver, &round, replica, Ok(Response::Value(None)));
    }
    let (outcome, by) = driver.done_by();
    assert_eq!(outcome, protocol::ClientOutcome::Answered(Response::Value(None)));
    assert_eq!(by, [ONE, TWO, FOUR]);
}

#[test]
fn what_was_sent_to_nobody_has_failed() {
    let mut driver = driver();
    driver.submit_to_all(write());
    while driver.out.done.is_none() {
        driver.out.send.clear();
        for replica in ALL {
            driver.unreachable(replica, false);
        }
        driver.now = driver.out.wake.expect("under way");
        driver.client.handle_timer(driver.now, &mut driver.out);
    }
    assert_eq!(driver.failed(), []);
}

/// Whoever lies may refuse it and pass it on.
#[test]
fn where_one_may_lie_refusals_of_all_leave_it_unknown() {
    for refusal in [Refusal::Busy, unavailable(), uncertain(), Refusal::NotLeader { leader: None }] {
        let mut driver = driver();
        let round = driver.submit_to_all(write());
        for replica in ALL {
            says(&mut driver, &round, replica, Err(refusal.clone()));
        }
        while driver.out.done.is_none() {
            if let Some((replica, request)) = driver.out.send.pop() {
                driver.refuse(replica, &request, refusal.clone());
            } else {
                driver.now = driver.out.wake.expect("under way");
                driver.client.handle_timer(driver.now, &mut driver.out);
            }
        }
        driver.unknown();
    }
}

#[test]
fn where_nobody_lies_refusals_of_all_fail_it_and_one_silence_does_not() {
    let mut driver = of(2, 0);
    driver.submit_to_all(write());
    driver.unreachable(ONE, false);
    driver.unreachable(TWO, false);
    driver.unreachable(THREE, false);
    driver.unreachable(FOUR, false);
    driver.refuse_until_deadline();
    assert_eq!(driver.failed(), ALL);
    let round = driver.submit_to_all(write());
    for replica in [ONE, TWO, THREE] {
        says(&mut driver, &round, replica, Err(Refusal::Busy));
    }
    driver.wake_after(ATTEMPT);
    driver.refuse_until_deadline();
    driver.unknown();
}

#[test]
fn answers_that_are_not_enough_leave_it_unknown() {
    let mut driver = of(2, 0);
    let round = driver.submit_to_all(write());
    says(&mut driver, &round, ONE, Ok(Response::Done));
    for replica in [TWO, THREE, FOUR] {
        says(&mut driver, &round, replica, Err(Refusal::Busy));
    }
    driver.refuse_until_deadline();
    driver.unknown();
}

#[test]
fn one_that_calls_it_invalid_may_lie_and_two_are_believed() {
    let mut driver = driver();
    let invalid = || Err(Refusal::Invalid("bounds of another version".to_owned()));
    let round = driver.submit_to_all(write());
    says(&mut driver, &round, TWO, invalid());
    driver.is_under_way();
    let round = next_round(&mut driver, ATTEMPT);
    says(&mut driver, &round, TWO, invalid());
    driver.is_under_way();
    says(&mut driver, &round, FOUR, invalid());
    assert_eq!(driver.failed(), [TWO, FOUR]);
    let empty_key = Command::Delete { key: Bytes::new() };
    assert_eq!(driver.submit_to_all(empty_key), []);
    assert_eq!(driver.failed(), []);
}

#[test]
fn a_session_that_two_do_not_know_is_left() {
    let mut driver = driver();
    let round = driver.submit_to_all(write());
    says(&mut driver, &round, ONE, Ok(Response::Done));
    says(&mut driver, &round, TWO, Ok(Response::Done));
    driver.answered(&[ONE, TWO]);
    let round = driver.submit_to_all(write());
    says(&mut driver, &round, THREE, Err(Refusal::SessionExpired));
    driver.is_under_way();
    says(&mut driver, &round, FOUR, Err(Refusal::SessionExpired));
    driver.unknown();
    let round = driver.submit_to_all(write());
    assert!(round.iter().all(|(_, request)| request.session != SessionId(7)));
    assert!(round.iter().all(|(_, request)| request.sequence == Sequence(1)));
}

#[test]
fn a_report_that_nothing_was_sent_comes_late_for_what_was_answered() {
    let mut driver = driver();
    let round = driver.submit_to_all(write());
    says(&mut driver, &round, ONE, Ok(Response::Done));
    for replica in ALL {
        driver.unreachable(replica, false);
    }
    until_deadline(&mut driver);
    driver.unknown();
}

#[test]
fn a_connection_that_is_lost_may_have_carried_it() {
    let mut driver = driver();
    driver.submit_to_all(write());
    driver.unreachable(ONE, true);
    for replica in [TWO, THREE, FOUR] {
        driver.unreachable(replica, false);
    }
    until_deadline(&mut driver);
    driver.unknown();
}

#[test]
#[should_panic(expected = "liars alone could make an answer")]
fn more_must_agree_than_may_lie() {
    of(1, 1);
}
