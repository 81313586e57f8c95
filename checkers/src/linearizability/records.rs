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

use super::objects::{Object, field_ops};
use super::register::{self, Action, Judgement, Numbered, RegisterOp};
use super::wgl::Limits;
use super::zones::{Block, Zones};
use crate::history::History;

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
    let mut reads: Vec<Option<(Bound, Bound)>> = vec![None; object.ops.len()];
    let mut undecided = None;
    for (field, ops) in (0..).zip(field_ops(history, object, fields)) {
        let numbered = Numbered::new(&ops);
        match register::judge_numbered(&ops, &numbered, limits) {
            (Judgement::Linearizable, Some(zones)) => {
                bound(&mut reads, object, field, &ops, &numbered, &zones);
            }
            // A value was written twice: nothing bounds when it was there.
            (Judgement::Linearizable, None) => {}
            (judgement @ Judgement::Exhausted { .. }, _) => undecided = Some((field, judgement)),
            (judgement @ (Judgement::Violation(_) | Judgement::Stuck(_)), _) => {
                return RecordJudgement::Field(field, judgement);
            }
        }
    }
    let mut torn = object.ops.iter().zip(reads).filter_map(|(read, bounds)| {
        let (new, old) = bounds?;
        (new.time > old.time).then_some(Torn { read: *read, new, old })
    });
    match torn.next() {
        Some(torn) => RecordJudgement::Torn(torn),
        None => {
            let (field, judgement) = undecided.unwrap_or((0, Judgement::Linearizable));
            RecordJudgement::Field(field, judgement)
        }
    }
}

/// Narrows the bounds of each read, one for each op of the object, by what it saw of one field.
fn bound(
    reads: &mut [Option<(Bound, Bound)>],
    object: &Object,
    field: u32,
    ops: &[RegisterOp],
    numbered: &Numbered,
    zones: &Zones,
) {
    let presence = Presence::new(zones);
    let position = |op: u32| ops[op as usize].position;
    let mut at = 0;
    for (op, step) in ops.iter().zip(&numbered.steps) {
        // Both are by position.
        while object.ops[at] < op.position {
            at += 1;
        }
        let (Action::Read(value), Some(rank)) = (op.action, step.needs().and_then(|id| zones.rank_of(id)))
        else {
            continue;
        };
        let bound = |time, op: Option<u32>| Bound { field, value, time, op: op.map(position) };
        let (since, until) =
            reads[at].get_or_insert_with(|| (bound(op.invoked, None), bound(op.returned, None)));
        let (new, old) = (presence.since[rank], presence.until[rank]);
        if new.0 > since.time {
            *since = bound(new.0, new.1);
        }
        if old.0 < until.time {
            *until = bound(old.0, old.1);
        }
    }
}

/// When the blocks of a register can have been there, by rank.
struct Presence {
    /// Not before: the block's write, or an op on a block that came before it, was invoked then.
    since: Vec<Limit>,
    /// Not afterwards: an op on a block that came after it returned then.
    until: Vec<Limit>,
}

/// A time and the op that sets it.
type Limit = (u64, Option<u32>);

impl Presence {
    fn new(zones: &Zones) -> Self {
        Self { since: since(&zones.blocks), until: until(&zones.blocks) }
    }
}

/// Blocks are by `f`: those that came before a block are the first of them, up to its `s`.
fn since(blocks: &[Block]) -> Vec<Limit> {
    // The two greatest `s` of the blocks before each rank, since a block does not come before itself.
    let mut greatest = vec![[(0, usize::MAX); 2]; blocks.len() + 1];
    for (rank, block) in blocks.iter().enumerate() {
        let [first, second] = greatest[rank];
        let mut three = [first, second, (block.last_invoke, rank)];
        three.sort_unstable_by(|a, b| b.cmp(a));
        greatest[rank + 1] = [three[0], three[1]];
    }
    let limit = |(rank, block): (usize, &Block)| {
        let before = blocks.partition_point(|other| other.first_return < block.last_invoke);
        let [first, second] = greatest[before];
        let (time, of) = if first.1 == rank { second } else { first };
        if time > block.root_invoked {
            (time, blocks[of].pair.invoked)
        } else {
            (block.root_invoked, block.writer)
        }
    };
    blocks.iter().enumerate().map(limit).collect()
}

/// The same from the other end: by `s`, those that came after a block are the last of them, from its `f` on.
fn until(blocks: &[Block]) -> Vec<Limit> {
    let mut by_last_invoke: Vec<usize> = (0..blocks.len()).collect();
    by_last_invoke.sort_unstable_by_key(|rank| blocks[*rank].last_invoke);
    let mut least = vec![[(u64::MAX, usize::MAX); 2]; blocks.len() + 1];
    for (place, rank) in by_last_invoke.iter().enumerate().rev() {
        let [first, second] = least[place + 1];
        let mut three = [first, second, (blocks[*rank].first_return, *rank)];
        three.sort_unstable();
        least[place] = [three[0], three[1]];
    }
    let limit = |(rank, block): (usize, &Block)| {
        let after = by_last_invoke.partition_point(|other| blocks[*other].last_invoke <= block.first_return);
        let [first, second] = least[after];
        let (time, of) = if first.1 == rank { second } else { first };
        (time, blocks.get(of).and_then(|block| block.pair.returned))
    };
    blocks.iter().enumerate().map(limit).collect()
}
