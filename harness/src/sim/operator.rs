//! The operator of a simulated run: what is asked of a group goes to whoever leads, again and again until it is done.

use super::subject::KvCore;
use protocol::{AdminReply, AdminRequest, Incarnation, ReplicaId, Status};
use sim::{Cluster, Observer};
use std::collections::BTreeMap;

/// Who votes, each with the life of its disk.
pub(crate) type Voters = BTreeMap<ReplicaId, Incarnation>;

/// What is asked, and what came of it.
#[derive(Debug)]
pub(crate) struct Operator {
    /// Who votes, as far as the operator has seen.
    voters: Voters,
    want: Option<Voters>,
    /// Whether a leader has taken on what is wanted.
    pub(crate) accepted: bool,
    transfer_to: Option<ReplicaId>,
    /// Whether the one who was to lead was seen to.
    pub(crate) transferred: bool,
}

impl Operator {
    pub(crate) fn new(founders: impl Iterator<Item = ReplicaId>) -> Self {
        Self {
            voters: founders.map(|founder| (founder, Incarnation(0))).collect(),
            want: None,
            accepted: false,
            transfer_to: None,
            transferred: false,
        }
    }

    /// Who votes, as far as the operator has seen.
    pub(crate) fn voters(&self) -> &Voters {
        &self.voters
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.want.is_none()
    }

    /// From now on these are to vote.
    pub(crate) fn want(&mut self, voters: Voters) {
        self.want = Some(voters);
        self.accepted = false;
    }

    /// From now on this one is to lead.
    pub(crate) fn transfer(&mut self, to: ReplicaId) {
        self.transfer_to = Some(to);
        self.transferred = false;
    }

    /// What is wanted in words.
    pub(crate) fn wish(&self) -> String {
        self.want.as_ref().map_or("nothing".to_owned(), in_words)
    }

    /// Looks how things are, and asks again for what is not done.
    pub(crate) fn look<P: KvCore>(&mut self, cluster: &mut Cluster<P>, observer: &mut impl Observer<P>) {
        let Some((leader, status)) = leader(cluster) else { return };
        self.transferred |= self.transfer_to == Some(leader);
        let Some(want) = self.want.clone() else { return };
        if status.voters == want && !status.changing {
            self.accepted = true;
            self.voters = want;
            self.want = None;
            return;
        }
        // Whoever thinks that it leads: an operator cannot tell.
        for leader in
            leaders(cluster).into_iter().filter(|(_, status)| !status.changing).map(|(leader, _)| leader)
        {
            let asked = cluster.admin(leader, AdminRequest::ChangeMembers { voters: want.clone() }, observer);
            self.accepted |= asked == Some(AdminReply::Accepted);
        }
    }

    /// Whether what is wanted may still be changed: nobody waits for a new disk to vote.
    pub(crate) fn may_change_its_mind(&self) -> bool {
        self.want.as_ref().is_none_or(|want| {
            want.iter().all(|(node, life)| self.voters.get(node).is_none_or(|old| old == life))
        })
    }
}

/// `n1,n2i1`.
pub(crate) fn in_words(voters: &Voters) -> String {
    let word = |(replica, life): (&ReplicaId, &Incarnation)| match life {
        Incarnation(0) => replica.to_string(),
        later => format!("{replica}{later}"),
    };
    voters.iter().map(word).collect::<Vec<_>>().join(",")
}

/// Who leads as far as those who are up can tell, and what it says.
pub(crate) fn leader<P: KvCore>(cluster: &Cluster<P>) -> Option<(ReplicaId, Status)> {
    leaders(cluster).into_iter().max_by_key(|(_, status)| status.epoch)
}

fn leaders<P: KvCore>(cluster: &Cluster<P>) -> Vec<(ReplicaId, Status)> {
    let statuses = cluster.replicas().filter_map(|node| Some((node, cluster.status(node)?)));
    statuses.filter(|(_, status)| status.is_leader).collect()
}
