//! Waiting for a cluster that nobody disturbs to serve, and to come to one state.

use crate::world::cluster::Cluster;
use anyhow::bail;
use checkers::digests::{Settled, are_at_rest};
use protocol::{ReplicaId, Status};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Asks every node for its status until all members serve, under one leader where there is one.
///
/// # Errors
/// If that takes longer than `deadline`.
pub(crate) async fn wait_until_it_serves(cluster: &mut Cluster, deadline: Duration) -> anyhow::Result<()> {
    if !cluster.system().is_ours() {
        return Ok(());
    }
    let agreed = timeout(deadline, async {
        loop {
            let mut statuses = BTreeMap::new();
            for id in cluster.nodes() {
                if let Ok(status) = cluster.status(id).await {
                    statuses.insert(status.replica, status.core);
                }
            }
            let placement = cluster.placement().clone();
            let replicas = placement.iter().map(|(_, replica)| replica).collect();
            if let Some(voters) = served_by_all(&statuses, replicas) {
                cluster.saw_voters(voters.into_iter().flat_map(|voter| placement.nodes_of(voter)));
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    if agreed.await.is_err() { bail!("not all members serve within {deadline:?}") } else { Ok(()) }
}

/// Who is a member, if all of them serve and follow the same leader, where there is such a thing, and nothing is changing.
fn served_by_all(statuses: &BTreeMap<ReplicaId, Status>, replicas: Vec<ReplicaId>) -> Option<Vec<ReplicaId>> {
    let newest = statuses.values().max_by_key(|status| (status.epoch, status.leads))?;
    let members = match &newest.members {
        None => replicas,
        Some(_) => newest.certain_voters()?.keys().copied().collect(),
    };
    let leads = |leader: &ReplicaId| statuses.get(leader).is_some_and(|status| status.leads);
    let serves = |member: &ReplicaId| {
        statuses.get(member).is_some_and(|status| status.serves && status.leader == newest.leader)
    };
    (newest.leader.iter().all(leads) && members.iter().all(serves)).then_some(members)
}

/// Asks all who vote for their state until all say the same, but no longer than `bound`: nobody asks anything of them any more, so
/// they must come to the same place. `None` where states are not told.
pub(crate) async fn wait_for_one_state(cluster: &mut Cluster, bound: Duration) -> Option<Settled> {
    cluster.system().properties().marks.ok()?;
    let deadline = Instant::now() + bound;
    loop {
        let (mut last, mut silent) = (Vec::new(), Vec::new());
        for id in cluster.voters() {
            match cluster.status(id).await {
                Ok(status) => last.push(cluster.sighting(&status)),
                Err(error) => {
                    tracing::warn!(node = %id, %error, "it does not tell its state");
                    silent.push(id.to_string());
                }
            }
        }
        if silent.is_empty() && are_at_rest(&last) || Instant::now() >= deadline {
            let bound_ms = u64::try_from(bound.as_millis()).expect("some seconds");
            return Some(Settled { bound_ms, last, silent });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Incarnation, Members};

    fn status(epoch: u64, leader: u32, own: u32, voters: &[u32]) -> (ReplicaId, Status) {
        let voters = voters.iter().map(|id| (ReplicaId(*id), Incarnation(0))).collect();
        let leads = leader == own;
        let leader = Some(ReplicaId(leader));
        let members = Some(Members { voters, changing: false });
        (ReplicaId(own), Status { epoch, leader, leads, serves: true, members, ..Status::default() })
    }

    #[test]
    fn only_those_who_vote_have_to_follow_and_an_old_leader_does_not_count() {
        let ids: Vec<_> = (1..=4).map(ReplicaId).collect();
        // The first was left out, and believes that it leads still.
        let mut statuses = BTreeMap::from([
            status(1, 1, 1, &[1, 2, 3]),
            status(2, 3, 2, &[2, 3, 4]),
            status(2, 3, 3, &[2, 3, 4]),
        ]);
        assert_eq!(served_by_all(&statuses, ids.clone()), None, "the fourth is silent");
        statuses.extend([status(2, 3, 4, &[2, 3, 4])]);
        assert_eq!(served_by_all(&statuses, ids.clone()), Some(ids[1..].to_vec()));
        let third = statuses.get_mut(&ids[2]).expect("it is there");
        third.members.as_mut().expect("it has members").changing = true;
        assert_eq!(served_by_all(&statuses, ids.clone()), None);
        // Where members are fixed and nobody leads, all have to serve.
        let fixed = |serve: [bool; 2]| {
            let status = |serves| Status { serves, ..Status::default() };
            let statuses = ids.iter().copied().zip(serve.map(status)).collect();
            served_by_all(&statuses, ids[..2].to_vec())
        };
        assert_eq!(fixed([true, true]), Some(ids[..2].to_vec()));
        assert_eq!(fixed([true, false]), None);
    }
}
