//! Arrows, crosses and their labels, which never overlap.

use super::layout::Layout;
use super::view::{Fate, Message};
use crate::draw::ink::Ink;
use crate::draw::scene::{Anchor, Area, Lettering, Point, Scene, Shape, Stroke};
use crate::measure::span::Span;
use crate::text::duration;
use crate::timeline::layout::Stretched;

const LABEL: Lettering = Lettering { size: 10.5, bold: false, ink: Ink::Text, anchor: Anchor::Middle };
/// How far a message is drawn that was lost at once, or whose run ended first: a share of its way, and pixels to the right.
const STUB: (f32, f32) = (0.3, 12.0);

/// A message on the page.
pub(super) struct Arrow<'a> {
    message: &'a Message<'a>,
    from: Point,
    to: Point,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Head,
    Cross,
    /// It goes on beyond the picture.
    Open,
}

/// Where text stands already.
#[derive(Default)]
pub(super) struct Taken(Vec<Area>);

impl Taken {
    /// Reserves a place.
    pub(super) fn take(&mut self, area: Area) {
        self.0.push(area);
    }

    pub(super) fn is_free(&self, area: Area) -> bool {
        let apart = |other: &Area| {
            area.right < other.left
                || other.right < area.left
                || area.bottom < other.top
                || other.bottom < area.top
        };
        self.0.iter().all(apart)
    }
}

/// What of a message lies in the picture.
pub(super) fn arrow<'a>(
    message: &'a Message<'a>,
    span: Span,
    x: &Stretched,
    layout: &Layout<'_>,
) -> Arrow<'a> {
    let (y0, y1) = (layout.line(message.from), layout.line(message.to));
    let down = (y1 - y0).signum();
    let way = |share: f32| y0 + (y1 - y0) * share;
    let (ended, end, reach) = match message.fate {
        Fate::Received(at) => (at, End::Head, 1.0),
        // Short of the line, or it would look received.
        Fate::Lost(at, _) => (at, End::Cross, 1.0 - 9.0 / (y1 - y0).abs().max(9.0)),
        Fate::UnderWay => (message.sent, End::Open, 1.0),
    };
    if ended <= message.sent && end != End::Head {
        let from = Point { x: x.at(message.sent), y: y0 + 2.0 * down };
        return Arrow { message, from, to: Point { x: from.x + STUB.1, y: way(STUB.0) }, end };
    }
    let share = |time: u64| {
        (time.saturating_sub(message.sent) as f64 / (ended - message.sent).max(1) as f64) as f32 * reach
    };
    let from = Point {
        x: x.at(message.sent.max(span.start)),
        y: if message.sent < span.start { way(share(span.start)) } else { y0 + 2.0 * down },
    };
    if ended > span.end {
        return Arrow { message, from, to: Point { x: x.right, y: way(share(span.end)) }, end: End::Open };
    }
    let to = Point { x: x.at(ended), y: if end == End::Head { y1 - 2.0 * down } else { way(reach) } };
    Arrow { message, from, to, end }
}

impl Arrow<'_> {
    pub(super) fn draw(&self, scene: &mut Scene, ink: Ink) {
        let alpha = if self.message.repeats { 0.38 } else { 0.95 };
        let width = if self.message.repeats { 0.9 } else { 1.5 };
        let stroke = Stroke { paint: ink.at(alpha), ..Stroke::new(ink, width) };
        let body = if self.message.fate == Fate::UnderWay { stroke.dashed() } else { stroke };
        scene.titled(self.title(), |scene| {
            scene.line(vec![self.from, self.to], body);
            match self.end {
                End::Head => scene.line(head(self.from, self.to).to_vec(), stroke),
                End::Cross => scene.marks(vec![self.to], Shape::Cross, 3.2, ink.at(alpha.max(0.7))),
                End::Open => {}
            }
        });
    }

    fn title(&self) -> String {
        let message = self.message;
        let seconds = |at: u64| at as f64 / 1e9;
        let took = |at: u64| duration(at.saturating_sub(message.sent) as f64 / 1e6);
        let fate = match message.fate {
            Fate::Received(at) => format!("arrives at {:.6} s, after {}", seconds(at), took(at)),
            Fate::Lost(at, why) if at <= message.sent => format!("lost: {why}"),
            Fate::Lost(at, why) => format!("lost at {:.6} s: {why}", seconds(at)),
            Fate::UnderWay => "on its way when the run ended".to_owned(),
        };
        format!(
            "#{} n{} → n{}, sent at {:.6} s, {fate}\n{}",
            message.number,
            message.from,
            message.to,
            seconds(message.sent),
            message.words
        )
    }

    /// Writes the short name where there is room along the arrow, if there is.
    pub(super) fn write(&self, scene: &mut Scene, ink: Ink, taken: &mut Taken) {
        let text = short(self.message.kind);
        let half = LABEL.width(&text) / 2.0 + 1.0;
        for share in [0.5, 0.38, 0.62, 0.26, 0.74, 0.15, 0.85] {
            let x = self.from.x + (self.to.x - self.from.x) * share;
            let y = self.from.y + (self.to.y - self.from.y) * share;
            let area = Area { left: x - half, right: x + half, top: y - 6.0, bottom: y + 5.0 };
            if taken.is_free(area) && area.right <= scene.width {
                taken.take(area);
                scene.rect(area, Ink::Paper.at(0.82));
                scene.text(x, y + 3.5, text, Lettering { ink, ..LABEL });
                return;
            }
        }
    }
}

/// The two strokes of an arrow's head.
fn head(from: Point, to: Point) -> [Point; 3] {
    let (dx, dy) = (to.x - from.x, to.y - from.y);
    let length = dx.hypot(dy).max(0.01);
    let (ux, uy) = (dx / length, dy / length);
    let wing =
        |side: f32| Point { x: to.x - 6.0 * ux - side * 2.8 * uy, y: to.y - 6.0 * uy + side * 2.8 * ux };
    [wing(1.0), to, wing(-1.0)]
}

/// Initials, or of a single word the first letters: `append-entries` is AE, `commit` com.
pub(super) fn short(kind: &str) -> String {
    if kind.contains('-') {
        let initials = kind.split('-').filter_map(|word| word.chars().next());
        initials.map(|c| c.to_ascii_uppercase()).collect()
    } else {
        kind.chars().take(3).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_initials() {
        assert_eq!(["append-entries", "forward", "forward-reply", "--"].map(short), ["AE", "for", "FR", ""]);
    }

    #[test]
    fn a_place_is_taken_once() {
        let area = |left: f32| Area { left, right: left + 10.0, top: 0.0, bottom: 10.0 };
        let mut taken = Taken::default();
        assert!(taken.is_free(area(0.0)));
        taken.take(area(0.0));
        assert!(!taken.is_free(area(9.0)) && taken.is_free(area(11.0)));
    }
}
