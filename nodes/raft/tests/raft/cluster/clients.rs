//! Clients that append unique elements to lists and read them, and check what they are told.
//!
//! Lists that only grow make linearizability a matter of lengths. The order of appends is the order in the list; an op
//! must come after whatever had ended when it began. So with the greatest length known when an op began
//! (its *floor*), a read must return at least that much, and an append must come behind it. Every element must have one
//! place, the same in every read. That is all: an order by lengths explains every history that passes.

use super::found::{Found, ensure};
use kv::{Command, Refusal, Reply, Response, Routing, Value};
use protocol::Detector::{Effects, Linearizability};
use protocol::{ClientId, ReplicaId, RequestId, Sequence, SessionId, Time};
use rand::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::BTreeMap;

pub(crate) type Element = u64;

/// The lists as far as clients know them.
#[derive(Default)]
pub(crate) struct Lists {
    keys: BTreeMap<u8, List>,
    /// Elements whose append was begun, and by which key.
    begun: BTreeMap<Element, u8>,
    pub(crate) acknowledged: BTreeMap<Element, u8>,
}

#[derive(Default)]
struct List {
    /// The greatest length that anybody was told.
    floor: usize,
    places: BTreeMap<usize, Element>,
}

impl Lists {
    fn floor(&self, key: u8) -> usize {
        self.keys.get(&key).map_or(0, |list| list.floor)
    }

    fn place(&mut self, key: u8, place: usize, element: Element) -> Result<(), Found> {
        let begun = self.begun.get(&element) == Some(&key);
        ensure(begun, Effects, || format!("{element} was never appended to {key}"))?;
        let list = self.keys.entry(key).or_default();
        let there = *list.places.entry(place).or_insert(element);
        ensure(there == element, Linearizability, || {
            format!("at place {place} of list {key} there is {there}, and {element}")
        })
    }

    /// Everything in a list, with nothing twice.
    pub(crate) fn whole(&mut self, key: u8, elements: &[Element]) -> Result<(), Found> {
        for (place, element) in elements.iter().enumerate() {
            self.place(key, place, *element)?;
            let twice = elements[..place].contains(element);
            ensure(!twice, Effects, || format!("{element} is in list {key} twice"))?;
        }
        let told = elements.len() >= self.floor(key);
        ensure(told, Linearizability, || format!("list {key} is shorter than was told"))
    }
}

/// What a client has under way.
#[derive(Clone, Debug)]
struct Op {
    key: u8,
    append: Option<Element>,
    floor: usize,
    attempts: u32,
}

pub(crate) struct Client {
    pub(crate) id: ClientId,
    session: SessionId,
    sequence: u64,
    request: u64,
    op: Option<Op>,
    /// The first only reads, the second mostly: a client that waits for a write sees nothing meanwhile.
    write_share: f64,
    pub(crate) target: ReplicaId,
    pub(crate) done_writes: u64,
    pub(crate) done_reads: u64,
}

/// What a client does next.
pub(crate) enum Next {
    /// The op is over.
    Done,
    /// Try again, there if somewhere is named.
    Again(Option<ReplicaId>),
    /// The answer is to an earlier attempt.
    Ignore,
}

pub(crate) const KEYS: u8 = 3;

pub(crate) fn key(key: u8) -> bytes::Bytes {
    vec![b'a' + key].into()
}

/// The elements of a list value.
pub(crate) fn elements(value: Option<&Value>) -> Vec<Element> {
    match value {
        None => Vec::new(),
        Some(Value::List(list)) => {
            let number = |e: &bytes::Bytes| Element::from_be_bytes(e[..].try_into().expect("eight bytes"));
            list.iter().map(number).collect()
        }
        Some(other) => panic!("{other:?} is no list"),
    }
}

impl Client {
    pub(crate) fn new(number: u64, target: ReplicaId) -> Self {
        Self {
            id: ClientId(number),
            session: SessionId(number << 32),
            sequence: 0,
            request: 0,
            op: None,
            write_share: [0.0, 0.1].get(number as usize - 1).copied().unwrap_or(0.8),
            target,
            done_writes: 0,
            done_reads: 0,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.op.is_none()
    }

    /// Begins an op.
    pub(crate) fn begin(&mut self, lists: &mut Lists, rng: &mut Xoshiro256PlusPlus) {
        let key = rng.random_range(0..KEYS);
        let append = rng.random_bool(self.write_share).then(|| {
            self.sequence += 1;
            self.session.0 + self.sequence
        });
        if let Some(element) = append {
            lists.begun.insert(element, key);
        }
        self.op = Some(Op { key, append, floor: lists.floor(key), attempts: 0 });
    }

    /// The next attempt's request. `None` if it has been tried often enough: nobody knows what became of it.
    pub(crate) fn attempt(&mut self, patient: bool, rng: &mut Xoshiro256PlusPlus) -> Option<kv::Request> {
        let op = self.op.as_mut().expect("an op is under way");
        op.attempts += 1;
        if op.attempts > 6 && !patient {
            self.op = None;
            // A new session: the open command may be applied at any later time.
            self.session.0 += 1 << 24;
            self.sequence = 0;
            return None;
        }
        self.request += 1;
        let command = match op.append {
            Some(element) => {
                Command::Append { key: key(op.key), element: element.to_be_bytes().to_vec().into() }
            }
            None => Command::Read { key: key(op.key) },
        };
        Some(kv::Request {
            id: RequestId(self.request),
            session: self.session,
            sequence: Sequence(self.sequence),
            routing: if rng.random_bool(0.5) { Routing::Leader } else { Routing::Here },
            command,
        })
    }

    /// The number of the newest attempt, if an op is under way.
    pub(crate) fn open_request(&self) -> Option<RequestId> {
        self.op.as_ref().map(|_| RequestId(self.request))
    }

    pub(crate) fn handle_reply(&mut self, lists: &mut Lists, now: Time, reply: Reply) -> Result<Next, Found> {
        let Some(op) = self.op.clone().filter(|_| reply.id.0 == self.request) else {
            return Ok(Next::Ignore);
        };
        match (reply.result, op.append) {
            (Ok(Response::Length(length)), Some(element)) => {
                let length = usize::try_from(length).expect("fits");
                ensure(length > op.floor, Linearizability, || {
                    format!("{} at {now}: an append comes before what was there", self.id)
                })?;
                lists.place(op.key, length - 1, element)?;
                lists.acknowledged.insert(element, op.key);
                let list = lists.keys.entry(op.key).or_default();
                list.floor = list.floor.max(length);
                self.done_writes += 1;
            }
            (Ok(Response::Value(value)), None) => {
                let elements = elements(value.as_ref());
                let (length, floor) = (elements.len(), op.floor);
                ensure(length >= floor, Linearizability, || {
                    format!("{} at {now}: a stale read of {length}, {floor} were known", self.id)
                })?;
                for (place, element) in elements.into_iter().enumerate() {
                    lists.place(op.key, place, element)?;
                }
                let list = lists.keys.entry(op.key).or_default();
                list.floor = list.floor.max(length);
                self.done_reads += 1;
            }
            (Err(Refusal::NotLeader { leader }), _) => return Ok(Next::Again(leader)),
            (Err(Refusal::Busy | Refusal::Uncertain(_)), _) => return Ok(Next::Again(None)),
            (other, _) => {
                let what = format!("{} at {now}: {op:?} is answered by {other:?}", self.id);
                return Err(Found { by: Effects, what });
            }
        }
        self.op = None;
        Ok(Next::Done)
    }
}
