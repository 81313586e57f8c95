//! What requests and replies say of themselves: their kind, and one line that shows no more than a few bytes of anything.

use bytes::Bytes;
use kv::{Command, Key, MicroOp, MicroResponse, Refusal, Reply, Request, Response, Routing, Value};
use protocol::{Describe, ReplicaId, RequestId, Sequence, SessionId};

/// No line is longer than this, in bytes.
const LINE_BYTES_MAX: usize = 2000;

/// One command of each kind, with all that a client may choose set to these bytes.
fn commands(bytes: &'static [u8]) -> Vec<Command> {
    let key: Key = Bytes::from_static(bytes);
    let value = key.clone();
    let ops = [
        MicroOp::Read { key: key.clone() },
        MicroOp::Write { key: key.clone(), value: value.clone() },
        MicroOp::Append { key: key.clone(), element: value.clone() },
    ];
    vec![
        Command::Read { key: key.clone() },
        Command::Write { key: key.clone(), value: value.clone() },
        Command::Cas { key: key.clone(), from: Some(value.clone()), to: value.clone() },
        Command::Delete { key: key.clone() },
        Command::Append { key: key.clone(), element: value.clone() },
        Command::Scan { start: key.clone(), limit: 7 },
        Command::Txn(ops.iter().cycle().take(9).cloned().collect()),
        Command::Splice {
            key: key.clone(),
            position: 3,
            delete: 2,
            insert: String::from_utf8_lossy(bytes).into_owned(),
        },
        Command::Insert { key: key.clone(), fields: vec![value.clone(); 64] },
        Command::Update { key, field: 5, value },
    ]
}

fn request(command: Command) -> Request {
    Request {
        id: RequestId(4),
        session: SessionId(9),
        sequence: Sequence(2),
        routing: Routing::Leader,
        command,
    }
}

fn results(bytes: &'static [u8]) -> Vec<Result<Response, Refusal>> {
    let value = Bytes::from_static(bytes);
    let words = String::from_utf8_lossy(bytes).into_owned();
    let list = Value::List([value.clone(), value.clone()].into_iter().collect());
    let micro = [MicroResponse::Value(Some(list.clone())), MicroResponse::Done];
    vec![
        Ok(Response::Done),
        Ok(Response::Value(None)),
        Ok(Response::Value(Some(Value::Bytes(value.clone())))),
        Ok(Response::Value(Some(list))),
        Ok(Response::Value(Some(Value::Record(vec![value.clone(); 12].into())))),
        Ok(Response::Value(Some(Value::Text(words.as_str().into())))),
        Ok(Response::Swapped(false)),
        Ok(Response::Deleted(true)),
        Ok(Response::Length(3)),
        Ok(Response::Rows(vec![(value.clone(), Value::Bytes(value)); 100])),
        Ok(Response::Txn(micro.to_vec())),
        Ok(Response::WrongType),
        Ok(Response::OutOfRange),
        Ok(Response::TooLarge),
        Err(Refusal::NotLeader { leader: None }),
        Err(Refusal::NotLeader { leader: Some(ReplicaId(2)) }),
        Err(Refusal::Busy),
        Err(Refusal::Uncertain(words.clone())),
        Err(Refusal::SessionExpired),
        Err(Refusal::Invalid(words.clone())),
        Err(Refusal::Unavailable(words)),
    ]
}

#[test]
fn a_request_says_who_asks_for_what() {
    let lines: Vec<String> = commands(b"k").into_iter().map(|command| request(command).to_string()).collect();
    assert_eq!(
        lines,
        [
            "q4 s9#2 read k",
            "q4 s9#2 write k k",
            "q4 s9#2 cas k from k to k",
            "q4 s9#2 delete k",
            "q4 s9#2 append k k",
            "q4 s9#2 scan 7 from k",
            "q4 s9#2 txn [read k] [write k k] [append k k] [read k] [write k k] [append k k] [read k] [write k k] \
             and 1 more",
            "q4 s9#2 splice k at 3 -2 +k",
            "q4 s9#2 insert k 64 fields",
            "q4 s9#2 update k field 5 k",
        ]
    );
    let here = Request { routing: Routing::Here, ..request(Command::Read { key: Bytes::from_static(b"k") }) };
    assert_eq!(here.to_string(), "q4 s9#2 read k, here");
}

#[test]
fn a_reply_says_what_is_answered() {
    let reply = |result| Reply { id: RequestId(4), result }.to_string();
    let lines: Vec<String> = results(b"v").into_iter().map(reply).collect();
    assert_eq!(
        lines,
        [
            "q4 done",
            "q4 nothing",
            "q4 value v",
            "q4 list of 2, the last v",
            "q4 record of 12 fields",
            "q4 text of 1 characters",
            "q4 not swapped",
            "q4 deleted",
            "q4 length 3",
            "q4 100 rows",
            "q4 txn [list of 2, the last v] [done]",
            "q4 wrong type",
            "q4 out of range",
            "q4 too large",
            "q4 refused: not the leader",
            "q4 refused: n2 leads",
            "q4 refused: busy",
            "q4 refused: outcome unknown: v",
            "q4 refused: session expired",
            "q4 refused: invalid: v",
            "q4 refused: unavailable: v",
        ]
    );
}

#[test]
fn every_kind_is_listed_once_and_there_is_one_of_each() {
    let kinds: Vec<_> = commands(b"k").into_iter().map(|command| request(command).kind()).collect();
    assert_eq!(kinds, Request::KINDS);
    let mut kinds: Vec<_> =
        results(b"v").into_iter().map(|result| Reply { id: RequestId(1), result }.kind()).collect();
    kinds.dedup();
    assert_eq!(kinds, Reply::KINDS);
}

#[test]
fn whatever_a_client_sends_is_one_short_line() {
    static HUGE: [u8; 1 << 20] = [b'\n'; 1 << 20];
    let requests = commands(&HUGE).into_iter().map(|command| request(command).to_string());
    let replies =
        results(&HUGE).into_iter().map(|result| Reply { id: RequestId(u64::MAX), result }.to_string());
    for line in requests.chain(replies) {
        assert!(line.len() <= LINE_BYTES_MAX && !line.contains('\n'), "{} bytes: {line}", line.len());
    }
}
