//! Three Raft nodes as processes: the driver and the core together.

mod support;

use kv::{Response, Routing};
use protocol::NodeId;
use protocol::control::{ControlRequest, LinkCondition, LinkConditions, NodeStatus};
use runtime::{Durability, NodeConfig};
use std::path::Path;
use support::client::{Client, Control, write};
use support::cluster::{Process, group, http};
use support::wait_for;
use tempfile::TempDir;

/// A group; a node that is down is `None`.
struct Raft {
    nodes: Vec<Option<Process>>,
    configs: Vec<NodeConfig>,
    _folder: TempDir,
}

fn start(config: &NodeConfig) -> Process {
    Process::start(Path::new(env!("CARGO_BIN_EXE_raft-node")), config).expect("it starts")
}

impl Raft {
    fn start(options: &str) -> Raft {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = serde_yaml::from_str(options).expect("YAML");
        let configs = group(folder.path(), 3, Durability::Fsync, &options);
        let nodes = configs.iter().map(|config| Some(start(config))).collect();
        Raft { nodes, configs, _folder: folder }
    }

    fn restart(&mut self, index: usize) {
        self.nodes[index] = Some(start(&self.configs[index]));
    }

    fn kill(&mut self, index: usize) {
        self.nodes[index].take().expect("it runs").kill();
    }

    fn control(&self, index: usize) -> Control {
        Control::connect(&self.nodes[index].as_ref().expect("it runs").ready.control)
    }

    fn statuses(&self) -> Vec<(usize, NodeStatus)> {
        let running = self.nodes.iter().enumerate().filter(|(_, node)| node.is_some());
        running.map(|(index, _)| (index, self.control(index).status())).collect()
    }

    /// The node that leads in the highest term, other than `not`.
    fn leader(&self, not: Option<usize>) -> usize {
        wait_for("a leader", || {
            let leaders = self
                .statuses()
                .into_iter()
                .filter(|(index, status)| status.core.leads && Some(*index) != not);
            leaders.max_by_key(|(_, status)| status.core.epoch).map(|(index, _)| index)
        })
    }

    /// Puts through whichever node accepts it.
    fn put(&self, session: u64, keys: std::ops::Range<u32>) {
        let leader = self.leader(None);
        let mut client = Client::connect(self.nodes[leader].as_ref().expect("it runs").ready.client, session);
        for key in keys {
            client.put(&format!("key {key}"), &format!("value {key}"));
        }
    }

    fn wait_until_all_agree(&self) -> NodeStatus {
        wait_for("the same state everywhere", || {
            let statuses = self.statuses();
            let (_, first) = &statuses[0];
            let same = |(_, status): &(usize, NodeStatus)| status.core.state == first.core.state;
            statuses.iter().all(same).then(|| first.clone())
        })
    }
}

#[test]
fn writes_survive_the_death_of_the_leader_and_reach_it_when_it_is_back() {
    let mut raft = Raft::start("{}");
    raft.put(1, 0..20);
    let first = raft.leader(None);
    raft.kill(first);
    let second = raft.leader(None);
    raft.put(2, 20..40);
    raft.restart(first);
    let status = raft.wait_until_all_agree();
    assert_eq!(status.core.keys, 40);
    // All of them at once: what was acknowledged is on their disks.
    for index in 0..3 {
        raft.kill(index);
    }
    for index in 0..3 {
        raft.restart(index);
    }
    let leader = raft.leader(None);
    let mut client = Client::connect(raft.nodes[leader].as_ref().expect("it runs").ready.client, 3);
    for key in 0..40 {
        assert_eq!(
            client.get(&format!("key {key}")),
            Some(format!("value {key}")),
            "after {first}, {second}"
        );
    }
}

#[test]
fn an_isolated_leader_is_replaced_and_answers_nothing_new() {
    let raft = Raft::start("{}");
    raft.put(1, 0..5);
    let isolated = raft.leader(None);
    let blocked = LinkCondition { blocked: true, ..Default::default() };
    let both_ways = LinkConditions { outbound: blocked.into(), inbound: blocked.into() };
    let me = raft.configs[isolated].node;
    let links =
        (1..=3).map(NodeId).filter(|peer| *peer != me).map(|peer| (peer, both_ways.clone())).collect();
    raft.control(isolated).ask(&ControlRequest::SetLinks { links, lease_ms: 3_600_000 }).expect("peers");
    let mut stranded = Client::connect(raft.nodes[isolated].as_ref().expect("it runs").ready.client, 2);
    stranded.send(write("key 0", "stranded"), Routing::Leader);

    let successor = raft.leader(Some(isolated));
    let mut client = Client::connect(raft.nodes[successor].as_ref().expect("it runs").ready.client, 3);
    client.put("key 0", "new");
    let status = raft.control(isolated).status();
    assert!(status.outbound.values().all(|link| link.blocked > 0), "{status:?}");
    assert!(status.inbound.values().any(|link| link.blocked > 0), "{status:?}");
    assert!(status.core.state.count < raft.control(successor).status().core.state.count);

    raft.control(isolated).ask(&ControlRequest::Heal).expect("healed");
    raft.wait_until_all_agree();
    // It was told that it had not been done, or that nobody knows; it was not done.
    assert_ne!(stranded.receive().expect("an answer").result, Ok(Response::Done));
    assert_eq!(client.get("key 0").as_deref(), Some("new"));
}

#[test]
fn a_silent_leader_is_replaced_and_catches_up_when_it_is_correct_again() {
    let raft = Raft::start("{}");
    raft.put(1, 0..5);
    let silent = raft.leader(None);
    let mut control = raft.control(silent);
    let silence = ControlRequest::SetAdversary { spec: Some("silence".into()), lease_ms: 3_600_000 };
    let status = control.ask(&silence).expect("a replica can be silent");
    assert_eq!(status.adversary, Some("silence".into()));

    let successor = raft.leader(Some(silent));
    let mut client = Client::connect(raft.nodes[successor].as_ref().expect("it runs").ready.client, 3);
    client.put("key 0", "new");
    let status = wait_for("it follows, and says nothing", || {
        let status = control.status();
        (!status.core.leads && status.core.epoch >= raft.control(successor).status().core.epoch)
            .then_some(status)
    });
    assert!(status.tampered.withheld > 0, "{status:?}");
    assert!(status.links.is_empty(), "its links are clear");

    let healed = control.ask(&ControlRequest::Heal).expect("healed");
    assert_eq!((healed.adversary, healed.tampered.altered, healed.tampered.added), (None, 0, 0));
    raft.wait_until_all_agree();
    assert_eq!(client.get("key 0").as_deref(), Some("new"));
}

#[test]
fn a_replica_that_missed_what_the_log_has_forgotten_gets_a_snapshot() {
    let options = "{snapshot_every_entries: 50, log_keep_entries: 5, snapshot_chunk_bytes: 1000}";
    let mut raft = Raft::start(options);
    raft.put(1, 0..10);
    let away = (raft.leader(None) + 1) % 3;
    raft.kill(away);
    raft.put(2, 10..300);
    raft.restart(away);
    assert_eq!(raft.wait_until_all_agree().core.keys, 300);
    // Everybody starts again from a snapshot and what follows it.
    for index in 0..3 {
        raft.kill(index);
        raft.restart(index);
    }
    raft.leader(None);
    assert_eq!(raft.wait_until_all_agree().core.keys, 300);
}

#[test]
fn any_node_serves_people() {
    let raft = Raft::start("{}");
    let leader = raft.leader(None);
    let address = |index: usize| raft.nodes[index].as_ref().expect("it runs").ready.http;
    for offset in 0..3 {
        let through = address((leader + offset) % 3);
        let body = format!("{{\"key\":\"key {offset}\",\"value\":\"value\"}}");
        wait_for("the write to be accepted", || {
            (http(through, "POST", "/kv/put", &body).0 == 200).then_some(())
        });
    }
    for index in 0..3 {
        wait_for("a read of all", || {
            let (status, body) = http(address(index), "GET", "/kv/all", "");
            (status == 200 && body.matches("value\":\"value").count() == 3).then_some(())
        });
    }
}
