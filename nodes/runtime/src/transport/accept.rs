//! The peer port: messages from other replicas.

use super::hello::{Group, HELLO_BYTES_MAX, HELLO_PATIENCE, Hello, Welcome};
use super::packet::Packet;
use crate::client_port::{ACCEPT_BACKOFF, prepare};
use crate::event::{Event, KvProtocol};
use crate::framed::{FrameReader, ReadError};
use protocol::{codec, frame};
use std::io;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

/// Connections at once. A peer needs one; the rest is room for those that are about to end and for strangers.
const CONNECTIONS_MAX: usize = 256;

/// Why a connection is dropped.
#[derive(Debug, thiserror::Error)]
enum AcceptError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("no hello within {HELLO_PATIENCE:?}")]
    Silent,
    #[error("a stranger: {0}")]
    Stranger(String),
}

/// Serves the port until the node stops.
pub(crate) async fn serve<P: KvProtocol>(
    listener: TcpListener,
    group: Group,
    events: mpsc::Sender<Event<P>>,
) {
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
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%address, "peer turned away: {CONNECTIONS_MAX} are connected");
            continue;
        };
        let (group, events) = (group.clone(), events.clone());
        tokio::spawn(async move {
            if let Err(error) = read_messages(stream, &group, &events).await {
                tracing::info!(%address, %error, "peer connection dropped");
            }
            drop(place);
        });
    }
}

async fn read_messages<P: KvProtocol>(
    stream: TcpStream,
    group: &Group,
    events: &mpsc::Sender<Event<P>>,
) -> Result<(), AcceptError> {
    prepare(&stream)?;
    let (read, mut write) = stream.into_split();
    let mut frames = FrameReader::new(read, HELLO_BYTES_MAX);
    let hello =
        timeout(HELLO_PATIENCE, frames.next::<Hello>()).await.map_err(|_elapsed| AcceptError::Silent)??;
    let Some((hello, _)) = hello else { return Ok(()) };
    let judged = group.judge(&hello);
    let welcome = match &judged {
        Ok(_) => Welcome::Yes,
        Err(reason) => Welcome::No(reason.clone()),
    };
    let mut reply = Vec::new();
    frame::frame_into(&mut reply, |out| codec::encode_into(&welcome, out));
    write.write_all(&reply).await?;
    let from = judged.map_err(AcceptError::Stranger)?;
    frames.set_limit(frame::PAYLOAD_BYTES_MAX);
    while let Some((packet, bytes)) = frames.next().await? {
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
