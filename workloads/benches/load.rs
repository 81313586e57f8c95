//! What the load side costs: closed-loop writes of 256 bytes against a server that answers at once, at several numbers of
//! clients; and what recording costs by itself.
//!
//! `cargo bench -p workloads`; seconds per measurement may follow (`-- 5`). The server runs on another thread, so with both on
//! two cores the rates are those of a system that costs nothing; the CPU column is the load side alone.

use checkers::history::{Answer, Call, Outcome, Phase, ProcessId};
use kv::{Reply, Request, Response};
use protocol::{NodeId, ReplicaId, codec, frame};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use workloads::load::Arrivals;
use workloads::{Distances, KvConnector, KvNodes, LoadConfig, Performed, Recorder, Share, Spec, run_load};

fn main() {
    let seconds = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(3);
    let server = serve();
    println!("{:>8} {:>10} {:>9} {:>9} {:>14}", "clients", "ops/s", "p50 µs", "p99 µs", "CPU µs/op");
    for clients in [1, 16, 64, 256] {
        measure(server, clients, Duration::from_secs(seconds));
    }
    recording();
}

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}

/// CPU time of this thread, in seconds.
fn thread_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn measure(server: SocketAddr, clients: u32, duration: Duration) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("history.bin");
    let spec = Spec::by_name("put").expect("the benchmark is a workload");
    let nodes = BTreeMap::from([(NodeId(1), (ReplicaId(1), server))]);
    let connector = KvConnector::<standalone::Standalone>::new(KvNodes {
        nodes,
        group: 1,
        tls: None,
        distances: Distances::default(),
    });
    let config = LoadConfig {
        clients,
        arrivals: Arrivals::Closed,
        op_timeout: Duration::from_secs(5),
        attempt_timeout: Duration::from_secs(1),
        time_limit: duration,
        ops_max: None,
        seed: 1,
        share: Share::WHOLE,
        binding: spec.binding(true),
        readers: 1,
    };
    let (_stop, stopped) = watch::channel(false);
    let mut recorder = Recorder::create(&path).expect("the folder is writable");
    let cpu_before = thread_cpu_s();
    let load = run_load(&connector, &spec, Phase::Run, &config, &mut recorder, stopped);
    let summary = current_thread().block_on(load).expect("the server answers");
    let cpu_s = thread_cpu_s() - cpu_before;
    recorder.finish().expect("the folder is writable");
    let latency = &summary.tally.values().next().expect("there were writes").latency_ns;
    let wall_s = (summary.ended_ns - summary.started_ns) as f64 / 1e9;
    println!(
        "{clients:>8} {:>10.0} {:>9.0} {:>9.0} {:>14.2}",
        summary.ok() as f64 / wall_s,
        latency.value_at_quantile(0.5) as f64 / 1e3,
        latency.value_at_quantile(0.99) as f64 / 1e3,
        cpu_s * 1e6 / summary.ok() as f64,
    );
}

/// Records as fast as it goes: two entries an op, and a flush every 5,000 ops (100 ms at 50,000 ops/s).
fn recording() {
    const OPS: u64 = 2_000_000;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut recorder = Recorder::create(folder.path().join("history.bin")).expect("the folder is writable");
    let (started, cpu_before) = (Instant::now(), thread_cpu_s());
    for op in 0..OPS {
        let call = Call::Write { key: op * 7_919 % 10_000, value: op };
        let open = recorder
            .invoke(ProcessId(op as u32 % 64), None, Some(NodeId(1)), call)
            .expect("the folder is writable");
        recorder
            .complete(&open, Performed { outcome: Outcome::Ok(Answer::Done), by: vec![NodeId(1)] })
            .expect("the folder is writable");
        if op % 5_000 == 0 {
            recorder.flush().expect("the folder is writable");
        }
    }
    recorder.flush().expect("the folder is writable");
    let (wall_s, cpu_s) = (started.elapsed().as_secs_f64(), thread_cpu_s() - cpu_before);
    println!(
        "recording: {:.0} ns CPU, {:.0} ns wall an op",
        cpu_s * 1e9 / OPS as f64,
        wall_s * 1e9 / OPS as f64
    );
    println!("           {:.2} % of one core at 50,000 ops/s", cpu_s * 100.0 * 50_000.0 / OPS as f64);
}

/// A server on a thread of its own that says "done" to everything.
fn serve() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    listener.set_nonblocking(true).expect("a socket can be made so");
    thread::spawn(move || {
        current_thread().block_on(async move {
            let listener = TcpListener::from_std(listener).expect("it is non-blocking");
            loop {
                let (connection, _) = listener.accept().await.expect("loopback connections can be accepted");
                tokio::spawn(answer(connection));
            }
        });
    });
    address
}

async fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut input = Vec::with_capacity(64 << 10);
    let mut output = Vec::new();
    while connection.read_buf(&mut input).await? > 0 {
        let mut understood = 0;
        while let Some((payload, bytes)) =
            frame::parse(&input[understood..], frame::PAYLOAD_BYTES_MAX).expect("the load side frames well")
        {
            let request: Request = codec::decode(payload).expect("the load side encodes well");
            let reply = Reply { id: request.id, result: Ok(Response::Done) };
            frame::frame_into(&mut output, |out| codec::encode_into(&reply, out));
            understood += bytes;
        }
        input.drain(..understood);
        connection.write_all(&output).await?;
        output.clear();
    }
    Ok(())
}
