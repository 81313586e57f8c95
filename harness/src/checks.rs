//! Which checks there are, what evidence each gives, which of them follow from a promise and a workload, and how
//! a history is judged.

use crate::panics;
use crate::plan::Checks;
use crate::subject::{Promise, Subject};
use checkers::bank::check_bank;
use checkers::convergence::check_convergence;
use checkers::counter::check_counter;
use checkers::history::History;
use checkers::linearizability::{LinearizabilityOptions, check_append, check_linearizable};
use checkers::set::check_set;
use checkers::{CheckResult, Verdict};
use protocol::Detector;
use std::panic::{AssertUnwindSafe, catch_unwind};
use workloads::Spec;

/// A check, of all that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Check {
    /// The paper's invariants, after each step of a simulated run.
    Invariants,
    /// No replica stops by itself, in a simulated run.
    Replicas,
    /// Registers and records, key by key.
    Linearizability,
    /// Transactions over lists.
    Append,
    /// Elements that are added to one set.
    Set,
    /// Amounts that are added to counters.
    Counter,
    /// Transfers between accounts.
    Bank,
    /// Registers of replicas that merge what they hear.
    Convergence,
    /// Replicas that say equal marks have equal states, and all come to one.
    Agreement,
    /// A healed quorum serves, and comes to rest.
    Liveness,
    /// The run went through all its steps.
    Run,
    /// It did what it was for.
    Stats,
    /// Its faults took effect.
    Faults,
}

impl Check {
    /// All of them, the most telling first: what is found by one that stands before another is told first.
    pub(crate) const ALL: [Check; 13] = [
        Check::Invariants,
        Check::Replicas,
        Check::Linearizability,
        Check::Append,
        Check::Set,
        Check::Counter,
        Check::Bank,
        Check::Convergence,
        Check::Agreement,
        Check::Liveness,
        Check::Run,
        Check::Stats,
        Check::Faults,
    ];

    /// The name in results and reports.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Check::Invariants => "invariants",
            Check::Replicas => "replicas",
            Check::Linearizability => "linearizability",
            Check::Append => "append",
            Check::Set => "set",
            Check::Counter => "counter",
            Check::Bank => "bank",
            Check::Convergence => "convergence",
            Check::Agreement => "agreement",
            Check::Liveness => "liveness",
            Check::Run => "run",
            Check::Stats => "stats",
            Check::Faults => "faults",
        }
    }

    /// The check of this name.
    #[must_use]
    pub(crate) fn by_name(name: &str) -> Option<Check> {
        Check::ALL.into_iter().find(|check| check.name() == name)
    }

    /// A judgement of it without numbers and evidence; `judged`: how many things were looked at.
    pub(crate) fn says(self, verdict: Verdict, judged: u64, summary: String) -> CheckResult {
        CheckResult::new(self.name(), verdict, judged, summary)
    }

    /// What kinds of evidence it gives, the most telling first.
    #[must_use]
    pub(crate) fn detectors(self) -> &'static [Detector] {
        match self {
            // Each invariant says which.
            Check::Invariants | Check::Stats | Check::Faults => &[],
            Check::Linearizability => &[Detector::Linearizability],
            Check::Append | Check::Set | Check::Counter | Check::Bank => {
                &[Detector::Effects, Detector::Linearizability]
            }
            Check::Convergence => &[Detector::Effects, Detector::Divergence],
            Check::Agreement => &[Detector::Divergence],
            Check::Liveness => &[Detector::Liveness],
            // A node that stops by itself stops on an invariant.
            Check::Replicas | Check::Run => &[Detector::Invariant],
        }
    }
}

/// What clients were answered is judged by this; `None` where the promise says nothing of it.
#[must_use]
pub(crate) fn consistency(promise: Promise, workload: &Spec) -> Option<Check> {
    match promise {
        Promise::Linearizable => Some(match workload {
            Spec::Register(_) | Spec::Ycsb(_) | Spec::Put(_) => Check::Linearizability,
            Spec::Append(_) => Check::Append,
            Spec::Set(_) => Check::Set,
            Spec::Counter(_) => Check::Counter,
            Spec::Bank(_) => Check::Bank,
        }),
        Promise::Convergent => match workload {
            Spec::Register(_) | Spec::Put(_) => Some(Check::Convergence),
            Spec::Append(_) | Spec::Set(_) | Spec::Counter(_) | Spec::Bank(_) | Spec::Ycsb(_) => None,
        },
    }
}

/// A control's result of the check that it is expected not to pass: broken as expected passes, and unbroken is unknown.
#[must_use]
pub(crate) fn as_expected(subject: &Subject, found: CheckResult) -> CheckResult {
    if !subject.is_control() {
        return found;
    }
    let (verdict, words) = match found.verdict {
        Verdict::Invalid => (Verdict::Valid, "broken as expected of a control"),
        Verdict::Valid => (Verdict::Unknown, "a control that was to be found broken was not"),
        Verdict::Unknown => (Verdict::Unknown, "whether a control is broken is not known"),
    };
    CheckResult { verdict, summary: format!("{words}: {}", found.summary), ..found }
}

/// Whether replicas are compared by what they said of their states.
#[must_use]
pub(crate) fn compares_states(subject: &Subject, replicas: u32) -> bool {
    replicas > 1 && subject.system.properties().marks.is_ok()
}

/// What clients were answered, judged by what the workload asked.
pub(crate) fn check_consistency(
    check: Check,
    history: &History,
    workload: &Spec,
    checks: &Checks,
) -> CheckResult {
    let deadline = checks.deadline;
    guarded(check, || match (check, workload) {
        (Check::Convergence, _) => check_convergence(history),
        (_, Spec::Register(_) | Spec::Ycsb(_) | Spec::Put(_)) => {
            let memory_bytes_max = checks.memory_mib_max << 20;
            check_linearizable(history, &LinearizabilityOptions { deadline, memory_bytes_max })
        }
        (_, Spec::Append(_)) => check_append(history, deadline),
        (_, Spec::Set(_)) => check_set(history, deadline),
        (_, Spec::Counter(_)) => check_counter(history, deadline),
        (_, Spec::Bank(bank)) => check_bank(history, &bank.judged_by(), deadline),
    })
}

/// Runs a checker. If it panics, its verdict is unknown; the other checkers run as usual.
pub(crate) fn guarded<R: From<CheckResult>>(which: Check, check: impl FnOnce() -> R) -> R {
    // What it was about to change is gone with it: checkers only read.
    let panic = match catch_unwind(AssertUnwindSafe(check)) {
        Ok(result) => return result,
        Err(panic) => panic,
    };
    let summary = format!("the checker panicked: {}", panics::words(&*panic));
    which.says(Verdict::Unknown, 0, summary).into()
}
