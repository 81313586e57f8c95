//! `gauntlet sim`: a plan in virtual time, seed after seed.
//!
//! | file | concept |
//! |---|---|
//! | `settings.rs` | what a plan says of its simulation, and what a seed draws (swarm) |
//! | `one/` | one simulated run, from start to verdict |
//! | `scenario.rs` | circumstances that independent draws would hardly ever bring together |
//! | `storm.rs` | the nemesis' schedule on a simulated cluster |
//! | `alarm.rs` | what the simulation wakes up for |
//! | `shrink.rs` | a smaller plan that fails in the same way |
//! | `stored.rs` | a run in the store |
//! | `campaign.rs` | many seeds on all cores, and what they came across |

mod alarm;
pub(crate) mod campaign;
#[cfg(test)]
mod executors;
pub(crate) mod one;
mod scenario;
pub(crate) mod settings;
mod shrink;
pub(crate) mod stored;
pub(crate) mod storm;

pub(crate) use campaign::{judge_again, simulate};
pub(crate) use settings::Simulation;

pub(crate) use shrink::shrink;
