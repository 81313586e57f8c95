//! The command line.

use crate::host::agent::AgentArgs;
use crate::hosts::{self, HostsCommand};
use crate::overrides::Overrides;
use crate::subjects;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use tls::TlsFiles;

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
    /// Run the first subject of a plan in virtual time, seed after seed
    Sim {
        /// A plan file, or the name of one in `plans/`; the plan of a stored simulation is run exactly as it was
        #[arg(default_value = subjects::SIMULATED)]
        plan: String,
        #[command(flatten)]
        overrides: Overrides,
        #[command(flatten)]
        seeds: Seeds,
        #[command(flatten)]
        place: Place,
    },
    /// Make the plan of a failing simulated run smaller, as long as it fails in the same way
    Shrink {
        /// The `plan.yaml` of a stored simulation, or a plan with `--seed`
        plan: String,
        #[command(flatten)]
        overrides: Overrides,
        #[command(flatten)]
        place: Place,
    },
    /// Examine the harness itself: every seeded bug must be caught, the clean build must not be accused
    Bugs {
        /// A plan file, or the name of one in `plans/`: its first subject is examined
        #[arg(default_value = subjects::SIMULATED)]
        plan: String,
        #[command(flatten)]
        overrides: Overrides,
        #[command(flatten)]
        exam: Exam,
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
        #[command(flatten)]
        tls: Tls,
        /// One command, instead of a prompt
        command: Vec<String>,
    },
    /// Start the nodes of a plan's first subject on hosts, to stay
    Start {
        /// A plan file, or the name of one in `plans/`
        #[arg(default_value = "hosts")]
        plan: String,
        #[command(flatten)]
        overrides: Overrides,
        #[command(flatten)]
        place: Place,
    },
    /// Stop the nodes that `start` has left on hosts (SIGTERM); what they wrote stays
    Stop(OnHosts),
    /// Kill them (SIGKILL)
    Kill(OnHosts),
    /// Kill them, and remove all that is ours from the hosts
    Clean(OnHosts),
    /// Print the last lines of the nodes' logs on hosts
    Logs {
        #[command(flatten)]
        hosts: OnHosts,
        /// How many of each
        #[arg(long, default_value_t = 20)]
        lines: u32,
    },
    /// Make hosts of containers, take them down, look whether hosts will do
    #[command(subcommand)]
    Hosts(HostsCommand),
    /// List subjects, workloads, faults and plans
    List,
    /// Look after the nodes of this host, for a controller that reaches it over SSH
    #[command(hide = true)]
    Agent(AgentArgs),
    /// Make the load that is ordered in a folder
    #[command(hide = true)]
    Load {
        /// The folder
        #[arg(long)]
        dir: PathBuf,
    },
    /// Take back what an agent leaves behind
    #[command(hide = true)]
    AgentGuard {
        /// The agent's folder
        #[arg(long)]
        dir: PathBuf,
    },
    /// Use processors and memory until it is killed
    #[command(hide = true)]
    Burn {
        /// So many processors
        #[arg(long, default_value_t = 0)]
        cpu: u32,
        /// So many mebibytes
        #[arg(long, default_value_t = 0)]
        memory_mib: usize,
    },
    /// Serve a folder as a disk that can lose what was not synced, until standard input ends
    #[command(hide = true)]
    Lossy {
        /// What is durable
        backing: PathBuf,
        /// Where it is mounted
        at: PathBuf,
    },
    /// Run a program that is killed when the controller dies
    #[command(hide = true)]
    Leash {
        /// The control group to enter: a file that takes process ids
        #[arg(long)]
        enter: Option<PathBuf>,
        /// The controller
        parent: i32,
        /// The program
        program: PathBuf,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// Which seeds.
#[derive(Debug, Args)]
pub(crate) struct Seeds {
    /// How many seeds, from `--seed` on; without it 100, or with `--seed` only that one
    #[arg(long)]
    pub seeds: Option<u64>,
    /// Write down the fingerprint of all that happened in each seed: two builds that behave alike write the same file
    #[arg(long, value_name = "FILE")]
    pub fingerprints: Option<PathBuf>,
    /// Only every n-th of them, from the i-th on
    #[arg(long, value_name = "i/n", value_parser = shard)]
    pub shard: Option<(u64, u64)>,
}

/// How hard the exam is.
#[derive(Debug, Args)]
pub(crate) struct Exam {
    /// Only these bugs, by id, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// On node processes instead: the bugs that must show there too, each in a short storm of its own
    #[arg(long, conflicts_with_all = ["campaigns", "seeds_max"])]
    pub real: bool,
    /// How many campaigns each bug must be caught in; medians are over them
    #[arg(long, default_value_t = 10)]
    pub campaigns: u64,
    /// A campaign that has caught nothing after so many seeds has missed the bug
    #[arg(long, default_value_t = 2_000)]
    pub seeds_max: u64,
}

fn shard(text: &str) -> Result<(u64, u64), String> {
    let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    numbers.filter(|(i, n)| (1..=*n).contains(i)).ok_or_else(|| format!("`{text}` is not i/n, such as 1/4"))
}

/// What to show to nodes that speak TLS.
#[derive(Debug, Args)]
pub(crate) struct Tls {
    /// Speak TLS with nodes that this CA knows, PEM; they are given in the order of their ids then, n1 first
    #[arg(long, value_name = "FILE", requires_all = ["certificate", "key"])]
    ca: Option<PathBuf>,
    /// The client's certificate, PEM
    #[arg(long, value_name = "FILE", requires = "ca")]
    certificate: Option<PathBuf>,
    /// The private key of it, PEM
    #[arg(long, value_name = "FILE", requires = "ca")]
    key: Option<PathBuf>,
}

impl Tls {
    /// The files, if TLS is wanted.
    #[must_use]
    pub(crate) fn files(self) -> Option<TlsFiles> {
        Some(TlsFiles { ca: self.ca?, certificate: self.certificate?, key: self.key? })
    }
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
    /// Which hosts there are; without it the local world's nodes share 127.0.0.1
    #[arg(long, value_name = "FILE")]
    pub cluster: Option<PathBuf>,
}

/// On which hosts.
#[derive(Debug, Args)]
pub(crate) struct OnHosts {
    /// The hosts
    #[arg(long, value_name = "FILE", default_value = hosts::CONF)]
    pub cluster: PathBuf,
}

/// An export format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line
    JsonLines,
}
