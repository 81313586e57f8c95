use super::solo::*;
use kv::{Response, Routing};
use protocol::{AdminReply, AdminRequest, Incarnation, Protocol, ReplicaId};
use raft::{Configuration, LogId, LogIndex, Member, Members, Message, Options, Payload, Timer};

const N4: ReplicaId = ReplicaId(4);
const N5: ReplicaId = ReplicaId(5);

/// The leader of term 2 of n1, n2, n3, which has committed its no-op, entry 2.
fn leader() -> Solo {
    let mut leader = Solo::leader(2, &[1], Options::default());
    leader.deliver(N2, reply(2, 1, accepted(2)));
    assert_eq!(leader.commit(), 2);
    leader
}

fn members(replicas: &[u32]) -> Members {
    Members::founders(&replicas.iter().copied().map(ReplicaId).collect::<Vec<_>>()).unwrap()
}

fn joint(old: &[u32], new: &[u32]) -> Configuration {
    Configuration { old: Some(members(old)), new: members(new) }
}

/// As entry `index` of term `term`.
fn configuration(index: u64, term: u64, configuration: Configuration) -> Message {
    let Message::AppendEntries(mut message) = append(term, id(index - 1, 1), 0, &[]) else { unreachable!() };
    let payload = Payload::Configuration(configuration);
    message.entries =
        vec![std::sync::Arc::new(raft::Entry { index: LogIndex(index), term: raft::Term(term), payload })];
    Message::AppendEntries(message)
}

fn last_payload(solo: &Solo) -> String {
    solo.host.core().log().entries().last().expect("an entry").payload.to_string()
}

fn refusal(reply: AdminReply) -> String {
    let AdminReply::Refused { reason } = reply else { panic!("{reply:?}") };
    reason
}

/// Ongaro, *bug in single-server membership changes*, raft-dev, 2015.
#[test]
fn a_leader_changes_members_only_when_it_has_committed_an_entry_of_its_own_term() {
    let mut leader = Solo::leader(2, &[1], Options::default());
    assert!(refusal(leader.change(&[1, 2]).0).contains("own term"));
    leader.deliver(N2, reply(2, 1, accepted(2)));
    assert_eq!(leader.change(&[1, 2]).0, AdminReply::Accepted);
}

#[test]
fn only_the_leader_changes_members() {
    let mut follower = Solo::follower(3, &[1]);
    follower.deliver(N2, append(3, id(1, 1), 1, &[]));
    assert_eq!(follower.change(&[1, 2]).0, AdminReply::NotLeader { leader: Some(N2) });
    let nobody = AdminRequest::ChangeMembers { voters: [].into() };
    assert!(refusal(leader().admin(nobody).0).contains("0 of them"));
}

/// An earlier leader's change may be on disks that this one has not heard of, and be committed with the next leader's first entry.
#[test]
fn a_leader_that_has_not_committed_an_entry_of_its_term_cannot_tell_who_votes() {
    let mut leader = Solo::leader(2, &[1], Options::default());
    assert!(leader.host.core().status().is_changing() && !leader.host.core().is_changing());
    leader.deliver(N2, reply(2, 1, accepted(2)));
    assert!(!leader.host.core().status().is_changing());
}

/// Diss. §4.2.1.
#[test]
fn a_newcomer_gets_the_log_and_counts_for_nothing_until_it_has_caught_up() {
    let mut leader = leader();
    let (answer, sent) = leader.change(&[1, 2, 3, 4]);
    assert_eq!(answer, AdminReply::Accepted);
    assert_eq!(sent.appends(N4)[0].prev, id(2, 2));
    assert_eq!(last_payload(&leader), "noop");
    let short =
        raft::AppendOutcome::Rejected { prev: LogIndex(2), conflict_term: None, conflict_index: LogIndex(1) };
    let sent = leader.deliver(N4, reply(2, 1, short));
    assert_eq!(sent.appends(N4)[0].entries.len(), 2, "from the beginning");
    leader.request(Routing::Leader, write("x", "1"));
    leader.sync();
    assert!(leader.host.core().is_changing());
    leader.deliver(N4, reply(2, 1, accepted(2)));
    assert_eq!(last_payload(&leader), "members n1,n2,n3 and n1,n2,n3,n4");
    leader.deliver(N4, reply(2, 1, accepted(3)));
    assert_eq!(leader.commit(), 2, "n1 and n4 are no majority of n1, n2, n3");
}

/// Diss. §4.2.1: rounds.
#[test]
fn a_newcomer_that_is_slow_needs_another_round() {
    let mut leader = leader();
    leader.change(&[1, 2, 3, 4]);
    leader.request(Routing::Leader, write("x", "1"));
    leader.advance(400);
    leader.deliver(N4, reply(2, 1, accepted(2)));
    assert_eq!(leader.terms().len(), 3, "it has what the log had 400 ms ago");
    leader.deliver(N4, reply(2, 1, accepted(3)));
    assert_eq!(last_payload(&leader), "members n1,n2,n3 and n1,n2,n3,n4");
}

/// Diss. §4.2.1: a newcomer that is not there must not be in the way for ever.
#[test]
fn a_change_is_given_up_if_a_newcomer_does_not_catch_up() {
    let mut leader = Solo::leader(2, &[1], Options { catch_up_ms_max: 500, ..Options::default() });
    leader.deliver(N2, reply(2, 1, accepted(2)));
    leader.change(&[1, 2, 3, 4]);
    leader.advance(50);
    leader.fire(Timer::Heartbeat);
    assert!(refusal(leader.change(&[1, 2]).0).contains("under way"));
    leader.advance(450);
    let sent = leader.fire(Timer::Heartbeat);
    assert!(sent.appends(N4).is_empty() && !sent.appends(N3).is_empty());
    assert_eq!((leader.metric("changes_given_up"), leader.host.core().is_changing()), (1, false));
    assert_eq!(leader.change(&[1, 2]).0, AdminReply::Accepted);
}

/// §6: "Once a given server adds the new configuration entry to its log, it uses that configuration for all future
/// decisions", and: "Agreement requires separate majorities from both the old and new configurations."
#[test]
fn joint_consensus_needs_majorities_of_both_sets_from_the_moment_it_is_appended() {
    for (first, second, done) in [(N2, N4, true), (N3, N5, true), (N2, N3, false), (N4, N5, false)] {
        let mut leader = leader();
        leader.change(&[1, 4, 5]);
        leader.deliver_all([(N4, reply(2, 1, accepted(2))), (N5, reply(2, 1, accepted(2)))]);
        leader.sync();
        assert_eq!(last_payload(&leader), "members n1,n2,n3 and n1,n4,n5");
        leader.deliver_all([(first, reply(2, 1, accepted(3))), (second, reply(2, 1, accepted(3)))]);
        assert_eq!(leader.commit(), if done { 3 } else { 2 }, "{first} and {second}");
    }
}

/// §6: elections too.
#[test]
fn a_candidate_needs_majorities_of_both_sets() {
    let mut replica = Solo::follower(1, &[1]);
    replica.deliver(N2, configuration(2, 1, joint(&[1, 2, 3], &[1, 4, 5])));
    replica.sync();
    replica.advance(1000);
    assert_eq!(replica.fire(Timer::Election).early.messages.len(), 4, "all of both sets are asked");
    replica.deliver_all([(N2, pre_vote(2, true)), (N3, pre_vote(2, true))]);
    assert_eq!(replica.role(), "pre-candidate");
    replica.deliver(N4, pre_vote(2, true));
    replica.sync();
    replica.deliver_all([(N4, vote(2, true)), (N5, vote(2, true))]);
    assert_eq!(replica.role(), "candidate");
    replica.deliver(N3, vote(2, true));
    assert_eq!(replica.role(), "leader");
}

/// §6: CheckQuorum and reads ask both sets as well.
#[test]
fn reads_are_confirmed_by_majorities_of_both_sets() {
    let mut leader = leader();
    leader.change(&[1, 4, 5]);
    leader.deliver_all([(N4, reply(2, 1, accepted(2))), (N5, reply(2, 1, accepted(2)))]);
    leader.request(Routing::Leader, read("x"));
    assert!(leader.deliver(N2, reply(2, 2, accepted(2))).results().is_empty());
    assert_eq!(leader.deliver(N4, reply(2, 2, accepted(2))).results(), [Ok(Response::Value(None))]);
}

/// §6: "Once C_old,new has been committed, … it is now safe for the leader to create a log entry describing C_new".
#[test]
fn c_new_follows_when_c_old_new_is_committed_and_decides_alone_from_then_on() {
    let mut leader = leader();
    leader.change(&[1, 4, 5]);
    leader.deliver_all([(N4, reply(2, 1, accepted(2))), (N5, reply(2, 1, accepted(2)))]);
    leader.sync();
    leader.deliver_all([(N2, reply(2, 1, accepted(3))), (N4, reply(2, 1, accepted(3)))]);
    assert_eq!((leader.commit(), last_payload(&leader)), (3, "members n1,n4,n5".to_owned()));
    leader.sync();
    leader.deliver_all([(N2, reply(2, 1, accepted(4))), (N3, reply(2, 1, accepted(4)))]);
    assert_eq!(leader.commit(), 3, "n2 and n3 do not vote any more");
    leader.deliver(N5, reply(2, 1, accepted(4)));
    assert_eq!(leader.commit(), 4);
    leader.advance(50);
    let sent = leader.fire(Timer::Heartbeat);
    assert!(sent.appends(N2).is_empty() && !sent.appends(N4).is_empty());
    let status = leader.host.core().status();
    assert_eq!(
        (
            status.members.clone().expect("Raft has members").voters.into_keys().collect::<Vec<_>>(),
            status.is_changing()
        ),
        (vec![N1, N4, N5], false)
    );
}

/// §6: whoever leads next completes what was begun.
#[test]
fn a_new_leader_completes_the_change_that_it_finds_in_its_log() {
    drop(protocol::reached::take());
    let mut replica = Solo::follower(1, &[1]);
    replica.deliver(N2, configuration(2, 1, joint(&[1, 2, 3], &[1, 2])));
    replica.sync();
    replica.win();
    assert_eq!(last_payload(&replica), "noop");
    replica.deliver(N2, reply(2, 1, accepted(3)));
    assert_eq!(last_payload(&replica), "members n1,n2");
    assert_eq!(protocol::reached::take()["a leader completes the change that an earlier one began"], 1);
}

/// §6, and diss. §4.2.2: "the leader … replicates log entries but does not count itself in majorities"; and it steps down
/// "once it has committed the C_new log entry".
#[test]
fn a_leader_that_removes_itself_does_not_count_itself_and_steps_down_in_the_end() {
    let mut leader = leader();
    leader.change(&[2, 3]);
    leader.sync();
    leader.deliver_all([(N2, reply(2, 1, accepted(3))), (N3, reply(2, 1, accepted(3)))]);
    assert_eq!(last_payload(&leader), "members n2,n3");
    leader.sync();
    leader.deliver(N2, reply(2, 1, accepted(4)));
    assert_eq!((leader.commit(), leader.role().as_str()), (3, "leader"), "n2 is half of n2, n3");
    let sent = leader.deliver(N3, reply(2, 1, accepted(4)));
    assert_eq!((leader.commit(), leader.role().as_str()), (4, "follower"));
    assert!(sent.printed().last().unwrap().ends_with("TimeoutNow t2"), "{:?}", sent.printed());
    leader.advance(5000);
    assert!(leader.fire(Timer::Election).printed().is_empty(), "it knows that it is left out");
}

/// Diss. §4.2.2: "a server that is not part of its own latest configuration should still start new elections", because
/// nobody else may have so long a log.
#[test]
fn whoever_is_left_out_seeks_election_until_it_knows_that_the_change_is_committed() {
    for (commit, sought) in [(0, true), (3, false)] {
        let mut replica = Solo::follower(1, &[1]);
        replica.deliver(N2, configuration(2, 1, joint(&[1, 2, 3], &[2, 3])));
        replica.deliver(N2, configuration(3, 1, Configuration::of(members(&[2, 3]))));
        replica.deliver(N2, append(1, id(3, 1), commit, &[]));
        replica.sync();
        replica.advance(2000);
        let sent = replica.fire(Timer::Election);
        assert_eq!(!sent.printed().is_empty(), sought, "with {commit} committed: {:?}", sent.printed());
    }
}

/// Diss. §4.2.2: such a leader leads a group that it is no part of, and only until the change is committed.
#[test]
fn whoever_is_left_out_leads_by_the_others_votes_and_commits_by_their_disks() {
    let mut replica = Solo::follower(1, &[1]);
    replica.deliver(N2, configuration(2, 1, joint(&[1, 2, 3], &[2, 3])));
    replica.deliver(N2, configuration(3, 1, Configuration::of(members(&[2, 3]))));
    replica.sync();
    replica.advance(2000);
    replica.fire(Timer::Election);
    replica.deliver(N2, pre_vote(2, true));
    assert_eq!(replica.role(), "pre-candidate", "its own word is not asked for");
    replica.deliver(N3, pre_vote(2, true));
    replica.sync();
    replica.deliver_all([(N2, vote(2, true)), (N3, vote(2, true))]);
    replica.sync();
    assert_eq!(replica.role(), "leader");
    replica.deliver(N2, reply(2, 1, accepted(4)));
    assert_eq!(replica.commit(), 0, "half of n2, n3");
    replica.deliver(N3, reply(2, 1, accepted(4)));
    assert_eq!((replica.commit(), replica.role().as_str()), (4, "follower"));
}

/// §6: a configuration that is overwritten has never counted for anything that was decided.
#[test]
fn a_configuration_that_is_cut_off_gives_way_to_the_one_before() {
    let mut replica = Solo::follower(1, &[1]);
    let founders = replica.host.core().configuration().clone();
    replica.deliver(N2, configuration(2, 1, joint(&[1, 2, 3], &[1, 4])));
    replica.sync();
    assert_eq!(replica.host.core().configuration(), &joint(&[1, 2, 3], &[1, 4]));
    replica.restart();
    assert_eq!(replica.host.core().configuration(), &joint(&[1, 2, 3], &[1, 4]));
    replica.deliver(N3, append(2, id(1, 1), 0, &[2]));
    replica.sync();
    assert_eq!(replica.host.core().configuration(), &founders);
    replica.restart();
    assert_eq!(replica.host.core().configuration(), &founders);
}

/// §7: a snapshot holds the configuration as of its last entry.
#[test]
fn a_configuration_outlives_the_entry_that_made_it() {
    let options = Options { snapshot_every_entries: 3, log_keep_entries: 0, ..Options::default() };
    let mut leader = Solo::leader(1, &[], options);
    leader.deliver(N2, reply(1, 1, accepted(1)));
    leader.change(&[1, 2]);
    for index in 2..=6 {
        leader.sync();
        leader.deliver(N2, reply(1, 1, accepted(index)));
        leader.io();
        leader.advance(50);
        leader.fire(Timer::Heartbeat);
        leader.request(Routing::Leader, write("x", "1"));
    }
    leader.sync();
    assert_eq!(leader.host.core().log().base().index, LogIndex(6));
    leader.restart();
    assert_eq!(leader.host.core().configuration(), &Configuration::of(members(&[1, 2])));
}

/// §7: of what is behind its last entry, a snapshot knows nothing.
#[test]
fn a_snapshot_does_not_hold_a_configuration_that_may_yet_be_cut_off() {
    let options = Options { snapshot_every_entries: 1, log_keep_entries: 0, ..Options::default() };
    let mut replica = Solo::with(options);
    replica.deliver(N2, append(1, LogId::ZERO, 0, &[1]));
    replica.deliver(N2, configuration(2, 1, joint(&[1, 2, 3], &[1, 4])));
    replica.deliver(N2, append(1, id(2, 1), 1, &[]));
    replica.sync();
    replica.io();
    replica.sync();
    assert_eq!(replica.host.core().log().base(), id(1, 1));
    replica.restart();
    assert_eq!(replica.host.core().configuration(), &joint(&[1, 2, 3], &[1, 4]), "it is in the log");
    replica.deliver(N3, append(2, id(1, 1), 0, &[2]));
    replica.sync();
    assert_eq!(replica.host.core().configuration(), &Configuration::of(members(&[1, 2, 3])));
}

/// Diss. §4.1: "servers process incoming RPC requests without consulting their current configurations."
#[test]
fn a_replica_follows_and_votes_for_whom_its_configuration_does_not_name() {
    let mut replica = Solo::follower(1, &[1]);
    replica.deliver(N4, request_vote(2, id(1, 1)));
    replica.sync();
    assert_eq!(replica.last_hard_state(), Some((2, Some(N4))));
    replica.deliver(N4, append(2, id(1, 1), 1, &[2]));
    assert_eq!((replica.terms(), replica.host.core().status().leader), (vec![1, 2], Some(N4)));
}

/// A replica that is no member: n1 in the second life of its disk.
fn stranger() -> Solo {
    let mut stranger = Solo::new();
    stranger.host.crash(0);
    crate::host::wipe(&mut stranger.host);
    stranger.host.start(9, stranger.now).unwrap();
    stranger
}

fn life(replica: ReplicaId) -> Member {
    Member { replica, incarnation: Incarnation(1) }
}

#[test]
fn a_wiped_replica_neither_votes_nor_seeks_election_as_what_it_was() {
    let mut stranger = stranger();
    stranger.advance(5000);
    assert!(stranger.fire(Timer::Election).printed().is_empty());
    for question in [Message::PreVote(ask(1, LogId::ZERO)), request_vote(1, LogId::ZERO)] {
        assert!(stranger.deliver(N2, question).printed().is_empty());
    }
    assert_eq!((stranger.term(), stranger.metric("messages_dropped_of_another_life")), (0, 2));
    let mut question = ask(1, LogId::ZERO);
    question.voter = Incarnation(1);
    stranger.deliver(N2, Message::RequestVote(question));
    let sent = stranger.sync();
    assert_eq!(sent.printed(), ["durable n2 RequestVoteReply t1 granted by i1"], "its own vote it gives");
}

#[test]
fn a_wiped_replica_seeks_election_when_a_configuration_names_what_it_is() {
    let mut stranger = stranger();
    stranger.deliver(N2, append(1, LogId::ZERO, 0, &[1]));
    let lives = [(N1, Incarnation(1)), (N2, Incarnation(0)), (N3, Incarnation(0))];
    let replaced = Members::new(lives.into()).unwrap();
    stranger
        .deliver(N2, configuration(2, 1, Configuration { old: Some(members(&[1, 2, 3])), new: replaced }));
    stranger.sync();
    stranger.advance(2000);
    let sent = stranger.fire(Timer::Election);
    assert_eq!(
        sent.printed(),
        ["early n2 PreVote t2 last 2/t1 by i1", "early n3 PreVote t2 last 2/t1 by i1"]
    );
}

#[test]
fn answers_of_another_life_do_not_count() {
    let mut candidate = Solo::follower(1, &[1]);
    candidate.fire(Timer::Election);
    let reply = |term, granted| raft::VoteReply { term: raft::Term(term), granted, voter: Incarnation(1) };
    candidate.deliver_all([N2, N3].map(|from| (from, Message::PreVoteReply(reply(2, true)))));
    assert_eq!(candidate.role(), "pre-candidate");
    candidate.deliver(N2, pre_vote(2, true));
    candidate.sync();
    candidate.deliver_all([N2, N3].map(|from| (from, Message::RequestVoteReply(reply(2, true)))));
    assert_eq!(candidate.role(), "candidate");

    let mut leader = leader();
    leader.request(Routing::Leader, write("x", "1"));
    leader.sync();
    let acknowledged = raft::AppendReply {
        term: raft::Term(2),
        follower: Incarnation(1),
        round: raft::Round(1),
        outcome: accepted(3),
    };
    leader.deliver_all([N2, N3].map(|from| (from, Message::AppendReply(acknowledged))));
    assert_eq!((leader.commit(), leader.metric("messages_dropped_stranger")), (2, 2));
}

/// Two lives of a candidate are two candidates.
#[test]
fn a_vote_for_one_life_is_none_for_the_next() {
    let mut replica = Solo::follower(1, &[1]);
    replica.deliver(N3, request_vote(2, id(1, 1)));
    replica.sync();
    let mut question = ask(2, id(1, 1));
    question.candidate = Incarnation(1);
    let sent = replica.deliver(N3, Message::RequestVote(question));
    assert_eq!(sent.printed(), ["early n3 RequestVoteReply t2 refused"]);
}

#[test]
fn a_wiped_replica_is_put_in_its_own_place_and_an_earlier_life_is_not() {
    let mut leader = leader();
    let replaced = |incarnation| AdminRequest::ChangeMembers {
        voters: [(N1, Incarnation(0)), (N2, Incarnation(incarnation)), (N3, Incarnation(0))].into(),
    };
    assert_eq!(leader.admin(replaced(1)).0, AdminReply::Accepted);
    leader.deliver(N2, reply(2, 1, accepted(2)));
    assert_eq!(last_payload(&leader), "noop", "not who has to catch up");
    let caught_up = raft::AppendReply {
        term: raft::Term(2),
        follower: Incarnation(1),
        round: raft::Round(1),
        outcome: accepted(2),
    };
    leader.deliver(N2, Message::AppendReply(caught_up));
    assert_eq!(last_payload(&leader), "members n1,n2,n3 and n1,n2i1,n3");
    leader.sync();
    leader.deliver(N3, reply(2, 1, accepted(3)));
    leader.sync();
    leader.deliver(N3, reply(2, 1, accepted(4)));
    let configuration = leader.host.core().configuration();
    assert!(configuration.new.contains(life(N2)) && leader.commit() == 4);
    assert!(refusal(leader.admin(replaced(0)).0).contains("n2 was followed by i1"));
    let other_self = AdminRequest::ChangeMembers { voters: [(N1, Incarnation(1))].into() };
    assert!(refusal(leader.admin(other_self).0).contains("n1 leads"));
}

/// Two changes that overlap could have majorities that do not meet.
#[test]
fn there_is_one_change_at_a_time() {
    let mut leader = leader();
    assert_eq!(leader.change(&[1, 2, 3]).0, AdminReply::Accepted, "nothing to do");
    assert_eq!(leader.terms().len(), 2);
    assert_eq!(leader.change(&[1, 2]).0, AdminReply::Accepted);
    assert!(refusal(leader.change(&[1, 3]).0).contains("under way"));
    leader.sync();
    leader.deliver(N2, reply(2, 1, accepted(3)));
    assert_eq!(last_payload(&leader), "members n1,n2");
    assert!(refusal(leader.change(&[1, 3]).0).contains("under way"), "C_new is not committed");
    leader.sync();
    leader.deliver(N2, reply(2, 1, accepted(4)));
    assert_eq!(leader.change(&[1, 2, 3]).0, AdminReply::Accepted);
}
