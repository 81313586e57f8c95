//! One slot of load: one logical client after another, each retiring when an op's outcome is unknown.

use super::engine::{Engine, Stop};
use super::{Arrivals, Endpoint};
use crate::etcd::{EtcdClient, EtcdClientConfig, Target};
use crate::kv_client::{KvClient, KvClientConfig};
use crate::perform::{Performing, Step};
use crate::spec::Binding;
use crate::values::Layout;
use checkers::history::{Call, Outcome, ProcessId};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A worker of a closed loop pauses so long after an op that did not succeed: a system that refuses at once would
/// otherwise fill the history with refusals.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// A logical client's connections.
enum Client {
    Kv(Box<KvClient>),
    Etcd(Box<EtcdClient>),
}

/// A slot with the process that is on it now.
struct Worker<'a, 'r> {
    engine: &'a Engine<'r>,
    slot: u32,
    process: ProcessId,
    client: Client,
}

/// Works until there is nothing more to do.
pub(super) async fn work(engine: &Engine<'_>, slot: u32) {
    let process = engine.first_process(slot);
    let mut worker = Worker { engine, slot, process, client: Client::new(engine, slot) };
    let result = match engine.config.arrivals {
        Arrivals::Closed => worker.closed_loop().await,
        Arrivals::Open { .. } => worker.open_loop().await,
    };
    if let Err(error) = result {
        engine.fail(error);
    }
}

impl Worker<'_, '_> {
    async fn closed_loop(&mut self) -> Result<(), Stop> {
        while let Some(call) = self.engine.next_call(self.slot).await {
            if !self.ask(None, call).await? {
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
        Ok(())
    }

    async fn open_loop(&mut self) -> Result<(), Stop> {
        while let Some(due_ns) = self.engine.next_due().await {
            let Some(call) = self.engine.next_call(self.slot).await else { break };
            self.ask(Some(due_ns), call).await?;
        }
        Ok(())
    }

    /// Asks, and says whether it took effect.
    async fn ask(&mut self, intended: Option<u64>, call: Call) -> Result<bool, Stop> {
        let op = self.engine.invoke(self.process, intended, call)?;
        let outcome = self.client.perform(&self.engine.layout, &op.call, self.engine.config.op_timeout).await;
        let outcome = self.engine.complete(self.slot, &op, outcome)?;
        if let Client::Kv(client) = &self.client {
            self.engine.remember(client.answered_last());
        }
        if matches!(outcome, Outcome::Info(_)) {
            self.process = self.engine.retire(self.process);
            self.client = Client::new(self.engine, self.slot);
        }
        Ok(matches!(outcome, Outcome::Ok(_)))
    }
}

impl Client {
    fn new(engine: &Engine<'_>, slot: u32) -> Self {
        let attempt_timeout = engine.config.attempt_timeout;
        // Shares begin at different replicas, so that all are asked even where each has few clients.
        let turn = (slot + engine.config.share.index) as usize;
        match &engine.endpoint {
            Endpoint::Kv { replicas, tls } => {
                let bound_to = match engine.binding {
                    Binding::Replica => replicas.keys().nth(turn % replicas.len()).copied(),
                    Binding::Leader => None,
                };
                Client::Kv(Box::new(KvClient::new(&KvClientConfig {
                    replicas: replicas.clone(),
                    tls: tls.clone(),
                    bound_to,
                    first: engine.answered_last(),
                    attempt_timeout,
                })))
            }
            Endpoint::Etcd { members, serializable_reads } => {
                let target = match engine.binding {
                    Binding::Replica => Target::Member(members[turn % members.len()]),
                    Binding::Leader => Target::Leader(engine.finder.clone()),
                };
                let serializable_reads = *serializable_reads;
                let config = EtcdClientConfig { target, serializable_reads, attempt_timeout };
                Client::Etcd(Box::new(EtcdClient::new(config)))
            }
        }
    }

    async fn perform(&mut self, layout: &Layout, call: &Call, timeout: Duration) -> Outcome {
        match self {
            Client::Kv(client) => perform_kv(client, layout, call, timeout).await,
            Client::Etcd(client) => client.perform(layout, call, timeout).await,
        }
    }
}

async fn perform_kv(client: &mut KvClient, layout: &Layout, call: &Call, timeout: Duration) -> Outcome {
    let deadline = Instant::now() + timeout;
    let (mut performing, mut command) = Performing::begin(layout, call);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match performing.answered(layout, call, client.run(command, left).await) {
            Step::Command(next) => command = next,
            Step::Done(performed) => return performed.outcome,
        }
    }
}
