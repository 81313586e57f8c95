//! A snapshot's way to a follower (§7): chunk by chunk, one under way at a time.
//!
//! The follower always answers how much it has without a gap, and the leader goes on from there: that covers loss,
//! duplicates, and a follower that restarts. All of it travels in the early lane: chunks come from
//! a durable snapshot of committed entries, and answers to them promise nothing.

use crate::bugs::Bug;
use crate::ids::{LogId, LogIndex, Round, Term};
use crate::message::{AppendOutcome, InstallReply, InstallSnapshot, Message};
use crate::metrics::DropReason;
use crate::options::Options;
use crate::progress::Flow;
use crate::record::Record;
use crate::replica::{Raft, Role};
use crate::snapshot::Image;
use bytes::Bytes;
use kv::Store;
use protocol::{Effects, ReplicaId, SnapshotEffect, SnapshotId, Time, reached};

/// A snapshot on its way, at the leader.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) id: SnapshotId,
    /// Of the chunk that is being read or is under way.
    offset: u64,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    /// The driver reads the chunk.
    Reading,
    /// The driver could not read it: begin anew with the next heartbeat.
    Failed,
    /// The chunk is under way since `round` was the newest.
    Sent { length: u64, last: bool, round: Round },
    /// All has arrived; the follower is busy installing it.
    Arrived { size: u64, since: Time },
}

impl Transfer {
    /// Begins to send a snapshot.
    pub(crate) fn begin(id: SnapshotId, to: ReplicaId, options: &Options, out: &mut Effects<Raft>) -> Self {
        let mut transfer = Self { id, offset: 0, phase: Phase::Reading };
        transfer.read(to, options, out);
        transfer
    }

    /// Whether it waits for this chunk to be read.
    fn reads(&self, id: SnapshotId, offset: u64) -> bool {
        self.id == id && self.offset == offset && matches!(self.phase, Phase::Reading)
    }

    fn read(&mut self, to: ReplicaId, options: &Options, out: &mut Effects<Raft>) {
        self.phase = Phase::Reading;
        let (id, offset, length_max) = (self.id, self.offset, options.snapshot_chunk_bytes);
        out.snapshots.push(SnapshotEffect::Read { to, id, offset, length_max });
    }

    /// The follower has answered a heartbeat of `round`, and has the log up to `matched`, which is not enough.
    pub(crate) fn handle_heartbeat_answer(
        &mut self,
        to: ReplicaId,
        matched: LogIndex,
        round: Round,
        saved: SnapshotId,
        options: &Options,
        out: &mut Effects<Raft>,
    ) {
        if matched.0 >= self.id.number {
            // Installed, but meanwhile the leader has discarded what follows.
            reached!("a follower needs a newer snapshot than it has received");
            *self = Self::begin(saved, to, options, out);
        } else if let Phase::Sent { round: sent, .. } = self.phase
            && round > sent
        {
            // The heartbeat went out after the chunk, and the chunk was not answered: it is lost.
            reached!("a chunk of a snapshot is lost");
            self.read(to, options, out);
        }
    }

    /// The follower has `received` bytes.
    fn handle_received(
        &mut self,
        now: Time,
        to: ReplicaId,
        received: u64,
        options: &Options,
        out: &mut Effects<Raft>,
    ) {
        match self.phase {
            Phase::Sent { length, last: true, .. } if received == self.offset + length => {
                self.phase = Phase::Arrived { size: received, since: now };
            }
            // A copy of the answer to the chunk before.
            Phase::Sent { .. } if received == self.offset => {}
            Phase::Arrived { size, .. } if received == size => {}
            Phase::Sent { .. } | Phase::Arrived { .. } => {
                self.offset = received;
                self.read(to, options, out);
            }
            // What follows from the answer shows in the answer to the chunk that is being read.
            Phase::Reading | Phase::Failed => {}
        }
    }
}

/// A snapshot that arrives, at the follower.
#[derive(Clone, Debug)]
pub(crate) struct Receiving {
    /// Another replica's encoding of the same snapshot may differ, so chunks of two do not mix.
    source: Source,
    received: u64,
    whole: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source {
    from: ReplicaId,
    term: Term,
    id: SnapshotId,
}

impl Receiving {
    pub(crate) fn id(&self) -> SnapshotId {
        self.source.id
    }
}

impl Raft {
    /// The driver has read a chunk for a follower.
    pub(crate) fn send_chunk(
        &mut self,
        to: ReplicaId,
        id: SnapshotId,
        offset: u64,
        bytes: Bytes,
        last: bool,
        out: &mut Effects<Self>,
    ) {
        let Role::Leader(leader) = &mut self.role else { return };
        let round = leader.confirmation.round;
        let mut transfers = leader.followers.iter_mut().filter(|progress| progress.member.replica == to);
        let transfer = transfers.find_map(|progress| match &mut progress.flow {
            Flow::Snapshot(transfer) if transfer.reads(id, offset) => Some(transfer),
            Flow::Snapshot(_) | Flow::Probe { .. } | Flow::Pipeline => None,
        });
        let Some(transfer) = transfer else { return };
        transfer.phase = Phase::Sent { length: bytes.len() as u64, last, round };
        self.metrics.snapshot_chunks_sent += 1;
        let chunk = InstallSnapshot { term: self.term, id, offset, bytes, last };
        out.early.messages.push((to, Message::InstallSnapshot(chunk)));
    }

    pub(crate) fn handle_install_reply(
        &mut self,
        now: Time,
        from: ReplicaId,
        reply: InstallReply,
        out: &mut Effects<Self>,
    ) {
        if reply.term > self.term {
            return self.become_follower(now, reply.term, out);
        }
        let member = self.identify(from, reply.follower);
        let Role::Leader(leader) = &mut self.role else { return self.metrics.drop(DropReason::Stale) };
        if reply.term < self.term {
            return self.metrics.drop(DropReason::Stale);
        }
        let Some(progress) = leader.follower(member) else { return self.drop_of_stranger(member) };
        progress.heard_at = now;
        match &mut progress.flow {
            Flow::Snapshot(transfer) if transfer.id == reply.id => {
                transfer.handle_received(now, from, reply.received, &self.options, out);
            }
            Flow::Snapshot(_) | Flow::Probe { .. } | Flow::Pipeline => self.metrics.drop(DropReason::Stale),
        }
    }

    /// With each heartbeat: transfers that failed begin anew, and an installation that takes long is asked after.
    pub(crate) fn retry_transfers(&mut self, now: Time, out: &mut Effects<Self>) {
        let Role::Leader(leader) = &mut self.role else { return };
        for progress in &mut leader.followers {
            let Flow::Snapshot(transfer) = &mut progress.flow else { continue };
            match transfer.phase {
                Phase::Failed => {
                    let saved = self.snapshots.saved.expect("what is discarded is in a saved snapshot");
                    *transfer = Transfer::begin(saved, progress.member.replica, &self.options, out);
                }
                Phase::Arrived { since, .. } if since + self.timing.election_max <= now => {
                    transfer.read(progress.member.replica, &self.options, out);
                }
                Phase::Arrived { .. } | Phase::Reading | Phase::Sent { .. } => {}
            }
        }
    }

    /// The driver could not read `id`, or not save or write it.
    pub(crate) fn fail_transfers(&mut self, id: SnapshotId, out: &mut Effects<Self>) {
        if let Role::Leader(leader) = &mut self.role {
            for progress in &mut leader.followers {
                match &mut progress.flow {
                    Flow::Snapshot(transfer)
                        if transfer.id == id && matches!(transfer.phase, Phase::Reading) =>
                    {
                        transfer.phase = Phase::Failed;
                    }
                    Flow::Snapshot(_) | Flow::Probe { .. } | Flow::Pipeline => {}
                }
            }
        }
        if let Some(receiving) = self.snapshots.receiving.take_if(|receiving| receiving.id() == id) {
            let reply = self.install_reply(id, 0);
            out.early.messages.push((receiving.source.from, reply));
        }
    }

    pub(crate) fn handle_install_snapshot(
        &mut self,
        now: Time,
        from: ReplicaId,
        chunk: InstallSnapshot,
        out: &mut Effects<Self>,
    ) {
        let InstallSnapshot { term, id, offset, bytes, last } = chunk;
        if term < self.term {
            return self.reply_stale(from, out);
        }
        if term == self.term && self.is_leader() {
            return self.metrics.drop(DropReason::SecondLeader);
        }
        let Some(end) = offset.checked_add(bytes.len() as u64).filter(|_| id.number > 0 && id.tag <= term.0)
        else {
            return self.metrics.drop(DropReason::Malformed);
        };
        self.follow(now, from, term, out);
        if id.number <= self.commit.0 {
            // An old chunk, or the leader does not know how far this replica is.
            let outcome = AppendOutcome::Accepted { matched: self.commit };
            return self.reply_to_append(from, Round::ZERO, outcome, out);
        }
        let source = Source { from, term, id };
        if offset == 0 && self.snapshots.receiving.as_ref().is_none_or(|r| r.source != source) {
            self.snapshots.receiving = Some(Receiving { source, received: 0, whole: false });
        }
        let mut received = 0;
        if let Some(receiving) = self.snapshots.receiving.as_mut().filter(|r| r.source == source) {
            if offset == receiving.received && !receiving.whole {
                receiving.received = end;
                receiving.whole = last;
                out.snapshots.push(SnapshotEffect::Write { id, offset, bytes, last });
            }
            received = receiving.received;
        }
        let reply = self.install_reply(id, received);
        out.early.messages.push((from, reply));
    }

    fn install_reply(&self, id: SnapshotId, received: u64) -> Message {
        Message::InstallReply(InstallReply { term: self.term, follower: self.me.incarnation, id, received })
    }

    /// A snapshot of another replica's is whole and on disk: it takes the place of state and log (§7).
    pub(crate) fn install(&mut self, id: SnapshotId, image: &Image, out: &mut Effects<Self>) {
        self.snapshots.receiving.take_if(|receiving| receiving.id() == id);
        let last = LogId::from(id);
        if last.index <= self.commit || self.is_leader() {
            // Overtaken by the log. The driver may keep the snapshot: all in it is committed.
            reached!("a snapshot arrives that the log has overtaken");
            return;
        }
        if image.configuration.validate().is_err() {
            return self.metrics.drop(DropReason::Malformed);
        }
        let there = self.log.term_at(last.index);
        let goes_on =
            there == Some(last.term) || there.is_some() && self.options.bugs.has(Bug::SnapshotKeepsLog);
        if goes_on {
            // What follows may be acknowledged: it stays.
            if self.log.last().index > last.index {
                reached!("a snapshot is installed below entries that stay");
            }
            self.log.compact(last.index);
            self.durable = self.durable.max(last.index);
        } else {
            if there.is_some() {
                reached!("a snapshot is installed over a conflicting log");
            }
            self.log.reset(last);
            self.durable = last.index;
            self.view.matched = self.view.matched.min(last.index);
            out.record(Record::LogStart { after: last });
        }
        self.configurations.install(last.index, image.configuration.clone(), goes_on);
        self.store = Store::from_image(self.options.limits, &image.kv);
        self.commit = last.index;
        self.applied = last.index;
        self.metrics.snapshots_installed += 1;
        self.adopt_snapshot(id, out);
        self.learn_commit(self.view.commit, out);
        self.serve_ready_reads(out);
        if let Some(leader) = self.leader {
            let outcome = AppendOutcome::Accepted { matched: self.commit };
            self.reply_to_append(leader, Round::ZERO, outcome, out);
        }
    }
}
