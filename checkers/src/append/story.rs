//! What is wrong with lists as evidence: in words, and in a window of transactions.

use super::cycles::Circle;
use super::lists::{List, Version, Wrong};
use super::model::ListModel;
use crate::evidence::{View, choose, end, interval, key_of, label, list_label, ms, window};
use crate::history::{Call, History, MicroCall, Op, Outcome};
use crate::linearizability::wgl::{self, Found, Limits, Model, Span};
use crate::verdict::{Evidence, WINDOW_OPS_MAX, WindowOp};
use rustc_hash::FxHashSet;
use std::time::{Duration, Instant};

/// What the search for the prefixes of one window may use up.
const WINDOW_SEARCH: Duration = Duration::from_millis(200);
const WINDOW_SEARCH_BYTES: usize = 64 << 20;

/// Evidence for a fault of one list, which `ops` touch.
pub(super) fn fault(history: &History, key: u64, ops: &[u32], wrong: &Wrong) -> Evidence {
    let story = tell(history, key, wrong);
    let mut culprits = match wrong {
        Wrong::NeverAppended { read, .. } | Wrong::Twice { read, .. } => vec![*read],
        Wrong::Aborted { read, append, .. }
        | Wrong::Partial { append, read, .. }
        | Wrong::Lost { read, append, .. } => vec![*read, *append],
        Wrong::Internal { op, .. } => vec![*op],
        Wrong::Incompatible { one, other, .. } | Wrong::Forked { one, other, .. } => vec![*one, *other],
        Wrong::Overtaken { op, by, .. } => vec![*op, *by],
        Wrong::Stale { late, early } => vec![late.op, early.op],
    };
    culprits.sort_unstable();
    culprits.dedup();
    let chosen = choose(&history.ops, ops, &culprits, &[]);
    let mut window = window(&history.ops, &chosen, &culprits, View::Key(key));
    let prefixes = prefixes(history, key, ops, &chosen, &mut window);
    Evidence { object: format!("key {key}"), story, window, prefixes }
}

/// Evidence for a circle through several lists.
pub(super) fn circle(history: &History, transactions: &[u32], circle: &Circle) -> Evidence {
    let mut culprits: Vec<u32> = circle.ops.iter().copied().take(WINDOW_OPS_MAX / 2).collect();
    culprits.sort_unstable();
    culprits.dedup();
    let who: Vec<String> = culprits.iter().take(6).map(|op| named(&history.ops[*op as usize])).collect();
    let chosen = choose(&history.ops, transactions, &culprits, &[]);
    let window = window(&history.ops, &chosen, &culprits, View::Whole);
    let keys: std::collections::BTreeSet<u64> =
        culprits.iter().flat_map(|op| keys(&history.ops[*op as usize])).collect();
    let keys: Vec<String> = keys.into_iter().take(8).map(|key| key.to_string()).collect();
    let story = format!("{}; where {}", circle.story(), who.join(", "));
    Evidence { object: format!("keys {}", keys.join(", ")), story, window, prefixes: Vec::new() }
}

fn named(op: &Op) -> String {
    format!("T{} is process {} at {}: {}", op.index, op.process, interval(op), label(op, View::Whole))
}

fn keys(op: &Op) -> Vec<u64> {
    let Call::Txn(steps) = &op.call else { return Vec::new() };
    steps.iter().map(key_of).collect()
}

fn tell(history: &History, key: u64, wrong: &Wrong) -> String {
    let op = |op: u32| &history.ops[op as usize];
    let who = |at: u32| format!("process {} ({})", op(at).process, interval(op(at)));
    let ended = |at: u32| match end(op(at)) {
        Some(time) => format!("had returned at {} ms", ms(time)),
        None => "took effect".to_string(),
    };
    match wrong {
        Wrong::NeverAppended { read, element } => {
            format!("{} read element {element} in key {key}, but nobody ever appended it", who(*read))
        }
        Wrong::Aborted { read, append, element } => {
            format!(
                "{} read element {element} in key {key}, but its append by {} failed",
                who(*read),
                who(*append)
            )
        }
        Wrong::Twice { read, element } => {
            format!("{} read element {element} twice in key {key}, but it was appended once", who(*read))
        }
        Wrong::Internal { op, found, expected } => format!(
            "{} read key {key} as {}, but by its own steps before it should be {}",
            who(*op),
            list_label(found),
            list_label(expected)
        ),
        Wrong::Incompatible { one, other, at } => format!(
            "{} and {} read key {key} differently from element number {} on: no order of appends explains both",
            who(*one),
            who(*other),
            at + 1
        ),
        Wrong::Partial { append, read, element, missing } => format!(
            "{} appended {element} and {missing} to key {key} at once, but {} saw {element} without {missing} beside it",
            who(*append),
            who(*read)
        ),
        Wrong::Overtaken { op, element, by, between } => format!(
            "{} read key {key} and appended {element} to what it read, but {between}, by {}, stands in between: an \
             update was lost or overtaken",
            who(*op),
            who(*by)
        ),
        Wrong::Forked { one, other, element, found } => format!(
            "{} and {} both read key {key} with {found} elements and appended to it, and nobody saw either append \
             ({element} is one): an update was lost",
            who(*one),
            who(*other)
        ),
        Wrong::Lost { read, append, element } => format!(
            "{} read key {key} without {element}, although its append by process {} {}",
            who(*read),
            op(*append).process,
            ended(*append)
        ),
        Wrong::Stale { late, early } => {
            let did = |version: &Version| match version.element {
                Some(element) => {
                    format!("appended {element} to key {key}, as element number {}", version.length)
                }
                None => format!("read key {key} with {} elements", version.length),
            };
            format!(
                "{} {}, although process {}, which {}, {}",
                who(late.op),
                did(late),
                op(early.op).process,
                did(early),
                ended(early.op)
            )
        }
    }
}

/// What the list can have been before the window: the elements, in the order of the longest read, up to the first that a
/// transaction of the window appended.
fn beginning(history: &History, key: u64, list: &List<'_>, chosen: &[u32]) -> Vec<u64> {
    let appended: FxHashSet<u64> =
        chosen.iter().flat_map(|op| appends(&history.ops[*op as usize], key)).collect();
    list.order().iter().copied().take_while(|element| !appended.contains(element)).collect()
}

fn appends(op: &Op, key: u64) -> Vec<u64> {
    let Call::Txn(steps) = &op.call else { return Vec::new() };
    let values = steps.iter().filter_map(|step| match step {
        MicroCall::Append { key: list, value } if *list == key => Some(*value),
        MicroCall::ReadList { .. }
        | MicroCall::Append { .. }
        | MicroCall::Read { .. }
        | MicroCall::Write { .. } => None,
    });
    values.collect()
}

/// The longest orders of the window's transactions on the list, if there is none of all of them. Notes what the list
/// is along the first. None are shown where hostile processes may have appended something in between.
fn prefixes(
    history: &History,
    key: u64,
    ops: &[u32],
    chosen: &[u32],
    window: &mut [WindowOp],
) -> Vec<Vec<u32>> {
    // Those that failed did nothing: they are shown, but no order has them.
    let is_part = |place: &u32| {
        let op = &history.ops[chosen[*place as usize] as usize];
        !matches!(op.outcome, Outcome::Fail(_))
    };
    let places: Vec<u32> = (0..chosen.len() as u32).filter(is_part).collect();
    let part: Vec<u32> = places.iter().map(|place| chosen[*place as usize]).collect();
    let span = |op: &u32| {
        let op = &history.ops[*op as usize];
        Span { invoked: op.invoked, returned: end(op) }
    };
    let spans: Vec<Span> = part.iter().map(span).collect();
    let limits = Limits { deadline: Instant::now() + WINDOW_SEARCH, memory_bytes_max: WINDOW_SEARCH_BYTES };
    let Ok(list) = List::new(history, key, ops) else { return Vec::new() };
    if list.has_hostile() {
        return Vec::new();
    }
    let mut model = ListModel::new(history, key, &part, &beginning(history, key, &list, chosen));
    let Found::None(stuck) = wgl::search(&mut model, &spans, &limits) else { return Vec::new() };
    let mut state = model.initial();
    for op in stuck.prefixes.first().into_iter().flatten() {
        state = model.step(state, *op as usize).expect("a prefix is an order that the model explains");
        window[places[*op as usize] as usize].state = Some(list_label(&model.elements(state)));
    }
    let shown = |prefix: Vec<u32>| prefix.into_iter().map(|op| places[op as usize]).collect();
    stuck.prefixes.into_iter().map(shown).collect()
}
