//! Strangers at the ports of nodes that speak TLS: that none gets in, that each is told of on one line, and that nobody
//! else notices.

mod support;

use kv::{Command, Routing};
use protocol::{NodeId, ReplicaId, codec, frame};
use runtime::tls::{Authority, Credentials, VALID_FOR, provider, server_name};
use runtime::{Durability, NodeConfig};
use serde::Serialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use support::client::{Client, Control};
use support::cluster::{Process, group, http_on, log_file};
use support::local::{Group, Local};
use support::naive::Message;
use support::tls::{Stream, connect, credentials, secure};
use support::wait_for;
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const N1: ReplicaId = ReplicaId(1);
const N2: ReplicaId = ReplicaId(2);
const N3: ReplicaId = ReplicaId(3);

/// Three Raft nodes as processes.
struct Raft {
    nodes: Vec<Process>,
    configs: Vec<NodeConfig>,
    _folder: TempDir,
}

fn start(config: &NodeConfig) -> Process {
    Process::start(Path::new(env!("CARGO_BIN_EXE_raft-node")), config).expect("it starts")
}

impl Raft {
    /// Only n1 runs yet.
    fn begin(configure: impl FnOnce(&mut [NodeConfig])) -> Raft {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = serde_yaml::from_str("{}").expect("YAML");
        let mut configs = group(folder.path(), 3, Durability::Memory, &options);
        configure(&mut configs);
        Raft { nodes: vec![start(&configs[0])], configs, _folder: folder }
    }

    fn start_others(&mut self) {
        self.nodes.extend(self.configs[1..].iter().map(start));
    }

    fn leader(&self) -> usize {
        wait_for("a leader", || {
            let statuses = self.nodes.iter().map(|node| Control::connect(&node.ready.control).status().core);
            let leaders = statuses.enumerate().filter(|(_, core)| core.leads);
            leaders.max_by_key(|(_, core)| core.epoch).map(|(index, _)| index)
        })
    }

    /// Puts through a client of the leader, and waits until everybody has it.
    fn works<S: Read + Write>(&self, connect: impl Fn(ReplicaId, SocketAddr) -> S) {
        let leader = self.leader();
        let stream = connect(self.configs[leader].replica(), self.nodes[leader].ready.client);
        let mut client = Client::on(stream, 1);
        for key in 0..20 {
            client.put(&format!("key {key}"), "value");
        }
        wait_for("the same state everywhere", || {
            let keys = self.nodes.iter().map(|node| Control::connect(&node.ready.control).status().core.keys);
            keys.into_iter().all(|keys| keys == 20).then_some(())
        });
    }

    fn peer_port(&self) -> SocketAddr {
        self.configs[0].peers[&NodeId(1)]
    }

    /// What n1 has told so far.
    fn log(&self) -> String {
        let log = std::fs::read_to_string(log_file(&self.configs[0])).expect("readable");
        assert!(!log.contains("panicked"), "{log}");
        log
    }
}

fn client(authority: &Authority) -> Credentials {
    credentials(authority, &authority.issue_client())
}

/// Somebody who trusts the CA and has nothing to show.
fn nameless(authority: &Authority, address: SocketAddr) -> Stream {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.ca_pem().as_bytes()).expect("PEM")).expect("a CA");
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has it")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let session = ClientConnection::new(Arc::new(config), server_name(N1)).expect("a session");
    StreamOwned::new(session, TcpStream::connect(address).expect("the port is open"))
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::frame_into(&mut bytes, |out| out.extend_from_slice(payload));
    bytes
}

/// What no port with TLS should be sent.
fn garbage() -> Vec<Vec<u8>> {
    // A record of a handshake, with this in it.
    let record = |content: &[u8]| [&[22, 3, 1][..], &(content.len() as u16).to_be_bytes(), content].concat();
    vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        framed(b"hello"),
        vec![0; 64],
        vec![0xff; 64],
        // Of a hello that is none, of one without content, of records without content.
        record(&[&[1, 0, 0, 60][..], &[0xa5; 60]].concat()),
        record(&[1, 0, 0, 0]),
        record(&[]).repeat(1_000),
        // Application data before anything is agreed upon.
        [&[23, 3, 3, 0, 32][..], &[7; 32]].concat(),
    ]
}

/// Reads until the node hangs up.
fn hung_up_on(mut stream: impl Read) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut some = [0; 4096];
    loop {
        match stream.read(&mut some) {
            Ok(0) => return answer,
            Ok(read) => answer.extend_from_slice(&some[..read]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                panic!("the node did not hang up")
            }
            // Or said why.
            Err(_) => return answer,
        }
    }
}

/// Sends bytes to a port as they are.
fn send(port: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(port).expect("the port is open");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    stream.write_all(bytes).expect("sent");
    stream
}

/// Waits until the node has hung up on somebody whom it had nothing to say to but an alert; where that came from.
fn refused(stream: &TcpStream) -> SocketAddr {
    let answer = hung_up_on(stream);
    assert!(answer.is_empty() || answer[0] == 21 && answer.len() == 7, "{answer:?}");
    stream.local_addr().expect("bound")
}

/// Asks something over TLS, and waits until the node has hung up without an answer; where it came from.
fn asks(mut stream: Stream, what: &[u8]) -> SocketAddr {
    let from = stream.sock.local_addr().expect("bound");
    // The node may hang up before all is sent.
    stream.write_all(what).and_then(|()| stream.flush()).ok();
    assert_eq!(hung_up_on(stream), b"");
    from
}

/// How a node would be greeted by another.
fn hello(configs: &[NodeConfig], protocol: &str, from: ReplicaId, to: ReplicaId) -> Vec<u8> {
    let cluster = crc32c::crc32c(&codec::encode(&configs[0].peers));
    framed(&codec::encode(&(1_u32, protocol, cluster, from, to)))
}

#[test]
fn no_stranger_gets_in_and_each_is_told_of_on_one_line() {
    let mut authority = Authority::new(VALID_FOR);
    let mut raft = Raft::begin(|configs| secure(&authority, configs));
    raft.start_others();
    let member = client(&authority);
    let replica = credentials(&authority, &authority.issue_replica(N2));
    let others = credentials(&authority, &Authority::new(VALID_FOR).issue_replica(N2));
    let past = SystemTime::now() - Duration::from_secs(3600);
    authority.validity = past - Duration::from_secs(60)..past;
    let expired = credentials(&authority, &authority.issue_replica(N2));

    let ready = raft.nodes[0].ready.clone();
    // With who tells of strangers there: two ports may see the same address, one after the other.
    let (peer, client, http) = (
        (raft.peer_port(), "runtime::transport::accept"),
        (ready.client, "runtime::client_port"),
        (ready.http, "runtime::http"),
    );
    let mut strangers = Vec::new();
    // The beginning of a hello, and no more.
    let silent = [peer, client, http].map(|(port, told_by)| (send(port, &[22, 3, 1, 1, 0, 1]), told_by));
    for (port, told_by) in [peer, client, http] {
        for bytes in garbage() {
            strangers.push((refused(&send(port, &bytes)), told_by, ""));
        }
        let request = b"GET /status HTTP/1.1\r\nhost: n1\r\n\r\n";
        for (stream, reason) in [
            (nameless(&authority, port), "no certificates"),
            (connect(port, N1, &others), "invalid peer certificate"),
            (connect(port, N1, &expired), "certificate expired"),
        ] {
            strangers.push((asks(stream, request), told_by, reason));
        }
    }
    strangers.extend(silent.iter().map(|(stream, told_by)| (refused(stream), *told_by, "within 3s")));
    // Those who are known, but may not say that.
    for ((port, told_by), shown) in [(peer, &replica), (client, &member)] {
        let oversized = [&(1_u32 << 31).to_le_bytes()[..], &[0; 4]].concat();
        strangers.push((asks(connect(port, N1, shown), &oversized), told_by, "frame of 2147483648 bytes"));
    }
    for (claimed, shown) in [(N3, &replica), (N2, &member)] {
        let mut stream = connect(peer.0, N1, shown);
        let from = stream.sock.local_addr().expect("bound");
        stream.write_all(&hello(&raft.configs, "raft", claimed, N1)).expect("sent");
        let answer = String::from_utf8_lossy(&hung_up_on(stream)).into_owned();
        assert!(answer.contains(&format!("its certificate is not that of {claimed}")), "{answer:?}");
        strangers.push((from, peer.1, "its certificate is not that of"));
    }

    for (from, told_by, reason) in strangers {
        // The node hangs up before it tells.
        let lines = wait_for("a line", || {
            let log = raft.log();
            let lines =
                log.lines().filter(|line| line.contains(told_by) && line.contains(&format!("{from} ")));
            let lines: Vec<_> = lines.map(ToOwned::to_owned).collect();
            (!lines.is_empty()).then_some(lines)
        });
        assert!(lines.len() == 1 && lines[0].contains(reason), "{reason:?}: {lines:?}");
    }
    raft.works(|to, address| connect(address, to, &member));
}

/// A relay that keeps the records of one connection's client and can send the last of them again.
struct Tap {
    address: SocketAddr,
    records: Arc<Mutex<Vec<Vec<u8>>>>,
    node: TcpStream,
}

impl Tap {
    /// In front of a port, for the next to connect.
    fn before(port: SocketAddr) -> Tap {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let node = TcpStream::connect(port).expect("the port is open");
        let records = Arc::default();
        let (kept, to_node) = (Arc::clone(&records), node.try_clone().expect("a socket"));
        std::thread::spawn(move || relay(&listener, to_node, &kept));
        Tap { address, records, node }
    }

    /// Sends the last record once more.
    fn replay(&mut self) {
        let records = self.records.lock().expect("no panic");
        self.node.write_all(records.last().expect("something was sent")).expect("sent");
    }
}

fn relay(
    listener: &TcpListener,
    mut node: TcpStream,
    records: &Mutex<Vec<Vec<u8>>>,
) -> io::Result<Infallible> {
    let (mut client, _) = listener.accept()?;
    let (mut from_node, mut to_client) = (node.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        io::copy(&mut from_node, &mut to_client).and_then(|_| to_client.shutdown(Shutdown::Both))
    });
    loop {
        let mut record = vec![0; 5];
        client.read_exact(&mut record)?;
        record.resize(5 + usize::from(u16::from_be_bytes([record[3], record[4]])), 0);
        client.read_exact(&mut record[5..])?;
        records.lock().expect("no panic").push(record.clone());
        node.write_all(&record)?;
    }
}

/// A number of a node's metrics page.
fn metric(node: &Local, replica: ReplicaId, shown: &Credentials, name: &str) -> u64 {
    let (_, page) = http_on(connect(node.ready.http, replica, shown), "GET", "/metrics", "");
    let line = page.lines().find_map(|line| line.strip_prefix(name)).expect("such a metric");
    line.trim().parse().expect("a number")
}

#[test]
fn a_request_that_is_sent_again_by_another_ends_the_connection_and_is_not_heard() {
    let authority = Authority::new(VALID_FOR);
    let group = Group::start_secured(1, &authority);
    let (node, member) = (&group.nodes[0], client(&authority));
    let mut tap = Tap::before(node.ready.client);
    let mut client = Client::on(connect(tap.address, N1, &member), 1);
    let append = Command::Append { key: "list".into(), element: "once".into() };
    client.ask(append, Routing::Leader).expect("an answer").expect("a list");
    tap.replay();
    client.receive().expect_err("the connection has ended");
    assert_eq!(metric(node, N1, &member, "client_requests_total "), 1);
    assert_eq!(node.control().status().core.state.count, 1);
}

#[test]
fn a_message_that_is_sent_again_by_another_ends_the_connection_and_is_not_heard() {
    #[derive(Serialize)]
    enum Packet {
        #[expect(dead_code, reason = "it is sent by nodes alone")]
        Ping,
        Message(Message),
    }
    let authority = Authority::new(VALID_FOR);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut configs = group(folder.path(), 2, Durability::Memory, &serde_yaml::Value::Null);
    secure(&authority, &mut configs);
    // This test is n1.
    let node = Local::start(&configs[1], 0).expect("it starts");
    let mut tap = Tap::before(configs[1].peers[&NodeId(2)]);
    let mut stream = connect(tap.address, N2, &credentials(&authority, &authority.issue_replica(N1)));
    stream.write_all(&hello(&configs, "naive", N1, N2)).expect("sent");
    let mut welcome = framed(&[1]);
    stream.read_exact(&mut welcome).expect("a welcome");
    assert_eq!(welcome, framed(&[0]));
    stream.write_all(&framed(&codec::encode(&Packet::Message(Message::Have { before: 0 })))).expect("sent");
    let member = client(&authority);
    let heard = || metric(&node, N2, &member, "peer_messages_in_total ");
    wait_for("the message", || (heard() == 1).then_some(()));
    tap.replay();
    hung_up_on(stream);
    assert_eq!(heard(), 1);
}

/// Silent connections, ever new ones, until dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

const SILENT: usize = 2_000;

impl Flood {
    fn begin(ports: Vec<SocketAddr>) -> Flood {
        let resources = rustix::process::Resource::Nofile;
        let mut files = rustix::process::getrlimit(resources);
        files.current = files.maximum;
        rustix::process::setrlimit(resources, files).expect("up to the maximum");
        let connect = |address: &SocketAddr| {
            let stream = TcpStream::connect(address).expect("the port is open");
            stream.set_nonblocking(true).expect("a socket");
            stream
        };
        let mut silent: VecDeque<_> =
            (0..SILENT).flat_map(|_| ports.iter().map(connect).collect::<Vec<_>>()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                silent.extend(ports.iter().map(connect));
                while silent.front().is_some_and(|stream| stream.peek(&mut [0]).is_ok()) {
                    // It has been hung up on.
                    silent.pop_front();
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        Flood { stop, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the ports stay open");
        }
    }
}

#[test]
fn thousands_who_say_nothing_keep_neither_peers_nor_clients_out() {
    let authority = Authority::new(VALID_FOR);
    let mut raft = Raft::begin(|configs| secure(&authority, configs));
    let member = client(&authority);
    let ready = raft.nodes[0].ready.clone();
    let flood = Flood::begin(vec![ready.client, raft.peer_port(), ready.http]);
    raft.start_others();
    raft.works(|to, address| connect(address, to, &member));
    let (status, _) = http_on(connect(ready.http, N1, &member), "GET", "/status", "");
    let of_n1 = Client::on(connect(ready.client, N1, &member), 2).get("key 0");
    assert_eq!((status, of_n1.as_deref()), (200, Some("value")));
    drop(flood);
    let log = raft.log();
    assert!(log.contains("when too many others came") && !log.contains("turned away"));
}

#[test]
fn thousands_who_say_nothing_do_not_keep_peers_out_without_tls() {
    let mut raft = Raft::begin(|_| {});
    let flood = Flood::begin(vec![raft.peer_port()]);
    raft.start_others();
    raft.works(|_, address| TcpStream::connect(address).expect("the port is open"));
    drop(flood);
    let log = raft.log();
    assert!(log.contains("when too many others came") && !log.contains("turned away"));
}
