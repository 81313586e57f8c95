//! A newtype for every identifier, so that no two can be swapped in a signature.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A process on a host: what a nemesis breaks and an operator starts. The first is 1.
    NodeId(u32),
    "n"
);
id!(
    /// A member of the replicated group, an identity with keys: what cores speak of. Which node stands for which replica
    /// is said by a [`Placement`](crate::Placement). The first is 1.
    ReplicaId(u32),
    "n"
);
id!(
    /// Where a reply goes: the driver's own name for a client connection. It means nothing to other
    /// replicas and nothing after a restart.
    ClientId(u64),
    "c"
);
id!(
    /// A client's number for one request on one connection; a reply carries it back.
    RequestId(u64),
    "q"
);
id!(
    /// A client session, chosen at random by the client: the scope within which a [`Sequence`] makes a
    /// retry recognisable.
    SessionId(u64),
    "s"
);
id!(
    /// The number of a command within its session; the first is 1. A retry repeats it.
    Sequence(u64),
    "#"
);
id!(
    /// The ordinal of a record in a replica's journal, over all its lives. The first is 0.
    JournalPosition(u64),
    "@"
);

id!(
    /// Which life of a replica's disk: 0 is the one it was founded with, each wipe begins the next.
    Incarnation(u32),
    "i"
);

impl JournalPosition {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
