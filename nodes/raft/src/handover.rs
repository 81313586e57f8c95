//! Leadership transfer (diss. §3.10).
//!
//! The leader takes no more writes, brings the heir up to date, and tells it to seek election at once. The heir asks for
//! votes without a pre-vote, and in words that free voters from their promise to the leader: the leader has asked
//! for it. A lease rests on that promise, so before the leader says anything of the kind it gives up its lease, for the
//! whole rest of its term: the message may be long on its way, and what follows from it too. Reads are confirmed
//! by rounds from then on.

use crate::change::refused;
use crate::ids::Term;
use crate::members::Member;
use crate::message::Message;
use crate::metrics::DropReason;
use crate::replica::{Raft, Role};
use protocol::{AdminReply, Effects, ReplicaId, Time, reached};

/// Somebody else is to lead.
#[derive(Clone, Debug)]
pub(crate) struct Handover {
    to: Member,
    /// If it does not lead then, this leader goes on.
    until: Time,
    /// Whether it was told, since the last heartbeat.
    told: bool,
}

impl Raft {
    pub(crate) fn transfer_leadership(&mut self, now: Time, to: ReplicaId) -> AdminReply {
        let Role::Leader(leader) = &mut self.role else {
            return AdminReply::NotLeader { leader: self.leader };
        };
        if to == self.me.replica {
            return AdminReply::Accepted;
        }
        let Some(&incarnation) = self.configurations.newest().new.lives().get(&to) else {
            return refused(format!("{to} is no voter"));
        };
        if leader.change.is_some() {
            return refused("a change of members is under way");
        }
        let to = Member { replica: to, incarnation };
        match &leader.handover {
            Some(handover) if handover.to == to => AdminReply::Accepted,
            Some(handover) => refused(format!("leadership is being transferred to {}", handover.to)),
            None => {
                self.metrics.transfers_begun += 1;
                leader.handover = Some(Handover { to, until: now + self.timing.election_max, told: false });
                AdminReply::Accepted
            }
        }
    }

    /// Whether writes have to wait for another leader.
    pub(crate) fn is_handing_over(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.handover.is_some())
    }

    /// At the end of a turn: the heir is told when it has everything.
    pub(crate) fn hand_over_if_ready(&mut self, out: &mut Effects<Self>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(handover) = leader.handover.as_mut().filter(|handover| !handover.told) else { return };
        let heir = leader.followers.iter().find(|progress| progress.member == handover.to);
        if heir.is_some_and(|heir| heir.matched == self.log.last().index) {
            handover.told = true;
            leader.lease_given_up = true;
            out.early.messages.push((handover.to.replica, Message::TimeoutNow(self.term)));
        }
    }

    /// With each heartbeat: the message may have been lost, and the heir too.
    pub(crate) fn retry_handover(&mut self, now: Time) {
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.handover.take_if(|handover| handover.until <= now).is_some() {
            reached!("a transfer of leadership is given up");
            self.metrics.transfers_given_up += 1;
        } else if let Some(handover) = &mut leader.handover {
            handover.told = false;
        }
    }

    /// The leader wants this replica to take its place.
    pub(crate) fn handle_timeout_now(&mut self, now: Time, term: Term, out: &mut Effects<Self>) {
        // In any other term this replica was told already, or is told by nobody who leads.
        if term != self.term
            || !matches!(self.role, Role::Follower | Role::PreCandidate(_))
            || !self.may_lead()
        {
            return self.metrics.drop(DropReason::Stale);
        }
        self.leader = None;
        self.campaign(now, true, out);
    }
}
