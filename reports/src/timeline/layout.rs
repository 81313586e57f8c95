//! Where each op stands.
//!
//! Time is not to scale: between one event and the next, the picture is as wide as the time between them wants, but
//! never so narrow that two events look like one, never wider than [`GAP_MAX`], and wide enough that each op holds its label.

use checkers::verdict::WindowOp;

/// Two events are at least so far apart, pixels.
const GAP_MIN: f32 = 8.0;
/// A long silence takes no more room than this.
const GAP_MAX: f32 = 60.0;
/// What the events would take if every op were short of words.
const WIDTH_WANTED: f32 = 600.0;

/// From times to places.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stretched {
    /// Times of events, ascending, with their places.
    stops: Vec<(u64, f32)>,
    /// Right of everything: where an op that never returned fades out.
    pub(crate) right: f32,
}

impl Stretched {
    /// Places the events of `ops` from `left` on; `width_of` is how wide an op's words are.
    pub(super) fn new(ops: &[&WindowOp], left: f32, width_of: impl Fn(&WindowOp) -> f32) -> Self {
        let mut times: Vec<u64> = ops.iter().flat_map(|op| [Some(op.invoked), end(op)]).flatten().collect();
        times.sort_unstable();
        times.dedup();
        let span = times.last().unwrap_or(&0) - times.first().unwrap_or(&0);
        let scale = WIDTH_WANTED / (span.max(1)) as f32;
        let mut stretched = Self { stops: Vec::with_capacity(times.len()), right: left };
        let mut ending: Vec<&WindowOp> = ops.iter().copied().filter(|op| op.returned.is_some()).collect();
        ending.sort_by_key(|op| end(op));
        let mut ending = ending.into_iter().peekable();
        for &time in &times {
            let mut x = match stretched.stops.last() {
                None => left,
                Some(&(before, at)) => at + ((time - before) as f32 * scale).clamp(GAP_MIN, GAP_MAX),
            };
            while let Some(op) = ending.next_if(|op| end(op) == Some(time)) {
                x = x.max(stretched.at(op.invoked) + width_of(op));
            }
            stretched.stops.push((time, x));
        }
        const FADE: f32 = 60.0;
        let open = ops.iter().filter(|op| op.returned.is_none());
        let open = open.map(|op| stretched.at(op.invoked) + width_of(op)).fold(0.0, f32::max);
        stretched.right = stretched.stops.last().map_or(left, |stop| stop.1).max(open) + FADE;
        stretched
    }

    /// Places `times` so that they fill the room from `left` to `right`. However far apart two of them are,
    /// they are no nearer and no farther than `gaps` says, as shares of the room that each would have on average.
    pub(crate) fn filling(mut times: Vec<u64>, (left, right): (f32, f32), gaps: (f32, f32)) -> Self {
        times.sort_unstable();
        times.dedup();
        let average = times.len().saturating_sub(1).max(1) as f64;
        let span = (times.last().unwrap_or(&0) - times.first().unwrap_or(&0)).max(1) as f64;
        let wanted = |pair: &[u64]| {
            let share = (pair[1] - pair[0]) as f64 / span * average;
            share.clamp(f64::from(gaps.0), f64::from(gaps.1))
        };
        let all: f64 = times.windows(2).map(wanted).sum();
        let scale = f64::from(right - left) / all.max(f64::MIN_POSITIVE);
        let mut at = 0.0;
        let mut stops: Vec<_> = times.first().map(|first| (*first, left)).into_iter().collect();
        for pair in times.windows(2) {
            at += wanted(pair);
            stops.push((pair[1], left + (at * scale) as f32));
        }
        Self { stops, right }
    }

    /// The place of a time, between two events in proportion.
    pub(crate) fn at(&self, time: u64) -> f32 {
        let after = self.stops.partition_point(|stop| stop.0 < time);
        match (after.checked_sub(1).map(|before| self.stops[before]), self.stops.get(after)) {
            (_, Some(&(t, x))) if t == time => x,
            (Some((t0, x0)), Some(&(t1, x1))) => x0 + (x1 - x0) * ((time - t0) as f32 / (t1 - t0) as f32),
            (None, Some(&(_, x))) => x,
            (Some((_, x)), None) => x,
            (None, None) => self.right,
        }
    }

    /// The first and the last event.
    pub(crate) fn times(&self) -> Option<(u64, u64)> {
        Some((self.stops.first()?.0, self.stops.last()?.0))
    }

    /// Events at least `apart` pixels from one another, for the axis.
    pub(crate) fn ticks(&self, apart: f32) -> Vec<(u64, f32)> {
        let mut ticks: Vec<(u64, f32)> = Vec::new();
        for &stop in &self.stops {
            if ticks.last().is_none_or(|last| stop.1 - last.1 >= apart) {
                ticks.push(stop);
            }
        }
        ticks
    }
}

/// An op ends when it returns, but not before it begins.
fn end(op: &WindowOp) -> Option<u64> {
    op.returned.map(|time| time.max(op.invoked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(invoked: u64, returned: Option<u64>) -> WindowOp {
        WindowOp {
            index: 0,
            process: 1,
            label: String::new(),
            invoked,
            returned,
            culprit: false,
            state: None,
        }
    }

    #[test]
    fn every_op_is_as_wide_as_its_words_and_order_is_kept() {
        let ops = [op(0, Some(10)), op(5, Some(7)), op(7, None), op(1_000_000_000, Some(1_000_000_001))];
        let ops: Vec<&WindowOp> = ops.iter().collect();
        let x = Stretched::new(&ops, 50.0, |_| 80.0);
        for op in &ops {
            let right = op.returned.map_or(x.right, |time| x.at(time));
            assert!(right - x.at(op.invoked) >= 79.9, "{op:?}");
        }
        let places = [0, 5, 7, 10, 1_000_000_000, 1_000_000_001].map(|time| x.at(time));
        assert!(places.windows(2).all(|w| w[0] + GAP_MIN <= w[1] + 0.01), "{places:?}");
        assert!(x.right < 600.0, "a second of silence takes no more than its share: {}", x.right);
    }

    #[test]
    fn nothing_and_one_instant_have_places() {
        let none = Stretched::new(&[], 10.0, |_| 80.0);
        assert!(none.at(5).is_finite() && none.times().is_none());
        let instant = op(3, Some(3));
        assert!(Stretched::new(&[&instant], 10.0, |_| 0.0).at(3).is_finite());
    }
}
