//! Members that change, disks that are lost and power that fails, on node processes, as a user of `gauntlet` sees them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Arena(tempfile::TempDir);

impl Arena {
    fn new() -> Self {
        // Below the build's own folder: a temporary file system in memory would make fsync a lie.
        Arena(tempfile::Builder::new().prefix("mp-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("store")
    }

    fn gauntlet(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gauntlet"));
        // Where `plans/` is.
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
        command.args(args).arg("--store").arg(self.store()).stdin(Stdio::null());
        command.output().unwrap()
    }

    fn run(&self, plan: &str) -> Output {
        let file = self.0.path().join("plan.yaml");
        fs::write(&file, plan).unwrap();
        self.gauntlet(&["run", file.to_str().unwrap()])
    }

    fn latest(&self) -> PathBuf {
        self.store().join("latest").canonicalize().expect("a run was stored")
    }

    /// How a check of the latest run went: its verdict and its words.
    fn check(&self, name: &str) -> (String, String) {
        let results = json(&self.latest().join("results.json"));
        let checks = results["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["checker"] == name).unwrap();
        (check["verdict"].as_str().unwrap().to_owned(), check["summary"].as_str().unwrap().to_owned())
    }

    fn node_config(&self, node: &str) -> String {
        fs::read_to_string(self.latest().join(node).join("node.yaml")).unwrap()
    }

    /// What became of the faults of a kind: stage and detail.
    fn faults(&self, kind: &str) -> Vec<(String, String)> {
        let output =
            Command::new(env!("CARGO_BIN_EXE_gauntlet")).arg("export").arg(self.latest()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines
            .filter(|line| line["process"] == "nemesis" && line["f"] == kind)
            .map(|line| {
                let word = |key: &str| line["value"][key].as_str().unwrap_or_default().to_owned();
                (word("stage"), word("detail"))
            })
            .collect()
    }
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn assert_exit(output: &Output, code: i32) {
    let said =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
}

/// The schedule is drawn already, so that each fault meets what it needs.
const MEMBERS: &str = "
subjects: [raft]
workloads: [register]
replicas: 3
spares: 1
duration: 13s
seed: 4
load: { op_timeout: 1s, attempt_timeout: 300ms }
nemesis:
  - { faults: [transfer], targets: followers, start: 500ms, for: 700ms }
  - { faults: [transfer], targets: followers, start: 1500ms, for: 700ms }
  - { faults: [wipe], targets: { nodes: [1] }, start: 3s, for: 3s }
  - { faults: [members], start: 7s, for: 3s }
";

#[test]
fn members_leaders_and_disks_are_replaced_under_load_and_nothing_is_lost() {
    let arena = Arena::new();
    assert_exit(&arena.run(MEMBERS), 0);
    assert_eq!(arena.check("faults").0, "valid");
    assert_eq!(arena.check("agreement").0, "valid");
    let last = |kind: &str| arena.faults(kind).pop().expect("it was planned");
    assert_eq!(last("transfer"), ("healed".to_owned(), "it was seen to lead".to_owned()));
    assert_eq!(last("wipe"), ("healed".to_owned(), "voters are n1i1,n2,n3".to_owned()));
    assert!(arena.node_config("n1").contains("incarnation: 1"), "it came back as somebody else");
    assert!(arena.node_config("n2").contains("incarnation: 0"));
    let (stage, detail) = last("members");
    assert!(stage == "healed" && detail.starts_with("voters are "), "{stage}, {detail}");
    let (spare, facts) =
        (arena.node_config("n4"), json(&arena.latest().join("run.json"))["facts"].to_string());
    assert!(
        spare.contains("members:\n- 1\n- 2\n- 3\n") && facts.contains("nodes besides the founders"),
        "{facts}"
    );
}

const POWER: &str = "
subjects: [raft]
workloads: [register]
duration: 5s
seed: 3
nemesis:
  - { faults: [power-loss], targets: majority, start: 1s, every: 2s, for: 300ms }
";

#[test]
fn a_power_loss_takes_what_was_not_synced_and_only_where_nodes_can_lose_it() {
    let arena = Arena::new();
    assert_exit(&arena.run(POWER), 0);
    assert_eq!(arena.check("faults"), ("valid".to_owned(), "2 faults bit, 0 skipped".to_owned()));
    assert!(arena.node_config("n1").contains("unsynced: lost"));
    assert!(json(&arena.latest().join("run.json"))["facts"].to_string().contains("unsynced writes"));
    let details = arena.faults("power-loss");
    assert!(details[0].1.contains("and what it had not synced with it"), "{details:?}");

    // Nothing is on disk: nobody in the plan can lose it.
    let refused = arena.run(&POWER.replace("[raft]", "[{ system: raft, durability: memory }]"));
    assert_exit(&refused, 254);
    let why =
        "line 1 of the nemesis (power-loss) cannot be had in the local world: raft: nothing of it is on disk";
    assert!(String::from_utf8_lossy(&refused.stderr).contains(why), "{refused:?}");

    // Without power losses nodes write as they always did.
    assert_exit(&arena.run(&POWER.replace("power-loss", "kill")), 0);
    assert!(arena.node_config("n1").contains("unsynced: kept"));
}

const FORGETTING: &str = "
subjects: [raft]
workloads: [register]
duration: 9s
seed: 4
load: { op_timeout: 1s, attempt_timeout: 300ms }
nemesis:
  - { faults: [rollback], targets: { nodes: [1] }, start: 1s, for: 1500ms }
  - { faults: [{ truncate: {} }], targets: { nodes: [1] }, start: 5s, for: 500ms }
";

#[test]
fn disks_that_lose_what_was_synced_are_told_with_what_they_lost_and_replaced_in_the_end() {
    let arena = Arena::new();
    let run = arena.run(FORGETTING);
    // One of three has forgotten. Nobody misses what it knew unless another is elected with its vote before the end: a real violation.
    assert!(matches!(run.status.code(), Some(0 | 1)), "{run:?}");
    assert_eq!(arena.check("faults"), ("valid".to_owned(), "2 faults bit, 0 skipped".to_owned()));
    assert!(json(&arena.latest().join("run.json"))["facts"].to_string().contains("amnesia"));
    for kind in ["rollback", "truncate"] {
        let (stage, detail) = arena.faults(kind).pop().expect("it was planned");
        assert_eq!(stage, "healed", "{detail}");
        let lost = detail.split(" synced records are lost").next().unwrap().rsplit(' ').next().unwrap();
        assert!(lost.parse::<u64>().is_ok_and(|records| records > 0), "{detail}");
        assert!(detail.contains("carries on as if nothing had happened"), "{detail}");
    }
    assert!(arena.node_config("n1").contains("incarnation: 1"), "it came back as somebody else");
    let left = fs::read_dir(arena.latest().join("n1")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.starts_with("data.")), "{left:?}");
    // How much is cut off was drawn, and is in the plan that can be run again.
    let plan = fs::read_to_string(arena.latest().join("plan.yaml")).unwrap();
    assert!(plan.contains("truncate:\n      bytes: "), "{plan}");

    let nothing = FORGETTING.replace("[raft]", "[{ system: raft, durability: memory }]");
    let refused = arena.run(&nothing);
    assert_exit(&refused, 254);
    let why =
        "line 1 of the nemesis (rollback) cannot be had in the local world: raft: nothing of it is on disk";
    assert!(String::from_utf8_lossy(&refused.stderr).contains(why), "{refused:?}");
}

const FULL: &str = "
subjects: [raft]
workloads: [register]
duration: 8s
seed: 5
load: { op_timeout: 1s, attempt_timeout: 300ms }
nemesis:
  - { faults: [disk-full], targets: minority, start: 1s, for: 1s }
  - { faults: [disk-full], targets: majority, start: 4s, for: 1s }
";

#[test]
fn nodes_stop_at_a_full_disk_and_go_on_when_there_is_room() {
    let arena = Arena::new();
    assert_exit(&arena.run(FULL), 0);
    assert_eq!(arena.check("faults"), ("valid".to_owned(), "2 faults bit, 0 skipped".to_owned()));
    let details = arena.faults("disk-full");
    assert_eq!(details.len(), 4);
    for (stage, detail) in details.iter().filter(|(stage, _)| stage != "installed") {
        assert_eq!(stage, "healed", "{detail}");
        assert!(detail.contains("No space left on device"), "{detail}");
    }
}

#[test]
fn who_acknowledges_before_the_sync_loses_it_with_the_power_and_who_does_not_is_not_accused() {
    let arena = Arena::new();
    let output = arena.gauntlet(&["bugs", "--real", "--only", "raft.ack-before-fsync"]);
    assert_exit(&output, 0);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("1 of 1 bugs were caught; the clean build: 2 runs, accused 0 times"), "{said}");
}

#[test]
fn a_bug_that_is_not_examined_on_processes_is_named() {
    let arena = Arena::new();
    let output = arena.gauntlet(&["bugs", "--real", "--only", "raft.count-duplicate-votes"]);
    assert_exit(&output, 254);
    assert!(String::from_utf8_lossy(&output.stderr).contains("raft.count-duplicate-votes"));
}
