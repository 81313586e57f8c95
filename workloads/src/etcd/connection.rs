//! Calls on one member, and what their errors mean.

use super::grpc::{Channel, GrpcError};
use super::messages::{
    PutRequest, PutResponse, RangeRequest, RangeResponse, StatusRequest, StatusResponse, TxnRequest,
    TxnResponse,
};
use client::PreciseTimer;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// A connection to one member, made when it is first used.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) member: SocketAddr,
    channel: Channel,
    /// What a request takes besides to get there, and its answer to get back.
    one_way: Duration,
    /// Made when it is first needed.
    timer: Option<PreciseTimer>,
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(super) struct RpcError {
    pub(super) reason: String,
    /// etcd, or the failure to connect, says for certain that the request had no effect and will have none.
    pub(super) no_effect: bool,
    /// It makes sense to ask again.
    pub(super) transient: bool,
}

impl Connection {
    /// To a member that is so far away, one way.
    pub(super) fn new(member: SocketAddr, connect_timeout: Duration, one_way: Duration) -> Self {
        Self { member, channel: Channel::new(member, connect_timeout), one_way, timer: None }
    }

    pub(super) async fn range(&mut self, request: RangeRequest) -> Result<RangeResponse, RpcError> {
        self.call("/etcdserverpb.KV/Range", request).await
    }

    pub(super) async fn put(&mut self, request: PutRequest) -> Result<PutResponse, RpcError> {
        self.call("/etcdserverpb.KV/Put", request).await
    }

    pub(super) async fn txn(&mut self, request: TxnRequest) -> Result<TxnResponse, RpcError> {
        self.call("/etcdserverpb.KV/Txn", request).await
    }

    pub(super) async fn status(&mut self) -> Result<StatusResponse, RpcError> {
        self.call("/etcdserverpb.Maintenance/Status", StatusRequest {}).await
    }

    async fn call<R: prost::Message + Default>(
        &mut self,
        path: &'static str,
        request: impl prost::Message,
    ) -> Result<R, RpcError> {
        self.travel().await;
        let answer = self.channel.unary(path, &request).await.map_err(|error| classify(self.member, &error));
        self.travel().await;
        answer
    }

    async fn travel(&mut self) {
        if self.one_way.is_zero() {
            return;
        }
        let there = Instant::now() + self.one_way;
        if self.timer.is_none() {
            self.timer = PreciseTimer::new().ok();
        }
        let waited = match &mut self.timer {
            Some(timer) => timer.wait_until(there).await.is_ok(),
            None => false,
        };
        if !waited {
            // Without a file descriptor left, milliseconds have to do.
            sleep_until(there).await;
        }
    }
}

/// gRPC's status codes that say for certain, from etcd, that nothing happened.
mod code {
    pub(super) const INVALID_ARGUMENT: u32 = 3;
    pub(super) const NOT_FOUND: u32 = 5;
    pub(super) const PERMISSION_DENIED: u32 = 7;
    /// Refused when it arrived ("too many requests"), or when applied ("database space exceeded").
    pub(super) const RESOURCE_EXHAUSTED: u32 = 8;
    pub(super) const FAILED_PRECONDITION: u32 = 9;
    pub(super) const OUT_OF_RANGE: u32 = 11;
    pub(super) const UNIMPLEMENTED: u32 = 12;
    pub(super) const UNAUTHENTICATED: u32 = 16;
}

/// What an error means. Whatever is not ruled out may have happened.
fn classify(member: SocketAddr, error: &GrpcError) -> RpcError {
    let (no_effect, transient) = match error {
        GrpcError::Connect(_) | GrpcError::NotProcessed(_) => (true, true),
        GrpcError::Lost(_) | GrpcError::Malformed(_) => (false, true),
        GrpcError::Status { code, .. } => match *code {
            code::RESOURCE_EXHAUSTED => (true, true),
            code::INVALID_ARGUMENT
            | code::NOT_FOUND
            | code::PERMISSION_DENIED
            | code::FAILED_PRECONDITION
            | code::OUT_OF_RANGE
            | code::UNIMPLEMENTED
            | code::UNAUTHENTICATED => (true, false),
            _ => (false, true),
        },
    };
    RpcError { reason: format!("{member}: {error}"), no_effect, transient }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2379);

    /// How far away a member is.
    const ONE_WAY: Duration = Duration::from_millis(15);

    #[test]
    fn only_what_etcd_rules_out_did_not_happen() {
        let classified = |code, message: &str| {
            let error = classify(MEMBER, &GrpcError::Status { code, message: message.into() });
            (error.no_effect, error.transient)
        };
        const UNAVAILABLE: u32 = 14;
        assert_eq!(classified(UNAVAILABLE, "etcdserver: request timed out"), (false, true));
        assert_eq!(classified(UNAVAILABLE, "etcdserver: leader changed"), (false, true));
        assert_eq!(classified(2, "unknown"), (false, true));
        assert_eq!(classified(code::RESOURCE_EXHAUSTED, "etcdserver: too many requests"), (true, true));
        assert_eq!(classified(code::INVALID_ARGUMENT, "etcdserver: key is not provided"), (true, false));
    }

    #[tokio::test]
    async fn a_refused_connection_is_certain() {
        // A port that is taken and never listened on.
        let silent = tokio::net::TcpSocket::new_v4().expect("a socket");
        silent.bind(([127, 0, 0, 1], 0).into()).expect("loopback has free ports");
        let member = silent.local_addr().expect("it is bound");
        let mut connection = Connection::new(member, Duration::from_secs(1), Duration::ZERO);
        let error = connection.status().await.expect_err("nobody listens");
        assert!(error.no_effect && error.transient, "{error:?}");
    }

    #[tokio::test]
    async fn a_connection_that_is_closed_upon_the_request_is_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let member = listener.local_addr().expect("it is bound");
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
            connection.accept().await.expect("a request").expect("whole");
        });
        let mut connection = Connection::new(member, Duration::from_secs(5), ONE_WAY);
        let begun = Instant::now();
        let error = connection.status().await.expect_err("the server hangs up");
        assert!(begun.elapsed() >= 2 * ONE_WAY, "that took {:?}", begun.elapsed());
        assert!(!error.no_effect && error.transient, "{error:?}");
        server.await.expect("the server did not panic");
    }
}
