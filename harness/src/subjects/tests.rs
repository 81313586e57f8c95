//! The simulator as its users meet it: the same seed is the same run, the clean build passes, seeded bugs are caught.

use crate::plan::{Cell, Plan};
use crate::sim::campaign::{campaign, missing};
use crate::sim::one::{Accusation, Simulated, simulate};
use crate::sim::settings::resolve;
use crate::subject::Reads;
use checkers::Verdict;
use checkers::history::{History, Op, Outcome, Phase};
use protocol::Detector;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Subjects for plans of tests that need some: one whose reads and durability can be said, the same with unsafe reads, and one of one
/// replica.
macro_rules! some {
    () => {
        "[raft, { name: stale, system: raft, reads: local }, standalone]"
    };
}
pub(crate) use some;

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

/// Bugs that independent draws would hardly ever show.
#[test]
fn scenarios_bring_together_what_is_rarely_together() {
    for (bug, about) in [
        ("raft.commit-prior-term", "leaders go one after the other"),
        ("raft.single-server-change", "two leaders are asked"),
    ] {
        let mut plan = with_bug(bug);
        let sim = plan.sim.as_mut().expect("a plan to simulate");
        sim.scenarios.retain(|scenario| scenario.about.starts_with(about));
        sim.scenarios.iter_mut().for_each(|scenario| scenario.share = 1.0);
        assert_eq!(sim.scenarios.len(), 1, "{about}");
        let seeds: Vec<u64> = (1..300).collect();
        let wanted = |accusation: &Accusation| accusation.detectors.contains(&Detector::Invariant);
        let seen = campaign(&plan, &seeds, "", Some(&wanted)).expect("raft can be simulated");
        assert!(seen.caught.is_some(), "{bug} was not caught in 300 seeds");
    }
}

#[test]
fn a_scenario_is_drawn_as_often_as_its_share_says_and_laid_over_what_is_drawn() {
    let cells = (0..2_000).map(|seed| resolve(&plan(), seed).expect("a sound plan"));
    let mut drawn: BTreeMap<Option<String>, u32> = BTreeMap::new();
    for cell in cells {
        let sim = cell.plan.sim.as_ref().expect("a plan to simulate");
        assert!(sim.scenarios.is_empty(), "what was drawn is all that is left of them");
        if sim.scenario.as_ref().is_some_and(|about| about.starts_with("the clock of whoever leads")) {
            assert_eq!(sim.knobs.as_ref().map(|knobs| knobs.clock_drift), Some(0.25));
            assert_eq!((cell.subject().reads, cell.plan.spares), (Reads::Lease, 0));
            assert_eq!(cell.subject().options["election_timeout_ms_max"], 1_100);
        }
        *drawn.entry(sim.scenario.clone()).or_default() += 1;
    }
    let plan = plan();
    for scenario in &plan.sim.as_ref().expect("a plan to simulate").scenarios {
        let share = f64::from(drawn[&Some(scenario.about.clone())]) / 2_000.0;
        assert!((share - scenario.share).abs() < 0.03, "{share} of `{}`", scenario.about);
    }
}

#[test]
fn a_scenario_that_cannot_be_run_is_refused() {
    for (scenario, word) in [
        ("{ about: a, share: 0.1 }", "nemesis"),
        ("{ about: a, share: 1.2, nemesis: [{ faults: [kill], start: 1s, for: 1s }] }", "share"),
        (
            "{ about: a, share: 0.1, knobs: { gravity: 1 }, nemesis: [{ faults: [kill], start: 1s, for: 1s }] }",
            "gravity",
        ),
        (
            "{ about: a, share: 0.1, options: { heartbeat_ms: 0 }, nemesis: [{ faults: [kill], start: 1s, for: 1s }] }",
            "heartbeat_ms: 0",
        ),
        (
            "{ about: a, share: 0.1, nemesis: [{ faults: [kill], start: 1s, for: 1s, jitter: 7.0 }] }",
            "jitter",
        ),
    ] {
        let mut plan = plan();
        let sim = plan.sim.as_mut().expect("a plan to simulate");
        sim.scenarios = vec![serde_yaml::from_str(scenario).expect("its shape is right")];
        let error = format!("{:#}", plan.validate().expect_err(scenario));
        assert!(error.contains(word) && error.contains("scenario"), "{error}");
    }
}

#[test]
fn no_seed_draws_a_machine_on_which_nobody_could_catch_up() {
    let drawn = (0..3_000).filter(|seed| {
        let cell = resolve(&plan(), *seed).expect("a sound plan");
        let knobs = cell.plan.sim.as_ref().and_then(|sim| sim.knobs.clone()).expect("resolved");
        let one_entry = cell.subject().options["batch_bytes_max"] == 1;
        // A scenario without newcomers may be slower.
        let scenario = cell.plan.sim.as_ref().is_some_and(|sim| sim.scenario.is_some());
        let (sync, trip) =
            (knobs.sync_us_min + knobs.sync_us_mean, knobs.latency_us_min + knobs.latency_us_mean);
        assert!(!one_entry || scenario || sync + 2 * trip < 10_000, "seed {seed}");
        one_entry
    });
    assert!(drawn.count() > 100, "batches of one entry are drawn all the same");
}

#[test]
fn what_a_campaign_did_not_come_across_is_said() {
    let mut plan = plan();
    let sim = plan.sim.as_mut().expect("a plan to simulate");
    (sim.requires, sim.requires_from_seeds) = (vec!["a mark that nobody has".to_owned()], 2);
    let mut seen = campaign(&plan, &[1], "", None).expect("raft can be simulated");
    assert!(!missing(&plan, &seen).iter().any(|what| what.contains("a mark")), "one seed says little");
    seen.seeds = 2;
    seen.bites.insert("blunt".to_owned(), crate::sim::storm::Bites { installed: 2, bit: 0, skipped: 0 });
    let lacking = missing(&plan, &seen);
    assert!(lacking.iter().any(|what| what.contains("a mark that nobody has")), "{lacking:?}");
    assert!(lacking.iter().any(|what| what.contains("blunt was put in force 2 times")), "{lacking:?}");
    seen.answered.values_mut().for_each(BTreeMap::clear);
    let nothing = missing(&plan, &seen);
    assert!(nothing.iter().any(|what| what.contains(": 0 of ")), "{nothing:?}");
}

/// How long each operation of the run phase took that was answered.
fn took(run: &Simulated) -> Vec<Duration> {
    let history = History::from_entries(run.entries.iter().cloned()).expect("it pairs");
    let is_ok = |op: &&Op| op.phase == Phase::Run && matches!(op.outcome, Outcome::Ok(_));
    let took = |op: &Op| Some(Duration::from_nanos(op.returned? - op.invoked));
    let mut took: Vec<_> = history.ops.iter().filter(is_ok).filter_map(took).collect();
    took.sort_unstable();
    assert!(took.len() > 100, "{} operations", took.len());
    took
}

/// One node is far from a majority, and so are its clients, who stay with it.
#[test]
fn operations_take_as_long_as_the_topology_says() {
    let far = Duration::from_millis(100);
    let mut plan = plan();
    plan.nemesis.clear();
    plan.workloads = vec![workloads::Spec::by_name("register").expect("a workload")];
    let sim = plan.sim.as_mut().expect("a plan to simulate");
    (sim.swarm, sim.replicas, sim.spares) = (false, vec![3], Vec::new());
    sim.scenarios.clear();
    let mut medians = Vec::new();
    for clients in ["{ a: 1 }", "{ b: 1 }"] {
        let links =
            format!("{{ zones: {{ a: [n1], b: [n2, n3] }}, rtt: {{ a-b: 100ms }}, clients: {clients} }}");
        plan.links = Some(serde_yaml::from_str(&links).expect("a topology"));
        plan.validate().expect("sound");
        for seed in 1..6 {
            let run = run(&resolve(&plan, seed).expect("a sound plan"), false);
            assert_eq!(run.verdict(), Verdict::Valid, "{:?}", run.checks);
            let took = took(&run);
            let median = took[took.len() / 2];
            if clients == "{ a: 1 }" {
                // Wherever the leader is, a majority includes a node far away.
                assert!(took[0] >= far, "seed {seed}: {:?}", took[0]);
                assert!(median < 2 * far + far / 2, "seed {seed}: {median:?}");
            }
            medians.push(median);
        }
    }
    // Near a majority all goes fast unless the one far away leads.
    assert!(medians[5..].iter().any(|median| *median < far / 4), "{medians:?}");
    plan.links = None;
    let near = took(&run(&resolve(&plan, 1).expect("a sound plan"), false));
    assert!(near[near.len() / 2] < far / 4, "{near:?}");
}

#[test]
fn the_clean_build_passes_storms_when_its_nodes_are_far_apart() {
    let mut plan = plan();
    let links = "{ zones: { a: [n1, n4, n7, n10], b: [n2, n5, n8, n11], c: [n3, n6, n9, n12] },
                   rtt: { a-b: 20ms, b-c: 30ms, a-c: 45ms }, within: 1ms }";
    plan.links = Some(serde_yaml::from_str(links).expect("a topology"));
    let seeds: Vec<u64> = (1..25).collect();
    let seen = campaign(&plan, &seeds, "", None).expect("raft can be simulated");
    // Under a great storm far nodes may not elect anybody who answers in so short a run: that is unknown, and no accusation.
    let accused: Vec<_> =
        seen.failures.iter().filter(|failure| failure.verdict == Verdict::Invalid).collect();
    assert!(accused.is_empty(), "{accused:#?}");
    assert!(seen.failed <= 4, "{:#?}", seen.failures);
    assert!(seen.ok > 1_000, "{} of {} operations were answered", seen.ok, seen.ops);
}

#[test]
fn what_cannot_be_simulated_is_refused() {
    let with_quota = Plan { cpu_quota: Some(0.5), ..plan() };
    with_quota.validate().expect("it is a plan for processes");
    let refused = resolve(&with_quota, 1).expect_err("there are no processors").to_string();
    assert!(refused.contains("cpu_quota cannot be had in the simulator"), "{refused}");
    let mut plan = plan();
    plan.subjects = vec![crate::subject::Subject::by_name("etcd").expect("a system")];
    let cell = resolve(&plan, 1).expect("a sound plan");
    assert!(simulate(&cell, false).expect_err("foreign").to_string().contains("etcd"));
    plan.subjects = vec![crate::subject::Subject::by_name("standalone").expect("a system")];
    let alone = run(&resolve(&plan, 1).expect("a sound plan"), false);
    assert_eq!(alone.verdict(), Verdict::Valid, "{:?}", alone.checks);
}
