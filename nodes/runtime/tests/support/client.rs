//! Clients that block: of the client port and of the control socket.

use kv::{Command, Refusal, Reply, Request, Response, Routing};
use protocol::control::{ControlReply, ControlRequest, NodeStatus};
use protocol::{AdminReply, AdminRequest, RequestId, Sequence, SessionId, codec, frame};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// A client of the client port.
#[derive(Debug)]
pub(crate) struct Client<S = TcpStream> {
    stream: S,
    session: SessionId,
    requests: u64,
    writes: u64,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, session: u64) -> Client {
        let stream = TcpStream::connect(address).expect("the port is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Client::on(stream, session)
    }
}

impl<S: Read + Write> Client<S> {
    /// A client of a connection that is there.
    pub(crate) fn on(stream: S, session: u64) -> Client<S> {
        Client { stream, session: SessionId(session), requests: 0, writes: 0, buffer: Vec::new() }
    }

    /// Sends a command without waiting; its reply will carry the number that comes back.
    pub(crate) fn send(&mut self, command: Command, routing: Routing) -> RequestId {
        self.send_if_there(command, routing).expect("the node reads")
    }

    fn send_if_there(&mut self, command: Command, routing: Routing) -> io::Result<RequestId> {
        self.requests += 1;
        self.writes += u64::from(!command.is_read_only());
        let (id, sequence) = (RequestId(self.requests), Sequence(self.writes));
        let request = Request { id, session: self.session, sequence, routing, command };
        let mut bytes = Vec::new();
        frame::frame_into(&mut bytes, |out| codec::encode_into(&request, out));
        self.stream.write_all(&bytes)?;
        self.stream.flush()?;
        Ok(id)
    }

    /// The next reply, or the connection's end.
    pub(crate) fn receive(&mut self) -> io::Result<Reply> {
        loop {
            let parsed = frame::parse(&self.buffer, frame::PAYLOAD_BYTES_MAX).map_err(io::Error::other)?;
            if let Some((payload, length)) = parsed {
                let reply = codec::decode(payload).map_err(io::Error::other)?;
                self.buffer.drain(..length);
                return Ok(reply);
            }
            let mut some = [0; 65_536];
            let read = self.stream.read(&mut some)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&some[..read]);
        }
    }

    pub(crate) fn ask(
        &mut self,
        command: Command,
        routing: Routing,
    ) -> io::Result<Result<Response, Refusal>> {
        let id = self.send(command, routing);
        loop {
            let reply = self.receive()?;
            if reply.id == id {
                return Ok(reply.result);
            }
        }
    }

    /// As [`Client::ask`], of a node that may be gone.
    pub(crate) fn ask_if_there(
        &mut self,
        command: Command,
        routing: Routing,
    ) -> Option<Result<Response, Refusal>> {
        let id = self.send_if_there(command, routing).ok()?;
        let reply = self.receive().ok()?;
        assert_eq!(reply.id, id);
        Some(reply.result)
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) {
        let command = write(key, value);
        assert_eq!(self.ask(command, Routing::Leader).expect("an answer"), Ok(Response::Done));
    }

    pub(crate) fn get(&mut self, key: &str) -> Option<String> {
        let command = Command::Read { key: key.to_owned().into() };
        let response = self.ask(command, Routing::Here).expect("an answer").expect("not refused");
        let Response::Value(value) = response else { panic!("{response:?}") };
        value.map(|value| {
            let kv::Value::Bytes(bytes) = value else { panic!("{value:?}") };
            String::from_utf8(bytes.to_vec()).expect("we write text")
        })
    }
}

pub(crate) fn write(key: &str, value: &str) -> Command {
    Command::Write { key: key.to_owned().into(), value: value.to_owned().into() }
}

/// A connection to a control socket.
#[derive(Debug)]
pub(crate) struct Control {
    reader: BufReader<UnixStream>,
}

impl Control {
    pub(crate) fn connect(path: &Path) -> Control {
        let stream = UnixStream::connect(path).expect("the socket is there");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Control { reader: BufReader::new(stream) }
    }

    /// Sends a line, and reads one back: empty if the connection has ended.
    pub(crate) fn line(&mut self, line: &str) -> String {
        let mut answer = String::new();
        // A node that hangs up on us may do so while we are writing.
        if writeln!(self.reader.get_mut(), "{line}").is_ok() {
            self.reader.read_line(&mut answer).ok();
        }
        answer
    }

    pub(crate) fn ask(&mut self, request: &ControlRequest) -> Result<NodeStatus, String> {
        let line = serde_json::to_string(request).expect("JSON");
        match serde_json::from_str(&self.line(&line)).expect("a reply") {
            ControlReply::Ok(status) => Ok(*status),
            ControlReply::Error(reason) => Err(reason),
            ControlReply::Admin(reply) => panic!("{reply:?} is no status"),
        }
    }

    pub(crate) fn admin(&mut self, request: AdminRequest) -> AdminReply {
        let line = serde_json::to_string(&ControlRequest::Admin(request)).expect("JSON");
        match serde_json::from_str(&self.line(&line)).expect("a reply") {
            ControlReply::Admin(reply) => reply,
            other @ (ControlReply::Ok(_) | ControlReply::Error(_)) => {
                panic!("{other:?} is no answer to an operator")
            }
        }
    }

    pub(crate) fn status(&mut self) -> NodeStatus {
        self.ask(&ControlRequest::Status).expect("a status is always given")
    }
}
