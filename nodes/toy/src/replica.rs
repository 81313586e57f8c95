//! The replica.

use crate::config::Config;
use crate::gossip::{Cell, Gossip, Stamp};
use kv::{Command, Key, Refusal, Reply, Request, Response, Value};
use protocol::{
    ClientId, Effects, JournalPosition, Mute, Protocol, RecoverError, Recovered, ReplicaId, SnapshotEvent,
    StateMark, Status, Time, codec,
};
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// The only timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// It is time to tell somebody something.
    Gossip,
}

/// One replica.
#[derive(Clone, Debug)]
pub struct Toy {
    config: Config,
    cells: BTreeMap<Key, Cell>,
    mark: StateMark,
    /// The last register that was told of.
    told: Key,
    chance: Xoshiro256PlusPlus,
}

impl Toy {
    /// Takes a register over, and writes it down, if its stamp is greater than what is there.
    fn merge(&mut self, cell: Cell, out: &mut Effects<Self>) {
        let before = self.cells.get(&cell.key);
        if before.is_some_and(|before| before.stamp >= cell.stamp) {
            return;
        }
        // Sums do not depend on the order in which what they are of was heard.
        let of =
            |cell: &Cell| (xxh3_128(&codec::encode(&(&cell.key, cell.stamp))), xxh3_64(&codec::encode(cell)));
        let ((new, new_digest), (old, old_digest)) = (of(&cell), before.map_or((0, 0), of));
        self.mark.count += u64::from(before.is_none());
        self.mark.applied.0 = self.mark.applied.0.wrapping_add(new).wrapping_sub(old);
        self.mark.digest = self.mark.digest.wrapping_add(new_digest).wrapping_sub(old_digest);
        self.cells.insert(cell.key.clone(), cell.clone());
        out.record(cell);
    }

    fn answer(&mut self, request: Request, out: &mut Effects<Self>) -> Result<Response, Refusal> {
        request.command.validate()?;
        match request.command {
            Command::Read { key } => {
                Ok(Response::Value(self.cells.get(&key).map(|cell| Value::Bytes(cell.value.clone()))))
            }
            Command::Write { key, value } => {
                let stamp = Stamp(request.sequence, request.session);
                self.merge(Cell { key, stamp, value }, out);
                Ok(Response::Done)
            }
            Command::Cas { .. }
            | Command::Delete { .. }
            | Command::Append { .. }
            | Command::Scan { .. }
            | Command::Txn(_)
            | Command::Splice { .. }
            | Command::Insert { .. }
            | Command::Update { .. } => Err(Refusal::Invalid("registers are read and written only".into())),
        }
    }

    /// Some registers behind those that were told of last.
    fn gossip(&mut self) -> Gossip {
        let behind = self.cells.range::<Key, _>((Excluded(&self.told), Unbounded)).chain(&self.cells);
        let count = self.config.options.gossip_cells.min(self.cells.len());
        let cells: Vec<Cell> = behind.take(count).map(|(_, cell)| cell.clone()).collect();
        self.told = cells.last().map_or_else(Key::new, |last| last.key.clone());
        Gossip(cells)
    }
}

impl Protocol for Toy {
    type Config = Config;
    type Request = Request;
    type Reply = Reply;
    type Message = Gossip;
    type Record = Cell;
    type Timer = Timer;
    type Image = ();
    type Adversary = Mute;

    fn recover(
        config: Config,
        seed: u64,
        now: Time,
        disk: Recovered<Self>,
        out: &mut Effects<Self>,
    ) -> Result<Self, RecoverError> {
        let (mark, chance) = (StateMark::default(), Xoshiro256PlusPlus::seed_from_u64(seed));
        let mut replica = Self { config, cells: BTreeMap::new(), mark, told: Key::new(), chance };
        // What is on disk already is not written again.
        let mut again = Effects::new(out.next_position());
        disk.records.into_iter().for_each(|(_, cell)| replica.merge(cell, &mut again));
        replica.handle_timer(now, Timer::Gossip, out);
        Ok(replica)
    }

    fn handle_request(&mut self, _now: Time, from: ClientId, request: Request, out: &mut Effects<Self>) {
        let id = request.id;
        let result = self.answer(request, out);
        // Nothing is shown, not even to who reads, that a crash could take back.
        out.durable.replies.push((from, Reply { id, result }));
    }

    fn handle_client_gone(&mut self, _now: Time, _from: ClientId) {}

    fn handle_message(&mut self, _now: Time, _from: ReplicaId, gossip: Gossip, out: &mut Effects<Self>) {
        gossip.0.into_iter().for_each(|cell| self.merge(cell, out));
    }

    fn handle_timer(&mut self, now: Time, timer: Timer, out: &mut Effects<Self>) {
        let me = self.config.replica;
        let others: Vec<_> = self.config.members.iter().filter(|other| **other != me).copied().collect();
        if let Some(other) = others.choose(&mut self.chance).filter(|_| !self.cells.is_empty()) {
            let gossip = self.gossip();
            out.durable.messages.push((*other, gossip));
        }
        out.set_timer(timer, now + Duration::from_millis(self.config.options.gossip_ms));
    }

    fn handle_durable(&mut self, _now: Time, _before: JournalPosition, _out: &mut Effects<Self>) {}

    fn handle_snapshot(&mut self, _now: Time, event: SnapshotEvent<()>, _out: &mut Effects<Self>) {
        panic!("{event:?} was not asked for");
    }

    fn end_turn(&mut self, _now: Time, _out: &mut Effects<Self>) {}

    fn status(&self) -> Status {
        let (role, keys) = ("register".to_owned(), self.cells.len() as u64);
        Status { role, serves: true, state: self.mark, keys, ..Status::default() }
    }
}
