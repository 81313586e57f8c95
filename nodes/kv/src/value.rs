//! The types of values. All are persistent data: a clone shares structure.

use bytes::Bytes;
use imbl::Vector;
use ropey::Rope;
use serde::{Deserialize, Serialize};

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Bytes, as written.
    Bytes(Bytes),
    /// A list of elements, as appended.
    List(Vector<Bytes>),
    /// Fields of bytes, as YCSB's records are.
    Record(Vec<Bytes>),
    /// A text, edited by splices.
    Text(#[serde(with = "text")] Rope),
}

mod text {
    use ropey::Rope;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &Rope, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rope, D::Error> {
        Ok(Rope::from(String::deserialize(deserializer)?))
    }
}
