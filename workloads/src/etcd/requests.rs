//! Calls as requests, responses as answers.

use super::client::Attempt;
use super::connection::{Connection, RpcError};
use super::messages::{Compare, KeyValue, PutRequest, RangeRequest, TxnRequest};
use crate::mapping::record_numbers;
use crate::values::{Layout, Place, expand, recognise};
use bytes::Bytes;
use checkers::history::{Answer, Call};

/// Carries out any call that is no transaction.
pub(super) async fn perform(
    connection: &mut Connection,
    layout: &Layout,
    call: &Call,
    serializable: bool,
    attempt: &mut Attempt,
) -> Result<Answer, RpcError> {
    match call {
        Call::Read { key } => {
            let key = layout.key(*key);
            let range = RangeRequest { key: key.clone(), serializable, ..RangeRequest::default() };
            let found = connection.range(range).await?.kvs;
            Ok(understood(register(layout, &key, &found).map(Answer::Value)))
        }
        Call::Write { key, value } => {
            attempt.writing = true;
            let key = layout.key(*key);
            connection.put(PutRequest { value: expanded(layout, &key, 0, *value), key }).await?;
            Ok(Answer::Done)
        }
        Call::Cas { key, from, to } => {
            attempt.writing = true;
            let key = layout.key(*key);
            let compare = Compare::value(key.clone(), expanded(layout, &key, 0, *from));
            let put = PutRequest { value: expanded(layout, &key, 0, *to), key };
            let txn = TxnRequest { compare: vec![compare], success: vec![put.into()] };
            Ok(Answer::Swapped(connection.txn(txn).await?.succeeded))
        }
        Call::Insert { key, value } => {
            attempt.writing = true;
            let key = layout.key(*key);
            let puts = (0..layout.fields).map(|field| put_field(layout, &key, field, *value).into());
            let txn = TxnRequest { compare: Vec::new(), success: puts.collect() };
            Ok(match connection.txn(txn).await?.succeeded {
                true => Answer::Done,
                false => Answer::Corrupt("a transaction without conditions did not happen".into()),
            })
        }
        Call::Update { key, field, value } => {
            attempt.writing = true;
            connection.put(put_field(layout, &layout.key(*key), *field, *value)).await?;
            Ok(Answer::Done)
        }
        Call::ReadRecord { key } => read_record(connection, layout, *key, serializable).await,
        Call::ReadModifyWrite { key, field, value } => {
            let read = read_record(connection, layout, *key, serializable).await?;
            attempt.writing = true;
            connection.put(put_field(layout, &layout.key(*key), *field, *value)).await?;
            Ok(read)
        }
        Call::Scan { key, limit } => {
            let start = layout.key(*key);
            let range = RangeRequest {
                key: [&start[..], b"/"].concat().into(),
                // Past all names of records.
                range_end: Bytes::from_static(b"user:"),
                limit: i64::from(*limit) * i64::from(layout.fields),
                serializable,
            };
            let found = connection.range(range).await?.kvs;
            Ok(understood(records(layout, &start, *limit, &found).map(Answer::Rows)))
        }
        Call::Txn(_) => unreachable!("transactions are carried out elsewhere"),
    }
}

async fn read_record(
    connection: &mut Connection,
    layout: &Layout,
    key: u64,
    serializable: bool,
) -> Result<Answer, RpcError> {
    let name = layout.key(key);
    let range = RangeRequest {
        key: [&name[..], b"/"].concat().into(),
        // `0` follows `/`.
        range_end: [&name[..], b"0"].concat().into(),
        limit: 0,
        serializable,
    };
    let found = connection.range(range).await?.kvs;
    if found.is_empty() {
        return Ok(Answer::Fields(None));
    }
    Ok(understood(record(layout, &name, &found).map(|fields| Answer::Fields(Some(fields)))))
}

fn understood(answer: Result<Answer, String>) -> Answer {
    answer.unwrap_or_else(Answer::Corrupt)
}

pub(super) fn expanded(layout: &Layout, key: &[u8], field: u32, value: u64) -> Bytes {
    expand(Place { key, field }, value, layout.value_bytes)
}

fn put_field(layout: &Layout, key: &Bytes, field: u32, value: u64) -> PutRequest {
    let value = expanded(layout, key, field, value);
    PutRequest { key: format!("{}/f{field}", String::from_utf8_lossy(key)).into(), value }
}

/// The value of the only key that a Range over it may return.
fn register(layout: &Layout, key: &Bytes, found: &[KeyValue]) -> Result<Option<u64>, String> {
    match found {
        [] => Ok(None),
        [one] if one.key == key => {
            let place = Place { key, field: 0 };
            recognise(place, &one.value, layout.value_bytes).map(Some).map_err(|why| why.to_string())
        }
        others => Err(format!("{} keys were returned for one, or another key", others.len())),
    }
}

/// The fields of one record from its keys, which come in byte order (`f10` before `f2`).
fn record(layout: &Layout, name: &[u8], found: &[KeyValue]) -> Result<Vec<u64>, String> {
    let mut fields = vec![&[][..]; layout.fields as usize];
    for kv in found {
        let (record, field) = split(&kv.key)?;
        let slot = (record == name).then(|| fields.get_mut(field)).flatten();
        let Some(slot) = slot else {
            return Err(format!("key {} in the answer to a read of {}", text(&kv.key), text(name)));
        };
        *slot = &kv.value;
    }
    record_numbers(layout, name, fields)
}

/// Counts the records of a scan, and sees to it that they are in order and whole. The last may be cut, if one before it has
/// more or fewer fields than records should have.
fn records(layout: &Layout, start: &[u8], limit: u32, found: &[KeyValue]) -> Result<u32, String> {
    if found.windows(2).any(|pair| pair[0].key >= pair[1].key) {
        return Err("rows are out of order".into());
    }
    if found.len() as u64 > u64::from(limit) * u64::from(layout.fields) {
        return Err(format!("{} keys where at most {limit} records were asked for", found.len()));
    }
    let mut count = 0;
    let mut rest = found;
    while let Some(first) = rest.first() {
        let (name, _) = split(&first.key)?;
        if name < start {
            return Err(format!("row {} is before the start", text(name)));
        }
        let is_of_record = |kv: &&KeyValue| kv.key.starts_with(name) && kv.key.get(name.len()) == Some(&b'/');
        let keys = rest.iter().take_while(is_of_record).count();
        record(layout, name, &rest[..keys])?;
        rest = &rest[keys..];
        count += 1;
    }
    Ok(count)
}

/// A field's key as the record's name and the number of the field.
fn split(key: &[u8]) -> Result<(&[u8], usize), String> {
    let slash = key.iter().position(|byte| *byte == b'/');
    let parts = slash.and_then(|slash| {
        let field = key[slash + 1..].strip_prefix(b"f")?;
        Some((&key[..slash], std::str::from_utf8(field).ok()?.parse().ok()?))
    });
    parts.ok_or_else(|| format!("key {} is no record's field", text(key)))
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Names;

    const USERS: Layout = Layout { names: Names::Users, value_bytes: 16, fields: 11 };

    fn kvs(key: u64, value: u64) -> Vec<KeyValue> {
        let name = USERS.key(key);
        let mut kvs: Vec<_> = (0..USERS.fields)
            .map(|field| {
                let put = put_field(&USERS, &name, field, value);
                KeyValue { key: put.key, value: put.value, mod_revision: 1 }
            })
            .collect();
        kvs.sort_by(|a, b| a.key.cmp(&b.key));
        kvs
    }

    #[test]
    fn a_record_is_put_together_from_its_keys() {
        let name = USERS.key(4);
        assert_eq!(
            record(&USERS, &name, &kvs(4, 7)),
            Ok(vec![7; 11]),
            "f10 comes before f2 and belongs last"
        );
        let mut updated = kvs(4, 7);
        updated[2] = KeyValue { value: expanded(&USERS, &name, 10, 9), ..updated[2].clone() };
        assert_eq!(updated[2].key, [&name[..], b"/f10"].concat());
        assert_eq!(record(&USERS, &name, &updated).map(|fields| fields[10]), Ok(9));
        updated.remove(0);
        assert_eq!(record(&USERS, &name, &updated).map(|fields| fields[0]), Ok(0), "never written");
        updated[0].value = updated[3].value.clone();
        assert!(record(&USERS, &name, &updated).is_err(), "another field's value");
        assert!(record(&USERS, &name, &kvs(5, 7)).is_err(), "another record");
    }

    #[test]
    fn a_scan_is_in_order_and_whole() {
        let mut names = [(USERS.key(1), 1), (USERS.key(2), 2)];
        names.sort();
        let [(first, first_key), (second, second_key)] = names;
        let all = [kvs(first_key, 1), kvs(second_key, 1)].concat();
        assert_eq!(records(&USERS, &first, 2, &all), Ok(2));
        assert_eq!(records(&USERS, &first, 5, &all[..11]), Ok(1));
        assert!(records(&USERS, &first, 1, &all).is_err(), "more than asked for");
        assert!(records(&USERS, &second, 2, &all).is_err(), "from before the start");
        let mut swapped = all.clone();
        swapped.swap(3, 4);
        assert!(records(&USERS, &first, 2, &swapped).is_err());
        let mut foreign = all;
        foreign[20].value = Bytes::from_static(b"sixteen bytes!!!");
        assert!(records(&USERS, &first, 2, &foreign).is_err());
    }

    #[test]
    fn a_read_of_one_key_returns_that_key() {
        let layout = Layout { names: Names::Registers, value_bytes: 16, fields: 0 };
        let kv = |key: u64, value| {
            let key = layout.key(key);
            KeyValue { value: expanded(&layout, &key, 0, value), key, mod_revision: 1 }
        };
        assert_eq!(register(&layout, &layout.key(1), &[]), Ok(None));
        assert_eq!(register(&layout, &layout.key(1), &[kv(1, 5)]), Ok(Some(5)));
        assert!(register(&layout, &layout.key(1), &[kv(2, 5)]).is_err());
        assert!(register(&layout, &layout.key(1), &[kv(1, 5), kv(2, 5)]).is_err());
    }
}
