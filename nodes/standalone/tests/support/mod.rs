//! The replica by itself, with a disk that loses what was not synced when it crashes.

use kv::{Command, Reply, Request, Routing};
use protocol::{ClientId, Protocol, RecoverError, ReplicaId, RequestId, Sequence, SessionId, Time};
use sim::{HostDisk, Sent};
use standalone::{Config, Options, Standalone};

pub(crate) const ME: ReplicaId = ReplicaId(1);
const NOW: Time = Time::ZERO;

pub(crate) type Disk = HostDisk<Standalone>;

pub(crate) fn config(options: Options) -> Config {
    Config { replica: ME, members: vec![ME], options }
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) host: sim::Host<Standalone>,
    /// What has left for clients and was not looked at yet.
    pub(crate) replies: Vec<(ClientId, Reply)>,
}

impl Host {
    pub(crate) fn new(options: Options) -> Self {
        Self::start(config(options), Disk::default()).expect("an empty disk")
    }

    pub(crate) fn start(config: Config, disk: Disk) -> Result<Self, RecoverError> {
        let mut host = sim::Host::new(config);
        host.disk = disk;
        let sent = host.start(0, NOW)?;
        let mut host = Self { host, replies: Vec::new() };
        host.take(sent);
        Ok(host)
    }

    fn take(&mut self, sent: Sent<Standalone>) {
        self.replies.extend(sent.early.replies.into_iter().chain(sent.durable.replies));
    }

    pub(crate) fn core(&self) -> &Standalone {
        self.host.core()
    }

    /// The client's id is the session's, and comes back with the reply.
    pub(crate) fn request(&mut self, session: SessionId, sequence: Sequence, command: Command) {
        let id = RequestId(sequence.0);
        let request = Request { id, session, sequence, routing: Routing::Leader, command };
        let client = ClientId(session.0);
        self.host.input(|core, out| core.handle_request(NOW, client, request, out));
    }

    pub(crate) fn end_turn(&mut self) {
        let sent = self.host.end_turn(NOW);
        self.take(sent);
    }

    /// The disk has synced so many records more.
    pub(crate) fn sync(&mut self, records: usize) {
        let sent = self.host.sync(records, NOW);
        self.take(sent);
    }

    /// The snapshot store answers, if it was asked.
    pub(crate) fn finish_save(&mut self, works: bool) {
        if self.host.saving.is_none() {
            return;
        }
        if works {
            self.host.finish_io();
            self.host.answer(NOW);
        } else {
            self.host.fail_save(NOW);
        }
        self.end_turn();
    }

    /// Power is lost: of the records that were not synced the first `survivors` are there all the same.
    pub(crate) fn crash(self, survivors: usize) -> Self {
        let mut host = self.host;
        host.crash(survivors);
        Self::start(host.config, host.disk).expect("a disk after a crash")
    }
}
