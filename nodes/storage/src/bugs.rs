//! Seeded bugs of storage, under every subject.

use protocol::Detector::{Divergence, Effects, Invariant, Linearizability};

protocol::bugs! {
    /// A known way to get storage wrong.
    pub enum Bug;

    TornAccepted = "disk.torn-accepted" {
        wrong: "A torn last write is read as whole.",
        needs: "a crash in the middle of a write",
        source: "Pillai et al. 2014, append atomicity",
        caught_by: [Divergence, Invariant],
        real: false,
    }
    NoChecksum = "disk.no-checksum" {
        wrong: "A flipped bit is served: no checksum is looked at.",
        needs: "a bit flip",
        source: "Ganesan et al. 2017",
        caught_by: [Divergence, Effects, Invariant],
        real: false,
    }
    TruncateAtCorruption = "disk.truncate-at-corruption" {
        wrong: "Corruption in the middle of the journal is taken for its end: committed entries vanish.",
        needs: "a bit flip in the middle of the journal",
        source: "Alagappan et al. 2018",
        caught_by: [Linearizability, Divergence, Invariant],
        real: false,
    }
    RenameNotSynced = "disk.rename-not-synced" {
        wrong: "A snapshot is renamed and its folder not synced.",
        needs: "power loss",
        source: "Pillai et al. 2014, directory operations",
        caught_by: [Linearizability, Invariant],
        real: false,
    }
}
