//! One connection to a replica's client port: framed requests out, framed replies in.

use super::stream::{ClientTls, Stream};
use kv::{Reply, Request};
use protocol::frame::{self, PAYLOAD_BYTES_MAX};
use protocol::{ReplicaId, codec};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;

/// Room for replies at first; it doubles when a reply is longer.
const INPUT_BYTES_MIN: usize = 4 << 10;
/// What may wait to be sent. Only retries to a replica that takes nothing come near.
const OUTPUT_BYTES_MAX: usize = 8 << 20;

/// Connects when there is something to send.
pub(super) struct Link {
    replica: ReplicaId,
    address: SocketAddr,
    tls: Option<ClientTls>,
    state: State,
    output: Vec<u8>,
    /// How much of `output` is sent.
    sent: usize,
    input: Vec<u8>,
    /// What of `input` is filled and not yet understood.
    unread: std::ops::Range<usize>,
    /// Whether any part of a request of the current command was sent, or handed to a TLS session.
    maybe_sent: bool,
}

enum State {
    Closed,
    Connecting(Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>),
    Open(Stream),
}

/// What a link has to say.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// The replica answers.
    Reply(Reply),
    /// The connection is gone or could not be made; what was not sent never will be.
    Down {
        /// Whether any part of a request of the current command was sent.
        maybe_sent: bool,
    },
}

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("closed by the replica")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] frame::FrameError),
    #[error("{0}")]
    Decode(#[from] protocol::DecodeError),
}

impl Link {
    pub(super) fn new(replica: ReplicaId, address: SocketAddr, tls: Option<ClientTls>) -> Self {
        Self {
            replica,
            address,
            tls,
            state: State::Closed,
            output: Vec::new(),
            sent: 0,
            input: Vec::new(),
            unread: 0..0,
            maybe_sent: false,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new command begins: what waits for a connection belongs to one that is over.
    pub(super) fn begin_command(&mut self) {
        self.maybe_sent = false;
        if !matches!(self.state, State::Open(_)) {
            self.output.clear();
        }
    }

    /// Queues a request, to be sent by [`Link::poll`].
    pub(super) fn send(&mut self, request: &Request) {
        if matches!(self.state, State::Closed) {
            self.state =
                State::Connecting(Box::pin(Stream::connect(self.replica, self.address, self.tls.clone())));
        }
        frame::frame_into(&mut self.output, |out| codec::encode_into(request, out));
    }

    /// Sends, receives, connects: whatever can be done now.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        match ready!(self.try_poll(cx)) {
            Ok(reply) => Poll::Ready(LinkEvent::Reply(reply)),
            Err(error) => {
                let maybe_sent = self.maybe_sent;
                tracing::debug!(address = %self.address, %error, maybe_sent, "connection given up");
                self.state = State::Closed;
                self.output.clear();
                self.sent = 0;
                self.unread = 0..0;
                Poll::Ready(LinkEvent::Down { maybe_sent })
            }
        }
    }

    fn try_poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, LinkError>> {
        if let State::Connecting(connecting) = &mut self.state {
            let stream = ready!(connecting.as_mut().poll(cx))?;
            self.state = State::Open(stream);
        }
        if matches!(self.state, State::Closed) {
            return Poll::Pending;
        }
        // Read before writing: a connection that the replica has closed meanwhile is not written to, and it is then
        // certain that the request was not sent.
        loop {
            if let Some(reply) = self.parse()? {
                return Poll::Ready(Ok(reply));
            }
            if self.poll_read(cx)?.is_pending() {
                break;
            }
        }
        self.poll_write(cx)?;
        Poll::Pending
    }

    /// A reply that has arrived whole.
    fn parse(&mut self) -> Result<Option<Reply>, LinkError> {
        let Some((payload, frame_bytes)) = frame::parse(&self.input[self.unread.clone()], PAYLOAD_BYTES_MAX)?
        else {
            return Ok(None);
        };
        let reply = codec::decode(payload)?;
        self.unread.start += frame_bytes;
        if self.unread.is_empty() {
            self.unread = 0..0;
        }
        Ok(Some(reply))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, LinkError> {
        let State::Open(stream) = &mut self.state else { return Ok(Poll::Pending) };
        if self.unread.end == self.input.len() {
            // Full: make room in front, or else behind.
            self.input.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
            if self.unread.end * 2 > self.input.len() || self.input.is_empty() {
                self.input.resize((self.input.len() * 2).max(INPUT_BYTES_MIN), 0);
            }
        }
        let mut room = ReadBuf::new(&mut self.input[self.unread.end..]);
        match stream.poll_read(cx, &mut room)? {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(()) => match room.filled().len() {
                0 => Err(LinkError::Closed),
                read => {
                    self.unread.end += read;
                    Ok(Poll::Ready(()))
                }
            },
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), LinkError> {
        let State::Open(stream) = &mut self.state else { return Ok(()) };
        while self.sent < self.output.len() {
            match stream.poll_write(cx, &self.output[self.sent..], &mut self.maybe_sent)? {
                Poll::Ready(written) => self.sent += written,
                Poll::Pending if self.output.len() - self.sent > OUTPUT_BYTES_MAX => {
                    return Err(LinkError::Io(io::ErrorKind::TimedOut.into()));
                }
                Poll::Pending => return Ok(()),
            }
        }
        self.output.clear();
        self.sent = 0;
        match stream.poll_flush(cx) {
            Poll::Ready(flushed) => Ok(flushed?),
            Poll::Pending => Ok(()),
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Closed => "closed",
            State::Connecting(_) => "connecting",
            State::Open(_) => "open",
        };
        write!(f, "Link({}, {state})", self.address)
    }
}
