//! The configurations in a log. The newest counts as soon as it is appended (§6), so what is cut off with the log
//! brings back the one before it, and a snapshot holds the one as of its last entry.

use crate::ids::LogIndex;
use crate::members::Configuration;
use std::collections::VecDeque;

#[derive(Clone, Debug)]
pub(crate) struct Configurations {
    /// What the log's base stands for, then each entry's, in log order. Never empty.
    history: VecDeque<(LogIndex, Configuration)>,
}

impl Configurations {
    /// As of a log that follows `base`.
    pub(crate) fn new(base: LogIndex, configuration: Configuration) -> Self {
        Self { history: VecDeque::from([(base, configuration)]) }
    }

    /// The one that counts.
    pub(crate) fn newest(&self) -> &Configuration {
        &self.history.back().expect("there is always one").1
    }

    /// Where the one that counts was appended.
    pub(crate) fn newest_at(&self) -> LogIndex {
        self.history.back().expect("there is always one").0
    }

    /// The last one at `index` or before.
    pub(crate) fn as_of(&self, index: LogIndex) -> &Configuration {
        let until = self.history.iter().rev().find(|(at, _)| *at <= index);
        &until.unwrap_or(&self.history[0]).1
    }

    /// The last one at `index` or before, and all later ones.
    pub(crate) fn since(&self, index: LogIndex) -> impl Iterator<Item = &Configuration> {
        let earlier = self.history.iter().filter(|(at, _)| *at <= index).count().saturating_sub(1);
        self.history.range(earlier..).map(|(_, configuration)| configuration)
    }

    pub(crate) fn append(&mut self, index: LogIndex, configuration: Configuration) {
        assert!(index > self.newest_at(), "a configuration at {index}, behind one at {}", self.newest_at());
        self.history.push_back((index, configuration));
    }

    /// The entry at `index` and all that follow are cut off. Whether the one that counts has changed.
    pub(crate) fn truncate(&mut self, index: LogIndex) -> bool {
        let before = self.history.len();
        while self.history.len() > 1 && self.newest_at() >= index {
            self.history.pop_back();
        }
        self.history.len() < before
    }

    /// The entries up to `upto` are discarded.
    pub(crate) fn compact(&mut self, upto: LogIndex) {
        while self.history.get(1).is_some_and(|(at, _)| *at <= upto) {
            self.history.pop_front();
        }
    }

    /// A snapshot up to `base` takes the place of all that was before.
    pub(crate) fn install(&mut self, base: LogIndex, configuration: Configuration, keep_later: bool) {
        self.history.retain(|(at, _)| keep_later && *at > base);
        self.history.push_front((base, configuration));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::Members;
    use protocol::ReplicaId;

    fn of(count: u32) -> Configuration {
        Configuration::of(Members::founders(&(1..=count).map(ReplicaId).collect::<Vec<_>>()).unwrap())
    }

    /// One, two, three members as of 0, 4, 8.
    fn history() -> Configurations {
        let mut history = Configurations::new(LogIndex(0), of(1));
        history.append(LogIndex(4), of(2));
        history.append(LogIndex(8), of(3));
        history
    }

    #[test]
    fn the_newest_counts_and_earlier_ones_are_remembered() {
        let history = history();
        assert_eq!((history.newest(), history.newest_at()), (&of(3), LogIndex(8)));
        let as_of = [0, 3, 4, 7, 8, 99].map(|index| history.as_of(LogIndex(index)).new.lives().len());
        assert_eq!(as_of, [1, 1, 2, 2, 3, 3]);
        let since = |index| history.since(LogIndex(index)).count();
        assert_eq!([0, 3, 4, 7, 8, 99].map(since), [3, 3, 2, 2, 1, 1]);
    }

    #[test]
    fn what_is_cut_off_brings_back_the_one_before() {
        let mut history = history();
        assert!(!history.truncate(LogIndex(9)));
        assert!(history.truncate(LogIndex(8)));
        assert_eq!(history.newest(), &of(2));
        assert!(history.truncate(LogIndex(1)));
        assert_eq!(history.newest(), &of(1));
        assert!(!history.truncate(LogIndex(1)));
    }

    #[test]
    fn what_is_discarded_leaves_the_last_one_up_to_there() {
        let mut history = history();
        history.compact(LogIndex(5));
        assert_eq!(history.as_of(LogIndex(5)), &of(2));
        assert!(history.truncate(LogIndex(6)));
        assert_eq!(history.newest(), &of(2));
    }

    #[test]
    fn a_snapshot_replaces_what_is_before_it_and_may_leave_what_is_behind() {
        for (keep, newest) in [(true, 3), (false, 5)] {
            let mut history = history();
            history.install(LogIndex(6), of(5), keep);
            assert_eq!((history.as_of(LogIndex(6)), history.newest()), (&of(5), &of(newest)));
        }
    }
}
