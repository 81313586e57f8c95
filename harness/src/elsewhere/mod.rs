//! Load that is made on other hosts than the controller's: each has a generator of its own, records a history of its own by its own
//! clock, and in the end there is one history of all.
//!
//! | file | concept |
//! |---|---|
//! | `order.rs` | what a host is asked to do, and what it says of it |
//! | `maker.rs` | `gauntlet load`: the process that makes the load there |
//! | `tender.rs` | the agent's side: starts it, asks it, stops it |
//! | `hosts.rs` | the controller's side: all of them at once, and one history in the end |
//! | `clocks.rs` | how a host's clock compares with the controller's |

mod clocks;
mod hosts;
mod maker;
mod order;
mod tender;

pub(crate) use hosts::{LoadHosts, own_history, share_out};
pub(crate) use maker::make;
pub(crate) use order::{LoadRequest, LoadState, Target};
pub(crate) use tender::Tender;

/// The folder of what is recorded elsewhere, in a run's folder here and there.
pub(crate) const FOLDER: &str = "load";
