//! Waiting for a cluster that nobody disturbs to come to one leader and one state.

use crate::world::local::{LocalCluster, sighting};
use anyhow::bail;
use checkers::digests::Settled;
use nemesis::World;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Asks every node for its status until one leads, all that run know it, and it is the same.
///
/// # Errors
/// If that takes longer than `deadline`.
pub(crate) async fn wait_for_agreement(cluster: &mut LocalCluster, deadline: Duration) -> anyhow::Result<()> {
    if !cluster.system().is_ours() {
        return Ok(());
    }
    let agreed = timeout(deadline, async {
        loop {
            let mut leaders = Vec::new();
            for id in cluster.nodes() {
                leaders.push(cluster.status(id).await.ok().and_then(|status| status.core.leader));
            }
            if leaders[0].is_some() && leaders.iter().all(|leader| *leader == leaders[0]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    if agreed.await.is_err() { bail!("no leader that all nodes follow within {deadline:?}") } else { Ok(()) }
}

/// Asks every node for its state until all say the same, but no longer than `bound`: nobody asks anything of them any more, so
/// they must come to the same place. `None` where states are not told.
pub(crate) async fn wait_for_one_state(cluster: &mut LocalCluster, bound: Duration) -> Option<Settled> {
    cluster.system().agreement().ok()?;
    let deadline = Instant::now() + bound;
    loop {
        let (mut last, mut silent) = (Vec::new(), Vec::new());
        for id in cluster.nodes() {
            match cluster.status(id).await {
                Ok(status) => last.push(sighting(&status)),
                Err(error) => {
                    tracing::warn!(node = %id, %error, "it does not tell its state");
                    silent.push(id.to_string());
                }
            }
        }
        let is_one = silent.is_empty()
            && last
                .windows(2)
                .all(|pair| (pair[0].applied, pair[0].digest) == (pair[1].applied, pair[1].digest));
        if is_one || Instant::now() >= deadline {
            let bound_ms = u64::try_from(bound.as_millis()).expect("some seconds");
            return Some(Settled { bound_ms, last, silent });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
