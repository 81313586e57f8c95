//! Which member leads.

use super::connection::Connection;
use super::messages::StatusResponse;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How long a member may take to say who leads.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);

/// The member that leads, by what the members say.
pub async fn leader(members: &[SocketAddr]) -> Option<SocketAddr> {
    LeaderFinder::new(members).leader(Instant::now()).await
}

/// Finds the leader for many clients: however many lose it at one time, the members are asked once.
#[derive(Debug)]
pub(super) struct LeaderFinder {
    found: Mutex<Found>,
}

/// What the members said last.
#[derive(Debug)]
struct Found {
    connections: Vec<Connection>,
    leader: Option<SocketAddr>,
    /// When they were asked.
    asked: Option<Instant>,
}

impl LeaderFinder {
    /// Asks these members. To be used within a tokio runtime.
    pub(super) fn new(members: &[SocketAddr]) -> Self {
        let connections =
            members.iter().map(|member| Connection::new(*member, ANSWER_TIMEOUT, Duration::ZERO)).collect();
        Self { found: Mutex::new(Found { connections, leader: None, asked: None }) }
    }

    /// The member that leads, as the members said when asked at `since` or later; `None` if none does.
    pub(super) async fn leader(&self, since: Instant) -> Option<SocketAddr> {
        let mut found = self.found.lock().await;
        if found.asked.is_none_or(|asked| asked < since) {
            found.asked = Some(Instant::now());
            found.leader = ask_all(&mut found.connections).await;
        }
        found.leader
    }
}

/// Asks all members at once, and believes them as soon as a majority agrees, or when all have answered or had their time.
async fn ask_all(connections: &mut [Connection]) -> Option<SocketAddr> {
    let majority = protocol::quorum::majority(connections.len());
    let mut asked: FuturesUnordered<_> = connections.iter_mut().map(ask).collect();
    let mut answers = Vec::with_capacity(asked.len());
    while let Some(answer) = asked.next().await {
        answers.extend(answer);
        if believe(&answers).is_some_and(|(_, votes)| votes >= majority) {
            break;
        }
    }
    believe(&answers).map(|(member, _)| member)
}

async fn ask(connection: &mut Connection) -> Option<(SocketAddr, StatusResponse)> {
    let status = timeout(ANSWER_TIMEOUT, connection.status()).await.ok()?.ok()?;
    Some((connection.member, status))
}

/// The member that says it leads, in the highest term if there are several (one may not know yet that it is deposed), and how
/// many say the same of it.
fn believe(answers: &[(SocketAddr, StatusResponse)]) -> Option<(SocketAddr, usize)> {
    let claims = answers.iter().filter_map(|(member, status)| {
        let header = status.header.as_ref()?;
        (header.member_id == status.leader).then_some((header.raft_term, *member, status.leader))
    });
    let (_, member, id) = claims.max()?;
    Some((member, answers.iter().filter(|(_, status)| status.leader == id).count()))
}

#[cfg(test)]
mod tests {
    use super::super::messages::ResponseHeader;
    use super::*;

    fn status(port: u16, member_id: u64, raft_term: u64, leader: u64) -> (SocketAddr, StatusResponse) {
        let header = Some(ResponseHeader { member_id, raft_term });
        (([127, 0, 0, 1], port).into(), StatusResponse { header, leader })
    }

    #[test]
    fn the_claim_of_the_highest_term_is_believed() {
        assert_eq!(believe(&[]), None);
        assert_eq!(believe(&[status(1, 10, 4, 0), status(2, 20, 4, 0)]), None, "an election is under way");
        let deposed = status(1, 10, 4, 10);
        let answers = [deposed, status(2, 20, 5, 20), status(3, 30, 5, 20)];
        assert_eq!(believe(&answers), Some((answers[1].0, 2)));
        assert_eq!(believe(&answers[..1]), Some((answers[0].0, 1)), "nobody contradicts it");
    }
}
