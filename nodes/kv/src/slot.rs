//! A value in the store, with its hash and size kept up to date piece by piece.

use crate::command::ANSWER_BYTES_MAX;
use crate::digest::{mix, of_body, of_element, of_text, of_value};
use crate::response::Response;
use crate::value::{LENGTH_BYTES, Value};
use bytes::Bytes;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slot {
    value: Value,
    body: u64,
    size_bytes: usize,
}

/// Changes of a value in place: the answer, or the answer that says why nothing was changed.
type Change = Result<Response, Response>;

impl Slot {
    pub(crate) fn new(value: Value) -> Self {
        Self { body: of_body(&value), size_bytes: value.size_bytes(), value }
    }

    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    /// As [`Value::size_bytes`].
    pub(crate) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The hash of the entry of a key that hashes to `key` with this value.
    pub(crate) fn entry_hash(&self, key: u64) -> u64 {
        mix(key, of_value(&self.value, self.body))
    }

    pub(crate) fn append(&mut self, element: &Bytes) -> Change {
        let Value::List(elements) = &mut self.value else { return Err(Response::WrongType) };
        self.size_bytes = within_bound(self.size_bytes + element.len() + LENGTH_BYTES)?;
        self.body = self.body.wrapping_add(of_element(elements.len(), element));
        elements.push_back(element.clone());
        Ok(Response::Length(elements.len() as u64))
    }

    pub(crate) fn update(&mut self, field: u32, value: &Bytes) -> Change {
        let Value::Record(fields) = &mut self.value else { return Err(Response::WrongType) };
        let field = field as usize;
        let old_bytes = fields.get(field).map_or(0, Bytes::len);
        let added = (field + 1).saturating_sub(fields.len());
        self.size_bytes = within_bound(self.size_bytes + added * LENGTH_BYTES + value.len() - old_bytes)?;
        if added > 0 {
            let empty = std::iter::repeat_n(Bytes::new(), added);
            for position in fields.len()..=field {
                self.body = self.body.wrapping_add(of_element(position, b""));
            }
            *fields = fields.iter().cloned().chain(empty).collect();
        }
        let slot = &mut Arc::make_mut(fields)[field];
        self.body = self.body.wrapping_sub(of_element(field, slot)).wrapping_add(of_element(field, value));
        *slot = value.clone();
        Ok(Response::Done)
    }

    pub(crate) fn splice(&mut self, position: u64, delete: u64, insert: &str) -> Change {
        let Value::Text(text) = &mut self.value else { return Err(Response::WrongType) };
        let end = position.checked_add(delete).and_then(|end| usize::try_from(end).ok());
        let end = end.filter(|end| *end <= text.len_chars()).ok_or(Response::OutOfRange)?;
        let start = end - usize::try_from(delete).expect("no more than the end, which fits");
        let deleted_bytes = text.char_to_byte(end) - text.char_to_byte(start);
        self.size_bytes = within_bound(self.size_bytes + insert.len() - deleted_bytes)?;
        text.remove(start..end);
        text.insert(start, insert);
        self.body = of_text(text);
        Ok(Response::Length(text.len_chars() as u64))
    }
}

pub(crate) fn within_bound(size_bytes: usize) -> Result<usize, Response> {
    if size_bytes <= ANSWER_BYTES_MAX { Ok(size_bytes) } else { Err(Response::TooLarge) }
}
