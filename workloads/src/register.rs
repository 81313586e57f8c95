//! Registers: reads, writes and compare-and-sets over independent keys.

use crate::generator::{Generator, Next, Scope, Share};
use crate::mix::{Chance, Mix};
use crate::spec::{SpecError, fraction, within};
use crate::values::{Layout, Names};
use checkers::history::{Answer, Call, OpKind, Outcome};
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// With more workers on a key, its value changes so often that no compare-and-set succeeds.
pub const WORKERS_PER_KEY: u32 = 4;

/// Options of the register workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Register {
    /// Keys in use at one time, or one for each [`WORKERS_PER_KEY`] workers, whichever is more.
    pub keys: u32,
    /// Ops on a key after which a fresh one takes its place, so that the history of each stays bounded.
    pub ops_per_key: u32,
    /// How often each op comes; they need not add up to one.
    pub read: f64,
    pub write: f64,
    pub cas: f64,
    /// So many of the workers only read, 0 to 1. Others soon wait for a write where nothing can be written: only those who
    /// just read go on, and see what is stale.
    pub readers: f64,
}

impl Default for Register {
    fn default() -> Self {
        Self { keys: 8, ops_per_key: 1_000, read: 0.5, write: 0.25, cas: 0.25, readers: 0.0 }
    }
}

impl Register {
    pub(crate) fn validate(&self) -> Result<(), SpecError> {
        within("keys", u64::from(self.keys), 1, 1_024)?;
        within("ops_per_key", u64::from(self.ops_per_key), 1, 1_000_000)?;
        for (weight, kind) in self.weights() {
            fraction("register", kind.name(), weight)?;
        }
        fraction("register", "readers", self.readers)?;
        if self.readers == 1.0 {
            return Err(SpecError::NoOps);
        }
        if self.write == 0.0 {
            // Reads and compare-and-sets find nothing where nothing is ever written.
            return Err(SpecError::Option {
                option: "write".into(),
                found: "0".into(),
                allowed: "more than 0 to 1".into(),
            });
        }
        Ok(())
    }

    fn weights(&self) -> [(f64, OpKind); 3] {
        [(self.read, OpKind::Read), (self.write, OpKind::Write), (self.cas, OpKind::Cas)]
    }

    pub(crate) fn expected_kinds(&self) -> Vec<OpKind> {
        self.weights().into_iter().filter(|(weight, _)| *weight > 0.0).map(|(_, kind)| kind).collect()
    }

    pub(crate) fn layout(&self) -> Layout {
        // Eight bytes of number, eight of proof.
        Layout { names: Names::Registers, value_bytes: 16, fields: 0 }
    }
}

/// A key in use.
#[derive(Debug)]
struct Active {
    key: u64,
    issued: u32,
    /// Values written to a key are 1, 2, 3, … of this share's numbers.
    value_next: u64,
    /// The value that was seen there last: what a compare-and-set expects.
    seen: Option<u64>,
}

impl Active {
    fn fresh(key: u64) -> Self {
        Self { key, issued: 0, value_next: 1, seen: None }
    }

    fn value(&mut self, share: Share) -> u64 {
        self.value_next += 1;
        share.number(self.value_next - 1)
    }
}

/// The run phase.
#[derive(Debug)]
pub(crate) struct RegisterRun {
    kinds: Mix<OpKind>,
    ops_per_key: u32,
    readers: f64,
    active: Vec<Active>,
    key_next: u64,
    share: Share,
    chance: Chance,
}

impl RegisterRun {
    pub(crate) fn new(options: &Register, scope: &Scope) -> Self {
        // All shares use the same keys.
        let workers = scope.workers * scope.share.of;
        let keys = u64::from(options.keys.max(workers.div_ceil(WORKERS_PER_KEY)));
        Self {
            kinds: Mix::new(&options.weights()),
            ops_per_key: scope.share.split(options.ops_per_key),
            readers: options.readers,
            active: (0..keys).map(Active::fresh).collect(),
            key_next: keys,
            share: scope.share,
            chance: Chance::seed_from_u64(scope.seed),
        }
    }
}

/// Whether this worker is one of that share that only reads: spread evenly.
fn only_reads(worker: u32, share: f64) -> bool {
    let before = |worker: u32| (f64::from(worker) * share).floor();
    before(worker + 1) > before(worker)
}

impl Generator for RegisterRun {
    fn next(&mut self, _now_ns: u64, worker: u32) -> Next {
        let slot = self.chance.random_range(0..self.active.len());
        let reads_only = only_reads(worker * self.share.of + self.share.index, self.readers);
        let kind = if reads_only { OpKind::Read } else { self.kinds.pick(&mut self.chance) };
        let share = self.share;
        let register = &mut self.active[slot];
        if register.issued >= self.ops_per_key {
            *register = Active::fresh(self.key_next);
            self.key_next += 1;
        }
        register.issued += 1;
        let key = register.key;
        Next::Op(match (kind, register.seen) {
            (OpKind::Read, _) => Call::Read { key },
            (OpKind::Cas, Some(from)) => Call::Cas { key, from, to: register.value(share) },
            // A compare-and-set where nothing was seen yet has nothing to expect.
            _ => Call::Write { key, value: register.value(share) },
        })
    }

    fn complete(&mut self, _now_ns: u64, _worker: u32, call: &Call, outcome: &Outcome) {
        let (key, seen) = match (call, outcome) {
            (Call::Read { key }, Outcome::Ok(Answer::Value(Some(value)))) => (key, value),
            (Call::Write { key, value }, Outcome::Ok(Answer::Done)) => (key, value),
            (Call::Cas { key, to, .. }, Outcome::Ok(Answer::Swapped(true))) => (key, to),
            _ => return,
        };
        // The key may have been retired meanwhile.
        if let Some(register) = self.active.iter_mut().find(|r| r.key == *key) {
            register.seen = Some(*seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkers::history::Phase;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet, VecDeque};

    #[test]
    fn some_workers_only_read() {
        let options = Register { readers: 0.4, ..Register::default() };
        options.validate().expect("sound");
        let mut run = RegisterRun::new(
            &options,
            &Scope { phase: Phase::Run, workers: 10, seed: 1, keys_used: 0, share: Share::WHOLE, readers: 1 },
        );
        let reads = |worker, run: &mut RegisterRun| {
            (0..200).all(|_| matches!(run.next(0, worker), Next::Op(Call::Read { .. })))
        };
        let readers: Vec<u32> = (0..10).filter(|worker| reads(*worker, &mut run)).collect();
        assert_eq!(readers, [2, 4, 7, 9]);
        Register { readers: 1.0, ..options }.validate().expect_err("nobody would write");
    }

    const SCOPE: Scope =
        Scope { phase: Phase::Run, workers: 16, seed: 11, keys_used: 0, share: Share::WHOLE, readers: 1 };

    /// Runs `ops` against registers in memory: an op takes effect when it is taken from a queue of `open`.
    fn play(options: &Register, scope: &Scope, open: usize, ops: usize) -> Vec<(Call, Outcome)> {
        let mut generator = RegisterRun::new(options, scope);
        let mut registers = BTreeMap::<u64, u64>::new();
        let mut queue = VecDeque::new();
        let mut done = Vec::new();
        while done.len() < ops {
            while queue.len() < open {
                let Next::Op(call) = generator.next(0, 0) else { panic!("the run has no end") };
                queue.push_back(call);
            }
            let call = queue.pop_front().expect("just filled");
            let answer = match call {
                Call::Read { key } => Answer::Value(registers.get(&key).copied()),
                Call::Write { key, value } => {
                    registers.insert(key, value);
                    Answer::Done
                }
                Call::Cas { key, from, to } => {
                    let as_expected = registers.get(&key) == Some(&from);
                    if as_expected {
                        registers.insert(key, to);
                    }
                    Answer::Swapped(as_expected)
                }
                ref other @ (Call::Txn(_)
                | Call::Insert { .. }
                | Call::Update { .. }
                | Call::ReadRecord { .. }
                | Call::Scan { .. }
                | Call::ReadModifyWrite { .. }) => panic!("no register op: {other:?}"),
            };
            generator.complete(0, 0, &call, &Outcome::Ok(answer.clone()));
            done.push((call, Outcome::Ok(answer)));
        }
        done
    }

    #[test]
    fn a_good_part_of_compare_and_sets_succeed_whatever_the_number_of_workers() {
        for workers in [1, 16, 64, 256] {
            let scope = Scope { workers, ..SCOPE };
            let done = play(&Register::default(), &scope, workers as usize, 20_000);
            let cas = done.iter().filter(|(call, _)| matches!(call, Call::Cas { .. }));
            let is_swap = |(_, outcome): &&(Call, Outcome)| *outcome == Outcome::Ok(Answer::Swapped(true));
            let share = cas.clone().filter(is_swap).count() as f64 / cas.count() as f64;
            assert!(share > 0.2, "{workers} workers: {share}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn values_are_unique_and_keys_are_retired_in_time(seed: u64, keys in 4u32..20, ops_per_key in 1u32..50) {
            let options = Register { keys, ops_per_key, ..Register::default() };
            let mut written = BTreeMap::<u64, BTreeSet<u64>>::new();
            let mut ops = BTreeMap::<u64, u32>::new();
            for (call, _) in play(&options, &Scope { seed, ..SCOPE }, 4, 1_000) {
                let (key, value) = match call {
                    Call::Write { key, value } => (key, Some(value)),
                    Call::Cas { key, to, .. } => (key, Some(to)),
                    Call::Read { key } => (key, None),
                    other @ (Call::Txn(_) | Call::Insert { .. } | Call::Update { .. } | Call::ReadRecord { .. } | Call::Scan { .. } | Call::ReadModifyWrite { .. }) => panic!("no register op: {other:?}"),
                };
                *ops.entry(key).or_default() += 1;
                if let Some(value) = value {
                    prop_assert!(written.entry(key).or_default().insert(value), "{} twice to key {}", value, key);
                }
            }
            prop_assert!(ops.values().all(|&n| n <= ops_per_key));
            let greatest = *ops.keys().next_back().expect("there were ops");
            prop_assert!(greatest < u64::from(keys) + u64::from(1_004 / ops_per_key), "keys are taken in order");
        }

        #[test]
        fn the_seed_decides_everything(seed: u64) {
            let play = || play(&Register::default(), &Scope { seed, ..SCOPE }, 8, 200);
            prop_assert_eq!(play(), play());
        }
    }
}
