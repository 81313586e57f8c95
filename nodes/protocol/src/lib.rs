//! The contract between a protocol core and whatever drives it.
//!
//! A *core* is one replica as a deterministic state machine: it has no clock, socket, file, thread or
//! entropy of its own. A *driver* (the tokio runtime, or the simulator) feeds it inputs and carries out
//! the [`Effects`] of each step.
//!
//! | file | concept |
//! |---|---|
//! | `core.rs` | [`Protocol`], what a core accepts, and [`Recovered`], what it starts from |
//! | `describe.rs` | [`Describe`], what crosses a wire in words |
//! | `effects.rs` | [`Effects`], what one turn asks of its driver; the safety rule |
//! | `turn.rs`, `timers.rs` | [`Turns`]: a core driven in turns, without IO; its timers in order |
//! | `adversary.rs` | [`Tamper`]: what makes a replica lie |
//! | `keys.rs` | [`Keys`]: signatures and authenticators |
//! | `snapshot.rs` | saving, sending and receiving state |
//! | `status.rs` | [`Status`], what a replica says about itself, and [`StateMark`], by which replicas are compared |
//! | `client.rs` | [`ClientCore`], the sans-IO client |
//! | `admin.rs` | other members, another leader |
//! | `control.rs` | link conditions, clock settings, what the control socket speaks |
//! | `quorum.rs` | every quorum size, in one place |
//! | `codec.rs`, `frame.rs` | the one wire codec and the one frame format |
//! | `bug.rs` | seeded bugs: [`Bugs`], and what is known of each |
//! | `reached.rs` | [`reached!`], marks of situations |
//! | `clock.rs` | [`NodeClock`], a node's clock, which a nemesis may bend |
//! | `ids.rs`, `time.rs` | newtypes |
//! | `placement.rs`, `routes.rs` | [`Placement`]: which node stands for which replica; [`Routes`]: which of them one node sends to |

pub mod admin;
pub mod adversary;
pub mod bug;
pub mod client;
pub mod clock;
pub mod codec;
pub mod control;
pub mod core;
pub mod describe;
pub mod effects;
pub mod frame;
pub mod ids;
pub mod keys;
pub mod placement;
pub mod quorum;
pub mod reached;
pub mod routes;
pub mod snapshot;
pub mod status;
pub mod time;
pub mod timers;
pub mod turn;

pub use admin::{AdminReply, AdminRequest};
pub use adversary::{Mute, Tamper, Tampered};
pub use bug::{Bug, BugInfo, Bugs, Detector};
pub use client::{ClientCore, ClientEffects, ClientOutcome, Done};
pub use clock::NodeClock;
pub use codec::{DecodeError, Wire};
pub use core::{Protocol, RecoverError, Recovered, fingerprint};
pub use describe::Describe;
pub use effects::{Effects, Outbox, TimerChange};
pub use ids::{ClientId, Incarnation, JournalPosition, NodeId, ReplicaId, RequestId, Sequence, SessionId};
pub use keys::{KeyFile, KeyRing, Keys, Mac, Principal, Signature};
pub use placement::Placement;
pub use routes::Routes;
pub use snapshot::{SnapshotEffect, SnapshotEvent, SnapshotId};
pub use status::{Applied, Members, StateMark, Status};
pub use time::Time;
pub use timers::Timers;
pub use turn::{Lane, Outside, Turns};
