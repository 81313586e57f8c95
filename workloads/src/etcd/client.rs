//! A client of etcd: one call at a time, asked again while that is safe.

use super::connection::{Connection, RpcError};
use super::leader::LeaderFinder;
use super::requests;
use super::txn;
use crate::values::Layout;
use checkers::history::{Answer, Call, MicroCall, Outcome};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How long to wait before asking again.
const BACKOFF: Duration = Duration::from_millis(5);

/// How an [`EtcdClient`] behaves.
#[derive(Clone, Debug)]
pub(super) struct EtcdClientConfig {
    /// Whom it asks.
    pub(super) target: Target,
    /// Read from the member asked, as it is, instead of linearizably.
    pub(super) serializable_reads: bool,
    /// A read that has no answer after so long is asked again; connections must be made in this time.
    pub(super) attempt_timeout: Duration,
    /// How far the client is from members, one way, as far as that is any way.
    pub(super) one_ways: BTreeMap<SocketAddr, Duration>,
}

/// Whom a client asks.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// This member.
    Member(SocketAddr),
    /// Whoever leads.
    Leader(Arc<LeaderFinder>),
}

/// One logical client with a connection of its own.
///
/// etcd has no client sessions: a write whose answer is lost cannot be asked again without the risk of happening twice, so
/// it ends as unknown at once. Reads, and requests that certainly had no effect, are asked again until their time is up.
#[derive(Debug)]
pub(super) struct EtcdClient {
    config: EtcdClientConfig,
    connection: Option<Connection>,
    /// When something last went wrong: what was known of the leader before may be wrong.
    failed: Instant,
}

/// What an attempt has done so far: known even if it is cut short.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// A request that may change something is under way, or has been.
    pub(super) writing: bool,
}

impl EtcdClient {
    /// A client that has asked nothing yet. To be used within a tokio runtime.
    pub(super) fn new(config: EtcdClientConfig) -> Self {
        Self { config, connection: None, failed: Instant::now() }
    }

    /// The member that it asks, as far as it is decided.
    pub(super) fn member(&self) -> Option<SocketAddr> {
        match &self.config.target {
            Target::Member(member) => Some(*member),
            Target::Leader(_) => self.connection.as_ref().map(|connection| connection.member),
        }
    }

    /// Asks, to be over within `timeout`.
    pub(super) async fn perform(&mut self, layout: &Layout, call: &Call, timeout: Duration) -> Outcome {
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
            self.failed = Instant::now();
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
        if let Call::Txn(steps) = call {
            txn::perform(connection, layout, steps, serializable, attempt).await
        } else {
            requests::perform(connection, layout, call, serializable, attempt).await
        }
    }

    /// The connection to whom the client asks. One that was lost is made again underneath.
    async fn connect(&mut self) -> Result<&mut Connection, RpcError> {
        let member = match &self.config.target {
            Target::Member(member) => *member,
            Target::Leader(finder) => finder.leader(self.failed).await.ok_or_else(|| RpcError {
                reason: "no member leads".into(),
                no_effect: true,
                transient: true,
            })?,
        };
        let connection = self.connection.take().filter(|connection| connection.member == member);
        Ok(self.connection.insert(match connection {
            Some(connection) => connection,
            None => {
                let one_way = self.config.one_ways.get(&member).copied().unwrap_or_default();
                Connection::new(member, self.config.attempt_timeout, one_way)
            }
        }))
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
