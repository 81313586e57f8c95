//! The history, and every judgement on it.

pub mod history;
pub mod verdict;

pub use verdict::{CheckResult, Verdict};
