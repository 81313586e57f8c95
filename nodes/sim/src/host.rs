//! One replica by itself, for its core's own tests: its disk, its timers, and nothing that happens unless the test says so. Small
//! enough to be obviously right. What a crash loses is lost here.

use bytes::Bytes;
use protocol::{
    Effects, JournalPosition, Lane, Outbox, Outside, Protocol, RecoverError, Recovered, ReplicaId,
    SnapshotEffect, SnapshotEvent, SnapshotId, Time, Timers, Turns, codec,
};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt;

/// What a replica lets out.
#[derive(Debug)]
pub struct Sent<P: Protocol> {
    /// Before its records were durable.
    pub early: Outbox<P>,
    /// After.
    pub durable: Outbox<P>,
}

impl<P: Protocol> Default for Sent<P> {
    fn default() -> Self {
        Self { early: Outbox::default(), durable: Outbox::default() }
    }
}

/// What survives a crash.
#[derive(Debug)]
pub struct HostDisk<P: Protocol> {
    /// Durable records.
    pub records: VecDeque<(JournalPosition, P::Record)>,
    /// Where the journal goes on if it holds no record.
    pub next: JournalPosition,
    /// Durable snapshots, encoded.
    pub snapshots: BTreeMap<SnapshotId, Bytes>,
}

impl<P: Protocol> Default for HostDisk<P> {
    fn default() -> Self {
        Self { records: VecDeque::new(), next: JournalPosition(0), snapshots: BTreeMap::new() }
    }
}

/// One replica by itself.
pub struct Host<P: Protocol> {
    /// What its next life starts with.
    pub config: P::Config,
    /// `None`: it is down.
    turns: Option<Turns<P>>,
    /// What survives a crash.
    pub disk: HostDisk<P>,
    /// Written, and lost in a crash.
    pub unsynced: VecDeque<(JournalPosition, P::Record)>,
    /// What the snapshot store was asked to save, and has not.
    pub saving: Option<(SnapshotId, P::Image)>,
    /// A snapshot of another replica's, so far; lost in a crash until it is whole.
    partial: Option<(SnapshotId, Vec<u8>)>,
    /// Answers of the snapshot store that the replica has not got yet.
    answers: VecDeque<SnapshotEvent<P::Image>>,
    /// A snapshot store that neither does anything nor says so.
    pub store_is_dead: bool,
    /// A driver discards whole segments: of what may go, so many records stay.
    pub segment: usize,
    /// The records that were written since somebody looked, for printing.
    pub written: Vec<(JournalPosition, P::Record)>,
    /// The effects on snapshots since somebody looked, for printing.
    pub snapshot_effects: Vec<String>,
    sent: Sent<P>,
}

impl<P: Protocol<Record: Clone>> Host<P> {
    /// A replica that is down, with an empty disk.
    #[must_use]
    pub fn new(config: P::Config) -> Self {
        Self {
            config,
            turns: None,
            disk: HostDisk::default(),
            unsynced: VecDeque::new(),
            saving: None,
            partial: None,
            answers: VecDeque::new(),
            store_is_dead: false,
            segment: 0,
            written: Vec::new(),
            snapshot_effects: Vec::new(),
            sent: Sent::default(),
        }
    }

    /// The core; `None` if it is down.
    #[must_use]
    pub fn up(&self) -> Option<&P> {
        self.turns.as_ref().map(Turns::core)
    }

    /// The core.
    ///
    /// # Panics
    /// If it is down.
    #[must_use]
    pub fn core(&self) -> &P {
        self.up().expect("it is up")
    }

    /// Its timers, as set by the turns that have ended.
    ///
    /// # Panics
    /// If it is down.
    #[must_use]
    pub fn timers(&self) -> &Timers<P::Timer> {
        self.turns.as_ref().expect("it is up").timers()
    }

    /// Takes a timer, due or not, and tells when it was due: the test has it fire.
    ///
    /// # Panics
    /// If it is down.
    pub fn take_timer(&mut self, timer: P::Timer) -> Option<Time> {
        self.turns.as_mut().expect("it is up").take_timer(timer)
    }

    /// Every record before this position is on disk.
    #[must_use]
    pub fn durable(&self) -> JournalPosition {
        self.disk.records.back().map_or(self.disk.next, |(position, _)| position.next())
    }

    /// Starts a life of the replica from its disk.
    ///
    /// # Errors
    /// If it does not start from that.
    ///
    /// # Panics
    /// If it is up.
    pub fn start(&mut self, seed: u64, now: Time) -> Result<Sent<P>, RecoverError> {
        assert!(self.turns.is_none(), "it is up");
        self.disk.next = self.durable();
        let snapshot = self
            .disk
            .snapshots
            .last_key_value()
            .map(|(id, bytes)| (*id, codec::decode(bytes).expect("what was encoded can be decoded")));
        let found = Recovered { snapshot, records: self.disk.records.iter().cloned().collect() };
        self.turns = Some(Turns::recover(self.config.clone(), seed, now, found, self.disk.next)?);
        Ok(self.end_turn(now))
    }

    /// Ends its life. The first `kept` of the records that were not durable yet happen to have reached the disk.
    ///
    /// # Panics
    /// If it is down already.
    pub fn crash(&mut self, kept: usize) {
        assert!(self.turns.take().is_some(), "it is down already");
        self.make_durable(kept);
        self.unsynced.clear();
        self.saving = None;
        self.partial = None;
        self.answers.clear();
        self.written.clear();
        self.snapshot_effects.clear();
    }

    /// The disk of a replica that is down is lost.
    ///
    /// # Panics
    /// If it is up.
    pub fn wipe(&mut self) {
        assert!(self.turns.is_none(), "it is up");
        self.disk = HostDisk::default();
    }

    fn make_durable(&mut self, count: usize) {
        let count = count.min(self.unsynced.len());
        self.disk.records.extend(self.unsynced.drain(..count));
        self.disk.next = self.durable();
    }

    /// One input. Its effects are carried out with [`Host::end_turn`].
    ///
    /// # Panics
    /// If it is down.
    pub fn input<T>(&mut self, input: impl FnOnce(&mut P, &mut Effects<P>) -> T) -> T {
        self.turns.as_mut().expect("it is up").input(input)
    }

    /// Ends a turn and lets out what may leave.
    ///
    /// # Panics
    /// If it is down.
    pub fn end_turn(&mut self, now: Time) -> Sent<P> {
        let mut turns = self.turns.take().expect("it is up");
        let Ok(()) = turns.end(now, self);
        self.turns = Some(turns);
        std::mem::take(&mut self.sent)
    }

    /// Makes the first `count` of the records that are not durable so, and tells the replica.
    ///
    /// # Panics
    /// If it is down.
    pub fn sync(&mut self, count: usize, now: Time) -> Sent<P> {
        self.make_durable(count);
        let mut turns = self.turns.take().expect("it is up");
        let Ok(_) = turns.settle(now, self);
        self.turns = Some(turns);
        self.end_turn(now)
    }

    /// Whether the snapshot store has something to do or to say.
    #[must_use]
    pub fn has_io(&self) -> bool {
        self.saving.is_some() || self.has_answer()
    }

    /// The snapshot store finishes what it was asked. Its answers wait for [`Host::answer`]; a crash loses them,
    /// but not what was saved.
    pub fn finish_io(&mut self) {
        if let Some((id, image)) = self.saving.take() {
            let bytes = codec::encode(&image);
            let size = bytes.len() as u64;
            self.disk.snapshots.insert(id, bytes.into());
            self.answers.push_back(SnapshotEvent::Saved { id, size });
        }
    }

    /// The snapshot store cannot save what it was asked to, and says so.
    ///
    /// # Panics
    /// If it was not asked to.
    pub fn fail_save(&mut self, now: Time) {
        let (id, _) = self.saving.take().expect("a save is under way");
        let event = SnapshotEvent::Failed { id, reason: "the disk is full".to_owned() };
        self.input(|core, out| core.handle_snapshot(now, event, out));
    }

    /// Whether the snapshot store has an answer.
    #[must_use]
    pub fn has_answer(&self) -> bool {
        !self.answers.is_empty()
    }

    /// The replica gets the oldest answer of the snapshot store.
    pub fn answer(&mut self, now: Time) {
        if let Some(event) = self.answers.pop_front() {
            self.input(|core, out| core.handle_snapshot(now, event, out));
        }
    }

    fn read(&self, to: ReplicaId, id: SnapshotId, offset: u64, length_max: u32) -> SnapshotEvent<P::Image> {
        let whole = self.disk.snapshots.get(&id).filter(|bytes| offset <= bytes.len() as u64);
        let Some(whole) = whole else {
            return SnapshotEvent::Failed { id, reason: "there is no such snapshot".to_owned() };
        };
        let start = usize::try_from(offset).expect("checked against a length");
        let end = whole.len().min(start + length_max as usize);
        SnapshotEvent::Chunk { to, id, offset, bytes: whole.slice(start..end), last: end == whole.len() }
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
            let image = codec::decode(&whole).expect("chunks of one snapshot make a snapshot");
            self.disk.snapshots.insert(id, whole.into());
            self.answers.push_back(SnapshotEvent::Received { id, image });
        }
    }

    fn discard(&mut self, keep: SnapshotId, before: JournalPosition) {
        self.disk.snapshots.retain(|id, _| *id >= keep);
        assert!(!self.disk.snapshots.is_empty(), "what stands for the records before {before} is discarded");
        let superfluous = self.disk.records.iter().take_while(|(position, _)| *position < before).count();
        self.disk.records.drain(..superfluous.saturating_sub(self.segment));
    }
}

impl<P: Protocol<Record: Clone>> Outside<P> for Host<P> {
    type Stop = Infallible;

    fn release(&mut self, lane: Lane, outbox: &mut Outbox<P>) -> Result<(), Infallible> {
        let sent = match lane {
            Lane::Early => &mut self.sent.early,
            Lane::Durable => &mut self.sent.durable,
        };
        sent.messages.append(&mut outbox.messages);
        sent.replies.append(&mut outbox.replies);
        Ok(())
    }

    fn append(&mut self, position: JournalPosition, record: P::Record) -> Result<(), Infallible> {
        self.written.push((position, record.clone()));
        self.unsynced.push_back((position, record));
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn durable(&self) -> JournalPosition {
        self.durable()
    }

    fn snapshot(
        &mut self,
        step: SnapshotEffect<P::Image>,
    ) -> Result<Option<SnapshotEvent<P::Image>>, Infallible> {
        if self.store_is_dead {
            return Ok(None);
        }
        self.snapshot_effects.push(words(&step));
        match step {
            SnapshotEffect::Save { id, image } => {
                assert!(self.saving.is_none(), "one save at a time");
                self.saving = Some((id, image));
            }
            SnapshotEffect::Read { to, id, offset, length_max } => {
                self.answers.push_back(self.read(to, id, offset, length_max));
            }
            SnapshotEffect::Write { id, offset, bytes, last } => self.write(id, offset, &bytes, last),
            SnapshotEffect::Discard { keep, before } => self.discard(keep, before),
        }
        Ok(None)
    }
}

fn words<I>(step: &SnapshotEffect<I>) -> String {
    let name = |id: &SnapshotId| format!("{}/t{}", id.number, id.tag);
    match step {
        SnapshotEffect::Save { id, .. } => format!("save {}", name(id)),
        SnapshotEffect::Read { to, id, offset, .. } => format!("read {} from {offset} for {to}", name(id)),
        SnapshotEffect::Write { id, offset, bytes, last } => {
            let end = if *last { ", the last" } else { "" };
            format!("write {} at {offset}+{}{end}", name(id), bytes.len())
        }
        SnapshotEffect::Discard { keep, before } => format!("discard before {before}, keep {}", name(keep)),
    }
}

impl<P: Protocol> fmt::Debug for Host<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("config", &self.config)
            .field("disk", &self.disk.next)
            .finish_non_exhaustive()
    }
}
