//! Raft.

use crate::plan::Plan;
use crate::sim::settings::Knobs;
use crate::subject::{
    ClientKind, Clocks, Drawn, OwnSystem, Promise, Properties, Reads, System, any_workload,
};
use nemesis::Fault;
use protocol::quorum::Quorums;
use protocol::{Bug as _, BugInfo, ReplicaId};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use runtime::Durability;
use serde_yaml::{Mapping, Value};
use sim::{Broken, Observer};

pub(crate) const SYSTEM: System = System::new(&Raft);

struct Raft;

impl OwnSystem for Raft {
    type Core = raft::Raft;
    type Observer = Invariants;

    const PROPERTIES: Properties = Properties {
        name: "raft",
        about: "Raft: majority-replicated log, elected leader",
        program: "raft-node",
        is_example: false,
        promise: Promise::Linearizable,
        quorums: Quorums::Majority,
        replicas: None,
        leads: true,
        client: ClientKind::Leader,
        changes_members: true,
        marks: Ok(()),
        clocks: Clocks::Availability,
        reads: &[
            (Reads::Default, "read index"),
            (Reads::ReadIndex, "read index"),
            (Reads::Lease, "lease"),
            (Reads::Local, "local (unsafe)"),
        ],
        durability: &[Durability::Fsync, Durability::Memory],
        adversaries: &[],
        workloads: any_workload,
    };
    const SITUATIONS: &'static [&'static str] = raft::SITUATIONS;
    const TRIALS: &'static [(&'static str, &'static str)] = TRIALS;

    fn bugs() -> Vec<BugInfo> {
        raft::Bug::ALL.iter().map(|bug| bug.info()).collect()
    }

    fn set_reads(reads: Reads, options: &mut Mapping) {
        let word = serde_yaml::to_value(reads).expect("a name");
        options.insert("read".into(), word);
    }

    fn draw(knobs: &Knobs, clocks_are_bent: bool, rng: &mut Xoshiro256PlusPlus) -> Option<Drawn> {
        let mut options = options(knobs, rng);
        // Clocks are mostly as bad as the protocol is told that they may be.
        let drift_max = *[0.01, 0.25].choose(rng).expect("a constant list");
        options.insert("clock_drift_max".into(), drift_max.into());
        let clock_drift = drift_max * [0.0, 1.0, 1.0].choose(rng).expect("a constant list");
        // A lease rests on a bound on clocks that these faults break.
        let lease = !clocks_are_bent && rng.random_bool(0.25);
        Some(Drawn { options, reads: if lease { Reads::Lease } else { Reads::Default }, clock_drift })
    }

    fn clock_drift_max(options: &Value) -> Option<f64> {
        options["clock_drift_max"].as_f64()
    }

    fn prepare_exam(bug: &BugInfo, plan: &mut Plan) {
        if bug.id == raft::Bug::LeaseNoDrift.info().id {
            // It is none without a lease, and clocks beyond the bound would break a correct one.
            plan.subjects[0].reads = Reads::Lease;
            let in_bound = |fault: &Fault| fault.clock_setting().is_none();
            plan.nemesis.iter_mut().for_each(|line| line.faults.retain(in_bound));
            plan.nemesis.retain(|line| !line.faults.is_empty());
        }
    }
}

/// The paper's invariants.
#[derive(Debug, Default)]
pub(crate) struct Invariants(raft::Invariants);

impl Observer<raft::Raft> for Invariants {
    fn after_step(&mut self, core: &raft::Raft) -> Result<(), Broken> {
        self.0
            .after_step(core)
            .map_err(|violation| Broken { detector: violation.detector(), what: violation.to_string() })
    }

    fn restarted(&mut self, replica: ReplicaId) {
        self.0.restarted(replica);
    }
}

/// Where a round trip and a sync take longer than this, batches of one entry cannot be had: what is acknowledged in a minute takes a
/// newcomer longer to catch up with than any run lasts.
const ENTRY_US_MAX: u64 = 5_000;

fn options(knobs: &Knobs, rng: &mut Xoshiro256PlusPlus) -> serde_yaml::Mapping {
    let mut options = serde_yaml::Mapping::new();
    let mut set = |name: &str, values: &[u64]| {
        let value = *values.choose(rng).expect("a constant list");
        options.insert(name.into(), value.into());
        value
    };
    set("snapshot_every_entries", &[10, 50, 50, 300, 250_000]);
    set("log_keep_entries", &[0, 5, 50, 10_000]);
    set("snapshot_chunk_bytes", &[500, 4_000, 1 << 20]);
    set("catch_up_ms_max", &[400, 5_000, 30_000]);
    set("rounds_in_flight_max", &[1, 2, 2, 8]);
    let (sync, latency) =
        (knobs.sync_us_min + knobs.sync_us_mean, knobs.latency_us_min + knobs.latency_us_mean);
    let one_entry_will_do = sync + 2 * latency <= ENTRY_US_MAX;
    set("batch_bytes_max", if one_entry_will_do { &[1, 500, 1 << 20] } else { &[500, 500, 1 << 20] });
    let heartbeat = set("heartbeat_ms", &[20, 50, 50]);
    let least = set("election_timeout_ms_min", &[150, 300, 300, 1_000]);
    options.insert("election_timeout_ms_max".into(), (2 * least + heartbeat).into());
    // Far more than there are clients at a time, and fewer than come and go.
    if rng.random_bool(0.3) {
        let limits = serde_yaml::Mapping::from_iter([("sessions_max".into(), 60_u64.into())]);
        options.insert("limits".into(), limits.into());
    }
    options
}

/// By bug: short, local, each made for it, and no harder than a correct build survives.
const TRIALS: &[(&str, &str)] = &[
    // What is acknowledged during a sync is on no disk when all lose power.
    (
        "raft.ack-before-fsync",
        "
subjects: [raft]
workloads: [register]
duration: 9s
journal_sync_min: 25ms
load: { clients: 12, op_timeout: 1s, attempt_timeout: 300ms }
nemesis:
  - { faults: [power-loss], targets: all, start: 1s, every: 1500ms, for: 100ms, jitter: 0.2 }
",
    ),
    // A leader that is cut off gives up its office as early as others may be elected, unless its clock is slow. Linearizable
    // reads rest on no clock.
    (
        "raft.local-read",
        "
subjects: [raft]
workloads: [register]
duration: 9s
load: { clients: 15, op_timeout: 1s, attempt_timeout: 300ms }
nemesis:
  - { faults: [{ clock-rate: { rate: 0.3 } }], targets: leader, start: 1s, every: 3s, for: 1600ms }
  - { faults: [{ partition: leader }], start: 1300ms, every: 3s, for: 1300ms }
",
    ),
    // Clocks within the bound, as far apart as it allows. Clients that wait for a write read nothing, so they do not wait long.
    (
        "raft.lease-no-drift",
        "
subjects: [{ system: raft, reads: lease, options: { clock_drift_max: 0.25 } }]
workloads: [{ register: { read: 0.97, write: 0.02, cas: 0.01 } }]
duration: 12s
load: { clients: 30, op_timeout: 100ms, attempt_timeout: 50ms }
nemesis:
  - { faults: [{ clock-rate: { rate: 0.77 } }], targets: leader, start: 1s, every: 2s, for: 900ms }
  - { faults: [{ clock-rate: { rate: 1.23 } }], targets: followers, start: 1s, every: 2s, for: 900ms }
  - { faults: [{ partition: leader }], start: 1300ms, every: 2s, for: 600ms }
",
    ),
    // Many snapshots, many retries, and leaders that recover from the ones and meet the others.
    (
        "raft.snapshot-no-sessions",
        "
subjects: [{ system: raft, options: { snapshot_every_entries: 100, log_keep_entries: 10 } }]
workloads: [append]
duration: 9s
load: { clients: 12, op_timeout: 2s, attempt_timeout: 60ms }
nemesis:
  - { faults: [kill], targets: leader, start: 1s, every: 2s, for: 300ms, jitter: 0.2 }
  - { faults: [{ delay: { latency: 40ms, jitter: 60ms } }], targets: all, start: 500ms, every: 2s, for: 1500ms }
",
    ),
    // Answers that take longer than clients wait before they try again.
    (
        "raft.retry-applied-twice",
        "
subjects: [raft]
workloads: [append]
duration: 9s
load: { clients: 9, op_timeout: 2s, attempt_timeout: 60ms }
nemesis:
  - { faults: [{ delay: { latency: 60ms, jitter: 60ms } }], targets: all, start: 1s, every: 3s, for: 1500ms }
",
    ),
    (
        "raft.ack-on-append",
        "
subjects: [raft]
workloads: [register]
duration: 9s
load: { clients: 9, op_timeout: 1s, attempt_timeout: 300ms }
nemesis:
  - { faults: [{ partition: leader }], start: 1s, every: 2500ms, for: 1200ms, jitter: 0.2 }
",
    ),
    // What the first and the second know and the third does not: the first forgets it, the second goes before it can tell the
    // first again, and a majority is left only if the first passes for who it was.
    (
        "raft.amnesia",
        "
subjects: [raft]
workloads: [register]
duration: 9s
load: { clients: 9, op_timeout: 1s, attempt_timeout: 300ms }
nemesis:
  - { faults: [transfer], targets: { nodes: [2] }, start: 500ms, for: 400ms }
  - { faults: [{ partition: { groups: [[1, 2], [3]] } }], start: 1s, for: 2s }
  - { faults: [{ partition: { groups: [[1], [2], [3]] } }], start: 2850ms, for: 900ms }
  - { faults: [wipe], targets: { nodes: [1] }, start: 2900ms, for: 3s }
  - { faults: [kill], targets: { nodes: [2] }, start: 2950ms, for: 3s }
",
    ),
];
