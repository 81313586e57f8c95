//! The controller and the agents do everything on one thread.

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};

/// A tokio runtime that has no threads of its own.
///
/// # Errors
/// If the system refuses.
pub(crate) fn single_threaded() -> anyhow::Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("starting tokio")
}
