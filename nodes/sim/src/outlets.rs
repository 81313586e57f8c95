//! What is around a core in the simulator: a journal and a snapshot store on its disk, and what leaves it. A life may end between
//! any two effects of a turn, or between any two changes of the disk.

use crate::cluster::{Broken, Observer};
use crate::disk::SimDisk;
use protocol::{
    ClientId, JournalPosition, Lane, Outbox, Outside, Protocol, ReplicaId, SnapshotEffect, SnapshotEvent,
};
use storage::journal::{self, Batches, Gathering, JournalError, Opened, Writer};
use storage::snapshots::{Snapshots, Steps};

/// Why a life ends.
#[derive(Debug)]
pub(crate) enum Halt {
    /// As the nemesis wants it.
    Doomed,
    /// In the middle of what the disk was doing.
    PowerLost,
    /// The disk refuses.
    Disk(String),
    /// What the disk holds is refused.
    Refused(String),
    /// An invariant does not hold.
    Broken(Broken),
}

impl From<Broken> for Halt {
    fn from(broken: Broken) -> Self {
        Halt::Broken(broken)
    }
}

/// What a turn lets out, in order, and what it asks the disk for.
#[derive(Debug)]
pub(crate) struct Released<P: Protocol> {
    pub(crate) messages: Vec<(ReplicaId, P::Message)>,
    pub(crate) replies: Vec<(ClientId, P::Reply)>,
    /// A sync has begun.
    pub(crate) sync_begun: bool,
    /// The snapshot store has begun with something.
    pub(crate) store_begun: bool,
}

impl<P: Protocol> Default for Released<P> {
    fn default() -> Self {
        Self { messages: Vec::new(), replies: Vec::new(), sync_begun: false, store_begun: false }
    }
}

/// What one life of a node has open on its disk.
#[derive(Debug)]
pub(crate) struct OnDisk<P: Protocol> {
    disk: SimDisk,
    writer: Writer<SimDisk>,
    batches: Batches,
    /// Written, and not synced yet.
    syncing: Option<Gathering>,
    snapshots: Snapshots<SimDisk>,
    steps: Steps<P::Image>,
    /// What the snapshot store is busy with.
    storing: Option<SnapshotEffect<P::Image>>,
    /// After so many more effects the process is gone.
    pub(crate) effects_left: Option<u32>,
}

impl<P: Protocol> OnDisk<P> {
    pub(crate) fn new(disk: SimDisk, journal: Opened<SimDisk>, snapshots: Snapshots<SimDisk>) -> Self {
        let Opened { writer, batches } = journal;
        let (syncing, steps, storing) = (None, Steps::default(), None);
        Self { disk, writer, batches, syncing, snapshots, steps, storing, effects_left: None }
    }

    /// What the next record of the journal gets.
    pub(crate) fn next(&self) -> JournalPosition {
        self.batches.next()
    }

    /// In which segment the last batch is, and where it begins there.
    pub(crate) fn last_batch(&self) -> Option<(JournalPosition, u64)> {
        Some((self.batches.segments().next_back()?, self.writer.last_batch()))
    }

    /// One effect more: perhaps the last.
    fn effect(&mut self) -> Result<(), Halt> {
        match &mut self.effects_left {
            None => Ok(()),
            Some(0) => Err(Halt::Doomed),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// Writes the next batch, unless one is under way.
    fn begin_sync(&mut self, sent: &mut Released<P>) -> Result<(), Halt> {
        let Some(batch) = self.batches.take() else { return Ok(()) };
        let written = self.writer.write(&batch).map_err(|error| self.halted(&error))?;
        self.batches.written(written.segment);
        self.syncing = Some(batch);
        sent.sync_begun = true;
        Ok(())
    }

    /// The disk has done what it was asked. Tells what is durable.
    pub(crate) fn synced(&mut self, sent: &mut Released<P>) -> Result<JournalPosition, Halt> {
        self.writer.sync().map_err(|error| self.halted(&error))?;
        self.batches.synced(self.syncing.take().expect("a sync has begun"));
        self.begin_sync(sent)?;
        Ok(self.batches.durable())
    }

    fn discard(&mut self, before: JournalPosition) -> Result<(), Halt> {
        match journal::remove(&self.disk, &self.batches.discard(before)) {
            Err(_) if self.disk.has_lost_power() => Err(Halt::PowerLost),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn halted(&self, error: &JournalError) -> Halt {
        if self.disk.has_lost_power() { Halt::PowerLost } else { Halt::Disk(error.to_string()) }
    }

    fn begin_step(&mut self, sent: &mut Released<P>) {
        if let Some(step) = self.steps.take() {
            self.storing = Some(step);
            sent.store_begun = true;
        }
    }

    /// The snapshot store does what it was asked first, and mostly answers.
    pub(crate) fn stored(&mut self, sent: &mut Released<P>) -> Result<Option<SnapshotEvent<P::Image>>, Halt> {
        let answer = self.snapshots.carry_out(self.storing.take().expect("it is busy with something"));
        self.steps.done();
        if self.disk.has_lost_power() {
            return Err(Halt::PowerLost);
        }
        self.begin_step(sent);
        Ok(answer)
    }
}

/// Where a core's effects go during one turn.
pub(crate) struct Outlets<'a, P: Protocol, O> {
    pub(crate) on_disk: &'a mut OnDisk<P>,
    pub(crate) sent: &'a mut Released<P>,
    pub(crate) observer: &'a mut O,
}

impl<P: Protocol, O: Observer<P>> Outside<P> for Outlets<'_, P, O> {
    type Stop = Halt;

    fn release(&mut self, _lane: Lane, outbox: &mut Outbox<P>) -> Result<(), Halt> {
        if self.on_disk.effects_left.is_none() {
            self.sent.messages.append(&mut outbox.messages);
            self.sent.replies.append(&mut outbox.replies);
            return Ok(());
        }
        for message in outbox.messages.drain(..) {
            self.on_disk.effect()?;
            self.sent.messages.push(message);
        }
        for reply in outbox.replies.drain(..) {
            self.on_disk.effect()?;
            self.sent.replies.push(reply);
        }
        Ok(())
    }

    fn append(&mut self, position: JournalPosition, record: P::Record) -> Result<(), Halt> {
        let appended = self.on_disk.batches.append(position, &record);
        appended.map_err(|error| Halt::Disk(error.to_string()))
    }

    fn commit(&mut self) -> Result<(), Halt> {
        self.on_disk.effect()?;
        self.on_disk.begin_sync(self.sent)
    }

    fn durable(&self) -> JournalPosition {
        self.on_disk.batches.durable()
    }

    fn snapshot(&mut self, step: SnapshotEffect<P::Image>) -> Result<Option<SnapshotEvent<P::Image>>, Halt> {
        self.on_disk.effect()?;
        if let SnapshotEffect::Discard { before, .. } = &step {
            self.on_disk.discard(*before)?;
        }
        let refused = self.on_disk.steps.submit(step);
        self.on_disk.begin_step(self.sent);
        Ok(refused)
    }

    fn after_step(&mut self, core: &P) -> Result<(), Halt> {
        Ok(self.observer.after_step(core)?)
    }
}
