//! Ops in words, and the window of ops that evidence shows.

use crate::history::{Answer, Call, FIELD_NEVER_WRITTEN, MicroAnswer, MicroCall, Op, Outcome};
use crate::verdict::{WINDOW_OPS_MAX, WindowOp};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A time in milliseconds, thousands apart, to the microsecond: `12 034.125`.
pub(crate) fn ms(time_ns: u64) -> String {
    let us = time_ns / 1_000;
    let (whole, fraction) = ((us / 1_000).to_string(), us % 1_000);
    let mut text = String::with_capacity(whole.len() + 8);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    write!(text, ".{fraction:03}").expect("a string takes all that is written to it");
    text
}

/// When an op ran: `12 034.125–12 034.900 ms`, or `12 034.125 ms, outcome unknown`.
pub(crate) fn interval(op: &Op) -> String {
    match end(op) {
        Some(returned) => format!("{}–{} ms", ms(op.invoked), ms(returned)),
        None => format!("{} ms, outcome unknown", ms(op.invoked)),
    }
}

/// When an op can last have had its effect; `None`: never, its outcome is unknown.
pub(crate) fn end(op: &Op) -> Option<u64> {
    match op.outcome {
        Outcome::Ok(_) | Outcome::Fail(_) => op.returned,
        Outcome::Info(_) => None,
    }
}

/// Which part of an op evidence is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// All of it.
    Whole,
    /// One field of a record.
    Field(u32),
    /// One key of a transaction.
    Key(u64),
}

/// An op in words: `read → 4`, `write 5`, `cas 3→5 → refused`.
pub(crate) fn label(op: &Op, view: View) -> String {
    let asked = match &op.call {
        Call::Read { .. } | Call::ReadRecord { .. } => "read".to_string(),
        Call::Write { value, .. } => format!("write {value}"),
        Call::Cas { from, to, .. } => format!("cas {from}→{to}"),
        Call::Insert { value, .. } => format!("insert {value}"),
        Call::Update { field, value, .. } if view == View::Whole => {
            format!("update field {field} to {value}")
        }
        Call::Update { value, .. } => format!("update {value}"),
        Call::Scan { limit, .. } => format!("scan {limit}"),
        Call::ReadModifyWrite { field, value, .. } => match view {
            View::Field(shown) if shown != *field => "read".to_string(),
            View::Field(_) => format!("read and update {value}"),
            View::Whole | View::Key(_) => format!("read and update field {field} to {value}"),
        },
        Call::Txn(steps) => return txn_label(steps, &op.outcome, view),
    };
    match &op.outcome {
        Outcome::Ok(answer) => match answer_label(answer, view) {
            Some(answer) => format!("{asked} → {answer}"),
            None => asked,
        },
        Outcome::Fail(_) => format!("{asked} → failed"),
        Outcome::Info(_) => format!("{asked} → ?"),
    }
}

fn answer_label(answer: &Answer, view: View) -> Option<String> {
    match answer {
        Answer::Done | Answer::Txn(_) => None,
        Answer::Value(value) => Some(value_label(*value)),
        Answer::Swapped(swapped) => Some(if *swapped { "done" } else { "refused" }.to_string()),
        Answer::Fields(fields) => Some(match (fields, view) {
            (None, _) => "nothing".to_string(),
            (Some(values), View::Field(field)) => {
                let value = values.get(field as usize).copied();
                value_label(value.filter(|value| *value != FIELD_NEVER_WRITTEN))
            }
            (Some(values), View::Whole | View::Key(_)) => list_label(values),
        }),
        Answer::Rows(rows) => Some(format!("{rows} rows")),
        Answer::Corrupt(what) => Some(format!("corrupt: {what}")),
    }
}

/// A register's value: `4`, or `nothing` if it was never written.
pub(crate) fn value_label(value: Option<u64>) -> String {
    value.map_or_else(|| "nothing".to_string(), |value| value.to_string())
}

/// A list, its end at least: `[1, 2]`, `[… 98, 99, 100]`.
pub(crate) fn list_label(list: &[u64]) -> String {
    const SHOWN: usize = 8;
    let start = if list.len() > SHOWN { list.len() - SHOWN } else { 0 };
    let shown: Vec<String> = list[start..].iter().map(u64::to_string).collect();
    format!("[{}{}]", if start > 0 { "… " } else { "" }, shown.join(", "))
}

fn txn_label(steps: &[MicroCall], outcome: &Outcome, view: View) -> String {
    let answers: &[MicroAnswer] = match outcome {
        Outcome::Ok(Answer::Txn(answers)) => answers,
        Outcome::Ok(_) | Outcome::Fail(_) | Outcome::Info(_) => &[],
    };
    let shown = steps.iter().enumerate().filter(|(_, step)| match view {
        View::Key(shown) => key_of(step) == shown,
        View::Whole | View::Field(_) => true,
    });
    let words = shown.map(|(at, step)| {
        let read = match answers.get(at) {
            Some(MicroAnswer::List(list)) => format!(" → {}", list_label(list)),
            Some(MicroAnswer::Value(value)) => format!(" → {}", value_label(*value)),
            Some(MicroAnswer::Done) | None => String::new(),
        };
        match (step, view) {
            (MicroCall::ReadList { .. } | MicroCall::Read { .. }, View::Key(_)) => format!("read{read}"),
            (MicroCall::ReadList { key } | MicroCall::Read { key }, _) => format!("read {key}{read}"),
            (MicroCall::Append { value, .. }, View::Key(_)) => format!("append {value}"),
            (MicroCall::Append { key, value }, _) => format!("append {value} to {key}"),
            (MicroCall::Write { value, .. }, View::Key(_)) => format!("write {value}"),
            (MicroCall::Write { key, value }, _) => format!("write {value} to {key}"),
        }
    });
    with_outcome(words.collect::<Vec<_>>().join("; "), outcome)
}

/// A step of a transaction on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListStep<'a> {
    Append {
        key: u64,
        value: u64,
    },
    /// Only of transactions that succeeded.
    Read {
        key: u64,
        list: &'a [u64],
    },
}

/// What a transaction did to lists, and what it read of them.
pub(crate) fn list_steps(op: &Op) -> impl Iterator<Item = ListStep<'_>> {
    let steps: &[MicroCall] = if let Call::Txn(steps) = &op.call { steps } else { &[] };
    let answers: &[MicroAnswer] = match &op.outcome {
        Outcome::Ok(Answer::Txn(answers)) => answers,
        Outcome::Ok(_) | Outcome::Fail(_) | Outcome::Info(_) => &[],
    };
    steps.iter().enumerate().filter_map(|(at, step)| match (step, answers.get(at)) {
        (MicroCall::Append { key, value }, _) => Some(ListStep::Append { key: *key, value: *value }),
        (MicroCall::ReadList { key }, Some(MicroAnswer::List(list))) => {
            Some(ListStep::Read { key: *key, list })
        }
        (MicroCall::ReadList { .. } | MicroCall::Read { .. } | MicroCall::Write { .. }, _) => None,
    })
}

/// What was asked in words, with how it ended if that was not well.
pub(crate) fn with_outcome(words: String, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok(Answer::Corrupt(what)) => format!("{words} → corrupt: {what}"),
        Outcome::Ok(_) => words,
        Outcome::Fail(_) => format!("{words} → failed"),
        Outcome::Info(_) => format!("{words} → ?"),
    }
}

/// The key that a step is about.
pub(crate) fn key_of(step: &MicroCall) -> u64 {
    match step {
        MicroCall::ReadList { key }
        | MicroCall::Append { key, .. }
        | MicroCall::Read { key }
        | MicroCall::Write { key, .. } => *key,
    }
}

/// Which ops of an object to show, in the order of a window: the culprits, what is `needed` to follow them (as far as
/// half of the room goes), and those recorded around the last culprit, two thirds of them before it. All are positions
/// in the history's ops; `object` is sorted.
pub(crate) fn choose(ops: &[Op], object: &[u32], culprits: &[u32], needed: &[u32]) -> Vec<u32> {
    let mut chosen: BTreeSet<u32> = culprits.iter().copied().collect();
    chosen.extend(needed.iter().take(WINDOW_OPS_MAX / 2));
    let focus = culprits.iter().max().copied().unwrap_or(0);
    let (before, after) = object.split_at(object.partition_point(|op| *op < focus));
    let (mut before, mut after) = (before.iter().rev(), after.iter());
    while chosen.len() < WINDOW_OPS_MAX {
        let near: Vec<u32> =
            [before.next(), before.next(), after.next()].into_iter().flatten().copied().collect();
        if near.is_empty() {
            break;
        }
        chosen.extend(near.into_iter().take(WINDOW_OPS_MAX - chosen.len()));
    }
    let mut chosen: Vec<u32> = chosen.into_iter().collect();
    chosen.sort_by_key(|&op| (ops[op as usize].invoked, op));
    chosen
}

/// The window of the chosen ops, in their order.
pub(crate) fn window(ops: &[Op], chosen: &[u32], culprits: &[u32], view: View) -> Vec<WindowOp> {
    window_of(ops, chosen, culprits, |op| label(op, view))
}

/// The same, with ops named otherwise.
pub(crate) fn window_of(
    ops: &[Op],
    chosen: &[u32],
    culprits: &[u32],
    label: impl Fn(&Op) -> String,
) -> Vec<WindowOp> {
    let shown = chosen.iter().map(|&position| {
        let op = &ops[position as usize];
        WindowOp {
            index: op.index,
            process: op.process.0,
            label: if op.is_hostile { format!("{} (hostile)", label(op)) } else { label(op) },
            invoked: op.invoked,
            returned: end(op),
            culprit: culprits.contains(&position),
            state: None,
        }
    });
    shown.collect()
}
