//! Unary gRPC over HTTP/2 on one connection.
//!
//! gRPC libraries send a request's header, its message and the end of the stream in a write each. Here they leave in one, as
//! with etcd's own client: a foreign system is not to be charged for the harness's client.
//!
//! ```text
//! request     headers, then one DATA frame: compressed u8 = 0, length u32 big-endian, message
//! response    headers, the same, then trailers with grpc-status; on an error perhaps headers alone
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use prost::Message;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The largest message taken, in bytes: scans may be long.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// What may be under way towards us, in bytes, so that answers of common size need no leave to be sent.
const WINDOW_BYTES: u32 = 4 << 20;
/// Bytes before a message.
const PREFIX_BYTES: usize = 5;

/// A connection to one server, made when it is first used and again when it was lost.
#[derive(Debug)]
pub(super) struct Channel {
    server: SocketAddr,
    authority: Authority,
    connect_timeout: Duration,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    sender: SendRequest<Bytes>,
    /// Moves the bytes.
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        // Nobody waits for what may still come.
        self.task.abort();
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum GrpcError {
    /// There was no connection to send the request on.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The server has not looked at the request, and says so.
    #[error("the server did not process the request: {0}")]
    NotProcessed(h2::Error),
    /// The connection or the stream broke after the request may have been sent.
    #[error("connection lost: {0}")]
    Lost(h2::Error),
    /// The server's answer.
    #[error("{}", describe(*code, message))]
    Status {
        /// By gRPC's table.
        code: u32,
        /// The server's words.
        message: String,
    },
    /// What came is no answer.
    #[error("malformed answer: {0}")]
    Malformed(String),
}

fn describe(code: u32, message: &str) -> String {
    format!("{message} (gRPC status {code})")
}

impl Channel {
    pub(super) fn new(server: SocketAddr, connect_timeout: Duration) -> Self {
        let authority = Authority::try_from(server.to_string()).expect("an address is an authority");
        Self { server, authority, connect_timeout, open: None }
    }

    /// Asks and waits for the answer.
    pub(super) async fn unary<R: Message + Default>(
        &mut self,
        path: &'static str,
        message: &impl Message,
    ) -> Result<R, GrpcError> {
        let request = self.request(path);
        let sender = self.ready().await?;
        let sent = sender.send_request(request, false).and_then(|(response, mut body)| {
            body.send_data(frame(message), true)?;
            Ok(response)
        });
        let answer = match sent {
            Ok(response) => receive(response).await,
            Err(error) => Err(GrpcError::Lost(error)),
        };
        if !matches!(answer, Ok(_) | Err(GrpcError::Status { .. })) {
            self.open = None;
        }
        R::decode(answer?).map_err(|error| GrpcError::Malformed(error.to_string()))
    }

    fn request(&self, path: &'static str) -> Request<()> {
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(self.authority.clone());
        let uri = uri.path_and_query(PathAndQuery::from_static(path)).build().expect("all parts are there");
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        request
    }

    /// A connection that takes a request now.
    async fn ready(&mut self) -> Result<&mut SendRequest<Bytes>, GrpcError> {
        if let Some(open) = &mut self.open
            && poll_fn(|cx| open.sender.poll_ready(cx)).await.is_err()
        {
            // It was lost while nothing was asked.
            self.open = None;
        }
        if self.open.is_none() {
            let connected = timeout(self.connect_timeout, connect(self.server)).await;
            let open = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            self.open = Some(open.map_err(|error| GrpcError::Connect(error.to_string()))?);
        }
        let sender = &mut self.open.as_mut().expect("just made").sender;
        poll_fn(|cx| sender.poll_ready(cx)).await.map_err(|error| GrpcError::Connect(error.to_string()))?;
        Ok(sender)
    }
}

async fn connect(server: SocketAddr) -> io::Result<Open> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let mut builder = Builder::new();
    builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES).enable_push(false);
    let (sender, connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%server, %error, "connection lost");
        }
    });
    Ok(Open { sender, task })
}

/// A message with its prefix.
fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("requests are far below 4 GiB"));
    message.encode(&mut frame).expect("there is room for it");
    frame.freeze()
}

/// The message of a response.
async fn receive(response: ResponseFuture) -> Result<Bytes, GrpcError> {
    let response = response.await.map_err(broken)?;
    let (head, mut body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(GrpcError::Malformed(format!("HTTP status {}", head.status)));
    }
    status(&head.headers)?;
    let mut message = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(broken)?;
        body.flow_control().release_capacity(chunk.len()).map_err(broken)?;
        if message.len() + chunk.len() > MESSAGE_BYTES_MAX {
            return Err(GrpcError::Malformed(format!("an answer of more than {MESSAGE_BYTES_MAX} bytes")));
        }
        message.extend_from_slice(&chunk);
    }
    match body.trailers().await.map_err(broken)? {
        Some(trailers) if status(&trailers)? => unframe(message.freeze()),
        _ => Err(GrpcError::Malformed("no status at the end".into())),
    }
}

fn broken(error: h2::Error) -> GrpcError {
    if error.reason() == Some(h2::Reason::REFUSED_STREAM) {
        GrpcError::NotProcessed(error)
    } else {
        GrpcError::Lost(error)
    }
}

/// Whether headers or trailers have a status, which is then that all is well.
fn status(headers: &HeaderMap) -> Result<bool, GrpcError> {
    let Some(status) = headers.get("grpc-status") else { return Ok(false) };
    let code = status.to_str().ok().and_then(|code| code.parse().ok());
    match code {
        Some(0) => Ok(true),
        Some(code) => {
            let message = headers.get("grpc-message").map(|message| message.as_bytes()).unwrap_or_default();
            Err(GrpcError::Status { code, message: String::from_utf8_lossy(message).into_owned() })
        }
        None => Err(GrpcError::Malformed("a status that is no number".into())),
    }
}

fn unframe(mut frame: Bytes) -> Result<Bytes, GrpcError> {
    let malformed = |what: &str| Err(GrpcError::Malformed(what.into()));
    if frame.len() < PREFIX_BYTES {
        return malformed("no message");
    }
    if frame.get_u8() != 0 {
        return malformed("a compressed message, though none was asked for");
    }
    if frame.get_u32() as usize != frame.len() {
        return malformed("a message of another length than it says");
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::super::messages::PutRequest;
    use super::*;

    #[test]
    fn a_message_has_a_prefix_and_comes_out_of_it() {
        let put = PutRequest { key: Bytes::from_static(b"k"), value: Bytes::from_static(b"vw") };
        assert_eq!(frame(&put)[..], *b"\0\0\0\0\x07\x0a\x01k\x12\x02vw");
        assert_eq!(unframe(frame(&put)).expect("whole"), &b"\x0a\x01k\x12\x02vw"[..]);
        let cut = frame(&put).slice(..8);
        for bad in [Bytes::new(), cut, Bytes::from_static(b"\x01\0\0\0\0")] {
            assert!(matches!(unframe(bad), Err(GrpcError::Malformed(_))));
        }
    }

    #[test]
    fn a_status_is_read_from_headers_or_trailers() {
        let mut headers = HeaderMap::new();
        assert_eq!(status(&headers).ok(), Some(false));
        headers.insert("grpc-status", HeaderValue::from_static("0"));
        assert_eq!(status(&headers).ok(), Some(true));
        headers.insert("grpc-status", HeaderValue::from_static("14"));
        headers.insert("grpc-message", HeaderValue::from_static("etcdserver: leader changed"));
        let error = status(&headers).expect_err("not zero");
        assert_eq!(error.to_string(), "etcdserver: leader changed (gRPC status 14)");
        headers.insert("grpc-status", HeaderValue::from_static("fine"));
        assert!(matches!(status(&headers), Err(GrpcError::Malformed(_))));
    }
}
