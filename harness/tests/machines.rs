//! `gauntlet` on virtual machines over SSH: what only a host with a kernel and a clock of its own can show.
//!
//! By hand, as root, with `qemu-system-x86_64`, `debootstrap` and `ip`, some minutes (with KVM) or many: `cargo test -p gauntlet
//! --test machines`. `cargo test` alone leaves it out. The machines are in a network namespace of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const NETNS: &str = "gauntlet-machines";
const MACHINES: [u32; 3] = [1, 2, 3];
/// Nothing here may take longer, on an emulated processor, too.
const DEADLINE: Duration = Duration::from_secs(400);

/// Three machines; gone when this is.
struct Machines {
    dir: PathBuf,
    is_emulated: bool,
}

impl Machines {
    fn up() -> Machines {
        let is_emulated = !Path::new("/dev/kvm").exists();
        let accelerator = if is_emulated { "tcg" } else { "kvm" };
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("machines");
        fs::create_dir_all(&dir).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machines/up.sh");
        let machines = Machines { dir, is_emulated };
        let mut up = Command::new("sh");
        up.arg(script).arg(&machines.dir).arg(accelerator).arg(NETNS);
        let up = up.stdin(Stdio::null()).output().unwrap();
        assert!(up.status.success(), "{}", said(&up));
        for n in MACHINES {
            wait_until("a machine lets us in", DEADLINE, || machines.try_on(n, "true").status.success());
        }
        machines
    }

    /// A `cluster.conf` of all of them, by these addresses, with this besides.
    fn conf(&self, prefix: &str, besides: &str) -> PathBuf {
        let host = |n: &u32| format!("  - {{ name: n{n}, address: '{prefix}{n}' }}\n");
        let hosts: String = MACHINES.iter().map(host).collect();
        let path = self.dir.join("cluster.conf");
        fs::write(&path, format!("key: key\nknown_hosts: known_hosts\n{besides}\nhosts:\n{hosts}")).unwrap();
        path
    }

    fn gauntlet(&self, plan: &str, conf: &Path) -> Command {
        fs::write(self.dir.join("plan.yaml"), plan).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", NETNS, env!("CARGO_BIN_EXE_gauntlet"), "run"]);
        command.arg(self.dir.join("plan.yaml")).arg("--cluster").arg(conf);
        command.arg("--store").arg(self.dir.join("store")).args(["--seed", "1"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn try_on(&self, n: u32, command: &str) -> Output {
        let mut ssh = Command::new("ip");
        ssh.current_dir(&self.dir).args([
            "netns",
            "exec",
            NETNS,
            "ssh",
            "-i",
            "key",
            "-o",
            "ConnectTimeout=5",
        ]);
        ssh.args(["-o", "BatchMode=yes", "-o", "UserKnownHostsFile=known_hosts"]);
        ssh.arg(format!("root@10.77.0.{n}")).arg(command).stdin(Stdio::null()).output().unwrap()
    }

    fn on(&self, n: u32, command: &str) -> String {
        let output = self.try_on(n, command);
        assert!(output.status.success(), "{command} on n{n}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What of each machine has to be as it was.
    fn state(&self) -> Vec<String> {
        let look = "iptables -S; ip6tables -S; tc qdisc show; systemctl is-active systemd-timesyncd; true";
        MACHINES.map(|n| self.on(n, look)).to_vec()
    }

    /// How far each machine's clock is ahead of ours, seconds.
    fn clocks(&self) -> Vec<f64> {
        let ahead = |n| {
            let theirs: f64 = self.on(n, "date +%s.%N").trim().parse().unwrap();
            theirs - std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
        };
        MACHINES.map(ahead).to_vec()
    }

    /// Whether all is as it was: `date` over SSH tells a clock to a few seconds.
    fn are_as_before(&self, state: &[String], clocks: &[f64]) -> bool {
        let is_right = self.clocks().iter().zip(clocks).all(|(now, before)| (now - before).abs() < 5.0);
        is_right && self.state() == state
    }

    /// When they must be as they were after whoever broke them has died; looking takes its time, too.
    fn healed_within(&self) -> Duration {
        Duration::from_secs(if self.is_emulated { 60 } else { 15 })
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for n in MACHINES {
            if let Ok(pid) = fs::read_to_string(self.dir.join(format!("pid{n}"))) {
                Command::new("kill").args(["-9", pid.trim()]).status().ok();
            }
        }
        Command::new("ip").args(["netns", "delete", NETNS]).status().ok();
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

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn wait_until(what: &str, deadline: Duration, mut predicate: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !predicate() {
        assert!(begun.elapsed() < deadline, "never: {what}");
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

const STORM: &str = "
world: ssh
subjects: [raft]
workloads: [register]
duration: 90s
load: { clients: 2, rate: 8, op_timeout: 3s, attempt_timeout: 1s }
nemesis:
  - { faults: [{ partition: one }], start: 2s, for: 5s }
  - { faults: [{ delay: { latency: 30ms, jitter: 20ms } }], targets: one, start: 12s, for: 5s }
  - { faults: [{ loss: { probability: 0.2 } }], targets: all, start: 22s, for: 5s }
  - { faults: [{ rate: { bytes_per_s: 20000 } }], targets: all, start: 32s, for: 5s }
  - { faults: [{ clock-offset: { offset_ms: -3600000 } }], targets: all, start: 42s, for: 5s }
  - { faults: [{ clock-rate: { rate: 1.5 } }], targets: one, start: 52s, for: 5s }
  - { faults: [{ clock-strobe: { offset_ms: 2000, period: 500ms } }], targets: one, start: 62s, for: 5s }
";

const LONG: &str = "
world: ssh
subjects: [raft]
workloads: [register]
duration: 600s
load: { clients: 1, rate: 2 }
nemesis:
  - { faults: [{ clock-offset: { offset_ms: 3600000 } }], targets: all, start: 1s, for: 500s }
  - { faults: [{ delay: { latency: 10ms } }], targets: all, start: 1s, for: 500s }
  - { faults: [{ partition: halves }], start: 1s, for: 500s }
";

#[test]
fn kernels_and_clocks_of_machines_are_broken_and_left_as_they_were() {
    let machines = Machines::up();
    let (state, clocks) = (machines.state(), machines.clocks());
    assert!(state.iter().all(|state| state.trim_end().ends_with("\nactive")), "{state:?}");

    // By IPv6, as somebody who is not root.
    let conf = machines.conf("fd77::", "user: admin\nsudo: true\nexclusive: true\nclock: system");
    let run = machines.gauntlet(STORM, &conf).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", said(&run));
    assert!(!said(&run).contains("Not collected"), "{}", said(&run));
    assert!(machines.are_as_before(&state, &clocks), "{:?} {:?}", machines.state(), machines.clocks());
    let latest = machines.dir.join("store/latest");
    let history = Command::new(env!("CARGO_BIN_EXE_gauntlet")).arg("export").arg(latest).output().unwrap();
    let history = said(&history);
    for evidence in [
        "packets blocked",
        "by the hosts' netem (packets)",
        "packets delayed",
        "packets lost",
        "packets throttled",
        "the hosts' system clocks set",
        "clock was up to 3", // 3600 s, or nearly
    ] {
        assert!(history.contains(evidence), "{evidence}: {history}");
    }

    // Whoever dies.
    let conf = machines.conf("10.77.0.", "user: root\nexclusive: true\nclock: system");
    for victim in ["the controller", "the agents"] {
        let mut running = Running(machines.gauntlet(LONG, &conf).spawn().unwrap());
        wait_until("all is in force", DEADLINE, || {
            let is_ahead = machines.clocks().iter().zip(&clocks).all(|(now, before)| now - before > 3_000.0);
            let broken = |state: &String| {
                ["GAUNTLET-IN", "netem", "\ninactive"].iter().all(|words| state.contains(words))
            };
            is_ahead && machines.state().iter().all(broken)
        });
        if victim == "the controller" {
            running.0.kill().unwrap();
        } else {
            // Only the agents: their guards have another name, and nobody renews what they take back.
            for n in MACHINES {
                machines.on(n, "kill -9 $(cat /var/tmp/gauntlet/agent.lock)");
            }
        }
        wait_until(victim, machines.healed_within(), || machines.are_as_before(&state, &clocks));
    }
}
