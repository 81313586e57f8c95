//! The operator of a group: what is asked goes to whoever leads, again and again until it is done.

use protocol::{AdminReply, AdminRequest, Incarnation, NodeId, Placement, ReplicaId, Status};
use std::collections::BTreeMap;

/// The nodes whose replicas vote, each with the life of its disk.
pub type Voters = BTreeMap<NodeId, Incarnation>;

/// What is asked, and what came of it. Pure: it is told of statuses, and says what to ask of whom.
#[derive(Debug)]
pub struct Operator {
    placement: Placement,
    /// Who votes, as far as the operator has seen.
    voters: Voters,
    want: Option<Voters>,
    /// Whether anything was ever wanted.
    has_wanted: bool,
    /// Whether a leader has taken on what is wanted.
    pub accepted: bool,
    transfer_to: Option<NodeId>,
    /// Whether the one who was to lead was seen to.
    pub transferred: bool,
}

impl Operator {
    /// One whose group began with these.
    #[must_use]
    pub fn new(founders: Vec<NodeId>, placement: Placement) -> Self {
        Self {
            placement,
            voters: founders.into_iter().map(|founder| (founder, Incarnation(0))).collect(),
            want: None,
            has_wanted: false,
            accepted: false,
            transfer_to: None,
            transferred: false,
        }
    }

    /// Who votes, as far as the operator has seen.
    #[must_use]
    pub fn voters(&self) -> &Voters {
        &self.voters
    }

    /// Who is to vote, if that is still to be brought about.
    #[must_use]
    pub fn wish(&self) -> Option<&Voters> {
        self.want.as_ref()
    }

    /// Whether there is something to look after.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.want.is_some() || self.transfer_to.is_some()
    }

    /// From now on these are to vote.
    pub fn want(&mut self, voters: Voters) {
        self.want = Some(voters);
        self.has_wanted = true;
        self.accepted = false;
    }

    /// What was seen of the members may have been said by a leader that was deposed already, and was not told: if they were ever to
    /// change, they are asked for once more.
    pub fn confirm(&mut self) {
        if self.has_wanted && self.want.is_none() {
            self.want = Some(self.voters.clone());
        }
    }

    /// From now on this one is to lead.
    pub fn transfer(&mut self, to: NodeId) {
        self.transfer_to = Some(to);
        self.transferred = false;
    }

    /// Nobody is to lead any more: whoever leads may.
    pub fn leave_it(&mut self) {
        self.transfer_to = None;
    }

    /// Takes in how things are with all who say that they lead; whom to ask for what is not done.
    #[must_use]
    pub fn look(&mut self, leaders: &[(NodeId, Status)]) -> Vec<(NodeId, AdminRequest)> {
        let newest = leaders.iter().max_by_key(|(_, status)| status.epoch);
        let Some((leader, status)) = newest else { return Vec::new() };
        if self.transfer_to == Some(*leader) {
            self.transferred = true;
            self.transfer_to = None;
        }
        if let Some(voters) = status.certain_voters().map(|voters| self.nodes_of(voters))
            && self.want.as_ref() == Some(&voters)
        {
            self.accepted = true;
            self.voters = voters;
            self.want = None;
        }
        let mut requests = Vec::new();
        for (leader, _) in leaders {
            if let Some(voters) = &self.want {
                requests.push((*leader, AdminRequest::ChangeMembers { voters: self.replicas_of(voters) }));
            }
            if let Some(to) = self.transfer_to.and_then(|node| self.placement.replica_of(node)) {
                requests.push((*leader, AdminRequest::TransferLeadership { to }));
            }
        }
        requests
    }

    /// Whether somebody who says this believes what the operator does: of protocols whose members change.
    #[must_use]
    pub fn is_believed_by(&self, status: &Status) -> bool {
        status.members.is_none()
            || status.certain_voters().is_some_and(|voters| self.nodes_of(voters) == self.voters)
    }

    fn nodes_of(&self, voters: &BTreeMap<ReplicaId, Incarnation>) -> Voters {
        let node =
            |(replica, life): (&ReplicaId, &Incarnation)| Some((self.placement.node_of(*replica)?, *life));
        voters.iter().filter_map(node).collect()
    }

    fn replicas_of(&self, voters: &Voters) -> BTreeMap<ReplicaId, Incarnation> {
        let replica =
            |(node, life): (&NodeId, &Incarnation)| Some((self.placement.replica_of(*node)?, *life));
        voters.iter().filter_map(replica).collect()
    }

    /// What came of a request.
    pub fn heard(&mut self, request: &AdminRequest, reply: &AdminReply) {
        self.accepted |=
            matches!((request, reply), (AdminRequest::ChangeMembers { .. }, AdminReply::Accepted));
    }
}

/// `n1,n2i1`.
#[must_use]
pub fn in_words(voters: &Voters) -> String {
    let word = |(replica, life): (&NodeId, &Incarnation)| match life {
        Incarnation(0) => replica.to_string(),
        later => format!("{replica}{later}"),
    };
    voters.iter().map(word).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Members;

    fn ids(ids: &[u32]) -> Voters {
        ids.iter().map(|id| (NodeId(*id), Incarnation(0))).collect()
    }

    fn leads(node: u32, epoch: u64, voters: &[u32], changing: bool) -> (NodeId, Status) {
        let voters = voters.iter().map(|id| (ReplicaId(*id), Incarnation(0))).collect();
        (
            NodeId(node),
            Status { leads: true, epoch, members: Some(Members { voters, changing }), ..Status::default() },
        )
    }

    #[test]
    fn whoever_leads_is_asked_until_it_is_done() {
        let mut operator = Operator::new(vec![NodeId(1), NodeId(2)], Placement::one_each(3));
        assert!(operator.look(&[leads(1, 1, &[1, 2], false)]).is_empty());
        operator.want(ids(&[2, 3]));
        assert!(operator.look(&[]).is_empty() && operator.is_busy());
        // Two say that they lead, and an operator cannot tell.
        let asked = operator.look(&[leads(1, 1, &[1, 2], false), leads(2, 2, &[1, 2], false)]);
        assert_eq!(asked.iter().map(|(node, _)| node.0).collect::<Vec<_>>(), [1, 2]);
        operator.heard(&asked[0].1, &AdminReply::NotLeader { leader: None });
        assert!(!operator.accepted);
        operator.heard(&asked[1].1, &AdminReply::Accepted);
        let asked = operator.look(&[leads(2, 2, &[2, 3], true)]);
        assert!(operator.accepted && asked.len() == 1, "whether that stays is not certain");
        assert_eq!(operator.voters(), &ids(&[1, 2]), "it is not done");
        assert!(operator.look(&[leads(2, 2, &[2, 3], false)]).is_empty());
        assert_eq!((operator.voters(), operator.is_busy()), (&ids(&[2, 3]), false));
        // It was a leader that had been deposed who said so.
        operator.confirm();
        assert_eq!(operator.look(&[leads(3, 3, &[1, 2], false)]).len(), 1);
        assert!(operator.look(&[leads(3, 3, &[2, 3], false)]).is_empty() && !operator.is_busy());
    }

    #[test]
    fn members_that_were_never_to_change_are_not_asked_for() {
        let mut operator = Operator::new(vec![NodeId(1)], Placement::one_each(1));
        operator.confirm();
        assert!(!operator.is_busy());
    }

    #[test]
    fn a_transfer_is_asked_for_until_it_is_seen_or_nobody_cares() {
        let mut operator = Operator::new(vec![NodeId(1), NodeId(2)], Placement::one_each(3));
        operator.transfer(NodeId(2));
        for _ in 0..2 {
            let asked = operator.look(&[leads(1, 1, &[1, 2], false)]);
            assert_eq!(asked, [(NodeId(1), AdminRequest::TransferLeadership { to: ReplicaId(2) })]);
        }
        assert!(operator.look(&[leads(1, 1, &[1, 2], false), leads(2, 2, &[1, 2], false)]).is_empty());
        assert!(operator.transferred && !operator.is_busy());
        operator.transfer(NodeId(1));
        operator.leave_it();
        assert!(operator.look(&[leads(2, 2, &[1, 2], false)]).is_empty() && !operator.transferred);
    }
}
