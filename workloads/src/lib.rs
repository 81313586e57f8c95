//! Generators, clients and the load engine.
//!
//! | file | concept |
//! |---|---|
//! | `spec.rs` | [`Spec`]: which workload with which options, as a plan has it |
//! | `generator.rs` | [`Generator`], what a workload is: a pure state machine |
//! | `register.rs`, `append.rs`, `put.rs`, `ycsb/` | the workloads |
//! | `loading.rs` | what is asked before and after the run |
//! | `values.rs` | keys and values as bytes that prove themselves |

pub mod append;
pub mod generator;
mod loading;
mod mix;
pub mod put;
pub mod register;
pub mod spec;
pub mod values;
pub mod ycsb;

pub use generator::{Generator, Next, Scope};
pub use spec::{Binding, Spec, SpecError};
