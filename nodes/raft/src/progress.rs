//! What a leader knows about one follower: `nextIndex` and `matchIndex` (Figure 3.1), and how fast to send.

use crate::ids::{LogIndex, Round};
use crate::install::Transfer;
use crate::members::{Member, Seats};
use protocol::Time;
use std::collections::VecDeque;

/// One follower.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) member: Member,
    /// Where it votes: its answers count there.
    pub(crate) seats: Seats,
    /// Its log is durably the leader's up to here.
    pub(crate) matched: LogIndex,
    /// The next entry to send.
    pub(crate) next: LogIndex,
    pub(crate) flow: Flow,
    /// The last index of each `AppendEntries` with entries that was not answered yet.
    in_flight: VecDeque<LogIndex>,
    /// When it was last heard from in this term.
    pub(crate) heard_at: Time,
    /// The newest round that it has answered.
    pub(crate) round: Round,
    /// The newest round that was sent to it.
    pub(crate) round_sent: Round,
}

/// How fast to send.
#[derive(Clone, Debug)]
pub(crate) enum Flow {
    /// Where the logs part is not known: one message at a time, sent again with a heartbeat.
    Probe {
        /// If entries are under way: the last one, and the round that went with them.
        asked: Option<(LogIndex, Round)>,
    },
    /// All is well: several rounds at a time, assuming that they arrive.
    Pipeline,
    /// What it needs next is discarded: it gets a snapshot.
    Snapshot(Transfer),
}

impl Progress {
    /// A follower of which only the end of the leader's own log is known.
    pub(crate) fn new(member: Member, now: Time, last: LogIndex) -> Self {
        Self {
            member,
            seats: Seats::default(),
            matched: LogIndex::ZERO,
            next: last.next(),
            flow: Flow::Probe { asked: None },
            in_flight: VecDeque::new(),
            heard_at: now,
            round: Round::ZERO,
            round_sent: Round::ZERO,
        }
    }

    /// Whether entries may be sent now, if the leader's log goes up to `last`.
    pub(crate) fn wants_entries(&self, last: LogIndex, rounds_in_flight_max: usize) -> bool {
        self.next <= last
            && match self.flow {
                Flow::Probe { asked } => asked.is_none(),
                Flow::Pipeline => self.in_flight.len() < rounds_in_flight_max,
                Flow::Snapshot(_) => false,
            }
    }

    /// Entries up to `last` go out now, with the leader's newest round.
    pub(crate) fn sent(&mut self, last: LogIndex, round: Round) {
        self.round_sent = round;
        match &mut self.flow {
            // Not assumed to arrive: `next` stays.
            Flow::Probe { asked } => *asked = Some((last, round)),
            Flow::Pipeline => {
                self.in_flight.push_back(last);
                self.next = last.next();
            }
            Flow::Snapshot(_) => unreachable!("no entries are sent beside a snapshot"),
        }
    }

    /// Its log is durably the leader's up to `matched`, says its answer to something sent in `round`. Whether that is
    /// news.
    pub(crate) fn accepted(&mut self, matched: LogIndex, round: Round) -> bool {
        let news = matched > self.matched;
        self.matched = self.matched.max(matched);
        while self.in_flight.front().is_some_and(|&last| last <= self.matched) {
            self.in_flight.pop_front();
        }
        // An answer to an earlier message may be behind the place that is being probed.
        if let Flow::Probe { asked } = self.flow
            && self.matched.next() >= self.next
        {
            self.flow = Flow::Pipeline;
            // The answer to the probe itself may come before its entries are durable; another will follow. An answer
            // to something sent later means that the probe was lost.
            if let Some((last, sent)) = asked.filter(|&(last, sent)| last > self.matched && sent == round) {
                self.sent(last, sent);
            }
        }
        self.next = self.next.max(self.matched.next());
        news
    }

    /// Whether a rejection of `prev` is news: not overtaken by what is known since.
    pub(crate) fn is_current_rejection(&self, prev: LogIndex) -> bool {
        prev > self.matched
            && match self.flow {
                Flow::Probe { .. } => prev.next() == self.next,
                Flow::Pipeline => prev < self.next,
                Flow::Snapshot(_) => false,
            }
    }

    /// The logs part at or before `next`, or messages were lost: probe there.
    pub(crate) fn probe(&mut self, next: LogIndex) {
        self.next = next.max(self.matched.next());
        self.flow = Flow::Probe { asked: None };
        self.in_flight.clear();
    }

    pub(crate) fn gets_snapshot(&self) -> bool {
        matches!(self.flow, Flow::Snapshot(_))
    }

    /// What it needs is discarded.
    pub(crate) fn send_snapshot(&mut self, transfer: Transfer) {
        self.flow = Flow::Snapshot(transfer);
        self.in_flight.clear();
    }

    /// It has got what it needed a snapshot for.
    pub(crate) fn resume_pipeline(&mut self) {
        self.next = self.matched.next();
        self.flow = Flow::Pipeline;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Incarnation, ReplicaId};

    const R: Round = Round(1);

    fn follower(next: u64) -> Progress {
        let member = Member { replica: ReplicaId(2), incarnation: Incarnation(0) };
        Progress::new(member, Time::ZERO, LogIndex(next - 1))
    }

    #[test]
    fn a_probe_waits_for_its_answer_and_a_pipeline_for_room() {
        let mut p = follower(5);
        assert!(p.wants_entries(LogIndex(9), 2));
        p.sent(LogIndex(9), R);
        assert!(!p.wants_entries(LogIndex(9), 2), "one probe at a time");
        assert!(p.accepted(LogIndex(9), R));
        p.sent(LogIndex(12), R);
        p.sent(LogIndex(13), R);
        assert!(!p.wants_entries(LogIndex(20), 2), "two rounds are in flight");
        assert!(p.accepted(LogIndex(12), R));
        assert!(p.wants_entries(LogIndex(20), 2) && !p.wants_entries(LogIndex(13), 2));
    }

    #[test]
    fn an_answer_from_before_the_probe_does_not_end_it() {
        let mut p = follower(5);
        p.accepted(LogIndex(2), R);
        assert!(matches!(p.flow, Flow::Probe { .. }), "4 is not known to match");
        p.accepted(LogIndex(4), R);
        assert!(matches!(p.flow, Flow::Pipeline));
    }

    #[test]
    fn what_was_sent_with_the_probe_is_not_sent_again_when_the_probe_succeeds() {
        let mut p = follower(5);
        p.sent(LogIndex(9), R);
        p.accepted(LogIndex(4), R);
        assert_eq!((p.next, p.in_flight.len()), (LogIndex(10), 1));
        p.accepted(LogIndex(9), R);
        assert_eq!((p.next, p.in_flight.len()), (LogIndex(10), 0));
    }

    #[test]
    fn what_was_sent_with_the_probe_is_sent_again_when_something_later_is_answered_first() {
        let mut p = follower(5);
        p.sent(LogIndex(9), R);
        p.accepted(LogIndex(4), R.next());
        assert_eq!((p.next, p.in_flight.len()), (LogIndex(5), 0));
    }

    #[test]
    fn an_overtaken_rejection_is_not_news() {
        let mut p = follower(5);
        assert!(p.is_current_rejection(LogIndex(4)));
        p.probe(LogIndex(3));
        assert!(!p.is_current_rejection(LogIndex(4)), "a duplicate");
        p.accepted(LogIndex(6), R);
        assert!(!p.is_current_rejection(LogIndex(6)), "known to match since");
        p.sent(LogIndex(9), R);
        assert!(p.is_current_rejection(LogIndex(9)), "a heartbeat behind a lost message");
    }
}
