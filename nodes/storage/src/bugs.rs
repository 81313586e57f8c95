//! Seeded bugs of storage, under every subject.

use protocol::{BugInfo, Detector};

/// A known way to get storage wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// A torn last write is read as whole.
    TornAccepted,
    /// No checksum is looked at.
    NoChecksum,
    /// Damage in the middle is taken for the end.
    TruncateAtCorruption,
    /// A rename is not made durable.
    RenameNotSynced,
}

impl protocol::Bug for Bug {
    const ALL: &'static [Self] =
        &[Bug::TornAccepted, Bug::NoChecksum, Bug::TruncateAtCorruption, Bug::RenameNotSynced];

    fn info(self) -> BugInfo {
        use Detector::{Divergence, Effects, Invariant, Linearizability};
        match self {
            Bug::TornAccepted => BugInfo {
                id: "disk.torn-accepted",
                wrong: "a torn last write is read as whole",
                needs: "crash mid-write",
                source: "Pillai et al. 2014, append atomicity",
                caught_by: &[Divergence, Invariant],
                real: false,
            },
            Bug::NoChecksum => BugInfo {
                id: "disk.no-checksum",
                wrong: "a flipped bit is served",
                needs: "bit flip",
                source: "Ganesan et al. 2017",
                caught_by: &[Divergence, Effects, Invariant],
                real: false,
            },
            Bug::TruncateAtCorruption => BugInfo {
                id: "disk.truncate-at-corruption",
                wrong: "corruption mid-journal is taken for its end: committed entries vanish",
                needs: "bit flip mid-journal",
                source: "Alagappan et al. 2018",
                caught_by: &[Linearizability, Divergence, Invariant],
                real: false,
            },
            Bug::RenameNotSynced => BugInfo {
                id: "disk.rename-not-synced",
                wrong: "a snapshot is renamed, its folder not synced",
                needs: "power loss",
                source: "Pillai et al. 2014, directory operations",
                caught_by: &[Linearizability, Invariant],
                real: false,
            },
        }
    }
}
