//! Sets that only grow: unique elements are added, and the whole set is read.
//!
//! Elements are judged one by one, as Jepsen's `set-full` does. An element is *known* once its addition is acknowledged or a
//! read that has it has returned; it must be in every read that is invoked later. If none is found wrong, the
//! set as a whole is judged:
//!
//! 1. of two reads, one has all that the other has;
//! 2. put in that order, with each addition right before the first read that has it (one that was acknowledged and never
//!    seen behind all reads), nothing returned before what comes before it was invoked.
//!
//! Elements being unique, this is exact: there is an order of additions and reads if and only if nothing is found.
//!
//! What hostile processes add may be in the set from any time on, any number of times, or never; but a set only grows: once it
//! was read, it is known like all others.

#[cfg(test)]
mod agreement;

use crate::evidence::{end, interval, ms};
use crate::history::{History, Op, Outcome};
use rustc_hash::{FxHashMap, FxHashSet};
use std::borrow::Cow;

/// A read that succeeded.
struct Read<'a> {
    op: u32,
    elements: Cow<'a, [u64]>,
}

/// The additions to one set, and its reads. Ops are positions in the history's ops.
pub(crate) struct Growing<'a> {
    history: &'a History,
    additions: FxHashMap<u64, u32>,
    /// Elements that hostile processes may have added, and an op that did.
    hostile: FxHashMap<u64, u32>,
    reads: Vec<Read<'a>>,
}

/// An element that two ops add: nothing can be told of its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Repeated {
    pub element: u64,
}

/// What is wrong with a set, worst first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// It was known, and no read has it any more.
    Lost { read: u32, element: u64 },
    /// An element that nobody added.
    Unexpected { read: u32, element: u64 },
    /// An element whose addition failed.
    Aborted { read: u32, element: u64 },
    /// One element twice in one read.
    Duplicated { read: u32, element: u64 },
    /// It was known, a read does not have it, and a later one does.
    Stale { read: u32, element: u64 },
    /// Each of two reads has something that the other has not.
    Incompatible { one: u32, other: u32, in_one: u64, in_other: u64 },
    /// A read has what was added only after it had returned.
    Early { read: u32, element: u64 },
    /// A read has `late` and not `early`, which was acknowledged before the addition of `late` was invoked.
    Skipped { read: u32, late: u64, early: u64 },
}

/// How many elements are what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Somebody tried to add them.
    pub attempts: u64,
    pub acknowledged: u64,
    /// In every read since they were known, and in the last one.
    pub stable: u64,
    /// Their additions' outcomes are unknown, and they were seen.
    pub recovered: u64,
    /// Nobody saw them, and nobody must have.
    pub never_read: u64,
    /// Of the latter: they were acknowledged, so a later read would have told. There is none.
    pub unconfirmed: u64,
    pub lost: u64,
    pub stale: u64,
    pub duplicated: u64,
    /// Never added, or in vain.
    pub unexpected: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Tally) {
        self.attempts += other.attempts;
        self.acknowledged += other.acknowledged;
        self.stable += other.stable;
        self.recovered += other.recovered;
        self.never_read += other.never_read;
        self.unconfirmed += other.unconfirmed;
        self.lost += other.lost;
        self.stale += other.stale;
        self.duplicated += other.duplicated;
        self.unexpected += other.unexpected;
    }

    /// Of how many reads had something to say.
    pub(crate) fn judged(&self) -> u64 {
        self.stable + self.lost + self.stale
    }

    /// The counts by name.
    pub(crate) fn numbers(&self) -> [(&'static str, u64); 10] {
        [
            ("attempts", self.attempts),
            ("acknowledged", self.acknowledged),
            ("stable", self.stable),
            ("recovered", self.recovered),
            ("never_read", self.never_read),
            ("unconfirmed", self.unconfirmed),
            ("lost", self.lost),
            ("stale", self.stale),
            ("duplicated", self.duplicated),
            ("unexpected", self.unexpected),
        ]
    }
}

/// What became of an element in reads; reads by their place in order of invocation.
#[derive(Clone, Copy, Default)]
struct Life {
    /// When the first read that has it returned.
    seen_at: Option<u64>,
    present_last: Option<usize>,
    absent_last: Option<usize>,
}

impl<'a> Growing<'a> {
    pub(crate) fn new(history: &'a History) -> Self {
        Self { history, additions: FxHashMap::default(), hostile: FxHashMap::default(), reads: Vec::new() }
    }

    /// # Errors
    /// If another op adds the element too.
    pub(crate) fn addition(&mut self, op: u32, element: u64) -> Result<(), Repeated> {
        let is_new = self.additions.insert(element, op).is_none() && !self.hostile.contains_key(&element);
        if is_new { Ok(()) } else { Err(Repeated { element }) }
    }

    /// A hostile process may have added the element, any number of times.
    ///
    /// # Errors
    /// If another process adds it too.
    pub(crate) fn hostile_addition(&mut self, op: u32, element: u64) -> Result<(), Repeated> {
        self.hostile.insert(element, op);
        if self.additions.contains_key(&element) { Err(Repeated { element }) } else { Ok(()) }
    }

    /// A read that returned these elements.
    pub(crate) fn read(&mut self, op: u32, elements: impl Into<Cow<'a, [u64]>>) {
        self.reads.push(Read { op, elements: elements.into() });
    }

    /// How many reads there are.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.len() as u64
    }

    fn op(&self, op: u32) -> &'a Op {
        &self.history.ops[op as usize]
    }

    /// The position of an op that added the element.
    fn adder(&self, element: u64) -> u32 {
        self.additions.get(&element).or_else(|| self.hostile.get(&element)).copied().expect("it was added")
    }

    fn addition_of(&self, element: u64) -> &'a Op {
        self.op(self.adder(element))
    }

    /// When the addition of an element was acknowledged, if it was and that says anything.
    fn acknowledged(&self, element: u64) -> Option<u64> {
        self.additions.get(&element).and_then(|op| end(self.op(*op)))
    }

    /// Everything that is wrong with elements; if nothing is, what is wrong with their order.
    pub(crate) fn judge(&mut self) -> (Tally, Vec<Fault>) {
        let history = self.history;
        self.reads.sort_by_key(|read| (history.ops[read.op as usize].invoked, read.op));
        self.drop_repeated();
        let (mut tally, mut faults) = (Tally::default(), Vec::new());
        let lives = self.lives(&mut tally, &mut faults);
        for (element, op) in &self.additions {
            let (op, life) = (self.op(*op), lives.get(element).copied().unwrap_or_default());
            faults.extend(self.judge_element(*element, op, life, &mut tally));
        }
        for element in self.hostile.keys() {
            let life = lives.get(element).copied().unwrap_or_default();
            faults.extend(self.missed(*element, life.seen_at, life, &mut tally));
        }
        if faults.is_empty() {
            faults.extend(self.misordered());
        }
        (tally, faults)
    }

    /// Elements of hostile processes may be there several times: they are kept once.
    fn drop_repeated(&mut self) {
        if self.hostile.is_empty() {
            return;
        }
        for read in &mut self.reads {
            let mut seen = FxHashSet::default();
            let is_kept = |element: &u64| !self.hostile.contains_key(element) || seen.insert(*element);
            read.elements = Cow::Owned(read.elements.iter().copied().filter(is_kept).collect());
        }
    }

    /// What became of each element that was added, also of those that no read has.
    fn lives(&self, tally: &mut Tally, faults: &mut Vec<Fault>) -> FxHashMap<u64, Life> {
        let all = || self.additions.keys().chain(self.hostile.keys()).copied();
        let mut lives: FxHashMap<u64, Life> = all().map(|element| (element, Life::default())).collect();
        let (mut strange, mut twice) = (FxHashSet::default(), FxHashSet::default());
        for (at, read) in self.reads.iter().enumerate() {
            let returned = self.op(read.op).returned.expect("a read that succeeded has returned");
            for &element in read.elements.iter() {
                let Some(life) = lives.get_mut(&element) else {
                    if strange.insert(element) {
                        faults.push(Fault::Unexpected { read: read.op, element });
                    }
                    continue;
                };
                if life.present_last == Some(at) {
                    if twice.insert(element) {
                        faults.push(Fault::Duplicated { read: read.op, element });
                    }
                    continue;
                }
                let failed = matches!(self.addition_of(element).outcome, Outcome::Fail(_));
                if failed && !self.hostile.contains_key(&element) && strange.insert(element) {
                    faults.push(Fault::Aborted { read: read.op, element });
                }
                life.present_last = Some(at);
                life.seen_at = Some(life.seen_at.map_or(returned, |before| before.min(returned)));
            }
        }
        tally.unexpected = strange.len() as u64;
        tally.duplicated = twice.len() as u64;
        // From the last read back: those that were in all reads so far are looked for in the next. So an element is looked
        // at once more than there are reads that have it.
        let mut always: Vec<u64> = all().collect();
        let mut here = FxHashSet::default();
        for (at, read) in self.reads.iter().enumerate().rev() {
            here.clear();
            here.extend(read.elements.iter().copied());
            always.retain(|element| {
                let is_here = here.contains(element);
                if !is_here {
                    lives.get_mut(element).expect("every addition has a life").absent_last = Some(at);
                }
                is_here
            });
            if always.is_empty() {
                break;
            }
        }
        lives
    }

    fn judge_element(&self, element: u64, addition: &Op, life: Life, tally: &mut Tally) -> Option<Fault> {
        tally.attempts += 1;
        let acknowledged = match addition.outcome {
            Outcome::Ok(_) => {
                tally.acknowledged += 1;
                addition.returned
            }
            Outcome::Fail(_) => return None,
            Outcome::Info(_) => {
                tally.recovered += u64::from(life.seen_at.is_some());
                None
            }
        };
        let known = acknowledged.into_iter().chain(life.seen_at).min();
        if let Some(fault) = self.missed(element, known, life, tally) {
            return Some(fault);
        }
        if life.seen_at.is_some() {
            tally.stable += 1;
        } else {
            tally.never_read += 1;
            tally.unconfirmed += u64::from(acknowledged.is_some());
        }
        None
    }

    /// Whether a read lacks an element although it was known by then.
    fn missed(&self, element: u64, known: Option<u64>, life: Life, tally: &mut Tally) -> Option<Fault> {
        let absent_last = life
            .absent_last
            .filter(|at| known.is_some_and(|known| known < self.op(self.reads[*at].op).invoked))?;
        let read = self.reads[absent_last].op;
        if life.present_last.is_some_and(|present| present > absent_last) {
            tally.stale += 1;
            return Some(Fault::Stale { read, element });
        }
        tally.lost += 1;
        Some(Fault::Lost { read, element })
    }

    /// The same fault as it first showed: to be told, not for all of them.
    pub(crate) fn first_shown(&self, fault: &Fault) -> Fault {
        let first = |element: u64, found: u32| {
            let acknowledged = self.acknowledged(element);
            let has = |read: &&Read<'_>| read.elements.contains(&element);
            let seen = self.reads.iter().filter(has).filter_map(|read| self.op(read.op).returned).min();
            let known = acknowledged.into_iter().chain(seen).min().expect("it was known when it was missed");
            let later = self.reads.iter().filter(|read| self.op(read.op).invoked > known);
            later.filter(|read| !has(read)).map(|read| read.op).next().unwrap_or(found)
        };
        match *fault {
            Fault::Lost { read, element } => Fault::Lost { read: first(element, read), element },
            Fault::Stale { read, element } => Fault::Stale { read: first(element, read), element },
            Fault::Unexpected { .. }
            | Fault::Aborted { .. }
            | Fault::Duplicated { .. }
            | Fault::Incompatible { .. }
            | Fault::Early { .. }
            | Fault::Skipped { .. } => fault.clone(),
        }
    }

    /// The first thing that is wrong with the order of reads and additions. Elements are right by themselves.
    fn misordered(&self) -> Option<Fault> {
        let mut chain: Vec<&Read<'_>> = self.reads.iter().collect();
        chain.sort_by_key(|read| read.elements.len());
        // The size of the first read of the chain that has it.
        let mut level: FxHashMap<u64, usize> = FxHashMap::default();
        let mut before: Option<&Read<'_>> = None;
        for read in chain {
            let here: FxHashSet<u64> = read.elements.iter().copied().collect();
            if let Some(before) = before
                && let Some(in_one) = before.elements.iter().find(|element| !here.contains(element))
            {
                let there: FxHashSet<u64> = before.elements.iter().copied().collect();
                let in_other = read.elements.iter().find(|element| !there.contains(element));
                let in_other = *in_other.expect("it is no smaller and lacks something");
                return Some(Fault::Incompatible {
                    one: before.op,
                    other: read.op,
                    in_one: *in_one,
                    in_other,
                });
            }
            for element in &here {
                level.entry(*element).or_insert(here.len());
            }
            before = Some(read);
        }
        self.out_of_time(&level)
    }

    fn out_of_time(&self, level: &FxHashMap<u64, usize>) -> Option<Fault> {
        let mut items: Vec<Item> = Vec::with_capacity(self.reads.len() + self.additions.len());
        for read in &self.reads {
            items.push(self.item(2 * read.elements.len() + 1, read.op, None));
        }
        for (&element, &op) in &self.additions {
            match (level.get(&element), &self.op(op).outcome) {
                (Some(level), _) => items.push(self.item(2 * level, op, Some(element))),
                // It comes after all that was seen.
                (None, Outcome::Ok(_)) => items.push(self.item(usize::MAX, op, Some(element))),
                (None, Outcome::Info(_) | Outcome::Fail(_)) => {}
            }
        }
        items.sort_unstable_by_key(|item| (item.rank, item.op));
        // The latest invocation among items of lower rank.
        let mut latest: Option<Item> = None;
        for same in items.chunk_by(|one, other| one.rank == other.rank) {
            if let Some(late) = latest
                && let Some(early) =
                    same.iter().find(|item| item.returned.is_some_and(|time| time < late.invoked))
            {
                return Some(self.explained(*early, late));
            }
            latest = latest.into_iter().chain(same.iter().copied()).max_by_key(|item| item.invoked);
        }
        None
    }

    fn item(&self, rank: usize, op: u32, element: Option<u64>) -> Item {
        let Op { invoked, .. } = *self.op(op);
        Item { rank, op, element, invoked, returned: end(self.op(op)) }
    }

    fn explained(&self, early: Item, late: Item) -> Fault {
        match (early.element, late.element) {
            (None, Some(element)) => Fault::Early { read: early.op, element },
            (Some(early), Some(late)) => {
                let has = |read: &&Read<'_>| read.elements.contains(&late);
                let read = self.reads.iter().filter(has).min_by_key(|read| read.elements.len());
                Fault::Skipped { read: read.expect("an element of some rank was seen").op, late, early }
            }
            // Then some element that was known is missing from the later read.
            (_, None) => unreachable!("elements were right by themselves: {early:?} {late:?}"),
        }
    }

    /// The ops that cannot be explained together.
    pub(crate) fn culprits(&self, fault: &Fault) -> Vec<u32> {
        let mut culprits = match fault {
            Fault::Unexpected { read, .. } => vec![*read],
            Fault::Aborted { read, element }
            | Fault::Duplicated { read, element }
            | Fault::Early { read, element } => vec![*read, self.adder(*element)],
            Fault::Lost { read, element } | Fault::Stale { read, element } => {
                let mut culprits = vec![*read, self.adder(*element)];
                culprits.extend(self.witness(*read, *element));
                culprits
            }
            Fault::Incompatible { one, other, .. } => vec![*one, *other],
            Fault::Skipped { read, late, early } => {
                vec![*read, self.additions[late], self.additions[early]]
            }
        };
        culprits.sort_unstable();
        culprits.dedup();
        culprits
    }

    /// Who had read the element before `read` was invoked.
    fn witness(&self, read: u32, element: u64) -> Option<u32> {
        let invoked = self.op(read).invoked;
        let before = |seen: &&Read<'_>| {
            self.op(seen.op).returned.is_some_and(|time| time < invoked) && seen.elements.contains(&element)
        };
        self.reads.iter().find(before).map(|read| read.op)
    }

    /// The fault in a sentence.
    pub(crate) fn story(&self, fault: &Fault, words: &Words<'_>) -> String {
        let who = |at: u32| {
            let op = self.op(at);
            format!("process {} ({})", op.process, interval(op))
        };
        let Words { set, element: named } = words;
        match *fault {
            Fault::Unexpected { read, element } => {
                format!("{} read {} in {set}, but nobody ever added it", who(read), named(element))
            }
            Fault::Aborted { read, element } => format!(
                "{} read {} in {set}, but its addition by {} failed",
                who(read),
                named(element),
                who(self.additions[&element])
            ),
            Fault::Duplicated { read, element } => {
                format!("{} read {} twice in {set}, but it was added once", who(read), named(element))
            }
            Fault::Lost { read, element } => format!(
                "{} read {set} without {}, although {}, and no later read has it: it is lost",
                who(read),
                named(element),
                self.known(read, element)
            ),
            Fault::Stale { read, element } => format!(
                "{} read {set} without {}, although {}; a later read has it again",
                who(read),
                named(element),
                self.known(read, element)
            ),
            Fault::Incompatible { one, other, in_one, in_other } => format!(
                "{} read {set} with {} and without {}, {} with the latter and without the former: no order of \
                 additions explains both",
                who(one),
                named(in_one),
                named(in_other),
                who(other)
            ),
            Fault::Early { read, element } => format!(
                "{} read {} in {set} before its addition by {} was invoked",
                who(read),
                named(element),
                who(self.additions[&element])
            ),
            Fault::Skipped { read, late, early } => format!(
                "{} read {set} with {} and without {}, although the addition of the latter by process {} had been \
                 acknowledged at {} ms, before that of the former was invoked at {} ms",
                who(read),
                named(late),
                named(early),
                self.addition_of(early).process,
                ms(end(self.addition_of(early)).unwrap_or(u64::MAX)),
                ms(self.addition_of(late).invoked)
            ),
        }
    }

    /// Why the element was known when `read` was invoked.
    fn known(&self, read: u32, element: u64) -> String {
        let addition = self.addition_of(element);
        match self.acknowledged(element).filter(|time| *time < self.op(read).invoked) {
            Some(time) => {
                format!(
                    "its addition by process {} had been acknowledged at {} ms",
                    addition.process,
                    ms(time)
                )
            }
            None => {
                let seen = self.witness(read, element).expect("what is known was acknowledged or read");
                format!("process {} had read it ({})", self.op(seen).process, interval(self.op(seen)))
            }
        }
    }
}

/// An addition or a read in the order of the chain.
#[derive(Clone, Copy, Debug)]
struct Item {
    rank: usize,
    op: u32,
    /// `None`: a read.
    element: Option<u64>,
    invoked: u64,
    returned: Option<u64>,
}

/// What a set and its elements are called.
pub(crate) struct Words<'a> {
    /// `set 3`.
    pub set: String,
    /// `element 5`.
    pub element: &'a dyn Fn(u64) -> String,
}
