//! Which member leads.

use super::connection::Connection;
use super::messages::StatusResponse;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

/// How long a member may take to say who leads.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);

/// The member that leads, by what the members say: asked all at once, believed as soon as a majority agrees, or when all have
/// answered or had their time.
pub async fn leader(members: &[SocketAddr]) -> Option<SocketAddr> {
    let mut asked: FuturesUnordered<_> = members.iter().map(|member| ask(*member)).collect();
    let mut answers = Vec::with_capacity(members.len());
    while let Some(answer) = asked.next().await {
        answers.extend(answer);
        let agreed = believe(&answers);
        if agreed.is_some_and(|(_, votes)| votes >= protocol::quorum::majority(members.len())) {
            break;
        }
    }
    believe(&answers).map(|(member, _)| member)
}

async fn ask(member: SocketAddr) -> Option<(SocketAddr, StatusResponse)> {
    let mut connection = Connection::new(member, ANSWER_TIMEOUT);
    let status = timeout(ANSWER_TIMEOUT, connection.status()).await.ok()?.ok()?;
    Some((member, status))
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
