//! Clients that append unique elements to lists and read them, and check what they are told.
//!
//! Lists that only grow make linearizability a matter of lengths. The order of appends is the order in the list; an op
//! must come after whatever had ended when it began. So with the greatest length known when an op began
//! (its *floor*), a read must return at least that much, and an append must come behind it. Every element must have one
//! place, the same in every read. That is all: an order by lengths explains every history that passes.

use super::ensure;
use kv::{Command, Response, Value};
use protocol::Detector::{Effects, Linearizability};
use sim::Broken;
use std::collections::BTreeMap;

pub(crate) type Element = u64;

pub(crate) const KEYS: u8 = 3;

/// The lists as far as clients know them.
#[derive(Default)]
pub(crate) struct Lists {
    keys: BTreeMap<u8, List>,
    /// Elements whose append was begun, and to which list.
    begun: BTreeMap<Element, u8>,
    acknowledged: BTreeMap<Element, u8>,
}

#[derive(Default)]
struct List {
    /// The greatest length that anybody was told.
    floor: usize,
    places: BTreeMap<usize, Element>,
}

/// What a client has under way.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    key: u8,
    append: Option<Element>,
    floor: usize,
}

impl Op {
    pub(crate) fn command(&self) -> Command {
        match self.append {
            Some(element) => {
                Command::Append { key: key(self.key), element: element.to_be_bytes().to_vec().into() }
            }
            None => Command::Read { key: key(self.key) },
        }
    }

    pub(crate) fn is_read(&self) -> bool {
        self.append.is_none()
    }
}

impl Lists {
    /// An op that begins now.
    pub(crate) fn begin(&mut self, key: u8, append: Option<Element>) -> Op {
        if let Some(element) = append {
            self.begun.insert(element, key);
        }
        Op { key, append, floor: self.floor(key) }
    }

    /// An op was answered.
    pub(crate) fn answered(&mut self, op: &Op, response: Response) -> Result<(), Broken> {
        let length = match (response, op.append) {
            (Response::Length(length), Some(element)) => {
                let length = usize::try_from(length).expect("fits");
                ensure(length > op.floor, Linearizability, || {
                    format!("{op:?}: an append comes before what was there")
                })?;
                self.place(op.key, length - 1, element)?;
                self.acknowledged.insert(element, op.key);
                length
            }
            (Response::Value(value), None) => {
                let elements = elements(value.as_ref());
                ensure(elements.len() >= op.floor, Linearizability, || {
                    format!("{op:?}: a stale read of {}", elements.len())
                })?;
                for (place, element) in elements.iter().enumerate() {
                    self.place(op.key, place, *element)?;
                }
                elements.len()
            }
            (other, _) => {
                return Err(Broken { detector: Effects, what: format!("{op:?} is answered by {other:?}") });
            }
        };
        let list = self.keys.entry(op.key).or_default();
        list.floor = list.floor.max(length);
        Ok(())
    }

    /// In the end a replica holds each acknowledged element, and none twice.
    pub(crate) fn held_by(&mut self, store: &kv::Store) -> Result<(), Broken> {
        let mut held = 0;
        for number in 0..KEYS {
            let Response::Value(value) = store.read(&Command::Read { key: key(number) }) else {
                panic!("a read answers with a value")
            };
            let elements = elements(value.as_ref());
            for (place, element) in elements.iter().enumerate() {
                self.place(number, place, *element)?;
                let twice = elements[..place].contains(element);
                ensure(!twice, Effects, || format!("{element} is in list {number} twice"))?;
            }
            let told = elements.len() >= self.floor(number);
            ensure(told, Linearizability, || format!("list {number} is shorter than was told"))?;
            held += elements.iter().filter(|e| self.acknowledged.get(e) == Some(&number)).count();
        }
        let all = held == self.acknowledged.len();
        ensure(all, Linearizability, || "an acknowledged write is lost".to_owned())
    }

    fn floor(&self, key: u8) -> usize {
        self.keys.get(&key).map_or(0, |list| list.floor)
    }

    fn place(&mut self, key: u8, place: usize, element: Element) -> Result<(), Broken> {
        let begun = self.begun.get(&element) == Some(&key);
        ensure(begun, Effects, || format!("{element} was never appended to {key}"))?;
        let there = *self.keys.entry(key).or_default().places.entry(place).or_insert(element);
        ensure(there == element, Linearizability, || {
            format!("at place {place} of list {key} there is {there}, and {element}")
        })
    }
}

fn key(key: u8) -> bytes::Bytes {
    vec![b'a' + key].into()
}

/// The elements of a list value.
fn elements(value: Option<&Value>) -> Vec<Element> {
    match value {
        None => Vec::new(),
        Some(Value::List(list)) => {
            let number = |e: &bytes::Bytes| Element::from_be_bytes(e[..].try_into().expect("eight bytes"));
            list.iter().map(number).collect()
        }
        Some(other) => panic!("{other:?} is no list"),
    }
}
