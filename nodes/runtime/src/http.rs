//! HTTP for people and curl.
//!
//! | request | answer |
//! |---|---|
//! | `GET /kv/get/{key}` | 200 `{"key", "value"}`, 404 |
//! | `POST /kv/put` of `{"key", "value"}` | 200 `{"key"}` |
//! | `DELETE /kv/delete/{key}` | 200 `{"key", "deleted"}` |
//! | `GET /kv/all?start=&limit=` | 200 `{"rows": [{"key", "value"}], "next"}`: `next` is the next page's start, or null |
//! | `GET /status` | 200, `NodeStatus` |
//! | `GET /metrics` | 200, Prometheus' text format |
//!
//! Anything else is an error with `{"error"}`: 400 for what cannot be asked, 409 for what does not fit the value that is
//! there, 503 for what was refused until its time was up: it certainly had no effect; 504 if its outcome is unknown. Bytes
//! that are no text appear as `{"hex": "…"}`; lists and records as arrays.

use crate::client_port::ACCEPT_BACKOFF;
use crate::control;
use crate::door::Door;
use crate::event::Event;
use crate::front::Front;
use crate::security::Security;
use axum::Router;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Json, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use kv::{Command, Serves, Value};
use protocol::ClientOutcome;
use protocol::control::{ControlReply, ControlRequest};
use serde::Deserialize;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

/// Connections at once, and so requests at once.
const CONNECTIONS_MAX: usize = 512;
/// Handshakes at once from one address.
const HANDSHAKES_MAX: usize = 128;
/// How long the headers of a request may take, and a connection be idle.
const HEADERS_PATIENCE: Duration = Duration::from_secs(30);
/// How long all the rest may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// Rows of a page unless the request says otherwise.
const PAGE_ROWS: u32 = 1000;

/// Serves the port until the node stops.
pub(crate) async fn serve<P: Serves>(listener: TcpListener, security: Security, front: Front<P>) {
    let router = Router::new()
        .route("/kv/get/{key}", get(get_key))
        .route("/kv/put", post(put))
        .route("/kv/delete/{key}", delete(delete_key))
        .route("/kv/all", get(all))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .fallback(async || Failure::new(StatusCode::NOT_FOUND, "no such path"))
        .method_not_allowed_fallback(async || {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "that cannot be done to this path")
        })
        .layer(middleware::from_fn(with_patience))
        .with_state(front);
    let door = Door::new(HANDSHAKES_MAX);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting an HTTP client");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let at_door = door.enter(address.ip());
        let (security, places, router) = (security.clone(), Arc::clone(&places), router.clone());
        tokio::spawn(async move {
            match &security {
                Security::Plain => {
                    drop(at_door);
                    converse(stream, address, &places, router).await;
                }
                Security::Tls { acceptor, .. } => match at_door.greet(acceptor.accept(stream)).await {
                    Ok(stream) => converse(stream, address, &places, router).await,
                    Err(error) => tracing::info!(%address, %error, "HTTP client not let in"),
                },
            }
        });
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    places: &Semaphore,
    router: Router,
) {
    let Ok(_place) = places.try_acquire() else {
        return tracing::warn!(%address, "HTTP client turned away: {CONNECTIONS_MAX} are connected");
    };
    let conversation = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_PATIENCE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = conversation.await {
        tracing::debug!(%address, %error, "HTTP connection dropped");
    }
}

async fn with_patience(request: Request, next: Next) -> Response {
    tokio::time::timeout(ANSWER_PATIENCE, next.run(request)).await.unwrap_or_else(|_elapsed| {
        let reason = format!("no answer within {ANSWER_PATIENCE:?}: outcome unknown");
        Failure::new(StatusCode::GATEWAY_TIMEOUT, reason).into_response()
    })
}

/// Carries a command out.
async fn run<P: Serves>(front: &Front<P>, command: Command) -> Result<kv::Response, Failure> {
    command.validate().map_err(|refusal| Failure::new(StatusCode::BAD_REQUEST, refusal.to_string()))?;
    match front.run(command).await.outcome {
        ClientOutcome::Answered(response) => Ok(response),
        ClientOutcome::Failed(why) => Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, why)),
        ClientOutcome::Unknown(why) => {
            Err(Failure::new(StatusCode::GATEWAY_TIMEOUT, format!("outcome unknown: {why}")))
        }
    }
}

async fn get_key<P: Serves>(
    State(front): State<Front<P>>,
    key: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let Path(key) = key.map_err(|e| Failure::new(e.status(), e.body_text()))?;
    let response = run(&front, Command::Read { key: key.clone().into() }).await?;
    let kv::Response::Value(value) = response else { return Err(Failure::unfit(&response)) };
    let value = value.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "no such key"))?;
    Ok(Json(json!({ "key": key, "value": show(&value) })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    key: String,
    value: String,
}

async fn put<P: Serves>(
    State(front): State<Front<P>>,
    body: Result<Json<Put>, JsonRejection>,
) -> Result<Response, Failure> {
    let Json(Put { key, value }) = body.map_err(|e| Failure::new(e.status(), e.body_text()))?;
    let response = run(&front, Command::Write { key: key.clone().into(), value: value.into() }).await?;
    let kv::Response::Done = response else { return Err(Failure::unfit(&response)) };
    Ok(Json(json!({ "key": key })).into_response())
}

async fn delete_key<P: Serves>(
    State(front): State<Front<P>>,
    key: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let Path(key) = key.map_err(|e| Failure::new(e.status(), e.body_text()))?;
    let response = run(&front, Command::Delete { key: key.clone().into() }).await?;
    let kv::Response::Deleted(deleted) = response else { return Err(Failure::unfit(&response)) };
    Ok(Json(json!({ "key": key, "deleted": deleted })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    start: String,
    #[serde(default = "page_rows")]
    limit: u32,
}

fn page_rows() -> u32 {
    PAGE_ROWS
}

async fn all<P: Serves>(
    State(front): State<Front<P>>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(Page { start, limit }) = page.map_err(|e| Failure::new(e.status(), e.body_text()))?;
    let response = run(&front, Command::Scan { start: start.into(), limit }).await?;
    let kv::Response::Rows(rows) = response else { return Err(Failure::unfit(&response)) };
    let full = rows.len() >= limit as usize;
    // The least key behind the last one.
    let next = rows.last().filter(|_| full).map(|(key, _)| text(&[&key[..], b"\0"].concat()));
    let rows: Vec<_> =
        rows.iter().map(|(key, value)| json!({ "key": text(key), "value": show(value) })).collect();
    Ok(Json(json!({ "rows": rows, "next": next })).into_response())
}

async fn status<P: Serves>(State(front): State<Front<P>>) -> Result<Response, Failure> {
    match control::ask(front.events(), ControlRequest::Status).await {
        Some(ControlReply::Ok(status)) => Ok(Json(status).into_response()),
        Some(ControlReply::Admin(reply)) => unreachable!("{reply:?} is no status"),
        Some(ControlReply::Error(reason)) => Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, reason)),
        None => Err(Failure::stopping()),
    }
}

async fn metrics<P: Serves>(State(front): State<Front<P>>) -> Result<Response, Failure> {
    let (reply, answer) = oneshot::channel();
    front.events().send(Event::Metrics { reply }).await.map_err(|_closed| Failure::stopping())?;
    let page = answer.await.map_err(|_closed| Failure::stopping())?;
    Ok(([("content-type", "text/plain; version=0.0.4")], page).into_response())
}

/// Any answer but 200.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    reason: String,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.reason }))).into_response()
    }
}

impl Failure {
    fn new(status: StatusCode, reason: impl Into<String>) -> Failure {
        Failure { status, reason: reason.into() }
    }

    fn stopping() -> Failure {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "the node is stopping: outcome unknown")
    }

    /// The command did not fit the value that is there.
    fn unfit(response: &kv::Response) -> Failure {
        Failure::new(StatusCode::CONFLICT, format!("the key holds something else: {response:?}"))
    }
}

fn show(value: &Value) -> serde_json::Value {
    match value {
        Value::Bytes(bytes) => text(bytes),
        Value::List(elements) => elements.iter().map(|element| text(element)).collect(),
        Value::Record(fields) => fields.iter().map(|field| text(field)).collect(),
        Value::Text(rope) => rope.to_string().into(),
    }
}

fn text(bytes: &[u8]) -> serde_json::Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}
