use super::solo::*;
use protocol::Protocol;
use raft::{LogId, Message, Options, Timer};
use std::collections::BTreeSet;

/// §5.1.
#[test]
fn a_replica_that_sees_a_higher_term_takes_it_over_and_follows() {
    let mut leader = Solo::leader(2, &[1], Options::default());
    leader.deliver(N3, vote(5, false));
    assert_eq!((leader.role().as_str(), leader.term()), ("follower", 5));
    assert_eq!(leader.last_hard_state(), Some((5, None)));
}

/// §5.1.
#[test]
fn a_request_of_an_earlier_term_is_refused_and_told_the_current_one() {
    let mut follower = Solo::follower(3, &[1]);
    let sent = follower.deliver(N2, append(2, id(1, 1), 1, &[2]));
    assert_eq!(sent.printed(), ["early n2 AppendReply t3 r0 stale"]);
    let sent = follower.deliver(N2, request_vote(2, id(9, 2)));
    assert_eq!(sent.printed(), ["early n2 RequestVoteReply t3 refused"]);
    assert_eq!((follower.terms(), follower.commit()), (vec![1], 0));
}

/// §5.2.
#[test]
fn a_follower_that_hears_from_no_leader_seeks_election() {
    let mut replica = Solo::new();
    let deadline = replica.host.timers().get(Timer::Election).unwrap();
    replica.now = deadline;
    let sent = replica.fire(Timer::Election);
    assert_eq!(sent.printed(), ["early n2 PreVote t1 last 0/t0", "early n3 PreVote t1 last 0/t0"]);
}

/// §5.2.
#[test]
fn a_follower_that_hears_from_its_leader_does_not_seek_election() {
    let mut replica = Solo::new();
    replica.now = replica.host.timers().get(Timer::Election).unwrap();
    replica.deliver(N2, append(1, LogId::ZERO, 0, &[]));
    let sent = replica.fire(Timer::Election);
    assert!(sent.printed().is_empty());
    assert!(replica.host.timers().get(Timer::Election).unwrap() > replica.now, "the timer is set again");
}

/// §5.2.
#[test]
fn election_timeouts_are_random_and_within_their_bounds() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let mut replica = Solo::new();
        replica.host.crash(0);
        replica.host.start(seed, replica.now).unwrap();
        let timeout_ms = replica.host.timers().get(Timer::Election).unwrap().0 / 1_000_000;
        assert!((303..=606).contains(&timeout_ms), "{timeout_ms} ms, stretched by the clocks' drift of 1 %");
        seen.insert(timeout_ms);
    }
    assert!(seen.len() > 30, "{seen:?}");
}

/// Diss. §9.6.
#[test]
fn a_pre_candidate_does_not_raise_its_term() {
    let mut replica = Solo::follower(4, &[1, 4]);
    replica.fire(Timer::Election);
    assert_eq!((replica.role().as_str(), replica.term()), ("pre-candidate", 4));
    replica.deliver(N2, pre_vote(4, false));
    assert_eq!((replica.role().as_str(), replica.term()), ("pre-candidate", 4), "refused");
    replica.deliver(N3, pre_vote(5, true));
    assert_eq!((replica.role().as_str(), replica.term()), ("candidate", 5), "granted by a majority");
}

/// Diss. §9.6: a pre-vote binds nobody.
#[test]
fn pre_votes_are_given_to_all_who_could_win_and_leave_no_trace() {
    let mut replica = Solo::follower(4, &[1, 4]);
    replica.host.written.clear();
    for candidate in [N2, N3] {
        let sent = replica.deliver(candidate, Message::PreVote(ask(5, id(2, 4))));
        assert_eq!(sent.printed(), [format!("early {candidate} PreVoteReply t5 granted")]);
    }
    let sent = replica.deliver(N2, Message::PreVote(ask(5, id(1, 4))));
    assert_eq!(sent.printed(), ["early n2 PreVoteReply t4 refused"]);
    assert!(replica.host.written.is_empty() && replica.term() == 4);
}

/// §5.2. The requests wait for the disk too: a term that is forgotten must not be sought a second time.
#[test]
fn a_candidate_votes_for_itself_and_asks_for_votes_when_that_is_durable() {
    let mut replica = Solo::follower(4, &[1, 4]);
    replica.fire(Timer::Election);
    let sent = replica.deliver(N2, pre_vote(5, true));
    assert_eq!(replica.last_hard_state(), Some((5, Some(N1))));
    assert!(sent.printed().is_empty());
    let sent = replica.sync();
    assert_eq!(
        sent.printed(),
        ["durable n2 RequestVote t5 last 2/t4", "durable n3 RequestVote t5 last 2/t4"]
    );
}

/// §5.2.
#[test]
fn a_majority_of_votes_makes_a_leader_that_makes_itself_known_at_once() {
    let mut replica = Solo::follower(4, &[1, 4]);
    replica.fire(Timer::Election);
    replica.deliver(N2, pre_vote(5, true));
    replica.sync();
    let sent = replica.deliver(N3, vote(5, true));
    let noop = "AppendEntries t5 r1 prev 2/t4 commit 0 [3/t5 noop]";
    assert_eq!(sent.printed(), [format!("early n2 {noop}"), format!("early n3 {noop}")]);
    assert_eq!(replica.role(), "leader");
}

/// The own vote is a vote like any other, and not given before it is durable.
#[test]
fn a_candidate_does_not_count_its_own_vote_before_it_is_durable() {
    let mut replica = Solo::follower(4, &[1, 4]);
    replica.fire(Timer::Election);
    replica.deliver(N2, pre_vote(5, true));
    replica.deliver(N2, vote(5, true));
    assert_eq!(replica.role(), "candidate");
    replica.sync();
    assert_eq!(replica.role(), "leader");
}

#[test]
fn a_vote_that_arrives_twice_counts_once() {
    let mut replica = Solo::among(5, Options::default());
    replica.advance(1000);
    replica.fire(Timer::Election);
    replica.deliver_all([(N2, pre_vote(1, true)), (N2, pre_vote(1, true))]);
    assert_eq!(replica.role(), "pre-candidate");
    replica.deliver(N3, pre_vote(1, true));
    replica.sync();
    replica.deliver_all([(N2, vote(1, true)), (N2, vote(1, true))]);
    assert_eq!(replica.role(), "candidate");
    replica.deliver(N3, vote(1, true));
    assert_eq!(replica.role(), "leader");
}

/// §5.2.
#[test]
fn a_replica_votes_once_in_a_term_for_who_comes_first() {
    let mut replica = Solo::follower(4, &[1, 4]);
    assert!(replica.deliver(N3, request_vote(5, id(2, 4))).printed().is_empty(), "not before it is durable");
    assert_eq!(replica.sync().printed(), ["durable n3 RequestVoteReply t5 granted"]);
    assert_eq!(
        replica.deliver(N2, request_vote(5, id(9, 4))).printed(),
        ["early n2 RequestVoteReply t5 refused"]
    );
    assert_eq!(
        replica.deliver(N3, request_vote(5, id(2, 4))).printed(),
        ["durable n3 RequestVoteReply t5 granted"],
        "the same vote, asked for again"
    );
}

/// §5.1, Figure 2: persistent state.
#[test]
fn a_replica_does_not_forget_its_vote() {
    let mut replica = Solo::follower(4, &[1, 4]);
    replica.deliver(N3, request_vote(5, id(2, 4)));
    replica.sync();
    replica.restart();
    replica.advance(1000);
    assert_eq!(
        replica.deliver(N2, request_vote(5, id(9, 4))).printed(),
        ["early n2 RequestVoteReply t5 refused"]
    );
}

/// §5.4.1.
#[test]
fn a_vote_is_refused_to_a_candidate_whose_log_is_behind() {
    for (last, granted) in [
        (id(2, 4), true),
        (id(3, 4), true),
        (id(1, 5), true),
        (id(1, 4), false),
        (id(9, 3), false),
        (LogId::ZERO, false),
    ] {
        let mut replica = Solo::follower(5, &[1, 4]);
        replica.deliver(N3, request_vote(6, last));
        let given = replica.last_hard_state() == Some((6, Some(N3)));
        assert_eq!(given, granted, "to a log that ends at {last}");
    }
}

/// §5.2.
#[test]
fn a_candidate_that_hears_from_a_leader_of_its_term_follows_it() {
    let mut replica = Solo::follower(4, &[1, 4]);
    replica.fire(Timer::Election);
    replica.deliver(N2, pre_vote(5, true));
    replica.sync();
    assert_eq!(replica.role(), "candidate");
    replica.deliver(N3, append(5, id(2, 4), 0, &[5]));
    assert_eq!((replica.role().as_str(), replica.term()), ("follower", 5));
    assert_eq!(replica.host.core().status().leader, Some(N3));
}

/// §5.2: votes may split; §4.2.3 and loss make it worthwhile to ask the same voters again before that.
#[test]
fn a_candidate_asks_again_and_then_begins_anew() {
    let mut replica = Solo::follower(4, &[1, 4]);
    replica.fire(Timer::Election);
    replica.advance(50);
    assert_eq!(replica.fire(Timer::Heartbeat).printed().len(), 2, "both have not answered");
    replica.deliver(N2, pre_vote(5, true));
    replica.sync();
    replica.advance(50);
    assert_eq!(replica.fire(Timer::Heartbeat).printed().len(), 2);
    replica.advance(1000);
    replica.fire(Timer::Election);
    assert_eq!((replica.role().as_str(), replica.term()), ("pre-candidate", 5));
}

/// Diss. §4.2.3 and §6.4.1: whoever hears a leader neither votes nor takes over a candidate's term.
#[test]
fn a_replica_that_hears_a_leader_is_deaf_to_candidates() {
    let mut replica = Solo::follower(4, &[1, 4]);
    replica.deliver(N2, append(4, id(2, 4), 0, &[]));
    replica.advance(302);
    assert!(replica.deliver(N3, request_vote(5, id(2, 4))).printed().is_empty());
    assert_eq!(replica.term(), 4);
    let question = Message::PreVote(ask(5, id(2, 4)));
    assert_eq!(replica.deliver(N3, question.clone()).printed(), ["early n3 PreVoteReply t4 refused"]);
    replica.advance(1);
    assert_eq!(replica.deliver(N3, question).printed(), ["early n3 PreVoteReply t5 granted"]);
}

/// Diss. §6.4.1: a lease rests on the promise, whatever raised the term since.
#[test]
fn a_replica_that_hears_a_leader_is_deaf_to_candidates_of_its_own_term_too() {
    let mut replica = Solo::follower(4, &[1, 4]);
    replica.deliver(N2, append(4, id(2, 4), 0, &[]));
    replica.deliver(N3, vote(5, false));
    assert_eq!(replica.term(), 5);
    replica.deliver(N3, request_vote(5, id(2, 4)));
    assert_eq!(replica.last_hard_state(), Some((5, None)));
}

/// Diss. §6.4.1: a promise to a leader outlives a crash, although it is written nowhere.
#[test]
fn a_restarted_replica_is_deaf_to_candidates_at_first() {
    let mut replica = Solo::follower(4, &[1, 4]);
    replica.restart();
    replica.deliver(N3, request_vote(5, id(2, 4)));
    assert_eq!(replica.term(), 4);
    replica.advance(303);
    replica.deliver(N3, request_vote(5, id(2, 4)));
    assert_eq!(replica.term(), 5);
}

/// Diss. §6.2.
#[test]
fn a_leader_that_hears_from_no_majority_steps_down() {
    let mut leader = Solo::leader(2, &[1], Options::default());
    for _ in 0..20 {
        leader.advance(50);
        leader.deliver(N3, reply(2, 1, accepted(1)));
        leader.fire(Timer::Heartbeat);
    }
    assert_eq!(leader.role(), "leader", "n3 and itself are a majority");
    leader.advance(600);
    leader.fire(Timer::Heartbeat);
    assert_eq!(leader.role(), "leader");
    leader.advance(50);
    leader.fire(Timer::Heartbeat);
    assert_eq!((leader.role().as_str(), leader.term()), ("follower", 2));
}

#[test]
fn a_replica_alone_elects_itself_when_its_vote_is_durable() {
    let mut replica = Solo::among(1, Options::default());
    replica.advance(1000);
    replica.fire(Timer::Election);
    assert_eq!(replica.role(), "candidate");
    replica.sync();
    assert_eq!(replica.role(), "leader");
    replica.sync();
    assert_eq!(replica.commit(), 1);
}

#[test]
fn a_replica_does_not_listen_to_itself() {
    let mut replica = Solo::follower(4, &[1, 4]);
    replica.deliver(N1, append(9, id(2, 4), 0, &[9]));
    assert_eq!(replica.term(), 4);
    assert_eq!(replica.metric("messages_dropped_from_itself"), 1);
}
