//! The client, peer and HTTP ports: what they serve, and that nobody can harm others through them.

mod support;

use kv::{Command, Response, Routing};
use protocol::frame;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use support::client::{Client, write};
use support::cluster::http;
use support::local::Group;
use support::wait_for;

/// Sends bytes and reads until the node hangs up.
fn hung_up_on(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    stream.write_all(bytes).expect("sent");
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the node did not hang up: {error}"),
    }
    answer
}

/// What no port should be told.
fn hostile() -> Vec<Vec<u8>> {
    let framed = |payload: &[u8]| {
        let mut bytes = Vec::new();
        frame::frame_into(&mut bytes, |out| out.extend_from_slice(payload));
        bytes
    };
    let mut wrong_checksum = framed(b"hello");
    wrong_checksum[5] ^= 1;
    vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 64],
        vec![0xff; 64],
        wrong_checksum,
        framed(&[0xff; 100]),
        framed(&[0x80; 20]),
        // A frame that claims far more than may come.
        [&(1u32 << 31).to_le_bytes()[..], &[0; 4]].concat(),
    ]
}

#[test]
fn garbage_on_a_port_ends_that_connection_and_no_other() {
    let group = Group::start(2);
    let mut client = group.nodes[0].client(1);
    client.put("key", "1");
    let peer = group.configs[0].peers[&group.configs[0].node];
    for bytes in hostile() {
        assert_eq!(hung_up_on(group.nodes[0].ready.client, &bytes), b"");
        hung_up_on(peer, &bytes);
    }
    client.put("key", "2");
    assert_eq!(client.get("key").as_deref(), Some("2"));
}

#[test]
fn connections_that_end_within_a_frame_or_say_nothing_harm_nobody() {
    let group = Group::start(2);
    let peer = group.configs[0].peers[&group.configs[0].node];
    let mut silent = Vec::new();
    for address in [group.nodes[0].ready.client, peer, group.nodes[0].ready.http] {
        for _ in 0..20 {
            silent.push(TcpStream::connect(address).expect("the port is open"));
            let mut cut_short = TcpStream::connect(address).expect("the port is open");
            cut_short.write_all(&[20, 0, 0, 0, 1]).expect("sent");
        }
    }
    group.nodes[0].client(1).put("key", "value");
}

#[test]
fn a_stranger_is_turned_away_from_the_peer_port_with_the_reason() {
    let group = Group::start(2);
    let peer = group.configs[0].peers[&group.configs[0].node];
    // Version 1, protocol "other", cluster 0, from n2, to n1: as a node of another protocol would say it.
    let mut hello = Vec::new();
    frame::frame_into(&mut hello, |out| {
        out.extend_from_slice(&[1, 5]);
        out.extend_from_slice(b"other");
        out.extend_from_slice(&[0, 2, 1]);
    });
    let answer = String::from_utf8_lossy(&hung_up_on(peer, &hello)).into_owned();
    assert!(answer.contains("it runs \"other\", \"naive\" runs here"), "{answer:?}");
}

#[test]
fn replies_come_back_to_whoever_asked_in_a_pipeline() {
    let group = Group::start(1);
    let mut clients: Vec<_> = (0..8).map(|session| group.nodes[0].client(session)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        for round in 0..100 {
            client.send(write(&format!("key {number}"), &format!("value {round}")), Routing::Leader);
        }
    }
    for (number, client) in clients.iter_mut().enumerate() {
        for round in 1..=100 {
            let reply = client.receive().expect("an answer");
            assert_eq!((reply.id.0, reply.result), (round, Ok(Response::Done)));
        }
        assert_eq!(client.get(&format!("key {number}")).as_deref(), Some("value 99"));
    }
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_holds_up_nobody() {
    let group = Group::start(1);
    let mut other = group.nodes[0].client(1);
    other.put("large", &"x".repeat(1 << 20));
    let mut greedy = group.nodes[0].client(2);
    for _ in 0..100 {
        greedy.send(Command::Read { key: "large".into() }, Routing::Here);
    }
    wait_for("the client to be dropped", || {
        other.put("key", "value");
        (group.nodes[0].metric("client_dropped_slow_total") == 1).then_some(())
    });
    let answers = std::iter::from_fn(|| greedy.receive().ok()).count();
    assert!(answers < 100, "all answers were kept for it");
}

#[test]
fn the_largest_answer_passes_and_a_larger_one_is_not_attempted() {
    let group = Group::start(1);
    let mut client = group.nodes[0].client(1);
    for number in 0..17 {
        client.put(&format!("key {number:02}"), &"x".repeat(1 << 20));
    }
    let scan = |limit| Command::Scan { start: "".into(), limit };
    assert_eq!(client.ask(scan(17), Routing::Here).expect("an answer"), Ok(Response::TooLarge));
    let rows = client.ask(scan(7), Routing::Here).expect("an answer").expect("small enough");
    assert!(matches!(rows, Response::Rows(rows) if rows.len() == 7));
}

#[test]
fn http_serves_people() {
    let group = Group::start(2);
    let (leader, follower) = (group.nodes[0].ready.http, group.nodes[1].ready.http);
    let put = |key: &str, value: &str| {
        http(leader, "POST", "/kv/put", &format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}"))
    };
    assert_eq!(put("a/b c", "1"), (200, "{\"key\":\"a/b c\"}".to_owned()));
    let got = http(leader, "GET", "/kv/get/a%2Fb%20c", "");
    assert_eq!(got, (200, "{\"key\":\"a/b c\",\"value\":\"1\"}".to_owned()));
    assert_eq!(http(leader, "GET", "/kv/get/none", ""), (404, "{\"error\":\"no such key\"}".to_owned()));
    put("x", "2");
    put("y", "3");
    let page = http(leader, "GET", "/kv/all?limit=2", "");
    let rows = "{\"key\":\"a/b c\",\"value\":\"1\"},{\"key\":\"x\",\"value\":\"2\"}";
    assert_eq!(page, (200, format!("{{\"next\":\"x\\u0000\",\"rows\":[{rows}]}}")));
    let page = http(leader, "GET", "/kv/all?limit=2&start=x%00", "");
    assert_eq!(page, (200, "{\"next\":null,\"rows\":[{\"key\":\"y\",\"value\":\"3\"}]}".to_owned()));
    let deleted = http(leader, "DELETE", "/kv/delete/x", "");
    assert_eq!(deleted, (200, "{\"deleted\":true,\"key\":\"x\"}".to_owned()));

    let (refused, why) = http(follower, "POST", "/kv/put", "{\"key\":\"k\",\"value\":\"v\"}");
    assert!(refused == 503 && why.contains("n2: not the leader"), "{refused}: {why}");
    for (method, path, body, status) in [
        ("POST", "/kv/put", "{\"key\":\"k\"}", 422),
        ("POST", "/kv/put", "nonsense", 400),
        ("POST", "/kv/put", "{\"key\":\"\",\"value\":\"v\"}", 400),
        ("GET", "/kv/all?limit=0", "", 400),
        ("GET", "/kv/all?limt=1", "", 400),
        ("GET", "/nothing", "", 404),
        ("GET", "/kv/get/%ff", "", 400),
        ("DELETE", "/kv/delete/%ff", "", 400),
        ("POST", "/kv/get/x", "", 405),
    ] {
        let (found, answer) = http(leader, method, path, body);
        assert_eq!(found, status, "{method} {path}: {answer}");
        assert!(answer.starts_with("{\"error\":"), "{method} {path}: {answer}");
    }
}

/// The clients of a group of four want two equal answers.
#[test]
fn http_asks_as_many_nodes_as_its_client_wants() {
    for (group, expected) in [(Group::start_acquainted(4), 200), (Group::start(4), 504)] {
        let (leader, follower) = (&group.nodes[0], &group.nodes[2]);
        leader.client(1).put("key", "value");
        for node in &group.nodes {
            let mut control = node.control();
            wait_for("the write to be everywhere", || (control.status().core.keys == 1).then_some(()));
        }
        let (status, body) = http(follower.ready.http, "GET", "/kv/get/key", "");
        assert_eq!(status, expected, "{body}");
        // Only the leader carries a write out, so there are never two who say so.
        let (status, body) = http(leader.ready.http, "DELETE", "/kv/delete/key", "");
        assert!(status == 504 && body.contains("outcome unknown"), "{status}: {body}");
    }
}

#[test]
fn http_shows_values_of_every_type() {
    let group = Group::start(1);
    let mut client = Client::connect(group.nodes[0].ready.client, 1);
    let bytes = |text: &'static str| text.as_bytes().into();
    for command in [
        Command::Append { key: "list".into(), element: bytes("one") },
        Command::Append { key: "list".into(), element: bytes("two") },
        Command::Insert { key: "record".into(), fields: vec![bytes("f0"), bytes("f1")] },
        Command::Splice { key: "text".into(), position: 0, delete: 0, insert: "héllo".into() },
        Command::Write { key: "binary".into(), value: vec![0xff, 0x00].into() },
    ] {
        client.ask(command, Routing::Here).expect("an answer").expect("valid");
    }
    for (key, value) in [
        ("list", "[\"one\",\"two\"]"),
        ("record", "[\"f0\",\"f1\"]"),
        ("text", "\"héllo\""),
        ("binary", "{\"hex\":\"ff00\"}"),
    ] {
        let (status, body) = http(group.nodes[0].ready.http, "GET", &format!("/kv/get/{key}"), "");
        assert_eq!((status, body), (200, format!("{{\"key\":\"{key}\",\"value\":{value}}}")));
    }
}

#[test]
fn status_and_metrics_tell_what_the_node_did() {
    let group = Group::start(1);
    let node = &group.nodes[0];
    node.client(1).put("key", "value");
    let (status, body) = http(node.ready.http, "GET", "/status", "");
    let told: protocol::control::NodeStatus = serde_json::from_str(&body).expect("a status");
    assert_eq!((status, told.core.keys, told.protocol.as_str()), (200, 1, "naive"));
    for (metric, least) in [
        ("node_keys", 1),
        ("journal_records_total", 1),
        ("client_replies_total", 1),
        ("driver_events_total", 2),
    ] {
        assert!(node.metric(metric) >= least, "{metric}");
    }
    let (_, page) = http(node.ready.http, "GET", "/metrics", "");
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let family =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(page.contains(&format!("# TYPE {family} ")), "{line} has no type");
        assert!(page.contains(&format!("# HELP {family} ")), "{line} has no help");
    }
}
