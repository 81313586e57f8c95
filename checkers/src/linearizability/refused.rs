//! Cas that were refused: they say that a register did not hold a value, which zones alone do not decide.
//!
//! A refused cas contradicts the zones ([`super::zones`]) for certain if it ran while its value was surely there: after
//! `f`, and before `s` as well as before the invocation of every write that can have come next. Each refused cas that does
//! not may still exclude another, so then a search must tell. It goes only through orders that the zones allow: every
//! one of them explains all other ops, so nothing but a refused cas ever makes it go back.

use super::register::{NEVER, Numbered, Register, RegisterOp, Step, ValueId, spans};
use super::wgl::{self, Found, Limits, Model, State};
use super::zones::{NONE, Violation, Zones};

/// Finds a refused cas that ran while its value was surely there.
pub(super) fn check(zones: &Zones, ops: &[RegisterOp], numbered: &Numbered) -> Result<(), Violation> {
    let next = NextWrites::new(zones, ops, numbered);
    for (at, step) in (0..).zip(&numbered.steps) {
        let Step::Refused(value) = *step else { continue };
        let Some(rank) = zones.rank_of(value) else { continue };
        let op = &ops[at as usize];
        let value = value as usize;
        let is_after = zones.clusters.first_return[value] < op.invoked;
        let replaced_from = if zones.clusters.replaced_by[value] == NONE {
            zones.clusters.last_invoke[value].max(next.invoked_after(zones, rank, value as ValueId))
        } else {
            zones.clusters.last_invoke[value]
        };
        if is_after && op.returned < replaced_from {
            let until =
                zones.clusters.first_after(op.returned, ops, numbered, |other| other as usize == value);
            let since = zones.clusters.first_return_op[value];
            return Err(Violation::Held { refused: at, since, until });
        }
    }
    Ok(())
}

/// Searches among the orders that zones allow.
pub(super) fn guided(ops: &[RegisterOp], numbered: &Numbered, zones: &Zones, limits: &Limits) -> Found {
    let mut spans = spans(ops);
    zones.tighten(ops, numbered, &mut spans);
    wgl::search(&mut Guided::new(numbered, zones), &spans, limits)
}

/// When a block can first have been followed by another write.
struct NextWrites {
    /// For each rank: the two least invocations, with their ranks, of the blocks from there on.
    least: Vec<[(u64, u32); 2]>,
    /// The least invocation of a write that takes no part, or of a hostile one: it may have happened at any time since.
    unseen: u64,
    /// For each value, the least invocation of a cas from it that takes no part.
    unseen_cas: Vec<u64>,
}

impl NextWrites {
    fn new(zones: &Zones, ops: &[RegisterOp], numbered: &Numbered) -> Self {
        let mut least = vec![[(NEVER, NONE); 2]; zones.blocks.len() + 1];
        for (rank, block) in zones.blocks.iter().enumerate().rev() {
            let mut three = [(block.root_invoked, rank as u32), least[rank + 1][0], least[rank + 1][1]];
            three.sort_unstable();
            least[rank] = [three[0], three[1]];
        }
        // Hostile processes may have written at any time.
        let mut unseen = if numbered.hostile.is_some() { 0 } else { NEVER };
        let mut unseen_cas = vec![NEVER; numbered.values.len()];
        for (at, step) in numbered.steps.iter().enumerate().filter(|(at, _)| !zones.is_effective(*at)) {
            match *step {
                Step::Write(_) => unseen = unseen.min(ops[at].invoked),
                Step::Cas { from, .. } => {
                    let least = &mut unseen_cas[from as usize];
                    *least = (*least).min(ops[at].invoked);
                }
                Step::Read(_) | Step::Refused(_) => {}
            }
        }
        Self { least, unseen, unseen_cas }
    }

    /// The least invocation of a write that may follow the block of this rank, whose last value is `value`.
    fn invoked_after(&self, zones: &Zones, rank: usize, value: ValueId) -> u64 {
        // A block whose `f` is less than this one's `s` came before it.
        let last_invoke = zones.blocks[rank].last_invoke;
        let from = zones.blocks.partition_point(|block| block.first_return < last_invoke);
        let [first, second] = self.least[from];
        let seen = if first.1 == rank as u32 { second.0 } else { first.0 };
        seen.min(self.unseen).min(self.unseen_cas[value as usize])
    }
}

/// A register of unique values whose zones are known to fit: goes only where an order of blocks can succeed, so that
/// refused cas alone can make it go back.
struct Guided<'a> {
    register: Register<'a>,
    steps: &'a [Step],
    zones: &'a Zones,
    /// How many ops that need a value are not taken.
    needed: Vec<u32>,
    /// Which blocks are taken, by their rank.
    is_taken: Vec<bool>,
    /// The first block, by least response, that is not taken.
    first_left: usize,
}

impl<'a> Guided<'a> {
    fn new(numbered: &'a Numbered, zones: &'a Zones) -> Self {
        let mut needed = vec![0; numbered.values.len()];
        for (op, step) in numbered.steps.iter().enumerate() {
            if let Some(value) = step.needs().filter(|_| zones.is_effective(op)) {
                needed[value as usize] += 1;
            }
        }
        let register = Register::new(numbered);
        let (steps, is_taken) = (&numbered.steps[..], vec![false; zones.blocks.len()]);
        let mut guided = Self { register, steps, zones, needed, is_taken, first_left: 0 };
        // The block of the initial value is there from the start.
        if let Some(rank) = zones.rank_of(0) {
            guided.block_taken(rank);
        }
        guided
    }

    fn block_taken(&mut self, rank: usize) {
        self.is_taken[rank] = true;
        while self.is_taken.get(self.first_left) == Some(&true) {
            self.first_left += 1;
        }
    }

    /// Whether a block that must come before this one is left.
    fn is_early(&self, rank: usize) -> bool {
        // The first block left has the least response of all that are left.
        let first = if self.first_left == rank { self.next_left(rank) } else { Some(self.first_left) };
        first.is_some_and(|first| self.zones.blocks[first].first_return < self.zones.blocks[rank].last_invoke)
    }

    fn next_left(&self, rank: usize) -> Option<usize> {
        (rank + 1..self.is_taken.len()).find(|rank| !self.is_taken[*rank])
    }
}

impl Model for Guided<'_> {
    fn initial(&self) -> State {
        self.register.initial()
    }

    fn step(&mut self, state: State, op: usize) -> Option<State> {
        let after = self.register.step(state, op)?;
        if after == state {
            return Some(after);
        }
        // The value goes for good: nothing may need it but this very op.
        let is_needed_here = self.steps[op].needs().is_some() && self.zones.is_effective(op);
        if self.needed[state.0 as usize] > u32::from(is_needed_here) {
            return None;
        }
        match self.zones.rank_of(after.0) {
            Some(rank) if self.zones.is_root(after.0) && self.is_early(rank) => None,
            _ => Some(after),
        }
    }

    fn is_read_only(&self, op: usize) -> bool {
        self.register.is_read_only(op)
    }

    fn effect(&self, op: usize) -> u64 {
        self.register.effect(op)
    }

    fn taken(&mut self, op: usize) {
        let step = self.steps[op];
        if let Some(value) = step.needs().filter(|_| self.zones.is_effective(op)) {
            self.needed[value as usize] -= 1;
        }
        let root = step.makes().filter(|value| self.zones.is_root(*value));
        if let Some(rank) = root.and_then(|value| self.zones.rank_of(value)) {
            self.block_taken(rank);
        }
    }

    fn untaken(&mut self, op: usize) {
        let step = self.steps[op];
        if let Some(value) = step.needs().filter(|_| self.zones.is_effective(op)) {
            self.needed[value as usize] += 1;
        }
        let root = step.makes().filter(|value| self.zones.is_root(*value));
        if let Some(rank) = root.and_then(|value| self.zones.rank_of(value)) {
            self.is_taken[rank] = false;
            self.first_left = self.first_left.min(rank);
        }
    }
}
