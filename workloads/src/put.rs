//! The benchmark: whole values are written, or read, under uniformly chosen keys.

use crate::generator::{Generator, Next, Scope, Share};
use crate::loading::RUN_VALUE_FIRST;
use crate::mix::Chance;
use crate::spec::{SpecError, fraction, within};
use crate::values::{Layout, Names, VALUE_BYTES_MIN};
use checkers::history::{Call, OpKind, Outcome};
use kv::command::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Options of the put workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Put {
    /// How many keys there are.
    pub keys: u64,
    /// Bytes in a key.
    pub key_bytes: usize,
    /// Bytes in a value.
    pub value_bytes: usize,
    /// The fraction of ops that read. If there are any, all keys are loaded first.
    pub read: f64,
}

impl Default for Put {
    fn default() -> Self {
        Self { keys: 10_000, key_bytes: 16, value_bytes: 256, read: 0.0 }
    }
}

impl Put {
    /// The same with reads only, which has a name of its own: `get`.
    pub(crate) fn gets(self) -> Result<Self, SpecError> {
        if self.read == Self::default().read || self.read == 1.0 {
            return Ok(Self { read: 1.0, ..self });
        }
        Err(SpecError::Option {
            option: "get: read".into(),
            found: self.read.to_string(),
            allowed: "1".into(),
        })
    }

    pub(crate) fn is_gets(&self) -> bool {
        self.read == 1.0
    }

    pub(crate) fn validate(&self) -> Result<(), SpecError> {
        within("keys", self.keys, 1, 1_000_000_000)?;
        let key_bytes_min = 1 + (self.keys - 1).max(1).ilog10() as u64 + 1;
        within("key_bytes", self.key_bytes as u64, key_bytes_min, KEY_BYTES_MAX as u64)?;
        within("value_bytes", self.value_bytes as u64, VALUE_BYTES_MIN as u64, VALUE_BYTES_MAX as u64)?;
        fraction("put", "read", self.read)
    }

    pub(crate) fn expected_kinds(&self) -> Vec<OpKind> {
        let reads = (self.read > 0.0).then_some(OpKind::Read);
        let writes = (self.read < 1.0).then_some(OpKind::Write);
        reads.into_iter().chain(writes).collect()
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout { names: Names::Padded(self.key_bytes), value_bytes: self.value_bytes, fields: 0 }
    }
}

/// The run phase.
#[derive(Debug)]
pub(crate) struct PutRun {
    keys: u64,
    read: f64,
    value_next: u64,
    share: Share,
    chance: Chance,
}

impl PutRun {
    pub(crate) fn new(options: &Put, scope: &Scope) -> Self {
        Self {
            keys: options.keys,
            read: options.read,
            value_next: RUN_VALUE_FIRST,
            share: scope.share,
            chance: Chance::seed_from_u64(scope.seed),
        }
    }
}

impl Generator for PutRun {
    fn next(&mut self, _now_ns: u64, _worker: u32) -> Next {
        let key = self.chance.random_range(0..self.keys);
        if self.chance.random::<f64>() < self.read {
            return Next::Op(Call::Read { key });
        }
        self.value_next += 1;
        Next::Op(Call::Write { key, value: self.share.number(self.value_next - 1) })
    }

    fn complete(&mut self, _now_ns: u64, _worker: u32, _call: &Call, _outcome: &Outcome) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkers::history::Phase;

    fn play(options: &Put, seed: u64) -> Vec<Call> {
        let mut generator = PutRun::new(
            options,
            &Scope { phase: Phase::Run, workers: 1, seed, keys_used: 0, share: Share::WHOLE, readers: 1 },
        );
        (0..20_000)
            .map(|_| match generator.next(0, 0) {
                Next::Op(call) => call,
                other @ (Next::Pending(_) | Next::Done) => panic!("the run has no end: {other:?}"),
            })
            .collect()
    }

    #[test]
    fn keys_are_even_and_reads_come_in_their_fraction() {
        let options = Put { keys: 10, read: 0.3, ..Put::default() };
        let calls = play(&options, 3);
        assert_eq!(calls, play(&options, 3), "the seed decides everything");
        assert_ne!(calls, play(&options, 4));
        let reads = calls.iter().filter(|call| call.kind() == OpKind::Read).count();
        assert!((reads as f64 / 20_000.0 - 0.3).abs() < 0.01, "{reads}");
        for wanted in 0..10 {
            let share = calls
                .iter()
                .filter(|call| matches!(call, Call::Read { key } | Call::Write { key, .. } if *key == wanted))
                .count();
            assert!((1_800..2_200).contains(&share), "key {wanted}: {share}");
        }
    }

    #[test]
    fn all_or_nothing_may_be_reads() {
        assert!(play(&Put { read: 1.0, ..Put::default() }, 1).iter().all(|call| call.kind() == OpKind::Read));
        assert!(play(&Put::default(), 1).iter().all(|call| call.kind() == OpKind::Write));
    }
}
