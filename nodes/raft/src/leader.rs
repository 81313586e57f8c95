//! What exists only while a replica leads.

use crate::change::Change;
use crate::handover::Handover;
use crate::ids::{LogIndex, Round};
use crate::members::{Configuration, Member, Seats};
use crate::progress::Progress;
use crate::read::LeaderReads;
use protocol::Time;
use std::collections::VecDeque;

/// The state of a leader.
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    /// The entry that it began its term with: until it is committed, nobody knows what else is.
    pub(crate) noop: LogIndex,
    /// Where it votes itself: nowhere, once it has appended a configuration without itself.
    pub(crate) seats: Seats,
    /// Whom it sends its log: who votes, who is to, and who did until the newest configuration, while that is not
    /// committed.
    pub(crate) followers: Vec<Progress>,
    pub(crate) confirmation: Confirmation,
    pub(crate) reads: LeaderReads,
    /// Members who are to vote are catching up.
    pub(crate) change: Option<Change>,
    /// Another member is to lead.
    pub(crate) handover: Option<Handover>,
    /// Whether somebody was told to break the promise that the lease rests on. He may do so at any later time.
    pub(crate) lease_given_up: bool,
}

/// Rounds: which of what the leader has sent a majority has answered, and so that it led when it sent it.
///
/// A round begins with each heartbeat and when reads wait. Everything the leader sends carries the newest
/// round, every answer echoes it, so writes confirm reads and no message exists for confirmation alone.
#[derive(Clone, Debug, Default)]
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
    pub(crate) fn new(configuration: &Configuration, me: Member, now: Time, last: LogIndex) -> Self {
        let mut leader = Self {
            noop: last.next(),
            seats: Seats::default(),
            followers: Vec::new(),
            confirmation: Confirmation::default(),
            reads: LeaderReads::default(),
            change: None,
            handover: None,
            lease_given_up: false,
        };
        leader.configure(configuration, me, now, last);
        leader
    }

    /// From now on this configuration counts. Who has lost his seat is told the news until it is committed.
    pub(crate) fn configure(&mut self, configuration: &Configuration, me: Member, now: Time, last: LogIndex) {
        self.seats = configuration.seats(me);
        for progress in &mut self.followers {
            progress.seats = configuration.seats(progress.member);
        }
        for member in configuration.others(me) {
            if self.follower(member).is_none() {
                let mut progress = Progress::new(member, now, last);
                progress.seats = configuration.seats(member);
                self.followers.push(progress);
            }
        }
    }

    pub(crate) fn follower(&mut self, member: Member) -> Option<&mut Progress> {
        self.followers.iter_mut().find(|progress| progress.member == member)
    }

    /// The greatest value that majorities have reached, given this leader's own and what each follower has reached.
    pub(crate) fn agreed<T: Copy + Default + Ord>(
        &self,
        configuration: &Configuration,
        own: T,
        of: impl Fn(&Progress) -> T + Clone,
    ) -> T {
        let followers = self.followers.iter().map(|follower| (follower.seats, of(follower)));
        configuration.agreed(followers.chain(std::iter::once((self.seats, own))))
    }

    /// Whatever is sent from now on carries a new round.
    pub(crate) fn begin_round(&mut self, now: Time, configuration: &Configuration) -> Round {
        let round = self.confirmation.round.next();
        self.confirmation.round = round;
        self.confirmation.open.push_back((round, now));
        // A leader of none but itself is a majority.
        self.confirm(configuration);
        round
    }

    /// Takes notice of the rounds that majorities, this leader included, have answered.
    pub(crate) fn confirm(&mut self, configuration: &Configuration) {
        let answered = self.agreed(configuration, self.confirmation.round, |follower| follower.round);
        while self.confirmation.open.front().is_some_and(|&(round, _)| round <= answered) {
            self.confirmation.confirmed = self.confirmation.open.pop_front();
        }
    }

    /// When it last heard from majorities, itself included: the last time at which it certainly led (§6.2).
    pub(crate) fn quorum_heard_at(&self, configuration: &Configuration, now: Time) -> Time {
        self.agreed(configuration, now, |follower| follower.heard_at)
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
