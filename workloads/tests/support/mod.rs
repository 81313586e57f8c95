//! A server on loopback that does as a test tells it.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use client::ClientTls;
use kv::{Command, Limits, Refusal, Reply, Request, Response, Store};
use protocol::{NodeId, ReplicaId, codec, frame};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tls::Credentials;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use workloads::{Binding, Distances, KvClient, KvConnector, KvNodes, Who};

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// Runs it and answers.
    Obey,
    /// The same, after a while.
    Delay(Duration),
    /// Runs it and says nothing.
    Swallow,
    /// Runs it and closes the connection.
    HangUp,
    /// Does not run it.
    Refuse(Refusal),
    /// Does not run it and answers.
    Lie(Response),
    /// Does not run it and answers with bytes that are no frame.
    Garble,
}

/// What makes clients of these servers: they speak kv.
pub(crate) type Connector = KvConnector<standalone::Standalone>;

/// Servers that share one state, as replicas do.
pub(crate) struct Servers {
    pub(crate) replicas: BTreeMap<ReplicaId, SocketAddr>,
    /// Everything that was asked, in order.
    pub(crate) asked: Rc<RefCell<Vec<(ReplicaId, Request)>>>,
}

impl Servers {
    /// What makes their clients.
    pub(crate) fn connector(&self, tls: Option<ClientTls>) -> Connector {
        self.far_connector(tls, Distances::default())
    }

    /// What makes their clients, which are as far away as that.
    pub(crate) fn far_connector(&self, tls: Option<ClientTls>, distances: Distances) -> Connector {
        let node = |(replica, address): (&ReplicaId, &SocketAddr)| (NodeId(replica.0), (*replica, *address));
        let nodes = self.replicas.iter().map(node).collect();
        Connector::new(KvNodes { nodes, group: self.replicas.len(), tls, distances })
    }

    /// A client that follows the leader.
    pub(crate) fn client(&self, tls: Option<ClientTls>) -> KvClient<standalone::Standalone> {
        let attempt_timeout = Duration::from_secs(5);
        self.connector(tls).client(&Who { binding: Binding::Leader, turn: 0, attempt_timeout })
    }
}

type Conduct = Rc<dyn Fn(usize, ReplicaId, &Request) -> Deed>;

/// Starts `count` servers. `conduct` is told how many requests came before, and which server was asked.
pub(crate) async fn serve(
    count: u32,
    conduct: impl Fn(usize, ReplicaId, &Request) -> Deed + 'static,
) -> Servers {
    serve_as(count, |_| None, conduct).await
}

/// As [`serve`], with TLS on the part of a server that is given a certificate and what belongs to it.
pub(crate) async fn serve_as(
    count: u32,
    shown: impl Fn(ReplicaId) -> Option<Credentials>,
    conduct: impl Fn(usize, ReplicaId, &Request) -> Deed + 'static,
) -> Servers {
    let conduct: Conduct = Rc::new(conduct);
    let store = Rc::new(RefCell::new(Store::new(Limits::default())));
    let asked = Rc::new(RefCell::new(Vec::new()));
    let mut replicas = BTreeMap::new();
    for id in (1..=count).map(ReplicaId) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        replicas.insert(id, listener.local_addr().expect("it is bound"));
        let (conduct, store, asked) = (conduct.clone(), store.clone(), asked.clone());
        let tls = shown(id).map(|credentials| TlsAcceptor::from(credentials.server()));
        spawn_local(async move {
            loop {
                let (connection, _) = listener.accept().await.expect("loopback connections can be accepted");
                let (conduct, store, asked) = (conduct.clone(), store.clone(), asked.clone());
                let tls = tls.clone();
                spawn_local(async move {
                    match tls {
                        None => converse(id, connection, conduct, store, asked).await,
                        Some(tls) => converse(id, tls.accept(connection).await?, conduct, store, asked).await,
                    }
                });
            }
        });
    }
    Servers { replicas, asked }
}

/// Runs a test that uses [`serve`].
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(LocalSet::new().run_until(test))
}

async fn converse(
    id: ReplicaId,
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
    conduct: Conduct,
    store: Rc<RefCell<Store>>,
    asked: Rc<RefCell<Vec<(ReplicaId, Request)>>>,
) -> io::Result<()> {
    let mut input = Vec::new();
    while connection.read_buf(&mut input).await? > 0 {
        while let Some((payload, bytes)) = frame::parse(&input, 1 << 20).expect("clients frame well") {
            let request: Request = codec::decode(payload).expect("clients encode well");
            input.drain(..bytes);
            let before = asked.borrow().len();
            asked.borrow_mut().push((id, request.clone()));
            let deed = conduct(before, id, &request);
            let run = || run_command(&mut store.borrow_mut(), &request);
            let result = match deed {
                Deed::Obey => run(),
                Deed::Delay(time) => {
                    sleep(time).await;
                    run()
                }
                Deed::Swallow => {
                    run().expect("no test breaks a bound");
                    continue;
                }
                Deed::HangUp => {
                    run().expect("no test breaks a bound");
                    return Ok(());
                }
                Deed::Refuse(refusal) => Err(refusal),
                Deed::Lie(response) => Ok(response),
                Deed::Garble => {
                    connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?;
                    continue;
                }
            };
            let mut output = Vec::new();
            let reply = Reply { id: request.id, result };
            frame::frame_into(&mut output, |out| codec::encode_into(&reply, out));
            connection.write_all(&output).await?;
            connection.flush().await?;
        }
    }
    Ok(())
}

fn run_command(store: &mut Store, request: &Request) -> Result<Response, Refusal> {
    let command: &Command = &request.command;
    if command.is_read_only() {
        return Ok(store.read(command));
    }
    store.apply(request.session, request.sequence, command)
}
