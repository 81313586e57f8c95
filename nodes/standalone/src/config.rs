//! What is fixed for one life of the replica.

use protocol::ReplicaId;
use serde::{Deserialize, Serialize};

/// Who the replica is, and how it behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This replica.
    pub replica: ReplicaId,
    /// All members: this replica alone.
    pub members: Vec<ReplicaId>,
    /// How it behaves.
    pub options: Options,
}

/// How the replica behaves. Where raft has an option of the same name, it means and defaults to the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The most requests whose answers wait for the disk; beyond it requests are refused as busy.
    pub requests_pending_max: usize,
    /// The most bytes of records that wait for the disk; beyond it writes are refused as busy.
    pub uncommitted_bytes_max: usize,
    /// A snapshot is saved when so many entries were applied since the last one, …
    pub snapshot_every_entries: u64,
    /// … or so many bytes of entries.
    pub snapshot_every_bytes: u64,
    /// Bounds of the state machine.
    pub limits: kv::Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            requests_pending_max: 16_384,
            uncommitted_bytes_max: 64 << 20,
            snapshot_every_entries: 250_000,
            snapshot_every_bytes: 256 << 20,
            limits: kv::Limits::default(),
        }
    }
}

impl Config {
    /// Checks that this can be run.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if self.members != [self.replica] {
            return Err(format!("members: {:?}, allowed is {} alone", self.members, self.replica));
        }
        self.options.validate()
    }
}

impl Options {
    /// What is out of bounds, if anything.
    ///
    /// # Errors
    /// With the option's name, its value and what is allowed.
    pub fn validate(&self) -> Result<(), String> {
        let positive = [
            ("requests_pending_max", self.requests_pending_max as u64),
            ("uncommitted_bytes_max", self.uncommitted_bytes_max as u64),
            ("snapshot_every_entries", self.snapshot_every_entries),
            ("snapshot_every_bytes", self.snapshot_every_bytes),
            ("limits.sessions_max", self.limits.sessions_max as u64),
        ];
        match positive.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(format!("{name}: 0, allowed is 1 or more")),
            None => Ok(()),
        }
    }
}
