//! Links between replicas: that messages pass, and that each fault bites and heals.

mod support;

use kv::{Response, Routing};
use protocol::control::{ClockSetting, ControlRequest, LinkCondition, LinkConditions, OneWayCondition};
use protocol::{NodeId, ReplicaId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::client::{Control, write};
use support::local::Group;
use support::wait_for;

const HOUR_MS: u64 = 3_600_000;
const BLOCKED: LinkCondition = LinkCondition {
    blocked: true,
    latency_us: 0,
    jitter_us: 0,
    loss: 0.0,
    duplicate: 0.0,
    reorder: 0.0,
    reorder_us: 0,
    rate_bytes_s: 0,
};

fn outbound(to: u32, condition: impl Into<OneWayCondition>) -> BTreeMap<NodeId, LinkConditions> {
    [(NodeId(to), LinkConditions { outbound: condition.into(), ..Default::default() })].into()
}

fn inbound(from: u32, condition: impl Into<OneWayCondition>) -> BTreeMap<NodeId, LinkConditions> {
    [(NodeId(from), LinkConditions { inbound: condition.into(), ..Default::default() })].into()
}

/// On messages of one kind, and on no others.
fn on(kind: &str, condition: LinkCondition) -> OneWayCondition {
    OneWayCondition { kinds: [(kind.to_owned(), condition)].into(), ..OneWayCondition::default() }
}

fn set(control: &mut Control, links: BTreeMap<NodeId, LinkConditions>, lease_ms: u64) {
    control.ask(&ControlRequest::SetLinks { links, lease_ms }).expect("in bounds");
}

#[test]
fn a_write_reaches_all_replicas() {
    let group = Group::start(3);
    let mut client = group.nodes[0].client(1);
    for number in 0..50 {
        client.put(&format!("key {number}"), "value");
    }
    let leader = group.nodes[0].control().status().core;
    assert_eq!((leader.state.count, leader.keys), (50, 50));
    for node in &group.nodes {
        let mut control = node.control();
        wait_for("the same state", || {
            (control.status().core.state.digest == leader.state.digest).then_some(())
        });
    }
    for node in group.nodes {
        node.stop();
    }
}

#[test]
fn a_blocked_link_stops_replication_until_it_is_healed() {
    let group = Group::start(3);
    let mut client = group.nodes[0].client(1);
    client.put("before", "1");
    let mut control = group.nodes[0].control();
    set(&mut control, outbound(2, BLOCKED), HOUR_MS);
    let id = client.send(write("during", "2"), Routing::Leader);
    let status = wait_for("lost messages", || {
        let status = control.status();
        (status.outbound[&NodeId(2)].blocked >= 3).then_some(status)
    });
    assert_eq!(status.core.state.count, 1, "the write went round a blocked link");
    assert_eq!(status.links, outbound(2, BLOCKED));
    assert_eq!(status.outbound[&NodeId(3)].blocked, 0);
    let healed = control.ask(&ControlRequest::Heal).expect("healed");
    assert_eq!((healed.links.len(), healed.leases_expired), (0, 0));
    let reply = client.receive().expect("an answer");
    assert_eq!((reply.id, reply.result), (id, Ok(Response::Done)));
}

#[test]
fn a_direction_is_blocked_by_itself() {
    let group = Group::start(3);
    let mut client = group.nodes[0].client(1);
    let (mut leader, mut follower) = (group.nodes[0].control(), group.nodes[1].control());
    // Only what the follower answers is lost, at the leader's end.
    set(&mut leader, inbound(2, BLOCKED), HOUR_MS);
    let id = client.send(write("key", "value"), Routing::Leader);
    wait_for("the follower has it", || (follower.status().core.state.count == 1).then_some(()));
    wait_for("its answer is lost", || (leader.status().inbound[&NodeId(2)].blocked >= 1).then_some(()));
    assert_eq!(leader.status().core.state.count, 0);
    leader.ask(&ControlRequest::Heal).expect("healed");
    assert_eq!(client.receive().expect("an answer").id, id);
}

#[test]
fn a_fault_heals_when_its_lease_runs_out_and_not_while_it_is_renewed() {
    let group = Group::start(2);
    let mut client = group.nodes[0].client(1);
    let mut control = group.nodes[0].control();
    set(&mut control, outbound(2, BLOCKED), 20);
    client.put("key", "value");
    let status = control.status();
    assert_eq!((status.links.len(), status.leases_expired), (0, 1));
    // Renewed by an hour at once, the next one outlives what would have been its end many times over.
    set(&mut control, outbound(2, BLOCKED), 20_000);
    control.ask(&ControlRequest::Renew { lease_ms: HOUR_MS }).expect("renewed");
    let lost = control.status().outbound[&NodeId(2)].blocked;
    wait_for("lost messages", || (control.status().outbound[&NodeId(2)].blocked > lost + 3).then_some(()));
    assert_eq!(control.status().leases_expired, 1);
}

#[test]
fn every_other_condition_bites_and_lets_the_rest_through() {
    let group = Group::start(2);
    let mut client = group.nodes[0].client(1);
    let mut control = group.nodes[0].control();
    let conditions = [
        LinkCondition { latency_us: 2_000, jitter_us: 1_000, ..Default::default() },
        LinkCondition { loss: 0.3, ..Default::default() },
        LinkCondition { duplicate: 0.5, ..Default::default() },
        LinkCondition { reorder: 0.5, reorder_us: 3_000, ..Default::default() },
        LinkCondition { rate_bytes_s: 20_000, ..Default::default() },
    ];
    let mut number = 0;
    for condition in conditions {
        for links in [outbound(2, condition), inbound(2, condition)] {
            set(&mut control, links, HOUR_MS);
            for _ in 0..20 {
                number += 1;
                client.put(&format!("key {number}"), "value");
            }
        }
    }
    let status = control.ask(&ControlRequest::Heal).expect("healed");
    for counters in [status.outbound[&NodeId(2)], status.inbound[&NodeId(2)]] {
        let bit = [
            counters.delayed,
            counters.lost,
            counters.duplicated,
            counters.reordered,
            counters.throttled,
            counters.passed,
        ];
        assert!(bit.iter().all(|count| *count > 0), "{counters:?}");
    }
    let applied = control.status().core;
    assert_eq!(applied.keys, number);
    let mut follower = group.nodes[1].control();
    wait_for("the same state", || {
        (follower.status().core.state.digest == applied.state.digest).then_some(())
    });
}

/// The leader replicates, and the follower says how much it has: two kinds, one each way.
#[test]
fn one_kind_of_messages_is_lost_and_the_other_passes() {
    let group = Group::start(2);
    let (mut leader, mut follower) = (group.nodes[0].control(), group.nodes[1].control());
    wait_for("a connection", || (group.nodes[0].metric("peer_connections ") == 1).then_some(()));
    let mut client = group.nodes[0].client(1);
    let lossy = LinkCondition { loss: 1.0, ..Default::default() };
    // What the follower says of itself gets lost at its own end; what it is sent does not.
    for end in ["follower", "leader"] {
        match end {
            "follower" => set(&mut follower, outbound(1, on("have", lossy)), HOUR_MS),
            _ => set(&mut leader, inbound(2, on("have", lossy)), HOUR_MS),
        }
        let before = leader.status().core.state.count;
        let id = client.send(write("key", end), Routing::Leader);
        wait_for("the follower has it", || (follower.status().core.state.count > before).then_some(()));
        let status = wait_for("its word is lost", || {
            let (told, telling) = (leader.status(), follower.status());
            let counters = match end {
                "follower" => telling.outbound_kinds.get(&NodeId(1))?["have"],
                _ => told.inbound_kinds.get(&NodeId(2))?["have"],
            };
            (counters.lost > 0).then_some(told)
        });
        assert_eq!(status.core.state.count, before, "the leader was not told");
        let healed = [leader.ask(&ControlRequest::Heal), follower.ask(&ControlRequest::Heal)];
        assert_eq!(client.receive().expect("an answer").id, id);
        for status in healed.map(|reply| reply.expect("healed")) {
            assert!(status.links.is_empty(), "{status:?}");
            let others = status.outbound.values().chain(status.inbound.values());
            assert_eq!(others.map(|counters| counters.lost).sum::<u64>(), 0, "of no other kind");
        }
    }
    // And of the other kind nothing is lost while none is sent that way.
    set(&mut follower, outbound(1, on("replicate", lossy)), HOUR_MS);
    client.put("key", "again");
    assert_eq!(follower.status().outbound_kinds[&NodeId(1)]["replicate"].lost, 0);
    let unknown = ControlRequest::SetLinks { links: outbound(1, on("hello", lossy)), lease_ms: HOUR_MS };
    let error = follower.ask(&unknown).expect_err("there is no such kind");
    assert!(error.contains("no messages of kind `hello`, the kinds are replicate, have"), "{error}");
}

#[test]
fn a_distance_is_there_before_and_after_every_fault() {
    let one_way = Duration::from_millis(30);
    let us = u64::try_from(one_way.as_micros()).expect("a moment");
    let group = Group::start_configured(2, |configs| {
        configs[0].distance_us = [(NodeId(2), us)].into();
        configs[1].distance_us = [(NodeId(1), us)].into();
    });
    let mut client = group.nodes[0].client(1);
    let mut control = group.nodes[0].control();
    let mut put = || {
        let begun = Instant::now();
        client.put("key", "value");
        begun.elapsed()
    };
    put();
    let near = put();
    assert!(near >= 2 * one_way && near < 10 * one_way, "{near:?}");
    let status = control.status();
    assert!(
        status.links.is_empty() && status.outbound[&NodeId(2)].delayed == 0,
        "it is no fault: {status:?}"
    );
    set(&mut control, outbound(2, LinkCondition { latency_us: 200_000, ..Default::default() }), HOUR_MS);
    let late = put();
    assert!(late >= 2 * one_way + Duration::from_millis(200), "{late:?}");
    control.ask(&ControlRequest::Heal).expect("healed");
    let healed = put();
    assert!(healed >= 2 * one_way && healed < 10 * one_way, "{healed:?}");
}

#[test]
fn a_clock_fault_is_told_of_itself_and_heals_with_its_lease() {
    let group = Group::start(1);
    let mut control = group.nodes[0].control();
    let set = |offset_us, rate, lease_ms| ControlRequest::SetClock {
        clock: ClockSetting { offset_us, rate },
        lease_ms,
    };
    let ahead = control.ask(&set(5_000_000, 1.0, HOUR_MS)).expect("in bounds");
    assert_eq!(ahead.clock_error_us, 5_000_000);
    // Back to the truth: the clock stands until it is caught up with, it does not run back.
    let healed = control.ask(&ControlRequest::Heal).expect("healed");
    assert!((1..=5_000_000).contains(&healed.clock_error_us), "{}", healed.clock_error_us);
    // A fast clock makes its timers fire the sooner.
    let ticks = control.ask(&set(10_000_000, 1_000.0, 60)).expect("in bounds").core.metrics["ticks"];
    wait_for("the lease to run out", || (control.status().leases_expired == 1).then_some(()));
    let status = control.status();
    assert_eq!(status.clock, ClockSetting::default());
    assert!(status.core.metrics["ticks"] > ticks, "{status:?}");
}

#[test]
fn a_silent_replica_speaks_again_when_its_lease_runs_out() {
    let group = Group::start(2);
    let (mut leader, mut follower) = (group.nodes[0].control(), group.nodes[1].control());
    let silence = |lease_ms| ControlRequest::SetAdversary { spec: Some("silence".into()), lease_ms };
    follower.ask(&silence(HOUR_MS)).expect("a replica can be silent");
    let mut client = group.nodes[0].client(1);
    let id = client.send(write("key", "value"), Routing::Leader);
    wait_for("the follower has it", || (follower.status().core.state.count == 1).then_some(()));
    let withheld =
        wait_for("it says nothing", || Some(follower.status().tampered.withheld).filter(|n| *n > 0));
    assert_eq!(leader.status().core.state.count, 0, "the leader was not told");
    follower.ask(&silence(20)).expect("for a moment more");
    assert_eq!(client.receive().expect("an answer").id, id);
    let status = follower.status();
    assert_eq!((status.adversary, status.leases_expired), (None, 1));
    assert!(status.tampered.withheld >= withheld);
}

#[test]
fn twins_hear_what_the_routes_say_and_are_both_heard() {
    // n2 and n3 stand for replica 2, which n1 replicates to.
    let group = Group::start_configured(3, |configs| {
        configs.iter_mut().for_each(|config| config.twins = [(NodeId(3), ReplicaId(2))].into());
    });
    let mut controls: Vec<_> = group.nodes.iter().map(|node| node.control()).collect();
    wait_for("connections", || (group.nodes[0].metric("peer_connections ") == 2).then_some(()));
    let mut client = group.nodes[0].client(1);
    client.put("to", "both");
    for twin in &mut controls[1..] {
        wait_for("a twin has it", || (twin.status().core.state.count == 1).then_some(()));
    }

    let to_n3 = ControlRequest::SetRoutes { routes: [(ReplicaId(2), [NodeId(3)].into())].into() };
    controls[0].ask(&to_n3).expect("n3 stands for replica 2");
    client.put("to", "n3, which answers as replica 2");
    wait_for("n3 has it", || (controls[2].status().core.state.count == 2).then_some(()));
    assert_eq!(controls[1].status().core.state.count, 1, "n2 heard of it");

    let mut heard = || controls[1].status().inbound[&NodeId(1)].passed;
    let before = heard();
    assert!(group.nodes[0].control().ask(&ControlRequest::Heal).expect("healed").routes.is_empty());
    wait_for("n2 hears n1 again", || (heard() > before).then_some(()));
    let to_n1 = ControlRequest::SetRoutes { routes: [(ReplicaId(2), [NodeId(1)].into())].into() };
    let refused = controls[0].ask(&to_n1).expect_err("n1 is somebody else");
    assert_eq!(refused, "node 1 does not stand for replica 2");
}

#[test]
fn nonsense_on_the_control_socket_is_answered_and_changes_nothing() {
    let group = Group::start(2);
    let mut control = group.nodes[0].control();
    for (line, reason) in [
        ("{", "not understood"),
        ("{\"reboot\":{}}", "reboot"),
        ("{\"set_links\":{\"links\":{\"2\":{\"outbound\":{\"los\":1}}},\"lease_ms\":9}}", "los"),
        (
            "{\"set_links\":{\"links\":{\"2\":{\"outbound\":{\"all\":{\"loss\":1.5}}}},\"lease_ms\":9}}",
            "loss of 1.5",
        ),
        ("{\"set_links\":{\"links\":{\"7\":{}},\"lease_ms\":9}}", "n7 is no peer"),
        ("{\"set_clock\":{\"clock\":{\"offset_us\":0,\"rate\":-1},\"lease_ms\":9}}", "clock rate -1"),
        (
            "{\"set_adversary\":{\"spec\":\"rudeness\",\"lease_ms\":9}}",
            "no adversary of naive: unknown variant",
        ),
    ] {
        let answer = control.line(line);
        assert!(answer.contains("error") && answer.contains(reason), "{line}: {answer}");
    }
    let endless = "x".repeat(300 << 10);
    assert_eq!(control.line(&endless), "", "a line without end is hung up on");
    let status = group.nodes[0].control().status();
    assert_eq!((status.links.len(), status.clock), (0, ClockSetting::default()));
    assert_eq!(status.adversary, None);
}

#[test]
fn only_its_owner_may_use_the_control_socket() {
    use std::os::unix::fs::PermissionsExt;
    let group = Group::start(1);
    let mode = std::fs::metadata(&group.nodes[0].ready.control).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
