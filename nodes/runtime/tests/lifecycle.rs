//! The life of a node's process: start, refusal to start, stop, death, and what it remembers.

mod support;

use kv::{Response, Routing};
use protocol::control::ControlRequest;
use runtime::{Durability, EXIT_DISK_FULL, NodeConfig};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::client::{Client, Control, write};
use support::cluster::{Ended, Process, group, http, log_file};
use support::wait_for;
use tempfile::TempDir;

const RAFT: &str = env!("CARGO_BIN_EXE_raft-node");
const STANDALONE: &str = env!("CARGO_BIN_EXE_standalone-node");

/// A node alone: a group of one.
struct Alone {
    binary: &'static Path,
    config: NodeConfig,
    folder: TempDir,
}

impl Alone {
    fn new(durability: Durability) -> Alone {
        Alone::of(RAFT, durability)
    }

    fn of(binary: &'static str, durability: Durability) -> Alone {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = group(folder.path(), 1, durability, &serde_yaml::Value::Null).remove(0);
        Alone { binary: Path::new(binary), config, folder }
    }

    fn start(&self) -> Process {
        Process::start(self.binary, &self.config).expect("it starts")
    }

    fn does_not_start(&self) -> Ended {
        Process::start(self.binary, &self.config).expect_err("it must not start")
    }

    /// The only journal segment.
    fn segment(&self) -> PathBuf {
        self.config.data_dir.join("journal/journal-00000000000000000000")
    }
}

/// A client of a node that leads.
fn client(node: &Process, session: u64) -> Client {
    wait_for("a leader", || Control::connect(&node.ready.control).status().core.leads.then_some(()));
    Client::connect(node.ready.client, session)
}

/// The one line that says why a node ended.
fn reason(ended: &Ended) -> String {
    let mut lines = ended.stderr.lines().filter(|line| line.starts_with("raft-node: "));
    let line = lines.next().unwrap_or_else(|| panic!("no reason in {:?}", ended.stderr)).to_owned();
    assert_eq!((lines.next(), ended.code), (None, Some(1)), "{line}");
    line
}

#[test]
fn what_was_acknowledged_survives_a_stop_and_a_kill() {
    for binary in [RAFT, STANDALONE] {
        survives_a_stop_and_a_kill(&Alone::of(binary, Durability::Fsync));
    }
}

fn survives_a_stop_and_a_kill(alone: &Alone) {
    let node = alone.start();
    assert_eq!(node.ready.pid, node.pid());
    client(&node, 1).put("stopped", "1");
    assert_eq!(node.terminate(), Some(0));

    let node = alone.start();
    let mut writer = client(&node, 2);
    assert_eq!(writer.get("stopped").as_deref(), Some("1"));
    // Killed in the middle of writing.
    let pid = rustix::process::Pid::from_raw(i32::try_from(node.pid()).expect("a pid")).expect("not 0");
    let mut acknowledged = 0;
    for number in 0.. {
        if number == 200 {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
        }
        match writer.ask_if_there(write(&format!("key {number}"), "value"), Routing::Leader) {
            Some(Ok(Response::Done)) => acknowledged = number + 1,
            Some(other) => panic!("{other:?}"),
            None => break,
        }
    }
    assert!(acknowledged >= 200);
    node.kill();
    let node = alone.start();
    let mut reader = client(&node, 3);
    for number in 0..acknowledged {
        assert!(reader.get(&format!("key {number}")).is_some(), "{number} of {acknowledged} is lost");
    }
}

#[test]
fn without_durability_nothing_is_written_and_a_restart_forgets() {
    let alone = Alone::new(Durability::Memory);
    let node = alone.start();
    client(&node, 1).put("key", "value");
    node.kill();
    assert!(!alone.config.data_dir.join("journal").exists());
    assert_eq!(client(&alone.start(), 2).get("key"), None);
}

#[test]
fn a_second_node_on_the_same_folder_does_not_start() {
    let alone = Alone::new(Durability::Fsync);
    let node = alone.start();
    let line = reason(&alone.does_not_start());
    assert!(line.contains(&format!("in use by process {}", node.pid())), "{line}");
    client(&node, 1).put("key", "the first one serves");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let mut alone = Alone::new(Durability::Fsync);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    alone.config.http_address = taken.local_addr().expect("bound");
    let line = reason(&alone.does_not_start());
    assert!(line.contains(&format!("HTTP port {}", alone.config.http_address)), "{line}");
}

#[test]
fn an_unknown_option_is_named_with_its_file_and_line() {
    let mut alone = Alone::new(Durability::Fsync);
    alone.config.options = serde_yaml::from_str("{hartbeat_ms: 5}").expect("YAML");
    let line = reason(&alone.does_not_start());
    assert!(line.contains("n1.yaml") && line.contains("hartbeat_ms") && line.contains("line"), "{line}");
}

#[test]
fn a_folder_whose_control_socket_would_have_too_long_a_path_is_refused() {
    let mut alone = Alone::new(Durability::Fsync);
    alone.config.data_dir = alone.folder.path().join("x".repeat(100));
    let line = reason(&alone.does_not_start());
    assert!(line.contains("shorter data_dir"), "{line}");
}

#[test]
fn a_damaged_journal_is_refused_with_its_place() {
    let alone = Alone::new(Durability::Fsync);
    let node = alone.start();
    let mut writer = client(&node, 1);
    for number in 0..5 {
        writer.put(&format!("key {number}"), "a value that is easy to find");
    }
    node.kill();
    let mut bytes = std::fs::read(alone.segment()).expect("readable");
    let found = bytes.windows(4).position(|window| window == b"easy").expect("the first value");
    bytes[found] ^= 1;
    std::fs::write(alone.segment(), bytes).expect("written");
    let line = reason(&alone.does_not_start());
    assert!(line.contains("damaged") && line.contains("journal-00") && line.contains("offset"), "{line}");
}

/// The disk is made full by a limit on the size of files.
#[test]
fn a_full_disk_stops_the_node_and_loses_nothing_acknowledged() {
    let alone = Alone::new(Durability::Fsync);
    // Writes the configuration, and a journal to go on with.
    alone.start().kill();
    let file = alone.config.data_dir.with_extension("yaml");
    let limited = alone.folder.path().join("limited.sh");
    let script = format!("trap '' XFSZ; ulimit -f 4000; exec '{}' --config \"$1\"", RAFT);
    std::fs::write(&limited, script).expect("written");
    let node = Process::start_script(&limited, &file).expect("it starts");
    let mut writer = client(&node, 1);
    let value = "x".repeat(100_000);
    let mut acknowledged = 0;
    while let Some(answer) =
        writer.ask_if_there(write(&format!("key {acknowledged}"), &value), Routing::Leader)
    {
        assert_eq!(answer, Ok(Response::Done));
        acknowledged += 1;
        assert!(acknowledged < 100, "the disk is not full");
    }
    assert!(acknowledged > 3);
    assert_eq!(node.wait(), Some(1));
    let log = std::fs::read_to_string(log_file(&alone.config)).expect("readable");
    assert!(log.contains("raft-node: writing the journal: File too large"), "{log}");

    let node = alone.start();
    let mut reader = client(&node, 2);
    for number in 0..acknowledged {
        assert_eq!(reader.get(&format!("key {number}")).map(|value| value.len()), Some(100_000));
    }
}

#[test]
fn a_node_dies_with_its_parent_if_told_to() {
    let alone = Alone::new(Durability::Memory);
    alone.start().kill();
    let config = alone.config.data_dir.with_extension("yaml");
    let mut parent = Command::new("sh")
        .args(["-c", "\"$0\" --config \"$1\" --die-with-parent; true"])
        .args([Path::new(RAFT), &config])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut line = String::new();
    let stdout = parent.stdout.take().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("readable");
    let ready: runtime::Ready = serde_json::from_str(&line).expect("a ready line");
    assert_eq!(http(ready.http, "GET", "/metrics", "").0, 200);
    parent.kill().expect("killed");
    parent.wait().expect("waited for");
    wait_for("the node to die", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", ready.pid)).unwrap_or_default();
        let state = stat.rsplit_once(')').map(|(_, state)| state.trim_start());
        // Gone, or waiting to be buried by whoever inherits it.
        state.is_none_or(|state| state.starts_with('Z')).then_some(())
    });
}

#[test]
fn a_node_whose_disk_is_full_ends_with_a_code_that_says_so() {
    let alone = Alone::new(Durability::Fsync);
    let node = alone.start();
    let mut writer = client(&node, 1);
    writer.put("key", "there is room");
    let full = ControlRequest::SetDisk { full: true, lease_ms: 60_000 };
    Control::connect(&node.ready.control).ask(&full).expect("a disk can be full");
    assert_eq!(writer.ask_if_there(write("key", "there is none"), Routing::Leader), None);
    assert_eq!(node.wait(), Some(i32::from(EXIT_DISK_FULL)));
    assert_eq!(client(&alone.start(), 2).get("key").as_deref(), Some("there is room"));
}
