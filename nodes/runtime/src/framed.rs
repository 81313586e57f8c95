//! Reading frames from a socket that may send anything.

use crate::session::Session;
use protocol::frame::{self, FrameError};
use protocol::{DecodeError, Wire, codec};
use std::io;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{Instant, timeout_at};

/// How much is asked of the socket at once.
const READ_BYTES: usize = 16 << 10;
/// A buffer that a large frame has made larger than this is given back.
const KEPT_BYTES_MAX: usize = 256 << 10;
/// How long the rest of a frame may take once it has begun.
const FRAME_PATIENCE: Duration = Duration::from_secs(30);

/// Why a connection is dropped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("closed within a frame")]
    CutShort,
    #[error("a frame was not whole within {FRAME_PATIENCE:?}")]
    TooSlow,
}

/// One direction of a connection, as frames. Holds at most one frame and what came with it.
#[derive(Debug)]
pub(crate) struct FrameReader {
    source: Source,
    buffer: Vec<u8>,
    /// So many bytes of the buffer have been handed out.
    consumed: usize,
    payload_bytes_max: usize,
}

/// Where the bytes of frames come from.
#[derive(Debug)]
enum Source {
    Plain(OwnedReadHalf),
    Tls {
        half: OwnedReadHalf,
        session: Session,
        /// Room for what is read, to be opened at once.
        sealed: Vec<u8>,
    },
}

impl Source {
    /// Appends what has come, when something has; 0 at the end. May be dropped and called again.
    async fn read_buf(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Source::Plain(half) => half.read_buf(buffer).await,
            Source::Tls { half, session, sealed } => loop {
                let begin = buffer.len();
                let ended = session.open(sealed, buffer)?;
                sealed.clear();
                if ended || buffer.len() > begin {
                    return Ok(buffer.len() - begin);
                }
                sealed.reserve(READ_BYTES);
                // The end of the connection is as good as a word that it ends here: a frame says itself whether it is whole.
                if half.read_buf(sealed).await? == 0 {
                    return Ok(0);
                }
            },
        }
    }
}

impl FrameReader {
    pub(crate) fn new(half: OwnedReadHalf, payload_bytes_max: usize) -> FrameReader {
        FrameReader::from(Source::Plain(half), payload_bytes_max)
    }

    /// From a connection with TLS.
    pub(crate) fn sealed(half: OwnedReadHalf, session: Session, payload_bytes_max: usize) -> FrameReader {
        FrameReader::from(Source::Tls { half, session, sealed: Vec::new() }, payload_bytes_max)
    }

    fn from(source: Source, payload_bytes_max: usize) -> FrameReader {
        FrameReader { source, buffer: Vec::new(), consumed: 0, payload_bytes_max }
    }

    /// From now on, frames may be of this size.
    pub(crate) fn set_limit(&mut self, payload_bytes_max: usize) {
        self.payload_bytes_max = payload_bytes_max;
    }

    /// The next frame as a `T`, with the size of its payload; `None` at the end.
    pub(crate) async fn next<T: Wire>(&mut self) -> Result<Option<(T, usize)>, ReadError> {
        let mut begun = None;
        loop {
            let unread = &self.buffer[self.consumed..];
            if let Some((payload, length)) = frame::parse(unread, self.payload_bytes_max)? {
                let value = codec::decode(payload)?;
                let size = payload.len();
                self.consumed += length;
                return Ok(Some((value, size)));
            }
            self.make_room();
            let read = if self.buffer.is_empty() {
                self.source.read_buf(&mut self.buffer).await?
            } else {
                let begun = *begun.get_or_insert_with(Instant::now);
                timeout_at(begun + FRAME_PATIENCE, self.source.read_buf(&mut self.buffer))
                    .await
                    .map_err(|_elapsed| ReadError::TooSlow)??
            };
            if read == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(ReadError::CutShort) };
            }
        }
    }

    fn make_room(&mut self) {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        if self.buffer.capacity() > KEPT_BYTES_MAX && self.buffer.len() < READ_BYTES {
            self.buffer.shrink_to(READ_BYTES);
        }
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 4 {
            self.buffer.reserve(READ_BYTES.max(self.buffer.len()));
        }
    }
}
