//! Elections (§3.4 of the dissertation, §5.2 of the paper) with PreVote (§9.6), leader stickiness (§4.2.3) and
//! CheckQuorum (§6.2).

use crate::bugs::Bug;
use crate::ids::Term;
use crate::leader::Leader;
use crate::members::Member;
use crate::message::{Message, VoteReply, VoteRequest};
use crate::metrics::DropReason;
use crate::record::{Payload, Record};
use crate::replica::{LeaderView, Raft, Role, Timer};
use protocol::{Effects, ReplicaId, Time, reached};
use rand::Rng;
use std::time::Duration;

/// When to seek election.
#[derive(Clone, Debug)]
pub(crate) struct ElectionClock {
    /// When a leader, of whatever term, was last heard from.
    heard_at: Time,
    /// When this replica seeks election unless it hears from a leader or votes.
    deadline: Time,
    /// How long it waits; drawn anew for each wait that ends without having heard from a leader.
    timeout: Duration,
    /// What the timer is set to. It is not moved for every message: when it fires too early, it is set again.
    armed: Option<Time>,
}

impl ElectionClock {
    /// A restarted replica does not know what it promised before: it behaves as if it had just heard from a leader,
    /// so that a lease that rests on that promise holds.
    pub(crate) fn new(now: Time) -> Self {
        Self { heard_at: now, deadline: now, timeout: Duration::ZERO, armed: None }
    }
}

/// Who has granted a vote.
#[derive(Clone, Debug, Default)]
pub(crate) struct Votes {
    /// Distinct voters: the network may deliver a vote twice.
    granted: Vec<Member>,
    /// Whether the leader has asked for this candidacy.
    handed_over: bool,
}

impl Votes {
    /// Whether it is the voter's first.
    fn add(&mut self, voter: Member) -> bool {
        let first = !self.granted.contains(&voter);
        if first {
            self.granted.push(voter);
        }
        first
    }
}

impl Raft {
    /// Whether a leader was heard from so recently that others must not be voted for (§4.2.3): it keeps
    /// replicas that cannot hear the leader from deposing it, and leases rest on it.
    fn is_sticky(&self, now: Time) -> bool {
        if self.options.bugs.has(Bug::NoPreVote) {
            return false;
        }
        self.is_leader() || now < self.clock.heard_at + self.timing.sticky
    }

    /// Begins a new wait, of random length so that votes seldom split (§5.2). Never shorter than
    /// [`Timing::sticky`](crate::options::Timing): a candidate votes for itself, and keeps its promises doing so.
    pub(crate) fn restart_election_clock(&mut self, now: Time, out: &mut Effects<Self>) {
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).expect("options bound the timeouts");
        let range = nanos(self.timing.sticky)..=nanos(self.timing.election_max);
        self.clock.timeout = Duration::from_nanos(self.rng.random_range(range));
        self.clock.deadline = now + self.clock.timeout;
        if self.clock.armed.is_none_or(|armed| self.clock.deadline < armed) {
            self.arm_election_timer(out);
        }
    }

    fn arm_election_timer(&mut self, out: &mut Effects<Self>) {
        self.clock.armed = Some(self.clock.deadline);
        out.set_timer(Timer::Election, self.clock.deadline);
    }

    pub(crate) fn handle_election_timer(&mut self, now: Time, out: &mut Effects<Self>) {
        self.clock.armed = None;
        if self.is_leader() {
            return;
        }
        if now < self.clock.deadline {
            self.arm_election_timer(out);
        } else if self.may_lead() {
            self.start_pre_vote(now, out);
        } else {
            reached!("a replica that does not vote hears no leader and waits");
            self.become_follower(now, self.term, out);
            self.leader = None;
            self.restart_election_clock(now, out);
        }
    }

    /// Asks whether an election could be won, without disturbing anybody by a new term (§9.6).
    fn start_pre_vote(&mut self, now: Time, out: &mut Effects<Self>) {
        if matches!(self.role, Role::Candidate(_)) {
            reached!("a candidacy ends without a leader");
        }
        if !self.configurations.newest().seats(self.me).any() {
            reached!("a replica that does not vote any more seeks election");
        }
        self.leader = None;
        if self.options.bugs.has(Bug::NoPreVote) {
            return self.campaign(now, false, out);
        }
        self.role = Role::PreCandidate(Votes { granted: vec![self.me], handed_over: false });
        self.metrics.pre_votes_started += 1;
        self.restart_election_clock(now, out);
        self.solicit(now, out);
        self.count_votes(now, out);
    }

    /// Starts an election (§5.2).
    pub(crate) fn campaign(&mut self, now: Time, handed_over: bool, out: &mut Effects<Self>) {
        self.set_hard_state(self.term.next(), Some(self.me), out);
        // The own vote counts when it is durable, like anybody else's.
        self.role = Role::Candidate(Votes { granted: Vec::new(), handed_over });
        self.metrics.elections_started += 1;
        self.restart_election_clock(now, out);
        self.solicit(now, out);
    }

    /// Asks those who have not granted their vote, now and (messages get lost, and stickiness ends) with each
    /// heartbeat interval.
    pub(crate) fn solicit(&mut self, now: Time, out: &mut Effects<Self>) {
        let last = self.log.last();
        let (votes, term, ask, outbox): (_, _, fn(VoteRequest) -> Message, _) = match &self.role {
            Role::PreCandidate(votes) => (votes, self.term.next(), Message::PreVote, &mut out.early),
            // In the durable lane: if the term were forgotten in a crash, a second candidacy in it, perhaps
            // with a shorter log, could win with the votes for this one.
            Role::Candidate(votes) => (votes, self.term, Message::RequestVote, &mut out.durable),
            Role::Follower | Role::Leader(_) => return,
        };
        let candidate = self.me.incarnation;
        for to in self.configurations.newest().others(self.me).filter(|to| !votes.granted.contains(to)) {
            let (voter, handed_over) = (to.incarnation, votes.handed_over);
            outbox
                .messages
                .push((to.replica, ask(VoteRequest { term, last, candidate, voter, handed_over })));
        }
        out.set_timer(Timer::Heartbeat, now + self.timing.heartbeat);
    }

    pub(crate) fn handle_pre_vote(
        &mut self,
        now: Time,
        from: ReplicaId,
        request: VoteRequest,
        out: &mut Effects<Self>,
    ) {
        if request.voter != self.identify(self.me.replica, self.me.incarnation).incarnation {
            return self.drop_of_another_life();
        }
        let sticky = self.is_sticky(now);
        let wanted = request.term > self.term && request.last.is_up_to_date_with(self.log.last());
        if wanted && sticky {
            reached!("a pre-vote is refused for the sake of a leader");
        }
        let granted = wanted && !sticky;
        // Early: it promises nothing.
        let term = if granted { request.term } else { self.term };
        let voter = self.me.incarnation;
        out.early.messages.push((from, Message::PreVoteReply(VoteReply { term, granted, voter })));
    }

    /// The vote that is asked for was that of an earlier life, which may have given it, or of one that is not begun.
    fn drop_of_another_life(&mut self) {
        reached!("a stranger is asked for the vote of another life");
        self.metrics.drop(DropReason::OfAnotherLife);
    }

    pub(crate) fn handle_request_vote(
        &mut self,
        now: Time,
        from: ReplicaId,
        request: VoteRequest,
        out: &mut Effects<Self>,
    ) {
        if request.voter != self.identify(self.me.replica, self.me.incarnation).incarnation {
            return self.drop_of_another_life();
        }
        let candidate = Member { replica: from, incarnation: request.candidate };
        let again = request.term == self.term && self.vote == Some(candidate);
        // Not even the term is taken over. This holds in every term: a lease rests on the promise to a leader,
        // and the term may have been raised since by a message that asks for no vote. A leader that has asked for this
        // election does not rely on the promise any more, and no other leader can: earlier ones have been deposed,
        // and later ones have a later term.
        let bound = self.is_sticky(now) && !again;
        if bound && request.handed_over {
            reached!("a promise to a leader is void because it has handed over");
        }
        if request.term >= self.term && bound && !request.handed_over {
            reached!("a candidate is ignored for the sake of a leader");
            return self.metrics.drop(DropReason::Sticky);
        }
        let vote = if request.term > self.term { None } else { self.vote };
        let free = request.term >= self.term && vote.is_none_or(|vote| vote == candidate);
        let granted = free && request.last.is_up_to_date_with(self.log.last());
        if free && !granted {
            reached!("a candidate is refused for its log");
        }
        if granted && again {
            reached!("a vote is given again");
        }
        if request.term > self.term {
            self.take_over(now, request.term, granted.then_some(candidate), out);
        } else if granted && vote.is_none() {
            self.set_hard_state(request.term, Some(candidate), out);
        }
        let voter = self.me.incarnation;
        let reply = Message::RequestVoteReply(VoteReply { term: self.term, granted, voter });
        if !granted {
            // Early: whoever learns a term that this replica then forgets has lost nothing but time.
            return out.early.messages.push((from, reply));
        }
        self.restart_election_clock(now, out);
        if self.options.bugs.has(Bug::VoteNotDurable) {
            return out.early.messages.push((from, reply));
        }
        out.durable.messages.push((from, reply));
    }

    pub(crate) fn handle_pre_vote_reply(
        &mut self,
        now: Time,
        from: ReplicaId,
        reply: VoteReply,
        out: &mut Effects<Self>,
    ) {
        if !reply.granted && reply.term > self.term {
            return self.become_follower(now, reply.term, out);
        }
        let voter = self.identify(from, reply.voter);
        match &mut self.role {
            Role::PreCandidate(votes) if reply.granted && reply.term == self.term.next() => {
                votes.add(voter);
                self.count_votes(now, out);
            }
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => {
                self.metrics.drop(DropReason::Stale);
            }
        }
    }

    pub(crate) fn handle_request_vote_reply(
        &mut self,
        now: Time,
        from: ReplicaId,
        reply: VoteReply,
        out: &mut Effects<Self>,
    ) {
        if reply.term > self.term {
            return self.become_follower(now, reply.term, out);
        }
        let voter = self.identify(from, reply.voter);
        match &mut self.role {
            Role::Candidate(votes) if reply.granted && reply.term == self.term => {
                if !votes.add(voter) && self.options.bugs.has(Bug::CountDuplicateVotes) {
                    votes.granted.push(voter);
                }
                self.count_votes(now, out);
            }
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => {
                self.metrics.drop(DropReason::Stale);
            }
        }
    }

    /// The own vote is durable.
    pub(crate) fn count_own_vote(&mut self, now: Time, out: &mut Effects<Self>) {
        if let Role::Candidate(votes) = &mut self.role {
            votes.add(self.me);
            self.count_votes(now, out);
        }
    }

    /// Goes on if a majority has granted its vote: of each set of voters, while there are two (§6).
    fn count_votes(&mut self, now: Time, out: &mut Effects<Self>) {
        let configuration = self.configurations.newest();
        match &self.role {
            // A snapshot may have come in between.
            _ if !self.may_lead() => {}
            Role::PreCandidate(votes) if configuration.elects(&votes.granted) => {
                self.campaign(now, false, out);
            }
            Role::Candidate(votes) if configuration.elects(&votes.granted) => {
                if votes.handed_over {
                    reached!("a transfer of leadership succeeds");
                    self.metrics.transfers_received += 1;
                }
                self.become_leader(now, out);
            }
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => {}
        }
    }

    /// Takes over a term and a vote, durably.
    fn set_hard_state(&mut self, term: Term, vote: Option<Member>, out: &mut Effects<Self>) {
        assert!(term >= self.term, "the term goes from {} back to {term}", self.term);
        assert!(term > self.term || self.vote.is_none(), "a second vote in {term}, after {:?}", self.vote);
        if term > self.term {
            self.view = LeaderView::default();
        }
        self.term = term;
        self.vote = vote;
        self.hard_state_at = Some(out.record(Record::HardState { term, vote }));
    }

    /// Takes over a higher term, or gives up candidacy or office in the current one.
    pub(crate) fn become_follower(&mut self, now: Time, term: Term, out: &mut Effects<Self>) {
        self.take_over(now, term, None, out);
    }

    fn take_over(&mut self, now: Time, term: Term, vote: Option<Member>, out: &mut Effects<Self>) {
        if term > self.term {
            self.set_hard_state(term, vote, out);
            self.leader = None;
        }
        match std::mem::replace(&mut self.role, Role::Follower) {
            Role::Follower => {}
            Role::PreCandidate(_) | Role::Candidate(_) => out.cancel_timer(Timer::Heartbeat),
            Role::Leader(leader) => {
                if self.log.last().index > self.commit {
                    reached!("a leader loses its office with uncommitted entries");
                }
                self.metrics.leaderships_lost += 1;
                self.leader = None;
                self.give_up_pending(out);
                for read in leader.reads.into_reads() {
                    self.refuse(&read, kv::Refusal::NotLeader { leader: None }, out);
                }
                out.cancel_timer(Timer::Heartbeat);
                self.restart_election_clock(now, out);
            }
        }
    }

    /// Recognises `from` as the leader of `term`, which is not over.
    pub(crate) fn follow(&mut self, now: Time, from: ReplicaId, term: Term, out: &mut Effects<Self>) {
        assert!(term > self.term || !self.is_leader(), "{from} leads {term}, and so does this replica");
        if term == self.term && matches!(self.role, Role::Candidate(_)) {
            reached!("a candidate hears from the leader of its term");
        }
        self.become_follower(now, term, out);
        self.clock.heard_at = now;
        // Later than the timer is set to, which finds out when it fires.
        self.clock.deadline = now + self.clock.timeout;
        if self.leader != Some(from) {
            self.leader = Some(from);
            self.give_up_forwards(from, out);
            self.repeat_read_index(out);
        }
    }

    /// Takes office (§5.2).
    fn become_leader(&mut self, now: Time, out: &mut Effects<Self>) {
        let configuration = self.configurations.newest();
        let mut leader = Leader::new(configuration, self.me, now, self.log.last().index);
        for read in self.follower_reads.take_unanswered() {
            reached!("a new leader takes over its own followers' reads");
            leader.reads.push(read);
        }
        self.role = Role::Leader(Box::new(leader));
        self.leader = Some(self.me.replica);
        self.snapshots.receiving = None;
        self.metrics.elections_won += 1;
        self.give_up_forwards(self.me.replica, out);
        self.clock.armed = None;
        out.cancel_timer(Timer::Election);
        // Committing it commits all that came before, which must not be committed by counting (§5.4.2).
        let noop = self.append(now, Payload::Noop, out);
        assert!(matches!(&self.role, Role::Leader(leader) if leader.noop == noop));
        self.heartbeat(now, out);
    }

    pub(crate) fn handle_heartbeat_timer(&mut self, now: Time, out: &mut Effects<Self>) {
        let Role::Leader(leader) = &self.role else { return self.solicit(now, out) };
        // CheckQuorum: a leader that a majority does not hear, or that does not hear a majority, must not go on
        // refusing clients the news (§6.2).
        let unheard =
            leader.quorum_heard_at(self.configurations.newest(), now) + self.timing.election_max <= now;
        if unheard && !self.options.bugs.has(Bug::NoCheckQuorum) {
            reached!("a leader that hears no majority steps down");
            self.become_follower(now, self.term, out);
        } else {
            self.retry_transfers(now, out);
            self.expire_change(now);
            self.retry_handover(now);
            self.heartbeat(now, out);
        }
    }

    /// Begins a round; when the turn ends, it goes to everybody.
    fn heartbeat(&mut self, now: Time, out: &mut Effects<Self>) {
        if let Role::Leader(leader) = &mut self.role {
            leader.begin_round(now, self.configurations.newest());
        }
        // If this replica is all that is left of the group, nobody else's answer will bring it up.
        self.finish_read_round(out);
        out.set_timer(Timer::Heartbeat, now + self.timing.heartbeat);
    }
}
