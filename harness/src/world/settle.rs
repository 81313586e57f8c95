//! Waiting for a cluster that nobody disturbs to come to one leader and one state.

use crate::world::cluster::Cluster;
use anyhow::bail;
use checkers::digests::Settled;
use nemesis::World;
use protocol::{ReplicaId, Status};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Asks every node for its status until one leads and all who vote follow it.
///
/// # Errors
/// If that takes longer than `deadline`.
pub(crate) async fn wait_for_agreement(cluster: &mut Cluster, deadline: Duration) -> anyhow::Result<()> {
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
            let placement = cluster.placement();
            let replicas = placement.iter().map(|(_, replica)| replica).collect();
            if let Some(voters) = followed_by_all(&statuses, replicas) {
                cluster.saw_voters(voters.into_iter().flat_map(|voter| placement.nodes_of(voter)));
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    if agreed.await.is_err() { bail!("no leader that all voters follow within {deadline:?}") } else { Ok(()) }
}

/// Who votes, if all of them follow the one who leads and nothing is changing. Where members cannot change all vote.
fn followed_by_all(
    statuses: &BTreeMap<ReplicaId, Status>,
    replicas: Vec<ReplicaId>,
) -> Option<Vec<ReplicaId>> {
    let leaders = statuses.iter().filter(|(_, status)| status.is_leader);
    let (leader, status) = leaders.max_by_key(|(_, status)| status.epoch)?;
    let voters: Vec<_> =
        if status.voters.is_empty() { replicas } else { status.voters.keys().copied().collect() };
    let follows = |voter: &ReplicaId| statuses.get(voter).is_some_and(|s| s.leader == Some(*leader));
    (!status.changing && voters.iter().all(follows)).then_some(voters)
}

/// Asks all who vote for their state until all say the same, but no longer than `bound`: nobody asks anything of them any more, so
/// they must come to the same place. `None` where states are not told.
pub(crate) async fn wait_for_one_state(cluster: &mut Cluster, bound: Duration) -> Option<Settled> {
    cluster.system().agreement().ok()?;
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
        let is_one = silent.is_empty()
            && last.windows(2).all(|pair| (pair[0].mark, &pair[0].ranges) == (pair[1].mark, &pair[1].ranges))
            && last.iter().all(|sighting| sighting.behind == 0 && sighting.under_way.is_empty());
        if is_one || Instant::now() >= deadline {
            let bound_ms = u64::try_from(bound.as_millis()).expect("some seconds");
            return Some(Settled { bound_ms, last, silent });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Incarnation;

    fn status(epoch: u64, leader: u32, own: u32, voters: &[u32]) -> (ReplicaId, Status) {
        let voters = voters.iter().map(|id| (ReplicaId(*id), Incarnation(0))).collect();
        let is_leader = leader == own;
        let leader = Some(ReplicaId(leader));
        (ReplicaId(own), Status { epoch, leader, is_leader, voters, ..Status::default() })
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
        assert_eq!(followed_by_all(&statuses, ids.clone()), None, "the fourth is silent");
        statuses.extend([status(2, 3, 4, &[2, 3, 4])]);
        assert_eq!(followed_by_all(&statuses, ids.clone()), Some(ids[1..].to_vec()));
        statuses.get_mut(&ids[2]).expect("it is there").changing = true;
        assert_eq!(followed_by_all(&statuses, ids.clone()), None);
        let fixed = BTreeMap::from([status(0, 1, 1, &[])]);
        assert_eq!(followed_by_all(&fixed, ids[..1].to_vec()), Some(ids[..1].to_vec()));
    }
}
