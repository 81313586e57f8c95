//! The replicated key-value state machine, the same under every protocol.
//!
//! | file | concept |
//! |---|---|
//! | `command.rs` | what can be asked, and its bounds |
//! | `response.rs` | what is answered, and refused |
//! | `request.rs` | what crosses the client port |
//! | `value.rs` | the types of values |
//! | `store.rs` | the state |
//! | `execute.rs` | what each command does |
//! | `session.rs` | exactly-once: the answers that retries get |
//! | `entries.rs`, `slot.rs`, `digest.rs` | keys and values, with hashes kept up to date piece by piece |
//! | `footprint.rs` | what a command touches: which commands may change places |
//! | `marks.rs` | how far each range of keys has come, where the order of commands is not the same everywhere |
//! | `image.rs` | the state as a snapshot holds it |
//! | `client/` | the clients: following a leader, near a home, believing what several say alike |
//! | `serves.rs` | [`Serves`]: a protocol as it is started, with its client |

pub mod client;
pub mod command;
mod digest;
mod entries;
mod execute;
pub mod footprint;
pub mod image;
mod marks;
pub mod request;
pub mod response;
pub mod serves;
pub mod session;
mod slot;
pub mod store;
pub mod value;

pub use client::{ClientConfig, LeaderClient, Matching, MatchingClient, NearestClient};
pub use command::{Command, Key, MicroOp};
pub use footprint::Footprint;
pub use image::Image;
pub use marks::RangeMarks;
pub use request::{Reply, Request, Routing};
pub use response::{MicroResponse, Refusal, Response};
pub use serves::{Seat, Serves};
pub use session::SITUATIONS;
pub use store::{Limits, Store};
pub use value::Value;
