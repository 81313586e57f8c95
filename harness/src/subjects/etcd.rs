//! etcd from the PATH, over gRPC: a foreign subject.

use crate::elsewhere::Target;
use crate::host::Log;
use crate::host::node::{Ready, Recipe};
use crate::plan::Cell;
use crate::sim::one::Simulated;
use crate::subject::{
    ClientKind, Clocks, Deployment, Foreign, Kind, Promise, Properties, Reads, Subject, System, any_workload,
};
use crate::world::ports::Ports;
use crate::world::recipes::Layout;
use anyhow::bail;
use futures_util::future::BoxFuture;
use protocol::NodeId;
use protocol::quorum::Quorums;
use runtime::Durability;
use serde_yaml::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use workloads::etcd::EtcdConnector;
use workloads::{ClientTls, Connect};

pub(crate) const SYSTEM: System = System::new(&Etcd);

struct Etcd;

static PROPERTIES: Properties = Properties {
    name: "etcd",
    about: "etcd from the PATH, over gRPC: a foreign subject",
    program: "etcd",
    is_example: false,
    promise: Promise::Linearizable,
    quorums: Quorums::Majority,
    replicas: None,
    leads: true,
    client: ClientKind::Leader,
    changes_members: false,
    marks: Err("etcd does not tell a digest of its state"),
    clocks: Clocks::Availability,
    reads: &[(Reads::Default, "linearizable"), (Reads::Local, "serializable (unsafe)")],
    durability: &[Durability::Fsync],
    adversaries: &[],
    workloads: any_workload,
};

impl Kind for Etcd {
    fn properties(&self) -> &'static Properties {
        &PROPERTIES
    }

    fn deployment(&self) -> Deployment {
        Deployment::Foreign(&Etcd)
    }

    fn connector(&self, target: &Target, _tls: Option<ClientTls>) -> Arc<dyn Connect> {
        let members = target.nodes.iter().map(|(node, (_, address))| (*node, *address)).collect();
        Arc::new(EtcdConnector::new(members, target.reads == Reads::Local, target.distances.clone()))
    }

    fn node_options(&self, subject: &Subject) -> Result<Value, String> {
        if !subject.storage_bugs.is_empty() {
            return Err("etcd has no seeded bugs".into());
        }
        if !subject.options.is_null() {
            return Err("etcd takes no options".into());
        }
        Ok(Value::Null)
    }

    fn simulate(&self, _cell: &Cell, _in_words: bool) -> anyhow::Result<Simulated> {
        bail!("etcd is a foreign process: it cannot run in virtual time")
    }
}

impl Foreign for Etcd {
    fn package(&self) -> &'static str {
        "etcd-server"
    }

    /// With its default settings.
    fn recipe(&self, node: NodeId, layout: &Layout, ports: &BTreeMap<NodeId, Ports>) -> Recipe {
        let url = |address: SocketAddr| format!("http://{address}");
        let members: Vec<_> = ports.iter().map(|(id, ports)| format!("{id}={}", url(ports.peer))).collect();
        let own = ports[&node];
        let args = [
            ("--name", node.to_string()),
            ("--data-dir", layout.data.display().to_string()),
            ("--listen-peer-urls", url(own.peer)),
            ("--initial-advertise-peer-urls", url(own.peer)),
            ("--listen-client-urls", url(own.client)),
            ("--advertise-client-urls", url(own.client)),
            ("--initial-cluster", members.join(",")),
            ("--initial-cluster-state", "new".into()),
            ("--log-level", "warn".into()),
        ];
        Recipe {
            name: node.to_string(),
            program: layout.program.clone(),
            args: args.into_iter().flat_map(|(flag, value)| [flag.into(), value.into()]).collect(),
            dir: layout.dir.clone(),
            control: None,
            ready: Ready::Listens(own.client),
        }
    }

    fn log(&self) -> Log {
        Log::Files { folder: "member/wal".into(), suffix: ".wal".into() }
    }

    fn leader<'a>(&'a self, clients: &'a [SocketAddr]) -> BoxFuture<'a, Option<SocketAddr>> {
        Box::pin(workloads::etcd::leader(clients))
    }
}
