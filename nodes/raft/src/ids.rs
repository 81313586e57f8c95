//! The paper's numbers, each a type of its own.

use protocol::SnapshotId;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Before the first.
            pub const ZERO: Self = Self(0);

            /// The one after this.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

number!(
    /// A term (§5.1): numbered with consecutive integers, at most one leader in each. The first is 1.
    Term,
    "t"
);
number!(
    /// The place of an entry in the log (§5.3). The first is 1.
    LogIndex,
    ""
);
number!(
    /// A leader's number for a round of confirmation: everything it sends carries the newest, answers echo it.
    /// It counts within one term.
    Round,
    "r"
);
number!(
    /// A follower's number for something it asked the leader to do. Drawn so that two lives of a replica do
    /// not share one: an answer may arrive after a restart.
    Ticket,
    "k"
);

impl LogIndex {
    /// The place before this one; before the first there is only [`LogIndex::ZERO`].
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// What identifies an entry across all logs (Log Matching, §5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// Where it is.
    pub index: LogIndex,
    /// The term of the leader that made it.
    pub term: Term,
}

impl LogId {
    /// What precedes the first entry.
    pub const ZERO: Self = Self { index: LogIndex::ZERO, term: Term::ZERO };

    /// Whether a log that ends here is at least as up to date as one that ends at `other` (§5.4.1).
    #[must_use]
    pub fn is_up_to_date_with(self, other: LogId) -> bool {
        (self.term, self.index) >= (other.term, other.index)
    }
}

impl From<SnapshotId> for LogId {
    fn from(id: SnapshotId) -> Self {
        Self { index: LogIndex(id.number), term: Term(id.tag) }
    }
}

impl From<LogId> for SnapshotId {
    fn from(id: LogId) -> Self {
        Self { number: id.index.0, tag: id.term.0 }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.term)
    }
}
