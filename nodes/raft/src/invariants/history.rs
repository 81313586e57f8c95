//! Something for each index of the log, from one index on.

use crate::ids::LogIndex;
use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct History<T> {
    /// What is at this index and before is forgotten.
    forgotten: LogIndex,
    slots: VecDeque<Option<T>>,
}

impl<T> Default for History<T> {
    fn default() -> Self {
        Self { forgotten: LogIndex::ZERO, slots: VecDeque::new() }
    }
}

impl<T> History<T> {
    /// The place for what is at `index`, unless that is forgotten.
    pub(super) fn at(&mut self, index: LogIndex) -> Option<&mut Option<T>> {
        let offset = usize::try_from(index.0.checked_sub(self.forgotten.0 + 1)?).ok()?;
        if offset >= self.slots.len() {
            self.slots.resize_with(offset + 1, || None);
        }
        self.slots.get_mut(offset)
    }

    pub(super) fn forget(&mut self, upto: LogIndex) {
        if upto > self.forgotten {
            let count = usize::try_from(upto.0 - self.forgotten.0).unwrap_or(usize::MAX);
            self.slots.drain(..count.min(self.slots.len()));
            self.forgotten = upto;
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_has_no_place_and_the_rest_keeps_its_own() {
        let mut history = History::default();
        for index in [1, 2, 5] {
            *history.at(LogIndex(index)).unwrap() = Some(index);
        }
        history.forget(LogIndex(2));
        history.forget(LogIndex(1));
        assert!(history.at(LogIndex(0)).is_none() && history.at(LogIndex(2)).is_none());
        assert_eq!(history.at(LogIndex(4)), Some(&mut None));
        assert_eq!(history.at(LogIndex(5)), Some(&mut Some(5)));
        history.forget(LogIndex(9));
        assert_eq!((history.len(), history.at(LogIndex(10))), (0, Some(&mut None)));
    }
}
