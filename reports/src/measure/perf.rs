//! Everything that was measured: `perf.json`.

use super::fault::{FaultSpan, fault_spans};
use super::latency::{Latency, distribution, latency_ns};
use super::recovery::{Recoveries, Recovery};
use super::seconds;
use super::series::Series;
use super::service::Service;
use super::span::{PhaseSpan, Span, history_end, phase_spans, run_span};
use crate::stored::CpuUse;
use checkers::history::{FaultEvent, Op, OpKind, Outcome, Phase};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Above this share of the machine, other processes make a run noisy.
pub const NOISE_SHARE_MAX: f64 = 0.05;

/// What was measured in one run. Times are seconds since the run began; rates and latencies are of the run phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Perf {
    /// Begin of the run phase.
    pub run_start_s: f64,
    /// End of load generation in the run phase.
    pub run_end_s: f64,
    /// End of the history.
    pub history_end_s: f64,
    /// All phases.
    pub phases: Vec<PhaseSpan>,
    /// All ops of the run phase.
    pub overall: Measured,
    /// By kind of op.
    pub kinds: BTreeMap<OpKind, Measured>,
    /// (share not above, milliseconds) of all latencies of the run phase.
    pub distribution: Vec<(f64, f64)>,
    /// Over time: the run phase with a little of what came before and after.
    pub series: Series,
    /// Time without service.
    pub service: Service,
    /// Every fault, with what it did to throughput.
    pub faults: Vec<MeasuredFault>,
    /// What it cost.
    pub cpu: Cpu,
}

/// Ops of the run phase, of one kind or all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Took effect.
    pub ok: u64,
    /// Took no effect.
    pub fail: u64,
    /// May have taken effect: time-outs, lost connections.
    pub info: u64,
    /// Successes within the run phase over its length, ops/s.
    pub ok_s: f64,
    /// From the intended start, of ok and info ops; `None` if there are none.
    pub latency: Option<Latency>,
}

/// A fault with what it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasuredFault {
    /// The fault.
    #[serde(flatten)]
    pub span: FaultSpan,
    /// `None` if it was never in force in the run phase.
    pub recovery: Option<Recovery>,
}

/// Processor time of the run phase.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// As it was measured.
    #[serde(flatten)]
    pub used: CpuUse,
    /// All nodes, microseconds for each successful op; `None` without ops or without a measurement.
    pub nodes_us_per_op: Option<f64>,
    /// The controller with its load generator.
    pub controller_us_per_op: Option<f64>,
    /// Other processes' share of the machine, 0 to 1.
    pub others_share: Option<f64>,
    /// Other processes used so much that figures are not to be compared.
    pub noisy: bool,
}

impl Perf {
    /// Measures a history.
    #[must_use]
    pub fn of(ops: &[Op], faults: &[(u64, FaultEvent)], phases: &[(u64, Phase)], cpu: &CpuUse) -> Self {
        let end = history_end(ops, faults, phases);
        let run = run_span(ops, phases, cpu.wall_s);
        let asked: Vec<&Op> = ops.iter().filter(|op| op.phase == Phase::Run).collect();
        let kinds: std::collections::BTreeSet<OpKind> = asked.iter().map(|op| op.call.kind()).collect();
        let of_kind = |kind| asked.iter().copied().filter(move |op| op.call.kind() == kind);
        let latencies = sorted_latencies(asked.iter().copied(), end);
        let overall = Measured::of(asked.iter().copied(), &latencies, run);
        let spans = fault_spans(faults);
        let mut successes: Vec<u64> = asked
            .iter()
            .filter(|op| matches!(op.outcome, Outcome::Ok(_)))
            .filter_map(|op| op.returned)
            .filter(|&time| run.contains(time))
            .collect();
        successes.sort_unstable();
        let recoveries = Recoveries::new(&successes, run, &spans);
        let measured_faults = spans
            .iter()
            .enumerate()
            .map(|(at, span)| MeasuredFault { span: span.clone(), recovery: recoveries.of(at) })
            .collect();
        Self {
            run_start_s: seconds(run.start),
            run_end_s: seconds(run.end),
            history_end_s: seconds(end),
            phases: phase_spans(phases, end),
            kinds: kinds
                .into_iter()
                .map(|kind| (kind, Measured::of(of_kind(kind), &sorted_latencies(of_kind(kind), end), run)))
                .collect(),
            overall,
            distribution: distribution(&latencies),
            series: Series::of(ops, shown(run, end), end),
            service: Service::of(ops, run),
            faults: measured_faults,
            cpu: Cpu::of(cpu, successes.len() as u64),
        }
    }

    /// Length of the run phase.
    #[must_use]
    pub fn run_s(&self) -> f64 {
        self.run_end_s - self.run_start_s
    }
}

impl Measured {
    fn of<'a>(ops: impl Iterator<Item = &'a Op>, latencies: &[u64], run: Span) -> Self {
        let mut measured = Self { latency: Latency::of(latencies), ..Self::default() };
        let mut within = 0u64;
        for op in ops {
            match op.outcome {
                Outcome::Ok(_) => {
                    measured.ok += 1;
                    within += u64::from(op.returned.is_some_and(|time| run.contains(time)));
                }
                Outcome::Fail(_) => measured.fail += 1,
                Outcome::Info(_) => measured.info += 1,
            }
        }
        if run.length() > 0 {
            measured.ok_s = within as f64 / seconds(run.length());
        }
        measured
    }

    /// How many ops ended one way or another.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.ok + self.fail + self.info
    }
}

impl Cpu {
    fn of(used: &CpuUse, ok: u64) -> Self {
        let per_op = |s: f64| (ok > 0 && used.wall_s > 0.0).then(|| s * 1e6 / ok as f64);
        let machine_s = used.wall_s * f64::from(used.cores);
        let others_share = (machine_s > 0.0).then(|| used.others_s / machine_s);
        Self {
            used: *used,
            nodes_us_per_op: per_op(used.nodes_s),
            controller_us_per_op: per_op(used.controller_s),
            others_share,
            noisy: others_share.is_some_and(|share| share > NOISE_SHARE_MAX),
        }
    }
}

/// What plots over time show: the run phase, with at most a part of its length of what came before and after.
fn shown(run: Span, end: u64) -> Span {
    if run.length() == 0 {
        return Span { start: 0, end };
    }
    let before = run.length() / 6;
    Span { start: run.start.saturating_sub(before), end: end.min(run.end + run.length() / 4).max(run.end) }
}

fn sorted_latencies<'a>(ops: impl Iterator<Item = &'a Op>, end: u64) -> Vec<u64> {
    let mut latencies: Vec<u64> = ops.filter_map(|op| latency_ns(op, end)).collect();
    latencies.sort_unstable();
    latencies
}
