//! What can be asked of the state machine, and its bounds.

use crate::response::Refusal;
use bytes::Bytes;
use protocol::describe::{Listed, Shortened};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A key: 1 to [`KEY_BYTES_MAX`] bytes, ordered bytewise.
pub type Key = Bytes;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1 << 10;
/// The longest value or list element that one command may write, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// The most that one transaction may write, in bytes, keys included.
pub const TXN_BYTES_MAX: usize = 4 << 20;
/// The most that one answer may hold, in bytes with each part's length counted as
/// [`crate::value::LENGTH_BYTES`]. No value outgrows it, so every value can be read; both a command and an answer
/// thus fit into a frame with room to spare.
pub const ANSWER_BYTES_MAX: usize = protocol::frame::PAYLOAD_BYTES_MAX / 2;
/// The most rows that one scan may ask for.
pub const SCAN_ROWS_MAX: u32 = 10_000;
/// The most micro-ops in one transaction.
pub const TXN_MICRO_OPS_MAX: usize = 256;
/// The most fields in one record.
pub const RECORD_FIELDS_MAX: usize = 64;

/// The most that a tag, a number or a length takes in an encoding, in bytes.
const FIELD_BYTES: usize = 10;

/// One command. All of a command takes effect at one point of the order, or nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The value of a key, of whatever type.
    Read { key: Key },
    /// Replaces the value, of whatever type, by bytes.
    Write { key: Key, value: Bytes },
    /// Replaces the value by `to` if it is the bytes `from` (`None`: absent). A value of another type is not those bytes.
    Cas { key: Key, from: Option<Bytes>, to: Bytes },
    /// Removes the key, whatever its value.
    Delete { key: Key },
    /// Adds an element at the end of a list (absent: empty).
    Append { key: Key, element: Bytes },
    /// Up to `limit` keys from `start` on, in key order, with their values.
    Scan { start: Key, limit: u32 },
    /// Several reads, writes and appends at one point of the order.
    Txn(Vec<MicroOp>),
    /// In a text (absent: empty): deletes `delete` characters at character `position`, then inserts there.
    Splice { key: Key, position: u64, delete: u64, insert: String },
    /// Writes a whole record.
    Insert { key: Key, fields: Vec<Bytes> },
    /// Replaces one field of a record (absent: a record of empty fields up to this one).
    Update { key: Key, field: u32, value: Bytes },
}

/// One step of a transaction. Later steps see the effects of earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MicroOp {
    /// The value of a key.
    Read { key: Key },
    /// Replaces the value by bytes.
    Write { key: Key, value: Bytes },
    /// Adds an element at the end of a list.
    Append { key: Key, element: Bytes },
}

/// The words of a command, as its kind and its line have them.
pub const KINDS: &[&str] =
    &["read", "write", "cas", "delete", "append", "scan", "txn", "splice", "insert", "update"];

impl MicroOp {
    /// The key that the step is about.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            MicroOp::Read { key } | MicroOp::Write { key, .. } | MicroOp::Append { key, .. } => key,
        }
    }

    fn encoded_bytes_max(&self) -> usize {
        let parts = match self {
            MicroOp::Read { key } => FIELD_BYTES + key.len(),
            MicroOp::Write { key, value } | MicroOp::Append { key, element: value } => {
                2 * FIELD_BYTES + key.len() + value.len()
            }
        };
        FIELD_BYTES + parts
    }
}

impl Command {
    /// Which of [`KINDS`] it is.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Command::Read { .. } => "read",
            Command::Write { .. } => "write",
            Command::Cas { .. } => "cas",
            Command::Delete { .. } => "delete",
            Command::Append { .. } => "append",
            Command::Scan { .. } => "scan",
            Command::Txn(_) => "txn",
            Command::Splice { .. } => "splice",
            Command::Insert { .. } => "insert",
            Command::Update { .. } => "update",
        }
    }

    /// Whether the command leaves the state as it is.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        match self {
            Command::Read { .. } | Command::Scan { .. } => true,
            Command::Txn(ops) => ops.iter().all(|op| matches!(op, MicroOp::Read { .. })),
            Command::Write { .. }
            | Command::Cas { .. }
            | Command::Delete { .. }
            | Command::Append { .. }
            | Command::Splice { .. }
            | Command::Insert { .. }
            | Command::Update { .. } => false,
        }
    }

    /// At least as many bytes as the encoding has, quickly.
    #[must_use]
    pub fn encoded_bytes_max(&self) -> usize {
        let field = |bytes: &[u8]| FIELD_BYTES + bytes.len();
        FIELD_BYTES
            + match self {
                Command::Read { key } | Command::Delete { key } => field(key),
                Command::Write { key, value: bytes } | Command::Append { key, element: bytes } => {
                    field(key) + field(bytes)
                }
                Command::Cas { key, from, to } => {
                    field(key) + 1 + field(from.as_deref().unwrap_or_default()) + field(to)
                }
                Command::Scan { start, .. } => field(start) + FIELD_BYTES,
                Command::Txn(ops) => FIELD_BYTES + ops.iter().map(MicroOp::encoded_bytes_max).sum::<usize>(),
                Command::Splice { key, insert, .. } => {
                    field(key) + 2 * FIELD_BYTES + field(insert.as_bytes())
                }
                Command::Insert { key, fields } => {
                    field(key) + FIELD_BYTES + fields.iter().map(|f| field(f)).sum::<usize>()
                }
                Command::Update { key, value, .. } => field(key) + FIELD_BYTES + field(value),
            }
    }

    /// Checks the bounds above. A replica calls this before it accepts a command.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] with the bound that is broken.
    pub fn validate(&self) -> Result<(), Refusal> {
        let value = |v: &[u8]| bound("value", v.len(), 0, VALUE_BYTES_MAX);
        match self {
            Command::Read { key: k } | Command::Delete { key: k } => key(k),
            Command::Write { key: k, value: v } | Command::Append { key: k, element: v } => {
                key(k).and_then(|()| value(v))
            }
            Command::Cas { key: k, from, to } => {
                key(k)?;
                value(from.as_deref().unwrap_or_default())?;
                value(to)
            }
            // An empty start is the beginning of the key space.
            Command::Scan { start, limit } => {
                bound("key", start.len(), 0, KEY_BYTES_MAX)?;
                bound("scan limit", *limit as usize, 1, SCAN_ROWS_MAX as usize)
            }
            Command::Txn(ops) => {
                bound("transaction", ops.len(), 1, TXN_MICRO_OPS_MAX)?;
                let mut bytes = 0;
                for op in ops {
                    let (k, v) = match op {
                        MicroOp::Read { key } => (key, &[][..]),
                        MicroOp::Write { key, value: v } | MicroOp::Append { key, element: v } => {
                            (key, &v[..])
                        }
                    };
                    key(k)?;
                    value(v)?;
                    bytes += k.len() + v.len();
                }
                bound("transaction bytes", bytes, 0, TXN_BYTES_MAX)
            }
            Command::Splice { key: k, insert, .. } => key(k).and_then(|()| value(insert.as_bytes())),
            Command::Insert { key: k, fields } => {
                key(k)?;
                bound("fields", fields.len(), 1, RECORD_FIELDS_MAX)?;
                bound("record", fields.iter().map(Bytes::len).sum(), 0, VALUE_BYTES_MAX)
            }
            Command::Update { key: k, field, value: v } => {
                key(k)?;
                bound("field number", *field as usize, 0, RECORD_FIELDS_MAX - 1)?;
                value(v)
            }
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Command::Read { key } | Command::Delete { key } => write!(f, " {}", Shortened(key)),
            Command::Write { key, value } | Command::Append { key, element: value } => {
                write!(f, " {} {}", Shortened(key), Shortened(value))
            }
            Command::Cas { key, from: Some(from), to } => {
                write!(f, " {} from {} to {}", Shortened(key), Shortened(from), Shortened(to))
            }
            Command::Cas { key, from: None, to } => {
                write!(f, " {} from nothing to {}", Shortened(key), Shortened(to))
            }
            Command::Scan { start, limit } => write!(f, " {limit} from {}", Shortened(start)),
            Command::Txn(ops) => Listed(ops).fmt(f),
            Command::Splice { key, position, delete, insert } => {
                write!(f, " {} at {position} -{delete} +{}", Shortened(key), Shortened(insert.as_bytes()))
            }
            Command::Insert { key, fields } => write!(f, " {} {} fields", Shortened(key), fields.len()),
            Command::Update { key, field, value } => {
                write!(f, " {} field {field} {}", Shortened(key), Shortened(value))
            }
        }
    }
}

impl fmt::Display for MicroOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MicroOp::Read { key } => write!(f, "read {}", Shortened(key)),
            MicroOp::Write { key, value } => write!(f, "write {} {}", Shortened(key), Shortened(value)),
            MicroOp::Append { key, element } => write!(f, "append {} {}", Shortened(key), Shortened(element)),
        }
    }
}

fn key(key: &Key) -> Result<(), Refusal> {
    bound("key", key.len(), 1, KEY_BYTES_MAX)
}

fn bound(what: &str, size: usize, least: usize, most: usize) -> Result<(), Refusal> {
    if (least..=most).contains(&size) {
        Ok(())
    } else {
        Err(Refusal::Invalid(format!("{what} of {size}, allowed are {least} to {most}")))
    }
}
