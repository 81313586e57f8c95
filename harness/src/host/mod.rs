//! A host: where nodes run. This machine, in this process; or another, through the agent that runs there.
//!
//! | file | concept |
//! |---|---|
//! | `wire.rs` | what a host is asked, and what it answers |
//! | `agent.rs` | what runs on a host over SSH, and its dead-man |
//! | `ssh.rs`, `remote.rs` | reaching a host; its agent, as the controller sees it |
//! | `supervisor.rs` | the nodes of one host |
//! | `burner.rs` | programs that want a host's processors or memory |
//! | `disk.rs` | a disk under a foreign node that can lose what was not synced |
//! | `kernel.rs` | what a host's kernel counts |
//! | `node.rs`, `proc_stat.rs` | one node: its process |

pub(crate) mod agent;
pub(crate) mod burner;
pub(crate) mod disk;
mod kernel;
pub(crate) mod node;
pub(crate) mod proc_stat;
mod remote;
pub(crate) mod ssh;
mod supervisor;
mod wire;

pub(crate) use remote::{ClockSample, Remote, Stay};
pub(crate) use supervisor::Supervisor;
pub(crate) use wire::{
    AgentReply, AgentRequest, HostReply, HostRequest, NodeRequest, Prepared, Secret, exchange,
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
