//! One replica: its state (Figure 3.1), and where its inputs go.

use crate::bugs::Bug;
use crate::configurations::Configurations;
use crate::election::{ElectionClock, Votes};
use crate::follower_read::FollowerReads;
use crate::forward::Forwards;
use crate::ids::{LogIndex, Round, Term, Ticket};
use crate::leader::Leader;
use crate::log::Log;
use crate::members::{Configuration, Member};
use crate::message::Message;
use crate::metrics::{DropReason, Metrics};
use crate::options::{Config, Options, Timing};
use crate::read::Read;
use crate::record::{Payload, Record};
use crate::recovery::Durable;
use crate::snapshot::{Image, Snapshots};
use crate::write::Pending;
use kv::{Reply, Request, Store};
use protocol::{
    AdminReply, AdminRequest, ClientId, Effects, Incarnation, JournalPosition, Members, Mute, Protocol,
    RecoverError, Recovered, ReplicaId, SnapshotEvent, StateMark, Status, Time, fingerprint, reached,
};
use rand::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::VecDeque;

/// One replica.
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) me: Member,
    pub(crate) configurations: Configurations,
    pub(crate) options: Options,
    pub(crate) timing: Timing,
    pub(crate) rng: Xoshiro256PlusPlus,

    /// `currentTerm`.
    pub(crate) term: Term,
    /// `votedFor`.
    pub(crate) vote: Option<Member>,
    /// Where the journal has term and vote, if this life of the replica has put them there.
    pub(crate) hard_state_at: Option<JournalPosition>,
    pub(crate) log: Log,
    /// Records before this are on disk, …
    durable_before: JournalPosition,
    /// … so the log is, up to this entry.
    pub(crate) durable: LogIndex,

    /// `commitIndex`.
    pub(crate) commit: LogIndex,
    /// `lastApplied`: outside of [`Raft::commit_to`] it equals `commit`.
    pub(crate) applied: LogIndex,
    pub(crate) store: Store,

    pub(crate) role: Role,
    /// Whom this replica believes to lead.
    pub(crate) leader: Option<ReplicaId>,
    pub(crate) view: LeaderView,
    pub(crate) clock: ElectionClock,

    /// Own entries that somebody waits for, in log order. Empty unless this replica leads.
    pub(crate) pending: VecDeque<Pending>,
    pub(crate) forwards: Forwards,
    pub(crate) follower_reads: FollowerReads,
    pub(crate) tickets: Tickets,
    pub(crate) patience_armed: bool,

    pub(crate) snapshots: Snapshots,
    pub(crate) metrics: Metrics,
}

/// What a replica is now (§5.1), with what exists only then.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Follower,
    /// Asks who would vote for it; who would.
    PreCandidate(Votes),
    /// Asks for votes; who has given one.
    Candidate(Votes),
    Leader(Box<Leader>),
}

/// What a follower knows of the leader of the current term.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaderView {
    /// The leader's commit index, as far as it has said.
    pub(crate) commit: LogIndex,
    /// The own log is known to be the leader's up to here.
    pub(crate) matched: LogIndex,
    /// The newest round that was answered while entries were not durable.
    pub(crate) round: Round,
}

/// Timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// No leader was heard from: seek election.
    Election,
    /// A leader makes itself heard; a candidate asks again.
    Heartbeat,
    /// What waits for a leader's answer is looked after.
    Patience,
}

/// Numbers for questions to the leader.
#[derive(Clone, Debug)]
pub(crate) struct Tickets(Ticket);

impl Tickets {
    pub(crate) fn draw(&mut self) -> Ticket {
        self.0 = self.0.next();
        self.0
    }
}

/// Replicas that are given one seed must not wait equally long, and two lives must not draw the same tickets: they
/// start at different times, or with journals of different lengths.
fn life_seed(seed: u64, me: Member, next: JournalPosition, now: Time) -> u64 {
    let me = u64::from(me.replica.0) << 32 | u64::from(me.incarnation.0);
    seed ^ me.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ next.0.rotate_left(32) ^ now.0
}

/// Greater numbers are reached by no execution; refusing them keeps `+ 1` from overflowing.
const NUMBER_MAX: u64 = 1 << 60;

impl Raft {
    /// Which replica this is.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.me.replica
    }

    /// Who decides, as far as this replica's log says.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        self.configurations.newest()
    }

    /// Who decides, as far as this replica knows it to be committed.
    #[must_use]
    pub fn committed_configuration(&self) -> &Configuration {
        self.configurations.as_of(self.commit)
    }

    /// Whether members are changing: newcomers catch up, two sets decide, or the change is not known to be
    /// committed.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        let newcomers = matches!(&self.role, Role::Leader(leader) if leader.change.is_some());
        let configurations = &self.configurations;
        newcomers || configurations.newest().is_joint() || configurations.newest_at() > self.commit
    }

    /// What it is in the middle of, for people.
    fn under_way(&self) -> String {
        let mut words = match &self.role {
            Role::Leader(_) | Role::Follower => Vec::new(),
            Role::PreCandidate(_) => vec!["asks whether it could be elected".to_owned()],
            Role::Candidate(_) => vec!["asks for votes".to_owned()],
        };
        if self.is_changing() {
            words.push("members are changing".to_owned());
        }
        let held = self.requests_held();
        if held > 0 {
            words.push(format!("{held} requests wait"));
        }
        words.join(", ")
    }

    /// Whether an earlier leader's change of members may still come to be committed: until a leader has committed an entry of its
    /// own term, it cannot tell.
    fn cannot_tell_members(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if self.commit < leader.noop)
    }

    /// Who a replica in this life of its disk is: nobody else.
    pub(crate) fn identify(&self, replica: ReplicaId, incarnation: Incarnation) -> Member {
        let member = Member { replica, incarnation };
        if !self.options.bugs.has(Bug::Amnesia) {
            return member;
        }
        let is_followed = |leader: &Leader| leader.followers.iter().any(|progress| progress.member == member);
        match (&self.role, self.configurations.newest().new.lives().get(&replica)) {
            (Role::Leader(leader), _) if is_followed(leader) => member,
            (_, Some(&known)) => Member { replica, incarnation: known },
            (_, None) => member,
        }
    }

    /// Whether this life of the replica's disk may seek election: it votes, or it did before a change that is not known
    /// to be committed. Such a change may be in no log that is as long as this replica's, and then nobody
    /// else can be elected (diss. §4.2.2).
    pub(crate) fn may_lead(&self) -> bool {
        self.configurations.since(self.commit).any(|configuration| configuration.seats(self.me).any())
    }

    /// The current term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// Whether this replica leads its term, as far as it knows.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// The log, from the last discarded entry on.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The last entry known to be committed; all up to it are applied.
    #[must_use]
    pub fn commit(&self) -> LogIndex {
        self.commit
    }

    /// The state machine.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether a crash would not make this replica forget its term and vote.
    pub(crate) fn term_is_durable(&self) -> bool {
        self.hard_state_at.is_none_or(|position| position < self.durable_before)
    }

    fn role_name(&self) -> &'static str {
        match self.role {
            Role::Follower => "follower",
            Role::PreCandidate(_) => "pre-candidate",
            Role::Candidate(_) => "candidate",
            Role::Leader(_) => "leader",
        }
    }

    /// Why a message is none that a replica could send. Members or not: it is the sender's configuration that counts
    /// (diss. §4.1), and answers are looked at where they count.
    fn impossible(&self, from: ReplicaId, message: &Message) -> Option<DropReason> {
        if from == self.me.replica {
            return Some(DropReason::FromItself);
        }
        let greatest = match message {
            Message::PreVote(m) | Message::RequestVote(m) => m.last.index.0.max(m.last.term.0),
            Message::AppendEntries(m) => m.prev.index.0.max(m.prev.term.0).max(m.commit.0),
            Message::InstallSnapshot(m) => m.id.number.max(m.offset),
            Message::InstallReply(m) => m.received,
            Message::ReadIndexReply(m) => m.index.0,
            Message::PreVoteReply(_)
            | Message::RequestVoteReply(_)
            | Message::AppendReply(_)
            | Message::Forward(_)
            | Message::ForwardReply(_)
            | Message::ReadIndex(_)
            | Message::TimeoutNow(_) => 0,
        };
        let term = message.term().unwrap_or_default();
        (term.0.max(greatest) > NUMBER_MAX).then_some(DropReason::Absurd)
    }
}

impl Protocol for Raft {
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
        seed: u64,
        now: Time,
        disk: Recovered<Self>,
        out: &mut Effects<Self>,
    ) -> Result<Self, RecoverError> {
        let founders = config.validate().map_err(RecoverError::Config)?;
        let Config { replica, incarnation, options, .. } = config;
        let me = Member { replica, incarnation };
        let durable = Durable::read(disk.snapshot.as_ref().map(|(id, _)| *id), disk.records)?;
        let (saved, store, configuration) = match disk.snapshot {
            Some((id, image)) => {
                image.configuration.validate().map_err(RecoverError::Config)?;
                (Some(id), Store::from_image(options.limits, &image.kv), image.configuration)
            }
            None => (None, Store::new(options.limits), Configuration::of(founders)),
        };
        let mut configurations = Configurations::new(durable.base.index, configuration);
        let durable_before = out.next_position();
        let disk_has_both = saved.is_some() && !durable.entries.is_empty();
        if disk_has_both {
            reached!("a replica recovers from a snapshot and entries behind it");
        }
        if durable.log_must_start {
            reached!("a replica recovers from a snapshot that its log does not reach");
            out.record(Record::LogStart { after: durable.base });
        }
        let mut log = Log::new(durable.base);
        for (position, entry) in durable.entries {
            if let Payload::Configuration(configuration) = &entry.payload {
                configurations.append(entry.index, configuration.clone());
            }
            log.push(entry, position);
        }
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(life_seed(seed, me, durable_before, now));
        let mut raft = Self {
            me,
            configurations,
            timing: Timing::new(&options),
            options,
            tickets: Tickets(Ticket(rng.next_u64() >> 1)),
            rng,
            term: durable.term,
            vote: durable.vote,
            hard_state_at: None,
            durable_before,
            durable: log.last().index,
            log,
            commit: durable.base.index,
            applied: durable.base.index,
            store,
            role: Role::Follower,
            leader: None,
            view: LeaderView::default(),
            clock: ElectionClock::new(now),
            pending: VecDeque::new(),
            forwards: Forwards::default(),
            follower_reads: FollowerReads::default(),
            patience_armed: false,
            snapshots: Snapshots::recovered(saved),
            metrics: Metrics::default(),
        };
        raft.restart_election_clock(now, out);
        Ok(raft)
    }

    fn handle_request(&mut self, now: Time, from: ClientId, request: Request, out: &mut Effects<Self>) {
        if let Err(refusal) = request.command.validate() {
            out.early.replies.push((from, Reply { id: request.id, result: Err(refusal) }));
        } else if request.command.is_read_only() {
            let Request { id, routing, command, .. } = request;
            self.handle_read(now, Read { client: from, id, command }, routing, out);
        } else {
            self.handle_write(now, from, request, out);
        }
    }

    fn handle_client_gone(&mut self, _now: Time, from: ClientId) {
        // The commands themselves go on: only nobody waits for them.
        self.pending.retain(|pending| !pending.is_of(from));
        self.forwards.forget_client(from);
        self.follower_reads.forget_client(from);
        if let Role::Leader(leader) = &mut self.role {
            leader.reads.forget_client(from);
        }
    }

    fn handle_message(&mut self, now: Time, from: ReplicaId, message: Message, out: &mut Effects<Self>) {
        if let Some(reason) = self.impossible(from, &message) {
            return self.metrics.drop(reason);
        }
        match message {
            Message::PreVote(m) => self.handle_pre_vote(now, from, m, out),
            Message::PreVoteReply(m) => self.handle_pre_vote_reply(now, from, m, out),
            Message::RequestVote(m) => self.handle_request_vote(now, from, m, out),
            Message::RequestVoteReply(m) => self.handle_request_vote_reply(now, from, m, out),
            Message::AppendEntries(m) => self.handle_append_entries(now, from, m, out),
            Message::AppendReply(m) => self.handle_append_reply(now, from, m, out),
            Message::InstallSnapshot(m) => self.handle_install_snapshot(now, from, m, out),
            Message::InstallReply(m) => self.handle_install_reply(now, from, m, out),
            Message::Forward(m) => self.handle_forward(now, from, m, out),
            Message::ForwardReply(m) => self.handle_forward_reply(m, out),
            Message::ReadIndex(m) => self.handle_read_index(now, from, m, out),
            Message::ReadIndexReply(m) => self.handle_read_index_reply(from, m, out),
            Message::TimeoutNow(term) => self.handle_timeout_now(now, term, out),
        }
    }

    fn handle_timer(&mut self, now: Time, timer: Timer, out: &mut Effects<Self>) {
        match timer {
            Timer::Election => self.handle_election_timer(now, out),
            Timer::Heartbeat => self.handle_heartbeat_timer(now, out),
            Timer::Patience => self.handle_patience(now, out),
        }
    }

    fn handle_durable(&mut self, now: Time, before: JournalPosition, out: &mut Effects<Self>) {
        assert!(before >= self.durable_before, "durable up to {} and now {before}", self.durable_before);
        self.durable_before = before;
        // What a snapshot holds is durable whatever the journal says.
        self.durable = self.durable.max(self.log.durable_upto(before));
        if self.term_is_durable() {
            self.count_own_vote(now, out);
        }
        self.advance_commit(now, out);
    }

    fn handle_snapshot(&mut self, now: Time, event: SnapshotEvent<Image>, out: &mut Effects<Self>) {
        self.handle_snapshot_event(now, event, out);
    }

    fn handle_admin(&mut self, now: Time, request: AdminRequest, out: &mut Effects<Self>) -> AdminReply {
        match request {
            AdminRequest::ChangeMembers { voters } => self.change_members(now, voters, out),
            AdminRequest::TransferLeadership { to } => self.transfer_leadership(now, to),
        }
    }

    fn end_turn(&mut self, now: Time, out: &mut Effects<Self>) {
        self.send_forwards(now, out);
        if self.is_leader() {
            self.begin_read_round(now, out);
            self.replicate(out);
            self.hand_over_if_ready(out);
        } else {
            self.ask_read_index(out);
        }
        self.forwards.send_answers(out);
    }

    fn status(&self) -> Status {
        let (first, last) = (self.log.base().index.next(), self.log.last().index);
        let mut metrics = self.metrics.by_name();
        metrics.insert("log_first_index".to_owned(), first.0);
        metrics.insert("log_last_index".to_owned(), last.0);
        metrics.insert("log_durable_index".to_owned(), self.durable.0);
        metrics.insert("requests_pending".to_owned(), self.requests_held() as u64);
        Status {
            role: self.role_name().to_owned(),
            serves: self.leader.is_some() && !self.cannot_tell_members(),
            leads: self.is_leader(),
            leader: self.leader,
            epoch: self.term.0,
            state: StateMark::at_index(self.applied.0, self.store.digest()),
            behind: self.commit.0 - self.applied.0,
            under_way: self.under_way(),
            members: Some(Members {
                voters: self.configuration().new.lives().clone(),
                changing: self.is_changing() || self.cannot_tell_members(),
            }),
            keys: self.store.len() as u64,
            metrics,
            ..Status::default()
        }
    }

    /// Without its metrics, by which nothing is decided.
    fn fingerprint(&self) -> u64 {
        let mut core = self.clone();
        core.metrics = Metrics::default();
        fingerprint(&core)
    }
}
