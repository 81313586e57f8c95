//! What a replica keeps: the journal and the snapshots, over any disk.
//!
//! The node and the simulator run this same code: the one over files, the other over a disk that loses and damages what
//! it holds. Nothing here knows of time, threads or tasks: whoever drives it decides when a sync is done.
//!
//! | file | concept |
//! |---|---|
//! | `disk.rs` | [`Disk`], the one way to a disk |
//! | `folder.rs` | [`Folder`]: real files |
//! | `fullness.rs` | [`Fullness`]: real files that get no more room |
//! | `unsynced.rs` | [`Unsynced`]: real files that lose what was not synced with their process |
//! | `journal/` | records: their bytes, gathering them, writing them, reading them back |
//! | `snapshots.rs`, `snapshots/steps.rs` | states: saving, sending, receiving; what waits for that |
//! | `bugs.rs` | seeded bugs |

mod bugs;
mod disk;
mod folder;
mod fullness;
pub mod journal;
pub mod snapshots;
mod unsynced;

pub use bugs::Bug;
pub use disk::{Disk, DiskFile};
pub use folder::{Folder, FolderFile};
pub use fullness::Fullness;
pub use unsynced::Unsynced;
