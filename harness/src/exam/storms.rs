//! The storms in which bugs must show on processes: short, local, each made for one bug, and no harder than a correct build
//! survives.

use crate::plan::Plan;
use anyhow::{Context, bail};
use protocol::BugInfo;

/// The storm of a bug, without the bug.
///
/// # Errors
/// If it has none.
pub(super) fn of(bug: &BugInfo) -> anyhow::Result<Plan> {
    let Some((_, text)) = STORMS.iter().find(|(id, _)| *id == bug.id) else {
        bail!("{} has no storm on processes", bug.id)
    };
    let mut plan = Plan::parse(text).with_context(|| format!("the storm of {}", bug.id))?;
    plan.name = format!("real-{}", bug.id);
    // What is cut off answers little.
    (plan.checks.ok_per_s_min, plan.checks.ok_min_per_kind) = (0.1, 1);
    plan.validate().with_context(|| format!("the storm of {}", bug.id))?;
    Ok(plan)
}

/// By bug.
const STORMS: &[(&str, &str)] = &[
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exam::{catalogue, switch_on};
    use crate::subject::System;

    #[test]
    fn every_bug_that_must_show_on_processes_has_a_storm_that_runs_with_and_without_it() {
        let mut real = 0;
        for bug in System::ALL.into_iter().flat_map(catalogue).filter(|bug| bug.real) {
            let mut plan = of(&bug).expect("it has a storm");
            plan.validate().unwrap_or_else(|error| panic!("{} without it: {error:#}", bug.id));
            switch_on(&bug, &mut plan.subjects[0]).expect("an option");
            plan.validate().unwrap_or_else(|error| panic!("{} with it: {error:#}", bug.id));
            assert_eq!(plan.cells(1).expect("it resolves").len(), 1, "{}", bug.id);
            real += 1;
        }
        assert!(real >= STORMS.len() && real > 0, "a storm is of no bug");
    }
}
