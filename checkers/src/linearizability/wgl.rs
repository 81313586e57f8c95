//! The general search: Wing and Gong's, with Lowe's memo.
//!
//! It takes ops one after another, always one that may come next (no op left behind returned before it was
//! invoked), and goes back when an op's return is reached that no order explains. A configuration is the set of
//! ops taken and the state they led to; none is visited twice. What differs from Porcupine's implementation:
//!
//! - The memo holds 128-bit fingerprints (each op has a random-looking number, a set is their exclusive or), not
//!   sets: 20 to 40 bytes a configuration whatever the history's length.
//! - A read-only op that fits the present state is taken at once and no other choice is considered: it can be moved
//!   here in any order that works. So reads neither branch nor multiply configurations.
//! - Ops whose outcome is unknown are offered last, only if they change the state, and of several with the same effect
//!   only the one invoked first: an order that uses another can use this one instead.
//! - Deadline and memory are looked at inside the loop.
//!
//! At a quiescent point the set of ops taken is the same on every path, so the memo tells paths apart by state
//! alone: a history falls into parts in time without being cut.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Instant;

/// A state, numbered by its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State(pub u32);

/// What the ops of one object mean. Ops are numbered from 0.
pub trait Model {
    /// Before any op.
    fn initial(&self) -> State;

    /// The state after `op`, or `None` if `op` cannot have been answered as it was in `state`. A model may also say `None`
    /// where it can tell that no order of the ops left can succeed from there.
    fn step(&mut self, state: State, op: usize) -> Option<State>;

    /// Whether the op, where it fits and changes nothing, may as well come at once: always if it changes no state.
    fn is_read_only(&self, op: usize) -> bool;

    /// Ops of unknown outcome with equal effects can stand for one another.
    fn effect(&self, op: usize) -> u64 {
        op as u64
    }

    /// The search has taken `op`.
    fn taken(&mut self, op: usize) {
        let _ = op;
    }

    /// The search has gone back behind `op`.
    fn untaken(&mut self, op: usize) {
        let _ = op;
    }
}

/// When an op ran. Ops that touch at one instant are concurrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// In any unit.
    pub invoked: u64,
    /// `None`: its outcome is unknown, it may take effect at any time from `invoked` on, or never.
    pub returned: Option<u64>,
}

/// What a search may use up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// It stops then.
    pub deadline: Instant,
    /// For the memo, which is nearly all that a search needs.
    pub memory_bytes_max: usize,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The ops in an order that explains them. Ops of unknown outcome that are not in it took no effect.
    Order(Vec<u32>),
    /// There is no such order.
    None(Stuck),
    /// It gave up.
    Exhausted {
        /// What ran out.
        reason: &'static str,
        /// How many ops with a known outcome the longest order has that was found.
        explained: usize,
        /// Of how many.
        of: usize,
    },
}

/// How far any order goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stuck {
    /// The first op, by return, that no order explains: up to its return at most, the history is linearizable.
    pub op: u32,
    /// The longest orders of ops up to there, a few of them; of each at most the last [`PREFIX_OPS_MAX`] ops.
    pub prefixes: Vec<Vec<u32>>,
}

/// The most ops of a prefix that are kept.
pub const PREFIX_OPS_MAX: usize = 256;
/// The most prefixes that are kept.
const PREFIXES_MAX: usize = 3;
/// How many configurations pass between two looks at the clock.
const CONFIGURATIONS_PER_LOOK: u32 = 256;

/// Searches for an order of the ops that `model` explains.
pub fn search(model: &mut impl Model, spans: &[Span], limits: &Limits) -> Found {
    Search::new(model, spans, limits).run()
}

/// Sentinels of the two circular lists of events.
const MAIN: u32 = 0;
const UNKNOWN: u32 = 1;
/// The first event.
const FIRST: u32 = 2;
/// No event.
const NONE: u32 = u32::MAX;

/// An op that was taken.
struct Frame {
    /// Its invocation.
    event: u32,
    /// The state before it.
    before: State,
    /// Whether it was the only choice worth considering.
    forced: bool,
}

struct Search<'a, M> {
    model: &'a mut M,
    limits: &'a Limits,
    /// The op of each event. Events are numbered by time, invocations before returns at one instant.
    op: Vec<u32>,
    /// The return of the invocation `event`; `NONE` for returns and for ops of unknown outcome.
    return_of: Vec<u32>,
    /// The events of ops not taken: `MAIN` begins the list of those with known outcome, `UNKNOWN` the other invocations.
    next: Vec<u32>,
    previous: Vec<u32>,
    /// For an op of unknown outcome: the one before it with the same effect.
    twin: Vec<u32>,
    is_taken: Vec<bool>,
    stack: Vec<Frame>,
    /// Of the set of ops taken.
    fingerprint: u128,
    memo: HashSet<u128, BuildHasherDefault<Fingerprint>>,
    known_left: usize,
    known: usize,
    known_left_least: usize,
    /// The return event of `stuck.op`.
    stuck_at: u32,
    stuck_depth: usize,
    stuck: Stuck,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a mut M, spans: &[Span], limits: &'a Limits) -> Self {
        // Reads of unknown outcome say nothing.
        let is_used = |op: usize| spans[op].returned.is_some() || !model.is_read_only(op);
        let used: Vec<u32> = (0..spans.len()).filter(|op| is_used(*op)).map(|op| op as u32).collect();
        let mut order: Vec<(u64, bool, u32)> = Vec::with_capacity(2 * used.len());
        for &op in &used {
            let span = spans[op as usize];
            order.push((span.invoked, false, op));
            if let Some(returned) = span.returned {
                order.push((returned, true, op));
            }
        }
        order.sort_unstable();
        let events = order.len() + FIRST as usize;
        let known = events - FIRST as usize - used.len();
        let mut search = Self {
            model,
            limits,
            op: vec![NONE; events],
            return_of: vec![NONE; events],
            next: vec![MAIN; events],
            previous: vec![MAIN; events],
            twin: vec![NONE; spans.len()],
            is_taken: vec![false; spans.len()],
            stack: Vec::new(),
            fingerprint: 0,
            memo: HashSet::default(),
            known_left: known,
            known,
            known_left_least: known,
            stuck_at: 0,
            stuck_depth: 0,
            stuck: Stuck::default(),
        };
        search.link_events(&order, spans);
        search
    }

    fn link_events(&mut self, order: &[(u64, bool, u32)], spans: &[Span]) {
        let mut tails = [MAIN, UNKNOWN];
        let mut invocation = vec![NONE; spans.len()];
        let mut last_with_effect = std::collections::HashMap::new();
        for (event, &(_, is_return, op)) in (FIRST..).zip(order) {
            let at = op as usize;
            let list = if spans[at].returned.is_some() { MAIN } else { UNKNOWN };
            self.op[event as usize] = op;
            if is_return {
                self.return_of[invocation[at] as usize] = event;
            } else {
                invocation[at] = event;
            }
            if list == UNKNOWN {
                let twin = last_with_effect.insert(self.model.effect(at), op);
                self.twin[at] = twin.unwrap_or(NONE);
            }
            let tail = &mut tails[list as usize];
            self.next[*tail as usize] = event;
            self.previous[event as usize] = *tail;
            *tail = event;
        }
        for list in [MAIN, UNKNOWN] {
            self.next[tails[list as usize] as usize] = list;
            self.previous[list as usize] = tails[list as usize];
        }
    }

    fn run(mut self) -> Found {
        let mut state = self.model.initial();
        let mut until_look = 1;
        loop {
            self.take_fitting_reads(state);
            if self.known_left == 0 {
                return Found::Order(self.stack.iter().map(|frame| self.op[frame.event as usize]).collect());
            }
            until_look -= 1;
            if until_look == 0 {
                until_look = CONFIGURATIONS_PER_LOOK;
                if let Some(reason) = self.exhausted() {
                    let explained = self.known - self.known_left_least;
                    return Found::Exhausted { reason, explained, of: self.known };
                }
            }
            let is_new = self.memo.insert(self.fingerprint ^ mix(u64::from(state.0), STATES));
            let mut candidate = if is_new { self.candidate_after(MAIN, state) } else { None };
            if is_new && candidate.is_none() {
                self.note_dead_end();
            }
            let (event, after) = loop {
                if let Some(found) = candidate {
                    break found;
                }
                let Some(last) = self.go_back() else { return Found::None(self.stuck) };
                state = last.before;
                candidate = self.candidate_after(last.event, state);
            };
            self.take(event, state, false);
            state = after;
        }
    }

    /// Takes every read-only op that may come next and fits.
    fn take_fitting_reads(&mut self, state: State) {
        let mut event = self.next[MAIN as usize];
        while event != MAIN && self.return_of[event as usize] != NONE {
            let op = self.op[event as usize] as usize;
            let following = self.next[event as usize];
            if self.model.is_read_only(op) && self.model.step(state, op) == Some(state) {
                // The op behind may be this one's return, which goes with it.
                let is_own_return = following == self.return_of[event as usize];
                let following = if is_own_return { self.next[following as usize] } else { following };
                self.take(event, state, true);
                event = following;
            } else {
                event = following;
            }
        }
    }

    /// The next op behind `event` that may come next and leads somewhere: ops with known outcome first.
    fn candidate_after(&mut self, event: u32, state: State) -> Option<(u32, State)> {
        let is_known = event == MAIN || self.return_of[event as usize] != NONE;
        let mut at = self.next[event as usize];
        if is_known {
            while at != MAIN && self.return_of[at as usize] != NONE {
                if let Some(after) = self.model.step(state, self.op[at as usize] as usize) {
                    return Some((at, after));
                }
                at = self.next[at as usize];
            }
            at = self.next[UNKNOWN as usize];
        }
        let first_return = self.first_return();
        while at != UNKNOWN && at < first_return {
            let op = self.op[at as usize];
            let twin = self.twin[op as usize];
            if twin == NONE || self.is_taken[twin as usize] {
                let after = self.model.step(state, op as usize);
                if let Some(after) = after.filter(|after| *after != state) {
                    return Some((at, after));
                }
            }
            at = self.next[at as usize];
        }
        None
    }

    /// The first return of an op that is not taken. There is one as long as `known_left` is not zero.
    fn first_return(&self) -> u32 {
        let mut event = self.next[MAIN as usize];
        while self.return_of[event as usize] != NONE {
            event = self.next[event as usize];
        }
        event
    }

    fn take(&mut self, event: u32, before: State, forced: bool) {
        let op = self.op[event as usize] as usize;
        self.unlink(event);
        let return_event = self.return_of[event as usize];
        if return_event != NONE {
            self.unlink(return_event);
            self.known_left -= 1;
        }
        self.is_taken[op] = true;
        self.fingerprint ^= mix(op as u64, OPS);
        self.model.taken(op);
        self.stack.push(Frame { event, before, forced });
    }

    /// Undoes the last choice and what followed from it.
    fn go_back(&mut self) -> Option<Frame> {
        loop {
            let frame = self.stack.pop()?;
            let op = self.op[frame.event as usize] as usize;
            let return_event = self.return_of[frame.event as usize];
            if return_event != NONE {
                self.relink(return_event);
                self.known_left += 1;
            }
            self.relink(frame.event);
            self.is_taken[op] = false;
            self.fingerprint ^= mix(op as u64, OPS);
            self.model.untaken(op);
            if !frame.forced {
                return Some(frame);
            }
        }
    }

    fn unlink(&mut self, event: u32) {
        let (previous, next) = (self.previous[event as usize], self.next[event as usize]);
        self.next[previous as usize] = next;
        self.previous[next as usize] = previous;
    }

    /// The reverse of the last [`Search::unlink`] that is not yet reversed.
    fn relink(&mut self, event: u32) {
        let (previous, next) = (self.previous[event as usize], self.next[event as usize]);
        self.next[previous as usize] = event;
        self.previous[next as usize] = event;
    }

    /// Keeps the present order if none goes further.
    fn note_dead_end(&mut self) {
        self.known_left_least = self.known_left_least.min(self.known_left);
        let (at, depth) = (self.first_return(), self.stack.len());
        if (at, depth) < (self.stuck_at, self.stuck_depth) {
            return;
        }
        if (at, depth) > (self.stuck_at, self.stuck_depth) {
            self.stuck.op = self.op[at as usize];
            self.stuck.prefixes.clear();
            (self.stuck_at, self.stuck_depth) = (at, depth);
        }
        if self.stuck.prefixes.len() < PREFIXES_MAX {
            let tail = &self.stack[depth.saturating_sub(PREFIX_OPS_MAX)..];
            self.stuck.prefixes.push(tail.iter().map(|frame| self.op[frame.event as usize]).collect());
        }
    }

    fn exhausted(&self) -> Option<&'static str> {
        // When a table grows, the old and the new one, twice as large, exist together. A place takes 17 bytes, and
        // one in eight stays empty.
        let places = self.memo.capacity() / 7 * 8;
        let grows_soon = self.memo.len() + CONFIGURATIONS_PER_LOOK as usize >= self.memo.capacity();
        if places * 17 * if grows_soon { 3 } else { 1 } > self.limits.memory_bytes_max {
            return Some("memory");
        }
        (Instant::now() > self.limits.deadline).then_some("time")
    }
}

/// What [`mix`] is for, so that ops and states have unrelated numbers.
const OPS: u64 = 0x243f_6a88_85a3_08d3;
const STATES: u64 = 0x1319_8a2e_0370_7344;

/// A random-looking number of 128 bits (two steps of `SplitMix64` from unrelated starts).
fn mix(n: u64, family: u64) -> u128 {
    let half = |start: u64| {
        let z = start.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    u128::from(half(family)) << 64 | u128::from(half(family.rotate_left(32) ^ 0xa409_3822_299f_31d0))
}

/// A fingerprint is its own hash.
#[derive(Default)]
struct Fingerprint(u64);

impl Hasher for Fingerprint {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only fingerprints are hashed");
    }

    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = fingerprint as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
