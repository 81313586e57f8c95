//! What the tests share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod local;
pub(crate) mod naive;
pub(crate) mod tls;

use std::time::{Duration, Instant};

/// Waits until something is there. Generous: on a busy machine a node may take seconds.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
