//! List-append transactions, generated as Elle does it: a read of a whole list tells the order of all appends before it, so
//! transactional anomalies leave traces that can be followed.

use crate::generator::{Generator, Next, Scope, Share};
use crate::mix::{Chance, Mix};
use crate::spec::{SpecError, fraction, within};
use crate::values::{Layout, Names};
use checkers::history::{Call, MicroCall, OpKind, Outcome};
use kv::command::TXN_MICRO_OPS_MAX;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Options of the append workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Append {
    /// Lists in use at one time. Each is chosen twice as often as the one before it, so there is much and little contention.
    pub keys: u32,
    /// A transaction has 1 to this many steps, uniformly.
    pub micro_ops_max: u32,
    /// Appends to a list after which a fresh one takes its place.
    pub appends_per_key: u32,
    /// The fraction of steps that read.
    pub read: f64,
}

impl Default for Append {
    fn default() -> Self {
        Self { keys: 10, micro_ops_max: 4, appends_per_key: 32, read: 0.5 }
    }
}

impl Append {
    pub(crate) fn validate(&self) -> Result<(), SpecError> {
        within("keys", u64::from(self.keys), 1, 32)?;
        within("micro_ops_max", u64::from(self.micro_ops_max), 1, TXN_MICRO_OPS_MAX as u64)?;
        within("appends_per_key", u64::from(self.appends_per_key), 1, 10_000)?;
        fraction("append", "read", self.read)
    }

    pub(crate) fn expected_kinds(&self) -> Vec<OpKind> {
        vec![OpKind::Txn]
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout { names: Names::Lists, value_bytes: 16, fields: 0 }
    }
}

/// A list in use: its key, and the element to append next. Elements of a list are 1, 2, 3, … of this share's numbers.
#[derive(Clone, Copy, Debug)]
struct Active {
    key: u64,
    value_next: u64,
}

/// The run phase.
#[derive(Debug)]
pub(crate) struct AppendRun {
    options: Append,
    slots: Mix<usize>,
    active: Vec<Active>,
    key_next: u64,
    share: Share,
    chance: Chance,
}

impl AppendRun {
    pub(crate) fn new(options: &Append, scope: &Scope) -> Self {
        let keys = options.keys as usize;
        let weights: Vec<(f64, usize)> = (0..keys).map(|slot| (2_f64.powi(slot as i32), slot)).collect();
        Self {
            options: Append {
                appends_per_key: scope.share.split(options.appends_per_key),
                ..options.clone()
            },
            slots: Mix::new(&weights),
            active: (0..keys as u64).map(|key| Active { key, value_next: 1 }).collect(),
            key_next: keys as u64,
            share: scope.share,
            chance: Chance::seed_from_u64(scope.seed),
        }
    }

    fn step(&mut self) -> MicroCall {
        let list = &mut self.active[self.slots.pick(&mut self.chance)];
        if self.chance.random::<f64>() < self.options.read {
            return MicroCall::ReadList { key: list.key };
        }
        if list.value_next > u64::from(self.options.appends_per_key) {
            *list = Active { key: self.key_next, value_next: 1 };
            self.key_next += 1;
        }
        list.value_next += 1;
        MicroCall::Append { key: list.key, value: self.share.number(list.value_next - 1) }
    }
}

impl Generator for AppendRun {
    fn next(&mut self, _now_ns: u64, _worker: u32) -> Next {
        let steps = self.chance.random_range(1..=self.options.micro_ops_max);
        Next::Op(Call::Txn((0..steps).map(|_| self.step()).collect()))
    }

    fn complete(&mut self, _now_ns: u64, _worker: u32, _call: &Call, _outcome: &Outcome) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkers::history::Phase;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn play(options: &Append, seed: u64, txns: usize) -> Vec<Vec<MicroCall>> {
        let mut generator = AppendRun::new(
            options,
            &Scope { phase: Phase::Run, workers: 4, seed, keys_used: 0, share: Share::WHOLE, readers: 1 },
        );
        (0..txns)
            .map(|_| match generator.next(0, 0) {
                Next::Op(Call::Txn(steps)) => steps,
                other @ (Next::Op(_) | Next::Pending(_) | Next::Done) => panic!("no transaction: {other:?}"),
            })
            .collect()
    }

    #[test]
    fn later_keys_are_chosen_twice_as_often_as_the_one_before() {
        let options = Append { keys: 4, read: 1.0, ..Append::default() };
        let mut counts = [0_usize; 4];
        for step in play(&options, 1, 20_000).into_iter().flatten() {
            let MicroCall::ReadList { key } = step else { panic!("only reads were asked for") };
            counts[key as usize] += 1;
        }
        for pair in counts.windows(2) {
            let ratio = pair[1] as f64 / pair[0] as f64;
            assert!((1.9..2.1).contains(&ratio), "{counts:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn appends_are_unique_and_lists_stay_bounded(
            seed: u64, keys in 1u32..12, micro_ops_max in 1u32..9, appends_per_key in 1u32..40,
        ) {
            let options = Append { keys, micro_ops_max, appends_per_key, read: 0.5 };
            let mut lists = BTreeMap::<u64, BTreeSet<u64>>::new();
            for txn in play(&options, seed, 300) {
                prop_assert!((1..=micro_ops_max as usize).contains(&txn.len()));
                for step in txn {
                    if let MicroCall::Append { key, value } = step {
                        prop_assert!(lists.entry(key).or_default().insert(value), "{} twice to {}", value, key);
                    }
                }
            }
            prop_assert!(lists.values().all(|list| list.len() <= appends_per_key as usize));
        }

        #[test]
        fn the_seed_decides_everything(seed: u64) {
            prop_assert_eq!(play(&Append::default(), seed, 100), play(&Append::default(), seed, 100));
        }
    }
}
