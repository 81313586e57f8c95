//! What a snapshot store was asked to do, one step at a time.

use protocol::{SnapshotEffect, SnapshotEvent};
use std::collections::VecDeque;

/// Steps that may wait. A core has one save under way, and a chunk or two for each peer.
const STEPS_WAITING_MAX: usize = 256;

/// The steps that wait for a snapshot store, and whether it is busy with one. Whoever drives this decides on which thread
/// [`super::Snapshots::carry_out`] is called.
#[derive(Debug)]
pub struct Steps<I> {
    waiting: VecDeque<SnapshotEffect<I>>,
    under_way: bool,
}

impl<I> Default for Steps<I> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), under_way: false }
    }
}

impl<I> Steps<I> {
    /// Adds a step; an answer comes back if there are too many.
    pub fn submit(&mut self, step: SnapshotEffect<I>) -> Option<SnapshotEvent<I>> {
        if self.waiting.len() + usize::from(self.under_way) < STEPS_WAITING_MAX {
            self.waiting.push_back(step);
            return None;
        }
        let id = match step {
            SnapshotEffect::Save { id, .. }
            | SnapshotEffect::Read { id, .. }
            | SnapshotEffect::Write { id, .. } => id,
            // The next one covers it.
            SnapshotEffect::Discard { .. } => return None,
        };
        Some(SnapshotEvent::Failed { id, reason: "the snapshot store is busy".to_owned() })
    }

    /// The next step to do, unless one is being done.
    pub fn take(&mut self) -> Option<SnapshotEffect<I>> {
        if self.under_way {
            return None;
        }
        let step = self.waiting.pop_front()?;
        self.under_way = true;
        Some(step)
    }

    /// The step that was taken is done.
    pub fn done(&mut self) {
        self.under_way = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{JournalPosition, SnapshotId};

    fn id(number: u64) -> SnapshotId {
        SnapshotId { number, tag: 1 }
    }

    #[test]
    fn steps_are_done_in_order_and_one_at_a_time() {
        let mut steps = Steps::default();
        for upto in [1, 2] {
            assert_eq!(steps.submit(SnapshotEffect::Save { id: id(upto), image: () }), None);
        }
        assert_eq!(steps.take(), Some(SnapshotEffect::Save { id: id(1), image: () }));
        assert_eq!(steps.take(), None);
        steps.done();
        assert_eq!(steps.take(), Some(SnapshotEffect::Save { id: id(2), image: () }));
        steps.done();
        assert_eq!(steps.take(), None);
    }

    #[test]
    fn a_store_with_too_much_to_do_says_so() {
        let mut steps = Steps::default();
        for _ in 0..STEPS_WAITING_MAX {
            assert_eq!(steps.submit(SnapshotEffect::Save { id: id(1), image: () }), None);
        }
        assert!(steps.take().is_some());
        let refused = steps.submit(SnapshotEffect::Save { id: id(7), image: () });
        assert!(matches!(&refused, Some(SnapshotEvent::Failed { id, .. }) if id.number == 7), "{refused:?}");
        let discard = SnapshotEffect::Discard { keep: id(1), before: JournalPosition(0) };
        assert_eq!(steps.submit(discard), None, "nobody waits for an answer to that");
        steps.done();
        assert_eq!(steps.submit(SnapshotEffect::Save { id: id(8), image: () }), None);
    }
}
