//! Zones, search and brute force must say the same about many thousands of small random registers.

use super::objects::RegisterOps;
use super::register::{Action, Judgement, NEVER, Numbered, Register, RegisterOp, judge, spans};
use super::wgl::{self, Found, Limits};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rustc_hash::FxHashSet;
use std::time::{Duration, Instant};

fn limits() -> Limits {
    Limits { deadline: Instant::now() + Duration::from_secs(60), memory_bytes_max: 1 << 30 }
}

/// What a register holds after an op, if it can have been answered so: a hostile process may have written just before.
fn after(action: Action, value: Option<u64>, hostile: &FxHashSet<u64>) -> Option<Option<u64>> {
    match action {
        Action::Read(read) if read == value => Some(value),
        Action::Read(read) => read.filter(|read| hostile.contains(read)).map(Some),
        Action::Write(written) => Some(Some(written)),
        Action::Cas { from, to } => (value == Some(from) || hostile.contains(&from)).then_some(Some(to)),
        Action::Refused(from) if value != Some(from) => Some(value),
        Action::Refused(from) => hostile.iter().find(|other| **other != from).map(|other| Some(*other)),
    }
}

/// Tries every order.
fn brute_force(ops: &[RegisterOp], hostile: &FxHashSet<u64>) -> bool {
    fn go(ops: &[RegisterOp], hostile: &FxHashSet<u64>, left: &mut Vec<usize>, value: Option<u64>) -> bool {
        if left.iter().all(|op| !ops[*op].is_known()) {
            return true;
        }
        for at in 0..left.len() {
            let op = &ops[left[at]];
            if left.iter().any(|other| ops[*other].returned < op.invoked) {
                continue;
            }
            let Some(after) = after(op.action, value, hostile) else { continue };
            let taken = left.remove(at);
            let works = go(ops, hostile, left, after);
            left.insert(at, taken);
            if works {
                return true;
            }
        }
        false
    }
    go(ops, hostile, &mut (0..ops.len()).collect(), None)
}

/// What random registers look like.
#[derive(Clone, Copy)]
struct Shape {
    ops: usize,
    /// Times are up to this: the smaller, the more ops overlap and touch.
    time: u64,
    /// The longest op.
    span: u64,
    unique: bool,
    unknown: f64,
    refused: bool,
    /// Whether answers come from a register that was there, or from a hat.
    real: bool,
    /// Whether hostile processes write [`HOSTILE`].
    hostile: bool,
}

/// Values that nobody else writes.
const HOSTILE: [u64; 2] = [100, 101];

fn random(shape: Shape, chance: &mut impl Rng) -> RegisterOps {
    let mut ops: Vec<RegisterOp> = Vec::new();
    let mut written = 0;
    for position in 0..shape.ops as u32 {
        let invoked = chance.random_range(1..=shape.time);
        let returned = invoked + chance.random_range(0..=shape.span);
        let mut fresh = || {
            written += 1;
            if shape.unique { written } else { chance.random_range(1..=3) }
        };
        let to = fresh();
        let mut seen = chance.random_range(0..=written + 1);
        if shape.hostile && chance.random_bool(0.3) {
            seen = HOSTILE[chance.random_range(0..HOSTILE.len())];
        }
        let action = match chance.random_range(0..if shape.refused { 8 } else { 6 }) {
            0 | 1 => Action::Write(to),
            2 => Action::Cas { from: seen.max(1), to },
            3..=5 => Action::Read((seen > 0).then_some(seen)),
            _ => Action::Refused(seen.max(1)),
        };
        ops.push(RegisterOp { position, action, invoked, returned });
    }
    if shape.real {
        answer(&mut ops, shape.hostile, chance);
    }
    for op in &mut ops {
        if chance.random_bool(shape.unknown) && !matches!(op.action, Action::Read(_) | Action::Refused(_)) {
            op.returned = NEVER;
        }
    }
    ops.sort_by_key(|op| op.invoked);
    let hostile = HOSTILE.into_iter().filter(|_| shape.hostile).collect();
    RegisterOps { ops, hostile }
}

/// Gives the ops answers of a register at one instant of each; then lies once in two histories.
fn answer(ops: &mut [RegisterOp], hostile: bool, chance: &mut impl Rng) {
    let mut order: Vec<(u64, usize)> =
        ops.iter().enumerate().map(|(at, op)| (chance.random_range(op.invoked..=op.returned), at)).collect();
    order.sort_unstable();
    let mut value = None;
    for (_, at) in order {
        if hostile && chance.random_bool(0.3) {
            value = Some(HOSTILE[chance.random_range(0..HOSTILE.len())]);
        }
        ops[at].action = match ops[at].action {
            Action::Read(_) => Action::Read(value),
            Action::Write(to) => {
                value = Some(to);
                Action::Write(to)
            }
            // Half of the cas know what is there.
            Action::Cas { from, to } => match value.filter(|now| *now == from || chance.random_bool(0.5)) {
                Some(from) if from != to => {
                    value = Some(to);
                    Action::Cas { from, to }
                }
                _ => Action::Read(value),
            },
            Action::Refused(from) if value == Some(from) => Action::Read(value),
            Action::Refused(from) => Action::Refused(from),
        };
    }
    if chance.random_bool(0.5) {
        let at = chance.random_range(0..ops.len());
        let value = chance.random_range(1..=ops.len() as u64);
        match &mut ops[at].action {
            Action::Read(read) => *read = Some(value),
            Action::Refused(from) => *from = value,
            Action::Write(_) | Action::Cas { .. } => {}
        }
    }
}

fn check(register: &RegisterOps) -> bool {
    let RegisterOps { ops, hostile } = register;
    let expected = brute_force(ops, hostile);
    let numbered = Numbered::new(ops, hostile);
    let mut model = Register::new(&numbered);
    let searched = wgl::search(&mut model, &spans(ops), &limits());
    match &searched {
        Found::Order(order) => assert!(is_explained(register, order), "{order:?} explains nothing: {ops:#?}"),
        Found::None(stuck) => assert!(!expected && is_stuck(register, stuck), "{stuck:?} {ops:#?}"),
        Found::Exhausted { .. } => panic!("a small search needs little"),
    }
    assert_eq!(matches!(searched, Found::Order(_)), expected, "the search disagrees: {ops:#?}");
    let judged = judge(register, &limits());
    assert_eq!(matches!(judged, Judgement::Linearizable), expected, "zones disagree: {ops:#?}");
    expected
}

/// Whether ops in this order are in real time and follow from one another.
fn is_in_order(register: &RegisterOps, order: &[u32]) -> bool {
    let mut value = None;
    let mut latest = 0;
    order.iter().all(|op| {
        let op = &register.ops[*op as usize];
        latest = latest.max(op.invoked);
        let after = after(op.action, value, &register.hostile);
        value = after.unwrap_or(value);
        after.is_some() && latest <= op.returned
    })
}

fn is_explained(register: &RegisterOps, order: &[u32]) -> bool {
    let missing = (0..register.ops.len() as u32).filter(|op| !order.contains(op));
    let mut missing = missing.map(|op| &register.ops[op as usize]);
    is_in_order(register, order) && missing.all(|op| !op.is_known())
}

/// Whether a stuck search is right: the prefixes are orders, and the ops up to the stuck one's return cannot be explained
/// while those before can.
fn is_stuck(register: &RegisterOps, stuck: &wgl::Stuck) -> bool {
    let RegisterOps { ops, hostile } = register;
    let until = ops[stuck.op as usize].returned;
    let cut = |until: u64, with: bool| -> Vec<RegisterOp> {
        let begun = ops.iter().filter(|op| op.invoked <= until);
        // What has not returned by then may or may not have happened.
        let cut = begun.map(|op| {
            let is_over = op.returned < until || with && op.returned == until;
            RegisterOp { returned: if is_over { op.returned } else { NEVER }, ..*op }
        });
        cut.filter(|op| op.is_known() || matches!(op.action, Action::Write(_) | Action::Cas { .. })).collect()
    };
    stuck.prefixes.iter().all(|prefix| is_in_order(register, prefix))
        && !stuck.prefixes.is_empty()
        && !brute_force(&cut(until, true), hostile)
        && brute_force(&cut(until, false), hostile)
}

fn compare(shape: Shape, histories: u64) {
    let mut valid = 0;
    for seed in 0..histories {
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
        valid += u64::from(check(&random(shape, &mut chance)));
    }
    // A comparison that only ever sees one verdict compares little.
    assert!(valid > histories / 50 && valid < histories * 49 / 50, "{valid} of {histories} are valid");
}

const SMALL: Shape = Shape {
    ops: 6,
    time: 12,
    span: 6,
    unique: true,
    unknown: 0.0,
    refused: false,
    real: true,
    hostile: false,
};

#[test]
fn unique_values() {
    compare(SMALL, 20_000);
    compare(Shape { real: false, ops: 4, ..SMALL }, 20_000);
    compare(Shape { ops: 8, span: 12, ..SMALL }, 5_000);
}

#[test]
fn unique_values_with_unknown_outcomes() {
    compare(Shape { unknown: 0.3, ..SMALL }, 30_000);
    compare(Shape { unknown: 0.3, real: false, ops: 4, ..SMALL }, 20_000);
}

#[test]
fn unique_values_with_refused_cas() {
    compare(Shape { refused: true, ..SMALL }, 20_000);
    compare(Shape { refused: true, unknown: 0.3, ..SMALL }, 30_000);
    compare(Shape { refused: true, unknown: 0.2, ops: 8, span: 12, ..SMALL }, 5_000);
    compare(Shape { refused: true, unknown: 0.2, real: false, ops: 4, ..SMALL }, 20_000);
}

#[test]
fn repeated_values() {
    compare(Shape { unique: false, unknown: 0.4, ..SMALL }, 10_000);
    compare(Shape { unique: false, refused: true, ..SMALL }, 10_000);
    compare(Shape { unique: false, refused: true, unknown: 0.3, ..SMALL }, 10_000);
    compare(Shape { unique: false, refused: true, unknown: 0.3, ops: 4, real: false, ..SMALL }, 10_000);
}

#[test]
fn values_that_hostile_processes_may_have_written_at_any_time() {
    let hostile = Shape { hostile: true, ..SMALL };
    compare(hostile, 20_000);
    compare(Shape { unknown: 0.3, ..hostile }, 20_000);
    compare(Shape { refused: true, ..hostile }, 20_000);
    compare(Shape { refused: true, unknown: 0.3, ..hostile }, 20_000);
    compare(Shape { refused: true, unknown: 0.2, ops: 8, span: 12, ..hostile }, 5_000);
    compare(Shape { refused: true, unknown: 0.2, ops: 4, real: false, ..hostile }, 20_000);
    compare(Shape { refused: true, unknown: 0.3, unique: false, ..hostile }, 10_000);
}

#[test]
fn times_that_touch() {
    compare(Shape { time: 4, span: 1, unknown: 0.2, refused: true, ..SMALL }, 20_000);
}
