//! The keys and their values, with the digest of each range of them.

use crate::command::{ANSWER_BYTES_MAX, KEY_BYTES_MAX, RECORD_FIELDS_MAX};
use crate::digest::{RANGES, of_bytes, range_of_hash};
use crate::response::Response;
use crate::slot::Slot;
use crate::value::Value;
use bytes::Bytes;
use imbl::OrdMap;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;
use std::fmt;
use std::ops::Bound;

/// A key inside a node of the tree: comparing the usual short key follows no pointer.
type InlineKey = SmallVec<[u8; 24]>;

/// Persistent data: a clone shares structure and costs no copy.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Entries {
    map: OrdMap<InlineKey, Slot>,
    /// Of each range of keys.
    digests: [u64; RANGES],
}

impl Entries {
    /// Of all of them.
    pub(crate) fn digest(&self) -> u64 {
        self.digests.iter().fold(0, |sum, digest| sum.wrapping_add(*digest))
    }

    pub(crate) fn range_digests(&self) -> &[u64; RANGES] {
        &self.digests
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Slot> {
        self.map.get(key)
    }

    /// From `start` on, in key order.
    pub(crate) fn from(&self, start: &[u8]) -> impl Iterator<Item = (&[u8], &Slot)> {
        let range = (Bound::Included(start), Bound::Unbounded);
        self.map.range::<_, [u8]>(range).map(|(key, slot)| (&key[..], slot))
    }

    pub(crate) fn put(&mut self, key: &[u8], value: Value) {
        self.put_slot(key, Slot::new(value));
    }

    fn put_slot(&mut self, key: &[u8], slot: Slot) {
        let key_hash = of_bytes(key);
        let digest = &mut self.digests[range_of_hash(key_hash)];
        *digest = digest.wrapping_add(slot.entry_hash(key_hash));
        if let Some(old) = self.map.insert(InlineKey::from_slice(key), slot) {
            *digest = digest.wrapping_sub(old.entry_hash(key_hash));
        }
    }

    /// Changes the value of a key in place; `absent` is what a key without a value begins with. After an `Err`
    /// nothing has changed.
    pub(crate) fn edit(
        &mut self,
        key: &[u8],
        absent: impl FnOnce() -> Value,
        edit: impl FnOnce(&mut Slot) -> Result<Response, Response>,
    ) -> Result<Response, Response> {
        let Some(slot) = self.map.get_mut(key) else {
            let mut slot = Slot::new(absent());
            let response = edit(&mut slot)?;
            self.put_slot(key, slot);
            return Ok(response);
        };
        let key_hash = of_bytes(key);
        let before = slot.entry_hash(key_hash);
        let response = edit(slot)?;
        let digest = &mut self.digests[range_of_hash(key_hash)];
        *digest = digest.wrapping_sub(before).wrapping_add(slot.entry_hash(key_hash));
        Ok(response)
    }

    /// Whether there was something to remove.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let removed = self.map.remove(key);
        if let Some(slot) = &removed {
            let key_hash = of_bytes(key);
            let digest = &mut self.digests[range_of_hash(key_hash)];
            *digest = digest.wrapping_sub(slot.entry_hash(key_hash));
        }
        removed.is_some()
    }
}

/// Encoded as a sequence of (key, value), keys ascending; hashes and sizes are computed anew.
impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct AsBytes<'a>(&'a [u8]);
        impl Serialize for AsBytes<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(self.0)
            }
        }
        serializer.collect_seq(self.map.iter().map(|(key, slot)| (AsBytes(key), slot.value())))
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys in ascending order with their values")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Entries, A::Error> {
                let mut entries = Entries::default();
                // No key is empty, so the empty key is below the first.
                let mut last = Bytes::new();
                while let Some((key, value)) = pairs.next_element::<(Bytes, Value)>()? {
                    if key <= last || key.len() > KEY_BYTES_MAX {
                        return Err(A::Error::custom("a key is out of order or too long"));
                    }
                    check_bounds(&value).map_err(A::Error::custom)?;
                    entries.put(&key, value);
                    last = key;
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_seq(Pairs)
    }
}

/// The bounds that every value in a store keeps.
fn check_bounds(value: &Value) -> Result<(), &'static str> {
    if let Value::Record(fields) = value
        && !(1..=RECORD_FIELDS_MAX).contains(&fields.len())
    {
        return Err("a record has no fields, or too many");
    }
    if value.size_bytes() > ANSWER_BYTES_MAX {
        return Err("a value is too large");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::codec::{decode, encode};

    fn refused(entries: &[(&[u8], Value)]) -> bool {
        let entries: Vec<_> =
            entries.iter().map(|(key, value)| (Bytes::copy_from_slice(key), value)).collect();
        decode::<Entries>(&encode(&entries)).is_err()
    }

    #[test]
    fn what_no_store_can_hold_is_refused() {
        let value = Value::Bytes(Bytes::from_static(b"v"));
        let record = |fields| Value::Record(vec![Bytes::new(); fields].into());
        let list = |bytes| Value::List([Bytes::from(vec![0; bytes])].into_iter().collect());
        assert!(!refused(&[(b"a", value.clone()), (b"b", record(RECORD_FIELDS_MAX)), (b"c", list(1000))]));
        assert!(refused(&[(b"a", value.clone()), (b"a", value.clone())]), "a key twice");
        assert!(refused(&[(b"b", value.clone()), (b"a", value.clone())]), "keys descending");
        assert!(refused(&[(b"", value.clone())]), "an empty key");
        assert!(refused(&[(&[1; KEY_BYTES_MAX + 1], value)]), "a long key");
        assert!(refused(&[(b"a", record(0))]), "a record of nothing");
        assert!(refused(&[(b"a", record(RECORD_FIELDS_MAX + 1))]), "a record of too many fields");
        assert!(refused(&[(b"a", list(ANSWER_BYTES_MAX))]), "a value too large to be read");
    }
}
