//! Keys and values as bytes. Workloads speak of numbers; what is stored carries the number and proves itself.
//!
//! ```text
//! value   u64 little-endian    the number
//! proof   the rest             a stream that follows from the key's name, the field and the number
//! ```
//! So a value that was cut, mixed with another, or put under another key is seen as corruption, not taken for an answer.

use crate::ycsb::hash::fnv64;
use bytes::Bytes;
use std::io::Write;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The fewest bytes a value may have: those of its number.
pub const VALUE_BYTES_MIN: usize = 8;

/// How a workload's keys and values look in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How a key's number becomes its name.
    pub names: Names,
    /// Bytes of a value, a list's element or a record's field.
    pub value_bytes: usize,
    /// Fields of a record.
    pub fields: u32,
}

/// How a key's number becomes its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// `r17`.
    Registers,
    /// `l17`.
    Lists,
    /// `s17`: lists that are sets.
    Sets,
    /// `c17`: lists that are counters.
    Counters,
    /// `a17`: lists that are accounts.
    Accounts,
    /// `user6284781860667377211`: hashed, so that neighbours in insertion are none in the store, as upstream YCSB does.
    Users,
    /// `k00000000000017`, of this many bytes.
    Padded(usize),
}

impl Layout {
    /// The name of a key.
    #[must_use]
    pub fn key(&self, key: u64) -> Bytes {
        let mut name = Vec::with_capacity(24);
        let written = match self.names {
            Names::Registers => write!(name, "r{key}"),
            Names::Lists => write!(name, "l{key}"),
            Names::Sets => write!(name, "s{key}"),
            Names::Counters => write!(name, "c{key}"),
            Names::Accounts => write!(name, "a{key}"),
            Names::Users => write!(name, "user{}", fnv64(key)),
            Names::Padded(bytes) => write!(name, "k{key:0width$}", width = bytes - 1),
        };
        written.expect("a vector takes all that is written to it");
        name.into()
    }
}

/// Where a value stands: it proves itself for this place only.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The key's name.
    pub key: &'a [u8],
    /// The record's field; 0 for what has no fields.
    pub field: u32,
}

/// Why bytes are none that this harness wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrecognised {
    /// Too short or too long.
    #[error("a value of {found} bytes where {expected} were written")]
    Length {
        /// What came.
        found: usize,
        /// What every value of the workload has.
        expected: usize,
    },
    /// The proof does not follow from place and number.
    #[error("a value that claims to be {value} but differs from it at byte {offset}")]
    Proof {
        /// The number it carries.
        value: u64,
        /// The start of the first eight bytes that differ.
        offset: usize,
    },
}

/// The words of the proof (`SplitMix64` over a hash of place and number).
fn proof(place: Place<'_>, value: u64) -> impl Iterator<Item = u64> {
    let mut state = xxh3_64_with_seed(place.key, value ^ (u64::from(place.field) << 56));
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// The bytes of a value.
///
/// # Panics
/// If `size` is under [`VALUE_BYTES_MIN`]: options are checked when they are read.
#[must_use]
pub fn expand(place: Place<'_>, value: u64, size: usize) -> Bytes {
    assert!(size >= VALUE_BYTES_MIN, "a value of {size} bytes cannot carry its number");
    let mut bytes = vec![0; size];
    let (number, rest) = bytes.split_at_mut(VALUE_BYTES_MIN);
    number.copy_from_slice(&value.to_le_bytes());
    let mut words = proof(place, value).map(u64::to_le_bytes);
    let (chunks, end) = rest.as_chunks_mut::<8>();
    chunks.iter_mut().zip(&mut words).for_each(|(chunk, word)| *chunk = word);
    end.copy_from_slice(&words.next().expect("the stream has no end")[..end.len()]);
    bytes.into()
}

/// The number of a value.
///
/// # Errors
/// If the bytes are not those that [`expand`] makes for this place and size.
pub fn recognise(place: Place<'_>, bytes: &[u8], size: usize) -> Result<u64, Unrecognised> {
    let number = bytes.first_chunk::<VALUE_BYTES_MIN>().filter(|_| bytes.len() == size);
    let Some(number) = number else {
        return Err(Unrecognised::Length { found: bytes.len(), expected: size });
    };
    let value = u64::from_le_bytes(*number);
    // Word by word: this is done for every field of every record read.
    let (chunks, rest) = bytes[VALUE_BYTES_MIN..].as_chunks::<8>();
    let mut words = proof(place, value);
    let differs = chunks.iter().zip(&mut words).position(|(chunk, word)| u64::from_le_bytes(*chunk) != word);
    let differs = differs.or_else(|| {
        let end = words.next().expect("the stream has no end").to_le_bytes();
        (*rest != end[..rest.len()]).then_some(chunks.len())
    });
    match differs {
        None => Ok(value),
        Some(chunk) => Err(Unrecognised::Proof { value, offset: VALUE_BYTES_MIN + 8 * chunk }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_is_recognised_in_its_place_and_size_only(
            value: u64, field in 0u32..64, key in 0u64..1000, size in 16usize..300,
        ) {
            let layout = Layout { names: Names::Users, value_bytes: size, fields: 10 };
            let name = layout.key(key);
            let place = Place { key: &name, field };
            let bytes = expand(place, value, size);
            let elsewhere = Place { key: &name, field: field + 1 };
            let other_name = layout.key(key + 1);
            let other_key = Place { key: &other_name, field };
            prop_assert_eq!(bytes.len(), size);
            prop_assert_eq!(recognise(place, &bytes, size), Ok(value));
            prop_assert!(recognise(place, &bytes[..size - 1], size).is_err());
            prop_assert!(recognise(place, &bytes, size + 1).is_err());
            prop_assert!(recognise(elsewhere, &bytes, size).is_err());
            prop_assert!(recognise(other_key, &bytes, size).is_err());
        }

        #[test]
        fn any_flipped_bit_is_seen(value: u64, size in 16usize..100, bit in any::<prop::sample::Index>()) {
            let place = Place { key: b"r1", field: 0 };
            let mut bytes = expand(place, value, size).to_vec();
            let bit = bit.index(size * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(recognise(place, &bytes, size).is_err());
        }
    }

    #[test]
    fn the_smallest_value_is_its_number() {
        let place = Place { key: b"r1", field: 0 };
        assert_eq!(expand(place, 0x0102, 8)[..], [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(recognise(place, &[2, 1, 0, 0, 0, 0, 0, 0], 8), Ok(0x0102));
        assert_eq!(recognise(place, &[], 8), Err(Unrecognised::Length { found: 0, expected: 8 }));
    }

    #[test]
    fn keys_are_named_after_their_workload() {
        let name = |names, key| Layout { names, value_bytes: 8, fields: 0 }.key(key);
        assert_eq!(name(Names::Registers, 17), "r17");
        assert_eq!(name(Names::Lists, 0), "l0");
        assert_eq!(name(Names::Sets, 1), "s1");
        assert_eq!(name(Names::Counters, 2), "c2");
        assert_eq!(name(Names::Accounts, 3), "a3");
        assert_eq!(name(Names::Padded(16), 17), "k000000000000017");
        assert_eq!(name(Names::Padded(16), 17).len(), 16);
        // The first record of every YCSB run, as upstream names it.
        assert_eq!(name(Names::Users, 0), "user6284781860667377211");
    }
}
