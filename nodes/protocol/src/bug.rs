//! Seeded bugs: known ways to get a protocol wrong, as switches, so that the harness can be examined.
//!
//! Each crate that can be made wrong has a `bugs.rs` with a closed enum of its bugs; a bug is one `if` beside the line that it
//! breaks, and off unless a plan names it.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;
use std::fmt;

/// What may catch a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detector {
    /// What clients were answered is not linearizable: lost or stale.
    Linearizability,
    /// Replicas diverge: their states, or what they applied.
    Divergence,
    /// No service within a healed quorum.
    Liveness,
    /// A client sees a duplicate or wrong effect.
    Effects,
    /// An internal invariant is broken, or a replica stops on one.
    Invariant,
}

/// A row of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BugInfo {
    /// How plans name it: `<subject>.<what is wrong>`.
    pub id: &'static str,
    /// The wrong behaviour.
    pub wrong: &'static str,
    /// What it takes to be seen.
    pub needs: &'static str,
    /// Where it is known from, or which rule it breaks.
    pub source: &'static str,
    /// What is expected to catch it: any of these.
    pub caught_by: &'static [Detector],
    /// Whether real processes must show it too.
    pub real: bool,
}

/// A crate's closed enum of bugs.
pub trait Bug: Copy + Ord + fmt::Debug + 'static {
    /// All of them, in the catalogue's order.
    const ALL: &'static [Self];

    /// Its row.
    fn info(self) -> BugInfo;
}

/// Declares a crate's closed enum of bugs, each with its row of the catalogue.
#[macro_export]
macro_rules! bugs {
    ($(#[$doc:meta])* pub enum $bugs:ident; $($name:ident = $id:literal {
        wrong: $wrong:literal,
        needs: $needs:literal,
        source: $source:literal,
        caught_by: $caught_by:expr,
        real: $real:literal $(,)?
    })*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $bugs {
            $(#[doc = $wrong] $name,)*
        }

        impl $crate::Bug for $bugs {
            const ALL: &'static [Self] = &[$(Self::$name),*];

            fn info(self) -> $crate::BugInfo {
                match self {
                    $(Self::$name => {
                        const CAUGHT_BY: &[$crate::Detector] = &$caught_by;
                        $crate::BugInfo {
                            id: $id,
                            wrong: $wrong,
                            needs: $needs,
                            source: $source,
                            caught_by: CAUGHT_BY,
                            real: $real,
                        }
                    })*
                }
            }
        }
    };
}

/// The bugs that are switched on: none, unless a plan names them. Written as a list of ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bugs<B>(BTreeSet<B>);

impl<B: Bug> Bugs<B> {
    /// Whether a bug is switched on.
    #[inline]
    #[must_use]
    pub fn has(&self, bug: B) -> bool {
        !self.0.is_empty() && self.0.contains(&bug)
    }

    /// Whether nothing is switched on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<B> Default for Bugs<B> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<B: Bug> FromIterator<B> for Bugs<B> {
    fn from_iter<I: IntoIterator<Item = B>>(bugs: I) -> Self {
        Self(bugs.into_iter().collect())
    }
}

impl<B: Bug> Serialize for Bugs<B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|bug| bug.info().id))
    }
}

impl<'de, B: Bug> Deserialize<'de> for Bugs<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ids = Vec::<String>::deserialize(deserializer)?;
        let named = |id: &String| B::ALL.iter().copied().find(|bug| bug.info().id == id);
        ids.iter()
            .map(|id| {
                named(id).ok_or_else(|| {
                    let known: Vec<&str> = B::ALL.iter().map(|bug| bug.info().id).collect();
                    D::Error::custom(format!("{id} is no seeded bug; known are {}", known.join(", ")))
                })
            })
            .collect()
    }
}
