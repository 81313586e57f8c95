//! A core that does what its requests say, on a disk that syncs when the test says so.

use super::*;
use crate::adversary::silence;
use crate::describe::Describe;
use crate::ids::{ClientId, ReplicaId};
use crate::snapshot::SnapshotId;
use crate::status::Status;
use serde::{Deserialize, Serialize};
use std::fmt;

const N2: ReplicaId = ReplicaId(2);
const N3: ReplicaId = ReplicaId(3);

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

/// Lies about what it was told to say.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Liar {
    Silence,
    /// Says the same to n2 and something else to n3.
    Equivocate,
    /// Holds back what it has to say for so long, and then says it twice.
    Late {
        by: u64,
        #[serde(skip)]
        held: Vec<(Time, String)>,
    },
    /// Writes something else than its core wants to remember.
    Forget,
}

impl Tamper<Script> for Liar {
    fn tamper(&mut self, now: Time, _core: &Script, effects: &mut Effects<Script>) -> Tampered {
        let messages = &mut effects.early.messages;
        match self {
            Liar::Silence => silence(effects),
            Liar::Equivocate => {
                let lies: Vec<_> = messages.iter().map(|(_, words)| (N3, format!("not {words}"))).collect();
                messages.extend(lies);
                Tampered { added: messages.len() as u64 / 2, ..Tampered::default() }
            }
            Liar::Late { by, held } => {
                let withheld = messages.len() as u64;
                held.extend(messages.drain(..).map(|(_, words)| (Time(now.0 + *by), words)));
                while held.first().is_some_and(|(at, _)| *at <= now) {
                    let (_, words) = held.remove(0);
                    messages.extend([(N2, words.clone()), (N2, words)]);
                }
                Tampered { withheld, added: messages.len() as u64, ..Tampered::default() }
            }
            Liar::Forget => {
                effects.records.iter_mut().for_each(|record| *record = 0);
                Tampered::default()
            }
        }
    }

    fn wake(&self) -> Option<Time> {
        let Liar::Late { held, .. } = self else { return None };
        held.first().map(|(at, _)| *at)
    }
}

/// Says what it is told.
#[derive(Clone, Debug)]
struct Script;

impl Protocol for Script {
    type Config = ();
    type Request = Acts;
    type Reply = Answer;
    type Message = String;
    type Record = u8;
    type Timer = u64;
    type Image = ();
    type Adversary = Liar;

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
                    let id = SnapshotId { number: upto, tag: 0 };
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
        for (to, words) in outbox.messages.drain(..) {
            if self.stops_at == Some(words.as_str()) {
                return Err(());
            }
            let to = if to == N2 { String::new() } else { format!(" to {to}") };
            self.log.push(format!("{lane:?}{to}: {words}"));
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
        self.log.push(format!("save {}", id.number));
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
    let failed = "Early: Failed { id: SnapshotId { number: 7, tag: 0 }, reason: \"busy\" }";
    assert_eq!(world.log(), ["append 1", "Durable: vote", "save 7", failed, "Early: told @1"]);
    // Timers are set when the turn ends.
    assert_eq!(turns.next_due(), Some(Time(5)));
    turn(&mut turns, &mut world, &[]).expect("it goes on");
    assert_eq!((world.log(), turns.next_due()), (vec!["Early: timer 5".to_owned()], Some(Time(6))));
}

#[test]
fn a_replica_that_stops_in_the_middle_of_a_turn_does_nothing_more() {
    let (mut turns, mut world) = (start(), World { stops_at: Some("second"), ..World::default() });
    let acts = [early("first"), early("second"), Record(1), durable("third")];
    assert_eq!(turn(&mut turns, &mut world, &acts), Err(()));
    assert_eq!(world.log(), ["Early: first"]);
}

fn with(adversary: &str) -> Turns<Script> {
    let mut turns = start();
    turns.set_adversary(Some(serde_json::from_str(adversary).expect("a behaviour")));
    turns
}

#[test]
fn a_silent_replica_writes_and_says_nothing() {
    let (mut turns, mut world) = (with("\"silence\""), World { quick: true, ..World::default() });
    turn(&mut turns, &mut world, &[early("ask"), Record(1), durable("vote")]).expect("it goes on");
    assert_eq!(world.log(), ["append 1"]);
    assert_eq!(turns.tampered().withheld, 3, "what it was told of durability made its core speak again");
    turns.set_adversary(None);
    turn(&mut turns, &mut world, &[early("ask")]).expect("it goes on");
    assert_eq!((world.log(), turns.tampered().withheld), (vec!["Early: ask".to_owned()], 3));
}

#[test]
fn an_adversary_may_tell_one_this_and_another_that() {
    let (mut turns, mut world) = (with("\"equivocate\""), World::default());
    turn(&mut turns, &mut world, &[early("yes")]).expect("it goes on");
    assert_eq!(world.log(), ["Early: yes", "Early to n3: not yes"]);
    assert_eq!(turns.tampered(), Tampered { added: 1, ..Tampered::default() });
}

#[test]
fn an_adversary_speaks_unasked_when_its_own_time_has_come() {
    let (mut turns, mut world) = (with(r#"{"late": {"by": 30}}"#), World::default());
    turn(&mut turns, &mut world, &[early("ask"), Timer(1_000)]).expect("it goes on");
    assert_eq!((world.log().len(), turns.next_due()), (0, Some(Time(35))));
    turns.end(Time(35), &mut world).expect("it goes on");
    assert_eq!(world.log(), ["Early: ask", "Early: ask"]);
    assert_eq!((turns.tampered().withheld, turns.next_due()), (1, Some(Time(1_000))));
}

#[test]
fn an_adversary_may_write_something_else_than_its_core_wants() {
    let (mut turns, mut world) = (with("\"forget\""), World::default());
    turn(&mut turns, &mut world, &[Record(7)]).expect("it goes on");
    assert_eq!(world.log(), ["append 0"]);
}
