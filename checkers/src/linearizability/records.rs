//! Whether records were read and written whole.
//!
//! Each field of a record is a register of its own, judged by itself. That a read sees all fields at one instant, and
//! that an insert writes them all at one, is more than that. Where values are unique, most of the order is known:
//!
//! - a write comes before the reads that saw its value in some field;
//! - a read that saw a value comes before the write of every later value of that field, where zones
//!   ([`super::zones`]) tell which are later: A comes before B if `f(A) < s(B)`;
//! - what returned comes before what was invoked afterwards.
//!
//! If that leaves a circle, no order explains the record. Both the order of values and real time are thresholds on a
//! line, so a few nodes along the line stand for all of their edges, and the graph is as small as the history.
//!
//! This is necessary for atomic records, sound, and cheap. It is not sufficient: of two values whose writes overlap
//! it is often not known which came first.

use super::objects::{Object, RegisterOps, field_ops};
use super::register::{self, Action, Judgement, Numbered, RegisterOp, Step};
use super::wgl::Limits;
use super::zones::{Block, Zones};
use crate::history::{Answer, Call, History, Outcome};
use std::collections::VecDeque;

/// Why one op (positions in the history's ops) comes before another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub from: u32,
    pub to: u32,
    pub why: Why,
}

/// See [`Link`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The second saw in this field what the first wrote.
    Saw(u32),
    /// The first saw, or wrote, a value of this field that came before the second's.
    Replaced(u32, Option<u64>),
    /// The first returned before the second was invoked.
    Time,
    /// They are the read and the write of one read-modify-write.
    Same,
}

/// What became of a record.
pub(super) enum RecordJudgement {
    /// The judgement of the first field that is not linearizable, or else of one that could not be decided, or else
    /// that of any.
    Field(u32, Judgement),
    /// Each field is linearizable by itself, but each of these ops must come before the next, and the last before the
    /// first.
    Circle(Vec<Link>),
}

/// Judges each field of a record, then the record.
pub(super) fn judge(history: &History, object: &Object, fields: u32, limits: &Limits) -> RecordJudgement {
    let mut undecided = None;
    let mut order = Order::new(history, object);
    for (field, RegisterOps { ops, hostile }) in (0..).zip(field_ops(history, object, fields)) {
        let numbered = Numbered::new(&ops, &hostile);
        match register::judge_numbered(&ops, &numbered, limits) {
            (Judgement::Linearizable, Some(zones)) => order.add_field(field, &ops, &numbered, &zones),
            // A value was written twice: the order of this field is not known.
            (Judgement::Linearizable, None) => {}
            (judgement @ Judgement::Exhausted { .. }, _) => undecided = Some((field, judgement)),
            (judgement @ (Judgement::Violation(_) | Judgement::Stuck(_)), _) => {
                return RecordJudgement::Field(field, judgement);
            }
        }
    }
    order.add_real_time();
    match order.circle() {
        Some(circle) => RecordJudgement::Circle(circle),
        None => {
            let (field, judgement) = undecided.unwrap_or((0, Judgement::Linearizable));
            RecordJudgement::Field(field, judgement)
        }
    }
}

/// What is known of the order of a record's ops: a graph. Nodes `2n` and `2n + 1` are the read and the write of the object's
/// op `n`; behind them come those that stand for no op.
struct Order<'a> {
    history: &'a History,
    object: &'a Object,
    /// When the op of a node was invoked and returned; `None` if no field has the node.
    spans: Vec<Option<(u64, u64)>>,
    others: Vec<Other>,
    /// From, to.
    edges: Vec<(u32, u32)>,
}

/// A node that stands for no op.
#[derive(Clone, Copy)]
enum Other {
    /// The end of a value's time in a field.
    End(u32, Option<u64>),
    /// A point on a line.
    Point,
}

impl<'a> Order<'a> {
    fn new(history: &'a History, object: &'a Object) -> Self {
        Self {
            history,
            object,
            spans: vec![None; 2 * object.ops.len()],
            others: Vec::new(),
            edges: Vec::new(),
        }
    }

    fn other(&mut self, other: Other) -> u32 {
        self.others.push(other);
        (self.spans.len() + self.others.len() - 1) as u32
    }

    /// Adds what a field tells.
    fn add_field(&mut self, field: u32, ops: &[RegisterOp], numbered: &Numbered, zones: &Zones) {
        let nodes = self.nodes(ops);
        let ends: Vec<u32> = zones
            .blocks
            .iter()
            .map(|block| self.other(Other::End(field, numbered.values[block.root as usize])))
            .collect();
        for (at, step) in numbered.steps.iter().enumerate() {
            let (Step::Read(value) | Step::Write(value)) = *step else { continue };
            let Some(rank) = zones.rank_of(value) else { continue };
            self.spans[nodes[at] as usize] = Some((ops[at].invoked, ops[at].returned));
            self.edges.push((nodes[at], ends[rank]));
            if let (Step::Read(_), Some(writer)) = (step, zones.blocks[rank].writer) {
                self.edges.push((nodes[writer as usize], nodes[at]));
            }
        }
        self.add_versions(&zones.blocks, &ends, |writer| nodes[writer as usize]);
    }

    /// The node of each op on a field.
    fn nodes(&self, ops: &[RegisterOp]) -> Vec<u32> {
        let mut at = 0;
        let node = |op: &RegisterOp| {
            // Both are by position.
            while self.object.ops[at] < op.position {
                at += 1;
            }
            2 * at as u32 + u32::from(matches!(op.action, Action::Write(_) | Action::Cas { .. }))
        };
        ops.iter().map(node).collect()
    }

    /// Which value comes before which. A block never comes before itself, though its `f` may be less than its `s`: so
    /// forward zones, which are apart and have an order, are kept from meeting themselves on a line.
    fn add_versions(&mut self, blocks: &[Block], ends: &[u32], node: impl Fn(u32) -> u32) {
        let (mut to_backward, mut to_forward) = (Vec::new(), Vec::new());
        let mut forward_before = None;
        for (block, &end) in blocks.iter().zip(ends) {
            let is_forward = block.first_return < block.last_invoke;
            let begin = block.writer.map(&node);
            to_backward.push((block.first_return, true, end));
            if is_forward {
                let before = forward_before.replace(end);
                self.edges.extend(before.zip(begin));
                to_forward.extend(begin.map(|begin| (block.last_invoke, false, begin)));
            } else {
                to_forward.push((block.first_return, true, end));
                to_backward.extend(begin.map(|begin| (block.last_invoke, false, begin)));
            }
        }
        self.add_line(to_backward);
        self.add_line(to_forward);
    }

    /// Whatever leaves at a time comes before whatever enters at a later one: time, whether it leaves, node.
    fn add_line(&mut self, mut events: Vec<(u64, bool, u32)>) {
        events.sort_unstable();
        let mut last = None;
        for (_, leaves, node) in events {
            if leaves {
                let point = self.other(Other::Point);
                self.edges.push((node, point));
                self.edges.extend(last.replace(point).map(|last| (last, point)));
            } else {
                self.edges.extend(last.map(|last| (last, node)));
            }
        }
    }

    fn add_real_time(&mut self) {
        let mut events = Vec::with_capacity(2 * self.spans.len());
        for (node, span) in (0..).zip(&self.spans) {
            if let Some((invoked, returned)) = *span {
                events.push((invoked, false, node));
                events.push((returned, true, node));
            }
        }
        self.add_line(events);
        for node in (0..self.spans.len() as u32).step_by(2) {
            if self.spans[node as usize].is_some() && self.spans[node as usize + 1].is_some() {
                self.edges.push((node, node + 1));
            }
        }
    }

    /// A short circle, if there is any.
    fn circle(&self) -> Option<Vec<Link>> {
        /// From how many nodes a shortest circle is looked for.
        const STARTS_MAX: usize = 64;
        let graph = Graph::new(self.spans.len() + self.others.len(), &self.edges);
        let is_left = graph.without_order();
        let starts = (0..self.spans.len() as u32).filter(|node| is_left[*node as usize]).take(STARTS_MAX);
        let circles = starts.filter_map(|start| graph.shortest_circle(start, &is_left));
        let shortest = circles.min_by_key(Vec::len)?;
        Some(self.links(&shortest))
    }

    /// The ops of a circle of nodes that begins with an op's.
    fn links(&self, circle: &[u32]) -> Vec<Link> {
        let mut links = Vec::new();
        let mut from = circle[0];
        let mut by = None;
        for &node in circle[1..].iter().chain(&circle[..1]) {
            if (node as usize) >= self.spans.len() {
                by = match (by, self.others[node as usize - self.spans.len()]) {
                    (Some(end @ Other::End(..)), _) | (_, end @ Other::End(..)) => Some(end),
                    (_, Other::Point) => Some(Other::Point),
                };
                continue;
            }
            let position = |node: u32| self.object.ops[node as usize / 2];
            let why = match by.take() {
                Some(Other::End(field, value)) => Why::Replaced(field, value),
                Some(Other::Point) => Why::Time,
                None if from / 2 == node / 2 => Why::Same,
                None => Why::Saw(self.field_seen(position(from), position(node))),
            };
            links.push(Link { from: position(from), to: position(node), why });
            from = node;
        }
        links
    }

    /// In which field a read saw what a write wrote.
    fn field_seen(&self, write: u32, read: u32) -> u32 {
        match (&self.history.ops[write as usize].call, &self.history.ops[read as usize].outcome) {
            (Call::Insert { value, .. }, Outcome::Ok(Answer::Fields(Some(fields)))) => {
                fields.iter().position(|field| field == value).map_or(0, |field| field as u32)
            }
            (Call::Update { field, .. } | Call::ReadModifyWrite { field, .. }, _) => *field,
            _ => 0,
        }
    }
}

/// Edges by the node that they leave.
struct Graph {
    /// Where each node's edges begin in `to`.
    begin: Vec<u32>,
    to: Vec<u32>,
}

impl Graph {
    fn new(nodes: usize, edges: &[(u32, u32)]) -> Self {
        let mut begin = vec![0; nodes + 1];
        for (from, _) in edges {
            begin[*from as usize + 1] += 1;
        }
        for node in 0..nodes {
            begin[node + 1] += begin[node];
        }
        let mut place = begin.clone();
        let mut to = vec![0; edges.len()];
        for (from, target) in edges {
            let place = &mut place[*from as usize];
            to[*place as usize] = *target;
            *place += 1;
        }
        Self { begin, to }
    }

    fn from(&self, node: u32) -> &[u32] {
        &self.to[self.begin[node as usize] as usize..self.begin[node as usize + 1] as usize]
    }

    /// Which nodes are left when again and again those are taken away that nothing comes before.
    fn without_order(&self) -> Vec<bool> {
        let nodes = self.begin.len() - 1;
        let mut before = vec![0_u32; nodes];
        for target in &self.to {
            before[*target as usize] += 1;
        }
        let mut ready: Vec<u32> = (0..nodes as u32).filter(|node| before[*node as usize] == 0).collect();
        let mut is_left = vec![true; nodes];
        while let Some(node) = ready.pop() {
            is_left[node as usize] = false;
            for &target in self.from(node) {
                before[target as usize] -= 1;
                if before[target as usize] == 0 {
                    ready.push(target);
                }
            }
        }
        is_left
    }

    /// A shortest circle through a node, among some of the nodes.
    fn shortest_circle(&self, start: u32, is_part: &[bool]) -> Option<Vec<u32>> {
        const UNSEEN: u32 = u32::MAX;
        let mut came_from = vec![UNSEEN; is_part.len()];
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for &target in self.from(node) {
                if target == start {
                    let mut circle = vec![node];
                    while circle.last() != Some(&start) {
                        circle.push(came_from[circle[circle.len() - 1] as usize]);
                    }
                    circle.reverse();
                    return Some(circle);
                }
                if is_part[target as usize] && came_from[target as usize] == UNSEEN {
                    came_from[target as usize] = node;
                    queue.push_back(target);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::objects::Objects;
    use super::*;
    use crate::history::{Op, Phase, ProcessId};
    use crate::linearizability::wgl::{self, Found, Model, Span, State};
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;
    use std::collections::HashMap;
    use std::time::{Duration, Instant};

    const FIELDS: u32 = 2;

    /// Whole records: what the fields can only approach.
    struct Whole<'a> {
        ops: &'a [Op],
        states: Vec<Option<Vec<u64>>>,
        numbers: HashMap<Option<Vec<u64>>, State>,
    }

    impl Model for Whole<'_> {
        fn initial(&self) -> State {
            State(0)
        }

        fn step(&mut self, state: State, op: usize) -> Option<State> {
            let mut record = self.states[state.0 as usize].clone();
            match (&self.ops[op].call, &self.ops[op].outcome) {
                (Call::Insert { value, .. }, _) => record = Some(vec![*value; FIELDS as usize]),
                (Call::Update { field, value, .. }, _) => record.as_mut()?[*field as usize] = *value,
                (_, Outcome::Ok(Answer::Fields(read))) if *read == record => return Some(state),
                _ => return None,
            }
            let next = State(self.states.len() as u32);
            Some(*self.numbers.entry(record.clone()).or_insert_with(|| {
                self.states.push(record);
                next
            }))
        }

        fn is_read_only(&self, op: usize) -> bool {
            matches!(self.ops[op].call, Call::ReadRecord { .. })
        }
    }

    /// One record that was there; where nobody is hostile, in some histories, a read that mixes two of its states. Hostile updates
    /// take effect now and then.
    fn random(hostile: f64, chance: &mut impl Rng) -> Vec<Op> {
        let insert = (0, 1, 1, Call::Insert { key: 1, value: 1 });
        let mut txns: Vec<(u64, u64, u64, Call)> = vec![insert];
        for value in 2..11 {
            let invoked = chance.random_range(2..20);
            let returned = invoked + chance.random_range(4..16);
            let field = chance.random_range(0..FIELDS);
            let call = if chance.random_bool(0.5) {
                Call::ReadRecord { key: 1 }
            } else {
                Call::Update { key: 1, field, value }
            };
            txns.push((invoked, returned, chance.random_range(invoked..=returned), call));
        }
        txns.sort_by_key(|(_, _, at, _)| *at);
        let mut states = Vec::new();
        let mut record = vec![1; FIELDS as usize];
        let updates = txns.iter().filter_map(|(.., call)| {
            if let Call::Update { field, value, .. } = call { Some((*field, *value)) } else { None }
        });
        let hostile: Vec<(u32, u64)> = updates.filter(|_| chance.random_bool(hostile)).collect();
        let answers = txns.into_iter().map(|(invoked, returned, _, call)| {
            if !hostile.is_empty() && chance.random_bool(0.4) {
                let (field, value) = hostile[chance.random_range(0..hostile.len())];
                record[field as usize] = value;
            }
            let answer = match &call {
                Call::Update { field, value, .. } if hostile.contains(&(*field, *value)) => Answer::Done,
                Call::Update { field, value, .. } => {
                    record[*field as usize] = *value;
                    Answer::Done
                }
                Call::ReadRecord { .. } => Answer::Fields(Some(record.clone())),
                Call::Read { .. }
                | Call::Write { .. }
                | Call::Cas { .. }
                | Call::Txn(_)
                | Call::Insert { .. }
                | Call::Scan { .. }
                | Call::ReadModifyWrite { .. } => Answer::Done,
            };
            states.push(record.clone());
            (invoked, returned, call, answer)
        });
        let mut ops: Vec<(u64, u64, Call, Answer)> = answers.collect();
        if hostile.is_empty() && chance.random_bool(0.7) {
            let other = states[chance.random_range(0..states.len())].clone();
            let reads = ops
                .iter_mut()
                .filter_map(|op| if let Answer::Fields(Some(read)) = &mut op.3 { Some(read) } else { None });
            if let Some(read) = reads.last() {
                let field = chance.random_range(0..FIELDS as usize);
                read[field] = other[field];
            }
        }
        ops.sort_by_key(|(invoked, ..)| *invoked);
        let op = |(at, (invoked, returned, call, answer)): (u32, _)| Op {
            index: u64::from(at),
            process: ProcessId(at),
            phase: Phase::Run,
            is_hostile: matches!(&call, Call::Update { field, value, .. } if hostile.contains(&(*field, *value))),
            to: None,
            by: Vec::new(),
            call,
            intended: invoked,
            invoked,
            returned: Some(returned),
            outcome: Outcome::Ok(answer),
        };
        (0..).zip(ops).map(op).collect()
    }

    fn limits() -> Limits {
        Limits { deadline: Instant::now() + Duration::from_secs(60), memory_bytes_max: 1 << 30 }
    }

    #[test]
    fn no_record_is_accused_of_what_hostile_processes_did() {
        let mut found = 0;
        for seed in 0..20_000 {
            let ops = random(0.4, &mut Xoshiro256PlusPlus::seed_from_u64(seed));
            let mut history = History { ops, ..History::empty() };
            let judged = judge(&history, &Objects::of(&history).all[0], FIELDS, &limits());
            let is_valid = matches!(judged, RecordJudgement::Field(_, Judgement::Linearizable));
            assert!(
                is_valid || !history.ops.iter().any(|op| op.is_hostile),
                "seed {seed}: {:#?}",
                history.ops
            );
            // The same without the marks would often be accused.
            history.ops.iter_mut().for_each(|op| op.is_hostile = false);
            let judged = judge(&history, &Objects::of(&history).all[0], FIELDS, &limits());
            found += u64::from(!matches!(judged, RecordJudgement::Field(_, Judgement::Linearizable)));
        }
        assert!(found > 2_000, "{found}");
    }

    #[test]
    fn no_whole_record_is_accused_and_torn_reads_are_found() {
        let (mut valid, mut torn, mut missed) = (0, 0, 0);
        for seed in 0..30_000 {
            let ops = random(0.0, &mut Xoshiro256PlusPlus::seed_from_u64(seed));
            let span = |op: &Op| Span { invoked: op.invoked, returned: op.returned };
            let spans: Vec<Span> = ops.iter().map(span).collect();
            let limits = limits();
            let mut model = Whole { ops: &ops, states: vec![None], numbers: HashMap::new() };
            let is_whole = matches!(wgl::search(&mut model, &spans, &limits), Found::Order(_));
            let history = History { ops, ..History::empty() };
            let judged = judge(&history, &Objects::of(&history).all[0], FIELDS, &limits);
            match (&judged, is_whole) {
                (RecordJudgement::Field(_, Judgement::Linearizable), true) => valid += 1,
                (RecordJudgement::Field(_, Judgement::Linearizable), false) => missed += 1,
                (RecordJudgement::Circle(_), false) => torn += 1,
                (_, true) => panic!("seed {seed}: {:#?}", history.ops),
                (_, false) => {}
            }
        }
        assert!(valid > 5_000, "{valid}");
        // Of what single fields do not show, nearly all is found.
        assert!(torn > 10 * missed && torn > 500, "{torn} found, {missed} missed");
    }
}
