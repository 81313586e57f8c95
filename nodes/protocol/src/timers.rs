//! The core's timers, ordered by deadline on the node's clock.

use crate::effects::TimerChange;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// One deadline for each timer that is set.
#[derive(Clone, Debug)]
pub struct Timers<T> {
    deadlines: BTreeMap<T, Time>,
    order: BTreeSet<(Time, T)>,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Timers { deadlines: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<T: Copy + Ord> Timers<T> {
    /// Sets or cancels one.
    pub fn apply(&mut self, change: TimerChange<T>) {
        match change {
            TimerChange::Set(timer, at) => {
                if let Some(before) = self.deadlines.insert(timer, at) {
                    self.order.remove(&(before, timer));
                }
                self.order.insert((at, timer));
            }
            TimerChange::Cancel(timer) => {
                self.take(timer);
            }
        }
    }

    /// When a timer is due; `None` if it is not set.
    #[must_use]
    pub fn get(&self, timer: T) -> Option<Time> {
        self.deadlines.get(&timer).copied()
    }

    /// Takes a timer, due or not, and tells when it was due.
    pub fn take(&mut self, timer: T) -> Option<Time> {
        let at = self.deadlines.remove(&timer)?;
        self.order.remove(&(at, timer));
        Some(at)
    }

    /// The next deadline.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes a timer whose deadline has come.
    pub fn pop_due(&mut self, now: Time) -> Option<T> {
        let &(at, timer) = self.order.first()?;
        if at > now {
            return None;
        }
        self.order.pop_first();
        self.deadlines.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_has_one_deadline_and_fires_once() {
        let mut timers = Timers::default();
        timers.apply(TimerChange::Set('a', Time(10)));
        timers.apply(TimerChange::Set('b', Time(20)));
        timers.apply(TimerChange::Set('a', Time(30)));
        timers.apply(TimerChange::Set('c', Time(5)));
        timers.apply(TimerChange::Cancel('c'));
        assert_eq!(timers.next(), Some(Time(20)));
        timers.apply(TimerChange::Set('d', Time(1)));
        assert_eq!(
            (timers.take('d'), timers.take('d'), timers.get('a')),
            (Some(Time(1)), None, Some(Time(30)))
        );
        assert_eq!(timers.pop_due(Time(19)), None);
        assert_eq!(timers.pop_due(Time(30)), Some('b'));
        assert_eq!(timers.pop_due(Time(30)), Some('a'));
        assert_eq!(timers.pop_due(Time(99)), None);
        assert_eq!(timers.next(), None);
    }
}
