//! A violation as evidence: in words, and in a window of ops.

use super::objects::{Object, ObjectId, RegisterOps, register_ops, written};
use super::records::{Link, Why};
use super::refused::guided;
use super::register::{Action, Numbered, Register, RegisterOp, Step, ValueId, spans};
use super::wgl::{self, Found, Limits, Stuck};
use super::zones::{self, Pair, Violation};
use crate::evidence::{View, choose, end, interval, ms, value_label, window};
use crate::history::{Call, History, Op, Outcome};
use crate::verdict::{Evidence, WINDOW_OPS_MAX, WindowOp};
use rustc_hash::{FxHashMap, FxHashSet};
use std::time::{Duration, Instant};

/// What the search for the prefixes of one window may use up.
const WINDOW_SEARCH: Duration = Duration::from_millis(200);
const WINDOW_SEARCH_BYTES: usize = 64 << 20;
/// The most ops of a circle that are named.
const CIRCLE_OPS_NAMED: usize = 4;

/// A register of a history, to be explained to a person. Ops are positions in `ops`.
pub(super) struct Scene<'a> {
    history: &'a History,
    object: &'a Object,
    field: u32,
    ops: Vec<RegisterOp>,
    /// The values that hostile processes may have written.
    hostile: FxHashSet<u64>,
}

impl<'a> Scene<'a> {
    /// A register, or one field of a record.
    pub(super) fn new(history: &'a History, object: &'a Object, field: u32) -> Self {
        let RegisterOps { ops, hostile } = register_ops(history, object, field);
        Self { history, object, field, ops, hostile }
    }

    /// Evidence for what zones found.
    pub(super) fn violation(&self, violation: &Violation) -> Evidence {
        let story = self.tell(violation);
        let ops: Vec<u32> = match violation {
            Violation::NeverWritten { reader } => vec![*reader],
            Violation::ReadBeforeWrite { reader, writer } => vec![*reader, *writer],
            Violation::ReplacedTwice { first, second } => vec![*first, *second],
            Violation::Circle { ops } => ops.iter().take(CIRCLE_OPS_NAMED).copied().collect(),
            Violation::Chain { early, late } => vec![*early, *late],
            Violation::Order { a, b } => {
                [a.returned, a.invoked, b.returned, b.invoked].into_iter().flatten().collect()
            }
            Violation::Held { refused, since, until } => {
                [Some(*refused), Some(*since), *until].into_iter().flatten().collect()
            }
        };
        let mut culprits: Vec<u32> = ops.iter().map(|op| self.position(*op)).collect();
        if let Violation::NeverWritten { reader } = violation {
            culprits.extend(self.failed_write(*reader));
        }
        culprits.sort_unstable();
        culprits.dedup();
        self.evidence(story, &culprits, None)
    }

    /// Evidence for where a search got stuck.
    pub(super) fn stuck(&self, stuck: &Stuck) -> Evidence {
        let last = stuck.prefixes.first().and_then(|prefix| prefix.last());
        let goes = match last {
            Some(last) => format!("the longest order of the ops before ends with {}", self.words(*last)),
            None => "no op can come first".to_string(),
        };
        let story = format!("{}, which no order of the ops explains: {goes}", self.deed(stuck.op));
        self.evidence(story, &[self.position(stuck.op)], Some(&stuck.prefixes))
    }

    fn tell(&self, violation: &Violation) -> String {
        match violation {
            Violation::NeverWritten { reader } => {
                let why = match self.failed_write(*reader).map(|op| &self.history.ops[op as usize]) {
                    Some(op) => {
                        format!("its only write, by process {} at {}, failed", op.process, interval(op))
                    }
                    None => "nobody ever wrote it".to_string(),
                };
                format!("{}, but {why}", self.deed(*reader))
            }
            Violation::ReadBeforeWrite { reader, writer } => {
                format!("{}, before {}", self.deed(*reader), self.invoked(*writer))
            }
            Violation::ReplacedTwice { first, second } => format!(
                "{}, although {} ({}) had replaced the same value, which was written only once",
                self.deed(*second),
                self.words(*first),
                interval(self.op(*first))
            ),
            Violation::Circle { ops } => {
                let named: Vec<String> =
                    ops.iter().take(CIRCLE_OPS_NAMED).map(|op| self.words(*op)).collect();
                let (named, name) = (named.join(", "), self.name());
                format!("on {name} each of these needs a value that only another of them wrote: {named}")
            }
            Violation::Chain { early, late } => format!(
                "{}, although {} before, and cas had made the value of the latter out of the value of the former",
                self.deed(*late),
                self.returned(*early)
            ),
            Violation::Order { a, b } => self.tell_order(*a, *b),
            Violation::Held { refused, since, until } => {
                let until = match until {
                    Some(op) => format!("the value was still there when {}", self.invoked(*op)),
                    None => "no write that can have replaced the value was invoked in time".to_string(),
                };
                format!("{}, although {}, and {until}", self.deed(*refused), self.returned(*since))
            }
        }
    }

    /// Two values of which each must come before the other, told from the end: what was done last is what is wrong.
    fn tell_order(&self, a: Pair, b: Pair) -> String {
        let invoked = |pair: Pair| pair.invoked.map_or(0, |op| self.op(op).invoked);
        let (old, new) = if invoked(a) >= invoked(b) { (a, b) } else { (b, a) };
        let late = old.invoked.expect("an op of each value was invoked after one of the other returned");
        let newer =
            new.returned.expect("only before the initial value there is nothing, and that is never newer");
        let follower = new.invoked.expect("an op of each value was invoked after one of the other returned");
        let why = match old.returned {
            // That the initial value came first needs no witness.
            None => String::new(),
            Some(first) if follower == newer => {
                format!(
                    " and was invoked only at {} ms, after {}",
                    ms(self.op(newer).invoked),
                    self.returned(first)
                )
            }
            Some(first) => format!(", and {} only after {}", self.invoked(follower), self.returned(first)),
        };
        format!("{}, although {}{why}", self.deed(late), self.returned(newer))
    }

    fn evidence(&self, story: String, culprits: &[u32], prefixes: Option<&[Vec<u32>]>) -> Evidence {
        let ops = &self.history.ops;
        let chosen = choose(ops, &self.object.ops, culprits, &[]);
        let chosen = choose(ops, &self.object.ops, culprits, &self.writers(&chosen));
        let view = self.view();
        let mut window = window(ops, &chosen, culprits, view);
        let found;
        let prefixes = match prefixes {
            Some(prefixes) => prefixes,
            None => {
                found = self.prefixes(&chosen, culprits);
                &found
            }
        };
        let places: FxHashMap<u32, u32> = chosen.iter().copied().zip(0..).collect();
        if let Some(prefix) = prefixes.first() {
            self.note_states(prefix, &places, &mut window);
        }
        let shown = |prefix: &Vec<u32>| {
            let mut places: Vec<u32> =
                prefix.iter().filter_map(|op| places.get(&self.position(*op)).copied()).collect();
            // The read and the write of a read-modify-write are one op here.
            places.dedup();
            places
        };
        Evidence { object: self.name(), story, window, prefixes: prefixes.iter().map(shown).collect() }
    }

    /// Who wrote what the chosen ops saw.
    fn writers(&self, chosen: &[u32]) -> Vec<u32> {
        let mut writers: FxHashMap<u64, u32> = FxHashMap::default();
        for op in &self.ops {
            if let Action::Write(value) | Action::Cas { to: value, .. } = op.action {
                writers.insert(value, op.position);
            }
        }
        let chosen: FxHashSet<u32> = chosen.iter().copied().collect();
        let seen = self.ops.iter().filter(|op| chosen.contains(&op.position));
        let seen = seen.filter_map(|op| match op.action {
            Action::Read(value) => value,
            Action::Cas { from, .. } => Some(from),
            Action::Write(_) | Action::Refused(_) => None,
        });
        let mut missing: Vec<u32> = seen.filter_map(|value| writers.get(&value).copied()).collect();
        missing.retain(|position| !chosen.contains(position));
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// The longest orders of the chosen ops, if there is none of all of them.
    fn prefixes(&self, chosen: &[u32], culprits: &[u32]) -> Vec<Vec<u32>> {
        let chosen: FxHashSet<u32> = chosen.iter().copied().collect();
        let is_chosen = |op: &u32| chosen.contains(&self.position(*op));
        let is_culprit = |op: &u32| culprits.contains(&self.position(*op));
        let chosen = (0..self.ops.len() as u32).filter(is_chosen).collect();
        let mut inside = self.explainable(chosen, is_culprit);
        let ops: Vec<RegisterOp> = inside.iter().map(|op| self.ops[*op as usize]).collect();
        let numbered = Numbered::new(&ops, &self.hostile);
        match wgl::search(&mut Register::new(&numbered), &spans(&ops), &window_limits()) {
            Found::None(stuck) => {
                let outside = |prefix: Vec<u32>| prefix.into_iter().map(|op| inside[op as usize]).collect();
                stuck.prefixes.into_iter().map(outside).collect()
            }
            Found::Order(_) => Vec::new(),
            Found::Exhausted { .. } => {
                // Too many ops overlap. Without the last culprit an order is found at once: show how far it goes
                // before the culprit would have to be in it.
                let culprits = inside.iter().filter(|op| is_culprit(op));
                let Some(&last) = culprits.max_by_key(|op| self.ops[**op as usize].invoked) else {
                    return Vec::new();
                };
                inside.retain(|op| *op != last);
                let inside = self.explainable(inside, |_| false);
                self.order_before(&inside, self.ops[last as usize].returned).into_iter().collect()
            }
        }
    }

    /// Leaves out what a part of the ops cannot explain though all of them do: what needs a value that was written
    /// outside, and refused cas. Culprits stay.
    fn explainable(&self, mut inside: Vec<u32>, is_culprit: impl Fn(&u32) -> bool) -> Vec<u32> {
        loop {
            let ops: Vec<RegisterOp> = inside.iter().map(|op| self.ops[*op as usize]).collect();
            let steps = Numbered::new(&ops, &self.hostile).steps;
            let made: FxHashSet<ValueId> = steps.iter().filter_map(|step| step.makes()).collect();
            let is_explainable = |step: &Step| match step {
                Step::Refused(_) => false,
                step @ (Step::Read(_) | Step::Write(_) | Step::Cas { .. }) => {
                    step.needs().is_none_or(|value| value == 0 || made.contains(&value))
                }
            };
            let kept: Vec<u32> = inside
                .iter()
                .zip(&steps)
                .filter(|(op, step)| is_culprit(op) || is_explainable(step))
                .map(|(op, _)| *op)
                .collect();
            if kept.len() == inside.len() {
                return kept;
            }
            inside = kept;
        }
    }

    /// An order of ops, up to the first that was invoked after `until`, if their values are unique and there is one.
    fn order_before(&self, inside: &[u32], until: u64) -> Option<Vec<u32>> {
        let ops: Vec<RegisterOp> = inside.iter().map(|op| self.ops[*op as usize]).collect();
        let numbered = Numbered::new(&ops, &self.hostile);
        if !numbered.is_unique {
            return None;
        }
        let zones = zones::judge(&ops, &numbered).ok()?;
        let Found::Order(order) = guided(&ops, &numbered, &zones, &window_limits()) else { return None };
        let before = order.into_iter().take_while(|op| ops[*op as usize].invoked <= until);
        Some(before.map(|op| inside[op as usize]).collect())
    }

    /// Notes the register's value after each op of a prefix.
    fn note_states(&self, prefix: &[u32], places: &FxHashMap<u32, u32>, window: &mut [WindowOp]) {
        let mut state = None;
        for op in prefix {
            let op = &self.ops[*op as usize];
            match op.action {
                Action::Read(value) => state = Some(value_label(value)),
                Action::Write(value) | Action::Cas { to: value, .. } => {
                    state = Some(value_label(Some(value)));
                }
                Action::Refused(_) => {}
            }
            if let Some(place) = places.get(&op.position) {
                window[*place as usize].state.clone_from(&state);
            }
        }
    }

    fn view(&self) -> View {
        match self.object.id {
            ObjectId::Register(_) => View::Whole,
            ObjectId::Record(_) => View::Field(self.field),
        }
    }

    fn name(&self) -> String {
        match self.object.id {
            ObjectId::Register(key) => format!("key {key}"),
            ObjectId::Record(key) => format!("key {key} field {}", self.field),
        }
    }

    fn position(&self, op: u32) -> u32 {
        self.ops[op as usize].position
    }

    fn op(&self, op: u32) -> &'a Op {
        &self.history.ops[self.position(op) as usize]
    }

    /// `process 7 read 41 from key 3 at 12 034.100–12 034.900 ms`.
    fn deed(&self, op: u32) -> String {
        let name = self.name();
        let did = match self.ops[op as usize].action {
            Action::Read(value) => format!("read {} from {name}", value_label(value)),
            Action::Write(value) => format!("wrote {value} to {name}"),
            Action::Cas { from, to } => format!("changed {name} from {from} to {to} by cas"),
            Action::Refused(from) => format!("was refused a cas from {from} on {name}"),
        };
        format!("process {} {did} at {}", self.op(op).process, interval(self.op(op)))
    }

    /// `process 2's write of 42`.
    fn words(&self, op: u32) -> String {
        let (action, op) = (self.ops[op as usize].action, self.op(op));
        let did = match (action, &op.call) {
            (Action::Read(value), _) => format!("read of {}", value_label(value)),
            (Action::Write(value), Call::Insert { .. }) => format!("insert of {value}"),
            (Action::Write(value), Call::Update { .. }) => format!("update to {value}"),
            (Action::Write(value), Call::ReadModifyWrite { .. }) => format!("read-modify-write to {value}"),
            (Action::Write(value), _) => format!("write of {value}"),
            (Action::Cas { from, to }, _) => format!("cas from {from} to {to}"),
            (Action::Refused(from), _) => format!("refused cas from {from}"),
        };
        format!("process {}'s {did}", op.process)
    }

    /// `process 2's write of 42 had been acknowledged at 12 001.300 ms`.
    fn returned(&self, op: u32) -> String {
        let is_write = matches!(self.ops[op as usize].action, Action::Write(_) | Action::Cas { .. });
        match end(self.op(op)) {
            Some(time) if is_write => format!("{} had been acknowledged at {} ms", self.words(op), ms(time)),
            Some(time) => format!("{} had returned at {} ms", self.words(op), ms(time)),
            None => format!("{} had taken effect", self.words(op)),
        }
    }

    /// `process 2's write of 42 was invoked at 12 001.300 ms`.
    fn invoked(&self, op: u32) -> String {
        format!("{} was invoked at {} ms", self.words(op), ms(self.op(op).invoked))
    }

    /// The failed op that would have written what this one saw.
    fn failed_write(&self, reader: u32) -> Option<u32> {
        let wanted = match self.ops[reader as usize].action {
            Action::Read(value) => value?,
            Action::Cas { from, .. } => from,
            Action::Write(_) | Action::Refused(_) => return None,
        };
        let mut failed = self.object.ops.iter().copied().filter(|position| {
            let op = &self.history.ops[*position as usize];
            matches!(op.outcome, Outcome::Fail(_)) && written(&op.call, self.field) == Some(wanted)
        });
        failed.next()
    }
}

fn window_limits() -> Limits {
    Limits { deadline: Instant::now() + WINDOW_SEARCH, memory_bytes_max: WINDOW_SEARCH_BYTES }
}

/// Evidence for ops on a record of which each must come before the next, and the last before the first.
pub(super) fn circle(history: &History, object: &Object, circle: &[Link]) -> Evidence {
    let op = |position: u32| &history.ops[position as usize];
    let who = |position: u32| {
        let did = match op(position).call {
            Call::Insert { .. } => "insert",
            Call::Update { .. } => "update",
            Call::ReadModifyWrite { .. } => "read-modify-write",
            Call::Read { .. }
            | Call::Write { .. }
            | Call::Cas { .. }
            | Call::Txn(_)
            | Call::ReadRecord { .. }
            | Call::Scan { .. } => "read",
        };
        format!("process {}'s {did} ({})", op(position).process, interval(op(position)))
    };
    let links = circle.iter().zip(1..).map(|(link, nth)| {
        let (from, to) = (who(link.from), who(link.to));
        match link.why {
            Why::Saw(field) => format!("({nth}) {to} saw in field {field} what {from} wrote"),
            Why::Replaced(field, value) => {
                let value = value_label(value);
                let did = match op(link.from).call {
                    Call::ReadRecord { .. } => "found",
                    Call::ReadModifyWrite { .. } => "found or wrote",
                    Call::Read { .. }
                    | Call::Write { .. }
                    | Call::Cas { .. }
                    | Call::Txn(_)
                    | Call::Insert { .. }
                    | Call::Update { .. }
                    | Call::Scan { .. } => "wrote",
                };
                format!("({nth}) {from} {did} {value} in field {field}, which {to} came to replace")
            }
            Why::Time => format!("({nth}) {from} returned before {to} was invoked"),
            Why::Same => format!("({nth}) {from} reads before it writes"),
        }
    });
    let (ObjectId::Record(key) | ObjectId::Register(key)) = object.id;
    let name = format!("key {key}");
    let story = format!(
        "no order explains the record of {name}, though each of its fields has one: {}",
        links.collect::<Vec<_>>().join("; ")
    );
    let mut culprits: Vec<u32> = circle.iter().map(|link| link.from).take(WINDOW_OPS_MAX / 2).collect();
    culprits.sort_unstable();
    culprits.dedup();
    let chosen = choose(&history.ops, &object.ops, &culprits, &[]);
    let window = window(&history.ops, &chosen, &culprits, View::Whole);
    Evidence { object: name, story, window, prefixes: Vec::new() }
}
