//! A driver small enough to be obviously right: one replica, its disk, its timers. What a crash loses is lost here.

use bytes::Bytes;
use protocol::{
    ClientId, Effects, JournalPosition, Protocol, RecoverError, Recovered, ReplicaId, SnapshotEffect,
    SnapshotEvent, SnapshotId, Time, TimerChange, codec,
};
use raft::{Config, Image, Member, Message, Raft, Record, Timer};
use std::collections::{BTreeMap, VecDeque};

/// What a replica lets out.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Before its records were durable.
    pub(crate) early: Outgoing,
    /// After.
    pub(crate) durable: Outgoing,
}

#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) messages: Vec<(ReplicaId, Message)>,
    pub(crate) replies: Vec<(ClientId, kv::Reply)>,
}

/// What waits until the records before `before` are durable.
#[derive(Debug)]
struct Held {
    before: JournalPosition,
    outgoing: Outgoing,
    snapshots: Vec<SnapshotEffect<Image>>,
}

/// What survives a crash.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Durable records.
    pub(crate) records: VecDeque<(JournalPosition, Record)>,
    /// Durable snapshots, encoded.
    pub(crate) snapshots: BTreeMap<SnapshotId, Bytes>,
}

pub(crate) struct Host {
    pub(crate) id: ReplicaId,
    config: Config,
    pub(crate) raft: Option<Raft>,
    effects: Effects<Raft>,
    pub(crate) disk: Disk,
    /// Written, and lost in a crash.
    pub(crate) unsynced: VecDeque<(JournalPosition, Record)>,
    held: VecDeque<Held>,
    saving: Option<(SnapshotId, Image)>,
    /// A snapshot of another replica's, so far; lost in a crash until it is whole.
    partial: Option<(SnapshotId, Vec<u8>)>,
    /// Answers of the snapshot store that the replica has not got yet.
    answers: VecDeque<SnapshotEvent<Image>>,
    pub(crate) timers: BTreeMap<Timer, Time>,
    /// The driver discards whole segments: of what may go, so many records stay.
    pub(crate) segment: usize,
    /// The records that were written since somebody looked, for printing.
    pub(crate) written: Vec<(JournalPosition, Record)>,
    /// The effects on snapshots since somebody looked, for printing.
    pub(crate) snapshot_effects: Vec<String>,
}

impl Host {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            id: config.replica,
            config,
            raft: None,
            effects: Effects::new(JournalPosition(0)),
            disk: Disk::default(),
            unsynced: VecDeque::new(),
            held: VecDeque::new(),
            saving: None,
            partial: None,
            answers: VecDeque::new(),
            timers: BTreeMap::new(),
            segment: 0,
            written: Vec::new(),
            snapshot_effects: Vec::new(),
        }
    }

    pub(crate) fn raft(&self) -> &Raft {
        self.raft.as_ref().unwrap_or_else(|| panic!("{} is down", self.id))
    }

    /// Starts a life of the replica from its disk.
    pub(crate) fn start(&mut self, seed: u64, now: Time) -> Result<Sent, RecoverError> {
        assert!(self.raft.is_none(), "{} is up", self.id);
        let next = self.disk.records.back().map_or(JournalPosition(0), |(position, _)| position.next());
        self.effects = Effects::new(next);
        let snapshot = self.disk.snapshots.last_key_value().map(|(id, bytes)| {
            (*id, codec::decode::<Image>(bytes).expect("what was encoded can be decoded"))
        });
        let disk = Recovered { snapshot, records: self.disk.records.iter().cloned().collect() };
        self.raft = Some(Raft::recover(self.config.clone(), seed, now, disk, &mut self.effects)?);
        Ok(self.end_turn(now))
    }

    /// The first `kept` of the records that were not durable yet happen to have reached the disk.
    pub(crate) fn crash(&mut self, kept: usize) {
        assert!(self.raft.take().is_some(), "{} is down already", self.id);
        self.unsynced.truncate(kept);
        self.disk.records.append(&mut self.unsynced);
        self.held.clear();
        self.saving = None;
        self.partial = None;
        self.answers.clear();
        self.timers.clear();
        self.written.clear();
        self.snapshot_effects.clear();
    }

    /// The disk of a replica that is down is lost. It comes back as somebody else.
    pub(crate) fn wipe(&mut self) {
        assert!(self.raft.is_none(), "{} is up", self.id);
        self.disk = Disk::default();
        self.config.incarnation.0 += 1;
    }

    /// The replica, in the life that its disk is in.
    pub(crate) fn member(&self) -> Member {
        Member { replica: self.id, incarnation: self.config.incarnation }
    }

    /// One input. Its effects are carried out with [`Host::end_turn`].
    pub(crate) fn input(&mut self, input: impl FnOnce(&mut Raft, &mut Effects<Raft>)) {
        let raft = self.raft.as_mut().unwrap_or_else(|| panic!("{} is down", self.id));
        input(raft, &mut self.effects);
    }

    /// Ends a turn and lets out what may leave.
    pub(crate) fn end_turn(&mut self, now: Time) -> Sent {
        self.input(|raft, out| raft.end_turn(now, out));
        let effects = &mut self.effects;
        let mut position = handed_over(effects);
        for record in effects.records.drain(..) {
            self.written.push((position, record.clone()));
            self.unsynced.push_back((position, record));
            position = position.next();
        }
        for change in effects.timers.drain(..) {
            match change {
                TimerChange::Set(timer, at) => self.timers.insert(timer, at),
                TimerChange::Cancel(timer) => self.timers.remove(&timer),
            };
        }
        let early = Outgoing {
            messages: std::mem::take(&mut effects.early.messages),
            replies: std::mem::take(&mut effects.early.replies),
        };
        let outgoing = Outgoing {
            messages: std::mem::take(&mut effects.durable.messages),
            replies: std::mem::take(&mut effects.durable.replies),
        };
        let snapshots = std::mem::take(&mut effects.snapshots);
        self.held.push_back(Held { before: effects.next_position(), outgoing, snapshots });
        effects.clear();
        Sent { early, durable: self.release() }
    }

    /// Makes the first `count` of the records that are not durable so, and tells the replica.
    pub(crate) fn sync(&mut self, count: usize, now: Time) -> Sent {
        let count = count.min(self.unsynced.len());
        self.disk.records.extend(self.unsynced.drain(..count));
        let released = self.release();
        if count > 0 {
            let before = self.durable_before();
            self.input(|raft, out| raft.handle_durable(now, before, out));
        }
        let mut sent = self.end_turn(now);
        sent.durable.messages.splice(0..0, released.messages);
        sent.durable.replies.splice(0..0, released.replies);
        sent
    }

    /// A turn of a replica whose snapshot store does nothing.
    pub(crate) fn end_turn_without_snapshots(&mut self, now: Time) {
        self.input(|raft, out| {
            raft.end_turn(now, out);
            out.snapshots.clear();
        });
        self.end_turn(now);
    }

    /// As [`Host::sync`], of such a replica.
    pub(crate) fn sync_without_snapshots(&mut self, now: Time) {
        self.disk.records.append(&mut self.unsynced);
        let before = self.durable_before();
        self.input(|raft, out| raft.handle_durable(now, before, out));
        self.end_turn_without_snapshots(now);
    }

    fn durable_before(&self) -> JournalPosition {
        self.unsynced.front().map_or(handed_over(&self.effects), |(position, _)| *position)
    }

    fn release(&mut self) -> Outgoing {
        let mut released = Outgoing::default();
        let durable_before = self.durable_before();
        while self.held.front().is_some_and(|held| held.before <= durable_before) {
            let held = self.held.pop_front().expect("just looked at");
            released.messages.extend(held.outgoing.messages);
            released.replies.extend(held.outgoing.replies);
            for effect in held.snapshots {
                self.carry_out(effect);
            }
        }
        released
    }

    fn carry_out(&mut self, effect: SnapshotEffect<Image>) {
        match effect {
            SnapshotEffect::Save { id, image } => {
                self.snapshot_effects.push(format!("save {}/t{}", id.upto, id.epoch));
                assert!(self.saving.is_none(), "one save at a time");
                self.saving = Some((id, image));
            }
            SnapshotEffect::Read { to, id, offset, length_max } => {
                self.snapshot_effects.push(format!("read {}/t{} from {offset} for {to}", id.upto, id.epoch));
                self.answers.push_back(self.read(to, id, offset, length_max));
            }
            SnapshotEffect::Write { id, offset, bytes, last } => {
                let end = if last { ", the last" } else { "" };
                let length = bytes.len();
                self.snapshot_effects
                    .push(format!("write {}/t{} at {offset}+{length}{end}", id.upto, id.epoch));
                self.write(id, offset, &bytes, last);
            }
            SnapshotEffect::Discard { keep, before } => {
                self.snapshot_effects
                    .push(format!("discard before {before}, keep {}/t{}", keep.upto, keep.epoch));
                self.disk.snapshots.retain(|id, _| *id >= keep);
                let superfluous =
                    self.disk.records.iter().take_while(|(position, _)| *position < before).count();
                self.disk.records.drain(..superfluous.saturating_sub(self.segment));
            }
        }
    }

    fn read(&self, to: ReplicaId, id: SnapshotId, offset: u64, length_max: u32) -> SnapshotEvent<Image> {
        let whole = self.disk.snapshots.get(&id).filter(|bytes| offset <= bytes.len() as u64);
        let Some(whole) = whole else {
            return SnapshotEvent::Failed { id, reason: "there is no such snapshot".to_owned() };
        };
        let offset_usize = usize::try_from(offset).expect("checked against a length");
        let end = whole.len().min(offset_usize + length_max as usize);
        let bytes = whole.slice(offset_usize..end);
        SnapshotEvent::Chunk { to, id, offset, bytes, last: end == whole.len() }
    }

    fn write(&mut self, id: SnapshotId, offset: u64, bytes: &Bytes, last: bool) {
        if offset == 0 {
            self.partial = Some((id, Vec::new()));
        }
        let (of, partial) = self.partial.as_mut().expect("the first chunk comes first");
        assert_eq!((*of, partial.len() as u64), (id, offset), "chunks follow one another");
        partial.extend_from_slice(bytes);
        if last {
            let (_, whole) = self.partial.take().expect("just looked at");
            let image = codec::decode::<Image>(&whole).expect("chunks of one snapshot make a snapshot");
            self.disk.snapshots.insert(id, whole.into());
            self.answers.push_back(SnapshotEvent::Received { id, image });
        }
    }

    /// Whether the snapshot store has something to do or to say.
    pub(crate) fn has_io(&self) -> bool {
        self.saving.is_some() || !self.answers.is_empty()
    }

    /// The snapshot store finishes what it was asked. Its answers wait for [`Host::answer`]; a crash loses them,
    /// but not what was saved.
    pub(crate) fn finish_io(&mut self) {
        if let Some((id, image)) = self.saving.take() {
            let bytes = codec::encode(&image);
            let size = bytes.len() as u64;
            self.disk.snapshots.insert(id, bytes.into());
            self.answers.push_back(SnapshotEvent::Saved { id, size });
        }
    }

    /// The snapshot store cannot save what it was asked to.
    pub(crate) fn fail_save(&mut self, now: Time) {
        let (id, _) = self.saving.take().expect("a save is under way");
        let event = SnapshotEvent::Failed { id, reason: "the disk is full".to_owned() };
        self.input(|raft, out| raft.handle_snapshot(now, event, out));
    }

    /// Whether the snapshot store has an answer.
    pub(crate) fn has_answer(&self) -> bool {
        !self.answers.is_empty()
    }

    /// The replica gets the oldest answer of the snapshot store.
    pub(crate) fn answer(&mut self, now: Time) {
        if let Some(event) = self.answers.pop_front() {
            self.input(|raft, out| raft.handle_snapshot(now, event, out));
        }
    }
}

/// The first position that the driver has not been handed yet: a turn may be open.
fn handed_over(effects: &Effects<Raft>) -> JournalPosition {
    JournalPosition(effects.next_position().0 - effects.records.len() as u64)
}
