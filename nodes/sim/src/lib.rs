//! A deterministic cluster in virtual time: any core runs in it unchanged.
//!
//! Everything that can go wrong on real machines goes wrong here, from one seed: links that delay, lose, duplicate, reorder
//! and cut one way; disks that lose what was not synced, tear the last write, flip bits, stall and fill up; clocks with an offset
//! and a rate; processes that die between any two effects of a turn, or between any two steps of their disk. The same seed
//! gives the same run, to the byte.
//!
//! | file | concept |
//! |---|---|
//! | `cluster.rs` | [`Cluster`]: what happens next, and everything that can be done to it |
//! | `node.rs`, `outlets.rs` | a node, up or down; where its core's effects go |
//! | `network.rs` | links |
//! | `disk.rs` | disks, under the same journal and snapshot store as real nodes |
//! | `queue.rs` | what happens when |
//! | `trace.rs` | what has happened |
//! | `host.rs` | [`Host`]: one replica by itself, for its core's own tests |

mod cluster;
mod disk;
mod host;
mod network;
mod node;
mod outlets;
mod queue;
mod trace;

pub use cluster::{Broken, Cluster, Crash, DiskSettings, Folder, Observer, Output, Settings, Stop};
pub use disk::DiskCounters;
pub use host::{Host, HostDisk, Sent};
pub use network::NetworkSettings;
pub use trace::{TraceEvent, TraceWhat};
