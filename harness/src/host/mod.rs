//! A host: where nodes run. This machine, in this process; or another, through the agent that runs there.
//!
//! | file | concept |
//! |---|---|
//! | `wire.rs` | what a host is asked, and what it answers |
//! | `agent.rs` | what runs on a host over SSH, and its dead-man |
//! | `ssh.rs`, `remote.rs` | reaching a host; its agent, as the controller sees it |
//! | `supervisor.rs` | the nodes of one host |
//! | `disks.rs` | their disks: copied, cut, damaged, put back |
//! | `filler.rs` | file systems without room |
//! | `burner.rs` | programs that want a host's processors or memory |
//! | `quota.rs` | how much processor time a node may have |
//! | `lossy_disk.rs` | a disk under a foreign node that can lose what was not synced |
//! | `kernel.rs` | what a host's kernel counts |
//! | `node.rs`, `proc_stat.rs` | one node: its process |

pub(crate) mod agent;
pub(crate) mod burner;
mod disks;
mod filler;
mod kernel;
pub(crate) mod lossy_disk;
pub(crate) mod node;
pub(crate) mod proc_stat;
mod quota;
mod remote;
pub(crate) mod ssh;
mod supervisor;
mod wire;

pub(crate) use agent::monotonic_ns;
pub(crate) use quota::{Throttling, probe as probe_quota};
pub(crate) use remote::{ClockSample, LoadFailure, Remote, Stay, Watched};
pub(crate) use supervisor::Supervisor;
pub(crate) use wire::{
    AgentReply, AgentRequest, ClockRequest, HostReply, HostRequest, Log, Means, NodeRequest, Prepared,
    Secret, exchange,
};

use nemesis::InjectError;

/// Where nodes run.
#[derive(Debug)]
pub(crate) enum Host {
    /// On this machine, as children of this process.
    Here(Supervisor),
    /// On another, as children of its agent.
    There(Remote),
}

impl Host {
    /// Asks something of its nodes.
    ///
    /// # Errors
    /// If nothing was done, or it is uncertain what was.
    pub(crate) async fn ask(&mut self, request: HostRequest) -> Result<HostReply, InjectError> {
        match self {
            Host::Here(supervisor) => supervisor.handle(request).await,
            Host::There(remote) => remote.ask(request).await,
        }
    }
}
