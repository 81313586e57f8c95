//! What a link speaks over: TCP, or TLS on it.

use protocol::ReplicaId;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tls::Credentials;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;

/// A replica gives a handshake three seconds. A longer silence is that of a host which is gone and whose connection nobody
/// will ever reset.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);

/// What clients show to replicas, and whom they trust. Clones share it.
#[derive(Clone)]
pub struct ClientTls(Arc<ClientConfig>);

impl ClientTls {
    /// With a client's credentials, or a node's.
    #[must_use]
    pub fn new(credentials: &Credentials) -> ClientTls {
        ClientTls(credentials.client())
    }
}

impl ClientTls {
    /// What connects with them.
    #[must_use]
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.0))
    }
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

/// An open connection to a replica.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Connects to a replica; with TLS, to that replica and no other.
    pub(crate) async fn connect(
        replica: ReplicaId,
        address: SocketAddr,
        tls: Option<ClientTls>,
    ) -> io::Result<Stream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = tls else { return Ok(Stream::Plain(stream)) };
        let handshake = tls.connector().connect(tls::server_name(replica), stream);
        let stream = timeout(HANDSHAKE_PATIENCE, handshake).await.map_err(|_elapsed| {
            io::Error::new(io::ErrorKind::TimedOut, format!("no handshake within {HANDSHAKE_PATIENCE:?}"))
        })??;
        Ok(Stream::Tls(Box::new(stream)))
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, room),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, room),
        }
    }

    /// Takes some of these bytes, and sets `maybe_sent` unless it is certain that it has sent none of them.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        maybe_sent: &mut bool,
    ) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(stream) => {
                let polled = Pin::new(stream).poll_write(cx, bytes);
                *maybe_sent |= matches!(polled, Poll::Ready(Ok(_)));
                polled
            }
            Stream::Tls(stream) => {
                let polled = Pin::new(stream).poll_write(cx, bytes);
                // The session may have sealed and sent some of them before it failed.
                *maybe_sent |= polled.is_ready();
                polled
            }
        }
    }

    /// Sends what the session has sealed and the socket had no room for.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tls::{Authority, VALID_FOR};
    use tokio::io::Interest;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    /// A plain socket says what it has not taken; a session may have sealed it.
    #[tokio::test]
    async fn what_failed_was_not_sent_unless_a_session_has_had_it() {
        let authority = Authority::new(VALID_FOR);
        let of = |identity| Credentials::parse(&authority.ca_pem(), &identity).expect("of our own making");
        let acceptor = TlsAcceptor::from(of(authority.issue_replica(ReplicaId(1))).server());
        for tls in [None, Some(ClientTls::new(&of(authority.issue_client())))] {
            let secured = tls.is_some();
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("bound");
            let served = async {
                let (stream, _) = listener.accept().await.expect("somebody connects");
                let stream = match secured {
                    true => acceptor.accept(stream).await.expect("let in").into_inner().0,
                    false => stream,
                };
                stream.set_zero_linger().expect("a socket");
                stream
            };
            let (stream, reset) = tokio::join!(Stream::connect(ReplicaId(1), address, tls), served);
            let mut stream = stream.expect("connected");
            drop(reset);
            let socket = match &stream {
                Stream::Plain(socket) => socket,
                Stream::Tls(stream) => stream.get_ref().0,
            };
            let ready = socket.ready(Interest::READABLE | Interest::ERROR).await.expect("a socket");
            assert!(ready.is_read_closed() || ready.is_error(), "{ready:?}");
            let mut maybe_sent = false;
            let written = poll_fn(|cx| stream.poll_write(cx, b"request", &mut maybe_sent)).await;
            assert!(written.is_err() && maybe_sent == secured, "{written:?}");
        }
    }
}
