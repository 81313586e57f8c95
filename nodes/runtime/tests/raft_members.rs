//! A Raft group of processes whose members change: three founders, and a node that waits outside.

mod support;

use protocol::control::NodeStatus;
use protocol::{AdminReply, AdminRequest, Incarnation, ReplicaId};
use runtime::{Durability, NodeConfig};
use std::collections::BTreeMap;
use std::path::Path;
use support::client::{Client, Control};
use support::cluster::{Process, group, http};
use support::wait_for;
use tempfile::TempDir;

type Voters = BTreeMap<ReplicaId, Incarnation>;

struct Group {
    nodes: BTreeMap<ReplicaId, Process>,
    configs: BTreeMap<ReplicaId, NodeConfig>,
    sessions: u64,
    keys: u32,
    _folder: TempDir,
}

fn start(config: &NodeConfig) -> Process {
    Process::start(Path::new(env!("CARGO_BIN_EXE_raft-node")), config).expect("it starts")
}

impl Group {
    fn start() -> Group {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // A log so short that whoever comes late needs a snapshot.
        let options =
            serde_yaml::from_str("{snapshot_every_entries: 40, log_keep_entries: 5}").expect("YAML");
        let mut configs = BTreeMap::new();
        for mut config in group(folder.path(), 4, Durability::Fsync, &options) {
            config.members = Some((1..=3).map(ReplicaId).collect());
            configs.insert(config.replica(), config);
        }
        let nodes = configs.iter().map(|(id, config)| (*id, start(config))).collect();
        Group { nodes, configs, sessions: 0, keys: 0, _folder: folder }
    }

    fn control(&self, id: ReplicaId) -> Control {
        Control::connect(&self.nodes[&id].ready.control)
    }

    /// The node that leads in the highest term.
    fn leader(&self) -> ReplicaId {
        wait_for("a leader", || {
            let statuses = self.nodes.keys().map(|id| (*id, self.control(*id).status().core));
            let leaders = statuses.filter(|(_, status)| status.leads);
            leaders.max_by_key(|(_, status)| status.epoch).map(|(id, _)| id)
        })
    }

    /// Has whoever leads carry out a request.
    fn ask(&self, request: &AdminRequest) {
        wait_for("the request to be accepted", || {
            (self.control(self.leader()).admin(request.clone()) == AdminReply::Accepted).then_some(())
        });
    }

    /// Changes the voters, and waits until all nodes that run and vote know that it is done.
    fn change(&self, voters: &Voters) {
        self.ask(&AdminRequest::ChangeMembers { voters: voters.clone() });
        for id in voters.keys() {
            wait_for("the change to be done", || {
                let status = self.control(*id).status().core;
                (status.certain_voters() == Some(voters)).then_some(())
            });
        }
    }

    /// Writes some more through whichever node accepts it.
    fn put(&mut self, count: u32) {
        for _ in 0..count {
            self.sessions += 1;
            let (session, key) = (self.sessions, self.keys);
            wait_for("a write to be accepted", || {
                let mut client = Client::connect(self.nodes[&self.leader()].ready.client, session);
                let command = support::client::write(&format!("key {key}"), "value");
                let answer = client.ask_if_there(command, kv::Routing::Leader);
                matches!(answer, Some(Ok(_))).then_some(())
            });
            self.keys += 1;
        }
    }

    /// Waits until these nodes have all that was written, and one state.
    fn agree(&self, voters: &Voters) {
        wait_for("the same state everywhere", || {
            let statuses: Vec<_> = voters.keys().map(|id| self.control(*id).status().core).collect();
            let same = |status: &protocol::Status| {
                status.keys == u64::from(self.keys) && status.state == statuses[0].state
            };
            statuses.iter().all(same).then_some(())
        });
    }

    /// A node loses its disk, and comes back as somebody who has promised nothing.
    fn wipe(&mut self, id: ReplicaId) {
        self.nodes.remove(&id).expect("it runs").kill();
        let config = self.configs.get_mut(&id).expect("a node");
        std::fs::remove_dir_all(&config.data_dir).expect("its data folder");
        config.incarnation.0 += 1;
        let node = start(config);
        self.nodes.insert(id, node);
    }
}

fn voters(lives: &[(u32, u32)]) -> Voters {
    lives.iter().map(|&(id, life)| (ReplicaId(id), Incarnation(life))).collect()
}

#[test]
fn members_come_and_go_and_come_back_with_new_disks() {
    let mut group = Group::start();
    group.put(60);
    let outside = group.control(ReplicaId(4)).status().core;
    assert_eq!(
        (outside.state.count, outside.members.expect("Raft has members").voters),
        (0, voters(&[(1, 0), (2, 0), (3, 0)]))
    );

    let four = voters(&[(1, 0), (2, 0), (3, 0), (4, 0)]);
    group.change(&four);
    group.agree(&four);

    // The leader leaves, and the others go on at once.
    let first = group.leader();
    let mut three = four;
    three.remove(&first);
    group.change(&three);
    group.put(60);
    group.agree(&three);
    assert_ne!(group.leader(), first);

    // A follower's disk is lost. What comes back is nobody until it is put in the old one's place.
    let leader = group.leader();
    let victim = *three.keys().find(|id| **id != leader).expect("two follow");
    group.wipe(victim);
    group.put(10);
    let stranger = group.control(victim).status().core;
    assert!(!stranger.leads && stranger.state.count == 0, "{stranger:?}");
    let mut renewed = three.clone();
    renewed.insert(victim, Incarnation(1));
    group.change(&renewed);
    group.agree(&renewed);

    // It may lead, and says so itself.
    group.ask(&AdminRequest::TransferLeadership { to: victim });
    wait_for("the heir to lead", || (group.leader() == victim).then_some(()));
    group.put(10);
    group.agree(&renewed);
    let (code, body) = http(group.nodes[&victim].ready.http, "GET", "/status", "");
    let status: NodeStatus = serde_json::from_str(&body).expect("a status");
    assert_eq!((code, status.core.certain_voters()), (200, Some(&renewed)));

    // Its disk is as good as any other by now.
    group.nodes.remove(&victim).expect("it runs").kill();
    let node = start(&group.configs[&victim]);
    group.nodes.insert(victim, node);
    group.put(10);
    group.agree(&renewed);
}

#[test]
fn a_node_says_why_it_does_not_do_what_an_operator_asks() {
    let group = Group::start();
    let leader = group.leader();
    let other = *group.nodes.keys().find(|id| **id != leader).expect("there are four");
    let nobody = AdminRequest::ChangeMembers { voters: Voters::new() };
    let answer = group.control(leader).admin(nobody);
    assert!(matches!(answer, AdminReply::Refused { .. }), "{answer:?}");
    let transfer = AdminRequest::TransferLeadership { to: other };
    let answer = group.control(other).admin(transfer);
    assert!(matches!(answer, AdminReply::NotLeader { .. }), "{answer:?}");
}
