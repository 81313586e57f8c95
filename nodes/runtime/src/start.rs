//! What is the same in the `main` of every node binary.

use crate::config::NodeConfig;
use crate::node::{self, Ready};
use anyhow::Context;
use clap::Parser;
use kv::Serves;
use rustix::process::{Resource, Rlimit, Signal};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// So many connections are read before the sockets are asked for more, so that a turn takes all that had come. With tokio's
/// own 61, turns were smaller at 256 clients, and throughput 12 % less.
const TASKS_BETWEEN_POLLS: u32 = 512;

/// The command line of every node binary.
#[derive(Debug, Parser)]
#[command(version, about = "One node of a replicated key-value store")]
struct Arguments {
    /// The node's configuration, YAML.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Be killed when the process that started this one ends.
    #[arg(long)]
    die_with_parent: bool,
}

/// The exit code of a node whose disk holds no more: the number of ENOSPC.
pub const EXIT_DISK_FULL: u8 = 28;

/// Runs one node until it is told to stop: exit code 0. Whatever keeps it from running is one line on stderr: exit code
/// [`EXIT_DISK_FULL`] if that is a full disk, 1 otherwise.
pub fn node_main<P: Serves>() -> ExitCode {
    let arguments = Arguments::parse();
    match run::<P>(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Its log may be on a disk that is full, which must not turn an error into a panic.
            drop(writeln!(std::io::stderr(), "{}-node: {error:#}", P::NAME));
            exit_code(&error)
        }
    }
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    let is_full = |cause: &(dyn std::error::Error + 'static)| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::StorageFull)
    };
    if error.chain().any(is_full) { ExitCode::from(EXIT_DISK_FULL) } else { ExitCode::FAILURE }
}

fn run<P: Serves>(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.die_with_parent {
        die_with_parent()?;
    }
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env()?;
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .log_internal_errors(false)
        .init();
    let (config, options) = NodeConfig::load::<P::Options>(&arguments.config)?;
    let core_config = P::configure(config.seat(), options);
    allow_many_connections().context("raising the limit of open files")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .event_interval(TASKS_BETWEEN_POLLS)
        .enable_all()
        .build()?;
    let done = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("told to stop");
        };
        // A task of its own, so that it takes its turn behind the connections that have something for it.
        let node =
            tokio::spawn(
                async move { node::serve::<P>(P::NAME, &config, core_config, print_ready, stop).await },
            );
        node.await?.map_err(anyhow::Error::from)
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

fn print_ready(ready: &Ready) {
    let line = serde_json::to_string(ready).expect("a flat struct is JSON");
    let mut out = std::io::stdout();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
        tracing::warn!(%error, "nobody reads that this node is ready");
    }
}

fn die_with_parent() -> anyhow::Result<()> {
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .context("asking to die with the parent")?;
    // It may have ended just before it was asked for.
    anyhow::ensure!(rustix::process::getppid() == parent, "the parent process has ended already");
    Ok(())
}

/// Each client is an open file, and the usual limit is 1024.
fn allow_many_connections() -> rustix::io::Result<()> {
    let Rlimit { maximum, .. } = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
}
