//! The tokio driver of a protocol core: what makes a core a node.
//!
//! | file | concept |
//! |---|---|
//! | `config.rs`, `start.rs`, `node.rs` | what a node is started with; its `main`; its life |
//! | `event.rs`, `driver.rs`, `outlets.rs` | everything that can happen to a core; the task that owns it; where its effects go |
//! | `journal/`, `snapshot.rs` | when and on which thread what a replica remembers goes to disk |
//! | `transport/` | messages between replicas, and links made bad on demand |
//! | `client_port.rs`, `clients.rs` | requests in, replies out |
//! | `http.rs`, `control.rs`, `status.rs`, `metrics.rs` | for people and for a nemesis |
//! | `front.rs` | the clients behind HTTP: the protocol's own, over links to this core and to other nodes |
//! | `clock.rs`, `alarm.rs` | the node's time, waking up |
//! | `door.rs`, `security.rs` | who may stand before a port, and for how long; plain connections and those with TLS |
//! | `framed.rs`, `outbound.rs`, `session.rs` | reading frames from anybody; writing without ever waiting; TLS between them |
//!
//! **Invariant.** One thread does everything but snapshots and the syncs of a slow disk: no lock is waited for on the way of a
//! request, and there is no wake-up between threads.
//!
//! **Invariant.** The core's task never waits for a socket. A client or peer that does not read costs a bounded
//! buffer, then its connection (a client) or its messages (a peer).

mod alarm;
mod client_port;
mod clients;
mod clock;
mod config;
mod control;
mod door;
mod driver;
mod event;
mod framed;
mod front;
mod http;
mod journal;
mod metrics;
mod node;
mod outbound;
mod outlets;
mod security;
mod session;
mod snapshot;
mod start;
mod status;
mod transport;

pub use config::{ConfigError, Durability, NodeConfig, Unsynced};
pub use control::SOCKET_NAME;
pub use driver::DriverError;
pub use node::{JOURNAL, NodeError, Ready, serve};
pub use start::{EXIT_DISK_FULL, node_main};
pub use tls::{self, TlsFiles};
