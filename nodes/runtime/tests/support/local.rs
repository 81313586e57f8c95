//! Naive nodes on threads of the test itself.

use super::client::{Client, Control};
use super::cluster;
use super::naive::{self, Naive};
use super::tls;
use protocol::ReplicaId;
use runtime::tls::{Authority, Credentials};
use runtime::{Durability, NodeConfig, NodeError, Ready};
use std::collections::BTreeMap;
use std::thread::JoinHandle;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A node on a thread.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) ready: Ready,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), NodeError>>,
}

impl Local {
    pub(crate) fn start(config: &NodeConfig, snapshot_every: u64) -> Result<Local, NodeError> {
        let (ready_sender, ready) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let config = config.clone();
        let core = naive::Config { replica: config.replica(), members: config.members(), snapshot_every };
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let ready = |ready: &Ready| ready_sender.send(ready.clone()).expect("the test waits");
                let stop = async {
                    // Told to, or the test is over.
                    stopped.await.ok();
                };
                runtime::serve::<Naive>("naive", &config, core, ready, stop).await
            })
        });
        match ready.recv() {
            Ok(ready) => Ok(Local { ready, stop, thread }),
            Err(_ended) => Err(thread.join().expect("no panic").expect_err("it did not become ready")),
        }
    }

    pub(crate) fn stop(self) {
        self.stop.send(()).expect("it runs");
        self.thread.join().expect("no panic").expect("a graceful stop");
    }

    pub(crate) fn client(&self, session: u64) -> Client {
        Client::connect(self.ready.client, session)
    }

    /// As [`Local::client`], of a node that speaks TLS.
    pub(crate) fn secured_client(
        &self,
        to: ReplicaId,
        shown: &Credentials,
        session: u64,
    ) -> Client<tls::Stream> {
        Client::on(tls::connect(self.ready.client, to, shown), session)
    }

    pub(crate) fn control(&self) -> Control {
        Control::connect(&self.ready.control)
    }

    pub(crate) fn metric(&self, name: &str) -> u64 {
        let (_, page) = cluster::http(self.ready.http, "GET", "/metrics", "");
        let line = page.lines().find_map(|line| line.strip_prefix(name)).expect("such a metric");
        line.trim().parse().expect("a number")
    }
}

/// A group whose first node leads.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) nodes: Vec<Local>,
    pub(crate) configs: Vec<NodeConfig>,
    pub(crate) folder: TempDir,
}

impl Group {
    pub(crate) fn start(replicas: u32) -> Group {
        Group::start_configured(replicas, |_| {})
    }

    /// A group that speaks TLS.
    pub(crate) fn start_secured(replicas: u32, authority: &Authority) -> Group {
        Group::start_configured(replicas, |configs| tls::secure(authority, configs))
    }

    /// A group whose nodes know each other's client ports.
    pub(crate) fn start_acquainted(replicas: u32) -> Group {
        Group::start_configured(replicas, |configs| {
            let ports: BTreeMap<_, _> =
                configs.iter().map(|config| (config.node, cluster::free_address())).collect();
            for config in configs {
                config.client_address = ports[&config.node];
                config.clients = ports.clone();
            }
        })
    }

    pub(crate) fn start_configured(replicas: u32, configure: impl FnOnce(&mut [NodeConfig])) -> Group {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut configs =
            cluster::group(folder.path(), replicas, Durability::Fsync, &serde_yaml::Value::Null);
        configure(&mut configs);
        let nodes = configs.iter().map(|config| Local::start(config, 0).expect("it starts")).collect();
        Group { nodes, configs, folder }
    }
}
