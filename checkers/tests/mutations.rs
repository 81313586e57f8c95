//! A good history is not accused; with one fault planted, wherever it is, the fault is caught.

use crate::support::simulate::{Simulation, simulate};
use checkers::history::{Answer, Call, History, Op, Outcome};
use checkers::linearizability::{LinearizabilityOptions, check_linearizable};
use checkers::verdict::{CheckResult, Verdict};
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const SEEDS: u64 = 40;

fn good(seed: u64) -> History {
    let clients = [3, 10, 40][seed as usize % 3];
    let keys = [1, 4, 50][seed as usize / 3 % 3];
    let what = Simulation { ops: 3000, clients, keys, read: 50, cas: 20, unknown: 20, seed };
    History::from_entries(simulate(what)).expect("a simulated history pairs")
}

fn judge(history: &History) -> CheckResult {
    check_linearizable(history, &LinearizabilityOptions::default())
}

#[test]
fn good_histories_are_not_accused() {
    for seed in 0..SEEDS {
        let result = judge(&good(seed));
        assert_eq!(result.verdict, Verdict::Valid, "seed {seed}: {}", result.summary);
    }
}

/// Plants a fault in each of many good histories and expects it to be caught, with one of the ops that it changed
/// (`plant` gives their processes) among the culprits.
fn caught(plant: impl Fn(&mut History, &mut Xoshiro256PlusPlus) -> Option<Vec<u32>>) {
    let mut planted = 0;
    for seed in 0..SEEDS {
        let mut history = good(seed);
        let Some(changed) = plant(&mut history, &mut Xoshiro256PlusPlus::seed_from_u64(seed)) else {
            continue;
        };
        planted += 1;
        let result = judge(&history);
        assert_eq!(result.verdict, Verdict::Invalid, "seed {seed}: {}", result.summary);
        let mut shown = result.evidence.iter().flat_map(|evidence| &evidence.window);
        let is_shown = shown.any(|op| op.culprit && changed.contains(&op.process));
        assert!(is_shown, "seed {seed}: {changed:?}: {}", result.summary);
    }
    assert!(planted > SEEDS / 2, "{planted}");
}

/// The key and the value of an acknowledged write.
fn written(op: &Op) -> Option<(u64, u64)> {
    match (&op.call, &op.outcome) {
        (Call::Write { key, value }, Outcome::Ok(Answer::Done)) => Some((*key, *value)),
        _ => None,
    }
}

fn read_of(op: &Op) -> Option<(u64, Option<u64>)> {
    match (&op.call, &op.outcome) {
        (Call::Read { key }, Outcome::Ok(Answer::Value(value))) => Some((*key, *value)),
        _ => None,
    }
}

fn returned(op: &Op) -> u64 {
    op.returned.expect("a simulated op returns")
}

/// A read that was invoked after two writes had followed one another, and the value of the first.
fn stale(history: &History, chance: &mut impl Rng) -> Option<(usize, u64)> {
    let reads = (history.ops.len() / 4..history.ops.len()).filter(|at| read_of(&history.ops[*at]).is_some());
    let at = reads.choose(chance)?;
    let (read, key) = (&history.ops[at], read_of(&history.ops[at])?.0);
    let writes = || history.ops.iter().filter(|op| written(op).is_some_and(|(on, _)| on == key));
    let newer = writes().filter(|op| returned(op) < read.invoked).choose(chance)?;
    let older = writes().filter(|op| returned(op) < newer.invoked).choose(chance)?;
    Some((at, written(older)?.1))
}

#[test]
fn a_stale_read_is_caught() {
    caught(|history, chance| {
        let (at, value) = stale(history, chance)?;
        history.ops[at].outcome = Outcome::Ok(Answer::Value(Some(value)));
        Some(vec![history.ops[at].process.0])
    });
}

#[test]
fn a_lost_write_is_caught() {
    // Whoever read the value sees one that had been there before.
    caught(|history, chance| {
        let writes = (0..history.ops.len()).filter(|at| {
            let Some((key, value)) = written(&history.ops[*at]) else { return false };
            let until = returned(&history.ops[*at]);
            let is_taken =
                |op: &Op| matches!(op.call, Call::Cas { key: on, from, .. } if (on, from) == (key, value));
            !history.ops.iter().any(is_taken)
                && history.ops.iter().any(|op| read_of(op) == Some((key, Some(value))) && op.invoked > until)
        });
        let at = writes.choose(chance)?;
        let (key, value) = written(&history.ops[at])?;
        let mut before = history.ops.iter().filter(|op| {
            written(op).is_some_and(|(on, _)| on == key) && returned(op) < history.ops[at].invoked
        });
        let older = written(before.next_back()?)?.1;
        let mut changed = Vec::new();
        for op in &mut history.ops {
            if read_of(op) == Some((key, Some(value))) {
                op.outcome = Outcome::Ok(Answer::Value(Some(older)));
                changed.push(op.process.0);
            }
        }
        Some(changed)
    });
}

#[test]
fn a_dirty_read_is_caught() {
    caught(|history, chance| {
        let writes = (0..history.ops.len()).filter(|at| {
            let write = written(&history.ops[*at]);
            write.is_some_and(|(key, value)| {
                history.ops.iter().any(|op| read_of(op) == Some((key, Some(value))))
            })
        });
        let at = writes.choose(chance)?;
        history.ops[at].outcome = Outcome::Fail("aborted".to_string());
        Some(vec![history.ops[at].process.0])
    });
}

#[test]
fn a_cas_that_swapped_what_was_gone_is_caught() {
    caught(|history, chance| {
        let (at, value) = stale(history, chance)?;
        let key = read_of(&history.ops[at])?.0;
        history.ops[at].call = Call::Cas { key, from: value, to: u64::MAX };
        history.ops[at].outcome = Outcome::Ok(Answer::Swapped(true));
        Some(vec![history.ops[at].process.0])
    });
}

#[test]
fn a_cas_that_was_refused_what_was_there_is_caught() {
    caught(|history, chance| {
        // Between two reads of one value, one after the other, it was there.
        let reads = (0..history.ops.len()).filter_map(|at| {
            let (key, value) = read_of(&history.ops[at])?;
            let value = value?;
            let same = |op: &&Op| read_of(op) == Some((key, Some(value)));
            let op = &history.ops[at];
            let is_after = history.ops.iter().filter(same).any(|other| returned(other) < op.invoked);
            let is_before = history.ops.iter().filter(same).any(|other| other.invoked > returned(op));
            (is_after && is_before).then_some((at, key, value))
        });
        let (at, key, value) = reads.choose(chance)?;
        history.ops[at].call = Call::Cas { key, from: value, to: u64::MAX };
        history.ops[at].outcome = Outcome::Ok(Answer::Swapped(false));
        Some(vec![history.ops[at].process.0])
    });
}
