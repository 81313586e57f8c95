//! From values to places along an axis, with ticks.

use crate::text::{count, number};
use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;

/// One axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    kind: Kind,
    from: f64,
    to: f64,
    /// Where `from` lies, pixels.
    low: f32,
    /// Where `to` lies.
    high: f32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Linear,
    Log,
    /// Shares, such that 0.9, 0.99, 0.999, … are equally far apart.
    Nines,
}

/// A value worth a line, and perhaps a label.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    pub(crate) value: f64,
    pub(crate) label: Option<String>,
}

impl Scale {
    /// Proportional.
    pub(crate) fn linear(values: (f64, f64), pixels: (f32, f32)) -> Self {
        Self::new(Kind::Linear, values, pixels)
    }

    /// Equal factors are equally far apart. From and to are widened to 1, 2 or 5 times a power of ten.
    pub(crate) fn log(values: (f64, f64), pixels: (f32, f32)) -> Self {
        let from = *round_steps(values.0.max(LOG_MIN))
            .iter()
            .rfind(|&&step| step <= values.0.max(LOG_MIN) * 1.000_001)
            .expect("the first step is not above");
        // At least a factor of ten, or the smallest tremor fills the picture.
        let to = values.1.max(from * 10.0);
        let to = *round_steps(to)
            .iter()
            .find(|&&step| step >= to * 0.999_999)
            .expect("the last step is not below");
        Self::new(Kind::Log, (from, to), pixels)
    }

    /// From the median's side of 0 to the share `to`, which must be below 1.
    pub(crate) fn nines(to: f64, pixels: (f32, f32)) -> Self {
        Self::new(Kind::Nines, (0.0, to.clamp(0.9, 1.0 - 1e-12)), pixels)
    }

    fn new(kind: Kind, (from, to): (f64, f64), (low, high): (f32, f32)) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        Self { kind, from, to, low, high }
    }

    /// The first value.
    pub(crate) fn from(&self) -> f64 {
        self.from
    }

    /// The last value.
    pub(crate) fn to(&self) -> f64 {
        self.to
    }

    /// Where a value lies; one beyond an end lies at that end.
    pub(crate) fn at(&self, value: f64) -> f32 {
        let (v, from, to) = (self.spread(value), self.spread(self.from), self.spread(self.to));
        let share = ((v - from) / (to - from)).clamp(0.0, 1.0);
        self.low + (self.high - self.low) * share as f32
    }

    fn spread(&self, value: f64) -> f64 {
        match self.kind {
            Kind::Linear => value,
            Kind::Log => value.max(LOG_MIN).log10(),
            Kind::Nines => -(1.0 - value).max(1e-13).log10(),
        }
    }

    /// About `wanted` ticks of a proportional axis, labelled as plain numbers.
    pub(crate) fn ticks(&self, wanted: usize) -> Vec<Tick> {
        let values = RangedCoordf64::from(self.from..self.to).key_points(wanted.max(2));
        let step = values.windows(2).map(|w| w[1] - w[0]).fold(f64::INFINITY, f64::min);
        let decimals =
            if step.is_finite() && step < 1.0 { (-step.log10()).ceil().min(9.0) as usize } else { 0 };
        let label = |v: f64| if v.abs() >= 1000.0 { number(v) } else { format!("{v:.decimals$}") };
        values.into_iter().map(|value| Tick { value, label: Some(label(value)) }).collect()
    }

    /// Ticks of a logarithmic axis of milliseconds: every power of ten has a label; 2 and 5 times have one where
    /// there is room.
    pub(crate) fn ticks_ms(&self) -> Vec<Tick> {
        let decades = (self.to / self.from).log10();
        let (first, last) = (self.from.log10().floor() as i32, self.to.log10().ceil() as i32);
        let mut ticks = Vec::new();
        for decade in first..=last {
            for (factor, labelled) in [(1.0, true), (2.0, decades <= 3.0), (5.0, decades <= 3.0)] {
                let value = factor * 10f64.powi(decade);
                if value < self.from * 0.999 || value > self.to * 1.001 || (factor > 1.0 && decades > 5.0) {
                    continue;
                }
                ticks.push(Tick { value, label: labelled.then(|| duration_label(value)) });
            }
        }
        ticks
    }

    /// Ticks of an axis of nines: `50 %`, `90 %`, `99 %`, …
    pub(crate) fn ticks_nines(&self) -> Vec<Tick> {
        let mut ticks = vec![tick_share(0.0), tick_share(0.5)];
        for nines in 1..12 {
            let share = 1.0 - 10f64.powi(-nines);
            if share > self.to + 1e-13 {
                break;
            }
            ticks.push(tick_share(share));
        }
        ticks
    }
}

/// A nanosecond, in milliseconds: nothing is shown as shorter.
const LOG_MIN: f64 = 1e-6;

/// The round values around `value`: the first is not above it, the last not below.
fn round_steps(value: f64) -> [f64; 4] {
    // A power of ten, but for its last bit, begins its own decade.
    let decade = 10f64.powf((value.log10() + 1e-9).floor());
    [1.0, 2.0, 5.0, 10.0].map(|step| step * decade)
}

fn tick_share(share: f64) -> Tick {
    let percent = share * 100.0;
    let decimals = (0..10).find(|&d| (percent - round_to(percent, d)).abs() < 1e-9).unwrap_or(10) as usize;
    Tick { value: share, label: Some(format!("{percent:.decimals$} %")) }
}

fn round_to(value: f64, decimals: i32) -> f64 {
    let factor = 10f64.powi(decimals);
    (value * factor).round() / factor
}

/// `100 µs`, `2 ms`, `50 s`: a round number of milliseconds, without decimals.
fn duration_label(ms: f64) -> String {
    let (value, unit) = match ms {
        ms if ms < 0.000_999 => (ms * 1e6, "ns"),
        ms if ms < 0.999 => (ms * 1e3, "µs"),
        ms if ms < 999.0 => (ms, "ms"),
        ms => (ms / 1e3, "s"),
    };
    let rounded = value.round();
    if (value - rounded).abs() < 1e-6 {
        format!("{} {unit}", count(rounded as u64))
    } else {
        format!("{} {unit}", number(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().filter_map(|tick| tick.label.as_deref()).collect()
    }

    #[test]
    fn a_linear_axis_is_proportional_and_its_ticks_are_round() {
        let scale = Scale::linear((0.0, 120.0), (50.0, 170.0));
        assert_eq!((scale.at(0.0), scale.at(60.0), scale.at(500.0)), (50.0, 110.0, 170.0));
        assert_eq!(labels(&scale.ticks(8)), ["0", "20", "40", "60", "80", "100", "120"]);
        assert_eq!(
            labels(&Scale::linear((0.0, 0.5), (0.0, 1.0)).ticks(6)),
            ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]
        );
        assert_eq!(labels(&Scale::linear((0.0, 40_000.0), (0.0, 1.0)).ticks(3)), ["0", "20,000", "40,000"]);
        let around = Scale::linear((-2000.0, 2000.0), (0.0, 1.0));
        assert_eq!(labels(&around.ticks(3)), ["-2,000", "0", "2,000"]);
    }

    #[test]
    fn a_log_axis_widens_to_round_values_and_carries_units() {
        let scale = Scale::log((0.3, 8000.0), (0.0, 100.0));
        assert_eq!((scale.from(), scale.to()), (0.2, 10_000.0));
        assert_eq!(labels(&scale.ticks_ms()), ["1 ms", "10 ms", "100 ms", "1 s", "10 s"]);
        let narrow = Scale::log((1.0, 1.0), (0.0, 100.0));
        assert_eq!(labels(&narrow.ticks_ms()), ["1 ms", "2 ms", "5 ms", "10 ms"]);
        let wide = Scale::log((0.001, 60_000.0), (0.0, 100.0));
        assert_eq!(labels(&wide.ticks_ms()).first(), Some(&"1 µs"));
        assert!(Scale::log((0.0, 0.0), (0.0, 1.0)).at(0.0).is_finite());
    }

    #[test]
    fn nines_are_equally_far_apart() {
        let scale = Scale::nines(0.9999, (0.0, 400.0));
        assert_eq!(labels(&scale.ticks_nines()), ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        for (share, place) in [(0.9, 100.0), (0.99, 200.0), (0.999, 300.0), (1.0, 400.0)] {
            assert!((scale.at(share) - place).abs() < 0.1, "{share}");
        }
    }
}
