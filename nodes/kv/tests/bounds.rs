//! Commands and answers fit into frames, whatever anybody asks.

mod common;

use bytes::Bytes;
use kv::command::{ANSWER_BYTES_MAX, KEY_BYTES_MAX, RECORD_FIELDS_MAX, SCAN_ROWS_MAX, TXN_BYTES_MAX};
use kv::command::{TXN_MICRO_OPS_MAX, VALUE_BYTES_MAX};
use kv::{Command, Limits, MicroOp, Refusal, Reply, Response, Store, Value};
use proptest::prelude::*;
use protocol::codec::encode;
use protocol::frame::PAYLOAD_BYTES_MAX;
use protocol::{RequestId, Sequence, SessionId};

const KEY: Bytes = Bytes::from_static(b"k");

fn zeroes(length: usize) -> Bytes {
    Bytes::from(vec![0; length])
}

struct Client {
    store: Store,
    sequence: Sequence,
}

impl Client {
    fn new() -> Self {
        Self { store: Store::new(Limits::default()), sequence: Sequence(0) }
    }

    fn run(&mut self, command: &Command) -> Response {
        self.sequence.0 += 1;
        self.store.apply(SessionId(1), self.sequence, command).expect("a valid command of a live session")
    }

    fn write(&mut self, key: &[u8], bytes: usize) {
        let command = Command::Write { key: Bytes::copy_from_slice(key), value: zeroes(bytes) };
        assert_eq!(self.run(&command), Response::Done);
    }

    /// Grows a list of the longest elements as far as it goes.
    fn fill_list(&mut self) -> u64 {
        let append = Command::Append { key: KEY, element: zeroes(VALUE_BYTES_MAX) };
        let mut elements = 0;
        while let Response::Length(length) = self.run(&append) {
            elements = length;
        }
        elements
    }
}

fn fits_into_a_frame(response: Response) {
    let reply = Reply { id: RequestId(u64::MAX), result: Ok(response) };
    let bytes = encode(&reply).len();
    assert!(bytes <= PAYLOAD_BYTES_MAX, "a reply of {bytes} bytes");
}

#[test]
fn a_list_grows_as_far_as_it_can_be_read() {
    let mut client = Client::new();
    let elements = client.fill_list();
    assert_eq!(elements as usize, ANSWER_BYTES_MAX / VALUE_BYTES_MAX - 1);
    let before = client.store.read(&Command::Read { key: KEY });
    let append = Command::Append { key: KEY, element: zeroes(VALUE_BYTES_MAX) };
    assert_eq!(client.run(&append), Response::TooLarge);
    assert_eq!(client.store.read(&Command::Read { key: KEY }), before);
    fits_into_a_frame(before);
    let small = Command::Append { key: KEY, element: zeroes(1) };
    assert_eq!(client.run(&small), Response::Length(elements + 1), "what fits still goes in");
}

#[test]
fn many_small_elements_count_for_more_than_their_bytes() {
    let mut client = Client::new();
    let txn = Command::Txn(vec![MicroOp::Append { key: KEY, element: Bytes::new() }; TXN_MICRO_OPS_MAX]);
    while client.run(&txn) != Response::TooLarge {}
    fits_into_a_frame(client.store.read(&Command::Read { key: KEY }));
}

#[test]
fn a_text_and_a_record_stop_growing_too_and_shrink_again() {
    let mut client = Client::new();
    let longer =
        Command::Splice { key: KEY, position: 0, delete: 0, insert: "é".repeat(VALUE_BYTES_MAX / 2) };
    while client.run(&longer) != Response::TooLarge {}
    fits_into_a_frame(client.store.read(&Command::Read { key: KEY }));
    let shorter = Command::Splice { key: KEY, position: 1, delete: 100, insert: "e".to_owned() };
    assert!(matches!(client.run(&shorter), Response::Length(_)));

    let key = Bytes::from_static(b"record");
    let update = |field, bytes| Command::Update { key: key.clone(), field, value: zeroes(bytes) };
    let stopped_at = (0..).find(|field| client.run(&update(*field, VALUE_BYTES_MAX)) == Response::TooLarge);
    let stopped_at = stopped_at.expect("a record of so large fields is bounded");
    assert_eq!(client.run(&update(0, VALUE_BYTES_MAX)), Response::Done, "the same size again");
    assert_eq!(client.run(&update(0, 0)), Response::Done);
    assert_eq!(client.run(&update(stopped_at, VALUE_BYTES_MAX)), Response::Done);
}

#[test]
fn an_answer_that_is_too_large_is_refused_whole() {
    let mut client = Client::new();
    for key in 0..20_u8 {
        client.write(&[key], VALUE_BYTES_MAX);
    }
    let scan = |limit| Command::Scan { start: Bytes::new(), limit };
    assert_eq!(client.store.read(&scan(20)), Response::TooLarge);
    fits_into_a_frame(client.store.read(&scan(7)));
    let read = |keys: u8| {
        let read = |key| MicroOp::Read { key: Bytes::from(vec![key]) };
        Command::Txn((0..keys).map(read).collect())
    };
    assert_eq!(client.store.read(&read(20)), Response::TooLarge);
    assert!(matches!(client.store.read(&read(7)), Response::Txn(_)));
}

#[test]
fn a_transaction_that_cannot_take_its_last_step_takes_none() {
    let mut client = Client::new();
    let elements = client.fill_list();
    client.write(b"bytes", 1);
    let write = || MicroOp::Write { key: Bytes::from_static(b"new"), value: Bytes::new() };
    let append =
        |key: &'static [u8], bytes| MicroOp::Append { key: Bytes::from_static(key), element: zeroes(bytes) };
    let others =
        |client: &Client| client.store.read(&Command::Scan { start: Bytes::from_static(b"l"), limit: 9 });
    let before = others(&client);
    assert_eq!(client.run(&Command::Txn(vec![write(), append(b"k", VALUE_BYTES_MAX)])), Response::TooLarge);
    assert_eq!(client.run(&Command::Txn(vec![write(), append(b"bytes", 1)])), Response::WrongType);
    // The type that counts is the one that earlier steps leave behind.
    assert_eq!(client.run(&Command::Txn(vec![write(), append(b"new", 1)])), Response::WrongType);
    let reads = vec![MicroOp::Read { key: KEY }; 2];
    assert_eq!(client.run(&Command::Txn([vec![write()], reads].concat())), Response::TooLarge);
    assert_eq!(others(&client), before);
    let Response::Value(Some(Value::List(list))) = client.store.read(&Command::Read { key: KEY }) else {
        panic!("the list is gone")
    };
    assert_eq!(list.len() as u64, elements);
}

proptest! {
    #[test]
    fn no_encoding_exceeds_its_bound(command in common::command(), key in prop::collection::vec(any::<u8>(), 1..200)) {
        for command in [command, Command::Splice { key: key.into(), position: u64::MAX, delete: u64::MAX, insert: String::new() }] {
            prop_assert!(encode(&command).len() <= command.encoded_bytes_max());
        }
    }
}

#[test]
fn commands_are_bounded() {
    let invalid = |command: Command| {
        let refused = matches!(command.validate(), Err(Refusal::Invalid(_)));
        assert!(refused, "{:.100}", format!("{command:?}"));
    };
    let valid = |command: Command| {
        assert_eq!(command.validate(), Ok(()));
        let bytes = encode(&command).len();
        assert!(bytes < PAYLOAD_BYTES_MAX / 2, "a command of {bytes} bytes");
    };
    let write = |bytes| MicroOp::Write { key: KEY, value: zeroes(bytes) };
    valid(Command::Write { key: zeroes(KEY_BYTES_MAX), value: zeroes(VALUE_BYTES_MAX) });
    invalid(Command::Write { key: zeroes(KEY_BYTES_MAX + 1), value: Bytes::new() });
    invalid(Command::Write { key: KEY, value: zeroes(VALUE_BYTES_MAX + 1) });
    invalid(Command::Delete { key: Bytes::new() });
    valid(Command::Cas { key: KEY, from: Some(zeroes(VALUE_BYTES_MAX)), to: zeroes(VALUE_BYTES_MAX) });
    invalid(Command::Cas { key: KEY, from: Some(zeroes(VALUE_BYTES_MAX + 1)), to: Bytes::new() });
    invalid(Command::Txn(Vec::new()));
    valid(Command::Txn(vec![write(1000); TXN_MICRO_OPS_MAX]));
    invalid(Command::Txn(vec![write(0); TXN_MICRO_OPS_MAX + 1]));
    valid(Command::Txn(vec![write(VALUE_BYTES_MAX - 1); TXN_BYTES_MAX / VALUE_BYTES_MAX]));
    invalid(Command::Txn(vec![write(VALUE_BYTES_MAX); TXN_BYTES_MAX / VALUE_BYTES_MAX]));
    valid(Command::Scan { start: Bytes::new(), limit: SCAN_ROWS_MAX });
    invalid(Command::Scan { start: Bytes::new(), limit: SCAN_ROWS_MAX + 1 });
    invalid(Command::Scan { start: Bytes::new(), limit: 0 });
    valid(Command::Insert { key: KEY, fields: vec![Bytes::new(); RECORD_FIELDS_MAX] });
    invalid(Command::Insert { key: KEY, fields: Vec::new() });
    invalid(Command::Insert { key: KEY, fields: vec![zeroes(VALUE_BYTES_MAX / 2 + 1); 2] });
    invalid(Command::Update { key: KEY, field: RECORD_FIELDS_MAX as u32, value: Bytes::new() });
    invalid(Command::Splice { key: KEY, position: 0, delete: 0, insert: "x".repeat(VALUE_BYTES_MAX + 1) });
}
