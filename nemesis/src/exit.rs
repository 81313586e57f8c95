//! How a process ended by itself.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How a process ended that nobody ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// In one of few ways.
    pub how: ExitKind,
    /// What it left to say, of which nothing is read but by people.
    pub words: String,
}

/// The ways in which a process ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitKind {
    /// By a signal that is none of ours.
    Signal(i32),
    /// With this code.
    Code(i32),
    /// Something in it did not hold.
    Panic,
    /// It did not come to listen, and was ended.
    Silent,
    /// It refuses what its disk holds.
    Refused,
    /// Its disk holds no more, so it cannot acknowledge anything.
    DiskFull,
}

impl Exit {
    /// The last line of what it left to say.
    #[must_use]
    pub fn last_line(&self) -> &str {
        self.words.rsplit(" / ").next().unwrap_or_default()
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}
