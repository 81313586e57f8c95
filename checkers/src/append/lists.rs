//! One list at a time: what the reads and appends of transactions say about it.
//!
//! Elements of a list are unique and are only ever added at its end, so a read of the whole list tells the order of all
//! appends before it, and the longest read tells the order of all that were seen. Each transaction, as far as this
//! list goes, is one op at one instant: it finds some version (a length) and may add elements right behind it. Hence:
//!
//! 1. within a transaction, each read is the one before plus the transaction's own appends;
//! 2. an element is in a read at most once, and was appended by a transaction that did not fail;
//! 3. every read is a prefix of the longest one;
//! 4. the elements that one transaction appended stand together, and behind what it read; nobody sees a part of them;
//! 5. versions follow one another in real time: what returned before another transaction was invoked saw, or made, no
//!    later a version. An acknowledged append that nobody saw comes after all versions that were seen.
//!
//! Given unique elements these conditions are exact for one list.
//!
//! Elements of hostile processes may stand anywhere, any number of times, but not among those of one transaction; and what was
//! read once stays in its place.

use crate::evidence::key_of;
use crate::history::{Answer, Call, History, MicroAnswer, MicroCall, Op, Outcome};
use rustc_hash::{FxHashMap, FxHashSet};

/// What is wrong with a list, worst first. Ops are positions in the history's ops.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wrong {
    /// An element that nobody appended.
    NeverAppended { read: u32, element: u64 },
    /// An element whose transaction failed.
    Aborted { read: u32, append: u32, element: u64 },
    /// One element twice in one read.
    Twice { read: u32, element: u64 },
    /// A transaction does not see its own earlier steps.
    Internal { op: u32, found: Vec<u64>, expected: Vec<u64> },
    /// Neither of two reads begins with the other.
    Incompatible { one: u32, other: u32, at: usize },
    /// A part of a transaction's appends was seen, or another's stand among them.
    Partial { append: u32, read: u32, element: u64, missing: u64 },
    /// A transaction's append does not stand right behind what the transaction read; `between`, which another transaction
    /// appended, does.
    Overtaken { op: u32, element: u64, by: u32, between: u64 },
    /// Two transactions found the same version and each added to it: one of their appends is lost.
    Forked { one: u32, other: u32, element: u64, found: usize },
    /// An acknowledged append is missing from a read that was invoked later.
    Lost { read: u32, append: u32, element: u64 },
    /// A transaction found or made an older version than one that had returned before it was invoked.
    Stale { late: Version, early: Version },
}

/// Who found or made a version of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub op: u32,
    /// How many elements it has.
    pub length: usize,
    /// The element that made it; `None` if it was found.
    pub element: Option<u64>,
}

/// A read of the list in a transaction that succeeded.
struct Read<'a> {
    op: u32,
    list: &'a [u64],
    /// What the transaction itself had appended before.
    own: Vec<u64>,
}

/// An element's append.
#[derive(Clone, Copy)]
struct Append {
    op: u32,
    /// The elements that the same transaction appended before and after it.
    previous: Option<u64>,
    next: Option<u64>,
}

/// A list and the transactions that touch it.
pub(super) struct List<'a> {
    history: &'a History,
    reads: Vec<Read<'a>>,
    appends: FxHashMap<u64, Append>,
    /// Elements that hostile processes may have appended, and an op that did.
    hostile: FxHashMap<u64, u32>,
    /// Elements in the order of the longest read.
    order: &'a [u64],
    /// The place of each of them.
    places: FxHashMap<u64, usize>,
}

/// An element that was appended twice: nothing can be told of its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repeated {
    pub element: u64,
}

/// The steps of a transaction on one list, with their answers if it succeeded.
pub(super) fn steps_on(op: &Op, key: u64) -> impl Iterator<Item = (&MicroCall, Option<&MicroAnswer>)> {
    let steps: &[MicroCall] = if let Call::Txn(steps) = &op.call { steps } else { &[] };
    let answers: &[MicroAnswer] = match &op.outcome {
        Outcome::Ok(Answer::Txn(answers)) => answers,
        Outcome::Ok(_) | Outcome::Fail(_) | Outcome::Info(_) => &[],
    };
    let steps = steps.iter().enumerate().filter(move |(_, step)| key_of(step) == key);
    steps.map(|(at, step)| (step, answers.get(at)))
}

impl<'a> List<'a> {
    /// Collects what transactions (positions in the history's ops) did to a list.
    pub(super) fn new(history: &'a History, key: u64, ops: &[u32]) -> Result<Self, Repeated> {
        let mut list = Self {
            history,
            reads: Vec::new(),
            appends: FxHashMap::default(),
            hostile: FxHashMap::default(),
            order: &[],
            places: FxHashMap::default(),
        };
        for &position in ops {
            match history.ops[position as usize].is_hostile {
                true => list.add_hostile(position, key),
                false => list.add(position, key)?,
            }
        }
        if let Some(element) = list.hostile.keys().find(|element| list.appends.contains_key(element)) {
            return Err(Repeated { element: *element });
        }
        let longest = list.reads.iter().map(|read| read.list).max_by_key(|list| list.len());
        list.order = longest.unwrap_or_default();
        list.places = list.order.iter().copied().zip(0..).collect();
        Ok(list)
    }

    fn add(&mut self, op: u32, key: u64) -> Result<(), Repeated> {
        let mut own: Vec<u64> = Vec::new();
        for (step, answer) in steps_on(&self.history.ops[op as usize], key) {
            match (step, answer) {
                (MicroCall::Append { value, .. }, _) => {
                    let previous = own.last().copied();
                    if let Some(previous) = previous {
                        self.appends.get_mut(&previous).expect("it was added below").next = Some(*value);
                    }
                    own.push(*value);
                    if self.appends.insert(*value, Append { op, previous, next: None }).is_some() {
                        return Err(Repeated { element: *value });
                    }
                }
                (MicroCall::ReadList { .. }, Some(MicroAnswer::List(list))) => {
                    self.reads.push(Read { op, list, own: own.clone() });
                }
                (MicroCall::ReadList { .. } | MicroCall::Read { .. } | MicroCall::Write { .. }, _) => {}
            }
        }
        Ok(())
    }

    fn add_hostile(&mut self, op: u32, key: u64) {
        for (step, _) in steps_on(&self.history.ops[op as usize], key) {
            if let MicroCall::Append { value, .. } = step {
                self.hostile.insert(*value, op);
            }
        }
    }

    fn op(&self, op: u32) -> &'a Op {
        &self.history.ops[op as usize]
    }

    /// Whether hostile processes may have appended to it.
    pub(super) fn has_hostile(&self) -> bool {
        !self.hostile.is_empty()
    }

    /// The elements, in the order of the longest read.
    pub(super) fn order(&self) -> &'a [u64] {
        self.order
    }

    /// The first thing that is wrong, of the worst kind there is.
    pub(super) fn judge(&self) -> Result<(), Wrong> {
        self.check_elements()?;
        self.check_own_steps()?;
        self.check_prefixes()?;
        self.check_whole()?;
        self.check_found()?;
        self.check_real_time()
    }

    fn check_elements(&self) -> Result<(), Wrong> {
        let mut seen = FxHashSet::default();
        let mut twice = Ok(());
        // A shorter read that is a prefix of the longest has nothing that the longest has not.
        for read in
            self.reads.iter().filter(|read| !self.order.starts_with(read.list) || read.list == self.order)
        {
            seen.clear();
            for &element in read.list {
                match self.appends.get(&element) {
                    None if self.hostile.contains_key(&element) => {}
                    None => return Err(Wrong::NeverAppended { read: read.op, element }),
                    Some(append) if matches!(self.op(append.op).outcome, Outcome::Fail(_)) => {
                        return Err(Wrong::Aborted { read: read.op, append: append.op, element });
                    }
                    Some(_) if !seen.insert(element) && twice.is_ok() => {
                        twice = Err(Wrong::Twice { read: read.op, element });
                    }
                    Some(_) => {}
                }
            }
        }
        twice
    }

    fn check_own_steps(&self) -> Result<(), Wrong> {
        let mut before: Option<&Read<'_>> = None;
        for read in &self.reads {
            let expected = match before.filter(|before| before.op == read.op) {
                Some(before) => {
                    let mut expected = before.list.to_vec();
                    expected.extend_from_slice(&read.own[before.own.len()..]);
                    (read.list != expected).then_some(expected)
                }
                None => (!read.list.ends_with(&read.own)).then(|| read.own.clone()),
            };
            if let Some(expected) = expected {
                return Err(Wrong::Internal { op: read.op, found: read.list.to_vec(), expected });
            }
            before = Some(read);
        }
        Ok(())
    }

    fn check_prefixes(&self) -> Result<(), Wrong> {
        let Some(longest) = self.reads.iter().find(|read| read.list == self.order) else { return Ok(()) };
        for read in &self.reads {
            if let Some(at) = (0..read.list.len()).find(|at| read.list[*at] != self.order[*at]) {
                return Err(Wrong::Incompatible { one: read.op, other: longest.op, at });
            }
        }
        Ok(())
    }

    /// Appends of one transaction stand together, and no other transaction's read ends among them.
    fn check_whole(&self) -> Result<(), Wrong> {
        for read in &self.reads {
            let found = &read.list[..read.list.len() - read.own.len()];
            let last = found.last().and_then(|element| Some((*element, self.appends.get(element)?)));
            if let Some((element, &Append { op: append, next, .. })) = last
                && let Some(missing) = next.filter(|_| append != read.op)
            {
                return Err(Wrong::Partial { append, read: read.op, element, missing });
            }
        }
        // What holds for every element of the longest read holds for all reads, which begin it.
        let Some(longest) = self.reads.iter().find(|read| read.list == self.order) else { return Ok(()) };
        for (place, &element) in self.order.iter().enumerate() {
            let Some(&Append { op: append, previous, next }) = self.appends.get(&element) else { continue };
            let before = place.checked_sub(1).map(|before| self.order[before]);
            let after = self.order.get(place + 1).copied();
            let torn = if previous.is_some() && previous != before {
                previous
            } else {
                // At the end there may be more to come: that was looked at above.
                next.filter(|_| after.is_some() && next != after)
            };
            if let Some(missing) = torn {
                return Err(Wrong::Partial { append, read: longest.op, element, missing });
            }
        }
        Ok(())
    }

    /// What a transaction appends stands right behind what it found.
    fn check_found(&self) -> Result<(), Wrong> {
        // Who added to the last version that anybody saw.
        let mut added: Option<(u32, u64)> = None;
        for (op, found, element) in self.appending_reads() {
            let place = self.places.get(&element).copied();
            if place == Some(found) {
                continue;
            }
            if let Some(place) = place.filter(|place| *place < found) {
                // It read its own append before it made it.
                let (found, expected) = (self.order[..found].to_vec(), self.order[..place].to_vec());
                return Err(Wrong::Internal { op, found, expected });
            }
            if found < self.order.len() {
                let between = self.order[found];
                let by =
                    self.appends.get(&between).map_or_else(|| self.hostile[&between], |append| append.op);
                return Err(Wrong::Overtaken { op, element, by, between });
            }
            if let Some((one, element)) = added.replace((op, element)) {
                return Err(Wrong::Forked { one, other: op, element, found });
            }
        }
        Ok(())
    }

    /// Of each successful transaction that reads and appends: the version that it found and its first append.
    fn appending_reads(&self) -> impl Iterator<Item = (u32, usize, u64)> {
        let mut first_append: FxHashMap<u32, u64> = FxHashMap::default();
        for (element, append) in self.appends.iter().filter(|(_, append)| append.previous.is_none()) {
            first_append.insert(append.op, *element);
        }
        let mut last = None;
        let firsts = self.reads.iter().filter(move |read| last.replace(read.op) != Some(read.op));
        firsts.filter_map(move |read| {
            let element = first_append.get(&read.op)?;
            Some((read.op, read.list.len() - read.own.len(), *element))
        })
    }

    fn check_real_time(&self) -> Result<(), Wrong> {
        let mut items = self.items();
        items.sort_unstable_by_key(|item| item.rank);
        // The latest invocation among items of lower rank.
        let mut latest: Option<Item> = None;
        let mut at = 0;
        while at < items.len() {
            let rank = items[at].rank;
            let end = at + items[at..].partition_point(|item| item.rank == rank);
            if let Some(late) = latest {
                let early =
                    items[at..end].iter().find(|item| item.returned.is_some_and(|time| time < late.invoked));
                if let Some(early) = early {
                    return Err(self.out_of_time(*early, late));
                }
            }
            for item in &items[at..end] {
                if latest.is_none_or(|latest| item.invoked > latest.invoked) {
                    latest = Some(*item);
                }
            }
            at = end;
        }
        Ok(())
    }

    /// What stands when: reads at the version that they found, appends at the one that they made. A version's reads come
    /// between the append that made it and the next.
    fn items(&self) -> Vec<Item> {
        let mut items = Vec::with_capacity(self.reads.len() + self.appends.len());
        for read in &self.reads {
            let length = read.list.len() - read.own.len();
            items.push(self.item(2 * length + 1, Version { op: read.op, length, element: None }));
        }
        for (&element, append) in &self.appends {
            let is_ok = matches!(self.op(append.op).outcome, Outcome::Ok(_));
            let version = |length| Version { op: append.op, length, element: Some(element) };
            match self.places.get(&element) {
                Some(place) => items.push(self.item(2 * place + 2, version(place + 1))),
                // Nobody saw it: if it was acknowledged, it comes after all that was seen.
                None if is_ok => items.push(self.item(usize::MAX, version(usize::MAX))),
                None => {}
            }
        }
        items
    }

    fn item(&self, rank: usize, version: Version) -> Item {
        let op = self.op(version.op);
        Item { rank, version, invoked: op.invoked, returned: crate::evidence::end(op) }
    }

    fn out_of_time(&self, early: Item, late: Item) -> Wrong {
        match (early.version.element, late.version.element) {
            (Some(element), None) => Wrong::Lost { read: late.version.op, append: early.version.op, element },
            _ => Wrong::Stale { late: late.version, early: early.version },
        }
    }
}

/// A read or an append in the order of versions.
#[derive(Clone, Copy)]
struct Item {
    rank: usize,
    version: Version,
    invoked: u64,
    returned: Option<u64>,
}
