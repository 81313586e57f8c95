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

/// A store that promises convergence alone, held to linearizability.
const CONTROL: &str = "
subjects: [{ system: toy, promise: linearizable, expect: invalid }]
workloads: [{ register: { read: 0.5, write: 0.5, cas: 0, ops_per_key: 30 } }]
duration: 10s
load: { clients: 9, op_timeout: 2s, attempt_timeout: 300ms }
nemesis:
  - { faults: [{ partition: halves }], start: 1s, every: 3s, for: 2s }
sim: { replicas: [3], swarm: false }
";

#[test]
fn a_control_passes_if_it_is_broken_as_expected_and_in_no_other_way() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let sim = |plan: &str, seeds: &[&str]| {
        std::fs::write(dir.path().join("plan.yaml"), plan).expect("written");
        let ended = gauntlet(&[&["sim", "plan.yaml", "--seed", "1"], seeds].concat(), dir.path());
        (ended.status.code().expect("it exits"), out(&ended))
    };
    let (code, words) = sim(CONTROL, &["--seeds", "3"]);
    assert_eq!(code, 0, "{words}");
    assert!(words.contains("broken as expected in 3 of 3 seeds"), "{words}");
    let (code, words) = sim(CONTROL, &[]);
    assert_eq!(code, 0, "{words}");
    assert!(words.contains("a control: it is held to linearizable and promises convergent"), "{words}");
    assert!(words.contains("broken as expected"), "{words}");
    let page = std::fs::read_to_string(dir.path().join("store/latest/report.html")).expect("a page");
    assert!(page.contains("A control: it is held to linearizable"), "the page does not say so");

    // One client is answered by what it wrote itself.
    let quiet = CONTROL.replace("clients: 9", "clients: 1").replace("{ partition: halves }", "kill");
    for seeds in [&["--seeds", "2"][..], &[]] {
        let (code, words) = sim(&quiet, seeds);
        assert_eq!(code, 2, "{words}");
        assert!(words.contains("to be found broken"), "{words}");
    }

    // Replicas that tell each other next to nothing are still apart in the end, which is no part of what is expected.
    let apart = CONTROL.replace("expect: invalid", "expect: invalid, options: { gossip_ms: 3600000 }");
    let apart = apart.replace("{ partition: halves }", "kill");
    let (code, words) = sim(&apart, &["--seeds", "3"]);
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("had not come to one state"), "{words}");
}

#[test]
fn a_control_is_named_as_one_and_nothing_else_is() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (from, to, expected) in [
        (", expect: invalid", "", "say `expect: invalid` to have it as a control"),
        ("promise: linearizable, ", "", "it promises what it is held to (convergent)"),
        ("sim: {", "checks: { consistency: false }\nsim: {", "`checks.consistency` is off"),
        ("expect: invalid", "expect: valid", "expect"),
    ] {
        std::fs::write(dir.path().join("plan.yaml"), CONTROL.replace(from, to)).expect("written");
        let refused = gauntlet(&["sim", "plan.yaml", "--seeds", "1"], dir.path());
        assert_eq!(refused.status.code(), Some(254), "{}", out(&refused));
        assert!(out(&refused).contains(expected), "{}", out(&refused));
    }
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
