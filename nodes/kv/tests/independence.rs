//! Commands that do not interfere may be applied in any order, and nobody notices; and then ranges of keys tell how far replicas have
//! come.

mod common;

use bytes::Bytes;
use kv::{Command, Key, Limits, MicroOp, RangeMarks, Response, Store};
use proptest::prelude::*;
use proptest::sample::Index;
use protocol::{Sequence, SessionId, StateMark};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_128;

fn rows(store: &Store) -> Response {
    store.read(&Command::Scan { start: Bytes::new(), limit: 1000 })
}

/// A command as a replica is told of it.
#[derive(Clone, Debug)]
struct Told {
    session: SessionId,
    sequence: Sequence,
    command: Command,
}

impl Told {
    /// Whether their order may be noticed.
    fn interferes(&self, other: &Told) -> bool {
        let both_recorded = !self.command.is_read_only() && !other.command.is_read_only();
        (both_recorded && self.session == other.session)
            || self.command.footprint().interferes(&other.command.footprint())
    }
}

/// Commands of several sessions, numbered as they come.
fn history(sessions: u64, length_max: usize) -> impl Strategy<Value = Vec<Told>> {
    let told = ((1..=sessions).prop_map(SessionId), common::command());
    prop::collection::vec(told, 1..length_max).prop_map(|history| {
        let mut last = BTreeMap::new();
        let numbered = history.into_iter().map(|(session, command)| {
            let sequence: &mut Sequence = last.entry(session).or_default();
            sequence.0 += u64::from(!command.is_read_only());
            Told { session, sequence: *sequence, command }
        });
        numbered.collect()
    })
}

/// Another order in which those that interfere come as they did: positions in the history.
fn reordered(history: &[Told], choices: &[Index]) -> Vec<usize> {
    let mut left: Vec<usize> = (0..history.len()).collect();
    let mut order = Vec::new();
    for choice in choices.iter().cycle().take(history.len()) {
        let is_free = |place: usize| {
            left[..place].iter().all(|before| !history[*before].interferes(&history[left[place]]))
        };
        let free: Vec<usize> = (0..left.len()).filter(|place| is_free(*place)).collect();
        order.push(left.remove(free[choice.index(free.len())]));
    }
    order
}

#[derive(Clone, Debug)]
struct Replica {
    store: Store,
    marks: RangeMarks,
}

impl Replica {
    fn new() -> Self {
        Self { store: Store::new(Limits::default()), marks: RangeMarks::default() }
    }

    fn apply(&mut self, place: usize, told: &Told) -> Response {
        // A hash: of numbers in a row, different ones would have equal sums.
        let tag = xxh3_128(&place.to_le_bytes());
        let answer =
            self.store.apply_tagged(&mut self.marks, tag, (told.session, told.sequence), &told.command);
        answer.expect("of a live session")
    }

    fn ranges(&self) -> Vec<StateMark> {
        self.marks.of(&self.store)
    }
}

proptest! {
    #[test]
    fn commands_that_do_not_interfere_may_change_places(
        before in history(3, 20),
        one in common::command(),
        two in common::command(),
    ) {
        let told = |session, command| Told { session: SessionId(session), sequence: Sequence(1), command };
        let (one, two) = (told(100, one), told(200, two));
        prop_assume!(!one.interferes(&two));
        let mut here = Replica::new();
        for (place, told) in before.iter().enumerate() {
            here.apply(place, told);
        }
        let mut there = here.clone();
        let (one_first, two_second) = (here.apply(100, &one), here.apply(200, &two));
        let (two_first, one_second) = (there.apply(200, &two), there.apply(100, &one));
        prop_assert_eq!((one_first, two_second), (one_second, two_first));
        prop_assert_eq!(rows(&here.store), rows(&there.store));
        prop_assert_eq!(here.store.digest(), there.store.digest());
        prop_assert_eq!(here.ranges(), there.ranges());
    }

    #[test]
    fn ranges_with_equal_marks_hold_the_same_however_far_replicas_have_come(
        history in history(4, 40),
        choices in prop::collection::vec(any::<Index>(), 1..40),
        others in prop::collection::vec(any::<Index>(), 1..40),
    ) {
        let mut replicas = [Replica::new(), Replica::new()];
        let orders = [reordered(&history, &choices), reordered(&history, &others)];
        let mut seen: [Vec<Vec<StateMark>>; 2] = [vec![replicas[0].ranges()], vec![replicas[1].ranges()]];
        for step in 0..history.len() {
            for (replica, (order, seen)) in replicas.iter_mut().zip(orders.iter().zip(&mut seen)) {
                replica.apply(order[step], &history[order[step]]);
                seen.push(replica.ranges());
            }
        }
        // Whenever they are looked at.
        for (one, two) in seen[0].iter().flat_map(|one| seen[1].iter().map(move |two| (one, two))) {
            for (one, two) in one.iter().zip(two) {
                prop_assert!(one.applied != two.applied || (one.digest, one.count) == (two.digest, two.count));
            }
        }
        prop_assert_eq!(seen[0].last(), seen[1].last(), "all of it is applied");
        prop_assert_eq!(rows(&replicas[0].store), rows(&replicas[1].store));
        prop_assert_eq!(replicas[0].store.digest(), replicas[1].store.digest());
    }

    /// What a snapshot holds of the marks is what they were.
    #[test]
    fn marks_survive_a_snapshot(history in history(4, 40)) {
        let mut replica = Replica::new();
        for (place, told) in history.iter().enumerate() {
            replica.apply(place, told);
        }
        let image = protocol::codec::encode(&(replica.store.image(), &replica.marks));
        let (image, marks): (kv::Image, RangeMarks) = protocol::codec::decode(&image).expect("of our own making");
        let restored = Replica { store: Store::from_image(Limits::default(), &image), marks };
        prop_assert_eq!(restored.ranges(), replica.ranges());
    }
}

/// The twin of the property above.
#[test]
fn replicas_that_apply_interfering_commands_in_two_orders_are_found_out() {
    let write = |session, value: &'static str| Told {
        session: SessionId(session),
        sequence: Sequence(1),
        command: Command::Write { key: "a".into(), value: value.into() },
    };
    let (one, two) = (write(1, "1"), write(2, "2"));
    assert!(one.interferes(&two));
    let mut replicas = [Replica::new(), Replica::new()];
    replicas[0].apply(0, &one);
    replicas[0].apply(1, &two);
    replicas[1].apply(1, &two);
    replicas[1].apply(0, &one);
    let (here, there) = (replicas[0].ranges(), replicas[1].ranges());
    let forked =
        here.iter().zip(&there).filter(|(one, two)| one.applied == two.applied && one.digest != two.digest);
    assert_eq!(forked.count(), 1);
    assert_eq!(here.iter().filter(|mark| mark.count == 2).count(), 1, "one key is in one range");
}

#[test]
fn what_a_command_touches() {
    let key = |name: &'static str| Key::from_static(name.as_bytes());
    let write = Command::Write { key: key("a"), value: Bytes::new() };
    let insert = Command::Insert { key: key("a"), fields: vec![Bytes::new()] };
    for blind in [&write, &insert] {
        let footprint = blind.footprint();
        assert_eq!(
            (footprint.reads.len(), footprint.writes, footprint.in_session),
            (0, vec![&key("a")], true)
        );
    }
    for changing in [
        Command::Cas { key: key("a"), from: None, to: Bytes::new() },
        Command::Delete { key: key("a") },
        Command::Append { key: key("a"), element: Bytes::new() },
        Command::Splice { key: key("a"), position: 0, delete: 0, insert: String::new() },
        Command::Update { key: key("a"), field: 0, value: Bytes::new() },
    ] {
        let footprint = changing.footprint();
        assert_eq!((footprint.reads, footprint.writes), (vec![&key("a")], vec![&key("a")]), "{changing:?}");
    }
    let read = Command::Read { key: key("a") };
    assert_eq!((read.footprint().reads, read.footprint().in_session), (vec![&key("a")], false));
    let scan = Command::Scan { start: key("b"), limit: 1 };
    assert_eq!((scan.footprint().scans_from, scan.footprint().reads.len()), (Some(&key("b")), 0));
    let txn = Command::Txn(vec![
        MicroOp::Append { key: key("c"), element: Bytes::new() },
        MicroOp::Write { key: key("b"), value: Bytes::new() },
        MicroOp::Read { key: key("c") },
        MicroOp::Read { key: key("a") },
    ]);
    let footprint = txn.footprint();
    assert_eq!(footprint.reads, [&key("a"), &key("c")], "in order, each once");
    assert_eq!(footprint.writes, [&key("b"), &key("c")]);

    let interferes = |one: &Command, two: &Command| {
        let there = one.footprint().interferes(&two.footprint());
        assert_eq!(there, two.footprint().interferes(&one.footprint()), "{one:?}, {two:?}");
        there
    };
    assert!(interferes(&write, &insert), "both replace one value");
    assert!(interferes(&write, &read));
    assert!(!interferes(&read, &read));
    assert!(!interferes(&read, &scan));
    assert!(!interferes(&write, &scan), "it is before the start");
    assert!(interferes(&txn, &scan));
    assert!(interferes(&txn, &write), "it reads what the other writes");
}
