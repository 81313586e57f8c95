//! Where each replica's line and each op's bar stands.

use super::view::{ClientOp, View};
use crate::draw::ink::Ink;
use crate::draw::scene::{Anchor, Area, Lettering};
use crate::text::cut;
use crate::timeline::layout::Stretched;
use std::collections::BTreeMap;

/// Height of an op's bar.
const BAR: f32 = 15.0;
/// From one bar to the next.
const LANE: f32 = 18.0;
/// Between a replica's line and the bars above it: heads of arrows stand there.
const FOOT: f32 = 9.0;
/// Words of an op longer than this are cut; pointing at it shows the whole.
const LABEL_CHARS_MAX: usize = 44;
pub(super) const OP_LABEL: Lettering =
    Lettering { size: 10.5, bold: false, ink: Ink::Text, anchor: Anchor::Start };

/// A bar with its words.
#[derive(Clone, Debug)]
pub(super) struct Bar<'a> {
    pub(super) op: &'a ClientOp,
    pub(super) area: Area,
    /// Where its words begin, and the words; only a culprit's may be longer than its bar.
    pub(super) label: Option<(f32, String)>,
}

/// Places of everything that has one for each replica.
#[derive(Clone, Debug)]
pub(super) struct Layout<'a> {
    lines: BTreeMap<u32, f32>,
    pub(super) bars: Vec<Bar<'a>>,
    pub(super) plot: Area,
}

impl<'a> Layout<'a> {
    /// Lines from `top` down, `apart` from one another besides the room for ops.
    pub(super) fn of(view: &'a View<'_>, x: &Stretched, left: f32, top: f32, apart: f32) -> Self {
        let mut lines = BTreeMap::new();
        let mut bars = Vec::new();
        let mut bottom = top;
        for (position, &replica) in view.replicas.iter().enumerate() {
            let mut own: Vec<Bar<'_>> =
                view.ops.iter().filter(|op| op.replica == replica).map(|op| bar(op, x, left)).collect();
            own.sort_by(|a, b| a.area.left.total_cmp(&b.area.left));
            let lanes = spread(&mut own);
            let above = if position == 0 { 18.0 } else { apart };
            let line = bottom + above + lanes as f32 * LANE + FOOT;
            for bar in &mut own {
                (bar.area.top, bar.area.bottom) = (line - FOOT - bar.area.bottom, line - FOOT - bar.area.top);
            }
            bars.append(&mut own);
            lines.insert(replica, line);
            bottom = line;
        }
        Self { lines, bars, plot: Area { left, right: x.right, top, bottom: bottom + 20.0 } }
    }

    /// Where a replica's line is.
    pub(super) fn line(&self, replica: u32) -> f32 {
        self.lines.get(&replica).copied().unwrap_or(self.plot.bottom)
    }

    /// All lines with their replicas.
    pub(super) fn lines(&self) -> impl Iterator<Item = (u32, f32)> + '_ {
        self.lines.iter().map(|(replica, line)| (*replica, *line))
    }
}

/// A bar in a lane of its own at height 0.
fn bar<'a>(op: &'a ClientOp, x: &Stretched, plot_left: f32) -> Bar<'a> {
    let left = x.at(op.invoked);
    let right = op.returned.map_or(x.right, |time| x.at(time)).max(left + 3.0);
    let words = cut(&op.label, LABEL_CHARS_MAX);
    let lettering = Lettering { bold: op.culprit, ..OP_LABEL };
    let width = lettering.width(&words);
    let label = if width + 8.0 <= right - left {
        Some((left + 4.0, words))
    } else if op.culprit {
        let beside = if right + 5.0 + width <= x.right { right + 5.0 } else { left - 5.0 - width };
        Some((beside.max(plot_left), words))
    } else {
        let chars = ((right - left - 8.0) / width * words.chars().count() as f32).max(0.0) as usize;
        (chars >= 4).then(|| (left + 4.0, cut(&words, chars)))
    };
    Bar { op, area: Area { left, right, top: 0.0, bottom: BAR }, label }
}

/// Spreads bars, ascending by where they begin, over lanes so that neither they nor their words overlap; returns how many.
fn spread(bars: &mut [Bar<'_>]) -> usize {
    let mut ends: Vec<f32> = Vec::new();
    for bar in bars {
        let (mut from, mut to) = (bar.area.left, bar.area.right);
        if let Some((at, words)) = &bar.label {
            from = from.min(*at);
            to = to.max(at + Lettering { bold: bar.op.culprit, ..OP_LABEL }.width(words));
        }
        let lane = ends.iter().position(|end| *end + 2.0 <= from).unwrap_or(ends.len());
        if lane == ends.len() {
            ends.push(to);
        }
        ends[lane] = to;
        bar.area.top += lane as f32 * LANE;
        bar.area.bottom += lane as f32 * LANE;
    }
    ends.len()
}
