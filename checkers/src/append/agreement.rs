//! The checks of one list, and the search, must say the same about many thousands of small random histories; and what
//! `adya` says of one list must not contradict them.

use super::lists::List;
use super::model::ListModel;
use crate::evidence::end;
use crate::history::{Answer, Call, History, MicroAnswer, MicroCall, Op, Outcome, Phase, ProcessId};
use crate::linearizability::wgl::{self, Found, Limits, Span};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::time::{Duration, Instant};

const KEY: u64 = 3;

/// A history of transactions on one list that was there; then, in half of them, one lie.
fn random(ops: u32, time: u64, span: u64, unknown: f64, chance: &mut impl Rng) -> History {
    let mut element = 0;
    let mut txns: Vec<(u64, u64, u64, Vec<MicroCall>)> = Vec::new();
    for _ in 0..ops {
        let invoked = chance.random_range(0..time);
        let returned = invoked + chance.random_range(0..=span);
        let steps = (0..chance.random_range(1..=3)).map(|_| {
            if chance.random_bool(0.5) {
                return MicroCall::ReadList { key: KEY };
            }
            element += 1;
            MicroCall::Append { key: KEY, value: element }
        });
        let steps = steps.collect();
        txns.push((invoked, returned, chance.random_range(invoked..=returned), steps));
    }
    txns.sort_by_key(|(invoked, ..)| *invoked);
    let mut order: Vec<usize> = (0..txns.len()).collect();
    order.sort_by_key(|at| txns[*at].2);
    let mut list = Vec::new();
    let mut ops: Vec<Option<Op>> = vec![None; txns.len()];
    for at in order {
        let (invoked, returned, _, steps) = txns[at].clone();
        let outcome = if chance.random_bool(unknown) { None } else { Some(chance.random_bool(0.9)) };
        let mut after: Vec<u64> = list.clone();
        let answers = steps.iter().map(|step| match step {
            MicroCall::Append { value, .. } => {
                after.push(*value);
                MicroAnswer::Done
            }
            MicroCall::ReadList { .. } | MicroCall::Read { .. } | MicroCall::Write { .. } => {
                MicroAnswer::List(after.clone())
            }
        });
        let answers = answers.collect();
        let outcome = match outcome {
            Some(true) => Outcome::Ok(Answer::Txn(answers)),
            Some(false) => Outcome::Fail("aborted".to_string()),
            None => Outcome::Info("timed out".to_string()),
        };
        let happened = match outcome {
            Outcome::Ok(_) => true,
            Outcome::Fail(_) => false,
            Outcome::Info(_) => chance.random_bool(0.5),
        };
        if happened {
            list = after;
        }
        ops[at] = Some(Op {
            index: at as u64,
            process: ProcessId(at as u32),
            phase: Phase::Run,
            is_hostile: false,
            to: None,
            by: Vec::new(),
            call: Call::Txn(steps),
            intended: invoked,
            invoked,
            returned: Some(returned),
            outcome,
        });
    }
    let mut ops: Vec<Op> = ops.into_iter().map(|op| op.expect("every transaction was answered")).collect();
    if chance.random_bool(0.5) {
        lie(&mut ops, element, chance);
    }
    History { ops, ..History::empty() }
}

fn lie(ops: &mut [Op], elements: u64, chance: &mut impl Rng) {
    let at = chance.random_range(0..ops.len());
    if chance.random_bool(0.2) {
        ops[at].outcome = Outcome::Fail("it did not".to_string());
        return;
    }
    let Outcome::Ok(Answer::Txn(answers)) = &mut ops[at].outcome else { return };
    let step = chance.random_range(0..answers.len());
    let MicroAnswer::List(list) = &mut answers[step] else { return };
    match chance.random_range(0..4) {
        0 => list.push(chance.random_range(1..=elements + 1)),
        1 => {
            list.pop();
        }
        2 if list.len() > 1 => {
            let (one, other) = (chance.random_range(0..list.len()), chance.random_range(0..list.len()));
            list.swap(one, other);
        }
        _ if !list.is_empty() => {
            let gone = chance.random_range(0..list.len());
            list.remove(gone);
        }
        _ => {}
    }
}

fn searched(history: &History, ops: &[u32]) -> bool {
    let part: Vec<u32> = ops
        .iter()
        .copied()
        .filter(|op| !matches!(history.ops[*op as usize].outcome, Outcome::Fail(_)))
        .collect();
    let span = |op: &u32| {
        let op = &history.ops[*op as usize];
        Span { invoked: op.invoked, returned: end(op) }
    };
    let spans: Vec<Span> = part.iter().map(span).collect();
    let limits = Limits { deadline: Instant::now() + Duration::from_secs(60), memory_bytes_max: 1 << 30 };
    match wgl::search(&mut ListModel::new(history, KEY, &part, &[]), &spans, &limits) {
        Found::Order(_) => true,
        Found::None(_) => false,
        Found::Exhausted { .. } => panic!("a small search needs little"),
    }
}

fn compare(ops: u32, time: u64, span: u64, unknown: f64) {
    const HISTORIES: u64 = 10_000;
    let mut valid = 0;
    for seed in 0..HISTORIES {
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
        let history = random(ops, time, span, unknown, &mut chance);
        let all: Vec<u32> = (0..ops).collect();
        let expected = searched(&history, &all);
        let list = List::new(&history, KEY, &all).expect("elements are unique");
        let judged = list.judge();
        assert_eq!(judged.is_ok(), expected, "seed {seed}: {judged:?} {:#?}", history.ops);
        if expected {
            let cycles = super::cycles::find(&history, &all, Instant::now() + Duration::from_secs(60));
            assert!(!matches!(cycles, super::cycles::Cycles::Found(_)), "seed {seed}: {:#?}", history.ops);
        }
        valid += u64::from(expected);
    }
    assert!(valid > HISTORIES / 20 && valid < HISTORIES * 19 / 20, "{valid} are valid");
}

#[test]
fn lists_are_judged_as_the_search_judges_them() {
    compare(5, 10, 6, 0.0);
    compare(6, 10, 10, 0.3);
    compare(6, 4, 1, 0.2);
    compare(8, 20, 6, 0.1);
}
