//! Whether a record was read at one instant.
//!
//! Each field of a record is a register of its own, judged by itself. A read of the whole record sees all of them at
//! one point in time, which is more than that each field is linearizable. Where values are unique, the zones of a field
//! ([`super::zones`]) bound when a value was there: from the invocation of its write and of every op on a value
//! that came before, to the return of every op on a value that came after. A read must find an instant between its own
//! invocation and return at which all the values that it saw can have been there.
//!
//! This is a necessary condition, sound and cheap. It finds a read that mixes an old value of one field with
//! a value of another that was written after the first was overwritten; it does not find every way in which
//! records can fail to be atomic.

use super::objects::{Object, register_ops};
use super::register::{self, Action, Judgement, Numbered, RegisterOp};
use super::wgl::Limits;
use super::zones::Zones;
use crate::history::History;
use rustc_hash::FxHashMap;

/// A read that saw values of different times: positions in the history's ops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Torn {
    pub read: u32,
    /// The bound that comes too late: the value of this field cannot have been there before `since` was invoked.
    pub new: Bound,
    /// The bound that comes too early: the value of this field cannot have been there after `until` returned.
    pub old: Bound,
}

/// A bound on when a value was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub field: u32,
    pub value: Option<u64>,
    time: u64,
    /// The op that sets it; `None`: the read itself.
    pub op: Option<u32>,
}

/// What became of a record.
pub(super) enum RecordJudgement {
    /// The judgement of the first field that is not linearizable, or else of one that could not be decided, or else
    /// that of any.
    Field(u32, Judgement),
    /// Each field is linearizable by itself, but a read is torn.
    Torn(Torn),
}

/// Judges each field of a record, then its reads as a whole.
pub(super) fn judge(history: &History, object: &Object, fields: u32, limits: &Limits) -> RecordJudgement {
    let mut reads: FxHashMap<u32, (Bound, Bound)> = FxHashMap::default();
    let mut undecided = None;
    for field in 0..fields {
        let ops = register_ops(history, object, field);
        let numbered = Numbered::new(&ops);
        match register::judge_numbered(&ops, &numbered, limits) {
            (Judgement::Linearizable, Some(zones)) => bound(&mut reads, field, &ops, &numbered, &zones),
            // A value was written twice: nothing bounds when it was there.
            (Judgement::Linearizable, None) => {}
            (judgement @ Judgement::Exhausted { .. }, _) => undecided = Some((field, judgement)),
            (judgement @ (Judgement::Violation(_) | Judgement::Stuck(_)), _) => {
                return RecordJudgement::Field(field, judgement);
            }
        }
    }
    let torn = reads.into_iter().filter(|(_, (since, until))| since.time > until.time);
    match torn.min_by_key(|(read, _)| *read) {
        Some((read, (new, old))) => RecordJudgement::Torn(Torn { read, new, old }),
        None => {
            let (field, judgement) = undecided.unwrap_or((0, Judgement::Linearizable));
            RecordJudgement::Field(field, judgement)
        }
    }
}

/// Narrows the bounds of each read by what it saw of one field.
fn bound(
    reads: &mut FxHashMap<u32, (Bound, Bound)>,
    field: u32,
    ops: &[RegisterOp],
    numbered: &Numbered,
    zones: &Zones,
) {
    let presence = Presence::new(zones);
    for (op, step) in ops.iter().zip(&numbered.steps) {
        let (Action::Read(value), Some(rank)) = (op.action, step.needs().and_then(|id| zones.rank_of(id)))
        else {
            continue;
        };
        let position = |op: u32| ops[op as usize].position;
        let bound = |time, op: Option<u32>| Bound { field, value, time, op: op.map(position) };
        let own = (bound(op.invoked, None), bound(op.returned, None));
        let (since, until) = reads.entry(op.position).or_insert(own);
        let (new, old) = (presence.since(zones, rank), presence.until(zones, rank));
        if new.0 > since.time {
            *since = bound(new.0, new.1);
        }
        if old.0 < until.time {
            *until = bound(old.0, old.1);
        }
    }
}

/// When a block of a register can have been there.
struct Presence {
    /// For each rank: the two greatest `s` of the blocks before it, with their ranks.
    greatest_before: Vec<[(u64, usize); 2]>,
    /// Ranks by `s`.
    by_last_invoke: Vec<usize>,
    /// For each place in `by_last_invoke`: the two least `f` from there on, with their ranks.
    least_from: Vec<[(u64, usize); 2]>,
}

/// A time and the op that sets it.
type Limit = (u64, Option<u32>);

impl Presence {
    fn new(zones: &Zones) -> Self {
        let blocks = &zones.blocks;
        let mut greatest_before = vec![[(0, usize::MAX); 2]; blocks.len() + 1];
        for (rank, block) in blocks.iter().enumerate() {
            let [first, second] = greatest_before[rank];
            let mut three = [first, second, (block.last_invoke, rank)];
            three.sort_unstable_by(|a, b| b.cmp(a));
            greatest_before[rank + 1] = [three[0], three[1]];
        }
        let mut by_last_invoke: Vec<usize> = (0..blocks.len()).collect();
        by_last_invoke.sort_unstable_by_key(|rank| blocks[*rank].last_invoke);
        let mut least_from = vec![[(u64::MAX, usize::MAX); 2]; blocks.len() + 1];
        for (place, rank) in by_last_invoke.iter().enumerate().rev() {
            let [first, second] = least_from[place + 1];
            let mut three = [first, second, (blocks[*rank].first_return, *rank)];
            three.sort_unstable();
            least_from[place] = [three[0], three[1]];
        }
        Self { greatest_before, by_last_invoke, least_from }
    }

    /// The block of this rank was not there before: its write, or an op on a block that came before it, was invoked then.
    fn since(&self, zones: &Zones, rank: usize) -> Limit {
        let block = &zones.blocks[rank];
        let before = zones.blocks.partition_point(|other| other.first_return < block.last_invoke);
        let [first, second] = self.greatest_before[before];
        let (time, of) = if first.1 == rank { second } else { first };
        if time > block.root_invoked {
            return (time, zones.blocks[of].pair.invoked);
        }
        (block.root_invoked, block.writer)
    }

    /// The block of this rank was not there afterwards: an op on a block that came after it returned then.
    fn until(&self, zones: &Zones, rank: usize) -> Limit {
        let blocks = &zones.blocks;
        let after = self
            .by_last_invoke
            .partition_point(|other| blocks[*other].last_invoke <= blocks[rank].first_return);
        let [first, second] = self.least_from[after];
        let (time, of) = if first.1 == rank { second } else { first };
        (time, blocks.get(of).and_then(|block| block.pair.returned))
    }
}
