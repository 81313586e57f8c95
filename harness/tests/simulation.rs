//! `gauntlet sim`, `shrink` and `bugs` as their users run them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PLAN: &str = "
subjects: [{ system: raft, options: { bugs: [raft.retry-applied-twice] } }]
workloads: [append]
duration: 20s
load: { clients: 5 }
nemesis:
  - { faults: [{ partition: leader }, kill], targets: leader, start: 1s, every: 2s, for: 1s, jitter: 0.3 }
checks: { ok_min_per_kind: 1, ok_per_s_min: 0.1 }
sim: { replicas: [3], ops_per_s: 60 }
";

fn gauntlet(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gauntlet"))
        .args(args)
        .current_dir(dir)
        .output()
        .expect("the program runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The plan without the bug.
fn write_clean_plan(dir: &Path) {
    let clean = PLAN.replace(", options: { bugs: [raft.retry-applied-twice] }", "");
    std::fs::write(dir.join("plan.yaml"), clean).expect("written");
}

/// What stands behind `replay: gauntlet sim ` in a line of the output.
fn replay(words: &str) -> PathBuf {
    let line = words.lines().find_map(|line| line.trim().strip_prefix("replay: gauntlet sim "));
    PathBuf::from(line.unwrap_or_else(|| panic!("no replay command in {words}")))
}

#[test]
fn a_failing_seed_is_told_replayed_judged_again_and_shrunk() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("bug.yaml"), PLAN).expect("written");
    let campaign = gauntlet(&["sim", "bug.yaml", "--seed", "1", "--seeds", "6"], dir.path());
    let words = out(&campaign);
    assert_eq!(campaign.status.code(), Some(1), "{words}");
    assert!(words.contains("append: ") && words.contains("did not pass"), "{words}");
    let plan = replay(&words);
    let folder = dir.path().join(plan.parent().expect("a folder"));
    for file in ["plan.yaml", "run.json", "results.json", "report.html", "trace.txt"] {
        assert!(folder.join(file).is_file(), "{file} is missing");
    }

    let plan = plan.to_str().expect("text");
    let again = gauntlet(&["sim", plan], dir.path());
    assert_eq!(again.status.code(), Some(1), "{}", out(&again));
    let judged = gauntlet(&["check", folder.to_str().expect("text")], dir.path());
    assert_eq!(judged.status.code(), Some(1), "{}", out(&judged));

    let shrunk = gauntlet(&["shrink", plan], dir.path());
    let words = out(&shrunk);
    assert_eq!(shrunk.status.code(), Some(1), "{words}");
    assert!(words.contains("times fewer"), "{words}");
    let size = |plan: &Path| {
        std::fs::read_to_string(dir.path().join(plan)).expect("readable").matches("fault:").count()
    };
    assert!(size(&replay(&words)) < size(Path::new(plan)), "{words}");
    let smaller = replay(&words);
    let again = gauntlet(&["sim", smaller.to_str().expect("text")], dir.path());
    assert_eq!(again.status.code(), Some(1), "{}", out(&again));
}

#[test]
fn the_exam_catches_a_bug_and_does_not_accuse_the_clean_build() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    write_clean_plan(dir.path());
    let exam = ["bugs", "plan.yaml", "--campaigns", "2", "--seeds-max", "20", "--only"];
    let caught = gauntlet(&[&exam[..], &["raft.retry-applied-twice"]].concat(), dir.path());
    let words = out(&caught);
    assert_eq!(caught.status.code(), Some(0), "{words}");
    assert!(words.contains("2/2") && words.contains("accused 0 times"), "{words}");
    // Nothing here wipes a disk: the bug cannot show, and the exam must say so.
    let missed = gauntlet(&[&exam[..], &["raft.amnesia"]].concat(), dir.path());
    assert_eq!(missed.status.code(), Some(1), "{}", out(&missed));
    let unknown = gauntlet(&[&exam[..], &["raft.typo"]].concat(), dir.path());
    assert_eq!(unknown.status.code(), Some(254), "{}", out(&unknown));
}

#[test]
fn a_shard_runs_its_share_and_nonsense_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    write_clean_plan(dir.path());
    let shard = gauntlet(&["sim", "plan.yaml", "--seed", "1", "--seeds", "5", "--shard", "2/2"], dir.path());
    let words = out(&shard);
    assert_eq!(shard.status.code(), Some(0), "{words}");
    assert!(words.contains("0 of 2 seeds"), "{words}");
    for nonsense in ["3/2", "0/2", "one"] {
        let refused = gauntlet(&["sim", "plan.yaml", "--shard", nonsense], dir.path());
        assert_eq!(refused.status.code(), Some(254), "{}", out(&refused));
    }
    std::fs::write(dir.path().join("bad.yaml"), PLAN.replace("ops_per_s", "ops_per_week")).expect("written");
    let bad = gauntlet(&["sim", "bad.yaml"], dir.path());
    assert_eq!(bad.status.code(), Some(254), "{}", out(&bad));
    assert!(out(&bad).contains("ops_per_week"), "{}", out(&bad));
}
