//! Every colour, in light and in dark.
//!
//! The hues are those of Okabe and Ito, told apart by colour-blind people, darkened or lightened until they keep a
//! contrast of at least 3:1 to the paper. Colour never stands alone: shapes, hatching and words say the same.

use crate::measure::fault::Family;
use checkers::history::OpKind;

/// A colour by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ink {
    /// Behind everything.
    Paper,
    /// Words and numbers.
    Text,
    /// Words of less weight.
    Muted,
    /// Axes.
    Axis,
    /// Thin lines behind data.
    Grid,
    /// Ops that took effect.
    Ok,
    /// Ops that did not.
    Fail,
    /// Ops of unknown outcome; whatever is wrong.
    Danger,
    /// Text on danger.
    OnDanger,
    /// A series, by its number.
    Hue(u8),
}

/// How many different hues there are.
const HUES: u8 = 8;

impl Ink {
    /// Every ink, for the style sheet.
    pub(crate) fn all() -> impl Iterator<Item = Ink> {
        let named = [
            Ink::Paper,
            Ink::Text,
            Ink::Muted,
            Ink::Axis,
            Ink::Grid,
            Ink::Ok,
            Ink::Fail,
            Ink::Danger,
            Ink::OnDanger,
        ];
        named.into_iter().chain((0..HUES).map(Ink::Hue))
    }

    /// For the `n`th of several things; they repeat after eight.
    pub(crate) fn nth(n: usize) -> Ink {
        Ink::Hue((n % usize::from(HUES)) as u8)
    }

    /// A kind of op. Kinds that occur in one workload differ well.
    pub(crate) fn of_kind(kind: OpKind) -> Ink {
        Ink::Hue(match kind {
            OpKind::Read | OpKind::Txn => 0,
            OpKind::Update | OpKind::Write => 1,
            OpKind::Cas | OpKind::ReadModifyWrite => 2,
            OpKind::Insert => 3,
            OpKind::Scan => 5,
        })
    }

    /// A family of faults.
    pub(crate) fn of_family(family: Family) -> Ink {
        match family {
            Family::Process => Ink::Hue(1),
            Family::Partition => Ink::Hue(5),
            Family::Packet => Ink::Hue(4),
            Family::Clock => Ink::Hue(2),
            Family::Disk => Ink::Hue(6),
            Family::Byzantine => Ink::Hue(3),
            Family::Other => Ink::Hue(7),
        }
    }

    /// The name of its CSS variable.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Ink::Paper => "--paper",
            Ink::Text => "--text",
            Ink::Muted => "--muted",
            Ink::Axis => "--axis",
            Ink::Grid => "--grid",
            Ink::Ok => "--ok",
            Ink::Fail => "--fail",
            Ink::Danger => "--danger",
            Ink::OnDanger => "--on-danger",
            Ink::Hue(n) => {
                ["--h0", "--h1", "--h2", "--h3", "--h4", "--h5", "--h6", "--h7"][usize::from(n % HUES)]
            }
        }
    }

    /// Red, green, blue on light paper: what a PNG shows.
    pub(crate) fn light(self) -> u32 {
        match self {
            Ink::Paper => 0xff_ff_ff,
            Ink::Text => 0x1c_21_2b,
            Ink::Muted => 0x5a_66_75,
            Ink::Axis => 0xaa_b3_c0,
            Ink::Grid => 0xe7_ea_ef,
            Ink::Ok => 0x00_72_b2,
            Ink::Fail => 0x6f_78_86,
            Ink::Danger => 0xc8_24_3f,
            Ink::OnDanger => 0xff_ff_ff,
            Ink::Hue(n) => [
                0x00_72_b2, 0xd5_5e_00, 0x00_8f_68, 0xc0_5c_9b, 0xb9_7d_00, 0x6f_55_c5, 0x33_93_cc,
                0x6f_78_86,
            ][usize::from(n % HUES)],
        }
    }

    /// Red, green, blue on dark paper.
    pub(crate) fn dark(self) -> u32 {
        match self {
            Ink::Paper => 0x16_1a_21,
            Ink::Text => 0xe7_ea_ef,
            Ink::Muted => 0x9d_a8_b7,
            Ink::Axis => 0x55_60_6f,
            Ink::Grid => 0x2a_30_3a,
            Ink::Ok => 0x4f_ab_e3,
            Ink::Fail => 0x93_9e_ad,
            Ink::Danger => 0xff_6b_7d,
            Ink::OnDanger => 0x2a_07_0d,
            Ink::Hue(n) => [
                0x4f_ab_e3, 0xff_8f_4a, 0x2f_c4_9b, 0xe9_93_c6, 0xee_b4_3c, 0xa5_94_f2, 0x7d_c8_f5,
                0x93_9e_ad,
            ][usize::from(n % HUES)],
        }
    }
}

/// The style sheet's variables: light by default, dark where the reader wants it.
pub(crate) fn css_variables() -> String {
    let list = |of: fn(Ink) -> u32| -> String {
        Ink::all().map(|ink| format!("{}:#{:06x};", ink.variable(), of(ink))).collect()
    };
    format!(":root{{{}}}@media(prefers-color-scheme:dark){{:root{{{}}}}}", list(Ink::light), list(Ink::dark))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WCAG 2's relative luminance.
    fn luminance(rgb: u32) -> f64 {
        let channel = |shift: u32| {
            let c = f64::from(rgb >> shift & 0xff) / 255.0;
            if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(16) + 0.7152 * channel(8) + 0.0722 * channel(0)
    }

    fn contrast(a: u32, b: u32) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn data_and_words_stand_out_from_the_paper() {
        for (name, of) in [("light", Ink::light as fn(Ink) -> u32), ("dark", Ink::dark)] {
            for ink in Ink::all().filter(|i| !matches!(i, Ink::Paper | Ink::Axis | Ink::Grid | Ink::OnDanger))
            {
                let wanted = if matches!(ink, Ink::Text | Ink::Muted) { 4.5 } else { 3.0 };
                let seen = contrast(of(ink), of(Ink::Paper));
                assert!(seen >= wanted, "{ink:?} in {name} has a contrast of {seen:.2}");
            }
            assert!(contrast(of(Ink::OnDanger), of(Ink::Danger)) >= 4.5);
        }
    }
}
