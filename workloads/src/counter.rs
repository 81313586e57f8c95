//! Counters: amounts are added and taken off, and the sum is read. A counter is a list to which amounts are appended as
//! [`Posting`]s; its value is their sum.

use crate::generator::{Generator, Next, Scope, Share};
use crate::mix::Chance;
use crate::spec::{SpecError, fraction, mostly, within};
use crate::values::{Layout, Names};
use checkers::history::{Call, MicroCall, OpKind, Outcome, Posting};
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Options of the counter workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Counter {
    /// Counters in use at one time.
    pub counters: u32,
    /// Amounts added to a counter after which a fresh one takes its place, so that reads stay short.
    pub adds_per_counter: u32,
    /// The fraction of ops that read.
    pub read: f64,
    /// The fraction of amounts that are negative.
    pub decrement: f64,
    /// Amounts are 1 to this, uniformly, either way.
    pub amount_max: u32,
}

impl Default for Counter {
    fn default() -> Self {
        Self { counters: 1, adds_per_counter: 256, read: 0.25, decrement: 0.25, amount_max: 5 }
    }
}

impl Counter {
    pub(crate) fn validate(&self) -> Result<(), SpecError> {
        within("counters", u64::from(self.counters), 1, 1_024)?;
        within("adds_per_counter", u64::from(self.adds_per_counter), 1, 10_000)?;
        within("amount_max", u64::from(self.amount_max), 1, Posting::AMOUNT_MAX.unsigned_abs())?;
        fraction("counter", "decrement", self.decrement)?;
        mostly("counter", "read", self.read)
    }

    pub(crate) fn expected_kinds(&self) -> Vec<OpKind> {
        vec![OpKind::Txn]
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout { names: Names::Counters, value_bytes: 16, fields: 0 }
    }
}

/// A counter in use. Its postings are numbered 1, 2, 3, … of this share's numbers.
#[derive(Clone, Copy, Debug)]
struct Active {
    key: u64,
    id_next: u64,
}

/// The run phase.
#[derive(Debug)]
pub(crate) struct CounterRun {
    options: Counter,
    active: Vec<Active>,
    key_next: u64,
    share: Share,
    chance: Chance,
}

impl CounterRun {
    pub(crate) fn new(options: &Counter, scope: &Scope) -> Self {
        let counters = u64::from(options.counters);
        Self {
            options: Counter {
                adds_per_counter: scope.share.split(options.adds_per_counter),
                ..options.clone()
            },
            active: (0..counters).map(|key| Active { key, id_next: 1 }).collect(),
            key_next: counters,
            share: scope.share,
            chance: Chance::seed_from_u64(scope.seed),
        }
    }
}

impl Generator for CounterRun {
    fn next(&mut self, _now_ns: u64, _worker: u32) -> Next {
        let slot = self.chance.random_range(0..self.active.len());
        let counter = &mut self.active[slot];
        if self.chance.random::<f64>() < self.options.read {
            return Next::Op(Call::Txn(vec![MicroCall::ReadList { key: counter.key }]));
        }
        if counter.id_next > u64::from(self.options.adds_per_counter) {
            *counter = Active { key: self.key_next, id_next: 1 };
            self.key_next += 1;
        }
        let amount = i64::from(self.chance.random_range(1..=self.options.amount_max));
        let sign = if self.chance.random::<f64>() < self.options.decrement { -1 } else { 1 };
        let posting = Posting { id: self.share.number(counter.id_next), amount: sign * amount };
        counter.id_next += 1;
        Next::Op(Call::Txn(vec![MicroCall::Append { key: counter.key, value: posting.value() }]))
    }

    fn complete(&mut self, _now_ns: u64, _worker: u32, _call: &Call, _outcome: &Outcome) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkers::history::Phase;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn play(options: &Counter, seed: u64, ops: usize) -> Vec<(u64, Option<Posting>)> {
        let scope =
            Scope { phase: Phase::Run, workers: 4, seed, keys_used: 0, share: Share::WHOLE, readers: 1 };
        let mut generator = CounterRun::new(options, &scope);
        let step = |_| {
            let Next::Op(Call::Txn(steps)) = generator.next(0, 0) else { panic!("the run has no end") };
            match steps[..] {
                [MicroCall::ReadList { key }] => (key, None),
                [MicroCall::Append { key, value }] => (key, Some(Posting::of(value))),
                ref other => panic!("no op on a counter: {other:?}"),
            }
        };
        (0..ops).map(step).collect()
    }

    #[test]
    fn ops_and_amounts_come_in_their_fractions() {
        let options = Counter { counters: 2, read: 0.2, decrement: 0.4, amount_max: 4, ..Counter::default() };
        let ops = play(&options, 9, 20_000);
        let share = |of: usize, all: usize| of as f64 / all as f64;
        let amounts: Vec<i64> =
            ops.iter().filter_map(|(_, posting)| Some(posting.as_ref()?.amount)).collect();
        assert!((share(ops.len() - amounts.len(), ops.len()) - 0.2).abs() < 0.01);
        let negative = amounts.iter().filter(|amount| **amount < 0).count();
        assert!((share(negative, amounts.len()) - 0.4).abs() < 0.015, "{negative}");
        for size in 1..=4 {
            let count = amounts.iter().filter(|amount| amount.abs() == size).count();
            assert!((share(count, amounts.len()) - 0.25).abs() < 0.015, "{size}: {count}");
        }
        assert!(amounts.iter().all(|amount| (1..=4).contains(&amount.abs())));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn postings_are_numbered_and_counters_are_retired_in_time(
            seed: u64, counters in 1u32..6, adds_per_counter in 1u32..40,
        ) {
            let options = Counter { counters, adds_per_counter, ..Counter::default() };
            let mut ids = BTreeMap::<u64, Vec<u64>>::new();
            for (key, posting) in play(&options, seed, 500) {
                ids.entry(key).or_default().extend(posting.map(|posting| posting.id));
            }
            for (key, ids) in ids {
                let upto = ids.len() as u64;
                prop_assert!(upto <= u64::from(adds_per_counter), "counter {} has {}", key, upto);
                prop_assert_eq!(ids, (1..=upto).collect::<Vec<_>>());
            }
        }

        #[test]
        fn the_seed_decides_everything(seed: u64) {
            let options = Counter::default();
            prop_assert_eq!(play(&options, seed, 200), play(&options, seed, 200));
            prop_assert_ne!(play(&options, seed, 200), play(&options, !seed, 200));
        }
    }
}
