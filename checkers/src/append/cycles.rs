//! Transactions over many lists: whether their dependencies and real time leave an order.
//!
//! The analysis is Elle's (Kingsbury and Alvaro 2020), by the crate `adya`: from the order of elements follow who
//! overwrote, saw or did not see whom; with real time these edges must not form a circle. `adya` gets what the checks of single
//! lists have left, so it need not explain a flood of simple faults.

use crate::history::{Answer, Call, History, MicroAnswer, MicroCall, Op, Outcome};
use crate::hostile::{self, Elements};
use adya::history::{Id, Interner, Mop, Op as Entry, OpType, ReadValue, Scalar};
use adya::{Anomaly, Opts, Report, Valid, Workload};
use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Instant;

/// A circle of transactions, or another fault that involves several lists.
pub(super) struct Circle {
    /// Elle's name: `G-single-item`, `G2-item-realtime`, …
    pub kind: String,
    /// Positions in the history's ops, in the order of the circle.
    pub ops: Vec<u32>,
    /// Why each transaction comes before the next, where it is known. Transactions are named `T` and their index.
    pub steps: Vec<String>,
    /// The fault in `adya`'s words, for what is no circle.
    explanation: String,
}

impl Circle {
    /// The circle in a sentence.
    pub(super) fn story(&self) -> String {
        if self.steps.is_empty() {
            return format!("{}: {}", self.kind, self.explanation.trim());
        }
        let steps: Vec<String> =
            self.steps.iter().enumerate().map(|(at, step)| format!("({}) {step}", at + 1)).collect();
        format!(
            "{}: each of these transactions must come before the next, and the last before the first: {}",
            self.kind,
            steps.join("; ")
        )
    }
}

/// What the search for circles says.
pub(super) enum Cycles {
    /// None. The transactions are strictly serializable as far as their reads tell.
    None,
    /// Some, shortest first.
    Found(Vec<Circle>),
    /// It could not tell, and why.
    Unknown(String),
}

/// Looks for circles among the transactions on lists (positions in the history's ops), until `end`.
pub(super) fn find(history: &History, transactions: &[u32], end: Instant) -> Cycles {
    let Some(report) = analyse(translate(history, transactions), end) else {
        return Cycles::Unknown("out of time while looking for circles".to_string());
    };
    match report.valid {
        Valid::True => Cycles::None,
        Valid::False => Cycles::Found(circles(history, report)),
        Valid::Unknown => {
            let anomalies = report.anomalies.into_values().flatten();
            let reasons: Vec<String> = anomalies.map(|anomaly| anomaly.explanation).collect();
            Cycles::Unknown(reasons.join("; "))
        }
    }
}

/// `adya`'s report, if there is one by `end`. It cannot be told to stop, so it has a thread of its own; one that is late goes
/// on by itself, and nobody hears what it finds.
fn analyse(history: adya::History, end: Instant) -> Option<Report> {
    let (sender, receiver) = channel();
    let work = move || {
        let report = adya::check(&history, Workload::ListAppend, &Opts::default());
        // Nobody waits for one that is late.
        drop(sender.send(report));
    };
    let analysis =
        std::thread::Builder::new().name("adya".to_string()).spawn(work).expect("a thread can be made");
    match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
        Ok(report) => Some(report),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => match analysis.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => unreachable!("it ends with a report or a panic"),
        },
    }
}

fn circles(history: &History, report: Report) -> Vec<Circle> {
    let position =
        |index: u64| history.ops.binary_search_by_key(&index, |op| op.index).ok().map(|at| at as u32);
    let circle = |anomaly: Anomaly| {
        let steps = anomaly.detail["steps"].as_array().into_iter().flatten();
        let steps = steps.filter_map(|step| step["why"].as_str().map(str::to_string)).collect();
        let ops = anomaly.ops.into_iter().filter_map(position).collect();
        Circle { kind: anomaly.kind, ops, steps, explanation: anomaly.explanation }
    };
    let mut circles: Vec<Circle> = report.anomalies.into_values().flatten().map(circle).collect();
    // What is no circle but says that there must be one is the last resort.
    circles.sort_by_key(|circle| (circle.steps.is_empty(), circle.ops.len(), circle.ops.first().copied()));
    circles
}

/// The transactions as `adya` wants them: entries by time, an invocation before a return at one instant. An entry's index is
/// that of our op. Elements of hostile processes are left out of what was read: they order nothing.
fn translate(history: &History, transactions: &[u32]) -> adya::History {
    let mut interner = Interner::default();
    let hostile = hostile::elements(history);
    let mut entries: Vec<(u64, bool, Entry)> = Vec::with_capacity(2 * transactions.len());
    for position in transactions {
        let op = &history.ops[*position as usize];
        let kind = match op.outcome {
            Outcome::Ok(Answer::Txn(_)) => OpType::Ok,
            // An answer that no transaction can have says nothing.
            Outcome::Ok(_) | Outcome::Info(_) => OpType::Info,
            Outcome::Fail(_) => OpType::Fail,
        };
        let entry = |kind, time: Option<u64>, value| Entry {
            index: op.index,
            kind,
            // One for each: an op that may have been longer than it seemed may reach into its process's next.
            process: Some(i64::from(*position)),
            value,
            time: time.and_then(|time| i64::try_from(time).ok()),
        };
        let invocation = micro_ops(op, false, &hostile, &mut interner);
        entries.push((op.invoked, false, entry(OpType::Invoke, Some(op.invoked), invocation)));
        let completion = micro_ops(op, kind == OpType::Ok, &hostile, &mut interner);
        let at = if kind == OpType::Info { None } else { op.returned };
        entries.push((at.unwrap_or(u64::MAX), true, entry(kind, at, completion)));
    }
    entries.sort_by_key(|(time, is_return, entry)| (*time, *is_return, entry.index));
    adya::History::from_ops(entries.into_iter().map(|(.., entry)| entry).collect(), interner)
}

/// The steps on lists.
fn micro_ops(op: &Op, is_ok: bool, hostile: &Elements, interner: &mut Interner) -> Vec<Mop> {
    let Call::Txn(steps) = &op.call else { return Vec::new() };
    let answers: &[MicroAnswer] = match &op.outcome {
        Outcome::Ok(Answer::Txn(answers)) if is_ok => answers,
        Outcome::Ok(_) | Outcome::Fail(_) | Outcome::Info(_) => &[],
    };
    let mut id = |number: u64| -> Id {
        // Only for `adya`'s words does it matter that larger numbers are texts.
        interner.intern(i64::try_from(number).map_or_else(|_| Scalar::Str(number.to_string()), Scalar::Int))
    };
    let mops = steps.iter().enumerate().filter_map(|(at, step)| match step {
        MicroCall::Append { key, value } => Some(Mop::Append { key: id(*key), value: id(*value) }),
        MicroCall::ReadList { key } => {
            let hostile = hostile.get(key);
            let key = id(*key);
            let value = match answers.get(at) {
                Some(MicroAnswer::List(list)) => {
                    let elements = list
                        .iter()
                        .filter(|element| hostile.is_none_or(|hostile| !hostile.contains(element)));
                    ReadValue::List(elements.map(|element| id(*element)).collect())
                }
                Some(MicroAnswer::Value(_) | MicroAnswer::Done) | None => ReadValue::Nil,
            };
            Some(Mop::Read { key, value })
        }
        MicroCall::Read { .. } | MicroCall::Write { .. } => None,
    });
    mops.collect()
}
