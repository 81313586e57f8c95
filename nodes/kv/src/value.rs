//! The types of values. All are persistent data: a clone shares structure.

use bytes::Bytes;
use imbl::Vector;
use ropey::Rope;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Bytes, as written.
    Bytes(Bytes),
    /// A list of elements, as appended.
    List(#[serde(with = "list")] Vector<Bytes>),
    /// Fields of bytes, as YCSB's records are.
    Record(Arc<[Bytes]>),
    /// A text, edited by splices.
    Text(#[serde(with = "text")] Rope),
}

/// What the length of a part (a value, an element, a field, a key) counts in sizes: no less than its encoding.
pub const LENGTH_BYTES: usize = 8;

impl Value {
    /// The size by which [`crate::command::ANSWER_BYTES_MAX`] measures.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let parts = match self {
            Value::Bytes(bytes) => bytes.len(),
            Value::List(elements) => elements.iter().map(|element| element.len() + LENGTH_BYTES).sum(),
            Value::Record(fields) => fields.iter().map(|field| field.len() + LENGTH_BYTES).sum(),
            Value::Text(text) => text.len_bytes(),
        };
        parts + LENGTH_BYTES
    }
}

/// imbl's own implementation reserves whatever memory the length prefix asks for.
mod list {
    use bytes::Bytes;
    use imbl::Vector;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(list: &Vector<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vector<Bytes>, D::Error> {
        Ok(Vector::from(Vec::deserialize(deserializer)?))
    }
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
