//! A driver that keeps the safety rule, with a disk that loses what was not synced when it crashes.

use kv::{Command, Image, Reply, Request, Routing};
use protocol::{
    ClientId, Effects, JournalPosition, Protocol, RecoverError, Recovered, ReplicaId, RequestId, Sequence,
    SessionId, SnapshotEffect, SnapshotEvent, SnapshotId, Time,
};
use standalone::{Config, Options, Record, Standalone};
use std::collections::VecDeque;

pub(crate) const ME: ReplicaId = ReplicaId(1);
const NOW: Time = Time::ZERO;

pub(crate) fn config(options: Options) -> Config {
    Config { replica: ME, members: vec![ME], options }
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Where the journal begins.
    pub(crate) first: JournalPosition,
    pub(crate) records: VecDeque<Record>,
    pub(crate) snapshot: Option<(SnapshotId, Image)>,
}

/// A turn's durable lane.
#[derive(Debug)]
struct Held {
    before: JournalPosition,
    replies: Vec<(ClientId, Reply)>,
    snapshots: Vec<SnapshotEffect<Image>>,
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) core: Standalone,
    config: Config,
    effects: Effects<Standalone>,
    pub(crate) disk: Disk,
    /// Records before this one survive any crash.
    pub(crate) durable: JournalPosition,
    held: VecDeque<Held>,
    pub(crate) saving: Option<(SnapshotId, Image)>,
    /// What has left for clients and was not looked at yet.
    pub(crate) replies: Vec<(ClientId, Reply)>,
}

impl Disk {
    pub(crate) fn end(&self) -> JournalPosition {
        JournalPosition(self.first.0 + self.records.len() as u64)
    }
}

impl Host {
    pub(crate) fn new(options: Options) -> Self {
        Self::start(config(options), Disk::default()).expect("an empty disk")
    }

    pub(crate) fn start(config: Config, disk: Disk) -> Result<Self, RecoverError> {
        let mut effects = Effects::new(disk.end());
        let positions = (disk.first.0..).map(JournalPosition);
        let recovered = Recovered {
            snapshot: disk.snapshot.clone(),
            records: positions.zip(disk.records.iter().cloned()).collect(),
        };
        let core = Standalone::recover(config.clone(), 0, NOW, recovered, &mut effects)?;
        let mut host = Self {
            core,
            config,
            effects,
            durable: disk.end(),
            disk,
            held: VecDeque::new(),
            saving: None,
            replies: Vec::new(),
        };
        host.end_turn();
        Ok(host)
    }

    /// The client's id is the session's, and comes back with the reply.
    pub(crate) fn request(&mut self, session: SessionId, sequence: Sequence, command: Command) {
        let id = RequestId(sequence.0);
        let request = Request { id, session, sequence, routing: Routing::Leader, command };
        self.core.handle_request(NOW, ClientId(session.0), request, &mut self.effects);
    }

    pub(crate) fn end_turn(&mut self) {
        self.core.end_turn(NOW, &mut self.effects);
        self.replies.append(&mut self.effects.early.replies);
        self.disk.records.extend(self.effects.records.drain(..));
        assert_eq!(self.disk.end(), self.effects.next_position());
        self.held.push_back(Held {
            before: self.disk.end(),
            replies: std::mem::take(&mut self.effects.durable.replies),
            snapshots: std::mem::take(&mut self.effects.snapshots),
        });
        self.release();
        assert!(self.effects.is_empty(), "{:?}", self.effects);
    }

    /// The disk has synced so many records more.
    pub(crate) fn sync(&mut self, records: u64) {
        self.durable = JournalPosition((self.durable.0 + records).min(self.disk.end().0));
        self.release();
        self.core.handle_durable(NOW, self.durable, &mut self.effects);
        self.end_turn();
    }

    fn release(&mut self) {
        while self.held.front().is_some_and(|held| held.before <= self.durable) {
            let held = self.held.pop_front().expect("looked at above");
            self.replies.extend(held.replies);
            held.snapshots.into_iter().for_each(|effect| self.snapshot(effect));
        }
    }

    fn snapshot(&mut self, effect: SnapshotEffect<Image>) {
        match effect {
            SnapshotEffect::Save { id, image } => {
                assert!(self.saving.is_none(), "one save at a time");
                self.saving = Some((id, image));
            }
            SnapshotEffect::Discard { keep, before } => {
                let saved = self.disk.snapshot.as_ref().expect("something to keep").0;
                assert_eq!(keep, saved);
                assert!(before.0 <= saved.upto, "records from {before} on are all that is behind {saved:?}");
                while self.disk.first < before {
                    self.disk.records.pop_front().expect("only what is there is discarded");
                    self.disk.first = self.disk.first.next();
                }
            }
            SnapshotEffect::Read { .. } | SnapshotEffect::Write { .. } => panic!("{effect:?} without peers"),
        }
    }

    /// The snapshot store answers, if it was asked.
    pub(crate) fn finish_save(&mut self, works: bool) {
        let Some((id, image)) = self.saving.take() else { return };
        let event = if works {
            self.disk.snapshot = Some((id, image));
            SnapshotEvent::Saved { id, size: 0 }
        } else {
            SnapshotEvent::Failed { id, reason: "disk full".to_owned() }
        };
        self.core.handle_snapshot(NOW, event, &mut self.effects);
        self.end_turn();
    }

    /// Power is lost: of the records that were not synced the first `survivors` are there all the same.
    pub(crate) fn crash(mut self, survivors: u64) -> Self {
        let end = (self.durable.0 + survivors).min(self.disk.end().0);
        self.disk.records.truncate((end - self.disk.first.0) as usize);
        Self::start(self.config, self.disk).expect("a disk after a crash")
    }
}
