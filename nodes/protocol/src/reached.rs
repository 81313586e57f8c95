//! Marks of situations: what a campaign of runs has really come across.
//!
//! A protocol's rare paths are the ones that hide bugs, and a green campaign that never took them says nothing. A mark
//! on such a path counts how often it was taken, on the thread that took it.

use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    static COUNTS: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Counts that this place was reached, under a name: the situation in a few words. For rare paths only: it costs the
/// look-up of a name.
#[macro_export]
macro_rules! reached {
    ($situation:literal) => {
        $crate::reached::count($situation)
    };
}

/// What [`reached!`](crate::reached!) calls.
pub fn count(situation: &'static str) {
    COUNTS.with_borrow_mut(|counts| *counts.entry(situation).or_default() += 1);
}

/// How often this thread has reached each situation since it was last asked; forgets it.
#[must_use]
pub fn take() -> BTreeMap<&'static str, u64> {
    COUNTS.take()
}

/// How often this thread has reached each situation since it was last [taken](take).
#[must_use]
pub fn counts() -> BTreeMap<&'static str, u64> {
    COUNTS.with_borrow(BTreeMap::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn situations_are_counted_until_they_are_taken() {
        reached!("a rare path");
        reached!("a rare path");
        reached!("another");
        assert_eq!(counts(), [("a rare path", 2), ("another", 1)].into());
        assert_eq!(take(), [("a rare path", 2), ("another", 1)].into());
        assert_eq!(take(), BTreeMap::new());
    }
}
