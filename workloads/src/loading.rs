//! The phases before and after the run: records are loaded; in the end everything is read.

use crate::generator::{Generator, Next, Scope};
use crate::ycsb::inserts::Inserts;
use checkers::history::{Call, MicroCall, Outcome};
use std::collections::BTreeMap;

/// How often a record is tried: the first attempt writes value 1, the second 2, and so on.
const ATTEMPTS_MAX: u64 = 15;

/// The smallest value that the run writes: loading has used those below.
pub(crate) const RUN_VALUE_FIRST: u64 = ATTEMPTS_MAX + 1;

/// How a key is written while loading, and read in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Register,
    Record,
    /// Lists, of which so many are read in one transaction.
    Lists {
        together: u64,
    },
}

/// Writes keys 0 up to `keys`, each until it is acknowledged.
#[derive(Debug)]
pub(crate) struct Loading {
    form: Form,
    keys: u64,
    inserts: Inserts,
    open: u64,
    /// Attempts made, of keys whose first failed.
    attempts: BTreeMap<u64, u64>,
}

impl Loading {
    /// # Panics
    /// If the form is lists: their workloads make what they start with themselves.
    pub(crate) fn new(form: Form, keys: u64) -> Self {
        assert!(!matches!(form, Form::Lists { .. }), "lists are not written like this");
        Self { form, keys, inserts: Inserts::new(0), open: 0, attempts: BTreeMap::new() }
    }
}

impl Generator for Loading {
    fn next(&mut self, _now_ns: u64, _worker: u32) -> Next {
        let Some(key) = self.inserts.take_below(self.keys) else {
            return if self.open == 0 { Next::Done } else { Next::Pending(None) };
        };
        self.open += 1;
        let value = self.attempts.get(&key).copied().unwrap_or(0) + 1;
        Next::Op(match self.form {
            Form::Register => Call::Write { key, value },
            Form::Record => Call::Insert { key, value },
            Form::Lists { .. } => unreachable!("refused by new"),
        })
    }

    fn complete(&mut self, _now_ns: u64, _worker: u32, call: &Call, outcome: &Outcome) {
        let (Call::Write { key, value } | Call::Insert { key, value }) = call else {
            unreachable!("loading does not {call:?}")
        };
        self.open -= 1;
        if matches!(outcome, Outcome::Ok(_)) {
            self.inserts.acknowledge(*key);
        } else {
            self.attempts.insert(*key, *value);
            if *value < ATTEMPTS_MAX {
                self.inserts.give_back(*key);
            }
        }
    }
}

/// Reads keys 0 up to those used, each from several workers in turn. Where so many replicas have the workers bound to them in turn,
/// each replica is asked for every key.
#[derive(Debug)]
pub(crate) struct FinalReads {
    form: Form,
    /// How many things there are to read: keys, or lists that are read together.
    things: u64,
    /// Those that read: a multiple of the readers, or two readers of one thing might be bound to one replica.
    workers: u32,
    readers: u32,
    /// For each worker: the round it is in, and what it reads next in that round.
    cursors: Vec<(u32, u64)>,
}

impl FinalReads {
    pub(crate) fn new(form: Form, scope: &Scope) -> Self {
        let readers = scope.readers.clamp(1, scope.workers);
        let cursors = (0..scope.workers).map(|worker| (0, u64::from(worker))).collect();
        let things = match form {
            Form::Register | Form::Record => scope.keys_used,
            Form::Lists { together } => scope.keys_used.div_ceil(together),
        };
        Self { form, things, workers: scope.workers - scope.workers % readers, readers, cursors }
    }
}

impl Generator for FinalReads {
    fn next(&mut self, _now_ns: u64, worker: u32) -> Next {
        if worker >= self.workers {
            return Next::Done;
        }
        let (round, thing) = &mut self.cursors[worker as usize];
        while *thing >= self.things {
            *round += 1;
            if *round >= self.readers {
                *round = self.readers;
                return Next::Done;
            }
            // In round r, worker w reads what worker w + r read in the first.
            *thing = u64::from((worker + *round) % self.workers);
        }
        let key = std::mem::replace(thing, *thing + u64::from(self.workers));
        Next::Op(match self.form {
            Form::Register => Call::Read { key },
            Form::Record => Call::ReadRecord { key },
            Form::Lists { together } => {
                let lists = key * together..(key + 1) * together;
                Call::Txn(lists.map(|key| MicroCall::ReadList { key }).collect())
            }
        })
    }

    fn complete(&mut self, _now_ns: u64, _worker: u32, _call: &Call, _outcome: &Outcome) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::Share;
    use checkers::history::{Answer, Phase};

    #[test]
    fn loading_tries_a_failed_record_again_with_another_value() {
        let mut loading = Loading::new(Form::Record, 3);
        let insert = |key, value| Next::Op(Call::Insert { key, value });
        let ok = Outcome::Ok(Answer::Done);
        assert_eq!(loading.next(0, 0), insert(0, 1));
        assert_eq!(loading.next(0, 1), insert(1, 1));
        assert_eq!(loading.next(0, 2), insert(2, 1));
        assert_eq!(loading.next(0, 3), Next::Pending(None), "one of the three may have to be tried again");
        loading.complete(0, 1, &Call::Insert { key: 1, value: 1 }, &Outcome::Info("timeout".into()));
        assert_eq!(loading.next(0, 1), insert(1, 2));
        loading.complete(0, 0, &Call::Insert { key: 0, value: 1 }, &ok);
        loading.complete(0, 2, &Call::Insert { key: 2, value: 1 }, &ok);
        loading.complete(0, 1, &Call::Insert { key: 1, value: 2 }, &ok);
        assert_eq!(loading.next(0, 0), Next::Done);
    }

    #[test]
    fn loading_gives_up_on_a_record_that_never_goes_in() {
        let mut loading = Loading::new(Form::Register, 1);
        for attempt in 1..=ATTEMPTS_MAX {
            let Next::Op(call) = loading.next(0, 0) else { panic!("attempt {attempt} is missing") };
            assert_eq!(call, Call::Write { key: 0, value: attempt });
            loading.complete(0, 0, &call, &Outcome::Fail("full".into()));
        }
        assert_eq!(loading.next(0, 0), Next::Done);
    }

    #[test]
    fn each_replica_is_asked_for_each_key() {
        for (workers, replicas) in [(3, 3), (5, 3), (15, 5), (4, 4), (7, 7), (20, 7), (6, 1)] {
            let scope = Scope {
                phase: Phase::Final,
                workers,
                seed: 0,
                keys_used: 23,
                share: Share::WHOLE,
                readers: replicas,
            };
            let mut reads = FinalReads::new(Form::Register, &scope);
            let mut asked = BTreeMap::<u64, Vec<u32>>::new();
            for worker in 0..workers {
                while let Next::Op(Call::Read { key }) = reads.next(0, worker) {
                    // As the load engine binds them.
                    asked.entry(key).or_default().push(worker % replicas);
                }
                assert_eq!(reads.next(0, worker), Next::Done);
            }
            assert_eq!(asked.len(), 23);
            for (key, mut of) in asked {
                of.sort_unstable();
                assert_eq!(of, (0..replicas).collect::<Vec<_>>(), "key {key}, {workers} workers");
            }
        }
    }

    #[test]
    fn fewer_workers_than_readers_and_no_keys_are_fine() {
        let mut reads = FinalReads::new(
            Form::Lists { together: 1 },
            &Scope {
                phase: Phase::Final,
                workers: 1,
                seed: 0,
                keys_used: 1,
                share: Share::WHOLE,
                readers: 3,
            },
        );
        assert_eq!(reads.next(0, 0), Next::Op(Call::Txn(vec![MicroCall::ReadList { key: 0 }])));
        assert_eq!(reads.next(0, 0), Next::Done);
        let mut none = FinalReads::new(
            Form::Record,
            &Scope {
                phase: Phase::Final,
                workers: 2,
                seed: 0,
                keys_used: 0,
                share: Share::WHOLE,
                readers: 1,
            },
        );
        assert_eq!(none.next(0, 1), Next::Done);
    }
    #[test]
    fn lists_that_belong_together_are_read_together() {
        let scope =
            Scope { phase: Phase::Final, workers: 1, seed: 0, keys_used: 4, share: Share::WHOLE, readers: 1 };
        let mut reads = FinalReads::new(Form::Lists { together: 3 }, &scope);
        for first in [0, 3] {
            let lists = (first..first + 3).map(|key| MicroCall::ReadList { key }).collect();
            assert_eq!(reads.next(0, 0), Next::Op(Call::Txn(lists)), "also those that nobody has written");
        }
        assert_eq!(reads.next(0, 0), Next::Done);
    }
}
