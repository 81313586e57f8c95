//! What one turn of a core asks of its driver.
//!
//! **Safety rule.** A driver makes every record emitted so far durable before it releases what is in
//! [`Effects::durable`] of this turn; what is in [`Effects::early`] may leave at once. A core puts
//! something in the early lane only if it would be right to send it even if this replica lost, a moment later,
//! every record not yet reported by `handle_durable`.

use crate::core::Protocol;
use crate::ids::{ClientId, JournalPosition, ReplicaId};
use crate::snapshot::SnapshotEffect;
use crate::time::Time;

/// Messages to other replicas and replies to clients, each in sending order.
#[derive(Debug)]
pub struct Outbox<P: Protocol> {
    /// To other replicas. Never to oneself.
    pub messages: Vec<(ReplicaId, P::Message)>,
    /// To clients.
    pub replies: Vec<(ClientId, P::Reply)>,
}

impl<P: Protocol> Outbox<P> {
    /// Whether nothing is to be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.replies.is_empty()
    }
}

impl<P: Protocol> Default for Outbox<P> {
    fn default() -> Self {
        Self { messages: Vec::new(), replies: Vec::new() }
    }
}

/// A change to one of a core's timers. There is one deadline per timer value; setting it again moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerChange<T> {
    /// Call `handle_timer` once, at or soon after this time of the node's clock.
    Set(T, Time),
    /// Do not call it.
    Cancel(T),
}

/// What one turn asks of its driver. A driver owns one, hands it to each input of a turn, carries it out
/// after [`Protocol::end_turn`], and empties it with [`Effects::clear`].
#[derive(Debug)]
pub struct Effects<P: Protocol> {
    /// Journal entries, in order. Use [`Effects::record`] to add one.
    pub records: Vec<P::Record>,
    /// May leave before the records are durable.
    pub early: Outbox<P>,
    /// Leaves when every record emitted up to now is durable, after what earlier turns put here.
    pub durable: Outbox<P>,
    /// In order.
    pub timers: Vec<TimerChange<P::Timer>>,
    /// In order, after the records are durable.
    pub snapshots: Vec<SnapshotEffect<P::Image>>,
    next: JournalPosition,
}

impl<P: Protocol> Effects<P> {
    /// For a core whose next record gets position `next`.
    #[must_use]
    pub fn new(next: JournalPosition) -> Self {
        Self {
            records: Vec::new(),
            early: Outbox::default(),
            durable: Outbox::default(),
            timers: Vec::new(),
            snapshots: Vec::new(),
            next,
        }
    }

    /// Adds a journal entry and tells its position.
    pub fn record(&mut self, record: P::Record) -> JournalPosition {
        let position = self.next;
        self.next = position.next();
        self.records.push(record);
        position
    }

    /// The position that the next record will get.
    #[must_use]
    pub fn next_position(&self) -> JournalPosition {
        self.next
    }

    /// Arms a timer.
    pub fn set_timer(&mut self, timer: P::Timer, at: Time) {
        self.timers.push(TimerChange::Set(timer, at));
    }

    /// Disarms a timer.
    pub fn cancel_timer(&mut self, timer: P::Timer) {
        self.timers.push(TimerChange::Cancel(timer));
    }

    /// Whether the turn asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
            && self.early.is_empty()
            && self.durable.is_empty()
            && self.timers.is_empty()
            && self.snapshots.is_empty()
    }

    /// Empties everything but the position, keeping the memory.
    pub fn clear(&mut self) {
        self.records.clear();
        for outbox in [&mut self.early, &mut self.durable] {
            outbox.messages.clear();
            outbox.replies.clear();
        }
        self.timers.clear();
        self.snapshots.clear();
    }
}
