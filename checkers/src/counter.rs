//! Counters: every read must be a sum that the counter can have had.
//!
//! A counter is a list of [`Posting`]s; only the sum of what a read returns is judged. Its bounds are Jepsen's: what was
//! acknowledged before the read was invoked counts, what was invoked before the read returned may count, what failed
//! does not. They are tightened by the reads before: what a read has counted, all later ones count. So a
//! counter of increments never goes back, even where additions of unknown outcome would leave room for it.
//!
//! For a read *b* that was invoked after a read *a* had returned with the sum *v*, the least sum is *v*, and all that was
//! both invoked after *a*'s return and acknowledged before *b*'s invocation, and everything negative that may have come
//! in between. The zeroth read is of 0, before everything. The greatest sum is the same with all signs turned.
//!
//! What hostile processes post is taken off what was read, if every posting that was read can be told. If not (a store may tell
//! nothing but the sum), what they may have added at any time leaves no greatest sum, and what they may have taken off no least.

use crate::evidence::{ListStep, choose, end, interval, list_steps, window_of, with_outcome};
use crate::history::{History, Op, Outcome, Posting};
use crate::hostile::{self, Elements};
use crate::verdict::{CheckResult, Evidence, Verdict};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The most faults that are shown; all are counted.
const EVIDENCE_MAX: usize = 3;

/// Something that happens to a counter, in order of time. Of what happens at one instant, invocations come first: ops that
/// touch are concurrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    AddInvoked { add: usize },
    ReadInvoked { read: usize },
    AddAcknowledged { add: usize },
    ReadReturned { read: usize },
}

#[derive(Clone, Copy, Debug)]
struct Add {
    op: u32,
    amount: i64,
    /// At some time; otherwise it is never known to have happened.
    is_acknowledged: bool,
}

#[derive(Clone, Copy, Debug)]
struct Read {
    op: u32,
    sum: i64,
}

/// A counter and the ops on it.
#[derive(Default)]
struct Counter {
    adds: Vec<Add>,
    reads: Vec<Read>,
    ops: Vec<u32>,
    /// Whether hostile processes leave no least sum, and whether they leave no greatest.
    is_open: [bool; 2],
}

impl Counter {
    fn is_judged(&self) -> bool {
        self.is_open != [true; 2]
    }
}

/// A read outside of its bounds.
#[derive(Clone, Copy, Debug)]
struct Outside {
    read: Read,
    bound: i64,
    /// 1: the sum is under the least; -1: over the greatest.
    sign: i64,
    /// The read that the bound comes from; `None`: it comes from additions alone.
    base: Option<Read>,
}

/// Judges every list of a history as a counter. A checker that takes longer than `deadline` says unknown.
#[must_use]
pub fn check_counter(history: &History, deadline: Duration) -> CheckResult {
    let stop = Instant::now() + deadline;
    let counters = counters(history);
    let mut wrong: Vec<(u64, Outside)> = Vec::new();
    let mut judged = 0;
    for (key, counter) in &counters {
        if Instant::now() >= stop {
            break;
        }
        wrong.extend(counter.judge(history).into_iter().map(|outside| (*key, outside)));
        judged += 1;
    }
    wrong.sort_by_key(|(_, outside)| history.ops[outside.read.op as usize].returned);
    let evidence: Vec<Evidence> = wrong
        .iter()
        .take(EVIDENCE_MAX)
        .map(|(key, outside)| show(history, *key, &counters[key], outside))
        .collect();
    let is_ok = |add: &&Add| matches!(history.ops[add.op as usize].outcome, Outcome::Ok(_));
    let adds_ok = counters.values().flat_map(|counter| &counter.adds).filter(is_ok).count();
    let bounded = counters.values().filter(|counter| counter.is_judged());
    let reads: usize = bounded.map(|counter| counter.reads.len()).sum();
    let mut doubts = Vec::new();
    if judged < counters.len() {
        doubts.push(format!("out of time with {judged} of {} counters judged", counters.len()));
    }
    let unbounded = counters.values().filter(|counter| !counter.is_judged()).count();
    if unbounded > 0 {
        doubts.push(format!(
            "{unbounded} counters have no bounds: hostile processes may have added to them and taken off"
        ));
    }
    if reads == 0 || adds_ok == 0 {
        doubts.push(format!("{adds_ok} additions and {reads} reads succeeded: there is nothing to judge"));
    }
    let (verdict, summary) = match (evidence.first(), doubts.is_empty()) {
        (Some(first), _) => (
            Verdict::Invalid,
            format!("{} of {reads} reads are out of their bounds: {}", wrong.len(), first.story),
        ),
        (None, false) => (Verdict::Unknown, doubts.join("; ")),
        (None, true) => (
            Verdict::Valid,
            format!(
                "{reads} reads of {} counters are within the bounds that {adds_ok} acknowledged additions, those of \
                 unknown outcome and earlier reads leave",
                counters.len()
            ),
        ),
    };
    let numbers = [
        ("counters", counters.len()),
        ("adds_ok", adds_ok),
        ("reads", reads),
        ("reads_out_of_bounds", wrong.len()),
    ];
    let numbers = numbers.map(|(name, count)| (name.to_string(), count as f64)).into();
    let summary = hostile::said(summary, history);
    CheckResult { numbers, evidence, ..CheckResult::new("counter", verdict, reads as u64, summary) }
}

fn counters(history: &History) -> BTreeMap<u64, Counter> {
    let hostile = hostile::elements(history);
    let told = told_apart(history, &hostile);
    let mut counters: BTreeMap<u64, Counter> = BTreeMap::new();
    for (position, op) in (0..).zip(&history.ops) {
        for step in list_steps(op) {
            let (ListStep::Append { key, .. } | ListStep::Read { key, .. }) = step;
            let counter = counters.entry(key).or_default();
            if counter.ops.last() != Some(&position) {
                counter.ops.push(position);
            }
            match step {
                _ if op.is_hostile => {}
                ListStep::Append { value, .. } => {
                    if !matches!(op.outcome, Outcome::Fail(_)) {
                        counter.adds.push(Add {
                            op: position,
                            amount: Posting::of(value).amount,
                            is_acknowledged: end(op).is_some(),
                        });
                    }
                }
                ListStep::Read { list, .. } => {
                    let taken_off = hostile.get(&key).filter(|_| told.contains(&key));
                    let sum = match taken_off {
                        None => sum(list),
                        Some(hostile) => list
                            .iter()
                            .filter(|value| !hostile.contains(value))
                            .map(|value| Posting::of(*value).amount)
                            .sum(),
                    };
                    counter.reads.push(Read { op: position, sum });
                }
            }
        }
    }
    for (key, elements) in &hostile {
        if let Some(counter) = counters.get_mut(key).filter(|_| !told.contains(key)) {
            let has = |sign: i64| elements.iter().any(|value| Posting::of(*value).amount * sign > 0);
            counter.is_open = [has(-1), has(1)];
        }
    }
    counters.retain(|_, counter| counter.ops.iter().any(|op| !history.ops[*op as usize].is_hostile));
    counters
}

/// Of the counters that hostile processes post to, those where each posting that was read is known to be theirs or not.
fn told_apart(history: &History, hostile: &Elements) -> FxHashSet<u64> {
    let mut others: FxHashMap<u64, FxHashSet<u64>> = FxHashMap::default();
    let steps = || history.ops.iter().filter(|op| !op.is_hostile).flat_map(list_steps);
    for step in steps() {
        if let ListStep::Append { key, value } = step
            && hostile.contains_key(&key)
        {
            others.entry(key).or_default().insert(value);
        }
    }
    let mut told: FxHashSet<u64> = hostile.keys().copied().collect();
    told.retain(|key| others.get(key).is_none_or(|others| others.is_disjoint(&hostile[key])));
    for step in steps() {
        if let ListStep::Read { key, list } = step
            && let Some(hostile) = hostile.get(&key)
        {
            let is_known = |value: &u64| {
                hostile.contains(value) || others.get(&key).is_some_and(|all| all.contains(value))
            };
            if !list.iter().all(is_known) {
                told.remove(&key);
            }
        }
    }
    told
}

fn sum(list: &[u64]) -> i64 {
    list.iter().map(|value| Posting::of(*value).amount).sum()
}

impl Counter {
    /// All reads out of their bounds.
    fn judge(&self, history: &History) -> Vec<Outside> {
        // The least sums, and the greatest: the least with all signs turned.
        let mut floors = [Floor::new(1), Floor::new(-1)];
        let mut begun: FxHashMap<usize, [Mark; 2]> = FxHashMap::default();
        let mut outside = Vec::new();
        for moment in self.moments(history) {
            match moment {
                Moment::AddInvoked { add } => {
                    floors.iter_mut().for_each(|floor| floor.invoked(add, &self.adds[add]));
                }
                Moment::AddAcknowledged { add } => {
                    floors.iter_mut().for_each(|floor| floor.acknowledged(add, &self.adds[add]));
                }
                Moment::ReadInvoked { read } => {
                    begun.insert(read, floors.each_ref().map(Floor::highest));
                }
                Moment::ReadReturned { read } => {
                    let marks = begun.remove(&read).expect("it was invoked");
                    let read = self.reads[read];
                    let closed = floors.iter().zip(&marks).zip(self.is_open).filter(|(_, is_open)| !is_open);
                    let wrong =
                        closed.map(|(judges, _)| judges).find_map(|(floor, mark)| floor.judge(read, mark));
                    outside.extend(wrong);
                    if wrong.is_none() {
                        // One that is wrong would make others look wrong.
                        floors.iter_mut().zip(&marks).for_each(|(floor, mark)| floor.returned(read, mark));
                    }
                }
            }
        }
        outside
    }

    fn moments(&self, history: &History) -> Vec<Moment> {
        let mut moments = Vec::with_capacity(2 * (self.adds.len() + self.reads.len()));
        for (add, Add { op, .. }) in self.adds.iter().enumerate() {
            let op = &history.ops[*op as usize];
            moments.push((op.invoked, false, Moment::AddInvoked { add }));
            moments.extend(end(op).map(|time| (time, true, Moment::AddAcknowledged { add })));
        }
        for (read, Read { op, .. }) in self.reads.iter().enumerate() {
            let op = &history.ops[*op as usize];
            let returned = op.returned.expect("a read that succeeded has returned");
            moments.push((op.invoked, false, Moment::ReadInvoked { read }));
            moments.push((returned, true, Moment::ReadReturned { read }));
        }
        moments.sort_unstable();
        moments.into_iter().map(|(.., moment)| moment).collect()
    }
}

/// What a read that comes now must at least return, seen from each read before it.
struct Floor {
    /// -1: all signs are turned.
    sign: i64,
    /// By return. Marks that can never again be the highest are dropped, so there are hardly more than additions are open.
    marks: Vec<Mark>,
    /// The sum of everything negative that was invoked: it counts under every mark.
    taken: i64,
    /// Of that, what was acknowledged.
    taken_for_certain: i64,
    /// How many additions were invoked.
    invocations: u64,
    /// The numbers of those that are open: positive, and to be acknowledged.
    open: BTreeMap<usize, u64>,
}

/// A read that has returned, or is under way.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// `None`: before everything.
    read: Option<Read>,
    /// The least sum from here on, without [`Floor::taken`].
    at: i64,
    /// How many additions were invoked before the read returned: those may be in it.
    invoked_before: u64,
    /// [`Floor::taken_for_certain`] when this was the highest.
    taken_for_certain: i64,
}

impl Floor {
    fn new(sign: i64) -> Self {
        let start = Mark { read: None, at: 0, invoked_before: 0, taken_for_certain: 0 };
        Self {
            sign,
            marks: vec![start],
            taken: 0,
            taken_for_certain: 0,
            invocations: 0,
            open: BTreeMap::new(),
        }
    }

    fn invoked(&mut self, add: usize, what: &Add) {
        let amount = self.sign * what.amount;
        self.taken += amount.min(0);
        if amount > 0 && what.is_acknowledged {
            self.open.insert(add, self.invocations);
        }
        self.invocations += 1;
    }

    /// What is acknowledged is certain for reads to come, over all marks of reads that had returned before it was invoked.
    fn acknowledged(&mut self, add: usize, what: &Add) {
        let amount = self.sign * what.amount;
        self.taken_for_certain += amount.min(0);
        let Some(number) = self.open.remove(&add) else { return };
        for mark in self.marks.iter_mut().filter(|mark| mark.invoked_before <= number) {
            mark.at += amount;
        }
        self.prune();
    }

    /// What a read that is invoked now is held against.
    fn highest(&self) -> Mark {
        let highest = self.marks.iter().max_by_key(|mark| mark.at);
        let highest = *highest.expect("there is a mark from the beginning on");
        Mark { taken_for_certain: self.taken_for_certain, ..highest }
    }

    /// Whether a read that returns now is under the mark that was the highest when it was invoked.
    fn judge(&self, read: Read, mark: &Mark) -> Option<Outside> {
        let least = mark.at + self.taken;
        let base = mark.read;
        (self.sign * read.sum < least).then_some(Outside {
            read,
            bound: self.sign * least,
            sign: self.sign,
            base,
        })
    }

    /// A read returns; `mark` was the highest when it was invoked.
    fn returned(&mut self, read: Read, mark: &Mark) {
        self.marks.push(Mark {
            read: Some(read),
            // What was taken off for certain before the read is in its sum.
            at: self.sign * read.sum - mark.taken_for_certain,
            invoked_before: self.invocations,
            taken_for_certain: 0,
        });
        self.prune();
    }

    /// Whatever raises a mark raises all earlier ones too. So a later mark must be higher to matter, and a lower, earlier one
    /// matters only while something is open that was invoked between the two.
    fn prune(&mut self) {
        let mut kept: Vec<Mark> = Vec::with_capacity(self.marks.len());
        for mark in self.marks.drain(..) {
            if kept.last().is_some_and(|before| before.at >= mark.at) {
                continue;
            }
            let open = &self.open;
            let is_between =
                |from: u64| open.values().any(|number| (from..mark.invoked_before).contains(number));
            while kept.last().is_some_and(|before| !is_between(before.invoked_before)) {
                kept.pop();
            }
            kept.push(mark);
        }
        self.marks = kept;
    }
}

fn label(op: &Op, key: u64) -> String {
    let words = list_steps(op).filter_map(|step| match step {
        ListStep::Append { key: of, value } if of == key => {
            Some(format!("add {:+}", Posting::of(value).amount))
        }
        ListStep::Read { key: of, list } if of == key => Some(format!("read → {}", sum(list))),
        ListStep::Append { .. } | ListStep::Read { .. } => None,
    });
    let words: Vec<String> = words.collect();
    with_outcome(if words.is_empty() { "read".to_string() } else { words.join("; ") }, &op.outcome)
}

fn show(history: &History, key: u64, counter: &Counter, outside: &Outside) -> Evidence {
    let who = |op: u32| {
        let op = &history.ops[op as usize];
        format!("process {} ({})", op.process, interval(op))
    };
    let Outside { read, bound, sign, base } = *outside;
    let (side, certain, possible) =
        if sign > 0 { ("least", "added", "taken off") } else { ("most", "taken off", "added") };
    let why = match base {
        Some(base) => format!(
            "{} had read {}, and what was certainly {certain} and may have been {possible} since comes to {:+}",
            who(base.op),
            base.sum,
            bound - base.sum
        ),
        None => format!("what was certainly {certain} and may have been {possible} by then comes to that"),
    };
    let story =
        format!("{} read counter {key} as {}, but it is at {side} {bound}: {why}", who(read.op), read.sum);
    let culprits: Vec<u32> = base.into_iter().chain([read]).map(|read| read.op).collect();
    let chosen = choose(&history.ops, &counter.ops, &culprits, &[]);
    Evidence {
        object: format!("counter {key}"),
        story,
        window: window_of(&history.ops, &chosen, &culprits, |op| label(op, key)),
        prefixes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, Call, MicroAnswer, MicroCall, Phase, ProcessId};
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    /// Adds of unknown, known and no effect, and reads that are honest but for a few.
    fn random(count: u32, time: u64, span: u64, chance: &mut impl Rng) -> History {
        let mut ops: Vec<(u64, Op)> = (0..count)
            .map(|n| {
                let invoked = chance.random_range(0..time);
                let returned = invoked + chance.random_range(0..=span);
                let amount = chance.random_range(-3..=4);
                let (step, answer) = match chance.random_bool(0.5) {
                    true => (MicroCall::ReadList { key: 1 }, MicroAnswer::List(Vec::new())),
                    false => {
                        let value = Posting { id: u64::from(n), amount }.value();
                        (MicroCall::Append { key: 1, value }, MicroAnswer::Done)
                    }
                };
                let outcome = match chance.random_range(0..10) {
                    0..=2 => Outcome::Info("timed out".into()),
                    3 => Outcome::Fail("refused".into()),
                    _ => Outcome::Ok(Answer::Txn(vec![answer])),
                };
                let late = if matches!(outcome, Outcome::Info(_)) { time } else { 0 };
                let effect = chance.random_range(invoked..=returned + late);
                let op = Op {
                    index: u64::from(n),
                    process: ProcessId(n),
                    phase: Phase::Run,
                    is_hostile: false,
                    to: None,
                    by: Vec::new(),
                    call: Call::Txn(vec![step]),
                    intended: invoked,
                    invoked,
                    returned: Some(returned),
                    outcome,
                };
                (effect, op)
            })
            .collect();
        ops.sort_by_key(|(effect, _)| *effect);
        let mut value = 0;
        for (_, op) in &mut ops {
            let Call::Txn(steps) = &op.call else { unreachable!("all are transactions") };
            match (&steps[0], &mut op.outcome) {
                (MicroCall::Append { value: of, .. }, Outcome::Ok(_)) => value += Posting::of(*of).amount,
                (MicroCall::Append { value: of, .. }, Outcome::Info(_)) if chance.random_bool(0.7) => {
                    value += Posting::of(*of).amount;
                }
                (MicroCall::ReadList { .. }, Outcome::Ok(Answer::Txn(answers))) => {
                    let lie = if chance.random_bool(0.05) { chance.random_range(-4..=4) } else { 0 };
                    answers[0] = MicroAnswer::List(vec![Posting { id: 0, amount: value + lie }.value()]);
                }
                _ => {}
            }
        }
        let mut ops: Vec<Op> = ops.into_iter().map(|(_, op)| op).collect();
        ops.sort_by_key(|op| op.invoked);
        History { ops, ..History::empty() }
    }

    /// The bounds as the head of this file says them: for each pair of reads, over all additions.
    fn by_definition(counter: &Counter, history: &History) -> Vec<u32> {
        let op = |op: u32| &history.ops[op as usize];
        let mut reads = counter.reads.clone();
        let returned = |read: &Read| op(read.op).returned.expect("it succeeded");
        reads.sort_by_key(|read| (returned(read), read.op));
        let mut right: Vec<Read> = Vec::new();
        let mut wrong = Vec::new();
        for b in reads {
            let is_out = |sign: i64, a: Option<&Read>| {
                let known = |add: &Add, time: u64| end(op(add.op)).is_some_and(|end| end < time);
                let mut least = a.map_or(0, |a| sign * a.sum);
                for add in &counter.adds {
                    let amount = sign * add.amount;
                    let is_in_a = a.is_some_and(|a| known(add, op(a.op).invoked));
                    let is_after_a = a.is_none_or(|a| op(add.op).invoked > returned(a));
                    if is_in_a || op(add.op).invoked > returned(&b) {
                        continue;
                    }
                    let is_certain = is_after_a && known(add, op(b.op).invoked);
                    least += if is_certain { amount } else { amount.min(0) };
                }
                sign * b.sum < least
            };
            let before: Vec<&Read> = right.iter().filter(|a| returned(a) < op(b.op).invoked).collect();
            let bases = || before.iter().copied().map(Some).chain([None]);
            if bases().any(|a| is_out(1, a) || is_out(-1, a)) {
                wrong.push(b.op);
            } else {
                right.push(b);
            }
        }
        wrong
    }

    #[test]
    fn bounds_are_those_of_the_definition() {
        let (mut clean, mut accused) = (0, 0);
        for (count, time, span) in [(8, 12, 8), (14, 30, 10), (20, 10, 3), (30, 200, 40)] {
            for seed in 0..3_000 {
                let history = random(count, time, span, &mut Xoshiro256PlusPlus::seed_from_u64(seed));
                let Some(counter) = counters(&history).remove(&1) else { continue };
                let mut found: Vec<u32> =
                    counter.judge(&history).iter().map(|outside| outside.read.op).collect();
                let mut expected = by_definition(&counter, &history);
                found.sort_unstable();
                expected.sort_unstable();
                assert_eq!(found, expected, "seed {seed}: {history:#?}");
                if found.is_empty() { clean += 1 } else { accused += 1 }
            }
        }
        assert!(clean > 1_000 && accused > 1_000, "{clean} are clean, {accused} not");
    }
}
