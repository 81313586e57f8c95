//! A history taken apart into objects that are judged one by one: linearizability is local.

use super::register::{Action, NEVER, RegisterOp};
use crate::history::{Answer, Call, FIELD_NEVER_WRITTEN, History, Op, Outcome};
use rustc_hash::{FxHashMap, FxHashSet};

/// What an op is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum ObjectId {
    /// A key of the register workload.
    Register(u64),
    /// A record of YCSB: a register for each field.
    Record(u64),
}

/// An object and the ops on it: positions among the history's ops, ascending.
pub(super) struct Object {
    pub id: ObjectId,
    pub ops: Vec<u32>,
    /// How many of them are to be judged: those of processes that are not hostile.
    pub judged: usize,
}

/// The ops on one register.
#[derive(Default)]
pub(super) struct RegisterOps {
    pub ops: Vec<RegisterOp>,
    /// The values that hostile processes may have written, at any time and any number of times.
    pub hostile: FxHashSet<u64>,
}

/// A history's objects.
pub(super) struct Objects {
    /// Those with most ops first.
    pub all: Vec<Object>,
    /// How many fields a record has.
    pub fields: u32,
    /// Scans, whose answers do not say what they saw.
    pub scans: u64,
    /// Transactions, which are judged elsewhere.
    pub transactions: u64,
}

impl Objects {
    pub(super) fn of(history: &History) -> Self {
        let mut places: FxHashMap<ObjectId, usize> = FxHashMap::default();
        let mut objects = Self { all: Vec::new(), fields: 1, scans: 0, transactions: 0 };
        for (position, op) in (0..).zip(&history.ops) {
            // A field that only hostile processes know of is nobody's.
            let is_judged = !op.is_hostile;
            let id = match &op.call {
                Call::Read { key } | Call::Write { key, .. } | Call::Cas { key, .. } => {
                    ObjectId::Register(*key)
                }
                Call::Insert { key, .. } | Call::ReadRecord { key } => ObjectId::Record(*key),
                Call::Update { key, field, .. } | Call::ReadModifyWrite { key, field, .. } => {
                    if is_judged {
                        objects.fields = objects.fields.max(field + 1);
                    }
                    ObjectId::Record(*key)
                }
                Call::Scan { .. } => {
                    objects.scans += u64::from(is_judged);
                    continue;
                }
                Call::Txn(_) => {
                    objects.transactions += u64::from(is_judged);
                    continue;
                }
            };
            if let Outcome::Ok(Answer::Fields(Some(fields))) = &op.outcome
                && is_judged
            {
                objects.fields = objects.fields.max(fields.len() as u32);
            }
            let place = *places.entry(id).or_insert_with(|| {
                objects.all.push(Object { id, ops: Vec::new(), judged: 0 });
                objects.all.len() - 1
            });
            objects.all[place].ops.push(position);
            objects.all[place].judged += usize::from(is_judged);
        }
        objects.all.retain(|object| object.judged > 0);
        objects.all.sort_by_key(|object| (std::cmp::Reverse(object.ops.len()), object.id));
        objects
    }
}

/// The ops on one register: an object of the register workload, or one field of a record.
pub(super) fn register_ops(history: &History, object: &Object, field: u32) -> RegisterOps {
    let mut ops = RegisterOps::with_capacity(object.judged);
    for &position in &object.ops {
        ops.add(position, &history.ops[position as usize], field);
    }
    ops
}

/// The ops on each field of a record, in one pass.
pub(super) fn field_ops(history: &History, object: &Object, fields: u32) -> Vec<RegisterOps> {
    let mut all: Vec<RegisterOps> = (0..fields).map(|_| RegisterOps::with_capacity(object.judged)).collect();
    for &position in &object.ops {
        let op = &history.ops[position as usize];
        for (field, ops) in (0..).zip(&mut all) {
            ops.add(position, op, field);
        }
    }
    all
}

impl RegisterOps {
    fn with_capacity(capacity: usize) -> Self {
        Self { ops: Vec::with_capacity(capacity), hostile: FxHashSet::default() }
    }

    /// Adds what an op did to a field.
    fn add(&mut self, position: u32, op: &Op, field: u32) {
        if op.is_hostile {
            self.hostile.extend(written(&op.call, field));
            return;
        }
        let (read, write) = actions(op, field);
        let invoked = op.invoked.saturating_add(1);
        let known = match &op.outcome {
            Outcome::Ok(answer) if fits(&op.call, answer) => {
                op.returned.map(|returned| returned.saturating_add(1).min(NEVER - 1))
            }
            // An answer that no call of this kind can have says that the op ended, not what it did.
            Outcome::Ok(_) | Outcome::Info(_) => None,
            Outcome::Fail(_) => return,
        };
        // What was read is known only if the op returned.
        if let (Some(action), Some(returned)) = (read, known) {
            self.ops.push(RegisterOp { position, action, invoked, returned });
        }
        if let Some(action) = write {
            self.ops.push(RegisterOp { position, action, invoked, returned: known.unwrap_or(NEVER) });
        }
    }
}

/// The value that a call would write to a register or a field.
pub(super) fn written(call: &Call, field: u32) -> Option<u64> {
    match call {
        Call::Write { value, .. } | Call::Insert { value, .. } | Call::Cas { to: value, .. } => Some(*value),
        Call::Update { field: written, value, .. } | Call::ReadModifyWrite { field: written, value, .. } => {
            (*written == field).then_some(*value)
        }
        Call::Read { .. } | Call::ReadRecord { .. } | Call::Scan { .. } | Call::Txn(_) => None,
    }
}

/// What an op read of a field, and what it wrote there.
fn actions(op: &Op, field: u32) -> (Option<Action>, Option<Action>) {
    let fields = || match &op.outcome {
        // A field that is not there was never written, just as all of a record that is not there.
        Outcome::Ok(Answer::Fields(fields)) => {
            let value = fields.as_ref().and_then(|fields| fields.get(field as usize).copied());
            Some(Action::Read(value.filter(|value| *value != FIELD_NEVER_WRITTEN)))
        }
        Outcome::Ok(_) | Outcome::Fail(_) | Outcome::Info(_) => None,
    };
    match (&op.call, &op.outcome) {
        (Call::Read { .. }, Outcome::Ok(Answer::Value(value))) => (Some(Action::Read(*value)), None),
        (Call::Write { value, .. } | Call::Insert { value, .. }, _) => (None, Some(Action::Write(*value))),
        (Call::Cas { from, .. }, Outcome::Ok(Answer::Swapped(false))) => (Some(Action::Refused(*from)), None),
        (Call::Cas { from, to, .. }, _) => (None, Some(Action::Cas { from: *from, to: *to })),
        (Call::Update { field: written, value, .. }, _) => {
            (None, (*written == field).then_some(Action::Write(*value)))
        }
        (Call::ReadRecord { .. }, _) => (fields(), None),
        (Call::ReadModifyWrite { field: written, value, .. }, _) => {
            (fields(), (*written == field).then_some(Action::Write(*value)))
        }
        (Call::Read { .. } | Call::Scan { .. } | Call::Txn(_), _) => (None, None),
    }
}

/// Whether a call can have such an answer.
fn fits(call: &Call, answer: &Answer) -> bool {
    matches!(
        (call, answer),
        (Call::Read { .. }, Answer::Value(_))
            | (Call::Write { .. } | Call::Insert { .. } | Call::Update { .. }, Answer::Done)
            | (Call::Cas { .. }, Answer::Swapped(_))
            | (Call::ReadRecord { .. } | Call::ReadModifyWrite { .. }, Answer::Fields(_))
    )
}
