//! `gauntlet` on containers over SSH, as its users run it: what is left on hosts, whoever dies.
//!
//! Needs Docker, and an image or root with `debootstrap` to make one; says so and skips where they are not.

use required::required;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Nothing here may take longer.
const DEADLINE: Duration = Duration::from_secs(240);
/// When hosts must be as they were after a controller has died.
const HEALED_WITHIN: Duration = Duration::from_secs(10);

/// Containers take turns: a machine of two cores has no room for more.
static TURN: Mutex<()> = Mutex::new(());

/// Containers; gone when this is.
struct Hosts {
    dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Hosts {
    /// Three; `None`, and a reason, where there can be none.
    fn up() -> Option<Hosts> {
        Hosts::up_with(&[])
    }

    fn up_with(more: &[&str]) -> Option<Hosts> {
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let dir = tempfile::Builder::new().prefix("hosts-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut up = gauntlet(&["hosts", "up", "--docker", "3", "--dir", dir.path().to_str().unwrap()]);
        let up = up.args(more).output().unwrap();
        let up = if up.status.success() { Ok(()) } else { Err(said(&up)) };
        required("Docker, or an image for it,", up)?;
        Some(Hosts { dir, _turn: turn })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn containers(&self) -> Vec<String> {
        let filter = format!("label=gauntlet.hosts={}", self.dir.path().canonicalize().unwrap().display());
        let listed = docker(&["ps", "--all", "--quiet", "--filter", &filter]);
        listed.lines().map(str::to_owned).collect()
    }

    /// What each host's firewall, traffic classes and processes look like.
    fn state(&self) -> Vec<String> {
        let look = "iptables -S; ip6tables -S; tc qdisc show | grep -v noqueue; \
                    for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -E 'raft-node|gauntlet' | cut -c 1-60; done; true";
        self.containers().iter().map(|container| docker(&["exec", container, "sh", "-c", look])).collect()
    }

    /// Runs a plan on these hosts.
    fn run(&self, plan: &str, args: &[&str]) -> Command {
        fs::write(self.path("plan.yaml"), plan).unwrap();
        let mut command = gauntlet(&["run"]);
        command.arg(self.path("plan.yaml")).arg("--store").arg(self.path("store"));
        command.arg("--cluster").arg(self.path("cluster.conf")).args(args);
        command
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let down =
            gauntlet(&["hosts", "down", "--keep-image", "--dir", self.dir.path().to_str().unwrap()]).output();
        match down {
            Ok(down) if down.status.success() => {}
            other => eprintln!("containers are left: {other:?}"),
        }
    }
}

fn gauntlet(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gauntlet"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn wait_until(what: &str, deadline: Duration, mut predicate: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !predicate() {
        assert!(begun.elapsed() < deadline, "never {what}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// Ends it however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

const STORM: &str = "
world: ssh
subjects: [raft]
workloads: [register]
duration: 18s
load: { clients: 6, op_timeout: 1s, attempt_timeout: 300ms }
nemesis:
  - { faults: [{ partition: one }], start: 1s, for: 2s }
  - { faults: [{ loss: { probability: 0.2 } }], targets: all, start: 4s, for: 2s }
  - { faults: [{ rate: { bytes_per_s: 50000 } }], targets: all, start: 7s, for: 2s }
  - { faults: [{ delay: { latency: 20ms } }], targets: one, start: 7s, for: 2s }
  - { faults: [{ duplicate: { probability: 0.5 } }], targets: all, start: 7s, for: 2s }
  - { faults: [kill], targets: leader, start: 10s, for: 1s }
  - { faults: [pause], targets: leader, start: 12s, for: 1s }
  - { faults: [bit-flip], targets: one, start: 14s, for: 1s }
";

#[test]
fn every_fault_bites_on_hosts_and_they_are_left_as_they_were() {
    let Some(hosts) = Hosts::up() else { return };
    let before = hosts.state();
    let run = hosts.run(STORM, &["--seed", "1"]).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", said(&run));
    assert_eq!(hosts.state(), before);
    let latest = hosts.path("store").join("latest");
    let history = gauntlet(&["export", latest.to_str().unwrap()]).output().unwrap();
    let history = String::from_utf8_lossy(&history.stdout).into_owned();
    for means in [
        "links cut by the hosts' firewalls",
        // By netem where the kernel has it, else by the firewalls.
        " (packets)",
        "by the hosts' traffic classes",
        "by the nodes' conditioners",
        "gone by signal 9",
        "in state T",
        " flipped",
        "started again, it said:",
    ] {
        assert!(history.contains(means), "{means}");
    }
    for node in ["n1", "n2", "n3"] {
        let log = fs::read_to_string(latest.join(node).join("node.log")).expect("logs are fetched");
        assert!(log.contains("serving"), "{log}");
    }
    let dir = hosts.dir.path().to_str().unwrap();
    let down = gauntlet(&["hosts", "down", "--keep-image", "--dir", dir]).output().unwrap();
    assert!(down.status.success() && hosts.containers().is_empty(), "{}", said(&down));
    assert!(!hosts.path("key").exists() && !hosts.path("cluster.conf").exists());
}

#[test]
fn a_controller_that_is_killed_leaves_hosts_healed_ten_seconds_later() {
    let Some(hosts) = Hosts::up() else { return };
    let firewalls = |hosts: &Hosts| -> Vec<String> {
        let look = "iptables -S; tc qdisc show | grep -v noqueue; true";
        hosts.containers().iter().map(|container| docker(&["exec", container, "sh", "-c", look])).collect()
    };
    let before = firewalls(&hosts);
    let plan = "
world: ssh
subjects: [raft]
workloads: [register]
duration: 260s
nemesis:
  - { faults: [{ partition: halves }], start: 1s, for: 200s }
  - { faults: [{ rate: { bytes_per_s: 50000 } }], targets: all, start: 1s, for: 200s }
  - { faults: [pause], targets: one, start: 2s, for: 200s }
";
    let mut running = Running(hosts.run(plan, &[]).spawn().unwrap());
    let stopped = |hosts: &Hosts| {
        let look = "grep -h State /proc/[0-9]*/status 2>/dev/null | grep -c stopped; true";
        let counts = hosts.containers();
        counts.iter().any(|container| docker(&["exec", container, "sh", "-c", look]).trim() != "0")
    };
    wait_until("all in force", DEADLINE, || {
        stopped(&hosts)
            && firewalls(&hosts).iter().all(|state| state.contains("GAUNTLET-IN") && state.contains("htb"))
    });
    running.0.kill().unwrap();
    let killed = Instant::now();
    wait_until("healed", DEADLINE, || firewalls(&hosts) == before && !stopped(&hosts));
    assert!(killed.elapsed() <= HEALED_WITHIN, "it took {:?}", killed.elapsed());
}

#[test]
fn a_hosts_own_disk_is_filled_and_has_its_room_back_whoever_dies() {
    let Some(hosts) = Hosts::up_with(&["--disk-mib", "256"]) else { return };
    let is_full = |hosts: &Hosts| {
        let look = "df -P /var/tmp/gauntlet | grep -c 100%; true";
        let of = |container: &String| docker(&["exec", container, "sh", "-c", look]).trim() == "1";
        hosts.containers().iter().any(of)
    };
    let plan = "
world: ssh
subjects: [raft]
workloads: [{ put: { value_bytes: 1000 } }]
duration: 14s
load: { clients: 6, rate: 400, op_timeout: 1s, attempt_timeout: 300ms }
nemesis:
  - { faults: [disk-full], targets: one, start: 1s, for: 10s }
";
    let run = hosts.run(plan, &[]).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", said(&run));
    let latest = hosts.path("store").join("latest");
    let history = gauntlet(&["export", latest.to_str().unwrap()]).output().unwrap();
    let history = String::from_utf8_lossy(&history.stdout).into_owned();
    assert!(history.contains("0 bytes are free on /var/tmp/gauntlet"), "it was filled");
    assert!(history.contains("No space left on device"), "the node met it");
    assert!(!is_full(&hosts));

    let long = plan.replace("14s", "200s").replace("10s", "150s");
    let mut running = Running(hosts.run(&long, &[]).spawn().unwrap());
    wait_until("full", DEADLINE, || is_full(&hosts));
    running.0.kill().unwrap();
    let killed = Instant::now();
    wait_until("freed", DEADLINE, || !is_full(&hosts));
    assert!(killed.elapsed() <= HEALED_WITHIN, "it took {:?}", killed.elapsed());
}

#[test]
fn a_lost_ssh_connection_is_no_fault_of_a_node_and_a_second_controller_is_refused() {
    let Some(hosts) = Hosts::up() else { return };
    let plan = "
world: ssh
subjects: [raft]
workloads: [register]
duration: 20s
load: { clients: 3 }
nemesis: [{ faults: [{ partition: one }], start: 3s, for: 14s }]
";
    let mut running = Running(hosts.run(plan, &[]).spawn().unwrap());
    let is_cut = |hosts: &Hosts| {
        let containers = hosts.containers();
        containers.iter().all(|c| docker(&["exec", c, "iptables", "-S"]).contains("GAUNTLET-IN"))
    };
    wait_until("cut", DEADLINE, || is_cut(&hosts));
    let second = hosts.run(plan, &[]).output().unwrap();
    assert_eq!(second.status.code(), Some(255), "{}", said(&second));
    assert!(said(&second).contains("in use: another controller was heard"), "{}", said(&second));
    let connections = ssh_of(&hosts.path("known_hosts"));
    assert!(connections.len() >= 3, "{connections:?}");
    for connection in connections {
        let killed = Command::new("kill").args(["-9", &connection.to_string()]).status().unwrap();
        assert!(killed.success());
    }
    let ended = running.0.wait().unwrap();
    let mut words = String::new();
    std::io::Read::read_to_string(running.0.stdout.as_mut().unwrap(), &mut words).unwrap();
    assert_eq!(ended.code(), Some(0), "{words}");
}

/// The `ssh` processes that trust this file's hosts.
fn ssh_of(known_hosts: &Path) -> Vec<u32> {
    let known_hosts = known_hosts.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        (line.starts_with("ssh\0") && line.contains(known_hosts)).then_some(pid)
    });
    processes.collect()
}

#[test]
fn nodes_can_be_started_to_stay_asked_stopped_and_cleaned_away() {
    let Some(hosts) = Hosts::up() else { return };
    let on = |command: &str| {
        let output = gauntlet(&[command, "--cluster"]).arg(hosts.path("cluster.conf")).output().unwrap();
        assert!(output.status.success(), "{command}: {}", said(&output));
        said(&output)
    };
    let plan = "{ world: ssh, subjects: [raft], workloads: [register], duration: 2s }";
    fs::write(hosts.path("plan.yaml"), plan).unwrap();
    let start = || {
        let mut start = gauntlet(&["start"]);
        start.arg(hosts.path("plan.yaml")).arg("--cluster").arg(hosts.path("cluster.conf"));
        start.arg("--store").arg(hosts.path("store")).output().unwrap()
    };
    let started = start();
    assert!(started.status.success(), "{}", said(&started));
    assert!(said(&started).contains("n3: clients "), "{}", said(&started));
    let words = said(&started);
    let tls =
        words.lines().find_map(|line| line.split_once("gauntlet client ")).expect("how it is spoken to").1;
    let tls: Vec<&str> = tls.split(' ').take(6).collect();
    let http =
        |line: &str| line.split_once("HTTP ").map(|(_, rest)| rest.split(',').next().unwrap().to_owned());
    let nodes: Vec<String> = words.lines().filter_map(http).collect();
    let nodes = nodes.join(",");
    let client = |more: &[&str]| {
        let flags = if more.is_empty() { &[][..] } else { &tls[..] };
        gauntlet(&["client", "--nodes", &nodes]).args(flags).args(["put", "a", "b"]).output().unwrap()
    };
    assert!(client(&tls).status.success(), "{}", said(&client(&tls)));
    assert!(!client(&[]).status.success(), "a stranger was let in");
    let again = start();
    assert!(said(&again).contains("in use: "), "{}", said(&again));
    assert!(on("logs").contains("n2 ") && on("logs").contains("serving"));
    let nodes = || hosts.state().iter().filter(|state| state.contains("raft-node")).count();
    assert_eq!(nodes(), 3);
    on("stop");
    assert_eq!(nodes(), 0);
    assert!(start().status.success());
    on("kill");
    assert_eq!(nodes(), 0);
    on("clean");
    let left =
        |container: &String| docker(&["exec", container, "find", "/var/tmp/gauntlet", "-mindepth", "1"]);
    assert!(hosts.containers().iter().all(|container| left(container).is_empty()));
    assert!(on("logs").contains("host n1 has no logs"));
}

#[test]
fn hosts_that_cannot_be_had_are_named_with_the_reason() {
    let Some(hosts) = Hosts::up() else { return };
    let plan = "{ world: ssh, subjects: [raft], workloads: [register], duration: 2s }";
    let conf = fs::read_to_string(hosts.path("cluster.conf")).unwrap();
    // A host that is another than the one that is known.
    let known = fs::read_to_string(hosts.path("known_hosts")).unwrap();
    let [first, second, rest @ ..] = &known.lines().collect::<Vec<_>>()[..] else { panic!("three hosts") };
    let key = |line: &str| line.split_once(' ').unwrap().1.to_owned();
    let swapped = first.replace(&key(first), &key(second)) + "\n" + second + "\n" + &rest.join("\n") + "\n";
    fs::write(hosts.path("known_hosts"), swapped).unwrap();
    let refused = hosts.run(plan, &[]).output().unwrap();
    assert_eq!(refused.status.code(), Some(255), "{}", said(&refused));
    assert!(
        said(&refused).contains("host n1: ") && !said(&refused).contains("host n2: "),
        "{}",
        said(&refused)
    );
    // A host on which nobody listens.
    fs::write(hosts.path("known_hosts"), known).unwrap();
    fs::write(hosts.path("cluster.conf"), conf.replacen(" }", ", ssh_port: 9 }", 1)).unwrap();
    let refused = hosts.run(plan, &[]).output().unwrap();
    assert!(
        said(&refused).contains("host n1: connecting to") && said(&refused).contains("refused"),
        "{}",
        said(&refused)
    );
    let check = gauntlet(&["hosts", "check", "--cluster"]).arg(hosts.path("cluster.conf")).output().unwrap();
    assert_eq!(check.status.code(), Some(255), "{}", said(&check));
    assert!(
        said(&check).contains("not possible: n1: ") && said(&check).contains("│ n2   │"),
        "{}",
        said(&check)
    );
    // Containers whose clock, which is the machine's, is not to be touched whatever is said of them.
    let of_etcd = "
world: ssh
subjects: [etcd]
workloads: [register]
duration: 9s
nemesis: [{ faults: [{ clock-offset: { offset_ms: 1000 } }], targets: one, start: 1s, for: 1s }]
";
    fs::write(hosts.path("clock.yaml"), of_etcd).unwrap();
    fs::write(hosts.path("cluster.conf"), format!("exclusive: true\n{conf}")).unwrap();
    let mut check = gauntlet(&["hosts", "check", "--cluster"]);
    let check = check.arg(hosts.path("cluster.conf")).arg(hosts.path("clock.yaml")).output().unwrap();
    assert_eq!(check.status.code(), Some(255), "{}", said(&check));
    let refused = "not possible: etcd on n1: its system clock is left alone: it is a container";
    assert!(said(&check).contains(refused), "{}", said(&check));
    // Fewer hosts than nodes.
    fs::write(hosts.path("cluster.conf"), conf).unwrap();
    let refused = hosts.run(plan, &["--replicas", "5"]).output().unwrap();
    assert!(said(&refused).contains("3 hosts for 5 nodes"), "{}", said(&refused));
}

#[test]
fn load_hosts_record_one_history_each_and_what_is_wrong_in_it_is_found() {
    let Some(hosts) = Hosts::up_with(&["--clients", "2"]) else { return };
    let before = hosts.state();
    let plan = "
world: ssh
subjects: [raft]
workloads: [append]
duration: 12s
load: { clients: 5, op_timeout: 1s, attempt_timeout: 300ms }
nemesis:
  - { faults: [{ partition: leader }], start: 2s, for: 2s }
  - { faults: [kill], targets: leader, start: 6s, for: 1s }
";
    let run = hosts.run(plan, &["--seed", "1"]).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", said(&run));
    assert_eq!(hosts.state(), before);
    let latest = hosts.path("store").join("latest");
    let export = |what: &Path| {
        let exported = gauntlet(&["export", what.to_str().unwrap()]).output().unwrap();
        String::from_utf8(exported.stdout).unwrap()
    };
    let acknowledged = |history: &str| history.lines().filter(|line| line.contains(r#""type":"ok""#)).count();
    let parts =
        ["c1", "c2"].map(|host| acknowledged(&export(&latest.join("load").join(host).join("history.bin"))));
    let (all, own) = (export(&latest), export(&latest.join("load").join("controller.bin")));
    assert!(parts.iter().all(|part| *part > 100), "{parts:?}");
    assert_eq!(acknowledged(&all), parts[0] + parts[1] + acknowledged(&own));
    assert!(all.lines().next().unwrap().contains("clock-uncertainty"), "{all:.200}");
    assert!(!latest.join("load").join("c1").join("client.key").exists(), "a key was fetched");
    let facts = fs::read_to_string(latest.join("run.json")).unwrap();
    assert!(facts.contains("c1, c2 (their clocks are compared"), "{facts}");

    // What one host reads is stale by what another has written.
    let stale = "
world: ssh
subjects: [{ system: raft, options: { bugs: [raft.local-read] } }]
workloads: [register]
duration: 9s
load: { clients: 15, op_timeout: 1s, attempt_timeout: 300ms }
nemesis:
  - { faults: [{ clock-rate: { rate: 0.3 } }], targets: leader, start: 1s, every: 3s, for: 1600ms }
  - { faults: [{ partition: leader }], start: 1300ms, every: 3s, for: 1300ms }
";
    let caught = (1..=6).any(|seed: u32| {
        let run = hosts.run(stale, &["--seed", &seed.to_string()]).output().unwrap();
        run.status.code() == Some(1) && said(&run).contains("so it is although clocks may be")
    });
    assert!(caught, "a stale read was never found for certain");

    // A load host whose load dies takes what it knows with it: nothing can be said, and the others' histories are kept.
    let mut running = Running(hosts.run(&plan.replace("12s", "30s"), &["--seed", "2"]).spawn().unwrap());
    let loads = |hosts: &Hosts| -> Vec<(String, String)> {
        let look = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q ' loa[d] --dir' && echo ${p#/proc/}; done; true";
        let pids = |container: String| {
            let pids = docker(&["exec", &container, "sh", "-c", look]);
            pids.lines().map(|pid| (container.clone(), pid.to_owned())).collect::<Vec<_>>()
        };
        hosts.containers().into_iter().flat_map(pids).collect()
    };
    wait_until("loading", DEADLINE, || loads(&hosts).len() == 2);
    std::thread::park_timeout(Duration::from_secs(2));
    let (container, pid) = loads(&hosts).remove(0);
    docker(&["exec", &container, "kill", "-9", &pid]);
    let ended = running.0.wait().unwrap();
    let mut words = String::new();
    std::io::Read::read_to_string(running.0.stderr.as_mut().unwrap(), &mut words).unwrap();
    assert_eq!(ended.code(), Some(255), "{words}");
    assert!(words.contains("load host c") && words.contains("the load broke off (signal: 9"), "{words}");
    let latest = hosts.path("store").join("latest");
    for host in ["c1", "c2"] {
        assert!(latest.join("load").join(host).join("history.bin").is_file());
    }
    assert!(!latest.join("history.bin").exists(), "clients would seem to read what nobody has written");
}

#[test]
fn power_fails_under_etcd_where_containers_may_mount_and_is_refused_where_they_may_not() {
    let Some(_) = required::program("etcd") else { return };
    let plan = "
world: ssh
subjects: [etcd]
workloads: [set]
duration: 6s
load: { clients: 6, op_timeout: 2s, attempt_timeout: 500ms }
nemesis: [{ faults: [power-loss], targets: all, start: 1s, for: 300ms }]
";
    for (args, code, words) in [(&["--fuse"][..], 0, " not synced"), (&[], 2, "there is no /dev/fuse")] {
        let Some(hosts) = Hosts::up_with(args) else { return };
        let run = hosts.run(plan, &["--seed", "1"]).output().unwrap();
        assert_eq!(run.status.code(), Some(code), "{}", said(&run));
        let latest = hosts.path("store").join("latest");
        let history = gauntlet(&["export", latest.to_str().unwrap()]).output().unwrap();
        assert!(String::from_utf8_lossy(&history.stdout).contains(words), "{words}");
        for container in hosts.containers() {
            let mounts = docker(&["exec", &container, "cat", "/proc/mounts"]);
            assert!(!mounts.contains("gauntlet-lossy"), "{mounts}");
        }
        assert!(latest.join("n1/data/member").is_dir(), "what it held is fetched");
        let (conf, file) = (hosts.path("cluster.conf"), hosts.path("plan.yaml"));
        let check = gauntlet(&["hosts", "check", "--cluster"]).arg(conf).arg(file).output().unwrap();
        assert_eq!(check.status.code(), Some(if code == 0 { 0 } else { 255 }), "{}", said(&check));
        assert_eq!(said(&check).contains("no power loss of a foreign system"), code != 0, "{}", said(&check));
    }
}
