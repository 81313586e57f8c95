//! Keeping a connection to a peer up.

use super::hello::{Group, HELLO_BYTES_MAX, Welcome};
use crate::door::DOOR_PATIENCE;
use crate::event::Event;
use crate::framed::{FrameReader, ReadError};
use crate::outbound::Outbound;
use crate::security::{Connection, Security};
use kv::Serves;
use protocol::{NodeId, codec, frame};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
const BACKOFF_LEAST: Duration = Duration::from_millis(20);
const BACKOFF_MOST: Duration = Duration::from_millis(500);
/// A connection whose data nobody acknowledges for so long is given up, so that a link which was cut below TCP does
/// not stay silent for TCP's own minutes after it has healed.
const UNACKNOWLEDGED_MOST: Duration = Duration::from_secs(3);

/// Why there is no connection (any more).
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0} within the time given")]
    Silent(&'static str),
    #[error("turned away: {0}")]
    TurnedAway(String),
    #[error("the peer closed the connection")]
    Closed,
}

/// Dials until the node stops.
pub(crate) async fn keep_connected<P: Serves>(
    group: Group,
    security: Security,
    peer: NodeId,
    seed: u64,
    events: mpsc::Sender<Event<P>>,
) {
    let address = group.peers[&peer];
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed ^ u64::from(peer.0));
    let mut backoff = BACKOFF_LEAST;
    loop {
        let ended = match connect(&group, &security, peer, address).await {
            Ok((frames, outbound)) => {
                tracing::debug!(%peer, %address, "connected");
                backoff = BACKOFF_LEAST;
                if events.send(Event::PeerConnected { peer, outbound }).await.is_err() {
                    return;
                }
                let ended = wait_for_end(frames).await;
                if events.send(Event::PeerGone { peer }).await.is_err() {
                    return;
                }
                ended
            }
            Err(error) => error,
        };
        let wait = backoff.mul_f64(chance.random_range(0.5..1.5));
        tracing::debug!(%peer, %address, error = %ended, ?wait, "not connected");
        tokio::time::sleep(wait).await;
        backoff = (backoff * 2).min(BACKOFF_MOST);
    }
}

async fn connect(
    group: &Group,
    security: &Security,
    peer: NodeId,
    address: SocketAddr,
) -> Result<(FrameReader, Outbound), DialError> {
    let stream = timeout(CONNECT_PATIENCE, TcpStream::connect(address))
        .await
        .map_err(|_elapsed| DialError::Silent("no connection"))??;
    SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MOST))?;
    timeout(DOOR_PATIENCE, greet(group, security, peer, stream))
        .await
        .map_err(|_elapsed| DialError::Silent("no welcome"))?
}

async fn greet(
    group: &Group,
    security: &Security,
    peer: NodeId,
    stream: TcpStream,
) -> Result<(FrameReader, Outbound), DialError> {
    let Connection { mut frames, mut outbound, .. } =
        security.dial(group.replica_of(peer), stream, HELLO_BYTES_MAX).await?;
    frame::frame_into(outbound.buffer(), |out| codec::encode_into(&group.hello(peer), out));
    outbound.flush_all().await?;
    match frames.next::<Welcome>().await? {
        Some((Welcome::Yes, _)) => Ok((frames, outbound)),
        Some((Welcome::No(reason), _)) => Err(DialError::TurnedAway(reason)),
        None => Err(DialError::Closed),
    }
}

/// Nothing comes back on a connection that we dialled but its end.
async fn wait_for_end(mut frames: FrameReader) -> DialError {
    match frames.next::<Welcome>().await {
        Ok(None) => DialError::Closed,
        Ok(Some(_)) => DialError::TurnedAway("a second welcome".to_owned()),
        Err(error) => error.into(),
    }
}
