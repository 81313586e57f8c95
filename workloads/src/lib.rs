//! Generators, clients and the load engine.
//!
//! | file | concept |
//! |---|---|
//! | `spec.rs` | [`Spec`]: which workload with which options, as a plan has it |
//! | `generator.rs` | [`Generator`], what a workload is: a pure state machine |
//! | `register.rs`, `append.rs`, `set.rs`, `counter.rs`, `bank.rs`, `put.rs`, `ycsb/` | the workloads |
//! | `loading.rs` | what is asked before and after the run |
//! | `values.rs` | keys and values as bytes that prove themselves |
//! | `mapping.rs` | from calls to commands of our replicas, and from responses to answers |
//! | `perform.rs` | [`perform::Performing`]: the commands that carry out a call |
//! | `connect.rs` | [`Connect`]: what the load engine asks of any system |
//! | `contacts.rs` | [`Contacts`]: which nodes a client speaks to |
//! | `distances.rs` | [`Distances`]: how far clients are from nodes |
//! | `kv_client.rs` | [`KvConnector`]: clients of our replicas |
//! | `etcd/` | the client of etcd, a foreign system |
//! | `load/` | [`run_load`], the load engine |
//! | `recorder.rs` | [`Recorder`]: the history while it is made |

pub mod append;
pub mod bank;
pub mod connect;
pub mod contacts;
pub mod counter;
pub mod distances;
pub mod etcd;
pub mod generator;
pub mod kv_client;
pub mod load;
mod loading;
pub mod mapping;
mod mix;
pub mod perform;
pub mod put;
pub mod recorder;
pub mod register;
pub mod set;
pub mod spec;
pub mod values;
pub mod ycsb;

pub use client::ClientTls;
pub use connect::{Binding, Connect, Performed, Performs, Who};
pub use contacts::Contacts;
pub use distances::{Distances, Standpoint};
pub use generator::{Generator, Next, Scope, Share};
pub use kv_client::{KvClient, KvConnector, KvNodes};
pub use load::{LoadConfig, LoadError, LoadSummary, run_load};
pub use recorder::{Progress, Recorder, RecorderHandle};
pub use spec::{Spec, SpecError};
