//! etcd, a foreign system: the same calls over its gRPC interface, so that generator, recorder and checkers are the same as
//! for our own replicas.
//!
//! | call | request |
//! |---|---|
//! | read, write | Range, Put of one key |
//! | cas | Txn: if the value is `from`, Put `to` |
//! | insert | Txn: a Put for each field, under `user…/f0`, `user…/f1`, … |
//! | update | Put of the field's key |
//! | read of a record | Range over `user…/` |
//! | scan | Range from `user…/` on, limited to `limit` × fields keys |
//! | read-modify-write | both of the two, one after the other |
//! | append transaction | Txn of Ranges (one point in etcd's order), then, if it writes, Txn: if no key has changed, Put the new lists; again if one has |
//!
//! | file | concept |
//! |---|---|
//! | `messages.rs` | etcd's messages |
//! | `grpc.rs` | unary gRPC over HTTP/2 |
//! | `connection.rs` | calls on one member, and what their errors mean |
//! | `connector.rs` | [`EtcdConnector`]: makes clients |
//! | `client.rs` | one client: retries, and following the leader |
//! | `leader.rs` | which member leads |
//! | `requests.rs` | calls as requests, responses as answers |
//! | `txn.rs` | append transactions |

mod client;
mod connection;
mod connector;
mod grpc;
mod leader;
mod messages;
mod requests;
mod txn;

pub use connector::EtcdConnector;
pub use leader::leader;
