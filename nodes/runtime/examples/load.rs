//! A closed loop of puts (or reads) against a group of node processes, to profile with:
//! `cargo run --release -p runtime --example load -- --node target/release/raft-node`.

#[path = "../tests/support/cluster.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod cluster;

use anyhow::{Context, bail};
use clap::Parser;
use cluster::Process;
use hdrhistogram::Histogram;
use kv::{Command, Refusal, Reply, Request, Routing};
use protocol::{RequestId, Sequence, SessionId, codec, frame};
use runtime::Durability;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Debug, Parser)]
struct Arguments {
    /// The node binary.
    #[arg(long)]
    node: PathBuf,
    #[arg(long, default_value_t = 3)]
    replicas: u32,
    /// Nothing is written to disk.
    #[arg(long)]
    memory: bool,
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    clients: Vec<u64>,
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// Reads instead of puts.
    #[arg(long)]
    reads: bool,
    /// The protocol's options, YAML.
    #[arg(long, default_value = "{}")]
    options: String,
    /// Print what the leader counted (parts of metric names).
    #[arg(long)]
    metrics: Option<String>,
    /// Where data goes, instead of a temporary folder.
    #[arg(long)]
    folder: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&arguments))
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = match &arguments.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let durability = if arguments.memory { Durability::Memory } else { Durability::Fsync };
    let options = serde_yaml::from_str(&arguments.options)?;
    let mut nodes = Vec::new();
    for config in cluster::group(folder.path(), arguments.replicas, durability, &options) {
        match Process::start(&arguments.node, &config) {
            Ok(node) => nodes.push(node),
            Err(ended) => bail!("{ended:?}"),
        }
    }
    let leader = find_leader(&nodes, arguments).await?;
    println!(
        "{:>7} {:>9} {:>8} {:>8} {:>8} {:>8} {:>11} {:>10} {:>10} {:>8}",
        "clients",
        "ops/s",
        "p50 us",
        "p99 us",
        "p99.9",
        "max",
        "nodes us/op",
        "leader",
        "load us/op",
        "others %"
    );
    let pids: Vec<_> = nodes.iter().map(Process::pid).collect();
    for (round, clients) in arguments.clients.iter().enumerate() {
        measure(
            arguments,
            round as u64,
            *clients,
            leader,
            &pids,
            nodes.iter().position(|n| n.ready.client == leader).unwrap_or(0),
        )
        .await?;
    }
    if let Some(pattern) = &arguments.metrics {
        for node in &nodes {
            let (_, page) = cluster::http(node.ready.http, "GET", "/metrics", "");
            println!("{}", node.ready.client);
            for line in page
                .lines()
                .filter(|line| !line.starts_with('#') && pattern.split(',').any(|name| line.contains(name)))
            {
                println!("  {line}");
            }
        }
    }
    Ok(())
}

async fn measure(
    arguments: &Arguments,
    round: u64,
    clients: u64,
    leader: SocketAddr,
    pids: &[u32],
    leader_index: usize,
) -> anyhow::Result<()> {
    let begin = Instant::now() + Duration::from_millis(500);
    let end = begin + Duration::from_secs_f64(arguments.seconds);
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (keys, value_bytes, reads) = (arguments.keys, arguments.value_bytes, arguments.reads);
            tokio::spawn(async move {
                let mut client = Client::connect(leader, (round << 32) | client).await?;
                let mut latencies = Histogram::<u64>::new(3)?;
                while Instant::now() < end {
                    let asked = Instant::now();
                    client.ask(reads, keys, value_bytes).await?;
                    let done = Instant::now();
                    if asked >= begin && done < end {
                        latencies.record((done - asked).as_nanos() as u64)?;
                    }
                }
                anyhow::Ok(latencies)
            })
        })
        .collect();
    tokio::time::sleep_until(begin.into()).await;
    let cpu: Vec<_> = pids.iter().map(|pid| cpu_us(*pid)).collect();
    let own = cpu_us(std::process::id());
    let machine = machine_cpu_us();
    tokio::time::sleep_until(end.into()).await;
    let nodes: Vec<_> = pids.iter().zip(cpu).map(|(pid, before)| cpu_us(*pid) - before).collect();
    let own = cpu_us(std::process::id()) - own;
    let others = machine_cpu_us() - machine - own - nodes.iter().sum::<f64>();
    let mut all = Histogram::<u64>::new(3)?;
    for task in tasks {
        all.add(task.await??)?;
    }
    let ops = all.len() as f64;
    let us = |quantile| all.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "{clients:>7} {:>9.0} {:>8.0} {:>8.0} {:>8.0} {:>8.0} {:>11.1} {:>10.1} {:>10.1} {:>8.0}",
        ops / arguments.seconds,
        us(0.5),
        us(0.99),
        us(0.999),
        us(1.0),
        nodes.iter().sum::<f64>() / ops,
        nodes[leader_index] / ops,
        own / ops,
        others / (arguments.seconds * 1e4)
    );
    Ok(())
}

/// Processor time of a process, in microseconds.
fn cpu_us(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let (_, behind_name) = stat.rsplit_once(')').expect("a name in brackets");
    let fields: Vec<_> = behind_name.split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) * 10_000.0
}

/// Processor time of everything on the machine, in microseconds.
fn machine_cpu_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").expect("a machine");
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .expect("all cores")
        .split_whitespace()
        .skip(1)
        .map(|field| field.parse().expect("a number"))
        .collect();
    // user, nice, system, (idle, iowait), irq, softirq
    (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) * 10_000.0
}

async fn find_leader(nodes: &[Process], arguments: &Arguments) -> anyhow::Result<SocketAddr> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        for node in nodes {
            let mut client = Client::connect(node.ready.client, u64::MAX).await?;
            if client.ask(false, arguments.keys, arguments.value_bytes).await.is_ok() {
                return Ok(node.ready.client);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("no node leads")
}

struct Client {
    stream: TcpStream,
    session: SessionId,
    count: u64,
    out: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    async fn connect(address: SocketAddr, session: u64) -> anyhow::Result<Client> {
        let stream = TcpStream::connect(address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        let session = SessionId(session);
        Ok(Client { stream, session, count: 0, out: Vec::new(), buffer: Vec::with_capacity(16 << 10) })
    }

    async fn ask(&mut self, reads: bool, keys: u64, value_bytes: usize) -> anyhow::Result<()> {
        self.count += 1;
        // Keys of 16 bytes, spread without a pattern that repeats soon.
        let number = (self.session.0.wrapping_mul(0x9e37_79b9) ^ self.count.wrapping_mul(0x85eb_ca6b)) % keys;
        let key = format!("key{number:013}").into();
        let command = if reads {
            Command::Read { key }
        } else {
            Command::Write { key, value: vec![b'v'; value_bytes].into() }
        };
        let id = RequestId(self.count);
        let request = Request {
            id,
            session: self.session,
            sequence: Sequence(self.count),
            routing: Routing::Leader,
            command,
        };
        self.out.clear();
        frame::frame_into(&mut self.out, |out| codec::encode_into(&request, out));
        self.stream.write_all(&self.out).await?;
        loop {
            if let Some((payload, length)) = frame::parse(&self.buffer, frame::PAYLOAD_BYTES_MAX)? {
                let reply: Reply = codec::decode(payload)?;
                self.buffer.drain(..length);
                if reply.id == id {
                    return match reply.result {
                        Ok(_) | Err(Refusal::Busy) => Ok(()),
                        Err(refusal) => Err(refusal.into()),
                    };
                }
                continue;
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the node closed the connection");
            }
        }
    }
}
