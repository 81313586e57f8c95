//! The tests of the crate's outside.

mod append;
mod counting;
mod history_file;
mod hostile;
mod linearizability;
mod models;
mod mutations;
mod real_histories;
mod stats;
mod stored_history;
mod support;
