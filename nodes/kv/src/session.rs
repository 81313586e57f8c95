//! Exactly-once: the answers that retries get.
