//! The peer port: messages from other replicas.

use super::hello::{Group, HELLO_BYTES_MAX, Hello, Welcome};
use super::packet::Packet;
use crate::client_port::ACCEPT_BACKOFF;
use crate::door::{Door, Unadmitted};
use crate::event::Event;
use crate::framed::ReadError;
use crate::security::{Connection, Security};
use kv::Serves;
use protocol::{NodeId, codec, frame};
use std::io;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

/// Connections at once. A peer needs one; the rest is room for those that are about to end.
const CONNECTIONS_MAX: usize = 256;
/// Connections at once from one address before their hello. A peer needs one, for a few milliseconds.
const HELLOS_MAX: usize = 256;

/// Why a connection is dropped.
#[derive(Debug, thiserror::Error)]
enum AcceptError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Unadmitted(#[from] Unadmitted),
    #[error("a stranger: {0}")]
    Stranger(String),
}

/// Serves the port until the node stops.
pub(crate) async fn serve<P: Serves>(
    listener: TcpListener,
    security: Security,
    group: Group,
    events: mpsc::Sender<Event<P>>,
) {
    let door = Door::new(HELLOS_MAX);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting a peer");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let at_door = door.enter(address.ip());
        let (security, places) = (security.clone(), Arc::clone(&places));
        let (group, events) = (group.clone(), events.clone());
        tokio::spawn(async move {
            let (from, connection) = match at_door.greet(greet(stream, &security, &group)).await {
                Ok(Some(greeted)) => greeted,
                Ok(None) => return,
                Err(error) => return tracing::info!(%address, %error, "peer connection dropped"),
            };
            let Ok(_place) = places.try_acquire() else {
                return tracing::warn!(%address, "peer turned away: {CONNECTIONS_MAX} are connected");
            };
            if let Err(error) = read_messages(from, connection, &events).await {
                tracing::info!(%address, %error, "peer connection dropped");
            }
        });
    }
}

/// Who it is; `None`: it left without a word.
async fn greet(
    stream: TcpStream,
    security: &Security,
    group: &Group,
) -> Result<Option<(NodeId, Connection)>, AcceptError> {
    let mut connection = security.accept(stream, HELLO_BYTES_MAX).await?;
    let Some((hello, _)) = connection.frames.next::<Hello>().await? else { return Ok(None) };
    // A hello is no more than a claim.
    let judged =
        group.judge(&hello).and_then(|from| match connection.may_speak_for(group.replica_of(from)) {
            true => Ok(from),
            false => Err(format!("its certificate is not that of {from}")),
        });
    let welcome = match &judged {
        Ok(_) => Welcome::Yes,
        Err(reason) => Welcome::No(reason.clone()),
    };
    frame::frame_into(connection.outbound.buffer(), |out| codec::encode_into(&welcome, out));
    connection.outbound.flush_all().await?;
    let from = judged.map_err(AcceptError::Stranger)?;
    connection.frames.set_limit(frame::PAYLOAD_BYTES_MAX);
    Ok(Some((from, connection)))
}

async fn read_messages<P: Serves>(
    from: NodeId,
    mut connection: Connection,
    events: &mpsc::Sender<Event<P>>,
) -> Result<(), ReadError> {
    while let Some((packet, bytes)) = connection.frames.next().await? {
        let event = match packet {
            Packet::Ping => Event::Ping { from },
            Packet::Message(message) => Event::Message { from, message, bytes },
        };
        if events.send(event).await.is_err() {
            break;
        }
    }
    Ok(())
}
