//! Faults, targets and schedules; the state machine that makes them come, bite and go; and the runner that drives it on processes.
//!
//! | file | concept |
//! |---|---|
//! | `fault.rs` | [`Fault`]: what can be broken |
//! | `target.rs` | [`Targets`] and partition [`Shape`]s, and whom they mean |
//! | `schedule.rs` | [`NemesisSpec`]s of a plan, resolved by the seed into [`Injection`]s |
//! | `machine.rs` | [`Nemesis`]: the one state machine of all worlds, without IO |
//! | `action.rs` | [`Action`]: what it wants done; [`Evidence`]: what shows that it was |
//! | `install.rs`, `hold.rs`, `lift.rs` | how each fault is put in force, what it holds on to, how it ends |
//! | `condition.rs`, `links.rs`, `disk.rs` | all faults in force on a node's links, clock and disk, put together |
//! | `members.rs`, `operator.rs` | other members, other leaders: asked for until it is done |
//! | `disks.rs` | disks that forget, are damaged or lost, and who takes their nodes' places |
//! | `evidence.rs` | what counts as a bite |
//! | `exit.rs` | how a process ended by itself |
//! | `world.rs` | [`World`]: what carries actions out |
//! | `runner.rs` | [`Runner`]: drives the nemesis on real processes, in real time |
//! | `network/` | [`network::HostNetwork`]: what a host's own kernel does to packets |
//! | `clock/` | [`clock::HostClock`]: a host's system clock, moved and set right again |
//! | `program.rs` | a host's own programs: iptables, tc, systemctl |

pub mod action;
pub mod clock;
mod condition;
pub mod disk;
mod disks;
pub mod evidence;
pub mod exit;
pub mod fault;
mod hold;
mod install;
mod lift;
pub mod links;
pub mod machine;
mod members;
pub mod network;
pub mod operator;
mod program;
pub mod runner;
pub mod schedule;
pub mod target;
pub mod world;

pub use action::{Action, Comeback, Dark, Evidence, InjectError, Pressure, Reading};
pub use disk::DiskCondition;
pub use exit::{Exit, ExitKind};
pub use fault::Fault;
pub use machine::{Group, Nemesis};
pub use runner::{HealReport, Processes, Runner};
pub use schedule::{Injection, NemesisSpec, SpecError};
pub use target::{Shape, Targets};
pub use world::{LinkMeans, World};
