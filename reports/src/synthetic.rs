//! Hand-made ops and whole runs for tests.

use crate::stored::{
    ClockReading, CpuUse, HISTORY_FILE, HostRecord, PLAN_FILE, RESULTS_FILE, RUN_FILE, Results, RunInfo,
    RunOutcome, write_json,
};
use checkers::history::{
    Answer, Call, Entry, FaultEvent, FaultStage, Op, OpKind, Outcome, Phase, ProcessId, Writer,
};
use checkers::verdict::{Evidence, WindowOp};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::path::{Path, PathBuf};

/// An op of the run phase that is meant to start, and does, at `start`, and takes `length` nanoseconds.
pub(crate) fn op(start: u64, length: u64, outcome: &str) -> Op {
    Op {
        index: 0,
        process: ProcessId(1),
        phase: Phase::Run,
        is_hostile: false,
        to: None,
        by: Vec::new(),
        call: Call::Read { key: 1 },
        intended: start,
        invoked: start,
        returned: Some(start + length),
        outcome: match outcome {
            "ok" => Outcome::Ok(Answer::Value(None)),
            "fail" => Outcome::Fail("refused".into()),
            "info" => Outcome::Info("timed out".into()),
            other => unreachable!("no outcome {other}"),
        },
    }
}

/// `rate` ops a second, each of one millisecond, from `from` to before `to`.
pub(crate) fn ops_at(rate: u64, from: u64, to: u64) -> Vec<Op> {
    (from..to).step_by((1_000_000_000 / rate) as usize).map(|at| op(at, 1_000_000, "ok")).collect()
}

/// What a made-up run goes through.
pub(crate) struct Storm {
    pub(crate) seed: u64,
    pub(crate) clients: u32,
    pub(crate) load_s: u64,
    pub(crate) run_s: u64,
    /// Median latency, microseconds.
    pub(crate) latency_us: u64,
    /// What clients do: each call with its share.
    pub(crate) calls: &'static [(OpKind, f64)],
    pub(crate) faults: Vec<Trouble>,
}

/// A made-up fault: when, how long, and what it does to service.
pub(crate) struct Trouble {
    pub(crate) fault: &'static str,
    pub(crate) targets: &'static str,
    pub(crate) from_s: f64,
    pub(crate) to_s: f64,
    /// Nobody is answered for so long after it came.
    pub(crate) outage_s: f64,
    /// Added to each op while it lasts, milliseconds.
    pub(crate) delay_ms: u64,
    pub(crate) end: FaultStage,
}

pub(crate) fn trouble(fault: &'static str, targets: &'static str, from_s: f64, to_s: f64) -> Trouble {
    Trouble { fault, targets, from_s, to_s, outage_s: 0.0, delay_ms: 0, end: FaultStage::Healed }
}

const S: u64 = 1_000_000_000;
/// How long a client waits.
const PATIENCE: u64 = 2 * S;

impl Storm {
    /// The history of closed-loop clients, each of which asks again when it is answered.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let (run_from, run_to) = (self.load_s * S, (self.load_s + self.run_s) * S);
        let mut entries = vec![Entry::Phase { time: 0, phase: Phase::Load }];
        let mut process = 0;
        for _ in 0..self.clients {
            process += 1;
            let mut now = chance.random_range(0..1_000_000);
            while now < run_to {
                let kind = if now < run_from { OpKind::Insert } else { self.kind(&mut chance) };
                let took = self.took(now, &mut chance);
                let refused = kind != OpKind::Insert && chance.random_bool(0.0005);
                let time = if refused { now + 300_000 } else { now + took.min(PATIENCE) };
                let process_id = ProcessId(process);
                let call = call(kind, chance.random_range(0..1000), now);
                let outcome = if refused {
                    Outcome::Fail("no leader".into())
                } else if took > PATIENCE {
                    process += 1;
                    Outcome::Info("timed out".into())
                } else {
                    Outcome::Ok(Answer::Done)
                };
                entries.push(Entry::Invoke { time: now, intended: now, process: process_id, to: None, call });
                entries.push(Entry::Return { time, process: process_id, by: Vec::new(), outcome });
                now = time + chance.random_range(10_000..60_000);
            }
        }
        entries.push(Entry::Phase { time: run_from, phase: Phase::Run });
        entries.push(Entry::Phase { time: run_to + 3 * S, phase: Phase::Final });
        for i in 0..200 {
            let (time, process) = (run_to + 3 * S + i * 2_000_000, ProcessId(1_000_000));
            entries.push(Entry::Invoke {
                time,
                intended: time,
                process,
                to: None,
                call: Call::ReadRecord { key: i },
            });
            entries.push(Entry::Return {
                time: time + 900_000,
                process,
                by: Vec::new(),
                outcome: Outcome::Ok(Answer::Fields(None)),
            });
        }
        self.faults.iter().zip(1..).for_each(|(trouble, id)| entries.extend(trouble.entries(id)));
        // Stable: an op's invocation stays before its return.
        entries.sort_by_key(Entry::time);
        entries
    }

    fn kind(&self, chance: &mut Xoshiro256PlusPlus) -> OpKind {
        let mut left = chance.random::<f64>();
        for &(kind, share) in self.calls {
            if left < share {
                return kind;
            }
            left -= share;
        }
        self.calls[0].0
    }

    fn took(&self, now: u64, chance: &mut Xoshiro256PlusPlus) -> u64 {
        // Roughly log-normal, with a rare hiccup.
        let spread: f64 = (0..4).map(|_| chance.random::<f64>() - 0.5).sum();
        let mut took = (self.latency_us as f64 * 1e3 * (1.1 * spread).exp()) as u64;
        if chance.random_bool(0.002) {
            took *= chance.random_range(3..25);
        }
        for trouble in &self.faults {
            let (from, to) = ((trouble.from_s * 1e9) as u64, (trouble.to_s * 1e9) as u64);
            let back = from + (trouble.outage_s * 1e9) as u64;
            if (from..back).contains(&(now + took)) {
                took += back - now;
            }
            if trouble.delay_ms > 0 && (from..to).contains(&now) {
                took += trouble.delay_ms * 1_000_000 + chance.random_range(0..20_000_000);
            }
        }
        took
    }
}

impl Trouble {
    fn entries(&self, id: u32) -> Vec<Entry> {
        let at = |s: f64, stage: FaultStage, detail: &str| Entry::Fault {
            time: (s * 1e9) as u64,
            event: FaultEvent {
                id,
                fault: self.fault.into(),
                line: None,
                targets: self.targets.into(),
                stage,
                detail: detail.into(),
            },
        };
        match self.end {
            FaultStage::Skipped => vec![at(self.from_s, FaultStage::Skipped, "there is no leader to pick")],
            FaultStage::Indeterminate => vec![
                at(self.from_s, FaultStage::Indeterminate, "the control socket closed before it answered"),
                at(self.to_s, FaultStage::Healed, "the links are clear"),
            ],
            FaultStage::Installed => vec![at(self.from_s, FaultStage::Installed, "pid 4711 is gone")],
            FaultStage::Healed => vec![
                at(self.from_s, FaultStage::Installed, "in force on all targets"),
                at(self.to_s, FaultStage::Healed, "1,482 messages dropped"),
            ],
            FaultStage::NeverBit => vec![
                at(self.from_s, FaultStage::Installed, "in force on all targets"),
                at(self.to_s, FaultStage::NeverBit, "0 messages dropped"),
            ],
        }
    }
}

fn call(kind: OpKind, key: u64, value: u64) -> Call {
    match kind {
        OpKind::Read => Call::ReadRecord { key },
        OpKind::Write => Call::Write { key, value },
        OpKind::Cas => Call::Cas { key, from: value, to: value + 1 },
        OpKind::Txn => Call::Txn(Vec::new()),
        OpKind::Insert => Call::Insert { key, value },
        OpKind::Update => Call::Update { key, field: 0, value },
        OpKind::Scan => Call::Scan { key, limit: 100 },
        OpKind::ReadModifyWrite => Call::ReadModifyWrite { key, field: 0, value },
    }
}

/// What `run.json` would say of a made-up run.
pub(crate) fn info(subject: &str, workload: &str, storm: &Storm) -> RunInfo {
    RunInfo {
        plan: "compare".into(),
        subject: subject.into(),
        system: subject.split('-').next().unwrap_or(subject).into(),
        workload: workload.into(),
        world: "local".into(),
        seed: storm.seed,
        started: "2025-11-20T12:00:00Z".into(),
        replicas: if subject == "standalone" { 1 } else { 3 },
        clients: storm.clients,
        load: "closed".into(),
        durability: "fsync".into(),
        reads: "read-index".into(),
        facts: vec![("records".into(), "1,000 × 10 × 100 B".into())],
        control: None,
        outcome: RunOutcome::Completed,
        cpu: CpuUse {
            wall_s: storm.run_s as f64,
            nodes_s: storm.run_s as f64 * 0.9,
            controller_s: storm.run_s as f64 * 0.5,
            others_s: storm.run_s as f64 * 0.02,
            cores: 2,
        },
        heal_problems: Vec::new(),
        left_out: Vec::new(),
        not_collected: Vec::new(),
        crashes: Vec::new(),
        disk_full: Vec::new(),
    }
}

/// What five hosts would say of a run of `run_s` seconds: clocks that drift and are set right, one of them set wrong for
/// a while and one not read for a while, and now and then an answer that comes late.
pub(crate) fn hosts(run_s: u64) -> Vec<HostRecord> {
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(11);
    let mut clock = |host: u64| {
        let mut readings = Vec::new();
        for s in (0..run_s).filter(|s| host != 4 || !(run_s / 2..run_s * 2 / 3).contains(s)) {
            let late = chance.random_bool(0.02);
            let half: i64 =
                if late { chance.random_range(20_000..900_000) } else { chance.random_range(90..260) };
            let drift = (s * 450 * (host + 1) / run_s % 900) as i64 - 300;
            let wrong = if host == 3 && (run_s / 3..run_s / 3 + 6).contains(&s) { 2500 } else { 0 };
            readings.push(ClockReading {
                at_ns: s * S + 7_000_000 * host,
                offset_us: drift + wrong + chance.random_range(-half..half) / 2,
                uncertainty_us: half,
            });
        }
        readings
    };
    let counters = |host: u64| {
        [
            ("Tcp RetransSegs", 310 * host),
            ("TcpExt TCPTimeouts", 12 * host),
            ("TcpExt ListenDrops", 0),
            ("Udp RcvbufErrors", 0),
            ("cpu steal ms", 1500 / host),
            ("vmstat oom_kill", u64::from(host == 2)),
        ]
    };
    let host = |nth: u64| HostRecord {
        name: format!("h{nth}"),
        nodes: vec![format!("n{nth}"), format!("n{}", nth + 5)],
        clock: clock(nth),
        counters: counters(nth).map(|(name, grew)| (name.to_owned(), grew)).to_vec(),
        means: vec![
            ("partition".into(), "nftables".into()),
            ("rate".into(), if nth == 5 { "the node: there is no tc" } else { "tc htb" }.into()),
        ],
    };
    (1..=5).map(host).collect()
}

/// A folder for one report; it goes with the guard unless it was asked for.
pub(crate) fn folder(name: &str) -> (PathBuf, Option<tempfile::TempDir>) {
    match std::env::var_os("GALLERY") {
        Some(root) => (Path::new(&root).join(name), None),
        None => {
            let guard = tempfile::tempdir().unwrap();
            (guard.path().join(name), Some(guard))
        }
    }
}

/// Writes a run's folder as the harness does.
pub(crate) fn store(dir: &Path, info: &RunInfo, entries: &[Entry], results: &Results) {
    std::fs::create_dir_all(dir).unwrap();
    write_json(&dir.join(RUN_FILE), info).unwrap();
    write_json(&dir.join(RESULTS_FILE), results).unwrap();
    std::fs::write(dir.join(PLAN_FILE), "plan: compare\nseed: 42\nworkload: ycsb-a\n").unwrap();
    let mut writer = Writer::create(dir.join(HISTORY_FILE)).unwrap();
    entries.iter().for_each(|entry| writer.push(entry).unwrap());
    writer.finish().unwrap();
}

/// A stale read on a busy key: `ops` ops by `processes` processes, of which two cannot be explained.
pub(crate) fn stale_read(ops: usize, processes: u32, from: u64) -> Evidence {
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(7);
    let mut free: Vec<u64> = (0..processes).map(|_| from + chance.random_range(0..2_000_000)).collect();
    let mut window = Vec::new();
    let mut value = 0;
    for at in 0..ops {
        let process = (0..free.len()).min_by_key(|&p| free[p]).unwrap();
        let invoked = free[process];
        let returned = invoked + chance.random_range(300_000..3_000_000);
        let unknown = at % 17 == 5;
        let write = chance.random_bool(0.4);
        value += u64::from(write);
        let label = if write { format!("write {value}") } else { format!("read → {value}") };
        window.push(WindowOp {
            index: 10_000 + 2 * at as u64,
            process: process as u32 + 1,
            label,
            invoked,
            returned: (!unknown).then_some(returned),
            culprit: false,
            state: (at <= ops / 2).then(|| value.to_string()),
        });
        free[process] = if unknown { u64::MAX } else { returned + chance.random_range(100_000..800_000) };
    }
    let (write, read) = (ops / 2 - 1, ops / 2 + 4);
    window[write].label = format!("write {value}");
    window[write].returned = Some(window[write].invoked + 700_000);
    window[read].label = "read → 3".into();
    window[read].returned = Some(window[read].invoked + 900_000);
    for culprit in [write, read] {
        window[culprit].culprit = true;
        window[culprit].state = None;
    }
    let prefix = (0..=ops / 2).filter(|&at| at != write).map(|at| at as u32).collect();
    Evidence {
        object: "key 17".into(),
        story: format!(
            "Process {} wrote {value} and was answered before process {} read 3, which had been overwritten: the read is stale. \
             No order of the ops on key 17 explains both.",
            window[write].process, window[read].process
        ),
        window,
        prefixes: vec![prefix],
    }
}
