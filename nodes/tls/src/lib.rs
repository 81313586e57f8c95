//! Mutual TLS between the nodes and the clients of one run.
//!
//! | file | concept |
//! |---|---|
//! | `authority.rs` | [`Authority`], a run's own CA, and what it issues |
//! | `credentials.rs` | [`Credentials`]: whom a program trusts and what it shows, made into configurations of rustls |
//! | `names.rs` | whom a certificate is for |
//!
//! **Invariant.** TLS 1.3 and nothing else; no session is resumed and no data precedes the handshake, so nothing that was
//! once sent on a connection means anything on another one.

mod authority;
mod credentials;
mod names;

pub use authority::{Authority, Identity, VALID_FOR};
pub use credentials::{Credentials, TlsError, TlsFiles, provider};
pub use names::{is_for, name_of, server_name};
