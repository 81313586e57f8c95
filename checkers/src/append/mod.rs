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
use crate::verdict::{CheckResult, Verdict};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The most faults that are shown; all lists with faults are counted.
const EVIDENCE_MAX: usize = 3;

/// Judges transactions of list appends and reads: each list by itself, then, if every list is right, all together for
/// strict serializability.
///
/// Failed transactions must have left nothing. Those of unknown outcome count as far as somebody saw their appends.
/// Steps on registers are not judged. What is not decided within `deadline` is unknown.
#[must_use]
pub fn check_append(history: &History, deadline: Duration) -> CheckResult {
    let end = Instant::now() + deadline;
    let mut transactions = Vec::new();
    let mut register_steps = 0_u64;
    let mut lists: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for (position, op) in (0..).zip(&history.ops) {
        let Call::Txn(steps) = &op.call else { continue };
        transactions.push(position);
        for step in steps {
            match step {
                MicroCall::Append { .. } | MicroCall::ReadList { .. } => {
                    let ops = lists.entry(key_of(step)).or_default();
                    if ops.last() != Some(&position) {
                        ops.push(position);
                    }
                }
                MicroCall::Read { .. } | MicroCall::Write { .. } => register_steps += 1,
            }
        }
    }
    let mut judged = judge(history, &transactions, &lists, end);
    if register_steps > 0 {
        judged.summary = format!("{}; {register_steps} steps on registers were not judged", judged.summary);
    }
    let is_ok = |position: &&u32| matches!(history.ops[**position as usize].outcome, Outcome::Ok(_));
    for (name, count) in [
        ("transactions", transactions.len()),
        ("transactions_ok", transactions.iter().filter(is_ok).count()),
        ("lists", lists.len()),
    ] {
        judged.numbers.insert(name.to_string(), count as f64);
    }
    judged
}

fn judge(
    history: &History,
    transactions: &[u32],
    lists: &BTreeMap<u64, Vec<u32>>,
    end: Instant,
) -> CheckResult {
    let mut result = CheckResult {
        checker: "append".to_string(),
        verdict: Verdict::Valid,
        summary: String::new(),
        numbers: BTreeMap::new(),
        evidence: Vec::new(),
    };
    if lists.is_empty() {
        result.verdict = Verdict::Unknown;
        result.summary = "there was no transaction on lists to judge".to_string();
        return result;
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
                result.verdict = Verdict::Unknown;
                result.summary = format!(
                    "element {} was appended to key {key} twice: nothing can be inferred",
                    repeated.element
                );
                return result;
            }
        };
        if let Err(fault) = list.judge() {
            wrong.push((fault, *key));
        }
    }
    result.numbers.insert("lists_invalid".to_string(), wrong.len() as f64);
    if !wrong.is_empty() {
        wrong.sort_unstable();
        let shown = wrong.iter().take(EVIDENCE_MAX);
        result.evidence = shown.map(|(fault, key)| story::fault(history, *key, &lists[key], fault)).collect();
        result.verdict = Verdict::Invalid;
        result.summary = format!(
            "{} of {} lists are not linearizable (circles through several lists were not looked for): {}",
            wrong.len(),
            lists.len(),
            result.evidence[0].story
        );
        return result;
    }
    if judged < lists.len() {
        result.verdict = Verdict::Unknown;
        result.summary = format!("out of time with {judged} of {} lists judged", lists.len());
        return result;
    }
    match cycles::find(history, transactions, end) {
        Cycles::None => {
            result.summary = format!(
                "{} transactions on {} lists are strictly serializable as far as their reads tell: each list is \
                 linearizable, and dependencies and real time form no circle",
                transactions.len(),
                lists.len()
            );
        }
        Cycles::Found(circles) => {
            let shown = circles.iter().take(EVIDENCE_MAX);
            result.evidence = shown.map(|circle| story::circle(history, transactions, circle)).collect();
            result.verdict = Verdict::Invalid;
            result.summary = format!(
                "each of {} lists is linearizable by itself, but the transactions are not strictly serializable: {}",
                lists.len(),
                kinds(&circles)
            );
            if let Some(first) = result.evidence.first() {
                result.summary = format!("{}; {}", result.summary, first.story);
            }
        }
        Cycles::Unknown(reason) => {
            result.verdict = Verdict::Unknown;
            result.summary = format!(
                "each of {} lists is linearizable by itself; whether the transactions are strictly serializable could \
                 not be told: {reason}",
                lists.len()
            );
        }
    }
    result
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
