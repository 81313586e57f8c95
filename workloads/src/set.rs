//! Sets: unique elements are added one by one, and the whole set is read. A set is a list to which its elements are appended.

use crate::generator::{Generator, Next, Scope, Share};
use crate::mix::Chance;
use crate::spec::{SpecError, mostly, within};
use crate::values::{Layout, Names};
use checkers::history::{Call, MicroCall, OpKind, Outcome};
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Options of the set workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Set {
    /// Sets in use at one time.
    pub sets: u32,
    /// Elements added to a set after which a fresh one takes its place, so that reads stay short.
    pub elements_per_set: u32,
    /// The fraction of ops that read a whole set.
    pub read: f64,
}

impl Default for Set {
    fn default() -> Self {
        Self { sets: 1, elements_per_set: 256, read: 0.25 }
    }
}

impl Set {
    pub(crate) fn validate(&self) -> Result<(), SpecError> {
        within("sets", u64::from(self.sets), 1, 1_024)?;
        within("elements_per_set", u64::from(self.elements_per_set), 1, 10_000)?;
        mostly("set", "read", self.read)
    }

    pub(crate) fn expected_kinds(&self) -> Vec<OpKind> {
        vec![OpKind::Txn]
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout { names: Names::Sets, value_bytes: 16, fields: 0 }
    }
}

/// A set in use. Elements of a set are 1, 2, 3, … of this share's numbers.
#[derive(Clone, Copy, Debug)]
struct Active {
    key: u64,
    element_next: u64,
}

/// The run phase.
#[derive(Debug)]
pub(crate) struct SetRun {
    options: Set,
    active: Vec<Active>,
    key_next: u64,
    share: Share,
    chance: Chance,
}

impl SetRun {
    pub(crate) fn new(options: &Set, scope: &Scope) -> Self {
        let sets = u64::from(options.sets);
        Self {
            options: Set { elements_per_set: scope.share.split(options.elements_per_set), ..options.clone() },
            active: (0..sets).map(|key| Active { key, element_next: 1 }).collect(),
            key_next: sets,
            share: scope.share,
            chance: Chance::seed_from_u64(scope.seed),
        }
    }
}

impl Generator for SetRun {
    fn next(&mut self, _now_ns: u64, _worker: u32) -> Next {
        let slot = self.chance.random_range(0..self.active.len());
        let set = &mut self.active[slot];
        if self.chance.random::<f64>() < self.options.read {
            return Next::Op(Call::Txn(vec![MicroCall::ReadList { key: set.key }]));
        }
        if set.element_next > u64::from(self.options.elements_per_set) {
            *set = Active { key: self.key_next, element_next: 1 };
            self.key_next += 1;
        }
        set.element_next += 1;
        let value = self.share.number(set.element_next - 1);
        Next::Op(Call::Txn(vec![MicroCall::Append { key: set.key, value }]))
    }

    fn complete(&mut self, _now_ns: u64, _worker: u32, _call: &Call, _outcome: &Outcome) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkers::history::Phase;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn play(options: &Set, seed: u64, ops: usize) -> Vec<MicroCall> {
        let scope =
            Scope { phase: Phase::Run, workers: 4, seed, keys_used: 0, share: Share::WHOLE, readers: 1 };
        let mut generator = SetRun::new(options, &scope);
        let step = |_| match generator.next(0, 0) {
            Next::Op(Call::Txn(mut steps)) if steps.len() == 1 => steps.remove(0),
            other @ (Next::Op(_) | Next::Pending(_) | Next::Done) => panic!("no op on a set: {other:?}"),
        };
        (0..ops).map(step).collect()
    }

    #[test]
    fn reads_come_in_their_fraction_and_sets_are_even() {
        let options = Set { sets: 4, elements_per_set: 10_000, read: 0.3 };
        let mut reads = [0_usize; 4];
        let mut adds = [0_usize; 4];
        for step in play(&options, 5, 20_000) {
            match step {
                MicroCall::ReadList { key } => reads[key as usize] += 1,
                MicroCall::Append { key, .. } => adds[key as usize] += 1,
                other @ (MicroCall::Read { .. } | MicroCall::Write { .. }) => panic!("{other:?}"),
            }
        }
        assert!(reads.iter().all(|n| (1_350..1_650).contains(n)), "{reads:?}");
        assert!(adds.iter().all(|n| (3_250..3_750).contains(n)), "{adds:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn elements_are_unique_and_sets_are_retired_in_time(
            seed: u64, sets in 1u32..6, elements_per_set in 1u32..40,
        ) {
            let options = Set { sets, elements_per_set, ..Set::default() };
            let mut elements = BTreeMap::<u64, Vec<u64>>::new();
            for step in play(&options, seed, 500) {
                if let MicroCall::Append { key, value } = step {
                    elements.entry(key).or_default().push(value);
                }
            }
            for (key, elements) in elements {
                let upto = elements.len() as u64;
                prop_assert!(upto <= u64::from(elements_per_set), "set {} has {}", key, upto);
                prop_assert_eq!(elements, (1..=upto).collect::<Vec<_>>());
            }
        }

        #[test]
        fn the_seed_decides_everything(seed: u64) {
            prop_assert_eq!(play(&Set::default(), seed, 200), play(&Set::default(), seed, 200));
            prop_assert_ne!(play(&Set::default(), seed, 200), play(&Set::default(), !seed, 200));
        }
    }
}
