//! One register: what was done to it, and its judgement.

use super::objects::RegisterOps;
use super::refused::guided;
use super::wgl::{self, Found, Limits, Model, Span, State, Stuck};
use super::zones::{self, Violation, Zones};
use rustc_hash::{FxHashMap, FxHashSet};
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
///
/// Where hostile processes may have written, whoever finds a value of theirs may have found it just written: it takes the
/// place of a write of a value that nobody else finds. Whatever order the others have is an order of all with a hostile write before
/// each such op, and the other way round.
pub(super) struct Numbered {
    pub steps: Vec<Step>,
    /// The values by number.
    pub values: Vec<Option<u64>>,
    /// Whether no value is written twice, by whatever op.
    pub is_unique: bool,
    /// Whether there is a cas that was refused.
    pub has_refused: bool,
    /// What the register holds where hostile processes have overwritten it and nobody has found that; `None` if there are none.
    pub hostile: Option<ValueId>,
}

impl Numbered {
    pub(super) fn new(ops: &[RegisterOp], hostile: &FxHashSet<u64>) -> Self {
        let mut numbers: FxHashMap<u64, ValueId> = FxHashMap::default();
        let mut values = vec![None];
        let mut number = |value: u64| {
            let mut fresh = || {
                values.push(Some(value));
                values.len() as ValueId - 1
            };
            if hostile.contains(&value) { fresh() } else { *numbers.entry(value).or_insert_with(fresh) }
        };
        let mut has_refused = false;
        let mut steps = Vec::with_capacity(ops.len());
        for op in ops {
            steps.push(match op.action {
                Action::Read(Some(value)) if hostile.contains(&value) => Step::Write(number(value)),
                Action::Read(value) => Step::Read(value.map_or(0, &mut number)),
                Action::Write(value) => Step::Write(number(value)),
                Action::Cas { from, to } if hostile.contains(&from) => Step::Write(number(to)),
                Action::Cas { from, to } => Step::Cas { from: number(from), to: number(to) },
                Action::Refused(from) => {
                    has_refused = true;
                    Step::Refused(number(from))
                }
            });
        }
        let hostile = (!hostile.is_empty()).then(|| {
            values.push(None);
            values.len() as ValueId - 1
        });
        let mut is_written = vec![false; values.len()];
        let is_unique = steps.iter().filter_map(|step| step.makes()).all(|value| {
            let was_written = std::mem::replace(&mut is_written[value as usize], true);
            !was_written
        });
        // A cas that puts back what it found writes a value twice too.
        let is_unique =
            is_unique && !steps.iter().any(|step| matches!(step, Step::Cas { from, to } if from == to));
        Self { steps, values, is_unique, has_refused, hostile }
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
pub(super) fn judge(register: &RegisterOps, limits: &Limits) -> Judgement {
    let RegisterOps { ops, hostile } = register;
    judge_numbered(ops, &Numbered::new(ops, hostile), limits).0
}

/// The same, with the zones if they fit.
pub(super) fn judge_numbered(
    ops: &[RegisterOp],
    numbered: &Numbered,
    limits: &Limits,
) -> (Judgement, Option<Zones>) {
    if !numbered.is_unique {
        let mut spans = spans(ops);
        if !numbered.has_refused {
            drop_unseen(ops, numbered, &mut spans);
        }
        return (judgement(wgl::search(&mut Register::new(numbered), &spans, limits)), None);
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

/// Ops of unknown outcome whose value nobody can have seen had better not happened: they are put at the end of time,
/// where no search comes. (A refused cas may need one of them to explain it.)
fn drop_unseen(ops: &[RegisterOp], numbered: &Numbered, spans: &mut [Span]) {
    let mut is_seen = vec![false; numbered.values.len()];
    let mut todo: Vec<ValueId> = Vec::new();
    let mut see = |step: Step, todo: &mut Vec<ValueId>| {
        if let Some(value) =
            step.needs().filter(|value| !std::mem::replace(&mut is_seen[*value as usize], true))
        {
            todo.push(value);
        }
    };
    let mut unknown: FxHashMap<ValueId, Vec<u32>> = FxHashMap::default();
    for (at, (op, step)) in (0..).zip(ops.iter().zip(&numbered.steps)) {
        match step.makes() {
            Some(made) if !op.is_known() => unknown.entry(made).or_default().push(at),
            _ => see(*step, &mut todo),
        }
    }
    while let Some(value) = todo.pop() {
        for op in unknown.remove(&value).unwrap_or_default() {
            see(numbered.steps[op as usize], &mut todo);
        }
    }
    for op in unknown.into_values().flatten() {
        spans[op as usize].invoked = u64::MAX;
    }
}

/// Where orders get stuck if they are not kept from what cannot succeed in the end: a better story.
fn unguided(ops: &[RegisterOp], numbered: &Numbered, limits: &Limits) -> Option<Stuck> {
    let limits = Limits { deadline: limits.deadline.min(Instant::now() + UNGUIDED_SEARCH), ..*limits };
    match wgl::search(&mut Register::new(numbered), &spans(ops), &limits) {
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
    hostile: Option<ValueId>,
}

impl<'a> Register<'a> {
    /// A register that holds the initial value.
    pub(super) fn new(numbered: &'a Numbered) -> Self {
        Self { steps: &numbered.steps, hostile: numbered.hostile }
    }
}

impl Model for Register<'_> {
    fn initial(&self) -> State {
        State(0)
    }

    fn step(&mut self, state: State, op: usize) -> Option<State> {
        match self.steps[op] {
            Step::Read(value) => (state == State(value)).then_some(state),
            Step::Refused(value) if state != State(value) => Some(state),
            // A hostile process may just have overwritten the value.
            Step::Refused(_) => self.hostile.map(State),
            Step::Write(value) => Some(State(value)),
            Step::Cas { from, to } => (state == State(from)).then_some(State(to)),
        }
    }

    fn is_read_only(&self, op: usize) -> bool {
        self.steps[op].makes().is_none()
    }

    fn effect(&self, op: usize) -> u64 {
        let half = |value: Option<ValueId>| u64::from(value.map_or(0, |value| value + 1));
        half(self.steps[op].needs()) << 32 | half(self.steps[op].makes())
    }
}
