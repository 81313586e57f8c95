//! From a history to the numbers of `perf.json`.
//!
//! | file | concept |
//! |---|---|
//! | `latency.rs` | quantiles, and which ops have a latency |
//! | `span.rs` | when each phase ran |
//! | `fault.rs` | faults as intervals, their families and fates |
//! | `series.rs` | throughput and quantiles over time |
//! | `clock.rs` | a host's clock beside the controller's |
//! | `service.rs` | time without service |
//! | `recovery.rs` | time to recover after a fault |
//! | `perf.rs` | all of it together |
//! | `sample.rs` | which ops a scatter plot shows |

pub(crate) mod clock;
pub mod fault;
pub mod latency;
pub mod perf;
pub mod recovery;
pub mod sample;
pub mod series;
pub mod service;
pub mod span;

/// Nanoseconds as seconds.
pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Nanoseconds as milliseconds.
pub(crate) fn millis(ns: u64) -> f64 {
    ns as f64 / 1e6
}
