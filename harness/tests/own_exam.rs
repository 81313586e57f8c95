//! The harness's own exam: what must not pass, one defect at a time. Each run's folder is made by hand and judged by `gauntlet
//! check`; without a defect it is valid, so what turns it is the defect.
//!
//! What takes nodes and faults to show is in `end_to_end.rs`; what single checkers say is tested beside them.

use checkers::digests::{Applied, Mark, Settled, Sighting, Statuses};
use checkers::history::{
    Answer, Call, Entry, FaultEvent, FaultStage, MicroAnswer, MicroCall, Outcome, Phase, Posting, ProcessId,
    Writer,
};
use std::fs;
use std::process::{Command, Output};

const S: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;

/// A run of three seconds that went well.
struct Run {
    workload: &'static str,
    system: &'static str,
    checks: &'static str,
    info: serde_json::Value,
    entries: Vec<Entry>,
    statuses: Option<Statuses>,
}

fn phase(time: u64, phase: Phase) -> Entry {
    Entry::Phase { time, phase }
}

fn fault(time: u64, stage: FaultStage) -> Entry {
    let (fault, targets, detail) = ("kill".into(), "n1".into(), "pid 7".into());
    Entry::Fault { time, event: FaultEvent { id: 1, fault, line: None, targets, stage, detail } }
}

/// An op of a process, from and to milliseconds.
fn op(process: u32, from: u64, to: u64, call: Call, outcome: Outcome) -> [Entry; 2] {
    let process = ProcessId(process);
    [
        Entry::Invoke { time: from * MS, intended: from * MS, process, to: None, call },
        Entry::Return { time: to * MS, process, by: Vec::new(), outcome },
    ]
}

fn write(process: u32, from: u64, to: u64, value: u64) -> [Entry; 2] {
    op(process, from, to, Call::Write { key: 1, value }, Outcome::Ok(Answer::Done))
}

fn read(process: u32, from: u64, to: u64, value: u64) -> [Entry; 2] {
    op(process, from, to, Call::Read { key: 1 }, Outcome::Ok(Answer::Value(Some(value))))
}

fn sighting(node: u32, applied: u64, digest: u64) -> Sighting {
    Sighting {
        node: format!("n{node}"),
        time: 0,
        epoch: 1,
        mark: Mark { applied: Applied(applied.into()), count: applied, digest },
        ranges: Vec::new(),
        behind: 0,
        under_way: String::new(),
    }
}

impl Run {
    fn good() -> Self {
        let mut entries = vec![phase(0, Phase::Run)];
        for n in 1..=20 {
            entries.extend(write(0, 100 * n, 100 * n + 10, n));
            entries.extend(read(1, 100 * n + 20, 100 * n + 30, n));
        }
        entries.extend([fault(S, FaultStage::Installed), fault(2 * S, FaultStage::Healed)]);
        entries.push(phase(3 * S, Phase::Final));
        entries.extend(read(2, 3_010, 3_020, 20));
        let last = (1..=3).map(|node| sighting(node, 40, 4)).collect();
        let settled = Some(Settled { bound_ms: 30_000, last, silent: Vec::new() });
        Self {
            workload: "register: { cas: 0 }",
            system: "raft",
            checks: "{}",
            info: serde_json::from_str(include_str!("data/run.json")).unwrap(),
            entries,
            statuses: Some(Statuses { sightings: vec![sighting(1, 3, 1), sighting(2, 3, 1)], settled }),
        }
    }

    /// Puts more entries where their time is.
    fn with(mut self, entries: impl IntoIterator<Item = Entry>) -> Self {
        self.entries.extend(entries);
        self
    }

    fn without(mut self, unwanted: impl Fn(&Entry) -> bool) -> Self {
        self.entries.retain(|entry| !unwanted(entry));
        self
    }

    /// What `gauntlet` says of it.
    fn gauntlet(mut self, command: &str) -> (Output, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let plan = format!(
            "subjects: [{}]\nworkloads: [{{ {} }}]\nduration: 3s\nseed: 1\nchecks: {}\n",
            self.system,
            if self.workload.contains(':') { self.workload.into() } else { format!("{}: ", self.workload) },
            self.checks
        );
        fs::write(dir.path().join("plan.yaml"), plan).unwrap();
        fs::write(dir.path().join("run.json"), serde_json::to_vec(&self.info).unwrap()).unwrap();
        if let Some(statuses) = &self.statuses {
            fs::write(dir.path().join("statuses.json"), serde_json::to_vec(statuses).unwrap()).unwrap();
        }
        self.entries.sort_by_key(Entry::time);
        let mut writer = Writer::create(dir.path().join("history.bin")).unwrap();
        self.entries.iter().for_each(|entry| writer.push(entry).unwrap());
        writer.finish().unwrap();
        let output =
            Command::new(env!("CARGO_BIN_EXE_gauntlet")).arg(command).arg(dir.path()).output().unwrap();
        (output, dir)
    }

    /// Judges it: the exit code, and what each check says.
    fn checked(self) -> (i32, Vec<serde_json::Value>) {
        let (output, dir) = self.gauntlet("check");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let results =
            fs::read(dir.path().join("results.json")).unwrap_or_else(|error| panic!("{error}: {said}"));
        let results: serde_json::Value = serde_json::from_slice(&results).unwrap();
        (output.status.code().expect("it ends"), results["checks"].as_array().unwrap().clone())
    }

    /// Judges it: the exit code, and the verdict and the words of one check.
    fn judged(self, check: &str) -> (i32, String, String) {
        let (code, checks) = self.checked();
        let check = checks.iter().find(|result| result["checker"] == check).expect("it was judged");
        let word = |name: &str| check[name].as_str().unwrap().to_string();
        (code, word("verdict"), word("summary"))
    }
}

fn unknown(run: Run, check: &str, because: &str) {
    let (code, verdict, summary) = run.judged(check);
    assert!(summary.contains(because), "{summary}");
    assert_eq!((code, verdict.as_str()), (2, "unknown"), "{summary}");
}

fn invalid(run: Run, check: &str, because: &str) {
    let (code, verdict, summary) = run.judged(check);
    assert!(summary.contains(because), "{summary}");
    assert_eq!((code, verdict.as_str()), (1, "invalid"), "{summary}");
}

fn valid(run: Run, check: &str) {
    let (code, verdict, summary) = run.judged(check);
    assert_eq!((code, verdict.as_str()), (0, "valid"), "{summary}");
}

#[test]
fn a_run_without_a_defect_passes_every_check() {
    for check in ["run", "stats", "faults", "linearizability", "agreement"] {
        valid(Run::good(), check);
    }
}

#[test]
fn a_fault_that_never_bit_does_not_pass() {
    let healed =
        |entry: &Entry| matches!(entry, Entry::Fault { event, .. } if event.stage == FaultStage::Healed);
    let never_bit = Run::good().without(healed).with([fault(2 * S, FaultStage::NeverBit)]);
    unknown(never_bit, "faults", "fault 1 (kill on n1) never bit");
    unknown(Run::good().without(healed), "faults", "was not seen to end");
}

#[test]
fn a_workload_that_hardly_did_anything_does_not_pass() {
    let few = |run: Run, checks| Run { checks, ..run };
    invalid(
        few(Run::good(), "{ ok_min_per_kind: 21 }"),
        "stats",
        "20 of read succeeded in the run phase, at least 21",
    );
    unknown(few(Run::good(), "{ ok_per_s_min: 50 }"), "stats", "40 ops were answered in");
    let no_reads = |entry: &Entry| match entry {
        Entry::Invoke { time, process, .. } | Entry::Return { time, process, .. } => {
            process.0 == 1 && *time < 3 * S
        }
        Entry::Phase { .. }
        | Entry::Fault { .. }
        | Entry::Clocks { .. }
        | Entry::Hostile { .. }
        | Entry::Liar { .. } => false,
    };
    invalid(Run::good().without(no_reads), "stats", "0 of read succeeded");
    let refused =
        op(5, 2_500, 2_510, Call::Cas { key: 1, from: 1, to: 99 }, Outcome::Ok(Answer::Swapped(false)));
    invalid(Run::good().with(refused), "stats", "0 of cas succeeded");
    let nothing = Run::good().without(|entry| matches!(entry, Entry::Invoke { .. } | Entry::Return { .. }));
    invalid(nothing, "stats", "0 of read succeeded");
}

#[test]
fn a_checker_out_of_time_does_not_pass() {
    // Values that repeat have to be searched.
    let same =
        (0..40).flat_map(|n| [write(10 + n, 2_500, 2_900, 7), read(60 + n, 2_500, 2_900, 7)]).flatten();
    let hard = Run { checks: "{ deadline: 0s }", ..Run::good().with(same) };
    let (code, verdict, summary) = hard.judged("linearizability");
    assert!(summary.contains("out of time"), "{summary}");
    assert_eq!((code, verdict.as_str()), (2, "unknown"));
    let txn = |steps, answers| (Call::Txn(steps), Outcome::Ok(Answer::Txn(answers)));
    for (workload, check) in [("append", "append"), ("set", "set"), ("counter", "counter"), ("bank", "bank")]
    {
        let mut entries = vec![phase(0, Phase::Run)];
        for n in 1..=20 {
            let (call, outcome) = txn(
                vec![MicroCall::Append { key: 0, value: Posting { id: n, amount: 1 }.value() }],
                vec![MicroAnswer::Done],
            );
            entries.extend(op(0, 100 * n, 100 * n + 10, call, outcome));
        }
        entries.push(phase(3 * S, Phase::Final));
        let run = Run { workload, checks: "{ deadline: 0s }", entries, ..Run::good() };
        unknown(run, check, "out of time");
    }
}

#[test]
fn an_op_without_an_answer_is_neither_done_nor_failed() {
    let lost = || op(7, 2_200, 2_300, Call::Write { key: 1, value: 77 }, Outcome::Info("timed out".into()));
    let final_read = |entry: &Entry| match entry {
        Entry::Invoke { process, .. } | Entry::Return { process, .. } => process.0 == 2,
        Entry::Phase { .. }
        | Entry::Fault { .. }
        | Entry::Clocks { .. }
        | Entry::Hostile { .. }
        | Entry::Liar { .. } => false,
    };
    // It need not have happened, it may have happened, it may happen late; but not be undone.
    valid(Run::good().with(lost()), "linearizability");
    let happened = || Run::good().without(final_read).with(lost()).with(read(2, 3_010, 3_020, 77));
    valid(happened(), "linearizability");
    valid(happened().with(read(1, 2_400, 2_410, 20)), "linearizability");
    invalid(happened().with(read(1, 3_030, 3_040, 20)), "linearizability", "read 20 from key 1");
    // Of an answer that says that nothing happened that is not so.
    let failed = op(7, 2_200, 2_300, Call::Write { key: 1, value: 77 }, Outcome::Fail("refused".into()));
    let failed = Run::good().without(final_read).with(failed).with(read(2, 3_010, 3_020, 77));
    invalid(failed, "linearizability", "77");
}

#[test]
fn a_run_without_its_final_heal_or_final_read_does_not_pass() {
    let final_phase = |entry: &Entry| matches!(entry, Entry::Phase { phase: Phase::Final, .. });
    unknown(Run::good().without(final_phase), "run", "there was no final read");
    let mut unhealed = Run::good();
    unhealed.info["heal_problems"] = serde_json::json!(["n2 is still paused"]);
    unknown(unhealed, "run", "not healed: n2 is still paused");
    let mut crashed = Run::good();
    crashed.info["crashes"] = serde_json::json!([["n1", "signal 11"]]);
    invalid(crashed, "run", "n1 ended by itself");
}

#[test]
fn replicas_whose_states_differ_do_not_pass_and_those_not_heard_neither() {
    let with = |sightings: Vec<Sighting>, last: Vec<Sighting>| {
        let settled = Some(Settled { bound_ms: 30_000, last, silent: Vec::new() });
        Run { statuses: Some(Statuses { sightings, settled }), ..Run::good() }
    };
    let end = |of: [(u64, u64); 3]| -> Vec<Sighting> {
        (1..).zip(of).map(|(node, (applied, digest))| sighting(node, applied, digest)).collect()
    };
    let one = || end([(40, 4); 3]);
    valid(with(vec![], one()), "agreement");
    invalid(
        with(vec![sighting(1, 3, 1), sighting(3, 3, 2)], one()),
        "agreement",
        "n1 and n3 had both applied the same 3 entries",
    );
    invalid(with(vec![], end([(40, 4), (40, 4), (40, 5)])), "agreement", "the states differ");
    invalid(with(vec![], end([(40, 4), (39, 3), (40, 4)])), "agreement", "n2 had applied 39 entries");
    unknown(Run { statuses: None, ..Run::good() }, "agreement", "statuses.json");
    unknown(Run { statuses: Some(Statuses::default()), ..Run::good() }, "agreement", "not asked");
    // A foreign system that does not tell its state is not held to it: there is no such check.
    let etcd = Run { system: "etcd", statuses: None, ..Run::good() };
    let (code, checks) = etcd.checked();
    assert_eq!(code, 0);
    assert!(checks.iter().all(|check| check["checker"] != "agreement"), "{checks:?}");
}

#[test]
fn ops_that_timed_out_count_in_latencies() {
    let waited = (0..20).flat_map(|n| {
        op(
            100 + n,
            500,
            2_500,
            Call::Write { key: 1, value: 1_000 + u64::from(n) },
            Outcome::Info("timed out".into()),
        )
    });
    let p99_ms = |run: Run| {
        let (output, dir) = run.gauntlet("report");
        let perf =
            fs::read(dir.path().join("perf.json")).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let perf: serde_json::Value = serde_json::from_slice(&perf).unwrap();
        perf["overall"]["latency"]["p99_ms"].as_f64().unwrap()
    };
    assert!(p99_ms(Run::good()) < 11.0);
    assert_eq!(p99_ms(Run::good().with(waited)), 2_000.0);
}
