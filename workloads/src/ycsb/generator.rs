//! The run phase of a core workload.

use super::Ycsb;
use super::distribution::Chooser;
use super::inserts::Inserts;
use crate::generator::{Generator, Next, Scope, Share};
use crate::loading::RUN_VALUE_FIRST;
use crate::mix::{Chance, Mix};
use checkers::history::{Call, OpKind, Outcome};
use rand::{Rng, SeedableRng};

/// Reads, updates, inserts, scans and read-modify-writes by the workload's proportions.
#[derive(Debug)]
pub(crate) struct YcsbRun {
    kinds: Mix<OpKind>,
    chooser: Chooser,
    inserts: Inserts,
    fields: u32,
    scan_rows_max: u32,
    value_next: u64,
    /// Records that were loaded; those after them are inserted, each share its own.
    loaded: u64,
    share: Share,
    chance: Chance,
}

impl YcsbRun {
    pub(crate) fn new(options: &Ycsb, scope: &Scope) -> Self {
        Self {
            kinds: Mix::new(&options.proportions.weights()),
            chooser: Chooser::new(options.distribution, options.records, options.inserts_expected),
            inserts: Inserts::new(options.records),
            fields: options.fields,
            scan_rows_max: options.scan_rows_max,
            value_next: RUN_VALUE_FIRST,
            loaded: options.records,
            share: scope.share,
            chance: Chance::seed_from_u64(scope.seed),
        }
    }

    /// The key of this share's record of that number.
    fn key(&self, record: u64) -> u64 {
        record.checked_sub(self.loaded).map_or(record, |nth| self.loaded + self.share.number(nth))
    }

    /// The number of the record that this share has inserted under that key.
    fn record(&self, key: u64) -> u64 {
        self.loaded + (key - self.loaded) / u64::from(self.share.of)
    }

    fn value(&mut self) -> u64 {
        self.value_next += 1;
        self.share.number(self.value_next - 1)
    }
}

impl Generator for YcsbRun {
    fn next(&mut self, _now_ns: u64, _worker: u32) -> Next {
        let kind = self.kinds.pick(&mut self.chance);
        if kind == OpKind::Insert {
            let record = self.inserts.take();
            return Next::Op(Call::Insert { key: self.key(record), value: self.value() });
        }
        let record = self.chooser.pick(&mut self.chance, self.inserts.present());
        let key = self.key(record);
        Next::Op(match kind {
            OpKind::Read => Call::ReadRecord { key },
            OpKind::Scan => Call::Scan { key, limit: self.chance.random_range(1..=self.scan_rows_max) },
            OpKind::Update => {
                Call::Update { key, field: self.chance.random_range(0..self.fields), value: self.value() }
            }
            OpKind::ReadModifyWrite => Call::ReadModifyWrite {
                key,
                field: self.chance.random_range(0..self.fields),
                value: self.value(),
            },
            OpKind::Write | OpKind::Cas | OpKind::Txn | OpKind::Insert => {
                unreachable!("no such proportion: {kind:?}")
            }
        })
    }

    fn complete(&mut self, _now_ns: u64, _worker: u32, call: &Call, outcome: &Outcome) {
        if let Call::Insert { key, .. } = call {
            let record = self.record(*key);
            match outcome {
                Outcome::Ok(_) => self.inserts.acknowledge(record),
                Outcome::Fail(_) | Outcome::Info(_) => self.inserts.give_back(record),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ycsb::Core;
    use checkers::history::{Answer, Phase};
    use std::collections::BTreeMap;

    fn run(core: Core, ops: usize) -> Vec<Call> {
        let scope = Scope {
            phase: Phase::Run,
            workers: 4,
            seed: 5,
            keys_used: 1_000,
            share: Share::WHOLE,
            readers: 1,
        };
        let mut generator = YcsbRun::new(&Ycsb::new(core), &scope);
        (0..ops)
            .map(|i| {
                let Next::Op(call) = generator.next(0, i as u32 % 4) else { panic!("the run has no end") };
                generator.complete(0, i as u32 % 4, &call, &Outcome::Ok(Answer::Done));
                call
            })
            .collect()
    }

    #[test]
    fn ops_come_in_upstreams_proportions() {
        use OpKind::{Insert, Read, ReadModifyWrite, Scan, Update};
        let expected = [
            (Core::A, vec![(Read, 0.5), (Update, 0.5)]),
            (Core::B, vec![(Read, 0.95), (Update, 0.05)]),
            (Core::C, vec![(Read, 1.0)]),
            (Core::D, vec![(Read, 0.95), (Insert, 0.05)]),
            (Core::E, vec![(Insert, 0.05), (Scan, 0.95)]),
            (Core::F, vec![(Read, 0.5), (ReadModifyWrite, 0.5)]),
        ];
        for (core, shares) in expected {
            let mut counts = BTreeMap::new();
            run(core, 20_000).iter().for_each(|call| *counts.entry(call.kind()).or_insert(0_usize) += 1);
            assert_eq!(
                counts.keys().copied().collect::<Vec<_>>(),
                shares.iter().map(|s| s.0).collect::<Vec<_>>()
            );
            for (kind, share) in shares {
                assert!((counts[&kind] as f64 / 20_000.0 - share).abs() < 0.01, "{core:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn scans_are_of_1_to_100_records() {
        let limits: Vec<u32> = run(Core::E, 20_000)
            .iter()
            .filter_map(|call| if let Call::Scan { limit, .. } = call { Some(*limit) } else { None })
            .collect();
        assert_eq!(limits.iter().min(), Some(&1));
        assert_eq!(limits.iter().max(), Some(&100));
    }

    #[test]
    fn no_value_is_written_twice_and_none_that_loading_wrote() {
        let mut values: Vec<u64> = run(Core::A, 5_000)
            .iter()
            .filter_map(|call| if let Call::Update { value, .. } = call { Some(*value) } else { None })
            .collect();
        assert!(values.iter().all(|&v| v >= RUN_VALUE_FIRST));
        let count = values.len();
        values.sort_unstable();
        values.dedup();
        assert_eq!(values.len(), count);
    }

    #[test]
    fn only_what_was_acknowledged_is_read() {
        let scope = Scope {
            phase: Phase::Run,
            workers: 4,
            seed: 5,
            keys_used: 1_000,
            share: Share::WHOLE,
            readers: 1,
        };
        let mut generator = YcsbRun::new(&Ycsb::new(Core::D), &scope);
        let mut inserted = 0;
        for _ in 0..20_000 {
            match generator.next(0, 0) {
                // Insertions stay open.
                Next::Op(Call::Insert { key, .. }) => {
                    assert_eq!(key, 1_000 + inserted);
                    inserted += 1;
                }
                Next::Op(Call::ReadRecord { key }) => {
                    assert!(key < 1_000, "record {key} was not acknowledged");
                }
                other @ (Next::Op(_) | Next::Pending(_) | Next::Done) => panic!("unexpected {other:?}"),
            }
        }
        assert!(inserted > 0);
    }
}
