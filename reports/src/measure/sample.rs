//! Which ops a scatter plot shows: few enough to draw, without losing what stands out.

use super::{millis, seconds};
use checkers::history::{Op, OpKind, Outcome};
use std::collections::BTreeMap;

/// At most about so many marks, whatever the history's size.
pub const MARKS_MAX: usize = 5000;

/// How an op ended, as far as a mark shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// It took effect.
    Ok,
    /// It took no effect.
    Fail,
    /// It may have.
    Info,
}

impl Ending {
    /// Of an op.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Ok(_) => Self::Ok,
            Outcome::Fail(_) => Self::Fail,
            Outcome::Info(_) => Self::Info,
        }
    }
}

/// One op of a scatter plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// What kind.
    pub kind: OpKind,
    /// How it ended.
    pub ending: Ending,
    /// When it was meant to start, seconds since the run began.
    pub at_s: f64,
    /// How long it took from there. For a failed op: until the refusal.
    pub latency_ms: f64,
}

/// The marks, and of how many ops.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// What to draw, by kind and ending.
    pub marks: Vec<Mark>,
    /// How many ops there were.
    pub ops: usize,
}

/// How the two axes are cut into cells.
const COLUMNS: f64 = 250.0;
/// Rows to a factor of ten in latency.
const ROWS_PER_DECADE: f64 = 12.0;

/// Stratified: the plane of time × log latency is cut into cells, for each kind and ending by itself, and every cell
/// keeps one op, whichever comes first in an order that has nothing to do with time or latency. What stands alone
/// stays; only crowds thin out. The slowest op of each column of cells stays, too.
#[must_use]
pub fn sample(ops: &[Op], from_s: f64, to_s: f64, end: u64) -> Sample {
    let mark = |op: &Op| Mark {
        kind: op.call.kind(),
        ending: Ending::of(&op.outcome),
        at_s: seconds(op.intended),
        latency_ms: millis(op.returned.unwrap_or(end).saturating_sub(op.intended)),
    };
    let marks = || ops.iter().map(mark).filter(|m| from_s <= m.at_s && m.at_s <= to_s);
    let mut sample = Sample { marks: Vec::new(), ops: marks().count() };
    if sample.ops <= MARKS_MAX {
        sample.marks = marks().collect();
    } else {
        let mut scale = 1.0;
        sample.marks = thinned(marks(), from_s, to_s, scale);
        while sample.marks.len() > MARKS_MAX {
            // Coarser cells until it fits. What the finer ones kept is enough to choose from.
            scale *= (MARKS_MAX as f64 / sample.marks.len() as f64).sqrt().min(0.95);
            sample.marks = thinned(sample.marks.iter().copied(), from_s, to_s, scale);
        }
    }
    sample.marks.sort_by(|a, b| (a.ending, a.kind).cmp(&(b.ending, b.kind)).then(a.at_s.total_cmp(&b.at_s)));
    sample
}

/// One op of each cell, among them the slowest of each column.
fn thinned(marks: impl Iterator<Item = Mark> + Clone, from_s: f64, to_s: f64, scale: f64) -> Vec<Mark> {
    let column = |mark: &Mark| ((mark.at_s - from_s) / (to_s - from_s).max(1e-9) * COLUMNS * scale) as i64;
    let row = |mark: &Mark| (mark.latency_ms.max(1e-6).log10() * ROWS_PER_DECADE * scale).floor() as i64;
    let mut slowest: BTreeMap<(OpKind, Ending, i64), f64> = BTreeMap::new();
    for mark in marks.clone() {
        let slow = slowest.entry((mark.kind, mark.ending, column(&mark))).or_insert(0.0);
        *slow = slow.max(mark.latency_ms);
    }
    let mut cells: BTreeMap<(OpKind, Ending, i64, i64), (u64, Mark)> = BTreeMap::new();
    for mark in marks {
        let (column, row) = (column(&mark), row(&mark));
        let order = if slowest[&(mark.kind, mark.ending, column)] == mark.latency_ms {
            0
        } else {
            shuffled(mark.at_s.to_bits() ^ mark.latency_ms.to_bits().rotate_left(32))
        };
        let kept = cells.entry((mark.kind, mark.ending, column, row)).or_insert((order, mark));
        if order < kept.0 {
            *kept = (order, mark);
        }
    }
    cells.into_values().map(|(_, mark)| mark).collect()
}

/// SplitMix64's output function: neighbours end up far apart.
fn shuffled(x: u64) -> u64 {
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{op, ops_at};

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_crowd_thins_out_and_the_outliers_stay() {
        let mut ops = ops_at(10_000, 0, 60 * S);
        ops.push(op(30 * S, 5 * S, "ok"));
        ops.push(op(31 * S, S, "fail"));
        ops.push(op(32 * S, 10 * S, "info"));
        let sample = sample(&ops, 0.0, 60.0, 61 * S);
        assert_eq!(sample.ops, 600_003);
        assert!(sample.marks.len() <= MARKS_MAX && sample.marks.len() > 200, "{}", sample.marks.len());
        for (ending, latency_ms) in [(Ending::Ok, 5000.0), (Ending::Fail, 1000.0), (Ending::Info, 10_000.0)] {
            let kept = |m: &Mark| m.ending == ending && m.latency_ms == latency_ms;
            assert!(sample.marks.iter().any(kept), "{ending:?} is lost");
        }
    }

    #[test]
    fn a_few_ops_are_all_drawn() {
        let ops = ops_at(100, 0, 2 * S);
        assert_eq!(sample(&ops, 0.0, 2.0, 2 * S).marks.len(), 200);
        assert_eq!(sample(&[], 0.0, 2.0, 2 * S), Sample::default());
    }
}
