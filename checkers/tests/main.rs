//! The tests of the crate's outside.

mod history_file;
mod stats;
mod support;
