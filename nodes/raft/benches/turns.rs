//! What the core itself costs: three replicas in one thread, messages handed over as they are, disks that are done at once.
//! A leader's turn takes `clients` requests, as a driver under load would hand them over.
//!
//! `cargo bench -p raft`. The whole program has 13 to 15 µs per operation where this core shall take little of it.

use bytes::Bytes;
use kv::{Command, Routing};
use protocol::{
    ClientId, Effects, Incarnation, JournalPosition, Protocol, Recovered, ReplicaId, RequestId, Sequence,
    SessionId, Time,
};
use raft::{Config, Options, Raft, Timer};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

const MEASURED: Duration = Duration::from_secs(1);

struct Cluster {
    replicas: Vec<(Raft, Effects<Raft>)>,
    now: Time,
    replies: u64,
}

impl Cluster {
    fn new() -> Self {
        let members: Vec<ReplicaId> = (1..=3).map(ReplicaId).collect();
        let mut cluster = Self { replicas: Vec::new(), now: Time::ZERO, replies: 0 };
        for &replica in &members {
            let (incarnation, members) = (Incarnation(0), members.clone());
            let config = Config { replica, incarnation, members, options: Options::default() };
            let mut out = Effects::new(JournalPosition(0));
            let raft = Raft::recover(config, u64::from(replica.0), Time::ZERO, Recovered::empty(), &mut out)
                .expect("an empty disk");
            out.clear();
            cluster.replicas.push((raft, out));
        }
        cluster.now = Time(2_000_000_000);
        let (raft, out) = &mut cluster.replicas[0];
        raft.handle_timer(cluster.now, Timer::Election, out);
        cluster.settle();
        assert!(cluster.replicas[0].0.is_leader());
        cluster
    }

    /// Ends everybody's turn, makes everything durable and delivers everything, until nothing is left.
    fn settle(&mut self) {
        let mut inbox: Vec<(ReplicaId, ReplicaId, raft::Message)> = Vec::new();
        loop {
            for (place, (raft, out)) in self.replicas.iter_mut().enumerate() {
                let from = ReplicaId(place as u32 + 1);
                raft.end_turn(self.now, out);
                for lane in [&mut out.early, &mut out.durable] {
                    inbox.extend(lane.messages.drain(..).map(|(to, message)| (from, to, message)));
                    self.replies += lane.replies.drain(..).count() as u64;
                }
                let durable = (!out.records.is_empty()).then_some(out.next_position());
                out.clear();
                if let Some(before) = durable {
                    raft.handle_durable(self.now, before, out);
                    raft.end_turn(self.now, out);
                    self.replies += out.early.replies.drain(..).count() as u64;
                    inbox.extend(out.early.messages.drain(..).map(|(to, message)| (from, to, message)));
                }
            }
            if inbox.is_empty() {
                return;
            }
            for (from, to, message) in inbox.drain(..) {
                let (raft, out) = &mut self.replicas[to.0 as usize - 1];
                raft.handle_message(self.now, from, message, out);
            }
        }
    }

    fn turn(&mut self, clients: u64, sequence: u64, command: impl Fn(u64) -> Command) {
        let (leader, out) = &mut self.replicas[0];
        for client in 1..=clients {
            let request = kv::Request {
                id: RequestId(sequence),
                session: SessionId(client),
                sequence: Sequence(sequence),
                routing: Routing::Leader,
                command: command(client),
            };
            leader.handle_request(self.now, ClientId(client), request, out);
        }
        self.settle();
    }
}

/// Processor time of this process: what others do on the machine does not count.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("processor time is not negative")
}

fn measure(name: &str, clients: u64, command: impl Fn(u64) -> Command) {
    let mut cluster = Cluster::new();
    let start = cpu();
    let mut sequence = 0;
    while cpu() - start < MEASURED {
        sequence += 1;
        cluster.turn(clients, sequence, &command);
    }
    let each = (cpu() - start).as_nanos() / u128::from(cluster.replies);
    assert_eq!(cluster.replies, clients * sequence, "every request is answered");
    println!(
        "{name:>5} × {clients:>4} a turn: {each:>6} ns of CPU per operation, all three replicas together"
    );
}

fn main() {
    let keys: Vec<Bytes> = (0..=256_u64).map(|client| Bytes::from(format!("{client:016}"))).collect();
    let key = |client: u64| keys[client as usize].clone();
    let value = Bytes::from(vec![7; 256]);
    for clients in [1, 16, 64, 256] {
        measure("write", clients, |client| Command::Write { key: key(client), value: value.clone() });
    }
    for clients in [1, 16, 64, 256] {
        measure("read", clients, |client| Command::Read { key: key(client) });
    }
}
