//! Ways to a replica.

use crate::stream::{ClientTls, Stream};
use protocol::frame::{self, PAYLOAD_BYTES_MAX};
use protocol::{ReplicaId, Wire, codec};
use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;

/// Room for replies at first; it doubles when a reply is longer.
const INPUT_BYTES_MIN: usize = 4 << 10;
/// What may wait to be sent. Only retries to a replica that takes nothing come near.
const OUTPUT_BYTES_MAX: usize = 8 << 20;

/// A way to one replica: requests out, replies in.
pub trait Link {
    /// What the replica is asked.
    type Request;
    /// What it says.
    type Reply;

    /// A new command begins: what waits for a connection belongs to one that is over.
    fn begin_command(&mut self);

    /// Queues a request, to be sent by [`Link::poll`].
    fn send(&mut self, request: Self::Request);

    /// Sends, receives, connects: whatever can be done now.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent<Self::Reply>>;
}

/// What a link has to say.
#[derive(Debug)]
pub enum LinkEvent<R> {
    /// The replica answers.
    Reply(R),
    /// The connection is gone or could not be made; what was not sent never will be.
    Down {
        /// Whether any part of a request of the current command was sent.
        maybe_sent: bool,
    },
}

/// A connection to a replica's client port: framed requests out, framed replies in. It is made when there is something to send.
pub struct FramedLink<Q, R> {
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
    speaks: PhantomData<fn(Q) -> R>,
}

enum State {
    Closed,
    Connecting(Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>),
    Open(Stream),
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

impl<Q, R> FramedLink<Q, R> {
    /// To a replica's client port.
    #[must_use]
    pub fn new(replica: ReplicaId, address: SocketAddr, tls: Option<ClientTls>) -> Self {
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
            speaks: PhantomData,
        }
    }
}

impl<Q: Wire, R: Wire> Link for FramedLink<Q, R> {
    type Request = Q;
    type Reply = R;

    fn begin_command(&mut self) {
        self.maybe_sent = false;
        if !matches!(self.state, State::Open(_)) {
            self.output.clear();
        }
    }

    fn send(&mut self, request: Q) {
        if matches!(self.state, State::Closed) {
            self.state =
                State::Connecting(Box::pin(Stream::connect(self.replica, self.address, self.tls.clone())));
        }
        frame::frame_into(&mut self.output, |out| codec::encode_into(&request, out));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent<R>> {
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
}

impl<Q, R: Wire> FramedLink<Q, R> {
    fn try_poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<R, LinkError>> {
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
    fn parse(&mut self) -> Result<Option<R>, LinkError> {
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

impl<Q, R> fmt::Debug for FramedLink<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Closed => "closed",
            State::Connecting(_) => "connecting",
            State::Open(_) => "open",
        };
        write!(f, "FramedLink({}, {state})", self.address)
    }
}
