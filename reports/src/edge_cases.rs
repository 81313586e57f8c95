//! Runs at the edges of what can happen: every one has a page that can be read.

use crate::run::{RunReport, render_run};
use crate::stored::{
    ClockReading, HISTORY_FILE, HOSTS_FILE, HostRecord, PLAN_FILE, RESULTS_FILE, Results, RunInfo,
    RunOutcome, SIMULATED, write_json,
};
use crate::synthetic::{Storm, folder, hosts, info, store};
use crate::trace::{ACCUSATIONS_FILE, Accusation, Event, TRACE_FILE, What, write_trace};
use checkers::history::{Answer, Call, Entry, FaultEvent, FaultStage, Outcome, Phase, ProcessId};
use checkers::verdict::{Evidence, WindowOp};
use checkers::{CheckResult, Verdict};
use std::path::Path;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

fn plain_info() -> RunInfo {
    let storm =
        Storm { seed: 1, clients: 1, load_s: 0, run_s: 0, latency_us: 1, calls: &[], faults: Vec::new() };
    info("raft", "register", &storm)
}

fn nothing_wrong() -> Results {
    Results { verdict: Verdict::Valid, checks: Vec::new() }
}

fn ok(process: u32, from: u64, to: u64) -> [Entry; 2] {
    ended(process, from, to, Outcome::Ok(Answer::Value(None)))
}

fn ended(process: u32, from: u64, to: u64, outcome: Outcome) -> [Entry; 2] {
    let process = ProcessId(process);
    [
        Entry::Invoke { time: from, intended: from, process, to: None, call: Call::Read { key: 1 } },
        Entry::Return { time: to, process, by: Vec::new(), outcome },
    ]
}

fn fault(time: u64, id: u32, stage: FaultStage) -> Entry {
    let (fault, targets) = (["kill", "delay", "clock-rate"][id as usize % 3].into(), format!("n{}", id % 5));
    Entry::Fault {
        time,
        event: FaultEvent { id, fault, line: None, targets, stage, detail: "said so".into() },
    }
}

/// Renders and checks what must hold for every page.
fn page_of(name: &str, entries: &[Entry], info: &RunInfo, results: &Results) -> (RunReport, String) {
    let (dir, _guard) = folder(name);
    store(&dir, info, entries, results);
    page_in(&dir)
}

fn page_in(dir: &Path) -> (RunReport, String) {
    let report = render_run(dir).unwrap();
    let page = std::fs::read_to_string(&report.html).unwrap();
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
    for broken in ["NaN", "\"inf\"", "<script", "http:", "https:", "src=", "@import", "url("] {
        assert!(!page.contains(broken), "the page contains {broken}");
    }
    for line in crate::run_table(&report).lines() {
        assert!(line.chars().count() <= crate::table::columns(), "too wide: {line}");
    }
    (report, page)
}

#[test]
fn runs_without_completed_ops_say_so_instead_of_an_empty_plot() {
    let time_out = || Outcome::Info("timed out".into());
    let unanswered: Vec<Entry> = (0..5).flat_map(|p| ended(p, S, 3 * S, time_out())).collect();
    let cases = [
        (vec![], 3),
        (vec![Entry::Phase { time: 0, phase: Phase::Run }], 3),
        (vec![Entry::Phase { time: 0, phase: Phase::Run }, fault(S, 1, FaultStage::Installed)], 3),
        // Ops that were waited for have a latency; nothing succeeded.
        (unanswered, 0),
    ];
    for (nth, (mut entries, empty)) in cases.into_iter().enumerate() {
        entries.sort_by_key(Entry::time);
        let (report, page) = page_of(&format!("empty-{nth}"), &entries, &plain_info(), &nothing_wrong());
        assert_eq!(page.matches("no completed operations").count(), empty);
        assert_eq!(page.matches("no operation succeeded").count(), usize::from(empty == 0));
        assert_eq!(report.perf.overall.ok, 0);
        assert_eq!(report.plots.len(), 3);
    }
}

#[test]
fn one_op_ops_at_one_instant_and_extreme_latencies_can_be_drawn() {
    let one = ok(1, 5, 5).to_vec();
    let instant: Vec<Entry> = (0..10).flat_map(|p| ok(p, S, S)).collect();
    let mut extreme: Vec<Entry> = (0..100).flat_map(|at| ok(1, at * 2 * MS, at * 2 * MS + 1000)).collect();
    extreme.extend(ok(2, S, 61 * S));
    for (name, entries) in [("one", one), ("instant", instant), ("extreme", extreme)] {
        let ops = entries.len() as u64 / 2;
        let (report, page) = page_of(name, &entries, &plain_info(), &nothing_wrong());
        assert_eq!(report.perf.overall.ok, ops);
        assert!(!page.contains("no completed operations") || ops < 20);
    }
}

#[test]
fn two_hours_with_thousands_of_faults_stay_a_small_page() {
    let mut entries = vec![Entry::Phase { time: 0, phase: Phase::Run }];
    for at in 0..7200 {
        entries.extend(ok(1, at * S, at * S + 20 * MS));
    }
    for id in 0..4000 {
        let at = u64::from(id) * 1800 * MS;
        entries.push(fault(at, id, FaultStage::Installed));
        let stage = if id % 10 == 0 { FaultStage::NeverBit } else { FaultStage::Healed };
        entries.push(fault(at + 900 * MS, id, stage));
    }
    entries.sort_by_key(Entry::time);
    let (report, page) = page_of("many-faults", &entries, &plain_info(), &nothing_wrong());
    assert_eq!(report.perf.faults.len(), 4000);
    assert!(page.contains("minutes since the run began"));
    assert!(page.contains("4,000 faults: 3,600 bit, 400 never bit."), "the faults are counted");
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
}

#[test]
fn what_was_left_out_of_the_nemesis_is_named_on_the_page_and_on_the_terminal() {
    let why = "line 2 (clock-rate): etcd's clock is the host's, which is not ours";
    let info = RunInfo { left_out: vec![why.into()], ..plain_info() };
    let (report, page) = page_of("left-out", &ok(1, S, 2 * S), &info, &nothing_wrong());
    let words = format!("Left out of the nemesis: {why}");
    assert!(page.contains(&words.replace('\'', "&#39;")) || page.contains(&words), "{:?}", report.warnings);
    assert!(crate::run_table(&report).contains(&words), "{}", crate::run_table(&report));
}

#[test]
fn hostile_processes_and_liars_are_named_and_have_no_figures() {
    let mut entries = vec![Entry::Phase { time: 0, phase: Phase::Run }];
    entries.extend(ok(1, S, 2 * S));
    entries.push(Entry::Liar { time: 2 * S, node: 3 });
    entries.push(Entry::Hostile { time: 5 * S / 2, process: ProcessId(2) });
    entries.extend(ok(2, 3 * S, 60 * S));
    let (report, page) = page_of("hostile", &entries, &plain_info(), &nothing_wrong());
    assert_eq!(report.perf.overall.ok, 1);
    assert!(page.contains("<dt>hostile processes</dt><dd>2 from 2.500 s</dd>"));
    assert!(page.contains("<dt>replicas that lie</dt><dd>n3 from 2.000 s</dd>"));
}

#[test]
fn labels_are_data_wherever_they_come_from() {
    let evil = "\"><script>alert('1')</script>&";
    let mut info = plain_info();
    for field in [&mut info.plan, &mut info.subject, &mut info.workload, &mut info.load, &mut info.reads] {
        *field = evil.into();
    }
    info.facts = vec![(evil.into(), evil.into())];
    info.outcome = RunOutcome::Failed(evil.into());
    let op = |process: u32, culprit: bool| WindowOp {
        index: u64::from(process),
        process,
        label: evil.into(),
        invoked: S,
        returned: None,
        culprit,
        state: Some(evil.into()),
    };
    let evidence = Evidence {
        object: evil.into(),
        story: evil.into(),
        window: vec![op(1, false), op(2, true)],
        // The second is no position of the window.
        prefixes: vec![vec![0, 77]],
    };
    let check = CheckResult {
        numbers: [(evil.to_owned(), 0.5)].into(),
        evidence: vec![evidence],
        ..CheckResult::new(evil, Verdict::Invalid, 1, evil.into())
    };
    let event = FaultEvent {
        id: 1,
        fault: evil.into(),
        line: None,
        targets: evil.into(),
        stage: FaultStage::Installed,
        detail: evil.into(),
    };
    let mut entries = vec![Entry::Fault { time: 0, event }];
    entries.extend(ok(1, S, 2 * S));
    let (report, page) =
        page_of("labels", &entries, &info, &Results { verdict: Verdict::Invalid, checks: vec![check] });
    assert!(page.contains("&lt;script&gt;"));
    assert!(report.plots.iter().any(|plot| plot.ends_with("timeline.png")));
}

#[test]
fn what_a_failed_run_left_is_reported_and_what_it_did_not_leave_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut info = plain_info();
    info.outcome = RunOutcome::Failed("starting raft-node on n2: no such file".into());
    info.crashes = vec![("n3".into(), "panicked at 'index out of bounds'".into())];
    store(dir.path(), &info, &ok(1, 0, MS), &nothing_wrong());
    for gone in [RESULTS_FILE, PLAN_FILE, HISTORY_FILE] {
        std::fs::remove_file(dir.path().join(gone)).unwrap();
    }
    let (report, page) = page_in(dir.path());
    assert!(report.results.is_none());
    for said in [
        "The harness failed: starting raft-node on n2: no such file",
        "n3 ended by itself: panicked at",
        "The history cannot be read: ",
        "The history was not checked.",
    ] {
        assert!(page.contains(said), "the page does not say: {said}");
    }
    let table = crate::run_table(&report);
    assert!(table.contains("! The harness failed") && table.contains("not checked"), "{table}");
}

/// A run of `run_s` seconds with what its hosts said.
fn on_hosts(name: &str, run_s: u64, hosts: &impl serde::Serialize) -> (RunReport, String) {
    let (dir, _guard) = folder(name);
    let entries: Vec<Entry> = (0..run_s).flat_map(|s| ok(1, s * S, s * S + MS)).collect();
    store(&dir, &plain_info(), &entries, &nothing_wrong());
    write_json(&dir.join(HOSTS_FILE), hosts).unwrap();
    page_in(&dir)
}

#[test]
fn hours_of_hosts_clocks_stay_a_small_page() {
    let (report, page) = on_hosts("hosts-hours", 3 * 3600, &hosts(3 * 3600));
    assert!(report.plots.iter().any(|plot| plot.ends_with("clocks.png")));
    assert!(page.len() < 500_000, "{} bytes", page.len());
}

#[test]
fn whatever_hosts_say_can_be_shown() {
    let reading = |at_ns, offset_us, uncertainty_us| ClockReading { at_ns, offset_us, uncertainty_us };
    let evil = "\"><script>alert('1')</script>&".repeat(50);
    let host = |clock: &[ClockReading]| HostRecord {
        name: evil.clone(),
        nodes: vec![evil.clone(); 30],
        clock: clock.to_vec(),
        counters: (0..500).map(|n| (format!("{n} {evil}"), u64::MAX - n)).collect(),
        means: (0..500).map(|n| (format!("{n}"), evil.clone())).collect(),
    };
    let clocks = [
        vec![],
        vec![reading(S, 0, 0); 3],
        vec![reading(u64::MAX, 5, 5), reading(2 * S, i64::MAX, i64::MAX), reading(S, i64::MIN, -7)],
        vec![reading(S, -1_764_000_000_000_000, 300)],
    ];
    for (nth, clock) in clocks.iter().enumerate() {
        let (_, page) = on_hosts(&format!("hosts-odd-{nth}"), 10, &vec![host(clock); 40]);
        assert_eq!(page.matches("no clock was read").count(), usize::from(clock.is_empty()));
        assert!(page.contains("the first 24 of 40 hosts") && page.contains("And 440 more, see hosts.json."));
    }
    let (_, page) = on_hosts("hosts-silent", 10, &[HostRecord::default()]);
    assert!(
        page.contains("<h2>Hosts") && !page.contains("kernels counted") && !page.contains("By what means")
    );
}

#[test]
fn without_hosts_nothing_is_said_of_them_and_a_broken_file_is_one_warning() {
    let (report, page) = on_hosts("hosts-none", 10, &Vec::<HostRecord>::new());
    assert!(!page.contains("Hosts") && report.plots.len() == 3 && report.warnings.is_empty());
    let (report, page) = on_hosts("hosts-broken", 10, &"nobody");
    let [warning] = &report.warnings[..] else { panic!("{:?}", report.warnings) };
    assert!(warning.starts_with("What the hosts said cannot be read: "), "{warning}");
    assert!(page.contains("<h2>Performance") && !page.contains("<h2>Hosts") && report.perf.overall.ok == 10);
}

#[test]
fn a_truncated_history_is_said_at_the_top() {
    let dir = tempfile::tempdir().unwrap();
    let entries: Vec<Entry> = (0..50_000).flat_map(|at| ok(1, at * MS, at * MS + 1000)).collect();
    store(dir.path(), &plain_info(), &entries, &nothing_wrong());
    let path = dir.path().join(HISTORY_FILE);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
    let (report, page) = page_in(dir.path());
    let said = page.find("The history is truncated after").expect("the page says so");
    assert!(said < page.find("Facts").unwrap());
    assert!(report.perf.overall.ok > 0, "what is whole is measured");
}

#[test]
fn a_folder_without_a_run_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    assert!(format!("{:#}", render_run(dir.path()).unwrap_err()).contains("run.json"));
    write_json(&dir.path().join("run.json"), &"not a run").unwrap();
    assert!(format!("{:#}", render_run(dir.path()).unwrap_err()).contains("understanding"));
    assert!(format!("{:#}", crate::render_comparison(dir.path()).unwrap_err()).contains("comparison.json"));
}

/// A simulated run of one second with `count` messages, and what was found in it.
fn simulated(dir: &Path, count: u64, accusations: &[Accusation]) {
    let info = RunInfo { world: SIMULATED.into(), ..plain_info() };
    store(dir, &info, &ok(1, 0, S / 2), &nothing_wrong());
    let sent = |message: u64| Event {
        at: message * S / count,
        what: What::Sent {
            message,
            from: 1,
            to: 2,
            kind: "append-entries".into(),
            words: "AppendEntries { entries: [] }".into(),
            repeats: false,
        },
    };
    write_trace(&dir.join(TRACE_FILE), (0..count).map(sent)).unwrap();
    write_json(&dir.join(ACCUSATIONS_FILE), &accusations).unwrap();
}

fn two_leaders() -> Accusation {
    Accusation { checker: "invariants".into(), what: "two leaders in term 3".into(), at: Some(S / 2) }
}

#[test]
fn what_was_found_in_a_simulated_run_is_drawn() {
    let (dir, _guard) = folder("simulated");
    simulated(&dir, 1000, &[two_leaders()]);
    let (report, page) = page_in(&dir);
    let closely = "Drawn closely: 0.350 s to 0.500 s (what came before invariants found it)";
    for words in ["What happened", "Two leaders in term 3.", "found here", closely] {
        assert!(page.contains(words), "the page says nothing of {words}");
    }
    assert_eq!(report.warnings, Vec::<String>::new());
}

#[test]
fn a_simulated_run_that_passed_says_where_all_of_it_is() {
    let (dir, _guard) = folder("simulated-passed");
    simulated(&dir, 1000, &[]);
    let (_, page) = page_in(&dir);
    assert!(page.contains("too long to be drawn whole: trace.txt in the run"));
    assert!(!page.contains("Drawn closely"));
}

#[test]
fn a_trace_that_is_cut_or_missing_is_told_once_and_the_rest_is_there() {
    let (dir, _guard) = folder("simulated-cut");
    simulated(&dir, 1000, &[two_leaders()]);
    let path = dir.join(TRACE_FILE);
    let whole = std::fs::read(&path).unwrap();
    let told = |reason: &str| {
        let (report, page) = page_in(&dir);
        let [warning] = &report.warnings[..] else { panic!("{:?}", report.warnings) };
        let before = "What happened in the simulation cannot be drawn: ";
        assert!(warning.strip_prefix(before).is_some_and(|rest| rest.starts_with(reason)), "{warning}");
        assert_eq!(page.matches(before).count(), 1);
        assert!(!page.contains("<h2>What happened") && page.contains("<h2>Performance"));
    };
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    told("trace.jsonl, line ");
    std::fs::remove_file(&path).unwrap();
    told("reading trace.jsonl");
    std::fs::write(&path, &whole).unwrap();
    std::fs::write(dir.join(ACCUSATIONS_FILE), "[").unwrap();
    told("understanding ");
}
