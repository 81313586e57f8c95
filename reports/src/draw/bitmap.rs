//! A scene as PNG, in light, twice as large as drawn so that it is sharp on any screen.
//!
//! plotters rasterises on a canvas of four times the drawn size, and squares of pixels are averaged afterwards: that
//! smooths every edge alike.

use super::font;
use super::ink::Ink;
use super::scene::{Anchor, Area, Item, Lettering, Paint, Point, Scene, Shape, Stroke};
use anyhow::Context;
use plotters::backend::BitMapBackend;
use plotters::prelude::DrawingBackend;
use plotters::style::{Color, RGBAColor, RGBColor};

/// Canvas pixels in a picture's pixel, each way.
const SMOOTHING: u32 = 2;
/// Picture pixels in a drawn pixel, each way; a huge picture gets one.
const SHARPNESS: u32 = 2;
/// A canvas of more pixels than this would take too much memory.
const CANVAS_PIXELS_MAX: u64 = 60_000_000;

/// The picture as the bytes of a PNG file.
///
/// # Errors
/// If it has no size or cannot be encoded.
pub(crate) fn png(scene: &Scene) -> anyhow::Result<Vec<u8>> {
    let area = f64::from(scene.width) * f64::from(scene.height);
    let fits = |sharpness: u32| area * f64::from((sharpness * SMOOTHING).pow(2)) <= CANVAS_PIXELS_MAX as f64;
    let sharpness = if fits(SHARPNESS) { SHARPNESS } else { 1 };
    let size = |drawn: f32| (drawn.ceil() as u32).max(1) * sharpness;
    let (width, height) = (size(scene.width), size(scene.height));
    let canvas_size = (width * SMOOTHING, height * SMOOTHING);
    let mut pixels = vec![0xff; canvas_size.0 as usize * canvas_size.1 as usize * 3];
    {
        let backend = BitMapBackend::with_buffer(&mut pixels, canvas_size);
        let mut canvas = Canvas { backend, scale: (sharpness * SMOOTHING) as f32 };
        for item in &scene.items {
            canvas.item(item).context("drawing on a canvas in memory")?;
        }
        canvas.backend.present().context("drawing on a canvas in memory")?;
    }
    encode(&averaged(&pixels, width as usize, height as usize), width, height)
}

struct Canvas<'a> {
    backend: BitMapBackend<'a>,
    scale: f32,
}

impl Canvas<'_> {
    fn item(&mut self, item: &Item) -> anyhow::Result<()> {
        match item {
            Item::Rect { area, paint } => self.rect(*area, *paint),
            Item::Line { points, stroke } => self.line(points, *stroke),
            Item::Fill { points, paint } => {
                let corners = points.iter().map(|&point| self.place(point)).collect::<Vec<_>>();
                Ok(self.backend.fill_polygon(corners, &color(*paint))?)
            }
            Item::Marks { at, shape, radius, paint } => {
                at.iter().try_for_each(|&point| self.mark(point, *shape, *radius, *paint))
            }
            Item::Text { at, text, lettering } => self.text(*at, text, *lettering),
            Item::Begin { .. } | Item::End => Ok(()),
        }
    }

    fn place(&self, point: Point) -> (i32, i32) {
        ((point.x * self.scale).round() as i32, (point.y * self.scale).round() as i32)
    }

    fn rect(&mut self, area: Area, paint: Paint) -> anyhow::Result<()> {
        let (left, top) = self.place(Point { x: area.left, y: area.top });
        let (right, bottom) = self.place(Point { x: area.right, y: area.bottom });
        if left < right && top < bottom {
            self.backend.draw_rect((left, top), (right, bottom), &color(paint), true)?;
        }
        Ok(())
    }

    fn line(&mut self, points: &[Point], stroke: Stroke) -> anyhow::Result<()> {
        match stroke.dash {
            None => self.solid(points, stroke),
            Some((on, off)) => dashes(points, on, off).iter().try_for_each(|dash| self.solid(dash, stroke)),
        }
    }

    /// Segment by segment: plotters' own thick lines have spikes where they turn sharply.
    fn solid(&mut self, points: &[Point], stroke: Stroke) -> anyhow::Result<()> {
        let radius = stroke.width / 2.0;
        for ends in points.windows(2) {
            let (from, to) = (ends[0], ends[1]);
            if from.x == to.x || from.y == to.y {
                let area = Area {
                    left: from.x.min(to.x) - if from.x == to.x { radius } else { 0.0 },
                    top: from.y.min(to.y) - if from.y == to.y { radius } else { 0.0 },
                    right: from.x.max(to.x) + if from.x == to.x { radius } else { 0.0 },
                    bottom: from.y.max(to.y) + if from.y == to.y { radius } else { 0.0 },
                };
                self.rect(area, stroke.paint)?;
                continue;
            }
            let (dx, dy) = (to.x - from.x, to.y - from.y);
            let length = dx.hypot(dy);
            let (nx, ny) = (-dy / length * radius, dx / length * radius);
            let corners = [(from, 1.0), (to, 1.0), (to, -1.0), (from, -1.0)]
                .map(|(at, side)| self.place(Point { x: at.x + side * nx, y: at.y + side * ny }));
            self.backend.fill_polygon(corners, &color(stroke.paint))?;
        }
        // Round joins, where a translucent line would not show them twice.
        if stroke.paint.alpha >= 1.0 && stroke.width > 1.0 && points.len() > 2 {
            points[1..points.len() - 1]
                .iter()
                .try_for_each(|&point| self.dot(point, radius, stroke.paint))?;
        }
        Ok(())
    }

    fn dot(&mut self, at: Point, radius: f32, paint: Paint) -> anyhow::Result<()> {
        let radius = ((radius * self.scale).round() as u32).max(1);
        Ok(self.backend.draw_circle(self.place(at), radius, &color(paint), true)?)
    }

    fn mark(&mut self, at: Point, shape: Shape, radius: f32, paint: Paint) -> anyhow::Result<()> {
        let corner = |dx: f32, dy: f32| Point { x: at.x + dx * radius, y: at.y + dy * radius };
        match shape {
            Shape::Dot => self.dot(at, radius, paint),
            Shape::Cross => {
                let stroke = Stroke { paint, width: 1.4, dash: None };
                self.solid(&[corner(-1.0, -1.0), corner(1.0, 1.0)], stroke)?;
                self.solid(&[corner(-1.0, 1.0), corner(1.0, -1.0)], stroke)
            }
            Shape::Triangle => {
                let corners = [corner(0.0, -1.0), corner(1.0, 1.0), corner(-1.0, 1.0)].map(|c| self.place(c));
                Ok(self.backend.fill_polygon(corners, &color(paint))?)
            }
        }
    }

    fn text(&mut self, at: Point, text: &str, lettering: Lettering) -> anyhow::Result<()> {
        let size = lettering.size * self.scale;
        let width = font::width(text, size, lettering.bold);
        let left = at.x * self.scale
            - match lettering.anchor {
                Anchor::Start => 0.0,
                Anchor::Middle => width / 2.0,
                Anchor::End => width,
            };
        let mut drawn = Ok(());
        font::outlines(text, size, lettering.bold, left, at.y * self.scale, |glyph| {
            let corner = glyph.px_bounds().min;
            glyph.draw(|x, y, coverage| {
                let place = (corner.x as i32 + x as i32, corner.y as i32 + y as i32);
                if drawn.is_ok() && coverage > 0.0 {
                    drawn = self
                        .backend
                        .draw_pixel(place, color(lettering.ink.at(coverage.min(1.0))).to_backend_color());
                }
            });
        });
        Ok(drawn?)
    }
}

fn color(paint: Paint) -> RGBAColor {
    let [_, r, g, b] = Ink::light(paint.ink).to_be_bytes();
    RGBColor(r, g, b).mix(f64::from(paint.alpha))
}

/// Cuts a line into the parts that are drawn.
fn dashes(points: &[Point], on: f32, off: f32) -> Vec<[Point; 2]> {
    let mut out = Vec::new();
    // How far along the pattern we are.
    let mut phase = 0.0;
    for ends in points.windows(2) {
        let (from, to) = (ends[0], ends[1]);
        let length = (to.x - from.x).hypot(to.y - from.y);
        let along = |d: f32| {
            let share = d / length;
            Point { x: from.x + (to.x - from.x) * share, y: from.y + (to.y - from.y) * share }
        };
        let mut done = 0.0;
        while done < length {
            let drawn = phase < on;
            let rest = if drawn { on - phase } else { on + off - phase };
            // A step that rounds to nothing must not hold us up.
            let next = (done + rest.max(0.01)).min(length);
            if drawn {
                out.push([along(done), along(next)]);
            }
            phase = (phase + next - done) % (on + off);
            done = next;
        }
    }
    out
}

/// Every square of canvas pixels becomes one.
fn averaged(canvas: &[u8], width: usize, height: usize) -> Vec<u8> {
    let smoothing = SMOOTHING as usize;
    let stride = width * smoothing * 3;
    let mut out = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            for channel in 0..3 {
                let mut sum = 0u32;
                for dy in 0..smoothing {
                    let row = (y * smoothing + dy) * stride;
                    for dx in 0..smoothing {
                        sum += u32::from(canvas[row + (x * smoothing + dx) * 3 + channel]);
                    }
                }
                out.push((sum / (SMOOTHING * SMOOTHING)) as u8);
            }
        }
    }
    out
}

fn encode(pixels: &[u8], width: u32, height: u32) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Default);
    encoder.set_adaptive_filter(png::AdaptiveFilterType::Adaptive);
    let mut writer = encoder.write_header().context("encoding a picture")?;
    writer.write_image_data(pixels).context("encoding a picture")?;
    writer.finish().context("encoding a picture")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_cover_their_share_and_a_line_without_length_has_none() {
        let line = [Point { x: 0.0, y: 0.0 }, Point { x: 10.0, y: 0.0 }, Point { x: 10.0, y: 4.0 }];
        let drawn: f32 =
            dashes(&line, 4.0, 3.0).iter().map(|[a, b]| (b.x - a.x).abs() + (b.y - a.y).abs()).sum();
        assert_eq!(drawn, 8.0);
        assert_eq!(dashes(&[line[0], line[0]], 4.0, 3.0), Vec::<[Point; 2]>::new());
    }

    #[test]
    fn a_picture_has_twice_the_size_and_what_was_drawn_is_in_it() {
        let mut scene = Scene::new(20.0, 10.0, "");
        scene.rect(Area { left: 5.0, top: 2.0, right: 10.0, bottom: 8.0 }, Ink::Danger.solid());
        let bytes = png(&scene).unwrap();
        let mut reader = png::Decoder::new(bytes.as_slice()).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (40, 20));
        let red = pixels.chunks(3).filter(|p| p == &[0xc8, 0x24, 0x3f]).count();
        assert_eq!(red, 10 * 12);
    }
}
