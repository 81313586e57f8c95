//! Nodes that speak TLS: that all that works without it works with it.

mod support;

use kv::{Command, Response, Routing};
use protocol::{NodeId, ReplicaId};
use runtime::Durability;
use runtime::tls::{Authority, Credentials, TlsFiles, VALID_FOR};
use std::net::TcpListener;
use std::path::Path;
use support::cluster::{Process, group, http_on};
use support::local::Group;
use support::tls::{connect, credentials, files};
use support::wait_for;
use tokio_rustls::rustls::{ServerConnection, StreamOwned};

const N1: ReplicaId = ReplicaId(1);

fn client(authority: &Authority) -> Credentials {
    credentials(authority, &authority.issue_client())
}

#[test]
fn three_nodes_replicate_and_serve() {
    let authority = Authority::new(VALID_FOR);
    let group = Group::start_secured(3, &authority);
    let shown = client(&authority);
    let mut writers: Vec<_> =
        (1..=4).map(|session| group.nodes[0].secured_client(N1, &shown, session)).collect();
    for number in 0..25 {
        for (session, writer) in writers.iter_mut().enumerate() {
            writer.put(&format!("key {session} {number}"), "value");
        }
    }
    let leader = group.nodes[0].control().status().core;
    assert_eq!((leader.state.count, leader.keys), (100, 100));
    for (node, id) in group.nodes.iter().zip(1..) {
        let mut control = node.control();
        wait_for("the same state", || {
            (control.status().core.state.digest == leader.state.digest).then_some(())
        });
        let mut reader = node.secured_client(ReplicaId(id), &shown, 9);
        assert_eq!(reader.get("key 3 24").as_deref(), Some("value"));
        let people = connect(node.ready.http, ReplicaId(id), &shown);
        let (status, body) = http_on(people, "GET", "/kv/get/key%200%200", "");
        assert_eq!((status, body.as_str()), (200, "{\"key\":\"key 0 0\",\"value\":\"value\"}"));
    }
    for node in group.nodes {
        node.stop();
    }
}

#[test]
fn large_values_pass_and_a_pipeline_is_answered() {
    let authority = Authority::new(VALID_FOR);
    let group = Group::start_secured(2, &authority);
    let shown = client(&authority);
    let mut client = group.nodes[0].secured_client(N1, &shown, 1);
    for number in 0..8 {
        client.put(&format!("key {number}"), &"x".repeat(1 << 20));
    }
    let scan = Command::Scan { start: "".into(), limit: 7 };
    let rows = client.ask(scan, Routing::Here).expect("an answer").expect("small enough");
    let Response::Rows(rows) = rows else { panic!("{rows:?}") };
    assert_eq!(rows.len(), 7);
    let ids: Vec<_> = (0..500)
        .map(|number| {
            let key = format!("key {}", number % 8);
            client.send(Command::Write { key: key.into(), value: "small".into() }, Routing::Leader)
        })
        .collect();
    for id in ids {
        let reply = client.receive().expect("an answer");
        assert_eq!((reply.id, reply.result), (id, Ok(Response::Done)));
    }
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_holds_up_nobody() {
    let authority = Authority::new(VALID_FOR);
    let group = Group::start_secured(1, &authority);
    let shown = client(&authority);
    let mut other = group.nodes[0].secured_client(N1, &shown, 1);
    other.put("large", &"x".repeat(1 << 20));
    let mut greedy = group.nodes[0].secured_client(N1, &shown, 2);
    for _ in 0..100 {
        greedy.send(Command::Read { key: "large".into() }, Routing::Here);
    }
    wait_for("the client to be dropped", || {
        other.put("key", "value");
        let people = connect(group.nodes[0].ready.http, N1, &shown);
        let (_, page) = http_on(people, "GET", "/metrics", "");
        page.contains("client_dropped_slow_total 1").then_some(())
    });
    let answers = std::iter::from_fn(|| greedy.receive().ok()).count();
    assert!(answers < 100, "all answers were kept for it");
}

/// Somebody else has taken a peer's address: nothing is said to it, whatever it can show.
#[test]
fn a_replica_speaks_only_to_the_peer_that_it_has_dialled() {
    let authority = Authority::new(VALID_FOR);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut configs = group(folder.path(), 2, Durability::Memory, &serde_yaml::Value::Null);
    support::tls::secure(&authority, &mut configs);
    let listener = TcpListener::bind(configs[0].peers[&NodeId(2)]).expect("n2 does not run");
    let _node = support::local::Local::start(&configs[0], 0).expect("it starts");
    let accept = |shown: &Credentials| {
        let (stream, _) = listener.accept().expect("n1 dials");
        let session = ServerConnection::new(shown.server()).expect("a session");
        let mut stream = StreamOwned::new(session, stream);
        let mut byte = [0];
        std::io::Read::read_exact(&mut stream, &mut byte).map(|()| byte[0])
    };
    let stranger = Authority::new(VALID_FOR).issue_replica(ReplicaId(2));
    for impostor in [authority.issue_replica(ReplicaId(3)), authority.issue_client(), stranger] {
        let error = accept(&credentials(&authority, &impostor)).expect_err("n1 must not speak to it");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    }
    accept(&credentials(&authority, &authority.issue_replica(ReplicaId(2)))).expect("a hello");
}

#[test]
fn a_file_that_cannot_be_used_is_named_and_the_node_does_not_start() {
    let (authority, other) = (Authority::new(VALID_FOR), Authority::new(VALID_FOR));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut config = group(folder.path(), 1, Durability::Memory, &serde_yaml::Value::Null).remove(0);
    let good = files(&config.data_dir, &authority, &authority.issue_replica(N1));
    let elsewhere = files(&folder.path().join("other"), &other, &other.issue_replica(ReplicaId(2)));
    for (tls, file, reason) in [
        (TlsFiles { ca: "/nowhere/ca.pem".into(), ..good.clone() }, "/nowhere/ca.pem", "No such file"),
        (TlsFiles { key: good.ca.clone(), ..good.clone() }, "1.ca.pem", "no private key"),
        (TlsFiles { key: elsewhere.key.clone(), ..good }, "other.key", "1.pem"),
        (elsewhere, "other.pem", "not for n1.peer.gauntlet"),
    ] {
        config.tls = Some(tls);
        let ended = Process::start(Path::new(env!("CARGO_BIN_EXE_raft-node")), &config).expect_err(reason);
        let lines: Vec<_> =
            ended.stderr.lines().filter(|line| line.starts_with("raft-node: TLS: ")).collect();
        let last = lines.last().unwrap_or_else(|| panic!("no reason in {:?}", ended.stderr));
        assert!(last.contains(file) && last.contains(reason) && ended.code == Some(1), "{last}");
    }
}
