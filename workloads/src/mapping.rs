//! From what a history says to what our replicas speak, and back. An answer that no call can have, or with bytes that nobody
//! wrote, becomes [`Answer::Corrupt`]: it is never taken for another answer.

use crate::values::{Layout, Place, expand, recognise};
use bytes::Bytes;
use checkers::history::{Answer, Call, FIELD_NEVER_WRITTEN, MicroAnswer, MicroCall};
use kv::{Command, MicroOp, MicroResponse, Response, Value};

/// What to run for a call. A read-modify-write takes [`follow_up`] as well.
#[must_use]
pub fn command(layout: &Layout, call: &Call) -> Command {
    match call {
        Call::Read { key } | Call::ReadRecord { key } | Call::ReadModifyWrite { key, .. } => {
            Command::Read { key: layout.key(*key) }
        }
        Call::Write { key, value } => {
            let key = layout.key(*key);
            Command::Write { value: expanded(layout, &key, *value), key }
        }
        Call::Cas { key, from, to } => {
            let key = layout.key(*key);
            let from = Some(expanded(layout, &key, *from));
            Command::Cas { from, to: expanded(layout, &key, *to), key }
        }
        Call::Txn(steps) => Command::Txn(steps.iter().map(|step| micro_op(layout, step)).collect()),
        Call::Insert { key, value } => {
            let key = layout.key(*key);
            let field = |field| expand(Place { key: &key, field }, *value, layout.value_bytes);
            Command::Insert { fields: (0..layout.fields).map(field).collect(), key }
        }
        Call::Update { key, field, value } => update(layout, *key, *field, *value),
        Call::Scan { key, limit } => Command::Scan { start: layout.key(*key), limit: *limit },
    }
}

/// What to run for a call when [`command`] has been answered.
#[must_use]
pub fn follow_up(layout: &Layout, call: &Call) -> Option<Command> {
    match call {
        Call::ReadModifyWrite { key, field, value } => Some(update(layout, *key, *field, *value)),
        Call::Read { .. }
        | Call::Write { .. }
        | Call::Cas { .. }
        | Call::Txn(_)
        | Call::Insert { .. }
        | Call::Update { .. }
        | Call::ReadRecord { .. }
        | Call::Scan { .. } => None,
    }
}

fn update(layout: &Layout, key: u64, field: u32, value: u64) -> Command {
    let key = layout.key(key);
    Command::Update { value: expand(Place { key: &key, field }, value, layout.value_bytes), key, field }
}

fn micro_op(layout: &Layout, step: &MicroCall) -> MicroOp {
    match step {
        MicroCall::ReadList { key } | MicroCall::Read { key } => MicroOp::Read { key: layout.key(*key) },
        MicroCall::Append { key, value } => {
            let key = layout.key(*key);
            MicroOp::Append { element: expanded(layout, &key, *value), key }
        }
        MicroCall::Write { key, value } => {
            let key = layout.key(*key);
            MicroOp::Write { value: expanded(layout, &key, *value), key }
        }
    }
}

fn expanded(layout: &Layout, key: &[u8], value: u64) -> Bytes {
    expand(Place { key, field: 0 }, value, layout.value_bytes)
}

/// What the response to [`command`] says.
#[must_use]
pub fn answer(layout: &Layout, call: &Call, response: Response) -> Answer {
    let understood = match (call, response) {
        (Call::Read { key }, Response::Value(value)) => register(layout, *key, value).map(Answer::Value),
        (Call::ReadRecord { key } | Call::ReadModifyWrite { key, .. }, Response::Value(value)) => {
            value.map(|value| record(layout, &layout.key(*key), value)).transpose().map(Answer::Fields)
        }
        (Call::Write { .. } | Call::Insert { .. } | Call::Update { .. }, Response::Done) => Ok(Answer::Done),
        (Call::Cas { .. }, Response::Swapped(swapped)) => Ok(Answer::Swapped(swapped)),
        (Call::Txn(steps), Response::Txn(responses)) => txn(layout, steps, responses).map(Answer::Txn),
        (Call::Scan { key, limit }, Response::Rows(rows)) => {
            rows_read(layout, &layout.key(*key), *limit, rows).map(Answer::Rows)
        }
        (call, response) => Err(format!("a {} was answered with {}", call.kind().name(), named(&response))),
    };
    understood.unwrap_or_else(Answer::Corrupt)
}

fn named(response: &Response) -> String {
    // Values may be long.
    format!("{response:?}").chars().take(80).collect()
}

fn number(layout: &Layout, key: &[u8], field: u32, bytes: &[u8]) -> Result<u64, String> {
    recognise(Place { key, field }, bytes, layout.value_bytes)
        .map_err(|why| format!("key {}, field {field}: {why}", String::from_utf8_lossy(key)))
}

fn register(layout: &Layout, key: u64, value: Option<Value>) -> Result<Option<u64>, String> {
    match value {
        None => Ok(None),
        Some(Value::Bytes(bytes)) => number(layout, &layout.key(key), 0, &bytes).map(Some),
        Some(Value::List(_)) => Err("a list where only bytes were written".into()),
        Some(Value::Record(_)) => Err("a record where only bytes were written".into()),
        Some(Value::Text(_)) => Err("a text where only bytes were written".into()),
    }
}

fn list(layout: &Layout, key: u64, value: Option<Value>) -> Result<Vec<u64>, String> {
    let key = layout.key(key);
    match value {
        None => Ok(Vec::new()),
        Some(Value::List(elements)) => elements.iter().map(|bytes| number(layout, &key, 0, bytes)).collect(),
        Some(_) => {
            Err(format!("key {}: no list where only lists were written", String::from_utf8_lossy(&key)))
        }
    }
}

fn record(layout: &Layout, key: &[u8], value: Value) -> Result<Vec<u64>, String> {
    let Value::Record(fields) = value else {
        return Err(format!(
            "key {}: no record where only records were written",
            String::from_utf8_lossy(key)
        ));
    };
    record_numbers(layout, key, fields.iter().map(|field| &field[..]))
}

/// The numbers in a record's fields; those that are missing or empty were never written.
pub(crate) fn record_numbers<'a>(
    layout: &Layout,
    key: &[u8],
    fields: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::with_capacity(layout.fields as usize);
    for (field, bytes) in (0..).zip(fields) {
        if field >= layout.fields {
            let key = String::from_utf8_lossy(key);
            return Err(format!("key {key}: more than the {} fields that records have", layout.fields));
        }
        numbers.push(if bytes.is_empty() { FIELD_NEVER_WRITTEN } else { number(layout, key, field, bytes)? });
    }
    numbers.resize(layout.fields as usize, FIELD_NEVER_WRITTEN);
    Ok(numbers)
}

fn rows_read(layout: &Layout, start: &[u8], limit: u32, rows: Vec<(Bytes, Value)>) -> Result<u32, String> {
    let count = u32::try_from(rows.len()).ok().filter(|count| *count <= limit);
    let Some(count) = count else {
        return Err(format!("{} rows where at most {limit} were asked for", rows.len()));
    };
    let mut before: Option<Bytes> = None;
    for (key, value) in rows {
        if &key[..] < start || before.is_some_and(|before| before >= key) {
            return Err(format!("row {} is out of order", String::from_utf8_lossy(&key)));
        }
        record(layout, &key, value)?;
        before = Some(key);
    }
    Ok(count)
}

fn txn(
    layout: &Layout,
    steps: &[MicroCall],
    responses: Vec<MicroResponse>,
) -> Result<Vec<MicroAnswer>, String> {
    if steps.len() != responses.len() {
        return Err(format!("{} answers to a transaction of {} steps", responses.len(), steps.len()));
    }
    let one = |(step, response): (&MicroCall, MicroResponse)| match (step, response) {
        (MicroCall::ReadList { key }, MicroResponse::Value(value)) => {
            list(layout, *key, value).map(MicroAnswer::List)
        }
        (MicroCall::Read { key }, MicroResponse::Value(value)) => {
            register(layout, *key, value).map(MicroAnswer::Value)
        }
        (MicroCall::Append { .. } | MicroCall::Write { .. }, MicroResponse::Done) => Ok(MicroAnswer::Done),
        (step, response) => Err(format!("step {step:?} was answered with {response:?}")),
    };
    steps.iter().zip(responses).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Names;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const REGISTERS: Layout = Layout { names: Names::Registers, value_bytes: 16, fields: 0 };
    const LISTS: Layout = Layout { names: Names::Lists, value_bytes: 16, fields: 0 };
    const USERS: Layout = Layout { names: Names::Users, value_bytes: 20, fields: 3 };

    /// What a correct store does, as far as these workloads go.
    fn run(store: &mut BTreeMap<Bytes, Value>, command: Command) -> Response {
        match command {
            Command::Read { key } => Response::Value(store.get(&key).cloned()),
            Command::Write { key, value } => {
                store.insert(key, Value::Bytes(value));
                Response::Done
            }
            Command::Cas { key, from, to } => {
                let swap = store.get(&key) == from.map(Value::Bytes).as_ref();
                if swap {
                    store.insert(key, Value::Bytes(to));
                }
                Response::Swapped(swap)
            }
            Command::Insert { key, fields } => {
                store.insert(key, Value::Record(fields.into()));
                Response::Done
            }
            Command::Scan { start, limit } => {
                let rows = store.range(start..).take(limit as usize);
                Response::Rows(rows.map(|(key, value)| (key.clone(), value.clone())).collect())
            }
            Command::Txn(steps) => Response::Txn(
                steps
                    .into_iter()
                    .map(|step| match step {
                        MicroOp::Read { key } => MicroResponse::Value(store.get(&key).cloned()),
                        MicroOp::Append { key, element } => {
                            let list = store.entry(key).or_insert_with(|| Value::List(Default::default()));
                            let Value::List(elements) = list else { panic!("not a list: {list:?}") };
                            elements.push_back(element);
                            MicroResponse::Done
                        }
                        MicroOp::Write { .. } => panic!("no workload writes in transactions"),
                    })
                    .collect(),
            ),
            other @ (Command::Delete { .. }
            | Command::Append { .. }
            | Command::Splice { .. }
            | Command::Update { .. }) => panic!("not asked here: {other:?}"),
        }
    }

    fn ask(store: &mut BTreeMap<Bytes, Value>, layout: &Layout, call: &Call) -> Answer {
        answer(layout, call, run(store, command(layout, call)))
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(key in 0u64..1000, value: u64, next: u64) {
            let mut store = BTreeMap::new();
            let mut ask = |layout, call| ask(&mut store, layout, &call);
            prop_assert_eq!(ask(&REGISTERS, Call::Read { key }), Answer::Value(None));
            prop_assert_eq!(ask(&REGISTERS, Call::Write { key, value }), Answer::Done);
            prop_assert_eq!(ask(&REGISTERS, Call::Read { key }), Answer::Value(Some(value)));
            let swapped = Answer::Swapped(true);
            prop_assert_eq!(ask(&REGISTERS, Call::Cas { key, from: value, to: next }), swapped);
            prop_assert_eq!(ask(&REGISTERS, Call::Read { key }), Answer::Value(Some(next)));
            prop_assert_eq!(ask(&USERS, Call::ReadRecord { key }), Answer::Fields(None));
            prop_assert_eq!(ask(&USERS, Call::Insert { key, value }), Answer::Done);
            prop_assert_eq!(ask(&USERS, Call::ReadRecord { key }), Answer::Fields(Some(vec![value; 3])));
            prop_assert_eq!(ask(&USERS, Call::Scan { key, limit: 5 }), Answer::Rows(1));
            let steps = vec![
                MicroCall::ReadList { key }, MicroCall::Append { key, value }, MicroCall::ReadList { key },
            ];
            let answers = vec![MicroAnswer::List(vec![]), MicroAnswer::Done, MicroAnswer::List(vec![value])];
            prop_assert_eq!(ask(&LISTS, Call::Txn(steps)), Answer::Txn(answers));
        }
    }

    fn is_corrupt(layout: &Layout, call: &Call, response: Response) -> bool {
        matches!(answer(layout, call, response), Answer::Corrupt(_))
    }

    #[test]
    fn answers_of_another_kind_or_with_foreign_bytes_are_corrupt() {
        let foreign = Value::Bytes(Bytes::from_static(b"sixteen bytes!!!"));
        let of_key_2 = Value::Bytes(expanded(&REGISTERS, b"r2", 7));
        let record = |key: u64, fields: u32| {
            let name = USERS.key(key);
            let field = |field| expand(Place { key: &name, field }, 1, 20);
            Value::Record((0..fields).map(field).collect::<Vec<_>>().into())
        };
        let read = Call::Read { key: 1 };
        assert!(is_corrupt(&REGISTERS, &read, Response::Done));
        assert!(is_corrupt(&REGISTERS, &read, Response::WrongType));
        assert!(is_corrupt(&REGISTERS, &read, Response::Value(Some(foreign.clone()))));
        assert!(is_corrupt(&REGISTERS, &read, Response::Value(Some(of_key_2))));
        assert!(is_corrupt(&REGISTERS, &read, Response::Value(Some(record(1, 1)))));
        assert!(is_corrupt(&REGISTERS, &Call::Write { key: 1, value: 1 }, Response::Swapped(true)));
        assert!(is_corrupt(&USERS, &Call::ReadRecord { key: 1 }, Response::Value(Some(foreign.clone()))));
        assert!(is_corrupt(&USERS, &Call::ReadRecord { key: 1 }, Response::Value(Some(record(1, 4)))));
        assert!(is_corrupt(&USERS, &Call::ReadRecord { key: 1 }, Response::Value(Some(record(2, 3)))));
        let txn = Call::Txn(vec![MicroCall::ReadList { key: 1 }]);
        assert!(is_corrupt(&LISTS, &txn, Response::Txn(vec![])));
        assert!(is_corrupt(&LISTS, &txn, Response::Txn(vec![MicroResponse::Done])));
        assert!(is_corrupt(&LISTS, &txn, Response::Txn(vec![MicroResponse::Value(Some(foreign))])));
    }

    #[test]
    fn scans_out_of_order_or_too_long_are_corrupt() {
        let row = |key: u64| {
            let name = USERS.key(key);
            let field = |field| expand(Place { key: &name, field }, 1, 20);
            (name.clone(), Value::Record((0..3).map(field).collect::<Vec<_>>().into()))
        };
        let mut rows = [row(1), row(2), row(3)];
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        let first = (1..=3).find(|key| USERS.key(*key) == rows[0].0).expect("it is one of the three");
        let scan = |limit| Call::Scan { key: first, limit };
        assert_eq!(answer(&USERS, &scan(3), Response::Rows(rows.to_vec())), Answer::Rows(3));
        assert!(is_corrupt(&USERS, &scan(2), Response::Rows(rows.to_vec())));
        rows.swap(1, 2);
        assert!(is_corrupt(&USERS, &scan(3), Response::Rows(rows.to_vec())));
        rows[2] = rows[1].clone();
        assert!(is_corrupt(&USERS, &scan(3), Response::Rows(rows.to_vec())), "a row twice");
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        let later = (1..=3).find(|key| USERS.key(*key) == rows[1].0).expect("it is one of the three");
        let scan = Call::Scan { key: later, limit: 3 };
        assert!(is_corrupt(&USERS, &scan, Response::Rows(rows[..1].to_vec())), "a row before the start");
    }

    #[test]
    fn a_record_that_an_update_made_has_empty_fields() {
        let name = USERS.key(1);
        let fields = vec![Bytes::new(), expand(Place { key: &name, field: 1 }, 9, 20)];
        let response = Response::Value(Some(Value::Record(fields.into())));
        let fields = Answer::Fields(Some(vec![FIELD_NEVER_WRITTEN, 9, FIELD_NEVER_WRITTEN]));
        assert_eq!(answer(&USERS, &Call::ReadRecord { key: 1 }, response), fields);
    }
}
