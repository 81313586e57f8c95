//! Append transactions: read all lists at one point of etcd's order, work out the new ones here, write them if none has changed
//! meanwhile.

use super::client::Attempt;
use super::connection::{Connection, RpcError};
use super::messages::{Compare, KeyValue, PutRequest, RangeRequest, ResponseUnion, TxnRequest, TxnResponse};
use super::requests::expanded;
use crate::values::{Layout, Place, recognise};
use bytes::Bytes;
use checkers::history::{Answer, MicroAnswer, MicroCall};
use std::collections::BTreeMap;

/// How often a transaction is tried before it gives up: each failure is another's success.
const ATTEMPTS_MAX: u32 = 32;

/// A key as it was read, and as the transaction leaves it. A list is stored as its elements one after the other, a register as
/// a list of one.
#[derive(Debug)]
struct Slot {
    name: Bytes,
    mod_revision: i64,
    numbers: Vec<u64>,
    stored: Vec<u8>,
    written: bool,
}

pub(super) async fn perform(
    connection: &mut Connection,
    layout: &Layout,
    steps: &[MicroCall],
    serializable: bool,
    attempt: &mut Attempt,
) -> Result<Answer, RpcError> {
    for _ in 0..ATTEMPTS_MAX {
        let keys = keys(steps);
        let ranges = keys.iter().map(|key| {
            RangeRequest { key: layout.key(*key), serializable, ..RangeRequest::default() }.into()
        });
        let read = TxnRequest { compare: Vec::new(), success: ranges.collect() };
        let found = connection.txn(read).await?;
        let mut slots = match slots(layout, &keys, found) {
            Ok(slots) => slots,
            Err(why) => return Ok(Answer::Corrupt(why)),
        };
        let answers = run(layout, steps, &mut slots);
        if slots.values().all(|slot| !slot.written) {
            return Ok(Answer::Txn(answers));
        }
        attempt.writing = true;
        if connection.txn(write(slots)).await?.succeeded {
            return Ok(Answer::Txn(answers));
        }
        // The conditions did not hold: nothing happened.
        attempt.writing = false;
    }
    let reason = format!("others changed the lists {ATTEMPTS_MAX} times in between");
    Err(RpcError { reason, no_effect: true, transient: false })
}

fn keys(steps: &[MicroCall]) -> Vec<u64> {
    let mut keys: Vec<u64> = steps
        .iter()
        .map(|step| match step {
            MicroCall::ReadList { key }
            | MicroCall::Append { key, .. }
            | MicroCall::Read { key }
            | MicroCall::Write { key, .. } => *key,
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// What was read of each key.
fn slots(layout: &Layout, keys: &[u64], found: TxnResponse) -> Result<BTreeMap<u64, Slot>, String> {
    if found.responses.len() != keys.len() {
        return Err(format!("{} answers to {} reads", found.responses.len(), keys.len()));
    }
    let slot = |(key, response): (&u64, super::messages::ResponseOp)| {
        let name = layout.key(*key);
        let Some(ResponseUnion::Range(range)) = response.response else {
            return Err("a read in a transaction was answered with something else".to_string());
        };
        match &range.kvs[..] {
            [] => {
                let (numbers, stored) = (Vec::new(), Vec::new());
                Ok((*key, Slot { name, mod_revision: 0, numbers, stored, written: false }))
            }
            [KeyValue { key: found, mod_revision, value }] if *found == name => {
                let numbers = value
                    .chunks(layout.value_bytes)
                    .map(|element| recognise(Place { key: &name, field: 0 }, element, layout.value_bytes))
                    .collect::<Result<Vec<u64>, _>>()
                    .map_err(|why| why.to_string())?;
                let (mod_revision, stored) = (*mod_revision, value.to_vec());
                Ok((*key, Slot { name, mod_revision, numbers, stored, written: false }))
            }
            others => Err(format!("{} keys were returned for one, or another key", others.len())),
        }
    };
    keys.iter().zip(found.responses).map(slot).collect()
}

/// Runs the steps on what was read.
fn run(layout: &Layout, steps: &[MicroCall], slots: &mut BTreeMap<u64, Slot>) -> Vec<MicroAnswer> {
    let one = |step: &MicroCall| match step {
        MicroCall::ReadList { key } => MicroAnswer::List(slots[key].numbers.clone()),
        MicroCall::Read { key } => MicroAnswer::Value(slots[key].numbers.last().copied()),
        MicroCall::Append { key, value } => {
            let slot = slots.get_mut(key).expect("every step's key was read");
            slot.append(layout, *value);
            MicroAnswer::Done
        }
        MicroCall::Write { key, value } => {
            let slot = slots.get_mut(key).expect("every step's key was read");
            slot.numbers.clear();
            slot.stored.clear();
            slot.append(layout, *value);
            MicroAnswer::Done
        }
    };
    steps.iter().map(one).collect()
}

impl Slot {
    fn append(&mut self, layout: &Layout, value: u64) {
        self.stored.extend_from_slice(&expanded(layout, &self.name, 0, value));
        self.numbers.push(value);
        self.written = true;
    }
}

/// The new lists, on condition that nothing that was read has changed.
fn write(slots: BTreeMap<u64, Slot>) -> TxnRequest {
    let mut request = TxnRequest::default();
    for slot in slots.into_values() {
        request.compare.push(Compare::mod_revision(slot.name.clone(), slot.mod_revision));
        if slot.written {
            request.success.push(PutRequest { key: slot.name, value: slot.stored.into() }.into());
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::super::messages::{CompareUnion, RangeResponse, RequestUnion, ResponseOp};
    use super::*;
    use crate::values::Names;

    const LISTS: Layout = Layout { names: Names::Lists, value_bytes: 16, fields: 0 };

    fn found(kvs: Vec<Vec<KeyValue>>) -> TxnResponse {
        let op = |kvs| ResponseOp { response: Some(ResponseUnion::Range(RangeResponse { kvs })) };
        TxnResponse { succeeded: true, responses: kvs.into_iter().map(op).collect() }
    }

    #[test]
    fn steps_see_those_before_them_and_all_that_was_read_is_a_condition() {
        let name = LISTS.key(1);
        let list = [expanded(&LISTS, &name, 0, 1), expanded(&LISTS, &name, 0, 2)].concat();
        let kv = KeyValue { key: name.clone(), mod_revision: 7, value: list.clone().into() };
        let steps = [
            MicroCall::ReadList { key: 2 },
            MicroCall::Append { key: 1, value: 3 },
            MicroCall::ReadList { key: 1 },
        ];
        let keys = keys(&steps);
        assert_eq!(keys, [1, 2]);
        let mut slots = slots(&LISTS, &keys, found(vec![vec![kv], vec![]])).expect("whole");
        let answers = run(&LISTS, &steps, &mut slots);
        let expected = [MicroAnswer::List(vec![]), MicroAnswer::Done, MicroAnswer::List(vec![1, 2, 3])];
        assert_eq!(answers, expected);
        let request = write(slots);
        let conditions: Vec<_> = request.compare.iter().map(|compare| compare.to.clone()).collect();
        let revision = |revision| Some(CompareUnion::ModRevision(revision));
        assert_eq!(conditions, [revision(7), revision(0)]);
        let [put] = &request.success[..] else { panic!("one list is written: {request:?}") };
        let stored = [&list[..], &expanded(&LISTS, &name, 0, 3)].concat().into();
        assert_eq!(put.request, Some(RequestUnion::Put(PutRequest { key: name, value: stored })));
    }

    #[test]
    fn what_is_no_list_of_ours_is_corrupt() {
        let kv = |key: u64, value: &[u8]| KeyValue {
            key: LISTS.key(key),
            mod_revision: 1,
            value: value.to_vec().into(),
        };
        let element = expanded(&LISTS, &LISTS.key(1), 0, 1);
        assert!(slots(&LISTS, &[1], found(vec![vec![kv(1, &element)]])).is_ok());
        assert!(slots(&LISTS, &[1], found(vec![vec![kv(1, &element[..9])]])).is_err());
        assert!(slots(&LISTS, &[1], found(vec![vec![kv(1, b"sixteen bytes!!!")]])).is_err());
        assert!(slots(&LISTS, &[1], found(vec![vec![kv(2, &element)]])).is_err());
        assert!(slots(&LISTS, &[1], found(vec![])).is_err());
    }
}
