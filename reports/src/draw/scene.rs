//! What is in a picture.

use super::font;
use super::ink::Ink;

/// A place in a picture, pixels from its upper left corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) x: f32,
    pub(crate) y: f32,
}

/// A rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Area {
    pub(crate) left: f32,
    pub(crate) top: f32,
    pub(crate) right: f32,
    pub(crate) bottom: f32,
}

/// A colour with how much of it covers, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Paint {
    pub(crate) ink: Ink,
    pub(crate) alpha: f32,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stroke {
    pub(crate) paint: Paint,
    pub(crate) width: f32,
    /// Pixels drawn and pixels left out, in turn.
    pub(crate) dash: Option<(f32, f32)>,
}

/// The shape of marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Dot,
    Cross,
    Triangle,
}

/// Where text stands relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// How text looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Lettering {
    pub(crate) size: f32,
    pub(crate) bold: bool,
    pub(crate) ink: Ink,
    pub(crate) anchor: Anchor,
}

/// One thing in a picture.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    Rect {
        area: Area,
        paint: Paint,
    },
    Line {
        points: Vec<Point>,
        stroke: Stroke,
    },
    /// The inside of a closed line.
    Fill {
        points: Vec<Point>,
        paint: Paint,
    },
    Marks {
        at: Vec<Point>,
        shape: Shape,
        radius: f32,
        paint: Paint,
    },
    Text {
        at: Point,
        text: String,
        lettering: Lettering,
    },
    /// What follows, until its [`Item::End`], says this when it is pointed at.
    Begin {
        title: String,
    },
    End,
}

/// A picture.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scene {
    pub(crate) width: f32,
    pub(crate) height: f32,
    /// What it shows, for those who cannot see it.
    pub(crate) description: String,
    pub(crate) items: Vec<Item>,
}

impl Area {
    pub(crate) fn width(self) -> f32 {
        self.right - self.left
    }

    pub(crate) fn height(self) -> f32 {
        self.bottom - self.top
    }
}

impl Ink {
    pub(crate) fn solid(self) -> Paint {
        self.at(1.0)
    }

    pub(crate) fn at(self, alpha: f32) -> Paint {
        Paint { ink: self, alpha }
    }
}

impl Lettering {
    /// Regular text that starts at its point.
    pub(crate) fn new(size: f32, ink: Ink) -> Self {
        Self { size, bold: false, ink, anchor: Anchor::Start }
    }

    pub(crate) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(crate) fn anchored(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }

    /// How wide `text` is, with room for a reader's font that is a little wider than ours.
    pub(crate) fn width(&self, text: &str) -> f32 {
        const SLACK: f32 = 1.1;
        font::width(text, self.size, self.bold) * SLACK
    }
}

impl Scene {
    pub(crate) fn new(width: f32, height: f32, description: impl Into<String>) -> Self {
        Self { width, height, description: description.into(), items: Vec::new() }
    }

    pub(crate) fn rect(&mut self, area: Area, paint: Paint) {
        self.items.push(Item::Rect { area, paint });
    }

    pub(crate) fn line(&mut self, points: Vec<Point>, stroke: Stroke) {
        self.items.push(Item::Line { points, stroke });
    }

    pub(crate) fn fill(&mut self, points: Vec<Point>, paint: Paint) {
        self.items.push(Item::Fill { points, paint });
    }

    /// A straight line.
    pub(crate) fn rule(&mut self, from: (f32, f32), to: (f32, f32), stroke: Stroke) {
        self.line(vec![Point { x: from.0, y: from.1 }, Point { x: to.0, y: to.1 }], stroke);
    }

    pub(crate) fn text(&mut self, x: f32, y: f32, text: impl Into<String>, lettering: Lettering) {
        self.items.push(Item::Text { at: Point { x, y }, text: text.into(), lettering });
    }

    pub(crate) fn marks(&mut self, at: Vec<Point>, shape: Shape, radius: f32, paint: Paint) {
        self.items.push(Item::Marks { at, shape, radius, paint });
    }

    /// Draws what says `title` when it is pointed at.
    pub(crate) fn titled(&mut self, title: impl Into<String>, draw: impl FnOnce(&mut Self)) {
        self.items.push(Item::Begin { title: title.into() });
        draw(self);
        self.items.push(Item::End);
    }

    /// The outline of a rectangle.
    pub(crate) fn outline(&mut self, area: Area, stroke: Stroke) {
        let corners = [
            (area.left, area.top),
            (area.right, area.top),
            (area.right, area.bottom),
            (area.left, area.bottom),
            (area.left, area.top),
        ];
        self.line(corners.map(|(x, y)| Point { x, y }).to_vec(), stroke);
    }

    /// Diagonal lines over a rectangle.
    pub(crate) fn hatch(&mut self, area: Area, stroke: Stroke) {
        const GAP: f32 = 7.0;
        let height = area.height();
        let mut foot = area.left + GAP / 2.0;
        while foot < area.right + height {
            // From the foot at the bottom, up and to the left, as far as it lies within.
            let low = (foot - area.right).max(0.0);
            let high = (foot - area.left).min(height);
            if low < high {
                self.rule((foot - low, area.bottom - low), (foot - high, area.bottom - high), stroke);
            }
            foot += GAP;
        }
    }
}

impl Stroke {
    pub(crate) fn new(ink: Ink, width: f32) -> Self {
        Self { paint: ink.solid(), width, dash: None }
    }

    pub(crate) fn dashed(self) -> Self {
        Self { dash: Some((4.0, 3.0)), ..self }
    }
}
