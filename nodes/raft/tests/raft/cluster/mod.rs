//! A random cluster: seeded storms over loss, duplication, reordering, delays, partitions, slow disks, clocks that
//! drift, and crashes that forget what was not durable.
//!
//! During the storm the paper's five properties are checked after every step ([`raft::Invariants`]) and clients check
//! that what they are told is linearizable (`clients.rs`). Then everything heals, and the cluster must converge, serve,
//! and hold every acknowledged write once.
//!
//! `RAFT_SEEDS=5000 cargo test -p raft --release storm` runs more seeds, `RAFT_SEED=17` one; with `RAFT_TRACE=1`
//! it prints all that happens.

mod bugs;
mod clients;
mod found;
mod storm;
mod world;

use protocol::Detector;
use raft::ReadMode;
use storm::{Setup, Standing, Storm};

/// The seeds of one test: `RAFT_SEED` alone, or the first `RAFT_SEEDS`.
fn seeds(few: u64) -> std::ops::Range<u64> {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
    };
    match number("RAFT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RAFT_SEEDS").unwrap_or(few),
    }
}

/// What happened over all seeds: a storm that never bites proves nothing.
#[derive(Default)]
struct Tally {
    elections: u64,
    writes: u64,
    reads: u64,
    snapshots_installed: u64,
    truncated: u64,
    crashes: u64,
    wipes: u64,
    changes: u64,
    transfers: u64,
}

fn run(few: u64, replicas: u32, read: ReadMode) {
    run_setup(few, &Setup::new(replicas, read));
}

fn run_setup(few: u64, setup: &Setup) {
    let mut tally = Tally::default();
    let range = seeds(few);
    let count = range.end - range.start;
    for seed in range {
        let report = Storm::run(seed, setup).unwrap_or_else(|found| {
            panic!("seed {seed} of {setup:?} finds {found:?}");
        });
        tally.elections += report.elections;
        tally.writes += report.writes;
        tally.reads += report.reads;
        tally.snapshots_installed += report.snapshots_installed;
        tally.truncated += report.truncated;
        tally.crashes += report.crashes;
        tally.wipes += report.wipes;
        tally.changes += report.changes;
        tally.transfers += report.transfers;
    }
    println!(
        "{count} storms of {setup:?}: {} elections won, {} writes, {} reads, {} snapshots installed, \
         {} entries cut off, {} crashes, {} wipes, {} changes of members, {} transfers of leadership",
        tally.elections,
        tally.writes,
        tally.reads,
        tally.snapshots_installed,
        tally.truncated,
        tally.crashes,
        tally.wipes,
        tally.changes,
        tally.transfers
    );
    if count >= 20 && setup.operator.is_some() {
        assert!(tally.changes > count && tally.transfers > count / 2, "members hardly change");
        assert!(tally.wipes > count / 2, "hardly a disk is lost");
    }
    if count >= 20 {
        assert!(tally.elections > 2 * count && tally.crashes > count, "the storms are too mild");
        assert!(tally.writes > 20 * count && tally.reads > 10 * count, "hardly anything is served");
        assert!(tally.snapshots_installed > count / 2, "hardly a snapshot is sent");
        // A group of one, to begin with, has nobody to part from.
        let few = if setup.operator.is_some() { 0 } else { count / 2 };
        assert!(tally.truncated > few, "logs hardly part");
    }
}

#[test]
fn a_storm_over_three_replicas_breaks_nothing() {
    run(150, 3, ReadMode::ReadIndex);
}

#[test]
fn a_storm_over_five_replicas_breaks_nothing() {
    run(100, 5, ReadMode::ReadIndex);
}

#[test]
fn a_storm_with_lease_reads_and_clocks_that_drift_within_the_bound_breaks_nothing() {
    run(100, 3, ReadMode::Lease);
    run(50, 5, ReadMode::Lease);
}

#[test]
fn a_storm_with_changing_members_breaks_nothing() {
    for (founders, outside, read) in [
        (3, 2, ReadMode::ReadIndex),
        (3, 4, ReadMode::Lease),
        (4, 1, ReadMode::ReadIndex),
        (5, 2, ReadMode::ReadIndex),
        (1, 3, ReadMode::ReadIndex),
    ] {
        run_setup(60, &Setup { operator: Some(outside), ..Setup::new(founders, read) });
    }
}

#[test]
fn a_storm_over_one_and_two_and_four_replicas_breaks_nothing() {
    for replicas in [1, 2, 4] {
        for seed in seeds(20) {
            let found = Storm::run(seed, &Setup::new(replicas, ReadMode::ReadIndex)).err();
            assert!(found.is_none(), "seed {seed} of {replicas} replicas finds {found:?}");
        }
    }
}

/// A majority that is connected serves, and under one leader in the end; clocks that differ as much as is allowed make no
/// read stale.
#[test]
fn links_that_are_cut_for_good_do_not_stop_a_majority() {
    for read in [ReadMode::ReadIndex, ReadMode::Lease] {
        for (replicas, standing) in [
            (3, Standing::DeafLeader),
            (3, Standing::LostLeader),
            (5, Standing::DeafLeader),
            (5, Standing::LostLeader),
            (5, Standing::Chain),
        ] {
            let setup = Setup { standing: Some(standing), ..Setup::new(replicas, read) };
            for seed in seeds(10) {
                let found = Storm::run(seed, &setup).err();
                assert!(found.is_none(), "seed {seed} of {setup:?} finds {found:?}");
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_storm_again() {
    let setup = Setup::new(3, ReadMode::ReadIndex);
    for seed in 0..3 {
        let traces = [0, 1].map(|_| Storm::run(seed, &setup).map(|report| report.trace).ok());
        assert!(traces[0].is_some() && traces[0] == traces[1], "seed {seed}");
    }
}

/// Once in a thousand storms. `paper/snapshots.rs` has a test of each.
const TOO_RARE: [&str; 2] =
    ["a snapshot is installed below entries that stay", "a snapshot arrives that the log has overtaken"];

/// What is hard to get right has happened, and went right.
#[test]
fn storms_come_across_every_situation() {
    drop(protocol::reached::take());
    for (replicas, read) in [(3, ReadMode::ReadIndex), (5, ReadMode::ReadIndex), (3, ReadMode::Lease)] {
        for seed in 0..120 {
            let setup = Setup::new(replicas, read);
            assert!(Storm::run(seed, &setup).is_ok());
            assert!(Storm::run(seed, &Setup { operator: Some(2), ..setup }).is_ok());
        }
    }
    let reached = protocol::reached::take();
    println!("{reached:#?}");
    let missed = raft::SITUATIONS.iter().filter(|situation| !reached.contains_key(*situation));
    let missed: Vec<_> = missed.filter(|situation| !TOO_RARE.contains(situation)).collect();
    assert!(missed.is_empty(), "{missed:#?}");
    assert!(reached.contains_key("a retry is answered from the session table"));
}

/// The oracle is not blind: reads from whatever state a replica has are found out.
#[test]
fn local_reads_are_found_not_to_be_linearizable() {
    let setup = Setup::new(3, ReadMode::Local);
    let found = (0..20).find_map(|seed| Storm::run(seed, &setup).err()).expect("20 storms show a stale read");
    assert!(found.by == Detector::Linearizability && found.what.contains("stale"), "{found:?}");
}
