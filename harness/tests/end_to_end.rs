//! `gauntlet` as its users run it: real node processes on loopback, real faults, exit codes, what is left behind.

use required::required;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Nothing here may take longer.
const DEADLINE: Duration = Duration::from_secs(120);

struct Arena {
    dir: tempfile::TempDir,
}

impl Arena {
    fn new() -> Self {
        // Below the build's own folder: a temporary file system in memory would make fsync a lie.
        let dir = tempfile::Builder::new().prefix("e2e-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Arena { dir }
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn plan(&self, text: &str) -> PathBuf {
        let path = self.dir.path().join("plan.yaml");
        fs::write(&path, text).unwrap();
        path
    }

    fn gauntlet(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gauntlet"));
        command.args(args).stdin(Stdio::null());
        command
    }

    fn run(&self, plan: &Path, args: &[&str]) -> Output {
        let mut command =
            self.gauntlet(&["run", plan.to_str().unwrap(), "--store", self.store().to_str().unwrap()]);
        command.args(args).output().unwrap()
    }

    fn latest(&self) -> PathBuf {
        self.store().join("latest").canonicalize().expect("a run was stored")
    }

    fn start(&self, plan: &Path) -> Child {
        let mut command =
            self.gauntlet(&["run", plan.to_str().unwrap(), "--store", self.store().to_str().unwrap()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn assert_exit(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
}

fn wait_until(what: &str, mut predicate: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !predicate() {
        assert!(Instant::now() < deadline, "never {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// The processes that `parent` has started and not yet lost, stopped ones too.
fn children_of(parent: u32) -> Vec<u32> {
    let stat = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let field = |text: &str, n: usize| {
        text.rsplit_once(')').and_then(|(_, r)| r.split_whitespace().nth(n).map(String::from))
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid| field(&stat(*pid), 1) == Some(parent.to_string()))
        .collect()
}

fn alive(pid: u32) -> bool {
    // A zombie that nobody has waited for yet holds nothing.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

const STORM: &str = "
subjects: [raft]
workloads: [register]
duration: 6s
seed: 5
nemesis:
  - { faults: [kill], targets: leader, start: 1s, for: 1s }
  - { faults: [{ partition: one }], start: 3s, for: 1s }
";

/// A plan whose faults are in force from 0.5 s on to the end of a long run.
const LONG: &str = "
subjects: [raft]
workloads: [register]
duration: 120s
seed: 5
nemesis:
  - { faults: [pause], targets: { nodes: [1] }, start: 500ms, for: 90s }
  - { faults: [{ delay: { latency: 30ms } }], targets: { nodes: [2] }, start: 600ms, for: 90s }
";

#[test]
fn a_run_ends_valid_and_its_folder_can_be_judged_rendered_and_exported_again() {
    let arena = Arena::new();
    let output = arena.run(&arena.plan(STORM), &[]);
    assert_exit(&output, 0);
    let dir = arena.latest();
    assert!(said(&output).contains("report.html"), "{}", said(&output));
    for file in
        ["plan.yaml", "run.json", "history.bin", "statuses.json", "results.json", "perf.json", "report.html"]
    {
        assert!(dir.join(file).is_file(), "no {file}");
    }
    let results = json(&dir.join("results.json"));
    assert_eq!(results["verdict"], "valid");
    let faults =
        results["checks"].as_array().unwrap().iter().find(|check| check["checker"] == "faults").unwrap();
    assert_eq!(faults["numbers"]["bit"], 2.0, "{faults}");

    let dir_arg = dir.to_str().unwrap();
    assert_exit(&arena.gauntlet(&["check", dir_arg]).output().unwrap(), 0);
    assert_exit(&arena.gauntlet(&["report", dir_arg]).output().unwrap(), 0);
    let export = arena.gauntlet(&["export", dir_arg]).output().unwrap();
    assert_exit(&export, 0);
    let lines: Vec<serde_json::Value> =
        export.stdout.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert!(lines.iter().filter(|line| line["type"] == "ok").count() > 100);

    // The resolved plan is a plan, and makes the same choices.
    let again = arena.run(&dir.join("plan.yaml"), &[]);
    assert_exit(&again, 0);
    assert_eq!(fs::read(dir.join("plan.yaml")).unwrap(), fs::read(arena.latest().join("plan.yaml")).unwrap());
}

/// One node, with all clients, is far from a majority.
#[test]
fn a_topology_shows_in_what_operations_take_and_a_fault_on_kinds_in_its_evidence() {
    let arena = Arena::new();
    let plan = arena.plan(
        "
subjects: [raft]
workloads: [register]
duration: 5s
seed: 5
links: { zones: { a: [n1], b: [n2, n3] }, rtt: { a-b: 60ms }, clients: { a: 1 } }
nemesis:
  - { faults: [{ loss: { probability: 0.1, kinds: [append-reply] } }], targets: all, start: 1s, for: 2s }
",
    );
    assert_exit(&arena.run(&plan, &[]), 0);
    let dir = arena.latest();
    let p50_ms = json(&dir.join("perf.json"))["overall"]["latency"]["p50_ms"].as_f64().unwrap();
    assert!((60.0..240.0).contains(&p50_ms), "{p50_ms} ms");
    let events = arena.gauntlet(&["export", dir.to_str().unwrap()]).output().unwrap();
    let events = String::from_utf8(events.stdout).unwrap();
    let healed = events.lines().find(|line| line.contains("loss-append-reply") && line.contains("healed"));
    assert!(healed.is_some_and(|line| line.contains("messages lost")), "{healed:?}");
    for file in ["run.json", "report.html"] {
        let text = fs::read_to_string(dir.join(file)).unwrap();
        assert!(text.contains("zones a with n1, b with n2, n3; round trips a-b 60ms"), "{file}");
    }
}

#[test]
fn nodes_are_kept_to_the_share_of_processors_that_a_plan_says() {
    let arena = Arena::new();
    let plan = arena.plan(
        "
subjects: [raft]
workloads: [put]
duration: 3s
seed: 5
cpu_quota: 0.05
load: { clients: 32 }
",
    );
    let output = arena.run(&plan, &[]);
    if output.status.code() == Some(254) {
        assert!(said(&output).contains("cpu_quota 0.05 cannot be had on this machine"), "{}", said(&output));
        assert!(required("control groups of one's own", Err::<(), _>(said(&output))).is_none());
        return;
    }
    assert_exit(&output, 0);
    let hosts = json(&arena.latest().join("hosts.json"));
    let counters = hosts.to_string();
    assert!(counters.contains("cpu.stat:nr_throttled") && counters.contains("cpu_quota 0.05"), "{hosts}");
    let run = fs::read_to_string(arena.latest().join("run.json")).unwrap();
    assert!(run.contains("0.05 processors for each node"), "{run}");
    let refused = arena.gauntlet(&["sim", plan.to_str().unwrap(), "--seeds", "1"]).output().unwrap();
    assert_exit(&refused, 254);
    assert!(said(&refused).contains("virtual time has no processors"), "{}", said(&refused));
}

#[test]
fn what_is_counted_survives_kills_and_the_replicas_end_in_one_state() {
    let arena = Arena::new();
    let plan = arena.plan(
        "
subjects: [raft]
workloads: [set, counter, { bank: { overdraft: false } }]
duration: 2s
seed: 5
nemesis:
  - { faults: [kill], targets: leader, start: 500ms, for: 300ms }
  - { faults: [kill], targets: one, start: 1200ms, for: 300ms }
",
    );
    assert_exit(&arena.run(&plan, &[]), 0);
    for check in ["set", "counter", "bank"] {
        let results = json(&arena.latest().join(format!("{check}-raft/results.json")));
        for name in [check, "agreement", "faults"] {
            let check = results["checks"].as_array().unwrap().iter().find(|check| check["checker"] == name);
            assert_eq!(check.unwrap()["verdict"], "valid", "{results}");
        }
        let statuses = json(&arena.latest().join(format!("{check}-raft/statuses.json")));
        assert_eq!(statuses["settled"]["last"].as_array().unwrap().len(), 3, "{statuses}");
    }
}

#[test]
fn local_reads_are_found_not_linearizable() {
    let arena = Arena::new();
    let output = arena.run(&arena.plan(STORM), &["--read", "local"]);
    assert_exit(&output, 1);
    let results = json(&arena.latest().join("results.json"));
    let check =
        results["checks"].as_array().unwrap().iter().find(|check| check["verdict"] == "invalid").unwrap();
    assert_eq!(check["checker"], "linearizability");
    let story = check["evidence"][0]["story"].as_str().unwrap();
    assert!(story.contains("read"), "{story}");
}

#[test]
fn an_unknown_key_is_named_with_its_file_and_line() {
    let arena = Arena::new();
    let output = arena.run(&arena.plan(&STORM.replace("duration", "durration")), &[]);
    assert_exit(&output, 254);
    for word in ["plan.yaml", "durration", "line"] {
        assert!(said(&output).contains(word), "{word}: {}", said(&output));
    }
    assert!(!arena.store().exists(), "nothing is made of a plan that cannot run");
}

#[test]
fn a_node_that_does_not_start_is_named_with_its_last_words() {
    use std::os::unix::fs::PermissionsExt;
    let arena = Arena::new();
    let bin_dir = arena.dir.path().join("bin");
    fs::create_dir(&bin_dir).unwrap();
    let program = bin_dir.join("raft-node");
    fs::write(&program, "#!/bin/sh\necho 'the journal is corrupt at offset 7' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let output = arena.run(&arena.plan(STORM), &["--bin-dir", bin_dir.to_str().unwrap()]);
    assert_exit(&output, 255);
    assert!(
        said(&output).contains("n1 did not start: the journal is corrupt at offset 7"),
        "{}",
        said(&output)
    );
}

#[test]
fn ctrl_c_in_the_middle_of_faults_heals_saves_and_checks() {
    let arena = Arena::new();
    let mut child = arena.start(&arena.plan(LONG));
    wait_for_a_stopped_child(child.id());
    let nodes = children_of(child.id());
    signal(child.id(), rustix::process::Signal::INT);
    let status = wait(&mut child);
    assert_eq!(status.code(), Some(255));
    assert!(!nodes.iter().any(|pid| alive(*pid)), "a node is left behind");
    let dir = arena.latest();
    assert_eq!(json(&dir.join("run.json"))["outcome"], "interrupted");
    let results = json(&dir.join("results.json"));
    let check = |name: &str| {
        results["checks"].as_array().unwrap().iter().find(|check| check["checker"] == name).unwrap().clone()
    };
    assert_eq!(check("faults")["verdict"], "valid", "both faults bit and were healed: {}", check("faults"));
    assert_eq!(check("linearizability")["verdict"], "valid");
}

#[test]
fn ctrl_c_before_anything_was_asked_blames_nobody() {
    let arena = Arena::new();
    let mut child = arena.start(&arena.plan(LONG));
    // Its nodes are about to start.
    wait_until("a run", || arena.store().join("latest/run.json").is_file());
    signal(child.id(), rustix::process::Signal::INT);
    assert_eq!(wait(&mut child).code(), Some(255));
    let results = json(&arena.latest().join("results.json"));
    assert_eq!(results["verdict"], "unknown", "{results}");
}

#[test]
fn killing_the_controller_leaves_no_process_and_loses_nothing_recorded() {
    let arena = Arena::new();
    let mut child = arena.start(&arena.plan(LONG));
    wait_for_a_stopped_child(child.id());
    let nodes = children_of(child.id());
    assert_eq!(nodes.len(), 3);
    let history = arena.latest().join("history.bin");
    let recorded = fs::metadata(&history).unwrap().len();
    signal(child.id(), rustix::process::Signal::KILL);
    wait(&mut child);
    wait_until("all nodes gone", || !nodes.iter().any(|pid| alive(*pid)));
    assert!(fs::metadata(&history).unwrap().len() >= recorded);
    let output = arena.gauntlet(&["check", arena.latest().to_str().unwrap()]).output().unwrap();
    assert_exit(&output, 255);
    assert!(said(&output).contains("truncated"), "{}", said(&output));
    let results = json(&arena.latest().join("results.json"));
    let stats =
        results["checks"].as_array().unwrap().iter().find(|check| check["checker"] == "stats").unwrap();
    assert!(stats["numbers"]["write_ok"].as_f64().unwrap() > 0.0, "{stats}");
}

#[test]
fn a_cut_history_is_judged_as_far_as_it_goes_and_never_passes() {
    let arena = Arena::new();
    assert_exit(&arena.run(&arena.plan(STORM), &["--duration", "3s", "--nemesis", "none"]), 0);
    let history = arena.latest().join("history.bin");
    let bytes = fs::read(&history).unwrap();
    fs::write(&history, &bytes[..bytes.len() * 9 / 10]).unwrap();
    let output = arena.gauntlet(&["check", arena.latest().to_str().unwrap()]).output().unwrap();
    assert_exit(&output, 2);
    assert!(said(&output).contains("truncated"), "{}", said(&output));
}

#[test]
fn a_comparison_runs_each_subject_through_the_same_storm() {
    let arena = Arena::new();
    let text =
        STORM.replace("[raft]", "[raft, standalone]").replace("6s", "4s").replace("start: 3s", "start: 2s");
    let plan = arena.plan(&text);
    let output = arena
        .gauntlet(&["compare", plan.to_str().unwrap(), "--store", arena.store().to_str().unwrap()])
        .output()
        .unwrap();
    assert_exit(&output, 0);
    let dir = arena.latest();
    assert!(dir.join("report.html").is_file());
    assert!(said(&output).contains("standalone"));
    let results = json(&dir.join("register-standalone/results.json"));
    let faults =
        results["checks"].as_array().unwrap().iter().find(|check| check["checker"] == "faults").unwrap();
    assert_eq!((&faults["numbers"]["bit"], &faults["verdict"]), (&1.0.into(), &"valid".into()), "{faults}");
    let left_out = "line 2 (partition-one): one node has no links";
    let info = json(&dir.join("register-standalone/run.json"));
    assert_eq!(info["left_out"], serde_json::json!([left_out]));
    assert_eq!(json(&dir.join("register-raft/run.json"))["left_out"], serde_json::json!([]));
    let on_terminal = said(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(on_terminal.contains(&format!("Left out of the nemesis: {left_out}")), "{on_terminal}");
}

#[test]
fn a_line_of_the_nemesis_that_nobody_can_have_is_refused_before_anything_starts() {
    let arena = Arena::new();
    for (line, args, words) in [
        (
            "{ faults: [disk-stall, { disk-slow: { times: 9 } }], start: 1s, for: 1s }",
            &[][..],
            "line 2 of the nemesis (disk-stall, disk-slow) cannot be had in the local world: raft: only in virtual time; \
             standalone: only in virtual time",
        ),
        (
            "{ faults: [members], start: 1s, for: 1s }",
            &["--subject", "standalone"],
            "line 2 of the nemesis (members) cannot be had in the local world: standalone: its members cannot change",
        ),
    ] {
        let plan = arena.plan(&format!(
            "subjects: [raft, standalone]\nworkloads: [register]\nduration: 5s\nnemesis:\n  - {{ faults: [kill], start: 1s, for: 1s }}\n  \
             - {line}\n"
        ));
        let mut compare = arena.gauntlet(&["compare", plan.to_str().unwrap()]);
        let output = compare.args(["--store", arena.store().to_str().unwrap()]).args(args).output().unwrap();
        assert_exit(&output, 254);
        assert!(said(&output).contains(words), "{}", said(&output));
        assert!(!arena.store().exists(), "something was started");
    }
    let plan = arena.plan(
        "subjects: [toy]\nworkloads: [{ register: { cas: 0 } }]\nduration: 5s\nnemesis:\n  \
         - { faults: [{ clock-offset: { offset_ms: 300 } }, { cpu-pressure: { workers: 1 } }], start: 1s, for: 1s }\n",
    );
    let output = arena.gauntlet(&["sim", plan.to_str().unwrap(), "--seeds", "3"]).output().unwrap();
    assert_exit(&output, 254);
    let words = "line 1 of the nemesis (clock-offset, cpu-pressure) cannot be had in virtual time: toy: it uses no clock";
    assert!(said(&output).contains(words), "{}", said(&output));
}

#[test]
fn etcd_is_driven_and_judged_by_the_same_plan() {
    let Some(_) = required::program("etcd") else { return };
    let arena = Arena::new();
    let plan = arena.plan(&STORM.replace("[raft]", "[raft, etcd]").replace("6s", "8s"));
    let output = arena
        .gauntlet(&["compare", plan.to_str().unwrap(), "--store", arena.store().to_str().unwrap()])
        .output()
        .unwrap();
    assert_exit(&output, 0);
    let dir = arena.latest().join("register-etcd");
    let results = json(&dir.join("results.json"));
    let faults =
        results["checks"].as_array().unwrap().iter().find(|check| check["checker"] == "faults").unwrap();
    assert_eq!(faults["numbers"]["bit"], 1.0, "the kill: {faults}");
    let left_out = json(&dir.join("run.json"))["left_out"].to_string();
    assert!(left_out.contains("line 2 (partition-one): the links of a foreign process"), "{left_out}");
    // Alone it can have nothing of that line.
    let alone = arena.run(&plan, &["--subject", "etcd"]);
    assert_exit(&alone, 254);
    assert!(said(&alone).contains("line 2 of the nemesis (partition-one) cannot be had"), "{}", said(&alone));
}

#[test]
fn a_full_disk_ends_the_run_with_one_message_and_keeps_what_was_recorded() {
    let arena = Arena::new();
    let small = arena.dir.path().join("store");
    fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(&small).output();
    let done = mounted.as_ref().is_ok_and(|output| output.status.success());
    let mounted = if done { Ok(()) } else { Err(format!("{mounted:?}")) };
    let Some(()) = required("the right to mount", mounted) else { return };
    struct Unmount(PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let done = Command::new("umount").arg("--lazy").arg(&self.0).status();
            assert!(done.is_ok_and(|status| status.success()));
        }
    }
    let _mounted = Unmount(small);
    // Nothing is written by the nodes, so it is the history that fills the disk.
    let output =
        arena.run(&arena.plan(LONG), &["--durability", "memory", "--nemesis", "none", "--clients", "64"]);
    assert_exit(&output, 255);
    assert!(said(&output).contains("No space left"), "{}", said(&output));
    let history = arena.latest().join("history.bin");
    let export = arena.gauntlet(&["export", history.to_str().unwrap()]).output().unwrap();
    assert!(export.stdout.lines().count() > 1000, "{}", said(&export));
}

#[test]
fn a_person_can_list_and_is_told_about_a_wrong_folder() {
    let arena = Arena::new();
    let list = arena.gauntlet(&["list"]).output().unwrap();
    assert_exit(&list, 0);
    assert!(said(&list).contains("partition-majorities-ring") && said(&list).contains("ycsb-a"));
    let framed = |line: &&str| line.starts_with(['│', '├', '╭', '╰']);
    let words = said(&list);
    let widest = words.lines().filter(framed).map(|line| line.chars().count()).max();
    assert!(widest.is_some_and(|widest| widest <= 100), "{words}");
    let output = arena.gauntlet(&["check", arena.dir.path().to_str().unwrap()]).output().unwrap();
    assert_exit(&output, 255);
    assert!(said(&output).contains("it is no run's folder"), "{}", said(&output));
}

#[test]
fn the_prompt_speaks_to_running_nodes() {
    let arena = Arena::new();
    let mut child = arena.start(&arena.plan(&LONG.replace("start: ", "start: 2")));
    let addresses = || -> Vec<String> {
        let Ok(dir) = arena.store().join("latest").canonicalize() else { return Vec::new() };
        let config = |n: u32| fs::read_to_string(dir.join(format!("n{n}/node.yaml"))).unwrap_or_default();
        let line =
            |text: String| text.lines().find_map(|l| l.strip_prefix("http_address: ").map(String::from));
        (1..=3).filter_map(|n| line(config(n))).collect()
    };
    wait_until("three nodes", || addresses().len() == 3);
    let nodes = addresses().join(",");
    let client = |words: &str| {
        let mut args = vec!["client", "--nodes", &nodes];
        args.extend(words.split(' '));
        arena.gauntlet(&args).output().unwrap()
    };
    wait_until("a leader that serves", || client("put colour blue green").status.success());
    for (words, answer) in [
        ("get colour", "blue green\n"),
        ("getall", "colour = blue green\n"),
        ("delete colour", "ok\n"),
        ("get colour", "(absent)\n"),
        ("status", "leader"),
    ] {
        let output = client(words);
        assert_exit(&output, 0);
        assert!(said(&output).contains(answer), "{words}: {}", said(&output));
    }
    assert_exit(&client("put"), 255);
    signal(child.id(), rustix::process::Signal::INT);
    wait(&mut child);
}

fn wait_for_a_stopped_child(parent: u32) {
    wait_until("a paused node", || {
        children_of(parent).iter().any(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
        })
    });
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn wait(child: &mut Child) -> std::process::ExitStatus {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            let mut text = String::new();
            child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            BufReader::new(child.stdout.take().unwrap()).read_to_string(&mut text).unwrap();
            println!("{text}");
            return status;
        }
        assert!(Instant::now() < deadline, "gauntlet does not end");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
