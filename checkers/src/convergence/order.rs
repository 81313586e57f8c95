//! Whether the values of a register have one order in which they replace each other.
//!
//! A replica that merges what it hears never goes back: from when it has shown a value or acknowledged its write, it has that value or a
//! greater one. So if it had `a` and later shows `b`, then `b` is greater than `a`; and as all replicas merge by one rule, `b` is greater
//! everywhere. Two values that are each greater than the other refute that, whether one replica showed it or several. A replica that has a
//! value does not show nothing any more.

use std::collections::BTreeMap;

/// A value.
type Value = u64;

/// What the replicas had and showed of one key.
#[derive(Default)]
pub(super) struct Order {
    replicas: BTreeMap<u32, Sightings>,
}

#[derive(Default)]
struct Sightings {
    /// From when on the replica certainly had each value, or a greater one.
    had: BTreeMap<Value, u64>,
    /// When the last read began that it answered with each value, and who read.
    showed: BTreeMap<Value, (u64, u32)>,
    /// The same of reads that it answered with nothing.
    showed_nothing: Option<(u64, u32)>,
}

impl Order {
    /// Node `node` acknowledged the write of a value at this time.
    pub(super) fn acknowledged(&mut self, node: u32, value: Value, returned: u64) {
        let had = self.replicas.entry(node).or_default().had.entry(value).or_insert(returned);
        *had = (*had).min(returned);
    }

    /// Node `node` answered a read that began and ended at these times with a value, or nothing.
    pub(super) fn showed(
        &mut self,
        node: u32,
        value: Option<Value>,
        (invoked, returned): (u64, u64),
        process: u32,
    ) {
        if let Some(value) = value {
            self.acknowledged(node, value, returned);
            let showed = self.replicas.entry(node).or_default().showed.entry(value).or_default();
            *showed = (*showed).max((invoked, process));
        } else {
            let showed = &mut self.replicas.entry(node).or_default().showed_nothing;
            *showed = (*showed).max(Some((invoked, process)));
        }
    }

    /// Why no order of the values fits, if none does.
    ///
    /// The least values are taken away one after the other: one is least if no replica certainly had another that is left before it
    /// showed this one. Where that ends early, what is left goes round in circles.
    pub(super) fn problem(&self) -> Option<String> {
        if let Some(lost) = self.replicas.iter().find_map(|(node, seen)| seen.lost(*node)) {
            return Some(lost);
        }
        let mut lines: Vec<Line> = self.replicas.iter().map(|(node, seen)| Line::of(*node, seen)).collect();
        let mut left: BTreeMap<Value, usize> = BTreeMap::new();
        for sightings in self.replicas.values() {
            sightings.had.keys().for_each(|value| *left.entry(*value).or_default() += 0);
            sightings.showed.keys().for_each(|value| *left.entry(*value).or_default() += 1);
        }
        // What was only acknowledged is known to be greater than nothing else.
        left.retain(|_, shown_by| *shown_by > 0);
        loop {
            let freed: Vec<Value> = lines.iter_mut().flat_map(|line| line.free(&left)).collect();
            if freed.is_empty() {
                break;
            }
            for value in freed {
                let shown_by = left.get_mut(&value).expect("a value is freed once by each that showed it");
                *shown_by -= 1;
                if *shown_by == 0 {
                    left.remove(&value);
                }
            }
        }
        let (start, _) = left.first_key_value()?;
        Some(circle(*start, &lines, &left))
    }
}

impl Sightings {
    /// That it showed nothing after it had something.
    fn lost(&self, node: u32) -> Option<String> {
        let (invoked, process) = self.showed_nothing?;
        let (had, _) = self.had.iter().find(|(_, at)| **at < invoked)?;
        Some(format!("n{node} had {had} and later showed nothing to process {process}"))
    }
}

/// One replica's sightings, in the order of time, and how far they have been gone through.
struct Line {
    node: u32,
    had: Vec<(u64, Value)>,
    showed: Vec<(u64, u32, Value)>,
    /// How many of the values that it had are gone.
    gone: usize,
}

impl Line {
    fn of(node: u32, Sightings { had, showed, .. }: &Sightings) -> Self {
        let mut had: Vec<_> = had.iter().map(|(value, at)| (*at, *value)).collect();
        let mut showed: Vec<_> = showed.iter().map(|(value, (at, by))| (*at, *by, *value)).collect();
        had.sort_unstable();
        // The earliest last.
        showed.sort_unstable_by(|a, b| b.cmp(a));
        Self { node, had, showed, gone: 0 }
    }

    /// The first two values that it had of those that are left.
    fn first(&self, left: &BTreeMap<Value, usize>) -> [Option<(u64, Value)>; 2] {
        let mut had = self.had[self.gone..].iter().filter(|(_, value)| left.contains_key(value));
        [had.next().copied(), had.next().copied()]
    }

    /// The values that it did not show after any other that is left.
    fn free(&mut self, left: &BTreeMap<Value, usize>) -> Vec<Value> {
        let is_gone = |(_, value): &&(u64, Value)| !left.contains_key(value);
        self.gone += self.had[self.gone..].iter().take_while(is_gone).count();
        let [first, second] = self.first(left);
        let mut freed = Vec::new();
        let before = |had: Option<(u64, Value)>, showed: u64| had.is_some_and(|(at, _)| at < showed);
        while let Some((_, _, value)) = self.showed.pop_if(|(at, ..)| !before(first, *at)) {
            freed.push(value);
        }
        // The first itself waits for the second only.
        let own = |(_, _, value): &(u64, u32, Value)| first.is_some_and(|(_, first)| first == *value);
        if let Some(place) = self.showed.iter().rposition(own)
            && !before(second, self.showed[place].0)
        {
            freed.push(self.showed.remove(place).2);
        }
        freed
    }

    /// A value that is left and that it had before it showed this one, and who read this one.
    fn before(&self, value: Value, left: &BTreeMap<Value, usize>) -> Option<(Value, u32)> {
        let (at, process, _) = self.showed.iter().find(|(_, _, showed)| *showed == value)?;
        let others = self.first(left).into_iter().flatten().find(|(_, had)| *had != value);
        others.filter(|(had, _)| had < at).map(|(_, had)| (had, *process))
    }
}

/// Values that each replaced the next, and the last of which replaced the first.
fn circle(start: Value, lines: &[Line], left: &BTreeMap<Value, usize>) -> String {
    let mut steps: Vec<(Value, String)> = Vec::new();
    let mut value = start;
    loop {
        if let Some(from) = steps.iter().position(|(earlier, _)| *earlier == value) {
            let words: Vec<_> = steps[from..].iter().rev().map(|(_, words)| words.as_str()).collect();
            return words.join(", and ");
        }
        let step = lines.iter().find_map(|line| Some((line.node, line.before(value, left)?)));
        let (node, (had, process)) = step.expect("what is left was shown after something that is left");
        steps.push((value, format!("n{node} had {had} and later showed {value} to process {process}")));
        value = had;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// A node, a value, when it was asked and how long that took, and whether it is a write that it acknowledged.
    type Seen = (u32, Option<Value>, u64, u64, bool);

    fn order(all: &[Seen]) -> Order {
        let mut order = Order::default();
        for (node, value, at, took, is_write) in all {
            match value {
                Some(value) if *is_write => order.acknowledged(*node, *value, at + took),
                value => order.showed(*node, *value, (*at, at + took), 1),
            }
        }
        order
    }

    /// The same, as it is said: every pair of sightings, then what follows from what follows.
    fn has_circle(all: &[Seen]) -> bool {
        // Nothing is 0, and less than all.
        let mut less: BTreeSet<(Value, Value)> = (1..6).map(|value| (0, value)).collect();
        for (node, showed, at, ..) in
            all.iter().filter(|(_, value, .., is_write)| value.is_none() || !is_write)
        {
            let earlier = all.iter().filter(|(other, _, from, took, _)| other == node && from + took < *at);
            let pairs = earlier.map(|(_, had, ..)| (had.unwrap_or(0), showed.unwrap_or(0)));
            less.extend(pairs.filter(|(had, showed)| had != showed));
        }
        loop {
            let follow = |(a, b): &(Value, Value)| {
                less.iter().filter(|(c, _)| c == b).map(|(_, d)| (*a, *d)).collect::<Vec<_>>()
            };
            let all: BTreeSet<_> = less.iter().flat_map(follow).chain(less.iter().copied()).collect();
            if all.len() == less.len() {
                return less.iter().any(|(a, b)| a == b);
            }
            less = all;
        }
    }

    proptest! {
        #[test]
        fn it_finds_a_circle_where_there_is_one(
            all in vec((1..4_u32, prop::option::weighted(0.9, 1..6_u64), 0..60_u64, 1..12_u64, prop::bool::weighted(0.3)), 1..14),
        ) {
            prop_assert_eq!(order(&all).problem().is_some(), has_circle(&all), "{:?}", order(&all).problem());
        }

        /// Replicas that take each value at some time and show the greatest of those that they have.
        #[test]
        fn it_does_not_accuse_replicas_that_merge(
            writes in vec((1..10_u64, vec(0..90_u64, 3)), 0..8), reads in vec((0..3_u32, 0..100_u64, 0..9_u64, 0..9_u64), 0..30),
        ) {
            let has = |node: u32, at: u64| {
                let there = writes.iter().filter(|(_, heard)| heard[node as usize] <= at);
                there.map(|(value, _)| *value).max()
            };
            let mut all: Vec<Seen> = Vec::new();
            for (node, at, before, after) in reads {
                all.push((node, has(node, at), at.saturating_sub(before), at + after - at.saturating_sub(before), false));
            }
            for (value, heard) in &writes {
                all.extend((0..).zip(heard).map(|(node, at)| (node, Some(*value), *at, 3, true)));
            }
            prop_assert_eq!(order(&all).problem(), None);
        }
    }

    #[test]
    fn a_circle_of_three_is_told_as_a_whole() {
        let shown =
            |node, first, second| [(node, Some(first), 10, 1, false), (node, Some(second), 20, 1, false)];
        let all = [shown(1, 5, 6), shown(2, 6, 7), shown(3, 7, 5)].concat();
        let problem = order(&all).problem().expect("there is one");
        for words in
            ["n1 had 5 and later showed 6", "n2 had 6 and later showed 7", "n3 had 7 and later showed 5"]
        {
            assert!(problem.contains(words), "{problem}");
        }
        assert_eq!(order(&all[..4]).problem(), None);
    }

    #[test]
    fn ten_thousand_values_are_no_trouble() {
        let shown =
            |node: u32| (0..10_000_u64).map(move |n| (node, Some(n), 10 * n + u64::from(node), 25, false));
        let all: Vec<Seen> = (1..4).flat_map(shown).collect();
        assert_eq!(order(&all).problem(), None);
    }
}
