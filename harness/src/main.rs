//! `gauntlet`, the controller: plans, worlds, the run loop, the store.
//!
//! | file | concept |
//! |---|---|
//! | `cli.rs`, `exit.rs` | the command line and exit codes |
//! | `plan.rs` | what to run, resolved into cells |
//! | `subject/`, `subjects/` | the systems under test: what one is, and their table |
//! | `topology.rs` | where nodes and clients are, and how far that is |
//! | `overrides.rs` | what the command line changes of a plan |
//! | `cluster.rs` | `cluster.conf`: which hosts |
//! | `run.rs` | one cell, from deployment to report |
//! | `campaign.rs` | the cells of a plan, one after the other |
//! | `sim/` | a plan in virtual time, seed after seed |
//! | `exam/` | `gauntlet bugs`: the harness' own exam, simulated and on processes |
//! | `checks.rs` | which checks there are, and which follow from a promise and a workload |
//! | `judge.rs` | every judgement on a stored run |
//! | `world/` | where a plan runs: the nodes of a run, on their hosts |
//! | `elsewhere/` | load that other hosts make, and one history of all |
//! | `host/` | one host: its nodes, and how it is reached |
//! | `hosts/` | `gauntlet hosts`: containers that are hosts, what hosts can do |
//! | `leash.rs` | children that die with the controller |
//! | `sightings.rs` | what replicas say of their states, as checkers are told it |
//! | `store.rs`, `binaries.rs` | where runs and node programs are |
//! | `shell.rs` | `gauntlet client` |
//! | `threads.rs` | one thread for everything |
//! | `panics.rs` | what a panic said |
//! | `list.rs` | what there is to choose from |
//! | `progress.rs`, `cpu.rs` | what is seen and measured meanwhile |

mod binaries;
mod campaign;
mod checks;
mod cli;
mod cluster;
mod cpu;
mod describe;
mod elsewhere;
mod exam;
mod exit;
mod host;
mod hosts;
mod judge;
mod leash;
mod list;
mod overrides;
mod panics;
mod plan;
mod progress;
mod run;
mod shell;
mod sightings;
mod sim;
mod store;
mod subject;
mod subjects;
mod threads;
mod topology;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what a fault does here moves to the nemesis, for all worlds"
)]
mod world;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use anyhow::Context;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let help = !error.use_stderr();
            if let Err(failed) = error.print() {
                eprintln!("gauntlet: {failed}");
            }
            return if help { ExitCode::SUCCESS } else { Exit::Usage.code() };
        }
    };
    // An agent's log is looked at when something is wrong, and nobody sees it otherwise.
    let is_agent = matches!(cli.command, Command::Agent(_) | Command::AgentGuard { .. });
    let level = if is_agent { "warn" } else { "error" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("GAUNTLET_LOG").unwrap_or_else(|_| level.into());
    // What cannot be logged, on a full disk, must not end the program.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.log_internal_errors(false).init();
    match dispatch(cli.command) {
        Ok(exit) => exit.code(),
        Err(error) => {
            eprintln!("gauntlet: {error:#}");
            if error.is::<campaign::UsageError>() { Exit::Usage.code() } else { Exit::Failed.code() }
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Run { plan, overrides, place } => campaign::run(&plan, &overrides, &place),
        Command::Compare { plan, overrides, place } => campaign::compare(&plan, &overrides, &place),
        Command::Sim { plan, overrides, seeds, place } => {
            sim::simulate(&campaign::load(&plan, &overrides)?, overrides.seed.is_some(), &seeds, &place)
        }
        Command::Shrink { plan, overrides, place } => {
            sim::shrink(&campaign::load(&plan, &overrides)?, &place)
        }
        Command::Bugs { plan, overrides, exam, place } => {
            exam::examine(&campaign::load(&plan, &overrides)?, &exam, &place)
        }
        Command::Check { dir } => campaign::check(&dir),
        Command::Report { dir } => campaign::report(&dir),
        Command::Export { dir, format } => campaign::export(&dir, format).map(|()| Exit::Valid),
        Command::Client { nodes, tls, command } => {
            let shell = shell::Shell::new(nodes, tls.files().as_ref())?;
            let done =
                if command.is_empty() { shell.run() } else { shell.execute(&command.join(" ")).map(drop) };
            done.map(|()| Exit::Valid)
        }
        Command::Start { plan, overrides, place } => {
            hosts::start(campaign::load(&plan, &overrides)?, &place).map(|()| Exit::Valid)
        }
        Command::Stop(on) => hosts::end(&on, false).map(|()| Exit::Valid),
        Command::Kill(on) => hosts::end(&on, true).map(|()| Exit::Valid),
        Command::Clean(on) => hosts::clean(&on).map(|()| Exit::Valid),
        Command::Logs { hosts, lines } => hosts::logs(&hosts, lines).map(|()| Exit::Valid),
        Command::Hosts(command) => hosts::execute(command),
        Command::List => list::print().map(|()| Exit::Valid),
        Command::Agent(args) => Ok(host::agent::run(&args)),
        Command::Load { dir } => elsewhere::make(&dir).map(|()| Exit::Valid),
        Command::AgentGuard { dir } => host::agent::guard(&dir).map(|()| Exit::Valid),
        Command::Burn { cpu, memory_mib } => host::burner::burn(cpu, memory_mib),
        Command::Lossy { backing, at } => host::lossy_disk::serve(&backing, &at).map(|()| Exit::Valid),
        Command::Leash { enter, parent, program, args } => {
            leash::become_leashed(parent, enter.as_deref(), &program, &args)
                .context("leash")
                .map(|()| Exit::Failed)
        }
    }
}
