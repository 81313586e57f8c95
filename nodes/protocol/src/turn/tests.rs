//! A core that does what its requests say, on a disk that syncs when the test says so.

use super::*;
use crate::describe::Describe;
use crate::ids::{ClientId, ReplicaId};
use crate::snapshot::SnapshotId;
use crate::status::Status;
use serde::{Deserialize, Serialize};
use std::fmt;

const N2: ReplicaId = ReplicaId(2);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Act {
    Record(u8),
    Early(String),
    Durable(String),
    Timer(u64),
    Save(u64),
}

use Act::{Durable, Early, Record, Save, Timer};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Acts(Vec<Act>);

/// Nobody is answered here.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Answer {}

macro_rules! describe {
    ($($what:ty),*) => {$(
        impl Describe for $what {
            const KINDS: &'static [&'static str] = &["words"];

            fn kind(&self) -> &'static str {
                "words"
            }
        }
    )*};
}
describe!(Acts, Answer, String);

impl fmt::Display for Acts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

/// Says what it is told.
#[derive(Debug)]
struct Script;

impl Protocol for Script {
    type Config = ();
    type Request = Acts;
    type Reply = Answer;
    type Message = String;
    type Record = u8;
    type Timer = u64;
    type Image = ();

    fn recover(
        _config: (),
        _seed: u64,
        _now: Time,
        _disk: Recovered<Self>,
        _out: &mut Effects<Self>,
    ) -> Result<Self, RecoverError> {
        Ok(Script)
    }

    fn handle_request(&mut self, _now: Time, _from: ClientId, request: Acts, out: &mut Effects<Self>) {
        for act in request.0 {
            match act {
                Record(number) => drop(out.record(number)),
                Early(words) => out.early.messages.push((N2, words)),
                Durable(words) => out.durable.messages.push((N2, words)),
                Timer(at) => out.set_timer(at, Time(at)),
                Save(upto) => {
                    let id = SnapshotId { upto, epoch: 0 };
                    out.snapshots.push(SnapshotEffect::Save { id, image: () });
                }
            }
        }
    }

    fn handle_client_gone(&mut self, _now: Time, _from: ClientId) {}

    fn handle_message(&mut self, _now: Time, _from: ReplicaId, _message: String, _out: &mut Effects<Self>) {}

    fn handle_timer(&mut self, _now: Time, timer: u64, out: &mut Effects<Self>) {
        out.early.messages.push((N2, format!("timer {timer}")));
    }

    fn handle_durable(&mut self, _now: Time, before: JournalPosition, out: &mut Effects<Self>) {
        out.early.messages.push((N2, format!("told {before}")));
    }

    fn handle_snapshot(&mut self, _now: Time, event: SnapshotEvent<()>, out: &mut Effects<Self>) {
        out.early.messages.push((N2, format!("{event:?}")));
    }

    fn end_turn(&mut self, _now: Time, _out: &mut Effects<Self>) {}

    fn status(&self) -> Status {
        Status::default()
    }
}

#[derive(Debug, Default)]
struct World {
    /// What has happened, in order.
    log: Vec<String>,
    appended: u64,
    durable: u64,
    /// A disk that has done everything at once.
    quick: bool,
    store_is_busy: bool,
    /// Stops when it is to send this.
    stops_at: Option<&'static str>,
}

impl World {
    fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }
}

impl Outside<Script> for World {
    type Stop = ();

    fn release(&mut self, lane: Lane, outbox: &mut Outbox<Script>) -> Result<(), ()> {
        for (_, words) in outbox.messages.drain(..) {
            if self.stops_at == Some(words.as_str()) {
                return Err(());
            }
            self.log.push(format!("{lane:?}: {words}"));
        }
        Ok(())
    }

    fn append(&mut self, position: JournalPosition, record: u8) -> Result<(), ()> {
        assert_eq!(position.0, self.appended);
        self.appended += 1;
        self.log.push(format!("append {record}"));
        Ok(())
    }

    fn commit(&mut self) -> Result<(), ()> {
        if self.quick {
            self.durable = self.appended;
        }
        Ok(())
    }

    fn durable(&self) -> JournalPosition {
        JournalPosition(self.durable)
    }

    fn snapshot(&mut self, step: SnapshotEffect<()>) -> Result<Option<SnapshotEvent<()>>, ()> {
        let SnapshotEffect::Save { id, .. } = step else { panic!("{step:?}") };
        self.log.push(format!("save {}", id.upto));
        Ok(self.store_is_busy.then(|| SnapshotEvent::Failed { id, reason: "busy".to_owned() }))
    }
}

const NOW: Time = Time(5);

fn start() -> Turns<Script> {
    Turns::recover((), 0, NOW, Recovered::empty(), JournalPosition(0)).expect("it always starts")
}

fn turn(turns: &mut Turns<Script>, world: &mut World, acts: &[Act]) -> Result<(), ()> {
    turns.settle(NOW, world)?;
    turns.input(|core, out| core.handle_request(NOW, ClientId(1), Acts(acts.to_vec()), out));
    turns.fire_timers(NOW, world)?;
    turns.end(NOW, world)
}

fn early(words: &str) -> Act {
    Early(words.to_owned())
}

fn durable(words: &str) -> Act {
    Durable(words.to_owned())
}

#[test]
fn what_waits_for_a_record_leaves_when_it_is_durable_and_not_before() {
    let (mut turns, mut world) = (start(), World::default());
    turn(&mut turns, &mut world, &[Record(1), durable("vote"), Save(7), early("ask")]).expect("it goes on");
    assert_eq!(world.log(), ["Early: ask", "append 1"]);
    turn(&mut turns, &mut world, &[Record(2), Record(3), durable("later")]).expect("it goes on");
    assert_eq!(world.log(), ["append 2", "append 3"]);
    world.durable = 2;
    turn(&mut turns, &mut world, &[]).expect("it goes on");
    assert_eq!(
        world.log(),
        ["Durable: vote", "save 7", "Early: told @2"],
        "one of its turn's records is lost yet"
    );
    world.durable = 3;
    turn(&mut turns, &mut world, &[]).expect("it goes on");
    assert_eq!(world.log(), ["Durable: later", "Early: told @3"]);
    turn(&mut turns, &mut world, &[]).expect("it goes on");
    assert!(world.log().is_empty(), "it is told once");
}

#[test]
fn what_has_nothing_to_wait_for_leaves_in_its_turn() {
    let (mut turns, mut world) = (start(), World::default());
    turn(&mut turns, &mut world, &[durable("answer")]).expect("it goes on");
    assert_eq!(world.log(), ["Durable: answer"]);
    turn(&mut turns, &mut world, &[Record(1)]).expect("it goes on");
    turn(&mut turns, &mut world, &[durable("answer")]).expect("it goes on");
    assert_eq!(world.log(), ["append 1"], "a record of an earlier turn may be lost yet");
}

#[test]
fn a_turn_goes_on_until_the_core_asks_for_nothing() {
    let (mut turns, mut world) = (start(), World { quick: true, store_is_busy: true, ..World::default() });
    turn(&mut turns, &mut world, &[Record(1), durable("vote"), Save(7), Timer(5), Timer(6)])
        .expect("it goes on");
    let failed = "Early: Failed { id: SnapshotId { upto: 7, epoch: 0 }, reason: \"busy\" }";
    assert_eq!(world.log(), ["append 1", "Durable: vote", "save 7", failed, "Early: told @1"]);
    // Timers are set when the turn ends.
    assert_eq!(turns.next_timer(), Some(Time(5)));
    turn(&mut turns, &mut world, &[]).expect("it goes on");
    assert_eq!((world.log(), turns.next_timer()), (vec!["Early: timer 5".to_owned()], Some(Time(6))));
}

#[test]
fn a_replica_that_stops_in_the_middle_of_a_turn_does_nothing_more() {
    let (mut turns, mut world) = (start(), World { stops_at: Some("second"), ..World::default() });
    let acts = [early("first"), early("second"), Record(1), durable("third")];
    assert_eq!(turn(&mut turns, &mut world, &acts), Err(()));
    assert_eq!(world.log(), ["Early: first"]);
}
