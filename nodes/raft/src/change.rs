//! Changes of members by joint consensus (§6; diss. §4.3), at the leader.
//!
//! Whoever is to vote and does not yet is a *newcomer* first (diss. §4.2.1): it gets the log, and counts for nothing. When
//! all newcomers have caught up, `C_old,new` is appended: from there on majorities of both sets decide. When that is
//! committed, `C_new` is appended, by whoever leads then. When that is committed, a leader that is not in
//! it steps down.
//!
//! Newcomers are known to their leader alone, and to no log: if the leader is deposed before `C_old,new`, the change
//! has not happened, and nothing is left of it.

use crate::bugs::Bug;
use crate::ids::LogIndex;
use crate::members::{Configuration, Member, Members};
use crate::message::Message;
use crate::progress::Progress;
use crate::record::Payload;
use crate::replica::{Raft, Role};
use protocol::{AdminReply, Effects, Incarnation, ReplicaId, Time, reached};
use std::collections::BTreeMap;

/// Newcomers are catching up.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    target: Members,
    newcomers: Vec<Newcomer>,
    /// The change is given up then.
    until: Time,
}

/// Who catches up, in rounds: each brings it what the log had when the round began. The last round was short
/// enough if it took no longer than clients may have to wait anyway (diss. §4.2.1).
#[derive(Clone, Debug)]
struct Newcomer {
    member: Member,
    /// The end of the log when its round began.
    goal: LogIndex,
    began: Time,
    ready: bool,
}

pub(crate) fn refused(reason: impl Into<String>) -> AdminReply {
    AdminReply::Refused { reason: reason.into() }
}

impl Raft {
    pub(crate) fn change_members(
        &mut self,
        now: Time,
        voters: BTreeMap<ReplicaId, Incarnation>,
        out: &mut Effects<Self>,
    ) -> AdminReply {
        let target = match Members::new(voters) {
            Ok(target) => target,
            Err(reason) => return refused(reason),
        };
        let configuration = self.configurations.newest();
        let settled = self.is_settled();
        let Role::Leader(leader) = &mut self.role else {
            return AdminReply::NotLeader { leader: self.leader };
        };
        match &leader.change {
            Some(change) if change.target == target => return AdminReply::Accepted,
            None if configuration.new == target => return AdminReply::Accepted,
            Some(_) => return refused("a change of members is under way"),
            None => {}
        }
        let one_by_one =
            self.options.bugs.has(Bug::SingleServerChange) && differ_by_one(configuration, &target);
        // Otherwise an earlier leader's uncommitted change might have majorities of its own (Ongaro, 2015).
        if self.commit < leader.noop && !one_by_one {
            reached!("a change of members comes before the leader has committed an entry of its term");
            return refused("this leader has not committed an entry of its own term yet");
        }
        if !settled {
            return refused("a change of members is under way");
        }
        if leader.handover.is_some() {
            return refused("leadership is being transferred");
        }
        if let Err(reason) = check_lives(configuration, &target, self.me) {
            return refused(reason);
        }
        if one_by_one {
            self.append(now, Payload::Configuration(Configuration::of(target)), out);
            return AdminReply::Accepted;
        }
        let goal = self.log.last().index;
        let mut newcomers = Vec::new();
        for member in target.iter().filter(|&member| member != self.me) {
            if !configuration.new.contains(member) {
                // It may have been left out a moment ago.
                if leader.follower(member).is_none() {
                    leader.followers.push(Progress::new(member, now, goal));
                }
                newcomers.push(Newcomer { member, goal, began: now, ready: false });
            }
        }
        self.metrics.changes_begun += 1;
        leader.change = Some(Change { target, newcomers, until: now + self.timing.catch_up });
        self.bring_up_newcomers(now, out);
        AdminReply::Accepted
    }

    /// Begins joint consensus if all newcomers have caught up.
    pub(crate) fn bring_up_newcomers(&mut self, now: Time, out: &mut Effects<Self>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(change) = &mut leader.change else { return };
        let last = self.log.last().index;
        for newcomer in change.newcomers.iter_mut().filter(|newcomer| !newcomer.ready) {
            let mut followers = leader.followers.iter();
            let progress = followers.find(|progress| progress.member == newcomer.member);
            if progress.expect("a newcomer is sent the log").matched < newcomer.goal {
                continue;
            }
            newcomer.ready = now < newcomer.began + self.timing.sticky;
            if !newcomer.ready {
                reached!("a newcomer needs another round to catch up");
                (newcomer.goal, newcomer.began) = (last, now);
            }
        }
        // Two sets decide more slowly than one, so nobody gets a vote who has fallen silent since.
        let silent_since = |newcomer: &Newcomer| {
            let mut followers = leader.followers.iter();
            followers.find(|progress| progress.member == newcomer.member).map(|progress| progress.heard_at)
        };
        let attends = |newcomer: &Newcomer| {
            newcomer.ready && silent_since(newcomer).is_some_and(|at| now < at + self.timing.election_max)
        };
        if !change.newcomers.iter().all(attends) {
            return;
        }
        if !change.newcomers.is_empty() {
            reached!("newcomers have caught up and get votes");
        }
        let new = leader.change.take().expect("just looked at").target;
        let old = Some(self.configurations.newest().new.clone());
        reached!("joint consensus begins");
        self.append(now, Payload::Configuration(Configuration { old, new }), out);
    }

    /// Whether the newest configuration is committed and not joint.
    fn is_settled(&self) -> bool {
        !self.configurations.newest().is_joint() && self.configurations.newest_at() <= self.commit
    }

    /// With each heartbeat: newcomers that do not catch up do not keep others from asking for something else, and who was
    /// left out has been told by now.
    pub(crate) fn expire_change(&mut self, now: Time) {
        let settled = self.is_settled();
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.change.take_if(|change| change.until <= now).is_some() {
            reached!("a newcomer does not catch up, and the change is given up");
            self.metrics.changes_given_up += 1;
        }
        if settled && leader.change.is_none() {
            leader.followers.retain(|progress| progress.seats.any());
        }
    }

    /// More is committed at this leader than `before`: a change may go on, or be over.
    pub(crate) fn conclude_change(&mut self, now: Time, before: LogIndex, out: &mut Effects<Self>) {
        let (newest, at) = (self.configurations.newest(), self.configurations.newest_at());
        if at > self.commit || at <= before && !newest.is_joint() {
            return;
        }
        if newest.is_joint() {
            if matches!(&self.role, Role::Leader(leader) if at < leader.noop) {
                reached!("a leader completes the change that an earlier one began");
            }
            let new = newest.new.clone();
            self.append(now, Payload::Configuration(Configuration::of(new)), out);
            return;
        }
        let Role::Leader(leader) = &mut self.role else { return };
        self.metrics.changes_done += 1;
        if leader.seats.any() {
            // Everybody is told at once: who is left out gives up seeking election when it knows.
            leader.begin_round(now, newest);
            return;
        }
        reached!("a leader that is no member any more steps down");
        // Rather than have the others wait for an election timeout.
        let voters = leader.followers.iter().filter(|progress| progress.seats.any());
        let heir = voters.max_by_key(|progress| progress.matched);
        if let Some(heir) = heir.map(|progress| progress.member.replica) {
            out.early.messages.push((heir, Message::TimeoutNow(self.term)));
        }
        self.become_follower(now, self.term, out);
    }
}

/// Of each replica a life that there can still be.
fn check_lives(configuration: &Configuration, target: &Members, me: Member) -> Result<(), String> {
    for member in target.iter() {
        let known = configuration.new.lives().get(&member.replica);
        if let Some(known) = known.filter(|known| **known > member.incarnation) {
            return Err(format!("{member} was followed by {known} already"));
        }
        if member.replica == me.replica && member != me {
            return Err(format!("{me} leads, so there is no {member}"));
        }
    }
    Ok(())
}

fn differ_by_one(configuration: &Configuration, target: &Members) -> bool {
    let both = |a: &Members, b: &Members| a.iter().filter(|member| !b.contains(*member)).count();
    both(&configuration.new, target) + both(target, &configuration.new) == 1
}
