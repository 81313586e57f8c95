//! Writing to a socket without ever waiting for it.

use crate::session::Session;
use socket2::SockRef;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use tokio::net::tcp::OwnedWriteHalf;

/// A buffer that a burst has made larger than this is given back.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// What is on its way out of one connection. The core's task writes to the socket itself, once a turn; only if
/// the socket is full does another task wait for it.
#[derive(Debug)]
pub(crate) struct Outbound {
    half: Arc<OwnedWriteHalf>,
    /// With TLS, what has been put in and not yet been sealed into the buffer.
    unsealed: Option<Unsealed>,
    buffer: Vec<u8>,
    /// So many bytes of the buffer are written.
    written: usize,
    /// Somebody waits until the socket takes more.
    waiting: bool,
}

#[derive(Debug)]
struct Unsealed {
    session: Session,
    plain: Vec<u8>,
}

/// What became of a flush.
#[derive(Debug)]
pub(crate) enum Flushed {
    /// Nothing is left, or somebody waits already.
    Settled,
    /// The socket is full: wait until it is [`OwnedWriteHalf::writable`], then call [`Outbound::writable`].
    Full(Arc<OwnedWriteHalf>),
}

impl Outbound {
    pub(crate) fn new(half: OwnedWriteHalf) -> Outbound {
        Outbound { half: Arc::new(half), unsealed: None, buffer: Vec::new(), written: 0, waiting: false }
    }

    /// To a connection with TLS.
    pub(crate) fn sealed(half: OwnedWriteHalf, session: Session) -> Outbound {
        let unsealed = Some(Unsealed { session, plain: Vec::new() });
        Outbound { unsealed, ..Outbound::new(half) }
    }

    /// Where to put what shall be sent.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        match &mut self.unsealed {
            None => &mut self.buffer,
            Some(unsealed) => &mut unsealed.plain,
        }
    }

    /// How many bytes wait.
    pub(crate) fn backlog_bytes(&self) -> usize {
        let unsealed = self.unsealed.as_ref().map_or(0, |unsealed| unsealed.plain.len());
        unsealed + self.buffer.len() - self.written
    }

    /// Gives the socket what it takes.
    ///
    /// # Errors
    /// If the connection is gone.
    pub(crate) fn flush(&mut self) -> io::Result<Flushed> {
        if self.waiting {
            return Ok(Flushed::Settled);
        }
        if let Some(unsealed) = &mut self.unsealed {
            unsealed.session.seal(&unsealed.plain, &mut self.buffer)?;
            unsealed.plain.clear();
            unsealed.plain.shrink_to(KEPT_BYTES_MAX);
        }
        while self.written < self.buffer.len() {
            match self.half.try_write(&self.buffer[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.waiting = true;
                    return Ok(Flushed::Full(Arc::clone(&self.half)));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BYTES_MAX);
        self.written = 0;
        Ok(Flushed::Settled)
    }

    /// The wait is over: what was full takes more, or is gone.
    ///
    /// # Errors
    /// As [`Outbound::flush`].
    pub(crate) fn writable(&mut self) -> io::Result<Flushed> {
        self.waiting = false;
        self.buffer.drain(..self.written);
        self.written = 0;
        self.flush()
    }

    /// Gives the socket everything, waiting until it takes it.
    ///
    /// # Errors
    /// As [`Outbound::flush`].
    pub(crate) async fn flush_all(&mut self) -> io::Result<()> {
        let mut flushed = self.flush()?;
        while let Flushed::Full(half) = flushed {
            half.writable().await?;
            flushed = self.writable()?;
        }
        Ok(())
    }

    /// Ends the connection both ways, so that whoever reads from it notices.
    pub(crate) fn close(&self) {
        let stream: &tokio::net::TcpStream = (*self.half).as_ref();
        if let Err(error) = SockRef::from(stream).shutdown(Shutdown::Both) {
            tracing::debug!(%error, "the connection was gone already");
        }
    }
}
