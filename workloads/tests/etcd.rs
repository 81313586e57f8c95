//! The same workloads against a real etcd of three members, where there is one.

use checkers::Verdict;
use checkers::bank::{BankOptions, check_bank};
use checkers::counter::check_counter;
use checkers::history::{Answer, History, OpKind, Outcome, Phase};
use checkers::set::check_set;
use protocol::NodeId;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use workloads::etcd::EtcdConnector;
use workloads::load::Arrivals;
use workloads::{Binding, Distances, LoadConfig, LoadSummary, Recorder, Share, Spec, run_load};

/// How long a cluster may take to elect a leader.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Members that die with the test.
struct Cluster {
    members: Vec<(SocketAddr, Child)>,
    /// Bound to the members' ports as long as they live, and never listening: nobody else is given one.
    _held: Vec<TcpSocket>,
    _folder: tempfile::TempDir,
}

fn hold_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(false).expect("a socket can be made so");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("loopback has free ports");
    // Only now: two that both allow it from the beginning could be given one port. Go's listeners allow it.
    socket.set_reuseaddr(true).expect("a socket can be made so");
    let address = socket.local_addr().expect("it is bound");
    (socket, address)
}

impl Cluster {
    fn start(count: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (held, ports): (Vec<_>, Vec<_>) = (0..2 * count).map(|_| hold_port()).unzip();
        let (peers, clients) = ports.split_at(count);
        let cluster: Vec<String> =
            peers.iter().enumerate().map(|(i, peer)| format!("m{i}=http://{peer}")).collect();
        let member = |i: usize| start_member(folder.path(), i, peers[i], clients[i], &cluster.join(","));
        let members = (0..count).map(|i| (clients[i], member(i))).collect();
        Self { members, _held: held, _folder: folder }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|(address, _)| *address).collect()
    }

    /// Waits until a member leads, other than `not`.
    async fn leader(&self, not: Option<SocketAddr>) -> SocketAddr {
        let deadline = Instant::now() + ELECTION_TIMEOUT;
        loop {
            match workloads::etcd::leader(&self.addresses()).await {
                Some(leader) if Some(leader) != not => return leader,
                _ => assert!(Instant::now() < deadline, "no leader within {ELECTION_TIMEOUT:?}"),
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn kill(&mut self, address: SocketAddr) {
        let member = self.members.iter_mut().find(|(member, _)| *member == address);
        stop(&mut member.expect("a member").1);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.members.iter_mut().for_each(|(_, process)| stop(process));
    }
}

fn stop(process: &mut Child) {
    process.kill().expect("a child can be killed, or is dead already");
    process.wait().expect("a child can be waited for");
}

fn start_member(folder: &Path, i: usize, peer: SocketAddr, client: SocketAddr, cluster: &str) -> Child {
    let (peer, client) = (format!("http://{peer}"), format!("http://{client}"));
    let mut command = Command::new("etcd");
    command.args([
        "--name",
        &format!("m{i}"),
        "--initial-cluster",
        cluster,
        "--initial-cluster-state",
        "new",
    ]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.arg("--data-dir").arg(folder.join(format!("m{i}")));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("etcd is on the PATH")
}

fn config(clients: u32, ops_max: u64) -> LoadConfig {
    LoadConfig {
        clients,
        arrivals: Arrivals::Closed,
        op_timeout: Duration::from_secs(10),
        attempt_timeout: Duration::from_secs(1),
        time_limit: Duration::from_secs(30),
        ops_max: Some(ops_max),
        seed: 3,
        share: Share::WHOLE,
        binding: Binding::Leader,
        readers: 3,
    }
}

struct Run {
    folder: tempfile::TempDir,
    recorder: Recorder,
    connector: EtcdConnector,
}

impl Run {
    fn new(cluster: &Cluster) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let recorder = Recorder::create(folder.path().join("history.bin")).expect("the folder is writable");
        let members = (1..).map(NodeId).zip(cluster.addresses()).collect();
        Self { folder, recorder, connector: EtcdConnector::new(members, false, Distances::default()) }
    }

    async fn load(&mut self, spec: &Spec, phase: Phase, config: &LoadConfig) -> LoadSummary {
        let (_stop, stopped) = watch::channel(false);
        let readers = if spec.reads_each_replica() { config.readers } else { 1 };
        let config = LoadConfig { binding: spec.binding(true), readers, ..config.clone() };
        let load = run_load(&self.connector, spec, phase, &config, &mut self.recorder, stopped);
        load.await.expect("the load can be made")
    }

    /// What was recorded, none of it corrupt.
    fn history(self) -> History {
        self.recorder.finish().expect("the folder is writable");
        let history = History::load(self.folder.path().join("history.bin")).expect("a whole history");
        for op in &history.ops {
            assert!(!matches!(op.outcome, Outcome::Ok(Answer::Corrupt(_))), "{op:?}");
        }
        history
    }
}

fn spec(yaml: &str) -> Spec {
    serde_yaml::from_str(yaml).expect("a valid workload")
}

#[tokio::test]
async fn every_workload_runs_on_etcd_and_outlives_its_leader() {
    let Some(_) = required::program("etcd") else { return };
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader(None).await;
    for yaml in [
        "put: { keys: 20, read: 0.5 }",
        "ycsb-a: { records: 20 }",
        "ycsb-e: { records: 20, scan_rows_max: 5 }",
        "ycsb-f: { records: 20, fields: 12 }",
    ] {
        let spec = spec(yaml);
        let mut run = Run::new(&cluster);
        let load = run.load(&spec, Phase::Load, &config(4, u64::MAX)).await;
        assert_eq!(load.ok(), 20, "{yaml}");
        let summary = run.load(&spec, Phase::Run, &config(4, 200)).await;
        assert_eq!(summary.ok(), 200, "{yaml}: {summary:?}");
        assert_eq!(summary.tally.keys().copied().collect::<Vec<_>>().len(), spec.expected_kinds().len());
        let keys = run.recorder.keys_used();
        assert_eq!(run.load(&spec, Phase::Final, &config(4, u64::MAX)).await.ok(), keys, "{yaml}");
        run.history();
    }

    let mut run = Run::new(&cluster);
    let summary = run.load(&spec("register: { keys: 3 }"), Phase::Run, &config(6, 400)).await;
    assert_eq!(summary.ok(), 400, "{summary:?}");
    let history = run.history();
    for swapped in [true, false] {
        let of_that_kind = |op: &&checkers::history::Op| op.outcome == Outcome::Ok(Answer::Swapped(swapped));
        assert!(history.ops.iter().filter(of_that_kind).count() > 5, "swapped: {swapped}");
    }

    let mut run = Run::new(&cluster);
    let append = spec("append: { keys: 4 }");
    let summary = run.load(&append, Phase::Run, &config(4, 200)).await;
    assert!(summary.ok() > 190 && summary.info() == 0, "{summary:?}");
    run.load(&append, Phase::Final, &config(4, u64::MAX)).await;
    run.history();

    for yaml in ["set", "counter", "bank: { transfers_per_bank: 40 }"] {
        let spec = spec(yaml);
        let mut run = Run::new(&cluster);
        for (phase, ops_max) in [(Phase::Load, u64::MAX), (Phase::Run, 200), (Phase::Final, u64::MAX)] {
            let summary = run.load(&spec, phase, &config(4, ops_max)).await;
            assert_eq!(summary.info(), 0, "{yaml}: {summary:?}");
        }
        let (history, minute) = (run.history(), Duration::from_secs(60));
        let result = match &spec {
            Spec::Set(_) => check_set(&history, minute),
            Spec::Counter(_) => check_counter(&history, minute),
            Spec::Register(_) | Spec::Append(_) | Spec::Bank(_) | Spec::Ycsb(_) | Spec::Put(_) => {
                check_bank(&history, &BankOptions { accounts: 5, overdraft: true }, minute)
            }
        };
        assert_eq!(result.verdict, Verdict::Valid, "{yaml}: {}", result.summary);
    }

    cluster.kill(leader);
    let mut run = Run::new(&cluster);
    let put = spec("put");
    // Clients are told of three members, one of which is gone, and find the new leader by themselves.
    let summary = run.load(&put, Phase::Run, &config(4, 100)).await;
    assert!(summary.ok() > 90, "{summary:?}");
    assert_ne!(cluster.leader(Some(leader)).await, leader);
    assert_eq!(summary.tally.keys().copied().collect::<Vec<_>>(), [OpKind::Write]);
    run.history();
}
