//! The history, and every judgement on it.
//!
//! | file | concept |
//! |---|---|
//! | `history/` | what clients asked and were answered, and its file |
//! | `hostile.rs` | what hostile processes may have put where |
//! | `verdict.rs`, `evidence.rs` | [`CheckResult`]: what a checker says, in words and in ops that can be drawn |
//! | `stats.rs`, `faults.rs` | whether the run did what it was for, and whether its faults took effect |
//! | `linearizability/`, `append/` | registers, records, lists, transactions |
//! | `set.rs`, `counter.rs`, `bank.rs`, `growing/` | what is counted: elements, sums, balances |
//! | `convergence.rs`, `convergence/order.rs` | registers of replicas that merge what they hear, and in which order their values replace each other |
//! | `digests.rs` | whether replicas agree on their state |
//! | `final_reads.rs` | whether everything was read once more, from every replica that must answer for itself |

mod append;
pub mod bank;
pub mod convergence;
pub mod counter;
pub mod digests;
mod evidence;
pub mod faults;
pub mod final_reads;
mod growing;
pub mod history;
mod hostile;
pub mod linearizability;
pub mod set;
pub mod stats;
pub mod verdict;

pub use verdict::{CheckResult, Verdict};
