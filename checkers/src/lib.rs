//! The history, and every judgement on it.

mod append;
mod evidence;
pub mod faults;
pub mod history;
pub mod linearizability;
pub mod stats;
pub mod verdict;

pub use verdict::{CheckResult, Verdict};
