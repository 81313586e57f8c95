//! The clients: cores of `kv` that ask for what `lists.rs` can check.

use super::lists::{Element, KEYS, Op};
use super::{Alarm, MS, Storm};
use kv::{ClientConfig, LeaderClient, Response};
use protocol::{ClientCore, ClientEffects, ClientId, ClientOutcome, NodeId, ReplicaId, SessionId, Time};
use rand::Rng;
use sim::Broken;
use std::collections::BTreeMap;
use std::time::Duration;

/// An op is given up after so long: nobody knows what becomes of it.
const OP_TIMEOUT: Duration = Duration::from_millis(600);

pub(super) struct Client {
    id: ClientId,
    core: LeaderClient,
    op: Option<Op>,
    wake: Option<Time>,
    /// How many requests of the op went to whom, as far as they may have arrived.
    asked: BTreeMap<ReplicaId, u32>,
}

impl Client {
    /// Two are bound to a replica, which sees to their commands; the others follow the leader.
    fn new(place: usize, number: u64, replicas: &[ReplicaId]) -> Self {
        let home = replicas[place % replicas.len()];
        let core = LeaderClient::new(ClientConfig {
            session: SessionId(number),
            replicas: replicas.to_vec(),
            group: replicas.len(),
            home,
            bound: place % 2 == 1,
            attempt_timeout: 60 * MS,
            backoff: 10 * MS,
        });
        Self { id: ClientId(number), core, op: None, wake: None, asked: BTreeMap::new() }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.op.is_none()
    }
}

pub(super) const CLIENTS: usize = 5;

impl Storm {
    pub(super) fn begin_client(&mut self, place: usize) {
        self.clients_begun += 1;
        let client = Client::new(place, self.clients_begun, &self.replicas());
        match self.clients.get_mut(place) {
            Some(old) => *old = client,
            None => self.clients.push(client),
        }
    }

    pub(super) fn ask(&mut self, place: usize) -> Result<(), Broken> {
        let client = &mut self.clients[place];
        if self.calm || client.op.is_some() {
            return Ok(());
        }
        // The first only reads, the second mostly: a client that waits for a write sees nothing meanwhile.
        let write_share = [0.0, 0.1].get(place).copied().unwrap_or(0.8);
        let key = self.rng.random_range(0..KEYS);
        let append = self.rng.random_bool(write_share).then(|| {
            self.elements += 1;
            Element::from(self.elements)
        });
        let op = self.lists.begin(key, append);
        let (now, command) = (self.cluster.now(), op.command());
        client.op = Some(op);
        client.asked.clear();
        let mut out = ClientEffects::default();
        client.core.submit(now, now + OP_TIMEOUT, command, &mut out);
        self.carry_out(place, out)
    }

    fn carry_out(&mut self, place: usize, out: ClientEffects<kv::Request, Response>) -> Result<(), Broken> {
        let client = &mut self.clients[place];
        for (to, request) in out.send {
            *client.asked.entry(to).or_default() += 1;
            self.cluster.request(client.id, NodeId(to.0), request);
        }
        if let Some(at) = out.wake {
            client.wake = Some(at);
            self.alarm_at(at, Alarm::Wake(place));
        }
        let Some(done) = out.done else { return Ok(()) };
        let client = &mut self.clients[place];
        client.wake = None;
        let op = client.op.take().expect("only an op that is under way is over");
        match done.outcome {
            ClientOutcome::Answered(response) => {
                self.lists.answered(&op, response)?;
                *if op.is_read() { &mut self.report.reads } else { &mut self.report.writes } += 1;
            }
            ClientOutcome::Failed(_) => {}
            ClientOutcome::Unknown(_) => {
                self.cluster.client_gone(client.id);
                self.begin_client(place);
            }
        }
        self.alarm(0..12, Alarm::Ask(place));
        Ok(())
    }

    fn place(&self, client: ClientId) -> Option<usize> {
        self.clients.iter().position(|there| there.id == client)
    }

    pub(super) fn hear(&mut self, client: ClientId, from: NodeId, reply: kv::Reply) -> Result<(), Broken> {
        let Some(place) = self.place(client) else { return Ok(()) };
        let mut out = ClientEffects::default();
        self.clients[place].core.handle_reply(self.cluster.now(), ReplicaId(from.0), reply, &mut out);
        self.carry_out(place, out)
    }

    /// A node is gone, or was not there.
    pub(super) fn lose(&mut self, client: ClientId, node: NodeId, refused: bool) -> Result<(), Broken> {
        let Some(place) = self.place(client) else { return Ok(()) };
        let (client, replica) = (&mut self.clients[place], ReplicaId(node.0));
        let asked = client.asked.entry(replica).or_default();
        *asked = asked.saturating_sub(u32::from(refused));
        let maybe_sent = *asked > 0;
        let mut out = ClientEffects::default();
        client.core.handle_unreachable(self.cluster.now(), replica, maybe_sent, &mut out);
        self.carry_out(place, out)
    }

    pub(super) fn wake(&mut self, place: usize) -> Result<(), Broken> {
        let (now, client) = (self.cluster.now(), &mut self.clients[place]);
        if client.op.is_none() || client.wake.is_none_or(|wake| wake > now) {
            return Ok(());
        }
        client.wake = None;
        let mut out = ClientEffects::default();
        client.core.handle_timer(now, &mut out);
        self.carry_out(place, out)
    }
}
