//! What exists only while a replica leads.

use crate::ids::{LogIndex, Round};
use crate::members::Members;
use crate::progress::Progress;
use crate::read::LeaderReads;
use protocol::{ReplicaId, Time};
use std::collections::VecDeque;

/// The state of a leader.
#[derive(Debug)]
pub(crate) struct Leader {
    /// The entry that it began its term with: until it is committed, nobody knows what else is.
    pub(crate) noop: LogIndex,
    pub(crate) followers: Vec<Progress>,
    pub(crate) confirmation: Confirmation,
    pub(crate) reads: LeaderReads,
}

/// Rounds: which of what the leader has sent a majority has answered, and so that it led when it sent it.
///
/// A round begins with each heartbeat and when reads wait. Everything the leader sends carries the newest
/// round, every answer echoes it, so writes confirm reads and no message exists for confirmation alone.
#[derive(Debug, Default)]
pub(crate) struct Confirmation {
    /// The newest round.
    pub(crate) round: Round,
    /// Rounds that no majority has answered, with the time when they began. Bounded: a leader that no majority
    /// answers steps down.
    open: VecDeque<(Round, Time)>,
    /// The newest round that a majority has answered, and when it began.
    confirmed: Option<(Round, Time)>,
}

impl Leader {
    pub(crate) fn new(members: &Members, me: ReplicaId, now: Time, last: LogIndex) -> Self {
        Self {
            noop: last.next(),
            followers: members.others(me).map(|replica| Progress::new(replica, now, last)).collect(),
            confirmation: Confirmation::default(),
            reads: LeaderReads::default(),
        }
    }

    pub(crate) fn follower(&mut self, replica: ReplicaId) -> Option<&mut Progress> {
        self.followers.iter_mut().find(|progress| progress.replica == replica)
    }

    /// Whatever is sent from now on carries a new round.
    pub(crate) fn begin_round(&mut self, now: Time, members: &Members) -> Round {
        let round = self.confirmation.round.next();
        self.confirmation.round = round;
        self.confirmation.open.push_back((round, now));
        // A leader of none but itself is a majority.
        self.confirm(members);
        round
    }

    /// Takes notice of the rounds that a majority, this leader included, has answered.
    pub(crate) fn confirm(&mut self, members: &Members) {
        let own = self.confirmation.round;
        let answered = members.agreed(self.followers.iter().map(|f| f.round).chain([own]));
        while self.confirmation.open.front().is_some_and(|&(round, _)| round <= answered) {
            self.confirmation.confirmed = self.confirmation.open.pop_front();
        }
    }

    /// When it last heard from a majority, itself included: the last time at which it certainly led (§6.2).
    pub(crate) fn quorum_heard_at(&self, members: &Members, now: Time) -> Time {
        members.agreed(self.followers.iter().map(|f| f.heard_at).chain([now]))
    }
}

impl Confirmation {
    /// Whether a majority has answered `round` or a later one.
    pub(crate) fn covers(&self, round: Round) -> bool {
        self.confirmed.is_some_and(|(confirmed, _)| confirmed >= round)
    }

    /// Whether only a later round tells that `round` was answered.
    pub(crate) fn has_overtaken(&self, round: Round) -> bool {
        self.confirmed.is_some_and(|(confirmed, _)| confirmed > round)
    }

    /// When the newest confirmed round began: what it sent cannot have arrived earlier.
    pub(crate) fn began_at(&self) -> Option<Time> {
        self.confirmed.map(|(_, at)| at)
    }
}
