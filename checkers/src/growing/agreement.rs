//! The search, which knows nothing of elements and chains, must say the same about many thousands of small random
//! histories.

use super::*;
use crate::history::{Answer, Call, MicroAnswer, MicroCall, Phase, ProcessId};
use crate::linearizability::wgl::{self, Found, Limits, Model, Span, State};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::time::{Duration, Instant};

/// A set of up to 32 elements is a number.
struct SetModel(Vec<(Option<u64>, u32)>);

impl Model for SetModel {
    fn initial(&self) -> State {
        State(0)
    }

    fn step(&mut self, state: State, op: usize) -> Option<State> {
        match self.0[op] {
            (Some(element), _) => Some(State(state.0 | 1 << element)),
            (None, seen) => (seen == state.0).then_some(state),
        }
    }

    fn is_read_only(&self, op: usize) -> bool {
        self.0[op].0.is_none()
    }
}

/// A history of a set that was there, or, in half of them, one lie about it. A share of the ops are additions by hostile
/// processes: their elements come at any time, any number of times, or never.
fn random(count: u64, time: u64, span: u64, hostile: f64, chance: &mut impl Rng) -> History {
    let mut instants: Vec<(u64, u64, u64)> = (0..count)
        .map(|_| {
            let invoked = chance.random_range(0..time);
            let returned = invoked + chance.random_range(0..=span);
            (invoked, returned, chance.random_range(invoked..=returned))
        })
        .collect();
    instants.sort_unstable();
    let mut order: Vec<usize> = (0..instants.len()).collect();
    order.sort_by_key(|at| instants[*at].2);
    let hostile: Vec<u64> = (0..count).filter(|_| chance.random_bool(hostile)).collect();
    let mut set = Vec::new();
    let mut ops: Vec<Option<Op>> = vec![None; instants.len()];
    for at in order {
        let (invoked, returned, _) = instants[at];
        let element = at as u64;
        let is_hostile = hostile.contains(&element);
        if !hostile.is_empty() && chance.random_bool(0.3) {
            set.push(hostile[chance.random_range(0..hostile.len())]);
        }
        let (step, answer) = if !is_hostile && chance.random_bool(0.5) {
            let mut seen: Vec<u64> = set.clone();
            if chance.random_bool(0.15) {
                match chance.random_bool(0.5) {
                    true => drop(seen.pop()),
                    false => seen.push(chance.random_range(0..count)),
                }
            }
            (MicroCall::ReadList { key: 1 }, MicroAnswer::List(seen))
        } else {
            (MicroCall::Append { key: 1, value: element }, MicroAnswer::Done)
        };
        let is_addition = answer == MicroAnswer::Done;
        let outcome = match chance.random_range(0..10) {
            0 | 1 => Outcome::Info("timed out".into()),
            2 => Outcome::Fail("refused".into()),
            _ => Outcome::Ok(Answer::Txn(vec![answer])),
        };
        let happens = match outcome {
            Outcome::Ok(_) => true,
            Outcome::Fail(_) => false,
            Outcome::Info(_) => chance.random_bool(0.5),
        };
        if is_addition && happens && !is_hostile {
            set.push(element);
        }
        ops[at] = Some(Op {
            index: element,
            process: ProcessId(at as u32),
            phase: Phase::Run,
            is_hostile,
            to: None,
            by: Vec::new(),
            call: Call::Txn(vec![step]),
            intended: invoked,
            invoked,
            returned: Some(returned),
            outcome,
        });
    }
    let ops = ops.into_iter().map(|op| op.expect("every op was answered")).collect();
    History { ops, ..History::empty() }
}

fn searched(history: &History) -> bool {
    let mut model = SetModel(Vec::new());
    let mut spans = Vec::new();
    let hostile: FxHashSet<u64> =
        history.ops.iter().filter(|op| op.is_hostile).map(|op| u64::from(op.process.0)).collect();
    for op in &history.ops {
        let Call::Txn(steps) = &op.call else { panic!("{op:?}") };
        let item = match (&steps[0], &op.outcome) {
            (MicroCall::Append { value, .. }, _) if op.is_hostile => {
                model.0.push((Some(*value), 0));
                spans.push(Span { invoked: 0, returned: None });
                continue;
            }
            (_, Outcome::Fail(_)) => continue,
            (MicroCall::Append { value, .. }, _) => (Some(*value), 0),
            (_, Outcome::Ok(Answer::Txn(answers))) => {
                let MicroAnswer::List(seen) = &answers[0] else { panic!("{op:?}") };
                let set = seen.iter().fold(0, |set, element| set | 1 << element);
                // What a read has twice, no set has, but for what hostile processes may have added twice.
                let mut others: Vec<&u64> =
                    seen.iter().filter(|element| !hostile.contains(element)).collect();
                let all = others.len();
                others.sort_unstable();
                others.dedup();
                let distinct = others.len() == all;
                (None, if distinct { set } else { u32::MAX })
            }
            _ => continue,
        };
        model.0.push(item);
        spans.push(Span { invoked: op.invoked, returned: end(op) });
    }
    let limits = Limits { deadline: Instant::now() + Duration::from_secs(60), memory_bytes_max: 1 << 30 };
    match wgl::search(&mut model, &spans, &limits) {
        Found::Order(_) => true,
        Found::None(_) => false,
        Found::Exhausted { .. } => panic!("a small search needs little"),
    }
}

#[test]
fn sets_are_judged_as_the_search_judges_them() {
    let mut kinds = FxHashSet::default();
    let shapes = [(5, 10, 6), (7, 10, 10), (8, 4, 1), (12, 30, 12)];
    for ((count, time, span), hostile) in shapes.into_iter().flat_map(|shape| [(shape, 0.0), (shape, 0.2)]) {
        let mut valid = 0;
        for seed in 0..10_000 {
            let history = random(count, time, span, hostile, &mut Xoshiro256PlusPlus::seed_from_u64(seed));
            let mut growing = Growing::new(&history);
            for (at, op) in (0..).zip(&history.ops) {
                match (&op.call, &op.outcome) {
                    (Call::Txn(steps), outcome) => match (&steps[0], outcome) {
                        (MicroCall::Append { value, .. }, _) if op.is_hostile => {
                            growing.hostile_addition(at, *value).expect("elements are unique");
                        }
                        (MicroCall::Append { value, .. }, _) => {
                            growing.addition(at, *value).expect("elements are unique");
                        }
                        (_, Outcome::Ok(Answer::Txn(answers))) => {
                            let MicroAnswer::List(seen) = &answers[0] else { panic!("{op:?}") };
                            growing.read(at, &seen[..]);
                        }
                        _ => {}
                    },
                    other => panic!("{other:?}"),
                }
            }
            let (tally, faults) = growing.judge();
            let expected = searched(&history);
            assert_eq!(faults.is_empty(), expected, "seed {seed}: {faults:?} {tally:?} {history:#?}");
            for fault in faults.iter().map(|fault| growing.first_shown(fault)) {
                let fault = &fault;
                kinds.insert(std::mem::discriminant(fault));
                let words = Words { set: "set 1".into(), element: &|element| format!("element {element}") };
                assert!(growing.story(fault, &words).contains("set 1"));
                assert!(!growing.culprits(fault).is_empty());
            }
            valid += u32::from(expected);
        }
        assert!((1_000..9_500).contains(&valid), "{valid} are valid");
    }
    assert_eq!(kinds.len(), 8, "every kind of fault was found");
}
