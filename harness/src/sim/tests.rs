//! The simulator as its users meet it: the same seed is the same run, the clean build passes, seeded bugs are caught.

use super::campaign::{campaign, missing};
use super::run::{Accusation, Simulated, simulate};
use super::settings::resolve;
use crate::plan::{Cell, Plan};
use checkers::Verdict;
use protocol::Detector;
use std::path::Path;

fn plan() -> Plan {
    let plans = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plans");
    let mut plan = Plan::load(&plans.join("raft.yaml")).expect("a plan of the project");
    // Long enough for most of what the plan has.
    plan.duration = std::time::Duration::from_secs(15);
    plan
}

fn with_bug(bug: &str) -> Plan {
    let mut plan = plan();
    plan.duration = std::time::Duration::from_secs(30);
    let options = format!("{{ bugs: [{bug}] }}");
    plan.subjects[0].options = serde_yaml::from_str(&options).expect("a map");
    plan
}

fn run(cell: &Cell, in_words: bool) -> Simulated {
    simulate(cell, in_words).expect("raft can be simulated")
}

#[test]
fn a_seed_gives_the_same_run_to_the_byte_and_so_does_its_plan_read_back() {
    for seed in [3, 4] {
        let cell = resolve(&plan(), seed).expect("a sound plan");
        let words = |cell: &Cell| -> String {
            run(cell, true).events.iter().map(|event| format!("{event}\n")).collect()
        };
        let first = words(&cell);
        assert!(first.lines().count() > 5_000, "there is something to compare");
        assert!(first == words(&cell), "seed {seed}");
        let read_back = Plan::parse(&cell.plan.to_yaml()).expect("a resolved plan is a plan");
        read_back.validate().expect("sound");
        assert!(first == words(&resolve(&read_back, seed).expect("resolved already")), "seed {seed}");
        assert_ne!(
            run(&cell, false).fingerprint,
            run(&resolve(&plan(), seed + 10).expect("a sound plan"), false).fingerprint
        );
    }
}

#[test]
fn words_change_nothing() {
    let cell = resolve(&plan(), 5).expect("a sound plan");
    let (with, without) = (run(&cell, true), run(&cell, false));
    assert_eq!((with.fingerprint, with.entries), (without.fingerprint, without.entries));
    assert!(without.events.is_empty());
}

#[test]
fn the_clean_build_passes_under_storms_that_bite() {
    let seeds: Vec<u64> = (100..130).collect();
    let seen = campaign(&plan(), &seeds, "", None).expect("raft can be simulated");
    assert_eq!(seen.seeds, 30);
    let words: Vec<_> =
        seen.failures.iter().map(|failure| format!("{}: {}", failure.seed, failure.summary)).collect();
    assert!(words.is_empty(), "{words:?}");
    assert!(seen.ok > 3_000, "{} of {} operations were answered", seen.ok, seen.ops);
    let bit = seen.bites.values().filter(|bites| bites.bit > 0).count();
    assert!(bit > 20, "{:?}", seen.bites);
    assert!(seen.reached.len() > 20, "{:?}", seen.reached);
}

/// Each kind of evidence, by a bug that gives it soon.
#[test]
fn seeded_bugs_are_caught_by_the_evidence_that_they_give() {
    for (bug, detectors) in [
        ("raft.read-index-no-noop", &[Detector::Linearizability][..]),
        ("raft.retry-applied-twice", &[Detector::Effects]),
        (
            "raft.truncate-on-append",
            &[Detector::Linearizability, Detector::Divergence, Detector::Invariant, Detector::Liveness],
        ),
        ("raft.match-from-reject", &[Detector::Invariant]),
        ("raft.commit-past-new", &[Detector::Divergence]),
    ] {
        let seeds: Vec<u64> = (1..200).collect();
        let wanted = |accusation: &Accusation| accusation.detectors.iter().any(|by| detectors.contains(by));
        let seen = campaign(&with_bug(bug), &seeds, "", Some(&wanted)).expect("raft can be simulated");
        let caught = seen.caught.unwrap_or_else(|| panic!("{bug} was not caught in 200 seeds"));
        assert_eq!(caught.verdict, Verdict::Invalid);
    }
}

/// All disks stand still until the end, but those of a quorum are healed: the others may stand still for ever.
#[test]
fn what_stands_outside_the_healed_quorum_is_left_as_it_is() {
    let mut plan = plan();
    let stalled = "[{ faults: [disk-stall], targets: all, start: 5s, for: 60s }]";
    plan.nemesis = serde_yaml::from_str(stalled).expect("a nemesis");
    let sim = plan.sim.as_mut().expect("a plan to simulate");
    (sim.swarm, sim.replicas, sim.spares) = (false, vec![3], Vec::new());
    let run = run(&resolve(&plan, 1).expect("a sound plan"), true);
    assert_eq!(run.verdict(), Verdict::Valid, "{:?}", run.checks);
    let words: Vec<String> = run.events.iter().map(ToString::to_string).collect();
    let at = |what: &str| {
        words.iter().position(|line| line.contains(what)).unwrap_or_else(|| panic!("{what} is missing"))
    };
    let outside: Vec<_> = ["n1", "n2", "n3"]
        .into_iter()
        .filter(|node| !words[at("healed is the quorum")].contains(node))
        .collect();
    let [outside] = outside[..] else { panic!("two of three are a quorum") };
    let durable = |line: &&String| line.contains(&format!("{outside} has all before"));
    let between = &words[at("healed is the quorum")..at("all is healed")];
    assert_eq!(between.iter().find(durable), None);
    assert!(words[at("all is healed")..].iter().any(|line| durable(&line)));
}

/// A member whose disk is damaged is never asked to vote: nobody could bring that about.
#[test]
fn members_that_are_asked_for_can_be_had() {
    let mut plan = plan();
    plan.nemesis = serde_yaml::from_str(
        "[{ faults: [members], start: 1s, every: 700ms, for: 500ms, jitter: 0.5 },
          { faults: [bit-flip], targets: one, start: 2s, every: 3s, for: 1s, jitter: 0.5 }]",
    )
    .expect("a nemesis");
    let sim = plan.sim.as_mut().expect("a plan to simulate");
    (sim.swarm, sim.replicas, sim.spares) = (false, vec![5], vec![2]);
    let seeds: Vec<u64> = (1..40).collect();
    let seen = campaign(&plan, &seeds, "", None).expect("raft can be simulated");
    let failures: Vec<_> = seen.failures.iter().map(|f| format!("{}: {}", f.seed, f.summary)).collect();
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(seen.bites["bit-flip"].bit > 20 && seen.bites["members"].bit > 200, "{:?}", seen.bites);
}

#[test]
fn no_seed_draws_a_machine_on_which_nobody_could_catch_up() {
    let drawn = (0..3_000).filter(|seed| {
        let cell = resolve(&plan(), *seed).expect("a sound plan");
        let knobs = cell.plan.sim.as_ref().and_then(|sim| sim.knobs.clone()).expect("resolved");
        let one_entry = cell.subject().options["batch_bytes_max"] == 1;
        assert!(!one_entry || knobs.sync_us_min + knobs.sync_us_mean < 10_000, "seed {seed}");
        one_entry
    });
    assert!(drawn.count() > 100, "batches of one entry are drawn all the same");
}

#[test]
fn what_a_campaign_did_not_come_across_is_said() {
    let mut plan = plan();
    plan.sim.as_mut().expect("a plan to simulate").requires = vec!["a mark that nobody has".to_owned()];
    let mut seen = campaign(&plan, &[1], "", None).expect("raft can be simulated");
    seen.bites.insert("blunt".to_owned(), super::storm::Bites { installed: 2, bit: 0, skipped: 0 });
    let missing = missing(&plan, &seen);
    assert!(missing.iter().any(|what| what.contains("a mark that nobody has")), "{missing:?}");
    assert!(missing.iter().any(|what| what.contains("blunt was put in force 2 times")), "{missing:?}");
    seen.answered.values_mut().for_each(std::collections::BTreeMap::clear);
    let nothing = super::campaign::missing(&plan, &seen);
    assert!(nothing.iter().any(|what| what.contains(": 0 of ")), "{nothing:?}");
}

#[test]
fn what_cannot_be_simulated_is_refused() {
    let mut plan = plan();
    plan.subjects = vec![crate::subject::Subject::by_name("etcd").expect("a system")];
    let cell = resolve(&plan, 1).expect("a sound plan");
    assert!(simulate(&cell, false).expect_err("foreign").to_string().contains("etcd"));
    plan.subjects = vec![crate::subject::Subject::by_name("standalone").expect("a system")];
    let alone = run(&resolve(&plan, 1).expect("a sound plan"), false);
    assert_eq!(alone.verdict(), Verdict::Valid, "{:?}", alone.checks);
}
