//! Transactions that append to lists and read them whole.
//!
//! | file | concept |
//! |---|---|
//! | `lists.rs` | one list at a time: elements, their order, real time |
//! | `cycles.rs` | many lists: circles of dependencies, by `adya` |
//! | `model.rs` | a list for the general search, which shows how far orders go |
//! | `story.rs` | what is wrong as evidence |

#[cfg(test)]
mod agreement;
mod cycles;
mod lists;
mod model;
mod story;

use self::cycles::Cycles;
use self::lists::{List, Wrong};
use crate::evidence::key_of;
use crate::history::{Call, History, MicroCall, Outcome};
use crate::hostile;
use crate::verdict::{CheckResult, Evidence, Verdict};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The most faults that are shown; all lists with faults are counted.
const EVIDENCE_MAX: usize = 3;

/// Judges transactions of list appends and reads: each list by itself, then, if every list is right, all together for
/// strict serializability.
///
/// Failed transactions must have left nothing. Those of unknown outcome count as far as somebody saw their appends. Elements of
/// hostile processes may stand in lists at any time.
/// Steps on registers are not judged. What is not decided within `deadline` is unknown.
#[must_use]
pub fn check_append(history: &History, deadline: Duration) -> CheckResult {
    let end = Instant::now() + deadline;
    let mut transactions = Vec::new();
    let mut register_steps = 0_u64;
    let mut lists: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for (position, op) in (0..).zip(&history.ops) {
        let Call::Txn(steps) = &op.call else { continue };
        if !op.is_hostile {
            transactions.push(position);
        }
        for step in steps {
            match step {
                MicroCall::Append { .. } | MicroCall::ReadList { .. } => {
                    let ops = lists.entry(key_of(step)).or_default();
                    if ops.last() != Some(&position) {
                        ops.push(position);
                    }
                }
                MicroCall::Read { .. } | MicroCall::Write { .. } => {
                    register_steps += u64::from(!op.is_hostile);
                }
            }
        }
    }
    lists.retain(|_, ops| ops.iter().any(|op| !history.ops[*op as usize].is_hostile));
    let Judgement { verdict, mut summary, lists_invalid, evidence } =
        judge(history, &transactions, &lists, end);
    if register_steps > 0 {
        summary = format!("{summary}; {register_steps} steps on registers were not judged");
    }
    summary = hostile::said(summary, history);
    let is_ok = |position: &&u32| matches!(history.ops[**position as usize].outcome, Outcome::Ok(_));
    let ok = transactions.iter().filter(is_ok).count();
    let numbers = [
        ("transactions", transactions.len()),
        ("transactions_ok", ok),
        ("lists", lists.len()),
        ("lists_invalid", lists_invalid),
    ];
    let numbers = numbers.map(|(name, count)| (name.to_string(), count as f64)).into();
    CheckResult { numbers, evidence, ..CheckResult::new("append", verdict, ok as u64, summary) }
}

/// What is said of all lists.
struct Judgement {
    verdict: Verdict,
    summary: String,
    lists_invalid: usize,
    evidence: Vec<Evidence>,
}

impl Judgement {
    fn plain(verdict: Verdict, summary: String) -> Self {
        Self { verdict, summary, lists_invalid: 0, evidence: Vec::new() }
    }
}

fn judge(
    history: &History,
    transactions: &[u32],
    lists: &BTreeMap<u64, Vec<u32>>,
    end: Instant,
) -> Judgement {
    if lists.is_empty() {
        let summary = "there was no transaction on lists to judge".to_string();
        return Judgement::plain(Verdict::Unknown, summary);
    }
    let mut wrong: Vec<(Wrong, u64)> = Vec::new();
    let mut judged = 0;
    for (key, ops) in lists {
        if Instant::now() >= end {
            break;
        }
        judged += 1;
        let list = match List::new(history, *key, ops) {
            Ok(list) => list,
            Err(repeated) => {
                let element = repeated.element;
                let summary =
                    format!("element {element} was appended to key {key} twice: nothing can be inferred");
                return Judgement::plain(Verdict::Unknown, summary);
            }
        };
        if let Err(fault) = list.judge() {
            wrong.push((fault, *key));
        }
    }
    if !wrong.is_empty() {
        wrong.sort_unstable();
        let shown = wrong.iter().take(EVIDENCE_MAX);
        let evidence: Vec<Evidence> =
            shown.map(|(fault, key)| story::fault(history, *key, &lists[key], fault)).collect();
        let summary = format!(
            "{} of {} lists are not linearizable (circles through several lists were not looked for): {}",
            wrong.len(),
            lists.len(),
            evidence[0].story
        );
        return Judgement { verdict: Verdict::Invalid, summary, lists_invalid: wrong.len(), evidence };
    }
    if judged < lists.len() {
        let summary = format!("out of time with {judged} of {} lists judged", lists.len());
        return Judgement::plain(Verdict::Unknown, summary);
    }
    judge_together(history, transactions, lists.len(), end)
}

/// What is said of lists that are right by themselves.
fn judge_together(history: &History, transactions: &[u32], lists: usize, end: Instant) -> Judgement {
    match cycles::find(history, transactions, end) {
        Cycles::None => {
            let summary = format!(
                "{} transactions on {lists} lists are strictly serializable as far as their reads tell: each list is \
                 linearizable, and dependencies and real time form no circle",
                transactions.len()
            );
            Judgement::plain(Verdict::Valid, summary)
        }
        Cycles::Found(circles) => {
            let shown = circles.iter().take(EVIDENCE_MAX);
            let evidence: Vec<Evidence> =
                shown.map(|circle| story::circle(history, transactions, circle)).collect();
            let mut summary = format!(
                "each of {lists} lists is linearizable by itself, but the transactions are not strictly serializable: {}",
                kinds(&circles)
            );
            if let Some(first) = evidence.first() {
                summary = format!("{summary}; {}", first.story);
            }
            Judgement { verdict: Verdict::Invalid, summary, lists_invalid: 0, evidence }
        }
        Cycles::Unknown(reason) => {
            let summary = format!(
                "each of {lists} lists is linearizable by itself; whether the transactions are strictly serializable \
                 could not be told: {reason}"
            );
            Judgement::plain(Verdict::Unknown, summary)
        }
    }
}

/// How many circles of which kind.
fn kinds(circles: &[cycles::Circle]) -> String {
    let mut counts: FxHashMap<&str, u32> = FxHashMap::default();
    for circle in circles {
        *counts.entry(&circle.kind).or_default() += 1;
    }
    let mut counts: Vec<(&str, u32)> = counts.into_iter().collect();
    counts.sort_unstable();
    counts.iter().map(|(kind, count)| format!("{count} × {kind}")).collect::<Vec<_>>().join(", ")
}
