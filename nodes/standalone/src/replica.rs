//! The replica: requests, durability, snapshots, recovery.

use crate::config::Config;
use crate::record::Record;
use kv::{Image, Refusal, Reply, Request, Response, Store};
use protocol::{
    ClientId, Describe, Effects, JournalPosition, Mute, Protocol, RecoverError, Recovered, ReplicaId,
    SnapshotEffect, SnapshotEvent, SnapshotId, StateMark, Status, Time, fingerprint,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;

/// The one replica.
#[derive(Clone, Debug)]
pub struct Standalone {
    config: Config,
    store: Store,
    /// Every record before this one is durable.
    durable: JournalPosition,
    /// The record that comes next: every one before it is in the state.
    next: JournalPosition,
    /// What waits for the disk, oldest first.
    waiting: VecDeque<Waiting>,
    requests_pending: usize,
    uncommitted_bytes: usize,
    snapshots: Snapshots,
    counters: Counters,
}

/// A record that is not durable yet.
#[derive(Clone, Debug)]
struct Waiting {
    bytes: usize,
    /// How many answers wait for it, its own among them.
    requests: usize,
}

/// When to save the next snapshot.
#[derive(Clone, Debug, Default)]
struct Snapshots {
    /// What the last one covers that was begun or recovered from.
    begun: u64,
    /// Of entries applied since then.
    bytes_since: u64,
    saving: Option<SnapshotId>,
}

#[derive(Clone, Debug, Default)]
struct Counters {
    snapshots_saved: u64,
    snapshots_failed: u64,
    requests_busy: u64,
    retries: u64,
    reads_waited: u64,
}

/// What other replicas might say: there are none, so there is nothing to say. Bytes that claim to be a message do not
/// decode, and the driver drops them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Message {}

impl Describe for Message {
    const KINDS: &'static [&'static str] = &[];

    fn kind(&self) -> &'static str {
        match *self {}
    }
}

impl fmt::Display for Message {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

/// Nothing here depends on time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {}

impl Standalone {
    /// Answers when everything that is in the state now is durable.
    fn reply(&mut self, to: ClientId, reply: Reply, out: &mut Effects<Self>) {
        match self.waiting.back_mut() {
            Some(last) => {
                last.requests += 1;
                self.requests_pending += 1;
                out.durable.replies.push((to, reply));
            }
            None => out.early.replies.push((to, reply)),
        }
    }

    fn is_busy(&self, request: &Request) -> bool {
        let too_many = self.requests_pending >= self.config.options.requests_pending_max;
        let too_large = !request.command.is_read_only()
            && self.uncommitted_bytes + request.command.encoded_bytes_max()
                > self.config.options.uncommitted_bytes_max
            // Whatever the bound, one record can always be written.
            && self.uncommitted_bytes > 0;
        too_many || too_large
    }

    fn write(&mut self, request: Request, out: &mut Effects<Self>) -> Result<Response, Refusal> {
        let Request { session, sequence, command, .. } = request;
        if let Some(settled) = self.store.settled(session, sequence) {
            self.counters.retries += 1;
            return settled;
        }
        let response = self.store.apply(session, sequence, &command)?;
        let record = Record { session, sequence, command };
        let bytes = record.encoded_bytes_max();
        self.next = out.record(record).next();
        self.waiting.push_back(Waiting { bytes, requests: 0 });
        self.uncommitted_bytes += bytes;
        self.snapshots.bytes_since += bytes as u64;
        Ok(response)
    }

    /// Applies what the journal holds behind the snapshot.
    fn replay(
        &mut self,
        records: Vec<(JournalPosition, Record)>,
        end: JournalPosition,
    ) -> Result<(), RecoverError> {
        let mut expected = records.first().map_or(end, |(position, _)| *position);
        if expected > self.next {
            let reason = format!("the first that is left, but the snapshot ends before {}", self.next);
            return Err(RecoverError::Inconsistent { position: expected, reason });
        }
        for (position, record) in records {
            let inconsistent = |reason| RecoverError::Inconsistent { position, reason };
            if position != expected {
                return Err(inconsistent(format!("{expected} should come here")));
            }
            expected = position.next();
            if position < self.next {
                continue;
            }
            self.store
                .apply(record.session, record.sequence, &record.command)
                .map_err(|refusal| inconsistent(format!("it was applied once, and now: {refusal}")))?;
            self.snapshots.bytes_since += record.encoded_bytes_max() as u64;
            self.next = position.next();
        }
        if expected != end || self.next != end {
            let reason = format!(
                "the journal ends here, the records before {expected}, the state before {}",
                self.next
            );
            return Err(RecoverError::Inconsistent { position: end, reason });
        }
        Ok(())
    }

    fn save_snapshot_if_due(&mut self, out: &mut Effects<Self>) {
        let options = &self.config.options;
        let upto = self.next.0;
        let due = upto - self.snapshots.begun >= options.snapshot_every_entries
            || self.snapshots.bytes_since >= options.snapshot_every_bytes;
        if due && self.snapshots.saving.is_none() {
            let id = SnapshotId { number: upto, tag: 0 };
            self.snapshots = Snapshots { begun: upto, bytes_since: 0, saving: Some(id) };
            out.snapshots.push(SnapshotEffect::Save { id, image: self.store.image() });
        }
    }
}

impl Protocol for Standalone {
    type Config = Config;
    type Request = Request;
    type Reply = Reply;
    type Message = Message;
    type Record = Record;
    type Timer = Timer;
    type Image = Image;
    type Adversary = Mute;

    fn recover(
        config: Config,
        _seed: u64,
        _now: Time,
        disk: Recovered<Self>,
        out: &mut Effects<Self>,
    ) -> Result<Self, RecoverError> {
        config.validate().map_err(RecoverError::Config)?;
        let limits = config.options.limits;
        let (store, upto) = match disk.snapshot {
            Some((id, image)) => (Store::from_image(limits, &image), id.number),
            None => (Store::new(limits), 0),
        };
        let end = out.next_position();
        let mut replica = Self {
            config,
            store,
            durable: end,
            next: JournalPosition(upto),
            waiting: VecDeque::new(),
            requests_pending: 0,
            uncommitted_bytes: 0,
            snapshots: Snapshots { begun: upto, ..Snapshots::default() },
            counters: Counters::default(),
        };
        replica.replay(disk.records, end)?;
        Ok(replica)
    }

    fn handle_request(&mut self, _now: Time, from: ClientId, request: Request, out: &mut Effects<Self>) {
        let id = request.id;
        if let Err(refusal) = request.command.validate() {
            return out.early.replies.push((from, Reply { id, result: Err(refusal) }));
        }
        if self.is_busy(&request) {
            self.counters.requests_busy += 1;
            return out.early.replies.push((from, Reply { id, result: Err(Refusal::Busy) }));
        }
        let result = if request.command.is_read_only() {
            self.counters.reads_waited += u64::from(!self.waiting.is_empty());
            Ok(self.store.read(&request.command))
        } else {
            self.write(request, out)
        };
        self.reply(from, Reply { id, result }, out);
    }

    fn handle_client_gone(&mut self, _now: Time, _from: ClientId) {}

    fn handle_message(&mut self, _now: Time, _from: ReplicaId, message: Message, _out: &mut Effects<Self>) {
        match message {}
    }

    fn handle_timer(&mut self, _now: Time, timer: Timer, _out: &mut Effects<Self>) {
        match timer {}
    }

    fn handle_durable(&mut self, _now: Time, before: JournalPosition, _out: &mut Effects<Self>) {
        assert!(before <= self.next, "{before} is durable and {} was never recorded", self.next);
        while self.durable < before {
            let written = self.waiting.pop_front().expect("every record that is not durable waits");
            self.uncommitted_bytes -= written.bytes;
            self.requests_pending -= written.requests;
            self.durable = self.durable.next();
        }
    }

    fn handle_snapshot(&mut self, _now: Time, event: SnapshotEvent<Image>, out: &mut Effects<Self>) {
        match event {
            SnapshotEvent::Saved { id, .. } if self.snapshots.saving == Some(id) => {
                self.snapshots.saving = None;
                self.counters.snapshots_saved += 1;
                out.snapshots.push(SnapshotEffect::Discard { keep: id, before: JournalPosition(id.number) });
            }
            // The next one comes when it would have come after a success; until then the journal keeps everything.
            SnapshotEvent::Failed { id, .. } if self.snapshots.saving == Some(id) => {
                self.snapshots.saving = None;
                self.counters.snapshots_failed += 1;
            }
            SnapshotEvent::Saved { .. }
            | SnapshotEvent::Failed { .. }
            | SnapshotEvent::Chunk { .. }
            | SnapshotEvent::Received { .. } => {
                panic!("{event:?} was not asked for; {:?} was", self.snapshots.saving)
            }
        }
    }

    fn end_turn(&mut self, _now: Time, out: &mut Effects<Self>) {
        self.save_snapshot_if_due(out);
    }

    fn status(&self) -> Status {
        let Counters { snapshots_saved, snapshots_failed, requests_busy, retries, reads_waited } =
            self.counters;
        let metrics = [
            ("requests_pending", self.requests_pending as u64),
            ("uncommitted_bytes", self.uncommitted_bytes as u64),
            ("snapshots_saved", snapshots_saved),
            ("snapshots_failed", snapshots_failed),
            ("requests_busy", requests_busy),
            ("retries", retries),
            ("reads_waited", reads_waited),
        ];
        Status {
            role: "standalone".to_owned(),
            serves: true,
            leads: true,
            leader: Some(self.config.replica),
            state: StateMark::at_index(self.next.0, self.store.digest()),
            keys: self.store.len() as u64,
            metrics: metrics.map(|(name, value)| (name.to_owned(), value)).into(),
            ..Status::default()
        }
    }

    /// Without its counters, by which nothing is decided.
    fn fingerprint(&self) -> u64 {
        let mut core = self.clone();
        core.counters = Counters::default();
        fingerprint(&core)
    }
}
