//! What happens when.

use protocol::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Things to happen, in the order of their times; at one time, in the order in which they were put here.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Reverse<(Time, u64, u32)>>,
    /// What waits, where the heap says: it is moved once.
    waiting: Vec<Option<T>>,
    free: Vec<u32>,
    count: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), waiting: Vec::new(), free: Vec::new(), count: 0 }
    }

    pub(crate) fn push(&mut self, at: Time, thing: T) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.waiting.push(None);
            u32::try_from(self.waiting.len() - 1).expect("memory ends before")
        });
        self.waiting[slot as usize] = Some(thing);
        self.heap.push(Reverse((at, self.count, slot)));
        self.count += 1;
    }

    /// When the next thing happens.
    pub(crate) fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<(Time, T)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        Some((at, self.waiting[slot as usize].take().expect("every place in the heap is taken once")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_in_order_and_at_one_time_in_the_order_of_arrival() {
        let mut queue = Queue::new();
        for (at, name) in [(5, "d"), (1, "a"), (3, "b"), (3, "c")] {
            queue.push(Time(at), name);
        }
        assert_eq!(queue.pop(), Some((Time(1), "a")));
        queue.push(Time(3), "after c");
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, name)| name).collect();
        assert_eq!(rest, ["b", "c", "after c", "d"]);
    }
}
