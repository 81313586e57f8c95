//! The control socket: JSON lines on a Unix socket in the data folder, and the leases of what it sets.

use crate::event::Event;
use kv::Serves;
use protocol::control::{ControlReply, ControlRequest};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// The socket's name in the data folder.
pub const SOCKET_NAME: &str = "control.sock";
/// The longest path that a Unix socket can have on Linux, in bytes.
const PATH_BYTES_MAX: usize = 107;
const LINE_BYTES_MAX: u64 = 256 << 10;
const CONNECTIONS_MAX: usize = 64;

/// Binds the socket, in place of the one that an earlier life left.
///
/// # Errors
/// If the path is too long for a socket, or the system refuses.
pub(crate) fn listen(data_dir: &Path) -> io::Result<(UnixListener, PathBuf)> {
    let path = std::path::absolute(data_dir)?.join(SOCKET_NAME);
    let bytes = path.as_os_str().len();
    if bytes > PATH_BYTES_MAX {
        return Err(io::Error::other(format!(
            "{} has {bytes} bytes, a Unix socket's path has at most {PATH_BYTES_MAX}: use a shorter data_dir",
            path.display()
        )));
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // Made under a name that nobody looks for until only its owner may use it.
    let unready = path.with_extension("new");
    std::fs::remove_file(&unready).ok();
    let listener = UnixListener::bind(&unready)?;
    std::fs::set_permissions(&unready, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&unready, &path)?;
    Ok((listener, path))
}

/// Serves the socket until the node stops.
pub(crate) async fn serve<P: Serves>(listener: UnixListener, events: mpsc::Sender<Event<P>>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting on the control socket");
                tokio::time::sleep(crate::client_port::ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!("control connection turned away: {CONNECTIONS_MAX} are open");
            continue;
        };
        let events = events.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &events).await {
                tracing::info!(%error, "control connection dropped");
            }
            drop(place);
        });
    }
}

async fn converse<P: Serves>(stream: UnixStream, events: &mpsc::Sender<Event<P>>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        (&mut read).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && line.len() as u64 == LINE_BYTES_MAX {
            return Err(io::Error::other(format!("a line of more than {LINE_BYTES_MAX} bytes")));
        }
        let reply = match serde_json::from_slice(&line) {
            Ok(request) => match ask(events, request).await {
                Some(reply) => reply,
                None => return Ok(()),
            },
            Err(error) => ControlReply::Error(format!("not understood: {error}")),
        };
        let mut line = serde_json::to_vec(&reply).map_err(io::Error::other)?;
        line.push(b'\n');
        write.write_all(&line).await?;
    }
}

/// Has the core's task carry out a request; `None` if the node is stopping.
pub(crate) async fn ask<P: Serves>(
    events: &mpsc::Sender<Event<P>>,
    request: ControlRequest,
) -> Option<ControlReply> {
    let (reply, answer) = oneshot::channel();
    events.send(Event::Control { request, reply }).await.ok()?;
    answer.await.ok()
}

/// A fault that heals by itself when nobody renews it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leased {
    Links,
    Clock,
    Disk,
    Adversary,
}

impl Leased {
    pub(crate) const ALL: [Leased; 4] = [Leased::Links, Leased::Clock, Leased::Disk, Leased::Adversary];
}

/// When the faults in force heal by themselves, on the machine's clock.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    until: BTreeMap<Leased, Instant>,
    /// How many ran out.
    pub(crate) expired: u64,
}

impl Leases {
    /// The longest lease: a fault that outlives a day was forgotten.
    const LEASE_MS_MAX: u64 = 86_400_000;

    fn until(now: Instant, lease_ms: u64) -> Instant {
        now + Duration::from_millis(lease_ms.min(Self::LEASE_MS_MAX))
    }

    /// A fault is in force from now on.
    pub(crate) fn begin(&mut self, fault: Leased, now: Instant, lease_ms: u64) {
        self.until.insert(fault, Self::until(now, lease_ms));
    }

    /// It no longer is.
    pub(crate) fn end(&mut self, fault: Leased) {
        self.until.remove(&fault);
    }

    /// Extends the leases of all that are in force.
    pub(crate) fn renew(&mut self, now: Instant, lease_ms: u64) {
        self.until.values_mut().for_each(|until| *until = Self::until(now, lease_ms));
    }

    /// When the next one runs out.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.until.values().min().copied()
    }

    /// Ends a lease that has run out.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Leased> {
        let (&fault, _) = self.until.iter().find(|(_, until)| **until <= now)?;
        self.until.remove(&fault);
        self.expired += 1;
        Some(fault)
    }
}
