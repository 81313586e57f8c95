//! The command line.

use crate::plan::Overrides;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Runs replicated systems through the same storm and says, with evidence, what each of them kept and lost.
#[derive(Debug, Parser)]
#[command(name = "gauntlet", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 valid, 1 invalid, 2 unknown, 254 usage, 255 harness failure (over many runs: 1 before 255 before 2).";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the cells of one subject of a plan, check and report them
    Run {
        /// A plan file, or the name of one in `plans/`
        #[arg(default_value = "smoke")]
        plan: String,
        #[command(flatten)]
        overrides: Overrides,
        #[command(flatten)]
        place: Place,
    },
    /// Run every subject of a plan through the same load and faults, side by side
    Compare {
        /// A plan file, or the name of one in `plans/`
        #[arg(default_value = "compare")]
        plan: String,
        #[command(flatten)]
        overrides: Overrides,
        #[command(flatten)]
        place: Place,
    },
    /// Judge a stored run (or comparison) again
    Check {
        /// Its folder
        #[arg(default_value = "store/latest")]
        dir: PathBuf,
    },
    /// Render a stored run (or comparison) again
    Report {
        /// Its folder
        #[arg(default_value = "store/latest")]
        dir: PathBuf,
    },
    /// Print a stored run's history
    Export {
        /// Its folder, or a history file
        #[arg(default_value = "store/latest")]
        dir: PathBuf,
        /// In which format
        #[arg(long, value_enum, default_value_t = Format::JsonLines)]
        format: Format,
    },
    /// Speak to a running cluster: put, get, getall, delete, status, exit
    Client {
        /// HTTP addresses of its nodes, separated by commas
        #[arg(long, value_delimiter = ',', required = true)]
        nodes: Vec<SocketAddr>,
        /// One command, instead of a prompt
        command: Vec<String>,
    },
    /// List subjects, workloads, faults and plans
    List,
    /// Run a program that is killed when the controller dies
    #[command(hide = true)]
    Leash {
        /// The controller
        parent: i32,
        /// The program
        program: PathBuf,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// Where things are.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Where runs are kept
    #[arg(long, default_value = "store")]
    pub store: PathBuf,
    /// Where the node programs are, instead of beside this one
    #[arg(long)]
    pub bin_dir: Option<PathBuf>,
    /// Which hosts the nodes run on; without it all share 127.0.0.1
    #[arg(long, value_name = "FILE")]
    pub cluster: Option<PathBuf>,
}

/// An export format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line
    JsonLines,
}
