//! The table of subjects: one file each. `build.rs` collects them, so that a subject is added by adding its file.

use crate::subject::System;

include!(concat!(env!("OUT_DIR"), "/subjects.rs"));

#[cfg(test)]
pub(crate) mod tests;

/// The plan that `sim` and `bugs` run where none is named.
pub(crate) const SIMULATED: &str = "raft";
