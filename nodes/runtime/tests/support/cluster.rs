//! Node processes on loopback, for tests and for the load example.

use protocol::{Incarnation, NodeId};
use runtime::{Durability, NodeConfig, Ready, Unsynced};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A node's process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) ready: Ready,
    child: Child,
}

/// What a node that did not start, or has ended, left: exit code and stderr.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

impl Process {
    /// Starts a node and waits for its ready line.
    pub(crate) fn start(binary: &Path, config: &NodeConfig) -> Result<Process, Ended> {
        let file = config.data_dir.with_extension("yaml");
        std::fs::write(&file, serde_yaml::to_string(config).expect("a configuration is YAML"))
            .expect("written");
        Process::start_file(binary, &file)
    }

    fn start_file(binary: &Path, file: &Path) -> Result<Process, Ended> {
        let mut command = Command::new(binary);
        command.arg("--config").arg(file).arg("--die-with-parent");
        Process::spawn(command, file)
    }

    /// Starts a shell script with the configuration's path as its argument; it becomes the node.
    pub(crate) fn start_script(script: &Path, file: &Path) -> Result<Process, Ended> {
        let mut command = Command::new("sh");
        command.arg(script).arg(file);
        Process::spawn(command, file)
    }

    fn spawn(mut command: Command, file: &Path) -> Result<Process, Ended> {
        let log = file.with_extension("log");
        let stderr = std::fs::File::options().create(true).append(true).open(&log).expect("a log file");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut line).expect("readable");
        match serde_json::from_str(&line) {
            Ok(ready) => Ok(Process { ready, child }),
            Err(_) => {
                let code = child.wait().expect("waited for").code();
                let stderr = std::fs::read_to_string(log).expect("readable");
                Err(Ended { code, stderr })
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited for");
    }

    /// Sends SIGTERM and waits for the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
        self.child.wait().expect("waited for").code()
    }

    /// Waits for the node to end by itself.
    pub(crate) fn wait(mut self) -> Option<i32> {
        self.child.wait().expect("waited for").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Configurations of a group in one folder.
pub(crate) fn group(
    folder: &Path,
    nodes: u32,
    durability: Durability,
    options: &serde_yaml::Value,
) -> Vec<NodeConfig> {
    let peers: BTreeMap<_, _> = (1..=nodes).map(|node| (NodeId(node), free_address())).collect();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = |(node, _): (&NodeId, _)| NodeConfig {
        distance_us: BTreeMap::new(),
        node: *node,
        twins: BTreeMap::new(),
        incarnation: Incarnation(0),
        members: None,
        peers: peers.clone(),
        client_address: any,
        clients: BTreeMap::new(),
        http_address: any,
        tls: None,
        data_dir: folder.join(node.to_string()),
        durability,
        unsynced: Unsynced::Kept,
        journal_sync_ms_min: 0,
        storage_bugs: protocol::Bugs::default(),
        seed: u64::from(node.0),
        options: options.clone(),
    };
    peers.iter().map(config).collect()
}

/// An address that nobody listens on, for a port that others must know before it is bound. It is none that the system
/// gives to outgoing connections or to whoever asks for any port, so nobody takes it by chance.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(61) + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(10_000 + number % 20_000).expect("below 30,000");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Sends an HTTP request without a library and returns status and body.
pub(crate) fn http(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    http_on(TcpStream::connect(address).expect("connected"), method, path, body)
}

/// The same on a connection that is there.
pub(crate) fn http_on(mut stream: impl Read + Write, method: &str, path: &str, body: &str) -> (u16, String) {
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

/// Where a log file of a node is.
pub(crate) fn log_file(config: &NodeConfig) -> PathBuf {
    config.data_dir.with_extension("log")
}
