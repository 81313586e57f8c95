use super::solo::*;
use kv::{Response, Routing};
use raft::{Message, Options, Round, Timer};

/// Diss. §10.2.1. It keeps its office however long that lasts: it commits what can be committed at all.
#[test]
fn a_leader_whose_disk_stalls_commits_through_the_others() {
    let mut leader = Solo::leader(1, &[], Options::default());
    leader.deliver_all([(N2, reply(1, 1, accepted(1))), (N3, reply(1, 1, accepted(1)))]);
    for n in 2..100 {
        leader.request(Routing::Leader, write("x", "1"));
        leader.deliver(N2, reply(1, n - 1, accepted(n)));
        assert_eq!(leader.commit(), n - 1, "n2 alone is no majority");
        let sent = leader.deliver(N3, reply(1, n - 1, accepted(n)));
        assert_eq!(sent.results(), [Ok(Response::Done)]);
        leader.advance(50);
        leader.fire(Timer::Heartbeat);
    }
    assert_eq!((leader.role().as_str(), leader.host.unsynced.len()), ("leader", 98));
    leader.restart();
    assert_eq!(leader.terms(), [1], "all the same it has forgotten them");
}

/// Figure 2. Rounds are answered all the time, so that reads go on.
#[test]
fn a_follower_whose_disk_stalls_acknowledges_nothing() {
    let mut follower = Solo::follower(3, &[1]);
    for n in 1..100 {
        let Message::AppendEntries(mut message) = append(3, id(n, if n == 1 { 1 } else { 3 }), 0, &[3])
        else {
            unreachable!()
        };
        message.round = Round(n + 1);
        let sent = follower.deliver(N2, Message::AppendEntries(message));
        assert_eq!(sent.printed(), [format!("early n2 AppendReply t3 r{} accepted up to 1", n + 1)]);
        follower.advance(50);
    }
    let sent = follower.sync();
    assert_eq!(sent.printed().last().unwrap(), "durable n2 AppendReply t3 r100 accepted up to 100");
}

/// Whoever cannot put a vote on disk does not give it, and does not stand in the way of others either.
#[test]
fn a_voter_whose_disk_stalls_gives_no_vote() {
    let mut voter = Solo::follower(3, &[1]);
    for term in 4..20 {
        assert!(voter.deliver(N3, request_vote(term, id(1, 1))).printed().is_empty());
        voter.advance(1000);
    }
    voter.restart();
    assert_eq!(voter.term(), 3);
}
