//! The embedded font: DejaVu Sans Condensed, which has arrows, `µ` and `≥`.

use ab_glyph::{Font, FontRef, GlyphId, OutlinedGlyph, PxScale, ScaleFont, point};
use std::sync::LazyLock;

static REGULAR: LazyLock<FontRef<'static>> = LazyLock::new(|| parsed(dejavu::sans_condensed::regular()));
static BOLD: LazyLock<FontRef<'static>> = LazyLock::new(|| parsed(dejavu::sans_condensed::bold()));

fn parsed(bytes: &'static [u8]) -> FontRef<'static> {
    FontRef::try_from_slice(bytes).expect("the embedded font is a font")
}

fn face(bold: bool) -> &'static FontRef<'static> {
    if bold { &BOLD } else { &REGULAR }
}

/// Pixels to an em, in the font's own measure of height.
fn scale(face: &FontRef<'static>, size: f32) -> PxScale {
    let units = face.units_per_em().expect("an outline font has units");
    PxScale::from(size * face.height_unscaled() / units)
}

/// The width of `text` at `size` pixels to an em.
pub(crate) fn width(text: &str, size: f32, bold: bool) -> f32 {
    let face = face(bold);
    let mut end = 0.0;
    walk(text, face, scale(face, size), |_, _, after| end = after);
    end
}

/// Each glyph's outline, its baseline starting at (`x`, `y`).
pub(crate) fn outlines(
    text: &str,
    size: f32,
    bold: bool,
    x: f32,
    y: f32,
    mut each: impl FnMut(&OutlinedGlyph),
) {
    let face = face(bold);
    let scale = scale(face, size);
    walk(text, face, scale, |id, at, _| {
        let glyph = id.with_scale_and_position(scale, point(x + at, y));
        if let Some(outline) = face.outline_glyph(glyph) {
            each(&outline);
        }
    });
}

/// Calls `each` with every glyph, where it begins and where the next would.
fn walk(text: &str, face: &FontRef<'static>, scale: PxScale, mut each: impl FnMut(GlyphId, f32, f32)) {
    let scaled = face.as_scaled(scale);
    let mut at = 0.0;
    let mut last = None;
    for c in text.chars() {
        let id = scaled.glyph_id(c);
        if let Some(last) = last {
            at += scaled.kern(last, id);
        }
        let after = at + scaled.h_advance(id);
        each(id, at, after);
        at = after;
        last = Some(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sign_that_labels_use_is_in_the_font() {
        for bold in [false, true] {
            for c in "→←µ≥≤×–…·∞▲∅−′é".chars() {
                assert_ne!(face(bold).glyph_id(c).0, 0, "{c} is missing");
            }
        }
    }

    #[test]
    fn width_grows_with_text_size_and_weight() {
        assert_eq!(width("", 12.0, false), 0.0);
        let plain = width("read → 4", 12.0, false);
        assert!((30.0..70.0).contains(&plain), "{plain}");
        assert!((width("read → 4", 24.0, false) - 2.0 * plain).abs() < 0.1);
        assert!(width("read → 4", 12.0, true) > plain);
    }
}
