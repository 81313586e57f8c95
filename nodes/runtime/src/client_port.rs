//! The client port: framed requests in, framed replies out, pipelined, in any order.

use crate::door::Door;
use crate::event::Event;
use crate::framed::ReadError;
use crate::security::{Connection, Security};
use kv::Serves;
use protocol::ClientId;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

/// The largest request. A value has at most 1 MiB; transactions of several large ones must be split.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// One more is turned away.
const CONNECTIONS_MAX: usize = 4096;
/// Handshakes at once from one address: a host with more clients than this must let some of them try again.
const HANDSHAKES_MAX: usize = 1024;
/// When accepting fails (no file descriptors left, say), it is tried again after this.
pub(crate) const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// A peer that vanished without a word is noticed after about this.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Hands out the driver's names for clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientIds(Arc<AtomicU64>);

impl ClientIds {
    pub(crate) fn next(&self) -> ClientId {
        ClientId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Serves the port until the node stops.
pub(crate) async fn serve<P: Serves>(
    listener: TcpListener,
    security: Security,
    ids: ClientIds,
    events: mpsc::Sender<Event<P>>,
) {
    let door = Door::new(HANDSHAKES_MAX);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting a client");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let at_door = door.enter(address.ip());
        let (security, places) = (security.clone(), Arc::clone(&places));
        let (client, events) = (ids.next(), events.clone());
        tokio::spawn(async move {
            let connection = match at_door.greet(security.accept(stream, REQUEST_BYTES_MAX)).await {
                Ok(connection) => connection,
                Err(error) => return tracing::info!(%address, %error, "client not let in"),
            };
            let Ok(place) = places.try_acquire_owned() else {
                return tracing::warn!(%address, "client turned away: {CONNECTIONS_MAX} are connected");
            };
            if let Err(error) = read_requests(connection, client, &events).await {
                tracing::info!(%client, %address, %error, "client dropped");
            }
            events.send(Event::ClientGone { client }).await.ok();
            drop(place);
        });
    }
}

/// Settings of every connection between programs.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(
        &TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3).with_retries(3),
    )
}

/// Binds a port that a node which has just died may have held.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

async fn read_requests<P: Serves>(
    Connection { mut frames, outbound, .. }: Connection,
    client: ClientId,
    events: &mpsc::Sender<Event<P>>,
) -> Result<(), ReadError> {
    let mut sent = events.send(Event::ClientConnected { client, outbound }).await;
    while sent.is_ok() {
        let Some((request, _)) = frames.next().await? else { return Ok(()) };
        sent = events.send(Event::Request { client, request }).await;
    }
    // The core has stopped, and the node with it.
    Ok(())
}
