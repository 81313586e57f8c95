//! The tests of the crate's outside.

mod history_file;
mod support;
