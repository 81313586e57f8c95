//! One register: what was done to it, and its judgement.

use super::wgl::{self, Found, Limits, Model, Span, State, Stuck};
use super::zones::{self, Violation, Zones};
use rustc_hash::FxHashMap;
use std::time::{Duration, Instant};

/// An op on a register. Times are the history's plus one, so that zero is before everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct RegisterOp {
    /// Among the history's ops.
    pub position: u32,
    pub action: Action,
    pub invoked: u64,
    /// [`NEVER`] if the outcome is unknown.
    pub returned: u64,
}

/// What a search that only improves a story may use up.
const UNGUIDED_SEARCH: Duration = Duration::from_secs(1);

/// The return of an op of unknown outcome.
pub(super) const NEVER: u64 = u64::MAX;

/// What an op did to a register. Reads of unknown outcome say nothing and are left out beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// `None`: it was never written.
    Read(Option<u64>),
    Write(u64),
    /// The register held `from`, and holds `to` now.
    Cas {
        from: u64,
        to: u64,
    },
    /// A cas that found the register not to hold this.
    Refused(u64),
}

impl RegisterOp {
    pub(super) fn is_known(&self) -> bool {
        self.returned != NEVER
    }
}

/// A value's number: the initial value is 0, the others follow by first mention.
pub(super) type ValueId = u32;

/// An action in terms of values' numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Read(ValueId),
    Write(ValueId),
    Cas { from: ValueId, to: ValueId },
    Refused(ValueId),
}

impl Step {
    /// The value that the register must hold for this.
    pub(super) fn needs(self) -> Option<ValueId> {
        match self {
            Step::Read(value) | Step::Cas { from: value, .. } => Some(value),
            Step::Write(_) | Step::Refused(_) => None,
        }
    }

    /// The value that the register holds afterwards, if this changes it.
    pub(super) fn makes(self) -> Option<ValueId> {
        match self {
            Step::Write(value) | Step::Cas { to: value, .. } => Some(value),
            Step::Read(_) | Step::Refused(_) => None,
        }
    }
}

/// The ops of a register with their values numbered.
pub(super) struct Numbered {
    pub steps: Vec<Step>,
    /// The values by number.
    pub values: Vec<Option<u64>>,
    /// Whether no value is written twice, by whatever op.
    pub is_unique: bool,
    /// Whether there is a cas that was refused.
    pub has_refused: bool,
}

impl Numbered {
    pub(super) fn new(ops: &[RegisterOp]) -> Self {
        let mut numbers: FxHashMap<u64, ValueId> = FxHashMap::default();
        let mut values = vec![None];
        let mut number = |value: u64| {
            *numbers.entry(value).or_insert_with(|| {
                values.push(Some(value));
                values.len() as ValueId - 1
            })
        };
        let mut has_refused = false;
        let mut steps = Vec::with_capacity(ops.len());
        for op in ops {
            steps.push(match op.action {
                Action::Read(value) => Step::Read(value.map_or(0, &mut number)),
                Action::Write(value) => Step::Write(number(value)),
                Action::Cas { from, to } => Step::Cas { from: number(from), to: number(to) },
                Action::Refused(from) => {
                    has_refused = true;
                    Step::Refused(number(from))
                }
            });
        }
        let mut is_written = vec![false; values.len()];
        let is_unique = steps.iter().filter_map(|step| step.makes()).all(|value| {
            let was_written = std::mem::replace(&mut is_written[value as usize], true);
            !was_written
        });
        // A cas that puts back what it found writes a value twice too.
        let is_unique =
            is_unique && !steps.iter().any(|step| matches!(step, Step::Cas { from, to } if from == to));
        Self { steps, values, is_unique, has_refused }
    }
}

/// What became of a register.
pub(super) enum Judgement {
    Linearizable,
    /// Not linearizable; ops are positions in the register's ops.
    Violation(Violation),
    /// Not linearizable: no order goes further than this.
    Stuck(Stuck),
    /// It could not be decided.
    Exhausted {
        reason: &'static str,
        explained: usize,
        of: usize,
    },
}

/// Judges a register: by zones if no value was written twice, by search where zones do not decide.
pub(super) fn judge(ops: &[RegisterOp], limits: &Limits) -> Judgement {
    judge_numbered(ops, &Numbered::new(ops), limits).0
}

/// The same, with the zones if they fit.
pub(super) fn judge_numbered(
    ops: &[RegisterOp],
    numbered: &Numbered,
    limits: &Limits,
) -> (Judgement, Option<Zones>) {
    if !numbered.is_unique {
        let mut model = Register::new(&numbered.steps);
        return (judgement(wgl::search(&mut model, &spans(ops), limits)), None);
    }
    let zones = match zones::judge(ops, numbered) {
        Ok(zones) => zones,
        Err(violation) => return (Judgement::Violation(violation), None),
    };
    if !numbered.has_refused {
        return (Judgement::Linearizable, Some(zones));
    }
    let found = guided(ops, numbered, &zones, limits);
    if let Found::None(stuck) = found {
        return (Judgement::Stuck(unguided(ops, numbered, limits).unwrap_or(stuck)), Some(zones));
    }
    (judgement(found), Some(zones))
}

/// Every order of blocks that zones allow explains all but the refused cas: searches among these only.
pub(super) fn guided(ops: &[RegisterOp], numbered: &Numbered, zones: &Zones, limits: &Limits) -> Found {
    let mut spans = spans(ops);
    zones.tighten(ops, numbered, &mut spans);
    wgl::search(&mut Guided::new(numbered, zones), &spans, limits)
}

/// Where orders get stuck if they are not kept from what cannot succeed in the end: a better story.
fn unguided(ops: &[RegisterOp], numbered: &Numbered, limits: &Limits) -> Option<Stuck> {
    let limits = Limits { deadline: limits.deadline.min(Instant::now() + UNGUIDED_SEARCH), ..*limits };
    match wgl::search(&mut Register::new(&numbered.steps), &spans(ops), &limits) {
        Found::None(stuck) => Some(stuck),
        Found::Order(_) | Found::Exhausted { .. } => None,
    }
}

fn judgement(found: Found) -> Judgement {
    match found {
        Found::Order(_) => Judgement::Linearizable,
        Found::None(stuck) => Judgement::Stuck(stuck),
        Found::Exhausted { reason, explained, of } => Judgement::Exhausted { reason, explained, of },
    }
}

/// When the ops ran, for a search.
pub(super) fn spans(ops: &[RegisterOp]) -> Vec<Span> {
    let span = |op: &RegisterOp| Span { invoked: op.invoked, returned: op.is_known().then_some(op.returned) };
    ops.iter().map(span).collect()
}

/// A register for the general search: a state is a value's number.
pub(super) struct Register<'a> {
    steps: &'a [Step],
    /// Which values it may hold at first, if that is not known.
    may_begin: Option<&'a [bool]>,
}

/// The state of a register of which nothing is known yet.
const ANYTHING: State = State(u32::MAX);

impl<'a> Register<'a> {
    /// A register that holds the initial value.
    pub(super) fn new(steps: &'a [Step]) -> Self {
        Self { steps, may_begin: None }
    }

    /// A register that holds one of some values (`may_begin`, by number): the one that is seen first.
    pub(super) fn found(steps: &'a [Step], may_begin: &'a [bool]) -> Self {
        Self { steps, may_begin: Some(may_begin) }
    }

    fn after(&self, state: State, op: usize) -> Option<State> {
        let step = self.steps[op];
        match (step, step.needs(), step.makes()) {
            (Step::Refused(value), ..) => (state != State(value)).then_some(state),
            (_, Some(value), made) => {
                let is_there = state == State(value)
                    || state == ANYTHING && self.may_begin.is_some_and(|begin| begin[value as usize]);
                is_there.then_some(State(made.unwrap_or(value)))
            }
            (_, None, made) => made.map(State),
        }
    }
}

impl Model for Register<'_> {
    fn initial(&self) -> State {
        if self.may_begin.is_some() { ANYTHING } else { State(0) }
    }

    fn step(&mut self, state: State, op: usize) -> Option<State> {
        self.after(state, op)
    }

    fn is_read_only(&self, op: usize) -> bool {
        self.steps[op].makes().is_none()
    }

    fn effect(&self, op: usize) -> u64 {
        let half = |value: Option<ValueId>| u64::from(value.map_or(0, |value| value + 1));
        half(self.steps[op].needs()) << 32 | half(self.steps[op].makes())
    }
}

/// A register of unique values whose zones are known to fit: goes only where an order of blocks can succeed, so that
/// refused cas alone can make it go back.
struct Guided<'a> {
    register: Register<'a>,
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
        let register = Register::new(&numbered.steps);
        let mut guided =
            Self { register, zones, needed, is_taken: vec![false; zones.blocks.len()], first_left: 0 };
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
        let after = self.register.after(state, op)?;
        if after == state {
            return Some(after);
        }
        // The value goes for good: nothing may need it but this very op.
        let is_needed_here = self.register.steps[op].needs().is_some() && self.zones.is_effective(op);
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
        let step = self.register.steps[op];
        if let Some(value) = step.needs().filter(|_| self.zones.is_effective(op)) {
            self.needed[value as usize] -= 1;
        }
        let root = step.makes().filter(|value| self.zones.is_root(*value));
        if let Some(rank) = root.and_then(|value| self.zones.rank_of(value)) {
            self.block_taken(rank);
        }
    }

    fn untaken(&mut self, op: usize) {
        let step = self.register.steps[op];
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
