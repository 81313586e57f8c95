//! Sets: every element that was acknowledged, or read once, must be in all later reads.
//!
//! A set is a list; an element is added by appending it. What is found per element is what Jepsen's `set-full` finds: elements
//! that were lost, that were missing from a read and came back (*stale*), that are there twice, that nobody added. An
//! addition of unknown outcome may appear at any time (it is *recovered* then) or never. See `growing/` for what
//! is asked of the set as a whole.

use crate::evidence::{ListStep, View, choose, list_steps, window};
use crate::growing::{Fault, Growing, Tally, Words};
use crate::history::History;
use crate::hostile;
use crate::verdict::{CheckResult, Evidence, Verdict};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The most faults that are shown; all are counted.
const EVIDENCE_MAX: usize = 3;

/// A set, and the ops on it.
struct Set<'a> {
    growing: Growing<'a>,
    ops: Vec<u32>,
    /// An element was added twice: nothing can be told of it.
    is_ambiguous: bool,
}

/// Judges every list of a history as a set. A checker that takes longer than `deadline` says unknown.
#[must_use]
pub fn check_set(history: &History, deadline: Duration) -> CheckResult {
    let end = Instant::now() + deadline;
    let mut doubts = Vec::new();
    let mut sets = sets(history, &mut doubts);
    let (mut tally, mut reads, mut judged) = (Tally::default(), 0, 0);
    let mut faults: Vec<(Fault, u64)> = Vec::new();
    for (key, set) in &mut sets {
        if Instant::now() >= end {
            break;
        }
        judged += 1;
        if set.is_ambiguous {
            continue;
        }
        let (of_set, wrong) = set.growing.judge();
        tally.add(&of_set);
        faults.extend(wrong.into_iter().map(|fault| (fault, *key)));
        reads += set.growing.reads();
    }
    if judged < sets.len() {
        doubts.push(format!("out of time with {judged} of {} sets judged", sets.len()));
    } else if tally.stable == 0 {
        doubts.push("no element was added and read: there is nothing to judge".to_string());
    } else if tally.unconfirmed > 0 {
        doubts.push(format!(
            "{} acknowledged elements were never looked for: no read of their set came later",
            tally.unconfirmed
        ));
    }
    faults.sort_unstable();
    let evidence: Vec<Evidence> =
        faults.iter().take(EVIDENCE_MAX).map(|(fault, key)| show(history, *key, &sets[key], fault)).collect();
    let mut numbers: BTreeMap<String, f64> =
        tally.numbers().into_iter().map(|(name, count)| (name.to_string(), count as f64)).collect();
    numbers.extend([("sets".to_string(), sets.len() as f64), ("reads".to_string(), reads as f64)]);
    let (verdict, summary) = match (evidence.first(), doubts.is_empty()) {
        (Some(first), _) => (Verdict::Invalid, format!("{}: {}", counts(&tally, faults.len()), first.story)),
        (None, false) => (Verdict::Unknown, doubts.join("; ")),
        (None, true) => (
            Verdict::Valid,
            format!(
                "{} elements were acknowledged and {} more recovered in {} sets; all are in each of {reads} reads \
                 that came later",
                tally.acknowledged,
                tally.recovered,
                sets.len()
            ),
        ),
    };
    let summary = hostile::said(summary, history);
    CheckResult { numbers, evidence, ..CheckResult::new("set", verdict, tally.judged(), summary) }
}

fn sets<'a>(history: &'a History, doubts: &mut Vec<String>) -> BTreeMap<u64, Set<'a>> {
    let mut sets: BTreeMap<u64, Set<'a>> = BTreeMap::new();
    for (position, op) in (0..).zip(&history.ops) {
        for step in list_steps(op) {
            let (ListStep::Append { key, .. } | ListStep::Read { key, .. }) = step;
            let set = sets.entry(key).or_insert_with(|| Set {
                growing: Growing::new(history),
                ops: Vec::new(),
                is_ambiguous: false,
            });
            if set.ops.last() != Some(&position) {
                set.ops.push(position);
            }
            let added = match step {
                ListStep::Append { value, .. } if op.is_hostile => {
                    set.growing.hostile_addition(position, value)
                }
                ListStep::Append { value, .. } => set.growing.addition(position, value),
                ListStep::Read { .. } if op.is_hostile => Ok(()),
                ListStep::Read { list, .. } => {
                    set.growing.read(position, list);
                    Ok(())
                }
            };
            if let Err(repeated) = added {
                doubts.push(format!("element {} was added to set {key} twice", repeated.element));
                set.is_ambiguous = true;
            }
        }
    }
    sets.retain(|_, set| set.ops.iter().any(|op| !history.ops[*op as usize].is_hostile));
    sets
}

fn counts(tally: &Tally, faults: usize) -> String {
    let counts = [
        (tally.lost, "lost"),
        (tally.stale, "missing from a read and back later"),
        (tally.duplicated, "there twice"),
        (tally.unexpected, "from nowhere"),
    ];
    let counts: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if counts.is_empty() {
        return format!("{faults} sets have no order of additions and reads");
    }
    format!("of {} elements, {}", tally.attempts, counts.join(", "))
}

fn show(history: &History, key: u64, set: &Set<'_>, fault: &Fault) -> Evidence {
    let fault = set.growing.first_shown(fault);
    let culprits = set.growing.culprits(&fault);
    let words = Words { set: format!("set {key}"), element: &|element| format!("element {element}") };
    let chosen = choose(&history.ops, &set.ops, &culprits, &[]);
    Evidence {
        object: format!("set {key}"),
        story: set.growing.story(&fault, &words),
        window: window(&history.ops, &chosen, &culprits, View::Key(key)),
        prefixes: Vec::new(),
    }
}
