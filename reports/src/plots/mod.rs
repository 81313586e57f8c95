//! The plots: each a function from what was measured to a scene.
//!
//! | file | plot |
//! |---|---|
//! | `scatter.rs` | every op, or a fair sample: latency over time |
//! | `quantiles.rs` | latency quantiles over time |
//! | `throughput.rs` | ops a second by outcome over time |
//! | `clocks.rs` | hosts' clocks beside the controller's over time |
//! | `overlay.rs` | throughput and p99 of several subjects over time |
//! | `distribution.rs` | latency by share of ops, several subjects |
//! | `bars.rs` | single figures of several subjects |
//! | `scaling.rs` | throughput and latency by number of clients |

pub(crate) mod bars;
pub(crate) mod clocks;
pub(crate) mod distribution;
pub(crate) mod overlay;
pub(crate) mod quantiles;
pub(crate) mod scaling;
pub(crate) mod scatter;
pub(crate) mod throughput;

use crate::comparison::Group;
use crate::draw::frame::TimeAxis;
use crate::draw::strip::{Row, rows};
use crate::measure::perf::Perf;

/// A plot for the page and for a file.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// The file's name without its ending.
    pub(crate) name: String,
    pub(crate) scene: crate::draw::scene::Scene,
    /// What a reader has to know to read it.
    pub(crate) caption: String,
}

/// Said where there is nothing to draw.
const NO_OPS: &str = "no completed operations";

/// The time that plots of one run show.
fn run_axis(perf: &Perf) -> TimeAxis {
    let series = &perf.series;
    let (from_s, to_s) = if series.is_empty() {
        (0.0, perf.history_end_s)
    } else {
        let end = series.start_s + series.bucket_s * series.len() as f64;
        (series.start_s, end.min(perf.history_end_s.max(perf.run_end_s)))
    };
    TimeAxis { from_s, to_s: if to_s > from_s { to_s } else { from_s + 1.0 }, since: "the run began" }
}

/// Phases and faults of one run.
fn run_rows(perf: &Perf, axis: TimeAxis) -> Vec<Row> {
    rows(perf, 0.0, axis.to_s)
}

/// The beginning of the names of a group's files; numbered, since titles may become alike.
fn slug(nth: usize, group: &Group) -> String {
    format!("{}-{}", nth + 1, slug_of(&group.title))
}

/// A title as part of a file's name.
fn slug_of(title: &str) -> String {
    let plain = title.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    let words: Vec<String> = plain.collect::<String>().split('-').map(str::to_owned).collect();
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}
