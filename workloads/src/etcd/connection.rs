//! Calls on one member, and what their errors mean.

use super::messages::{
    PutRequest, PutResponse, RangeRequest, RangeResponse, StatusRequest, StatusResponse, TxnRequest,
    TxnResponse,
};
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Request, Status};
use tonic_prost::ProstCodec;

/// The largest answer taken, in bytes: scans may be long.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A connection to one member, made when it is first used.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) member: SocketAddr,
    grpc: Grpc<Channel>,
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
    pub(super) fn new(member: SocketAddr, connect_timeout: Duration) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{member}")).expect("an address makes a URI");
        let channel = endpoint.connect_timeout(connect_timeout).tcp_nodelay(true).connect_lazy();
        Self { member, grpc: Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX) }
    }

    pub(super) async fn range(&mut self, request: RangeRequest) -> Result<RangeResponse, RpcError> {
        self.unary("/etcdserverpb.KV/Range", request).await
    }

    pub(super) async fn put(&mut self, request: PutRequest) -> Result<PutResponse, RpcError> {
        self.unary("/etcdserverpb.KV/Put", request).await
    }

    pub(super) async fn txn(&mut self, request: TxnRequest) -> Result<TxnResponse, RpcError> {
        self.unary("/etcdserverpb.KV/Txn", request).await
    }

    pub(super) async fn status(&mut self) -> Result<StatusResponse, RpcError> {
        self.unary("/etcdserverpb.Maintenance/Status", StatusRequest {}).await
    }

    async fn unary<Q, R>(&mut self, path: &'static str, request: Q) -> Result<R, RpcError>
    where
        Q: prost::Message + Default + 'static,
        R: prost::Message + Default + 'static,
    {
        self.grpc.ready().await.map_err(|error| RpcError {
            reason: format!("{}: {error}", self.member),
            no_effect: true,
            transient: true,
        })?;
        let path = PathAndQuery::from_static(path);
        let response = self.grpc.unary(Request::new(request), path, ProstCodec::<Q, R>::default()).await;
        response.map(tonic::Response::into_inner).map_err(|status| classify(self.member, &status))
    }
}

/// What an error means. Whatever etcd does not rule out may have happened.
fn classify(member: SocketAddr, status: &Status) -> RpcError {
    let not_connected = is_connect_error(status);
    let (no_effect, transient) = match status.code() {
        _ if not_connected => (true, true),
        // Refused when it arrived ("too many requests"), or when applied ("database space exceeded").
        Code::ResourceExhausted => (true, true),
        // The request is malformed, or not allowed.
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::NotFound
        | Code::Unimplemented
        | Code::PermissionDenied
        | Code::Unauthenticated => (true, false),
        _ => (false, true),
    };
    let reason = if not_connected {
        format!("{member}: cannot connect")
    } else {
        format!("{member}: {:?}: {}", status.code(), status.message())
    };
    RpcError { reason, no_effect, transient }
}

/// Whether there was no connection to send the request on.
fn is_connect_error(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2379);

    #[test]
    fn only_what_etcd_rules_out_did_not_happen() {
        let classified = |code, message| {
            let error = classify(MEMBER, &Status::new(code, message));
            (error.no_effect, error.transient)
        };
        assert_eq!(classified(Code::Unavailable, "etcdserver: request timed out"), (false, true));
        assert_eq!(classified(Code::Unavailable, "etcdserver: leader changed"), (false, true));
        assert_eq!(classified(Code::Unknown, "transport error"), (false, true));
        assert_eq!(classified(Code::Cancelled, ""), (false, true));
        assert_eq!(classified(Code::ResourceExhausted, "etcdserver: too many requests"), (true, true));
        assert_eq!(classified(Code::InvalidArgument, "etcdserver: key is not provided"), (true, false));
    }

    #[tokio::test]
    async fn a_refused_connection_is_certain() {
        // A port that was free a moment ago and is not listened on.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let member = listener.local_addr().expect("it is bound");
        drop(listener);
        let mut connection = Connection::new(member, Duration::from_secs(1));
        let error = connection.status().await.expect_err("nobody listens");
        assert!(error.no_effect && error.transient, "{error:?}");
    }
}
