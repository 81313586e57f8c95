//! Registers to which no value is written twice: linearizability without a search.
//!
//! The write of a value and its reads form a *cluster*; between them no other value can have been there. Let `f` be the
//! least return in the cluster and `s` the greatest invocation. Cluster A must come before cluster B if and only if an
//! op of A returned before an op of B was invoked: `f(A) < s(B)`. The relation is a threshold, so a cycle has a cycle
//! of two in it, and the register is linearizable if and only if
//!
//! 0. every value read was written, and no read returned before its write was invoked;
//! 1. no two clusters with `f < s` (*forward zones*: the value was surely there from `f` to `s`) overlap;
//! 2. no cluster with `s ≤ f` (*backward zone*) lies inside a forward zone.
//!
//! The initial value is a write before everything. A write of unknown outcome takes part if its value was read (and
//! returns never), else it had better not have happened. See Gibbons and Korach 1997; Golab, Li and Shah 2011.
//!
//! A cas from `a` to `b` reads `a`, writes `b`, and nothing is between: the clusters of `a` and `b` follow one another.
//! Two cas from one value, or a circle of them, cannot be. Along a chain no later cluster may have to come before an
//! earlier one; then the chain is one *block*, with its least `f` and greatest `s`, and the test is on blocks.
//! A cas of unknown outcome takes part if its target was read, or replaced by a cas that takes part.
//!
//! A cas that was *refused* says that the register did not hold a value: see [`super::refused`].
//!
//! Everything is `O(n log n)`.

use super::refused;
use super::register::{NEVER, Numbered, RegisterOp, Step, ValueId};
use super::wgl::Span;

/// Why a register is not linearizable, in at most four ops (of a circle: in all of its cas). Ops are positions in the
/// register's ops; where one is `None` it is the initial value, there before everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// What it read was never written.
    NeverWritten { reader: u32 },
    /// It returned before its value's write was invoked.
    ReadBeforeWrite { reader: u32, writer: u32 },
    /// Two cas replaced one value that was written once.
    ReplacedTwice { first: u32, second: u32 },
    /// Each of these cas needs the value that another one of them wrote.
    Circle { ops: Vec<u32> },
    /// Block A must come before block B, and B before A.
    Order { a: Pair, b: Pair },
    /// A chain of cas made the value of `late` before that of `early`, but `early` returned before `late` was invoked.
    Chain { early: u32, late: u32 },
    /// A cas was refused while the register held its value: since `since` returned, until `until` was invoked.
    Held { refused: u32, since: u32, until: Option<u32> },
}

/// Two ops of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// The one that returned first.
    pub returned: Option<u32>,
    /// Of a block: the one that was invoked last. Of a violation: the first that was invoked too late.
    pub invoked: Option<u32>,
}

/// Clusters that cas have tied together; one cluster, if none has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// The value it begins with.
    pub root: ValueId,
    /// Who wrote that value; `None` for the initial value.
    pub writer: Option<u32>,
    /// When the write of that value was invoked.
    pub root_invoked: u64,
    /// `f`.
    pub first_return: u64,
    /// `s`.
    pub last_invoke: u64,
    pub pair: Pair,
    /// The last value of the chain.
    last: ValueId,
}

/// What is known of a register that the zones explain.
pub(super) struct Zones {
    /// By `first_return`. A block's place is its rank.
    pub blocks: Vec<Block>,
    /// The rank of each value's block; `NONE` if its write takes no part.
    ranks: Vec<u32>,
    pub clusters: Clusters,
}

pub(super) const NONE: u32 = u32::MAX;

/// The clusters, by value.
pub(super) struct Clusters {
    /// `f`.
    pub first_return: Vec<u64>,
    pub first_return_op: Vec<u32>,
    /// `s`.
    pub last_invoke: Vec<u64>,
    last_invoke_op: Vec<u32>,
    /// Who wrote the value, even if it takes no part.
    writer: Vec<u32>,
    /// The cas that replaced the value.
    pub replaced_by: Vec<u32>,
    /// Whether an op takes part.
    is_effective: Vec<bool>,
}

/// Judges a register's ops but for those that were refused a cas, which are checked as far as zones can tell.
///
/// # Panics
/// If a value is written twice.
pub(super) fn judge(ops: &[RegisterOp], numbered: &Numbered) -> Result<Zones, Violation> {
    assert!(numbered.is_unique, "zones are for values written once");
    let clusters = Clusters::new(ops, numbered)?;
    let (mut blocks, block_of) = clusters.blocks(ops, numbered)?;
    let mut order: Vec<u32> = (0..blocks.len() as u32).collect();
    order.sort_unstable_by_key(|block| blocks[*block as usize].first_return);
    let mut rank_of_block = vec![NONE; blocks.len()];
    for (rank, block) in order.iter().enumerate() {
        rank_of_block[*block as usize] = rank as u32;
    }
    let ranks = block_of
        .iter()
        .map(|block| if *block == NONE { NONE } else { rank_of_block[*block as usize] })
        .collect();
    blocks = order.iter().map(|block| blocks[*block as usize]).collect();
    let zones = Zones { blocks, ranks, clusters };
    if let Err((a, b)) = check_order(&zones.blocks) {
        return Err(zones.order(a, b, ops, numbered));
    }
    if numbered.has_refused {
        refused::check(&zones, ops, numbered)?;
    }
    Ok(zones)
}

impl Clusters {
    fn new(ops: &[RegisterOp], numbered: &Numbered) -> Result<Self, Violation> {
        let values = numbered.values.len();
        let mut writer = vec![NONE; values];
        for (op, step) in (0..).zip(&numbered.steps) {
            if let Some(value) = step.makes() {
                writer[value as usize] = op;
            }
        }
        let is_effective = effective(ops, numbered, &writer);
        let mut clusters = Self {
            first_return: vec![NEVER; values],
            first_return_op: vec![NONE; values],
            last_invoke: vec![0; values],
            last_invoke_op: vec![NONE; values],
            writer,
            replaced_by: vec![NONE; values],
            is_effective,
        };
        // The initial value was there before everything.
        clusters.first_return[0] = 0;
        for (at, step) in numbered.steps.iter().enumerate() {
            if clusters.is_effective[at] {
                clusters.add(at as u32, *step, ops)?;
            }
        }
        Ok(clusters)
    }

    fn add(&mut self, at: u32, step: Step, ops: &[RegisterOp]) -> Result<(), Violation> {
        let op = &ops[at as usize];
        if let Some(value) = step.needs() {
            let writer = self.writer[value as usize];
            if value != 0 {
                if writer == NONE {
                    return Err(Violation::NeverWritten { reader: at });
                }
                if op.returned < ops[writer as usize].invoked {
                    return Err(Violation::ReadBeforeWrite { reader: at, writer });
                }
            }
            self.include(at, op, value);
            if step.makes().is_some() {
                let before = std::mem::replace(&mut self.replaced_by[value as usize], at);
                if before != NONE {
                    return Err(Violation::ReplacedTwice { first: before, second: at });
                }
            }
        }
        if let Some(value) = step.makes() {
            self.include(at, op, value);
        }
        Ok(())
    }

    fn include(&mut self, at: u32, op: &RegisterOp, value: ValueId) {
        let value = value as usize;
        if op.returned < self.first_return[value] {
            (self.first_return[value], self.first_return_op[value]) = (op.returned, at);
        }
        if op.invoked > self.last_invoke[value] {
            (self.last_invoke[value], self.last_invoke_op[value]) = (op.invoked, at);
        }
    }

    /// Ties clusters to blocks: the blocks, and which block each value is in.
    fn blocks(&self, ops: &[RegisterOp], numbered: &Numbered) -> Result<(Vec<Block>, Vec<u32>), Violation> {
        let mut blocks = Vec::new();
        let mut block_of = vec![NONE; numbered.values.len()];
        for root in 0..numbered.values.len() as ValueId {
            if self.is_root(root, numbered) {
                let block =
                    self.block(root, ops, numbered, |value| block_of[value as usize] = blocks.len() as u32)?;
                blocks.push(block);
            }
        }
        // A value that takes part and that no chain reaches is written by a circle of cas.
        let takes_part = |value: usize| {
            let writer = self.writer[value];
            writer != NONE && self.is_effective[writer as usize]
        };
        match (0..block_of.len()).find(|value| block_of[*value] == NONE && takes_part(*value)) {
            Some(value) => Err(self.circle(value, numbered)),
            None => Ok((blocks, block_of)),
        }
    }

    /// Whether the value takes part and was not written by a cas.
    fn is_root(&self, value: ValueId, numbered: &Numbered) -> bool {
        let writer = self.writer[value as usize];
        value == 0
            || writer != NONE
                && self.is_effective[writer as usize]
                && matches!(numbered.steps[writer as usize], Step::Write(_))
    }

    /// The block that begins with `root`.
    fn block(
        &self,
        root: ValueId,
        ops: &[RegisterOp],
        numbered: &Numbered,
        mut member: impl FnMut(ValueId),
    ) -> Result<Block, Violation> {
        let op = |op: u32| (op != NONE).then_some(op);
        let writer = op(self.writer[root as usize]);
        let mut block = Block {
            root,
            writer,
            root_invoked: writer.map_or(0, |writer| ops[writer as usize].invoked),
            first_return: NEVER,
            last_invoke: 0,
            pair: Pair { returned: None, invoked: None },
            last: root,
        };
        for value in self.chain(root, numbered) {
            block.last = value;
            member(value);
            let value = value as usize;
            if self.first_return[value] < block.last_invoke {
                let early = op(self.first_return_op[value]).expect("the initial value begins its chain");
                let mut is_earlier = vec![false; numbered.values.len()];
                for value in self.chain(root, numbered).take_while(|value| *value != block.last) {
                    is_earlier[value as usize] = true;
                }
                let after = self.first_return[value];
                let late = self.first_after(after, ops, numbered, |value| is_earlier[value as usize]);
                return Err(Violation::Chain { early, late: late.expect("something was invoked then") });
            }
            if self.first_return[value] < block.first_return {
                block.first_return = self.first_return[value];
                block.pair.returned = op(self.first_return_op[value]);
            }
            if self.last_invoke[value] > block.last_invoke {
                block.last_invoke = self.last_invoke[value];
                block.pair.invoked = op(self.last_invoke_op[value]);
            }
        }
        Ok(block)
    }

    /// A value and those that cas made of it, one after another.
    fn chain(&self, root: ValueId, numbered: &Numbered) -> impl Iterator<Item = ValueId> {
        std::iter::successors(Some(root), |value| {
            let cas = self.replaced_by[*value as usize];
            (cas != NONE).then(|| numbered.steps[cas as usize].makes().expect("a cas makes a value"))
        })
    }

    /// The first op that was invoked after a time, of those that take part and read or wrote certain values.
    pub(super) fn first_after(
        &self,
        after: u64,
        ops: &[RegisterOp],
        numbered: &Numbered,
        is_member: impl Fn(ValueId) -> bool,
    ) -> Option<u32> {
        let late = (0..ops.len()).filter(|op| {
            let step = numbered.steps[*op];
            self.is_effective[*op]
                && ops[*op].invoked > after
                && [step.needs(), step.makes()].into_iter().flatten().any(&is_member)
        });
        late.min_by_key(|op| ops[*op].invoked).map(|op| op as u32)
    }

    fn circle(&self, value: usize, numbered: &Numbered) -> Violation {
        // Backwards from any value of it: there is no beginning, so a value comes again.
        let mut ops = Vec::new();
        let mut at = value;
        loop {
            let writer = self.writer[at];
            if let Some(start) = ops.iter().position(|op| *op == writer) {
                return Violation::Circle { ops: ops.split_off(start) };
            }
            ops.push(writer);
            at = numbered.steps[writer as usize].needs().expect("a cas needs a value") as usize;
        }
    }
}

/// Which ops take part: those of known outcome, and those whose value was seen by one that takes part.
fn effective(ops: &[RegisterOp], numbered: &Numbered, writer: &[u32]) -> Vec<bool> {
    let mut is_effective: Vec<bool> = ops.iter().map(RegisterOp::is_known).collect();
    let mut todo: Vec<u32> = (0..ops.len() as u32).filter(|op| is_effective[*op as usize]).collect();
    if todo.len() == ops.len() {
        return is_effective;
    }
    while let Some(op) = todo.pop() {
        let Some(value) = numbered.steps[op as usize].needs() else { continue };
        let writer = writer[value as usize];
        if writer != NONE && !std::mem::replace(&mut is_effective[writer as usize], true) {
            todo.push(writer);
        }
    }
    is_effective
}

/// The zone test on blocks, which are sorted by `f`: fails with the ranks of two that each must come before the other.
fn check_order(blocks: &[Block]) -> Result<(), (usize, usize)> {
    let is_forward = |rank: &usize| blocks[*rank].first_return < blocks[*rank].last_invoke;
    let forward: Vec<usize> = (0..blocks.len()).filter(is_forward).collect();
    if let Some(pair) =
        forward.windows(2).find(|pair| blocks[pair[1]].first_return < blocks[pair[0]].last_invoke)
    {
        return Err((pair[0], pair[1]));
    }
    for rank in (0..blocks.len()).filter(|rank| !is_forward(rank)) {
        let block = &blocks[rank];
        // Forward zones are apart, so only the last that begins before this one can reach beyond it.
        let begun = forward.partition_point(|zone| blocks[*zone].first_return < block.last_invoke);
        if let Some(zone) =
            forward[..begun].last().filter(|zone| block.first_return < blocks[**zone].last_invoke)
        {
            return Err((*zone, rank));
        }
    }
    Ok(())
}

impl Zones {
    /// Why two blocks exclude each other, by the ops that showed it first.
    fn order(&self, a: usize, b: usize, ops: &[RegisterOp], numbered: &Numbered) -> Violation {
        let pair = |of: usize, other: usize| {
            let is_member = |value: ValueId| self.ranks[value as usize] == of as u32;
            let after = self.blocks[other].first_return;
            let invoked = self.clusters.first_after(after, ops, numbered, is_member);
            Pair { returned: self.blocks[of].pair.returned, invoked }
        };
        Violation::Order { a: pair(a, b), b: pair(b, a) }
    }

    /// The rank of the block that the value is in, if its write takes part.
    pub(super) fn rank_of(&self, value: ValueId) -> Option<usize> {
        let rank = self.ranks[value as usize];
        (rank != NONE).then_some(rank as usize)
    }

    /// Whether a block begins with the value.
    pub(super) fn is_root(&self, value: ValueId) -> bool {
        self.rank_of(value).is_some_and(|rank| self.blocks[rank].root == value)
    }

    /// Whether an op takes part: its outcome is known, or its effect was seen.
    pub(super) fn is_effective(&self, op: usize) -> bool {
        self.clusters.is_effective[op]
    }

    /// Ops of unknown outcome that were seen to take effect did so before those that saw it returned.
    pub(super) fn tighten(&self, ops: &[RegisterOp], numbered: &Numbered, spans: &mut [Span]) {
        for (at, span) in spans.iter_mut().enumerate() {
            let made = numbered.steps[at].makes();
            if let Some(value) = made.filter(|_| span.returned.is_none() && self.is_effective(at)) {
                span.returned = Some(self.seen_by(value, ops, numbered));
            }
        }
    }

    /// By when a value or one that a chain made of it was read.
    fn seen_by(&self, value: ValueId, ops: &[RegisterOp], numbered: &Numbered) -> u64 {
        let mut value = value as usize;
        loop {
            let seen = self.clusters.first_return[value];
            if seen != NEVER {
                return seen;
            }
            // Only a cas of unknown outcome has seen it, and that one's value was seen.
            let cas = self.clusters.replaced_by[value] as usize;
            debug_assert!(!ops[cas].is_known());
            value = numbered.steps[cas].makes().expect("a cas makes a value") as usize;
        }
    }
}
