//! Whole reports on made-up runs, to be looked at: `GALLERY=/tmp/gallery cargo test -p reports gallery`.
//! Without that variable they go to a folder that is removed again, and only the claims below are tested.

use crate::comparison::{ComparisonReport, render_comparison};
use crate::run::{RunReport, render_run};
use crate::stored::{COMPARISON_FILE, ComparisonInfo, HOSTS_FILE, Results, RunInfo, RunOutcome, write_json};
use crate::synthetic::{Storm, folder, hosts, info, stale_read, store, trouble};
use checkers::history::{Entry, FaultStage, OpKind};
use checkers::{CheckResult, Verdict};
use std::path::Path;

fn results(verdict: Verdict, checks: &[(&str, &str)]) -> Results {
    let check = |&(checker, summary): &(&str, &str)| CheckResult {
        numbers: [("ops".to_owned(), 123_456.0)].into(),
        ..CheckResult::new(checker, verdict, 123_456, summary.into())
    };
    Results { verdict, checks: checks.iter().map(check).collect() }
}

fn render(name: &str, info: &RunInfo, entries: &[Entry], results: &Results) -> RunReport {
    let (dir, _guard) = folder(name);
    store(&dir, info, entries, results);
    let report = render_run(&dir).unwrap();
    let page = std::fs::metadata(&report.html).unwrap().len();
    assert!(page < 3_000_000, "{name}: the page has {page} bytes");
    report
}

fn ycsb() -> Storm {
    let mut kill = trouble("kill", "n1", 12.0, 16.0);
    kill.outage_s = 1.1;
    let mut pause = trouble("pause", "n3", 22.0, 26.0);
    pause.outage_s = 2.6;
    let mut delay = trouble("delay", "n2→n3", 40.0, 47.0);
    delay.delay_ms = 50;
    let mut partition = trouble("partition-majorities-ring", "n1,n2|n2,n3|n3,n1", 30.0, 36.0);
    partition.outage_s = 0.7;
    let mut never = trouble("loss", "n2", 50.0, 54.0);
    never.end = FaultStage::NeverBit;
    let mut skipped = trouble("kill", "leader", 55.0, 56.0);
    skipped.end = FaultStage::Skipped;
    let mut unsure = trouble("clock-offset", "n2", 52.0, 58.0);
    unsure.end = FaultStage::Indeterminate;
    Storm {
        seed: 42,
        clients: 6,
        load_s: 4,
        run_s: 60,
        latency_us: 1500,
        calls: &[(OpKind::Read, 0.5), (OpKind::Update, 0.5)],
        faults: vec![
            kill,
            pause,
            partition,
            delay,
            never,
            skipped,
            unsure,
            trouble("kill", "n2", 56.0, 62.0),
        ],
    }
}

#[test]
fn a_run_under_faults() {
    let storm = ycsb();
    let results = results(
        Verdict::Valid,
        &[
            ("stats", "Every kind of op succeeded at least 100 times."),
            ("linearizable", "All 512,341 ops on 1,000 keys × 10 fields are explained by one order."),
        ],
    );
    let report = render("ycsb", &info("raft", "ycsb-a", &storm), &storm.entries(), &results);
    assert_eq!(report.perf.faults.len(), 8);
    assert!(report.perf.service.gaps >= 2, "{:?}", report.perf.service);
    println!("{}", crate::run_table(&report));
}

#[test]
fn a_run_on_hosts_shows_their_clocks_and_counters() {
    let (dir, _guard) = folder("hosts");
    let storm = ycsb();
    let info = RunInfo { world: "ssh".into(), ..info("raft", "ycsb-a", &storm) };
    let valid = results(Verdict::Valid, &[("stats", "Enough.")]);
    store(&dir, &info, &storm.entries(), &valid);
    write_json(&dir.join(HOSTS_FILE), &hosts(70)).unwrap();
    let report = render_run(&dir).unwrap();
    assert!(report.plots.iter().any(|plot| plot.ends_with("clocks.png")));
    assert_eq!(report.warnings, Vec::<String>::new());
}

#[test]
fn a_stale_read_is_told_and_drawn() {
    let mut storm = ycsb();
    storm.calls = &[(OpKind::Read, 0.4), (OpKind::Write, 0.4), (OpKind::Cas, 0.2)];
    storm.load_s = 0;
    let mut results = results(
        Verdict::Invalid,
        &[("linearizable", "1 of 40 keys has no order that explains its ops: key 17 at 31.2 s.")],
    );
    results.checks[0].evidence = vec![stale_read(120, 9, 31_200_000_000), stale_read(14, 4, 35_997_000_000)];
    let mut info = info("raft-local-reads", "register", &storm);
    info.reads = "local (unsafe)".into();
    info.outcome = RunOutcome::Interrupted;
    let report = render("stale", &info, &storm.entries(), &results);
    let page = std::fs::read_to_string(&report.html).unwrap_or_default();
    assert!(report.plots.iter().any(|plot| plot.ends_with("timeline.png")));
    println!("{}", crate::run_table(&report));
    drop(page);
}

#[test]
fn a_comparison_of_two_subjects_under_two_workloads() {
    let (dir, _guard) = folder("compare");
    let valid = results(Verdict::Valid, &[("stats", "Enough."), ("linearizable", "Explained.")]);
    let mut cells = Vec::new();
    for workload in ["register", "ycsb-a"] {
        for (subject, latency_us) in [("raft", 1500), ("standalone", 600)] {
            let mut storm = ycsb();
            storm.latency_us = latency_us;
            storm.seed = latency_us;
            storm.clients = 2;
            if subject == "standalone" {
                for trouble in &mut storm.faults {
                    trouble.outage_s =
                        if trouble.fault == "delay" { 0.0 } else { trouble.to_s - trouble.from_s };
                    trouble.targets = "n1";
                }
            }
            let folder = format!("{workload}-{subject}");
            store(&dir.join(&folder), &info(subject, workload, &storm), &storm.entries(), &valid);
            cells.push(folder);
        }
    }
    let report = compare(&dir, cells, "standalone");
    assert_eq!(report.groups.len(), 2);
    assert_eq!(report.verdict(), Verdict::Valid);
    println!("{}", crate::comparison_table(&report));
}

#[test]
fn a_comparison_by_number_of_clients_with_repeats() {
    let (dir, _guard) = folder("clients");
    let valid = results(Verdict::Valid, &[("stats", "Enough.")]);
    let mut cells = Vec::new();
    for clients in [1, 4, 16] {
        for (subject, latency_us) in [("raft", 500), ("etcd", 2000)] {
            for repeat in 1..=if clients == 4 { 3 } else { 1 } {
                let mut storm = ycsb();
                storm.faults = Vec::new();
                storm.run_s = 3;
                storm.clients = clients;
                storm.seed = repeat;
                storm.latency_us = latency_us + 20 * u64::from(clients) * repeat;
                let folder = format!("put-{clients}c-{subject}-{repeat}");
                store(&dir.join(&folder), &info(subject, "put", &storm), &storm.entries(), &valid);
                cells.push(folder);
            }
        }
    }
    let report = compare(&dir, cells, "etcd");
    assert_eq!(report.groups.iter().map(|group| group.entries.len()).collect::<Vec<_>>(), [2, 2, 2]);
    assert!(report.plots.iter().any(|plot| plot.ends_with("put-closed-by-clients.png")));
    println!("{}", crate::comparison_table(&report));
}

fn compare(dir: &Path, cells: Vec<String>, baseline: &str) -> ComparisonReport {
    let info = ComparisonInfo {
        plan: "compare".into(),
        seed: 42,
        started: "2025-11-20T12:00:00Z".into(),
        baseline: baseline.into(),
        cells,
        failed: std::collections::BTreeMap::new(),
    };
    write_json(&dir.join(COMPARISON_FILE), &info).unwrap();
    let report = render_comparison(dir).unwrap();
    let page = std::fs::metadata(&report.html).unwrap().len();
    assert!(page < 3_000_000, "the page has {page} bytes");
    report
}
