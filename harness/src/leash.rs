//! A child on a leash: it is killed when the controller dies, however the controller dies.
//!
//! `gauntlet leash PID PROGRAM ARGS…` asks the kernel for SIGKILL at its parent's death, enters a control group (with
//! `--enter FILE`), and becomes the program. So a `kill -9` of the controller leaves no process behind, not even a stopped
//! one.

use crate::binaries;
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The command that runs `program` on a leash held by this process, in the control group with this entrance if there is one.
///
/// # Errors
/// If this program's own file cannot be found.
pub(crate) fn command(program: &Path, entrance: Option<&Path>) -> anyhow::Result<tokio::process::Command> {
    let own = binaries::own()?;
    let mut command = tokio::process::Command::new(own);
    command.arg("leash");
    if let Some(entrance) = entrance {
        command.arg("--enter").arg(entrance);
    }
    command.arg(std::process::id().to_string()).arg(program);
    Ok(command)
}

/// What `gauntlet leash` does.
///
/// # Errors
/// If the parent is gone already, or the program cannot be run. Does not return otherwise.
pub(crate) fn become_leashed(
    parent: i32,
    entrance: Option<&Path>,
    program: &Path,
    args: &[OsString],
) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("asking for a signal at the parent's death")?;
    // It may have died before we asked.
    if getppid() != Pid::from_raw(parent) {
        bail!("the controller {parent} is gone");
    }
    if let Some(entrance) = entrance {
        std::fs::write(entrance, std::process::id().to_string())
            .with_context(|| format!("entering {}", entrance.display()))?;
    }
    Err(Command::new(program).args(args).exec()).with_context(|| format!("running {}", program.display()))
}
