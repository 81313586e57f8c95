//! Properties of the digest, of images and of retries.

mod common;

use bytes::Bytes;
use kv::{Command, Image, Key, Limits, MicroOp, Refusal, Response, Store};
use proptest::prelude::*;
use protocol::codec::{decode, encode};
use protocol::{Sequence, SessionId};

/// Commands of several sessions: (session, command), each numbered within its session as it comes.
fn history(sessions: u64, length_max: usize) -> impl Strategy<Value = Vec<(SessionId, Command)>> {
    prop::collection::vec(((1..=sessions).prop_map(SessionId), common::command()), 1..length_max)
}

fn run<'a>(store: &mut Store, history: impl IntoIterator<Item = &'a (SessionId, Command)>) {
    let mut sequences = std::collections::BTreeMap::new();
    for (session, command) in history {
        let sequence = sequences.entry(*session).or_insert(Sequence(0));
        sequence.0 += u64::from(!command.is_read_only());
        // Expired commands are as good a part of a history as any.
        drop(store.apply(*session, *sequence, command));
    }
}

fn store(history: &[(SessionId, Command)]) -> Store {
    let mut store = Store::new(Limits::default());
    run(&mut store, history);
    store
}

fn rows(store: &Store) -> Response {
    store.read(&Command::Scan { start: Bytes::new(), limit: 1000 })
}

/// The key space of one session, so that no other session's commands conflict with its own.
fn own_keys(session: SessionId, command: Command) -> Command {
    let own = |key: Key| Bytes::from([format!("{session}/").as_bytes(), &key].concat());
    match command {
        Command::Read { key } => Command::Read { key: own(key) },
        Command::Write { key, value } => Command::Write { key: own(key), value },
        Command::Cas { key, from, to } => Command::Cas { key: own(key), from, to },
        Command::Delete { key } => Command::Delete { key: own(key) },
        Command::Append { key, element } => Command::Append { key: own(key), element },
        Command::Scan { start, limit } => Command::Scan { start: own(start), limit },
        Command::Splice { key, position, delete, insert } => {
            Command::Splice { key: own(key), position, delete, insert }
        }
        Command::Insert { key, fields } => Command::Insert { key: own(key), fields },
        Command::Update { key, field, value } => Command::Update { key: own(key), field, value },
        Command::Txn(ops) => Command::Txn(
            ops.into_iter()
                .map(|op| match op {
                    MicroOp::Read { key } => MicroOp::Read { key: own(key) },
                    MicroOp::Write { key, value } => MicroOp::Write { key: own(key), value },
                    MicroOp::Append { key, element } => MicroOp::Append { key: own(key), element },
                })
                .collect(),
        ),
    }
}

proptest! {
    #[test]
    fn independent_commands_in_any_order_give_one_digest(
        (history, shuffled) in history(5, 40)
            .prop_map(|history| history.into_iter().map(|(s, c)| (s, own_keys(s, c))).collect::<Vec<_>>())
            .prop_flat_map(|history| (Just(history.clone()), Just(history).prop_shuffle())),
    ) {
        // Each session's commands in their own order, the sessions interleaved as the shuffle has them.
        let mut left: Vec<_> = history.iter().collect();
        let interleaved: Vec<_> = shuffled.iter().map(|(session, _)| {
            let next = left.iter().position(|(s, _)| s == session).expect("as many as in the shuffle");
            left.remove(next)
        }).collect();
        let mut other = Store::new(Limits::default());
        run(&mut other, interleaved);
        prop_assert_eq!(rows(&store(&history)), rows(&other));
        prop_assert_eq!(store(&history).digest(), other.digest());
    }

    #[test]
    fn different_states_have_different_digests(a in history(2, 12), b in history(2, 12)) {
        let (a, b) = (store(&a), store(&b));
        prop_assert_eq!(a.image() == b.image(), encode(&a.image()) == encode(&b.image()));
        if rows(&a) != rows(&b) {
            prop_assert_ne!(a.digest(), b.digest());
        }
    }

    /// Decoding computes the digest from nothing and compares, so this is also the proof of the incremental one.
    #[test]
    fn a_store_survives_its_image(before in history(4, 40), after in history(4, 10), sessions_max in 1..6_usize) {
        let limits = Limits { sessions_max };
        let mut store = Store::new(limits);
        run(&mut store, &before);
        let image = store.image();
        let decoded: Image = decode(&encode(&image)).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert!(decoded == image);
        let mut restored = Store::from_image(limits, &decoded);
        prop_assert_eq!(restored.digest(), store.digest());
        prop_assert!(restored.image() == image);
        // Both go the same way from here, evictions included.
        for (i, (session, command)) in after.iter().enumerate() {
            for sequence in [Sequence(1), Sequence(100 + i as u64)] {
                prop_assert_eq!(store.apply(*session, sequence, command), restored.apply(*session, sequence, command));
                prop_assert!(restored.image() == store.image());
            }
        }
    }

    #[test]
    fn a_retry_gets_the_first_answer_and_changes_nothing(history in history(3, 40)) {
        let mut store = Store::new(Limits::default());
        let mut sequence = Sequence(0);
        for (session, command) in history.iter().filter(|(_, command)| !command.is_read_only()) {
            sequence.0 += 1;
            let session = SessionId(session.0 + sequence.0); // a new one, at its first command
            let first = store.apply(session, Sequence(1), command);
            let image = store.image();
            prop_assert_eq!(store.apply(session, Sequence(1), command), first);
            // Not even a different command under the same number is carried out.
            let other = Command::Delete { key: Bytes::from_static(b"a") };
            prop_assert!(store.apply(session, Sequence(1), &other).is_ok());
            prop_assert_eq!(store.apply(session, Sequence(0), &other), Err(Refusal::SessionExpired));
            prop_assert!(store.image() == image);
            prop_assert_eq!(store.digest(), image.digest());
        }
    }

    #[test]
    fn mangled_images_are_refused(history in history(3, 20), at in any::<prop::sample::Index>(), byte: u8, cut: bool) {
        let image = store(&history).image();
        let mut bytes = encode(&image);
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(decoded) = decode::<Image>(&bytes) {
            prop_assert!(decoded == image, "a mangled image was taken for another");
        }
    }

    #[test]
    fn noise_is_no_image(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(image) = decode::<Image>(&bytes) {
            prop_assert_eq!(Store::from_image(Limits::default(), &image).digest(), image.digest());
        }
    }
}

#[test]
fn an_invalid_command_is_refused_and_takes_no_sequence() {
    let mut store = Store::new(Limits::default());
    let empty_key = Command::Delete { key: Bytes::new() };
    let refused = store.apply(SessionId(1), Sequence(1), &empty_key);
    assert!(matches!(refused, Err(Refusal::Invalid(_))), "{refused:?}");
    let write = Command::Write { key: Bytes::from_static(b"k"), value: Bytes::new() };
    assert_eq!(store.apply(SessionId(1), Sequence(1), &write), Ok(Response::Done));
}

#[test]
fn giant_length_prefixes_reserve_nothing() {
    let giant = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let no_digest = [0];
    let one_entry_a = [0, 0, 1, 1, b'a'];
    for prefix in
        [&no_digest[..], &[0, 0], &[&one_entry_a[..], &[0]].concat(), &[&one_entry_a[..], &[1]].concat()]
            .into_iter()
            .chain([&[&one_entry_a[..], &[2]].concat()[..], &[&one_entry_a[..], &[3]].concat()[..]])
    {
        let bytes = [prefix, &giant].concat();
        assert!(decode::<Image>(&bytes).is_err(), "{bytes:?}");
    }
}
