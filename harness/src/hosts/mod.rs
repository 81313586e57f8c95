//! `gauntlet hosts`: making hosts out of containers, taking them down, and looking whether hosts will do.
//!
//! | file | concept |
//! |---|---|
//! | `docker.rs`, `image.rs` | `up` and `down`: containers that are hosts, and what they are made of |
//! | `nodes.rs` | `gauntlet start`, `stop`, `kill`, `clean`, `logs`: nodes that stay |
//! | `check.rs` | `check`: what each host can do, and what not |

mod check;
mod docker;
mod image;
mod nodes;

pub(crate) use docker::CONF;
pub(crate) use nodes::{clean, end, logs, start};

use crate::exit::Exit;
use clap::Subcommand;
use docker::Extras;
use std::path::PathBuf;

/// What to do with hosts.
#[derive(Debug, Subcommand)]
pub(crate) enum HostsCommand {
    /// Start containers with SSH servers and addresses of their own, and write a `cluster.conf` for them
    Up {
        /// How many
        #[arg(long, value_name = "HOSTS", value_parser = clap::value_parser!(u32).range(1..=99))]
        docker: u32,
        /// Where `cluster.conf`, keys and known hosts are written
        #[arg(long, default_value = docker::DIR)]
        dir: PathBuf,
        /// Processors that each may use at most, such as 0.5
        #[arg(long)]
        cpus: Option<f64>,
        /// Give them /dev/fuse and what mounting needs (CAP_SYS_ADMIN, no AppArmor profile), for power losses of foreign systems. Root in
        /// such a container is close to root of this machine
        #[arg(long)]
        fuse: bool,
    },
    /// Remove the containers, their network, their disks and their keys
    Down {
        /// Where `up` wrote
        #[arg(long, default_value = docker::DIR)]
        dir: PathBuf,
        /// Leave the image, which takes a minute to make
        #[arg(long)]
        keep_image: bool,
    },
    /// Look whether each host is reachable and what faults are possible there
    Check {
        /// The hosts
        #[arg(long, value_name = "FILE", default_value = CONF)]
        cluster: PathBuf,
        /// A plan, by file or name, that must be possible there
        plan: Option<String>,
    },
}

/// Does it.
///
/// # Errors
/// What could not be done.
pub(crate) fn execute(command: HostsCommand) -> anyhow::Result<Exit> {
    match command {
        HostsCommand::Up { docker, dir, cpus, fuse } => {
            docker::up(docker, &dir, Extras { cpus, fuse }).map(|()| Exit::Valid)
        }
        HostsCommand::Down { dir, keep_image } => docker::down(&dir, keep_image).map(|()| Exit::Valid),
        HostsCommand::Check { cluster, plan } => check::check(&cluster, plan.as_deref()),
    }
}
