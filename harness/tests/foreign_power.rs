//! Power that fails under a foreign system, as a user of `gauntlet` sees it: what etcd has synced it has still, a liar has not.
//!
//! Needs etcd, /dev/fuse and the right to mount, and for the liar strace; says so and skips where they are not.

use required::{program, required};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Nothing here may take longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs take turns: a machine of two cores has no room for two clusters.
static TURN: Mutex<()> = Mutex::new(());

struct Arena {
    dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Arena {
    /// `None`, and a reason, where one of these programs is missing or nothing can be mounted.
    fn new(programs: &[&str]) -> Option<Arena> {
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let dir = tempfile::Builder::new().prefix("fp-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for name in programs {
            program(name)?;
        }
        required("the right to mount through /dev/fuse", try_mount(dir.path()))?;
        Some(Arena { dir, _turn: turn })
    }

    fn command(&self, program: &str, plan: &str) -> Command {
        let file = self.dir.path().join("plan.yaml");
        fs::write(&file, plan).unwrap();
        let mut command = Command::new(program);
        command.arg("run").arg(file).arg("--store").arg(self.dir.path().join("store"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn gauntlet(&self, plan: &str) -> Command {
        self.command(env!("CARGO_BIN_EXE_gauntlet"), plan)
    }

    fn latest(&self) -> PathBuf {
        self.dir.path().join("store/latest").canonicalize().expect("a run was stored")
    }

    fn json(&self, file: &str) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.latest().join(file)).unwrap()).unwrap()
    }

    /// How a check of the latest run went: its verdict and its words.
    fn check(&self, name: &str) -> (String, String) {
        let results = self.json("results.json");
        let checks = results["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["checker"] == name).unwrap();
        (check["verdict"].as_str().unwrap().to_owned(), check["summary"].as_str().unwrap().to_owned())
    }

    /// What showed that each power loss was in force, or why it was not.
    fn power_losses(&self) -> Vec<String> {
        let mut export = Command::new(env!("CARGO_BIN_EXE_gauntlet"));
        let output = export.arg("export").arg(self.latest()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines
            .filter(|line| line["f"] == "power-loss" && line["value"]["stage"] != "healed")
            .map(|line| line["value"]["detail"].as_str().unwrap().to_owned())
            .collect()
    }

    fn mounts(&self) -> String {
        let dir = self.dir.path().to_str().unwrap();
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        mounts.lines().filter(|line| line.contains(dir)).collect::<Vec<_>>().join("\n")
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

fn try_mount(dir: &Path) -> Result<(), String> {
    let (backing, at) = (dir.join("backing"), dir.join("at"));
    fs::create_dir(&backing).and_then(|()| fs::create_dir(&at)).unwrap();
    let mut lossy = Command::new(env!("CARGO_BIN_EXE_gauntlet"));
    let output = lossy.arg("lossy").arg(backing).arg(at).stdin(Stdio::null()).output().unwrap();
    if output.stdout.starts_with(b"{\"Ok\"") { Ok(()) } else { Err(said(&output)) }
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < DEADLINE, "never {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

const POWER: &str = "
subjects: [etcd]
workloads: [set]
duration: 10s
seed: 3
load: { clients: 6, op_timeout: 2s, attempt_timeout: 500ms }
nemesis:
  - { faults: [power-loss], targets: majority, start: 1s, for: 300ms }
  - { faults: [power-loss], targets: all, start: 4s, for: 300ms }
";

#[test]
fn etcd_loses_what_it_has_not_synced_and_nothing_that_it_has_acknowledged() {
    let Some(arena) = Arena::new(&["etcd"]) else { return };
    let output = arena.gauntlet(POWER).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(arena.check("faults"), ("valid".to_owned(), "2 faults bit, 0 skipped".to_owned()));
    assert_eq!(arena.check("set").0, "valid");
    for evidence in arena.power_losses() {
        assert!(evidence.contains("gone by signal 9; ") && evidence.contains(" not synced"), "{evidence}");
    }
    assert!(arena.json("run.json")["facts"].to_string().contains("below the node"), "the report says it");
    assert_eq!(arena.mounts(), "", "nothing is left");
    let node = arena.latest().join("n1");
    assert!(
        node.join("data/member/wal").is_dir() && !node.join("data.disk").exists(),
        "what it held is there"
    );
}

#[test]
fn an_etcd_whose_syncs_do_nothing_is_found_out() {
    let Some(arena) = Arena::new(&["etcd", "strace"]) else { return };
    let (etcd, strace) = (program("etcd").unwrap(), program("strace").unwrap());
    // Each sync of it is answered without being done.
    let liar = format!(
        "#!/bin/sh\nexec {} -D -f --seccomp-bpf -qqq -o /dev/null -e trace=fsync,fdatasync -e inject=fsync,fdatasync:retval=0 {} \"$@\"\n",
        strace.display(),
        etcd.display()
    );
    let bin = arena.dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("etcd"), liar).unwrap();
    fs::set_permissions(bin.join("etcd"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", bin.display());
    let output = arena.gauntlet(POWER).env("PATH", &path).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let (verdict, summary) = arena.check("set");
    assert!(verdict == "invalid" && summary.contains("lost"), "{verdict}: {summary}");

    // It is not that it lies that is found, but what it lost by it: a kill loses nothing.
    let output = arena.gauntlet(&POWER.replace("power-loss", "kill")).env("PATH", &path).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn a_controller_that_is_killed_leaves_neither_mounts_nor_processes() {
    let Some(arena) = Arena::new(&["etcd"]) else { return };
    let mut running = Running(arena.gauntlet(&POWER.replace("10s", "60s")).spawn().unwrap());
    wait_until("mounted", || arena.mounts().lines().count() == 3);
    running.0.kill().unwrap();
    running.0.wait().unwrap();
    wait_until("unmounted", || arena.mounts().is_empty());
    let dir = arena.dir.path().to_str().unwrap();
    let is_ours = |process: fs::DirEntry| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(dir)
    };
    wait_until("ended", || !fs::read_dir("/proc").unwrap().flatten().any(is_ours));
}

#[test]
fn a_disk_of_ours_that_fails_is_no_fault_of_etcds() {
    let Some(arena) = Arena::new(&["etcd"]) else { return };
    let mut running = Running(arena.gauntlet(POWER).spawn().unwrap());
    let serves_n1 = |process: &fs::DirEntry| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(" lossy ") && line.contains(arena.dir.path().to_str().unwrap()) && line.contains("/n1/")
    };
    let mut pid = None;
    wait_until("served", || {
        let process = fs::read_dir("/proc").unwrap().flatten().find(serves_n1);
        pid = process.map(|process| process.file_name().into_string().unwrap());
        pid.is_some()
    });
    let history = || fs::read_dir(arena.dir.path().join("store/plan")).unwrap().flatten().next();
    wait_until("loaded", || {
        let history = history().map(|run| run.path().join("history.bin"));
        history.and_then(|file| file.metadata().ok()).is_some_and(|file| file.len() > 4_000)
    });
    let killed = Command::new("kill").args(["-9", &pid.expect("it was found")]).status().unwrap();
    assert!(killed.success());
    assert_eq!(running.0.wait().unwrap().code(), Some(2), "unknown, and not invalid");
    let problems = arena.json("run.json")["heal_problems"].to_string();
    assert!(problems.contains("n1: the program that served its disk ended by itself"), "{problems}");
    assert_eq!(arena.mounts(), "");
}

#[test]
fn where_nothing_can_be_mounted_the_fault_is_skipped_and_the_storm_is_none() {
    let Some(arena) = Arena::new(&["etcd", "setpriv"]) else { return };
    let mut command = arena.command("setpriv", POWER);
    let run: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    command = Command::new("setpriv");
    command.args([
        "--bounding-set",
        "-sys_admin",
        "--inh-caps",
        "-sys_admin",
        env!("CARGO_BIN_EXE_gauntlet"),
    ]);
    let output = command.args(run).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let why = arena.power_losses();
    assert!(
        why.len() == 2 && why.iter().all(|why| why.contains("this machine: mounting a FUSE file system: ")),
        "{why:?}"
    );
    assert!(arena.json("run.json")["facts"].to_string().contains("kept by the hosts"));
}
