//! Raft as a deterministic state machine.
