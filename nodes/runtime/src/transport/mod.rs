//! Messages between replicas.
//!
//! Each node dials every other and sends on that connection alone; what it receives comes on the connections that
//! the others dialled. `dial.rs` and `accept.rs` keep them up, `hello.rs` says who is there, `links.rs` is what the
//! core's task sends through, `packet.rs` what is sent, `conditioner.rs` makes a link bad on demand.

mod accept;
mod conditioner;
mod dial;
mod hello;
mod links;
mod packet;

pub(crate) use accept::serve;
pub(crate) use dial::keep_connected;
pub(crate) use hello::Group;
pub(crate) use links::Links;
