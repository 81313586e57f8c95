//! A client of etcd: one call at a time, asked again while that is safe.

use super::connection::{Connection, RpcError};
use super::leader::leader;
use super::requests;
use super::txn;
use crate::values::Layout;
use checkers::history::{Answer, Call, MicroCall, Outcome};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How long to wait before asking again.
const BACKOFF: Duration = Duration::from_millis(5);

/// How an [`EtcdClient`] behaves.
#[derive(Clone, Debug)]
pub struct EtcdClientConfig {
    /// The members' client ports.
    pub members: Vec<SocketAddr>,
    /// Stay with this member instead of following the leader.
    pub bound_to: Option<SocketAddr>,
    /// The member that leads, if known.
    pub first: Option<SocketAddr>,
    /// Read from the member asked, as it is, instead of linearizably.
    pub serializable_reads: bool,
    /// A read that has no answer after so long is asked again; connections must be made in this time.
    pub attempt_timeout: Duration,
}

/// One logical client with a connection of its own.
///
/// etcd has no client sessions: a write whose answer is lost cannot be asked again without the risk of happening twice, so
/// it ends as unknown at once. Reads, and requests that certainly had no effect, are asked again until their time is up.
#[derive(Debug)]
pub struct EtcdClient {
    config: EtcdClientConfig,
    connection: Option<Connection>,
    answered_last: Option<SocketAddr>,
}

/// What an attempt has done so far: known even if it is cut short.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// A request that may change something is under way, or has been.
    pub(super) writing: bool,
}

impl EtcdClient {
    /// A client that has asked nothing yet. To be made and used within a tokio runtime.
    ///
    /// # Panics
    /// If there are no members.
    #[must_use]
    pub fn new(config: EtcdClientConfig) -> Self {
        assert!(!config.members.is_empty(), "a client needs members");
        Self { config, connection: None, answered_last: None }
    }

    /// The member that answered last.
    #[must_use]
    pub fn answered_last(&self) -> Option<SocketAddr> {
        self.answered_last
    }

    /// Asks, to be over within `timeout`.
    pub async fn perform(&mut self, layout: &Layout, call: &Call, timeout: Duration) -> Outcome {
        let deadline = Instant::now() + timeout;
        let read_only = is_read_only(call);
        loop {
            let mut attempt = Attempt::default();
            let attempt_end =
                if read_only { deadline.min(Instant::now() + self.config.attempt_timeout) } else { deadline };
            let error = match timeout_at(attempt_end, self.attempt(layout, call, &mut attempt)).await {
                Ok(Ok(answer)) => return Outcome::Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => RpcError { reason: "timed out".into(), no_effect: false, transient: true },
            };
            // Another leader may have been elected, another connection may work.
            self.connection = None;
            self.config.first = None;
            if attempt.writing && !error.no_effect {
                return Outcome::Info(error.reason);
            }
            if !error.transient || Instant::now() + BACKOFF >= deadline {
                // A read has no effect in any case; it is unknown, as with our own replicas, if an answer may be on its way.
                let unknown = read_only && !error.no_effect;
                return if unknown { Outcome::Info(error.reason) } else { Outcome::Fail(error.reason) };
            }
            sleep(BACKOFF).await;
        }
    }

    async fn attempt(
        &mut self,
        layout: &Layout,
        call: &Call,
        attempt: &mut Attempt,
    ) -> Result<Answer, RpcError> {
        let serializable = self.config.serializable_reads;
        let connection = self.connect().await?;
        let answer = match call {
            Call::Txn(steps) => txn::perform(connection, layout, steps, serializable, attempt).await?,
            call => requests::perform(connection, layout, call, serializable, attempt).await?,
        };
        self.answered_last = self.connection.as_ref().map(|connection| connection.member);
        Ok(answer)
    }

    async fn connect(&mut self) -> Result<&mut Connection, RpcError> {
        if self.connection.is_none() {
            let known = self.config.bound_to.or(self.config.first);
            let member = match known {
                Some(member) => Some(member),
                None => leader(&self.config.members).await,
            };
            let no_leader =
                || RpcError { reason: "no member leads".into(), no_effect: true, transient: true };
            self.connection =
                Some(Connection::new(member.ok_or_else(no_leader)?, self.config.attempt_timeout));
        }
        Ok(self.connection.as_mut().expect("just made"))
    }
}

fn is_read_only(call: &Call) -> bool {
    match call {
        Call::Read { .. } | Call::ReadRecord { .. } | Call::Scan { .. } => true,
        Call::Txn(steps) => {
            steps.iter().all(|step| matches!(step, MicroCall::ReadList { .. } | MicroCall::Read { .. }))
        }
        Call::Write { .. }
        | Call::Cas { .. }
        | Call::Insert { .. }
        | Call::Update { .. }
        | Call::ReadModifyWrite { .. } => false,
    }
}
