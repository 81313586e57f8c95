//! The history: what clients asked and what they were answered, and when faults came and went.
//!
//! | file | concept |
//! |---|---|
//! | `op.rs` | what a history is made of |
//! | `format.rs`, `version_1.rs` | the bytes of a history file, and what they were |
//! | `writer.rs`, `reader.rs` | recording it, and reading back as much as is whole |
//! | `load.rs` | [`History`]: all of it in memory, invocations paired with returns |
//! | `merge.rs` | one history of what was recorded in several places |
//! | `posting.rs` | amounts with a sign as elements of lists |
//! | `export.rs` | JSON Lines |

pub mod error;
pub mod export;
mod format;
pub mod load;
pub mod merge;
pub mod op;
mod posting;
pub mod reader;
mod version_1;
pub mod writer;

pub use error::HistoryError;
pub use export::export_json_lines;
pub use load::History;
pub use merge::{Part, Timeline, merge};
pub use op::{
    Answer, Call, Entry, FIELD_NEVER_WRITTEN, FaultEvent, FaultStage, MicroAnswer, MicroCall, Op, OpKind,
    Outcome, Phase, ProcessId,
};
pub use posting::Posting;
pub use reader::{Ending, Reader};
pub use writer::Writer;
