//! The one wire codec: postcard. Variable-length integers, no self-description, no padding.
//!
//! What arrives is hostile. Decoding never panics, never allocates more than the input's own length
//! justifies (serde caps preallocation), and refuses trailing bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What may cross a wire or a disk: owned, serialisable data.
pub trait Wire: Serialize + DeserializeOwned {}
impl<T: Serialize + DeserializeOwned> Wire for T {}

/// Why bytes could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not an encoding of the expected type.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// The Rust type expected.
        what: &'static str,
        /// The codec's reason.
        reason: String,
    },
    /// A value was decoded and bytes were left over.
    #[error("{left} bytes left over behind a {what}")]
    Trailing {
        /// The Rust type expected.
        what: &'static str,
        /// How many bytes were left.
        left: usize,
    },
}

/// Appends the encoding of `value` to `out`.
pub fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let buffer = std::mem::take(out);
    *out = postcard::to_extend(value, buffer).expect("our own types have no unencodable value");
}

/// The encoding of `value`.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    encode_into(value, &mut out);
    out
}

/// Decodes the whole of `bytes`.
///
/// # Errors
/// If the bytes are not exactly one encoding of `T`.
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    let what = std::any::type_name::<T>();
    let (value, rest) = postcard::take_from_bytes(bytes)
        .map_err(|e| DecodeError::Malformed { what, reason: e.to_string() })?;
    if !rest.is_empty() {
        return Err(DecodeError::Trailing { what, left: rest.len() });
    }
    Ok(value)
}
