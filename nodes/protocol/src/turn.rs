//! A core driven in turns: the one place that keeps the safety rule of [`Effects`].
//!
//! A turn takes what is at hand and hands it to the core, then carries out what the core asks for, in this order: an adversary,
//! if there is one, rewrites it; timers are set; the early lane leaves; the records go to the journal; when they are durable the
//! durable lane leaves, the snapshot steps are taken, and the core is told. What the core asks for then is carried out alike,
//! until it asks for nothing.
//!
//! [`Turns`] does no IO. It is driven by the runtime (sockets, files, threads), by the simulator (virtual links and disks) and
//! by the cores' own tests; what differs between them is behind [`Outside`].

use crate::adversary::{Tamper, Tampered};
use crate::core::{Protocol, RecoverError, Recovered};
use crate::effects::{Effects, Outbox};
use crate::ids::JournalPosition;
use crate::snapshot::{SnapshotEffect, SnapshotEvent};
use crate::time::Time;
use crate::timers::Timers;
use std::collections::VecDeque;

/// How something leaves a replica: before the records of its turn are durable, or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// At once.
    Early,
    /// When every record emitted so far is durable.
    Durable,
}

/// What is around a core: where its effects go. Any call may stop the replica in the middle of its turn.
pub trait Outside<P: Protocol> {
    /// Why the replica stops.
    type Stop;

    /// Lets out all that is in this outbox, and leaves it empty.
    ///
    /// # Errors
    /// If the replica stops here, as in all that follows.
    fn release(&mut self, lane: Lane, outbox: &mut Outbox<P>) -> Result<(), Self::Stop>;

    /// Adds a record to the journal: the one of the next position.
    ///
    /// # Errors
    /// If the replica stops here.
    fn append(&mut self, position: JournalPosition, record: P::Record) -> Result<(), Self::Stop>;

    /// All records of the turn are appended, if there are any: has them made durable, now or later.
    ///
    /// # Errors
    /// If the replica stops here.
    fn commit(&mut self) -> Result<(), Self::Stop>;

    /// Every record before this position is durable.
    fn durable(&self) -> JournalPosition;

    /// Hands a step to the snapshot store. An answer comes back if it cannot be taken.
    ///
    /// # Errors
    /// If the replica stops here.
    fn snapshot(
        &mut self,
        step: SnapshotEffect<P::Image>,
    ) -> Result<Option<SnapshotEvent<P::Image>>, Self::Stop>;

    /// Looks at the core after a step that [`Turns`] had it take.
    ///
    /// # Errors
    /// If the replica stops here.
    fn after_step(&mut self, _core: &P) -> Result<(), Self::Stop> {
        Ok(())
    }
}

/// A core, and all that is kept for it between its turns.
#[derive(Debug)]
pub struct Turns<P: Protocol> {
    core: P,
    effects: Effects<P>,
    timers: Timers<P::Timer>,
    /// Durable lanes that must wait, oldest first.
    held: VecDeque<Held<P>>,
    /// What the core was told of durability.
    told: JournalPosition,
    /// `None`: the replica is correct.
    adversary: Option<P::Adversary>,
    tampered: Tampered,
}

/// A turn's durable lane, until every record before `before` is durable.
#[derive(Debug)]
struct Held<P: Protocol> {
    before: JournalPosition,
    outbox: Outbox<P>,
    snapshots: Vec<SnapshotEffect<P::Image>>,
}

impl<P: Protocol> Turns<P> {
    /// A core that starts from what its disk holds: its journal goes on at `next`. Its first turn is still to come.
    ///
    /// # Errors
    /// If the core cannot start from that.
    pub fn recover(
        config: P::Config,
        seed: u64,
        now: Time,
        disk: Recovered<P>,
        next: JournalPosition,
    ) -> Result<Self, RecoverError> {
        let mut effects = Effects::new(next);
        let core = P::recover(config, seed, now, disk, &mut effects)?;
        let (timers, held) = (Timers::default(), VecDeque::new());
        Ok(Self { core, effects, timers, held, told: next, adversary: None, tampered: Tampered::default() })
    }

    /// From now on this adversary rewrites what the core asks for, or nobody does.
    pub fn set_adversary(&mut self, adversary: Option<P::Adversary>) {
        self.adversary = adversary;
    }

    /// What adversaries did to what the core has asked for.
    #[must_use]
    pub fn tampered(&self) -> Tampered {
        self.tampered
    }

    /// The core.
    #[must_use]
    pub fn core(&self) -> &P {
        &self.core
    }

    /// Hands the core one input of the turn.
    pub fn input<T>(&mut self, input: impl FnOnce(&mut P, &mut Effects<P>) -> T) -> T {
        input(&mut self.core, &mut self.effects)
    }

    /// Its timers, as set by the turns that have ended.
    #[must_use]
    pub fn timers(&self) -> &Timers<P::Timer> {
        &self.timers
    }

    /// Takes a timer, due or not, and tells when it was due: whoever takes it has it fire.
    pub fn take_timer(&mut self, timer: P::Timer) -> Option<Time> {
        self.timers.take(timer)
    }

    /// When the next turn is due, whatever else happens.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        let unasked = self.adversary.as_ref().and_then(Tamper::wake);
        self.timers.next().into_iter().chain(unasked).min()
    }

    /// Fires the timers that are due, and tells how many.
    ///
    /// # Errors
    /// If the replica stops.
    pub fn fire_timers<O: Outside<P>>(&mut self, now: Time, outside: &mut O) -> Result<usize, O::Stop> {
        let mut fired = 0;
        while let Some(timer) = self.timers.pop_due(now) {
            fired += 1;
            self.core.handle_timer(now, timer, &mut self.effects);
            outside.after_step(&self.core)?;
        }
        Ok(fired)
    }

    /// Ends the turn: carries out what the core asks for until it asks for nothing.
    ///
    /// # Errors
    /// If the replica stops.
    pub fn end<O: Outside<P>>(&mut self, now: Time, outside: &mut O) -> Result<(), O::Stop> {
        loop {
            self.core.end_turn(now, &mut self.effects);
            outside.after_step(&self.core)?;
            if !self.carry_out(now, outside)? {
                return Ok(());
            }
        }
    }

    /// Tells whether the core was told something, and may ask for more.
    fn carry_out<O: Outside<P>>(&mut self, now: Time, outside: &mut O) -> Result<bool, O::Stop> {
        let effects = &mut self.effects;
        if let Some(adversary) = &mut self.adversary {
            let records = effects.records.len();
            self.tampered += adversary.tamper(now, &self.core, effects);
            assert_eq!(effects.records.len(), records, "the core has counted its records");
        }
        for change in effects.timers.drain(..) {
            self.timers.apply(change);
        }
        outside.release(Lane::Early, &mut effects.early)?;
        let before = effects.next_position();
        let mut position = JournalPosition(before.0 - effects.records.len() as u64);
        for record in effects.records.drain(..) {
            outside.append(position, record)?;
            position = position.next();
        }
        if !effects.durable.is_empty() || !effects.snapshots.is_empty() {
            let outbox = std::mem::take(&mut effects.durable);
            let snapshots = std::mem::take(&mut effects.snapshots);
            self.held.push_back(Held { before, outbox, snapshots });
        }
        outside.commit()?;
        self.settle(now, outside)
    }

    /// Lets out the durable lanes that need not wait any longer, and tells the core how far its records are durable. A turn
    /// begins with it. Tells whether the core was told anything.
    ///
    /// # Errors
    /// If the replica stops.
    pub fn settle<O: Outside<P>>(&mut self, now: Time, outside: &mut O) -> Result<bool, O::Stop> {
        let mut told = false;
        let durable = outside.durable();
        while self.held.front().is_some_and(|held| held.before <= durable) {
            let mut held = self.held.pop_front().expect("looked at above");
            outside.release(Lane::Durable, &mut held.outbox)?;
            for step in held.snapshots {
                if let Some(answer) = outside.snapshot(step)? {
                    self.core.handle_snapshot(now, answer, &mut self.effects);
                    outside.after_step(&self.core)?;
                    told = true;
                }
            }
            if self.effects.durable.is_empty() {
                // Back for its memory.
                self.effects.durable = held.outbox;
            }
        }
        if self.told < durable {
            self.told = durable;
            self.core.handle_durable(now, durable, &mut self.effects);
            outside.after_step(&self.core)?;
            told = true;
        }
        Ok(told)
    }
}

#[cfg(test)]
mod tests;
