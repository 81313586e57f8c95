//! Connections as the configuration wants them: plain or TLS, accepted or dialled.

use crate::client_port::prepare;
use crate::config::NodeConfig;
use crate::framed::FrameReader;
use crate::outbound::Outbound;
use crate::session::Session;
use client::ClientTls;
use protocol::ReplicaId;
use std::fmt;
use std::io;
use tls::{Credentials, TlsError};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// How this node's connections are secured.
#[derive(Clone, Default)]
pub(crate) enum Security {
    /// Not at all.
    #[default]
    Plain,
    /// By mutual TLS, on all ports.
    Tls { acceptor: TlsAcceptor, client: ClientTls },
}

impl Security {
    /// # Errors
    /// If TLS is wanted and its files cannot be used.
    pub(crate) fn load(config: &NodeConfig) -> Result<Security, TlsError> {
        let Some(files) = &config.tls else { return Ok(Security::Plain) };
        let credentials = Credentials::read_of(config.replica(), files)?;
        Ok(Security::Tls { acceptor: credentials.server().into(), client: ClientTls::new(&credentials) })
    }

    /// What this node shows when it connects to another one's client port.
    pub(crate) fn client_tls(&self) -> Option<ClientTls> {
        match self {
            Security::Plain => None,
            Security::Tls { client, .. } => Some(client.clone()),
        }
    }

    /// With whoever has connected to this node; its frames may have so many bytes.
    ///
    /// # Errors
    /// If it shows no certificate of the CA, or does not speak TLS where TLS is spoken.
    pub(crate) async fn accept(&self, stream: TcpStream, payload_bytes_max: usize) -> io::Result<Connection> {
        prepare(&stream)?;
        match self {
            Security::Plain => Ok(Connection::plain(stream, payload_bytes_max)),
            Security::Tls { acceptor, .. } => {
                let (stream, session) = acceptor.accept(stream).await?.into_inner();
                Ok(Connection::sealed(stream, Session::new(session), payload_bytes_max))
            }
        }
    }

    /// With a peer whom this node has connected to.
    ///
    /// # Errors
    /// If it is not that peer, or does not speak TLS where TLS is spoken.
    pub(crate) async fn dial(
        &self,
        peer: ReplicaId,
        stream: TcpStream,
        payload_bytes_max: usize,
    ) -> io::Result<Connection> {
        prepare(&stream)?;
        match self {
            Security::Plain => Ok(Connection::plain(stream, payload_bytes_max)),
            Security::Tls { client, .. } => {
                let dialled = client.connector().connect(tls::server_name(peer), stream);
                let (stream, session) = dialled.await?.into_inner();
                Ok(Connection::sealed(stream, Session::new(session), payload_bytes_max))
            }
        }
    }
}

/// A connection that frames can be read from and written to.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) frames: FrameReader,
    pub(crate) outbound: Outbound,
    session: Option<Session>,
}

impl Connection {
    fn plain(stream: TcpStream, payload_bytes_max: usize) -> Connection {
        let (read, write) = stream.into_split();
        let frames = FrameReader::new(read, payload_bytes_max);
        Connection { frames, outbound: Outbound::new(write), session: None }
    }

    fn sealed(stream: TcpStream, session: Session, payload_bytes_max: usize) -> Connection {
        let (read, write) = stream.into_split();
        let frames = FrameReader::sealed(read, session.clone(), payload_bytes_max);
        let outbound = Outbound::sealed(write, session.clone());
        Connection { frames, outbound, session: Some(session) }
    }

    /// Whether the other side may speak as this replica. Where nothing is secured, anybody may.
    pub(crate) fn may_speak_for(&self, replica: ReplicaId) -> bool {
        self.session.as_ref().is_none_or(|session| session.is_with(replica))
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Security::Plain => "Plain",
            Security::Tls { .. } => "Tls",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framed::ReadError;
    use crate::outbound::Flushed;
    use protocol::{codec, frame};
    use socket2::SockRef;
    use std::io::Write;
    use tls::{Authority, VALID_FOR};
    use tokio::net::TcpListener;
    use tokio_rustls::rustls::ClientConnection;

    const LIMIT: usize = frame::PAYLOAD_BYTES_MAX;

    fn credentials(authority: &Authority, id: u32) -> Credentials {
        let identity = authority.issue_replica(ReplicaId(id));
        Credentials::parse(&authority.ca_pem(), &identity).expect("of our own making")
    }

    fn secured(credentials: &Credentials) -> Security {
        Security::Tls { acceptor: credentials.server().into(), client: ClientTls::new(credentials) }
    }

    /// Two ends of a connection that n2 has dialled, n1's first.
    async fn ends([one, two]: [&Security; 2]) -> (Connection, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let dialled = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (accepted, _) = listener.accept().await.expect("accepted");
        SockRef::from(&dialled).set_send_buffer_size(64 << 10).expect("a socket");
        let (accepted, dialled) =
            tokio::join!(one.accept(accepted, LIMIT), two.dial(ReplicaId(1), dialled, LIMIT));
        (accepted.expect("let in"), dialled.expect("the one that was looked for"))
    }

    fn put(message: &Vec<u8>, outbound: &mut Outbound) {
        frame::frame_into(outbound.buffer(), |out| codec::encode_into(message, out));
    }

    #[tokio::test]
    async fn large_messages_pass_a_socket_that_takes_little_at_a_time() {
        let authority = Authority::new(VALID_FOR);
        let tls = [1, 2].map(|id| secured(&credentials(&authority, id)));
        for [one, two] in [[&Security::Plain; 2], [&tls[0], &tls[1]]] {
            let (mut accepted, mut dialled) = ends([one, two]).await;
            let messages: Vec<Vec<u8>> =
                [1, 16 << 10, 1 << 20, 7 << 20, 3].map(|bytes| vec![bytes as u8; bytes]).into();
            let (early, late) = messages.split_at(3);
            let total: usize = messages.iter().map(Vec::len).sum();
            let sending = async {
                let outbound = &mut dialled.outbound;
                early.iter().for_each(|message| put(message, outbound));
                let Flushed::Full(half) = outbound.flush().expect("connected") else {
                    panic!("the socket has taken a mebibyte")
                };
                // Somebody waits already, and what is put in meanwhile waits with the rest.
                late.iter().for_each(|message| put(message, outbound));
                assert!(matches!(outbound.flush(), Ok(Flushed::Settled)));
                assert!((7 << 20..total + (total >> 8)).contains(&outbound.backlog_bytes()));
                half.writable().await.expect("connected");
                let mut rounds = 0;
                let mut flushed = outbound.writable().expect("connected");
                while let Flushed::Full(half) = flushed {
                    rounds += 1;
                    half.writable().await.expect("connected");
                    flushed = outbound.writable().expect("connected");
                }
                assert!(rounds > 1 && outbound.backlog_bytes() == 0, "{rounds} rounds");
            };
            let receiving = async {
                for message in &messages {
                    let (received, _) =
                        accepted.frames.next::<Vec<u8>>().await.expect("well framed").expect("not the end");
                    assert_eq!(received.len(), message.len());
                    assert!(received == *message);
                }
            };
            tokio::join!(sending, receiving);
            drop(dialled);
            assert!(accepted.frames.next::<Vec<u8>>().await.expect("between frames").is_none());
        }
    }

    #[tokio::test]
    async fn what_comes_with_the_end_of_the_handshake_is_read() {
        let authority = Authority::new(VALID_FOR);
        let (one, two) = (credentials(&authority, 1), credentials(&authority, 2));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let dialler = std::thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(address).expect("connected");
            let mut session =
                ClientConnection::new(two.client(), tls::server_name(ReplicaId(1))).expect("one");
            let mut early = Vec::new();
            for message in [vec![1_u8; 5], vec![2; 30_000], vec![3; 5]] {
                frame::frame_into(&mut early, |out| codec::encode_into(&message, out));
            }
            // The last one in two parts.
            let (early, late) = early.split_at(early.len() - 3);
            session.writer().write_all(early).expect("kept until it may be sent");
            while session.is_handshaking() || session.wants_write() {
                session.complete_io(&mut stream).expect("let in");
            }
            session.writer().write_all(late).expect("sealed");
            session.complete_io(&mut stream).expect("connected");
            // Half a frame, and the connection ends.
            session.writer().write_all(&early[..9]).expect("sealed");
            session.complete_io(&mut stream).expect("connected");
        });
        let (stream, _) = listener.accept().await.expect("accepted");
        let mut accepted = secured(&one).accept(stream, LIMIT).await.expect("let in");
        for (value, bytes) in [(1, 5), (2, 30_000), (3, 5)] {
            let next = accepted.frames.next::<Vec<u8>>().await.expect("well framed").expect("not the end");
            assert_eq!(next.0, vec![value; bytes]);
        }
        let ended = accepted.frames.next::<Vec<u8>>().await;
        assert!(matches!(ended, Err(ReadError::CutShort)), "{ended:?}");
        dialler.join().expect("no panic");
    }
}
