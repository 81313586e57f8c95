//! A scene as SVG, to stand in a page that defines the inks as CSS variables.

use super::scene::{Anchor, Item, Paint, Point, Scene, Shape, Stroke};
use std::fmt::Write;

/// Writes the picture. `natural_width`: never narrower than drawn (the page scrolls), instead of as wide as the page.
pub(crate) fn svg(scene: &Scene, natural_width: bool) -> String {
    let mut out = String::with_capacity(scene.items.len() * 80);
    let (width, height) = (Number(scene.width), Number(scene.height));
    let size = if natural_width { format!(" width=\"{width}\" height=\"{height}\"") } else { String::new() };
    put(&mut out, format_args!("<svg viewBox=\"0 0 {width} {height}\"{size} role=\"img\" aria-label=\""));
    escape(&mut out, &scene.description);
    out.push_str("\">");
    for item in &scene.items {
        write_item(&mut out, item);
    }
    out.push_str("</svg>");
    out
}

fn put(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("a string takes all that is written");
}

fn write_item(out: &mut String, item: &Item) {
    match item {
        Item::Rect { area, paint } => {
            let (x, y) = (Number(area.left), Number(area.top));
            let (width, height) = (Number(area.width()), Number(area.height()));
            put(out, format_args!("<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\""));
            fill(out, *paint);
            out.push_str("/>");
        }
        Item::Line { points, stroke: style } => {
            path(out, points);
            out.push_str("\" fill=\"none\" stroke-linejoin=\"round\"");
            stroke(out, *style);
            out.push_str("/>");
        }
        Item::Fill { points, paint } => {
            path(out, points);
            out.push_str("z\"");
            fill(out, *paint);
            out.push_str("/>");
        }
        Item::Marks { at, shape, radius, paint } => write_marks(out, at, *shape, *radius, *paint),
        Item::Text { at, text, lettering } => {
            put(out, format_args!("<text x=\"{}\" y=\"{}\"", Number(at.x), Number(at.y)));
            put(out, format_args!(" font-size=\"{}\"", Number(lettering.size)));
            if lettering.bold {
                out.push_str(" font-weight=\"700\"");
            }
            match lettering.anchor {
                Anchor::Start => {}
                Anchor::Middle => out.push_str(" text-anchor=\"middle\""),
                Anchor::End => out.push_str(" text-anchor=\"end\""),
            }
            fill(out, lettering.ink.solid());
            out.push('>');
            escape(out, text);
            out.push_str("</text>");
        }
        Item::Begin { title } => {
            out.push_str("<g><title>");
            escape(out, title);
            out.push_str("</title>");
        }
        Item::End => out.push_str("</g>"),
    }
}

/// A path through `points`, whose last attribute is still open.
fn path(out: &mut String, points: &[Point]) {
    out.push_str("<path d=\"");
    for (at, point) in points.iter().enumerate() {
        let command = if at == 0 { 'M' } else { 'L' };
        put(out, format_args!("{command}{} {}", Number(point.x), Number(point.y)));
    }
}

/// All marks of one look are one path, which keeps thousands of them small.
fn write_marks(out: &mut String, at: &[Point], shape: Shape, radius: f32, paint: Paint) {
    let r = Number(radius);
    let d = Number(2.0 * radius);
    out.push_str("<path d=\"");
    for point in at {
        let (x, y) = (Number(point.x), Number(point.y));
        match shape {
            Shape::Dot => put(out, format_args!("M{x} {y}h0")),
            Shape::Cross => {
                let (left, top) = (Number(point.x - radius), Number(point.y - radius));
                put(out, format_args!("M{left} {top}l{d} {d}m-{d} 0l{d}-{d}"));
            }
            Shape::Triangle => {
                put(out, format_args!("M{x} {}l{r} {d}h-{d}z", Number(point.y - radius)));
            }
        }
    }
    out.push('"');
    match shape {
        Shape::Dot => {
            out.push_str(" stroke-linecap=\"round\"");
            stroke(out, Stroke { paint, width: 2.0 * radius, dash: None });
        }
        Shape::Cross => {
            out.push_str(" fill=\"none\"");
            stroke(out, Stroke { paint, width: 1.4, dash: None });
        }
        Shape::Triangle => fill(out, paint),
    }
    out.push_str("/>");
}

fn fill(out: &mut String, paint: Paint) {
    put(out, format_args!(" fill=\"var({})\"", paint.ink.variable()));
    if paint.alpha < 1.0 {
        put(out, format_args!(" fill-opacity=\"{}\"", Fine(paint.alpha)));
    }
}

fn stroke(out: &mut String, stroke: Stroke) {
    put(out, format_args!(" stroke=\"var({})\"", stroke.paint.ink.variable()));
    put(out, format_args!(" stroke-width=\"{}\"", Number(stroke.width)));
    if stroke.paint.alpha < 1.0 {
        put(out, format_args!(" stroke-opacity=\"{}\"", Fine(stroke.paint.alpha)));
    }
    if let Some((on, off)) = stroke.dash {
        put(out, format_args!(" stroke-dasharray=\"{} {}\"", Number(on), Number(off)));
    }
}

/// A tenth of a pixel is enough for places; no trailing zero.
struct Number(f32);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenths = (self.0 * 10.0).round() as i64;
        let sign = if tenths < 0 { "-" } else { "" };
        let (whole, tenth) = (tenths.abs() / 10, tenths.abs() % 10);
        if tenth == 0 { write!(f, "{sign}{whole}") } else { write!(f, "{sign}{whole}.{tenth}") }
    }
}

/// A hundredth, for opacities.
struct Fine(f32);

impl std::fmt::Display for Fine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, ".{:02}", (self.0 * 100.0).round() as i64)
    }
}

/// Labels are data: nothing in them may become markup.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::ink::Ink;
    use crate::draw::scene::{Area, Lettering};

    #[test]
    fn a_small_scene_is_small_and_escaped() {
        let mut scene = Scene::new(100.0, 50.0, "a \"picture\"");
        scene.rect(Area { left: 1.0, top: 2.0, right: 3.5, bottom: 4.04 }, Ink::Ok.at(0.25));
        scene.rule((0.0, 0.0), (10.0, -5.26), Stroke::new(Ink::Axis, 1.0).dashed());
        let at = vec![Point { x: 5.0, y: 6.0 }, Point { x: 7.0, y: 8.0 }];
        scene.fill(at.clone(), Ink::Ok.at(0.5));
        for shape in [Shape::Dot, Shape::Cross, Shape::Triangle] {
            scene.marks(at.clone(), shape, 2.0, Ink::Danger.solid());
        }
        let heading = Lettering::new(12.0, Ink::Text).bold().anchored(Anchor::End);
        scene.titled("a & b", |scene| scene.text(1.0, 2.0, "<script>\u{1b}[0m", heading));
        insta::assert_snapshot!(svg(&scene, false).replace("><", ">\n<"));
    }
}
