//! Faults, targets and schedules (pure), and the runner that makes them bite and proves that they did.
//!
//! | file | concept |
//! |---|---|
//! | `fault.rs` | [`Fault`]: what can be broken |
//! | `target.rs` | [`Targets`] and partition [`Shape`]s, and whom they mean |
//! | `schedule.rs` | [`NemesisSpec`]s of a plan, resolved by the seed into [`Injection`]s |
//! | `links.rs` | the faults in force on each link, put together |
//! | `world.rs` | [`World`]: what the runner needs of hosts and processes |
//! | `exit.rs` | how a process ended by itself |
//! | `evidence.rs` | what counts as a bite |
//! | `operator.rs` | other members, other leaders: asked for until it is done |
//! | `runner.rs` | [`Runner`]: when faults come and go; renews, heals, verifies |
//! | `install.rs` | how each fault is put in force |
//! | `network/` | [`network::HostNetwork`]: what a host's own kernel does to packets |
//! | `clock/` | [`clock::HostClock`]: a host's system clock, moved and set right again |
//! | `program.rs` | a host's own programs: iptables, tc, systemctl |
//! | `members.rs` | how members are changed, disks lost, leaders replaced |
//! | `disks.rs` | how disks forget |

#![expect(clippy::wildcard_enum_match_arm, reason = "one state machine takes the place of what has them")]

pub mod clock;
mod disks;
pub mod evidence;
pub mod exit;
pub mod fault;
mod install;
pub mod links;
mod members;
pub mod network;
pub mod operator;
mod program;
pub mod runner;
pub mod schedule;
pub mod target;
pub mod world;

pub use exit::{Exit, ExitKind};
pub use fault::Fault;
pub use runner::{HealReport, Runner};
pub use schedule::{Injection, NemesisSpec, SpecError};
pub use target::{Shape, Targets};
pub use world::{Comeback, Dark, InjectError, LinkMeans, Pressure, World};
