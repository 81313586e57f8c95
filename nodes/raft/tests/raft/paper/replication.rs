use super::solo::*;
use bytes::Bytes;
use kv::{Command, Response, Routing};
use raft::{AppendOutcome, LogId, LogIndex, Options, Term, Timer};

fn rejected(prev: u64, conflict_term: Option<u64>, conflict_index: u64) -> AppendOutcome {
    AppendOutcome::Rejected {
        prev: LogIndex(prev),
        conflict_term: conflict_term.map(Term),
        conflict_index: LogIndex(conflict_index),
    }
}

/// §5.3 and diss. §6.4.
#[test]
fn a_leader_begins_its_term_with_a_noop() {
    let leader = Solo::leader(3, &[1, 2], Options::default());
    assert_eq!(leader.terms(), [1, 2, 3]);
    let last = leader.host.core().log().entries().last().unwrap();
    assert_eq!(last.payload, raft::Payload::Noop);
}

/// Diss. §10.2.1: the disk of the leader works beside the network.
#[test]
fn a_leader_sends_entries_before_they_are_on_its_disk_and_counts_itself_when_they_are() {
    let mut leader = Solo::leader(1, &[], Options::default());
    leader.deliver(N2, reply(1, 1, accepted(1)));
    assert_eq!(leader.commit(), 1);
    let sent = leader.request(Routing::Leader, write("x", "1"));
    assert_eq!(sent.appends(N2)[0].entries.len(), 1);
    assert!(!leader.host.unsynced.is_empty());
    leader.deliver(N2, reply(1, 1, accepted(2)));
    assert_eq!(leader.commit(), 1, "only n2 has it on disk");
    assert_eq!(leader.sync().results(), [Ok(Response::Done)]);
    assert_eq!(leader.commit(), 2);
}

/// The leader's own disk is one of several.
#[test]
fn a_majority_without_the_leader_commits() {
    let mut leader = Solo::leader(1, &[], Options::default());
    leader.deliver_all([(N2, reply(1, 1, accepted(1))), (N3, reply(1, 1, accepted(1)))]);
    leader.request(Routing::Leader, write("x", "1"));
    leader.deliver(N2, reply(1, 1, accepted(2)));
    let sent = leader.deliver(N3, reply(1, 1, accepted(2)));
    assert_eq!(sent.results(), [Ok(Response::Done)]);
    assert!(!leader.host.unsynced.is_empty());
}

/// §5.3: the answer is the state machine's.
#[test]
fn a_client_is_answered_when_its_entry_is_applied() {
    let mut leader = Solo::leader(1, &[], Options::default());
    leader.deliver(N2, reply(1, 1, accepted(1)));
    let append =
        |element| Command::Append { key: Bytes::from_static(b"l"), element: Bytes::from_static(element) };
    let sent = leader.request_all(Routing::Leader, [append(b"a"), append(b"b")]);
    assert!(sent.results().is_empty());
    leader.sync();
    let sent = leader.deliver(N2, reply(1, 1, accepted(3)));
    assert_eq!(sent.results(), [Ok(Response::Length(1)), Ok(Response::Length(2))]);
}

/// §5.4.2, Figure 8.
#[test]
fn leader_commits_only_entries_of_its_own_term_by_counting() {
    let mut leader = Solo::leader(4, &[1, 2], Options::default());
    leader.deliver_all([(N2, reply(4, 1, accepted(2))), (N3, reply(4, 1, accepted(2)))]);
    assert_eq!(leader.commit(), 0, "2/t2 is everywhere and may still be overwritten");
    leader.deliver(N2, reply(4, 1, accepted(3)));
    assert_eq!(leader.commit(), 3, "with 3/t4 all before it are committed");
}

/// §5.3, the consistency check.
#[test]
fn a_follower_refuses_entries_that_do_not_follow_its_log() {
    for (terms, prev, answer) in [
        (&[1, 1][..], id(3, 2), "rejected 3: the log ends before 3"),
        (&[1, 2, 2, 2], id(4, 3), "rejected 4: t2 from 2 on"),
        (&[], id(1, 1), "rejected 1: the log ends before 1"),
    ] {
        let mut follower = Solo::follower(4, terms);
        let sent = follower.deliver(N2, append(4, prev, 9, &[4]));
        assert_eq!(sent.printed(), [format!("early n2 AppendReply t4 r1 {answer}")]);
        assert_eq!((follower.terms(), follower.commit()), (terms.to_vec(), 0));
    }
}

/// §5.3 and Figure 7.
#[test]
fn a_follower_cuts_off_what_conflicts_and_nothing_else() {
    for (terms, prev, new, after) in [
        (&[1, 1, 2, 2][..], id(2, 1), &[3][..], &[1, 1, 3][..]),
        (&[1, 1, 2, 2], id(1, 1), &[1, 3, 3], &[1, 1, 3, 3]),
        (&[1, 1, 2, 2], id(4, 2), &[3], &[1, 1, 2, 2, 3]),
        (&[1, 1, 2, 2], LogId::ZERO, &[3], &[3]),
        // An older message: what it brings is there, with more.
        (&[1, 1, 2, 2], id(1, 1), &[1], &[1, 1, 2, 2]),
        (&[1, 1, 2, 2], id(1, 1), &[], &[1, 1, 2, 2]),
    ] {
        let mut follower = Solo::follower(3, terms);
        follower.deliver(N3, append(4, LogId::ZERO, 0, &[]));
        follower.sync();
        let sent = follower.deliver(N3, append(4, prev, 0, new));
        let matched = prev.index.0 + new.len() as u64;
        assert_eq!(follower.terms(), after, "{terms:?} and {new:?} after {prev}");
        let lane = if terms == after { "early" } else { "durable" };
        let released = if lane == "early" { sent } else { follower.sync() };
        assert_eq!(
            released.printed().last().unwrap(),
            &format!("{lane} n3 AppendReply t4 r1 accepted up to {matched}")
        );
    }
}

/// What it acknowledges, a follower cannot forget.
#[test]
fn a_follower_acknowledges_what_is_durable() {
    let mut follower = Solo::follower(3, &[1]);
    let sent = follower.deliver(N2, append(3, id(1, 1), 0, &[3, 3]));
    assert!(sent.durable.messages.is_empty());
    let sent = follower.sync();
    assert_eq!(sent.printed(), ["durable n2 AppendReply t3 r1 accepted up to 3"]);
    follower.restart();
    assert_eq!(follower.terms(), [1, 3, 3]);
}

/// The office is confirmed without the disk, so that reads do not wait for it; entries are not.
#[test]
fn a_follower_answers_a_new_round_at_once_and_acknowledges_entries_later() {
    let mut follower = Solo::new();
    follower.deliver(N2, append(3, LogId::ZERO, 0, &[1]));
    assert_eq!(follower.sync().printed(), ["durable n2 AppendReply t3 r1 accepted up to 1"]);
    let raft::Message::AppendEntries(mut message) = append(3, id(1, 1), 0, &[3]) else { unreachable!() };
    message.round = raft::Round(2);
    let sent = follower.deliver(N2, raft::Message::AppendEntries(message));
    assert_eq!(sent.printed(), ["early n2 AppendReply t3 r2 accepted up to 1"]);
    assert_eq!(follower.sync().printed(), ["durable n2 AppendReply t3 r2 accepted up to 2"]);
}

/// An acceptance in a term that a crash would undo could be followed by obedience to an earlier leader.
#[test]
fn a_follower_accepts_nothing_in_a_term_that_is_not_durable() {
    let mut follower = Solo::follower(3, &[1]);
    let sent = follower.deliver(N3, append(4, id(1, 1), 0, &[]));
    assert!(sent.printed().is_empty());
    assert_eq!(follower.sync().printed(), ["durable n3 AppendReply t4 r1 accepted up to 1"]);
}

/// §5.3: `min(leaderCommit, index of last new entry)`.
#[test]
fn a_follower_commits_no_further_than_its_log_is_known_to_match() {
    let mut follower = Solo::follower(3, &[1, 2, 2]);
    follower.deliver(N2, append(4, id(1, 1), 3, &[]));
    assert_eq!(follower.commit(), 1, "2/t2 and 3/t2 may not be the leader's");
    follower.deliver(N2, append(4, id(1, 1), 3, &[4]));
    assert_eq!(follower.commit(), 2);
    follower.deliver(N2, append(4, id(2, 4), 3, &[4]));
    assert_eq!((follower.commit(), follower.terms()), (3, vec![1, 4, 4]));
}

/// §5.3: an `AppendEntries` that is delivered late does not take the commit index back.
#[test]
fn the_commit_index_does_not_go_back() {
    let mut follower = Solo::follower(3, &[1, 3]);
    follower.deliver(N2, append(3, id(2, 3), 2, &[]));
    follower.deliver(N2, append(3, id(1, 1), 1, &[3]));
    assert_eq!(follower.commit(), 2);
}

/// State Machine Safety against a leader that breaks the rules: the message is dropped.
#[test]
fn what_is_committed_is_not_overwritten() {
    let mut follower = Solo::follower(3, &[1, 3]);
    follower.deliver(N2, append(3, id(2, 3), 2, &[]));
    for contradiction in [append(4, id(1, 1), 0, &[4]), append(4, id(2, 2), 0, &[])] {
        follower.deliver(N3, contradiction);
        assert_eq!(follower.terms(), [1, 3]);
    }
    assert_eq!(follower.metric("messages_dropped_contradicts"), 2);
}

/// §5.3, the end: one rejection for each conflicting term.
#[test]
fn a_leader_backs_up_a_whole_term_at_a_time() {
    for (answer, next_prev) in [
        // The follower's log is short.
        (rejected(7, None, 3), id(2, 1)),
        // The leader has nothing of term 2: everything of it goes.
        (rejected(7, Some(2), 4), id(3, 1)),
        // The leader has entries of term 4 too: the last of them may be common.
        (rejected(7, Some(4), 4), id(5, 4)),
        // All that the leader has of term 6 lies behind: no help.
        (rejected(3, Some(6), 2), id(7, 6)),
    ] {
        let mut leader = Solo::leader(7, &[1, 1, 1, 4, 4, 5, 6], Options::default());
        let sent = leader.deliver(N2, reply(7, 1, answer));
        let prev = sent.appends(N2).first().map(|m| m.prev);
        if next_prev == id(7, 6) {
            assert_eq!(prev, None, "{answer}: it was not asked about that place");
        } else {
            assert_eq!(prev, Some(next_prev), "after: {answer}");
        }
    }
}

/// A rejection says where the logs part, not where they agree.
#[test]
fn a_rejection_does_not_count_as_a_match() {
    let mut leader = Solo::leader(4, &[1, 2], Options::default());
    leader.deliver_all([
        (N2, reply(4, 1, rejected(2, Some(1), 1))),
        (N3, reply(4, 1, rejected(2, Some(3), 2))),
    ]);
    assert_eq!(leader.commit(), 0);
}

/// Adaptive batching: what comes in together goes out together.
#[test]
fn requests_of_one_turn_travel_in_one_message() {
    let mut leader = Solo::leader(1, &[], Options::default());
    leader.deliver(N2, reply(1, 1, accepted(1)));
    let sent = leader.request_all(Routing::Leader, [write("x", "1"), write("y", "2"), write("z", "3")]);
    let [message] = sent.appends(N2)[..] else { panic!("{:?}", sent.printed()) };
    assert_eq!(message.entries.len(), 3);
}

/// Adaptive batching: what comes in while the rounds are in flight goes out when one is answered.
#[test]
fn requests_queue_while_all_rounds_are_in_flight() {
    let mut leader = Solo::leader(1, &[], Options::default());
    leader.deliver(N2, reply(1, 1, accepted(1)));
    for (value, rounds) in [("1", 1), ("2", 1), ("3", 0), ("4", 0)] {
        let sent = leader.request(Routing::Leader, write("x", value));
        assert_eq!(sent.appends(N2).len(), rounds, "at request {value}");
        assert!(sent.appends(N3).is_empty(), "n3 is still being probed");
    }
    let sent = leader.deliver(N2, reply(1, 1, accepted(2)));
    let [message] = sent.appends(N2)[..] else { panic!("{:?}", sent.printed()) };
    assert_eq!((message.prev, message.entries.len()), (id(3, 1), 2));
}

#[test]
fn a_batch_is_bounded() {
    let options = Options { batch_bytes_max: 150, rounds_in_flight_max: 3, ..Options::default() };
    let mut leader = Solo::leader(1, &[], options);
    leader.deliver(N2, reply(1, 1, accepted(1)));
    let sent = leader.request_all(Routing::Leader, ["1", "2", "3", "4", "5"].map(|v| write("x", v)));
    let sizes: Vec<usize> = sent.appends(N2).iter().map(|m| m.entries.len()).collect();
    assert_eq!(sizes, [1, 1, 1], "three rounds, of what fits into 150 bytes");
}

/// A lost message shows when a heartbeat behind it is rejected.
#[test]
fn what_was_lost_is_sent_again_after_a_heartbeat() {
    let mut leader = Solo::leader(1, &[], Options::default());
    leader.deliver(N2, reply(1, 1, accepted(1)));
    leader.request(Routing::Leader, write("x", "1"));
    leader.advance(50);
    let sent = leader.fire(Timer::Heartbeat);
    let [heartbeat] = sent.appends(N2)[..] else { panic!("{:?}", sent.printed()) };
    assert_eq!((heartbeat.prev, heartbeat.entries.len()), (id(2, 1), 0), "behind what was sent");
    let sent = leader.deliver(N2, reply(1, 2, rejected(2, None, 2)));
    let [again] = sent.appends(N2)[..] else { panic!("{:?}", sent.printed()) };
    assert_eq!((again.prev, again.entries.len()), (id(1, 1), 1));
}

/// A lost acknowledgement is made good by the answer to a heartbeat.
#[test]
fn an_acknowledgement_that_was_lost_is_not_missed_for_long() {
    let mut leader = Solo::leader(1, &[], Options::default());
    leader.deliver(N2, reply(1, 1, accepted(1)));
    leader.request(Routing::Leader, write("x", "1"));
    leader.sync();
    leader.advance(50);
    leader.fire(Timer::Heartbeat);
    let sent = leader.deliver(N2, reply(1, 2, accepted(2)));
    assert_eq!(sent.results(), [Ok(Response::Done)]);
}
