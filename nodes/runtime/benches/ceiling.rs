//! The ceiling: how fast three processes on this machine can batch and copy, with no protocol and nothing of our
//! runtime in it. `cargo bench -p runtime --bench ceiling`
//!
//! One process each for the leader, two followers and the load, each with one tokio thread. Clients, each with a connection
//! of its own and one request outstanding, put a 16 B key and a 256 B value. The leader sends what has queued to both
//! followers as a *round*, with at most two rounds under way, so batches grow with the load and there is no tick. All three
//! append to a preallocated file and sync it on a writer thread (unless durability is `memory`). A client is answered when
//! two of the three hold its round.
//!
//! ```text
//! request  length u32, id u64, key [16], value [256]      reply  length u32, id u64
//! round    length u32, number u64, requests               ack    number u64: this round and all before it are held
//! ```

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use clap::{Parser, ValueEnum};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};

/// Length, and id or number.
const HEADER_BYTES: usize = 4 + 8;
const REQUEST_BYTES: usize = HEADER_BYTES + 16 + 256;
const READ_BYTES: usize = 64 << 10;
const ROUNDS_UNDER_WAY_MAX: usize = 2;
/// The slower follower may be so many rounds behind.
const ROUNDS_BEHIND_MAX: u64 = 64;
/// Writing goes round in the file.
const FILE_BYTES: u64 = 64 << 20;
const WARM_UP: Duration = Duration::from_millis(500);

#[derive(Parser)]
struct Arguments {
    /// How many clients.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    clients: Vec<u64>,
    /// Where rounds are when they are acknowledged.
    #[arg(long, value_delimiter = ',', default_values = ["memory", "fdatasync"])]
    durability: Vec<Durability>,
    /// Measurements of each kind, of which the median counts.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Length of a measurement, behind half a second of warm-up.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
    /// This process is a follower.
    #[arg(long, hide = true)]
    follower: bool,
    /// This process is the leader of these followers.
    #[arg(long, hide = true)]
    leader_of: Vec<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Durability {
    Memory,
    Fdatasync,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&tokio, async {
        match (arguments.follower, arguments.leader_of.is_empty()) {
            (true, _) => follower(arguments.durability[0]).await,
            (false, false) => leader(&arguments).await,
            (false, true) => bench(&arguments).await,
        }
    })
}

/// Tells the parent where this process listens; the process ends with its parent.
async fn listen() -> Result<TcpListener> {
    std::thread::spawn(|| {
        let end = std::io::stdin().read(&mut [0]);
        std::process::exit(i32::from(end.is_err()))
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?);
    Ok(listener)
}

fn halves(stream: TcpStream) -> Result<(OwnedReadHalf, OwnedWriteHalf)> {
    stream.set_nodelay(true)?;
    Ok(stream.into_split())
}

type Hold = Box<dyn Fn(u64, Bytes)>;

/// What holds rounds, and what tells by number which it holds.
fn disk(durability: Durability) -> Result<(Hold, UnboundedReceiver<u64>)> {
    let (held, news) = unbounded_channel();
    if durability == Durability::Memory {
        return Ok((Box::new(move |number, _| held.send(number).expect("acks are read")), news));
    }
    // Nothing of the file is left but the open one. It is full of zeroes, since a sync after `fallocate` has more to do.
    let path = format!("{}/ceiling-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let file = File::create(&path)?;
    std::fs::remove_file(&path)?;
    file.write_all_at(&vec![0; FILE_BYTES as usize], 0)?;
    file.sync_all()?;
    let (writer, rounds) = mpsc::channel();
    std::thread::spawn(move || {
        write_rounds(&file, &rounds, &held).expect("the file takes what it has taken");
    });
    Ok((Box::new(move |number, round| writer.send((number, round)).expect("the writer lives on")), news))
}

fn write_rounds(
    file: &File,
    rounds: &mpsc::Receiver<(u64, Bytes)>,
    held: &UnboundedSender<u64>,
) -> Result<()> {
    let (mut at, mut gathered) = (0, Vec::new());
    while let Ok((mut last, first)) = rounds.recv() {
        gathered.extend_from_slice(&first);
        for (number, round) in rounds.try_iter() {
            last = number;
            gathered.extend_from_slice(&round);
        }
        if at + gathered.len() as u64 > FILE_BYTES {
            at = 0;
        }
        file.write_all_at(&gathered, at)?;
        file.sync_data()?;
        at += gathered.len() as u64;
        gathered.clear();
        held.send(last)?;
    }
    Ok(())
}

async fn follower(durability: Durability) -> Result<()> {
    let (hold, mut held) = disk(durability)?;
    let (mut input, mut output) = halves(listen().await?.accept().await?.0)?;
    spawn_local(async move {
        while let Some(number) = held.recv().await {
            output.write_all(&number.to_le_bytes()).await.expect("the leader lives as long");
        }
    });
    let mut arrived = BytesMut::new();
    loop {
        while let Some(length) = arrived.first_chunk().map(|length| u32::from_le_bytes(*length) as usize)
            && arrived.len() >= length
        {
            let round = arrived.split_to(length).freeze();
            hold((&round[4..]).get_u64_le(), round);
        }
        arrived.reserve(READ_BYTES);
        ensure!(input.read_buf(&mut arrived).await? > 0, "the leader is gone");
    }
}

/// Who waits for the answer to which request.
type Asker = (Rc<OwnedWriteHalf>, u64);

enum Event {
    Request(Rc<OwnedWriteHalf>, Bytes),
    /// One of the three holds this round and all before it.
    Held(usize, u64),
}

async fn leader(arguments: &Arguments) -> Result<()> {
    let (hold, mut held_here) = disk(arguments.durability[0])?;
    let (events, inbox) = unbounded_channel();
    let mut followers = Vec::new();
    for (follower, address) in arguments.leader_of.iter().enumerate() {
        let (mut input, mut output) = halves(TcpStream::connect(address).await?)?;
        let (sender, mut rounds) = unbounded_channel::<Bytes>();
        followers.push(sender);
        spawn_local(async move {
            while let Some(round) = rounds.recv().await {
                output.write_all(&round).await.expect("the followers live as long");
            }
        });
        let events = events.clone();
        spawn_local(async move {
            let mut acks = BytesMut::with_capacity(READ_BYTES);
            while let Ok(1..) = input.read_buf(&mut acks).await {
                while acks.len() >= 8 {
                    events.send(Event::Held(1 + follower, acks.get_u64_le())).expect("the core lives on");
                }
                acks.reserve(READ_BYTES);
            }
        });
    }
    spawn_local(async move {
        lead(inbox, hold, followers).await.expect("the disk and the followers live as long");
    });
    let here = events.clone();
    spawn_local(async move {
        while let Some(number) = held_here.recv().await {
            here.send(Event::Held(0, number)).expect("the core lives on");
        }
    });
    let listener = listen().await?;
    loop {
        let (mut input, output) = halves(listener.accept().await?.0)?;
        // So that `try_write` knows it.
        output.writable().await?;
        let (events, output) = (events.clone(), Rc::new(output));
        spawn_local(async move {
            let mut arrived = BytesMut::with_capacity(16 * REQUEST_BYTES);
            while let Ok(1..) = input.read_buf(&mut arrived).await {
                while arrived.len() >= REQUEST_BYTES {
                    let request = arrived.split_to(REQUEST_BYTES).freeze();
                    events.send(Event::Request(output.clone(), request)).expect("the core lives on");
                }
                arrived.reserve(REQUEST_BYTES + 1);
            }
        });
    }
}

/// Takes all events there are, then starts a round if it may: this task runs behind all those that had something for it.
async fn lead(
    mut inbox: UnboundedReceiver<Event>,
    hold: Hold,
    followers: Vec<UnboundedSender<Bytes>>,
) -> Result<()> {
    let (mut last, mut held) = (0, [0; 3]);
    let mut queued = BytesMut::from(&[0; HEADER_BYTES][..]);
    let mut asking = Vec::new();
    let mut rounds = VecDeque::<(u64, Vec<Asker>)>::new();
    while let Some(first) = inbox.recv().await {
        let mut next = Some(first);
        while let Some(event) = next {
            match event {
                Event::Request(client, request) => {
                    asking.push((client, (&request[4..]).get_u64_le()));
                    queued.extend_from_slice(&request);
                }
                Event::Held(by, number) => held[by] = number,
            }
            next = inbox.try_recv().ok();
        }
        let mut sorted = held;
        sorted.sort_unstable();
        // The second of three: two hold it.
        while rounds.front().is_some_and(|(number, _)| *number <= sorted[1]) {
            let (_, askers) = rounds.pop_front().expect("looked at above");
            askers.iter().for_each(|(client, id)| answer(client, *id));
        }
        if asking.is_empty() || rounds.len() >= ROUNDS_UNDER_WAY_MAX || last - sorted[0] >= ROUNDS_BEHIND_MAX
        {
            continue;
        }
        last += 1;
        let (length, mut header) = (u32::try_from(queued.len())?, &mut queued[..HEADER_BYTES]);
        header.put_u32_le(length);
        header.put_u64_le(last);
        let round = queued.split().freeze();
        queued.put_bytes(0, HEADER_BYTES);
        for follower in &followers {
            follower.send(round.clone())?;
        }
        hold(last, round);
        rounds.push_back((last, std::mem::take(&mut asking)));
    }
    Ok(())
}

fn answer(client: &OwnedWriteHalf, id: u64) {
    let mut reply = [0; HEADER_BYTES];
    (&mut reply[..]).put_u32_le(HEADER_BYTES as u32);
    (&mut reply[4..]).put_u64_le(id);
    match client.try_write(&reply) {
        Ok(written) => assert_eq!(written, HEADER_BYTES, "the socket held nothing"),
        Err(error) => eprintln!("a client left before its answer: {error}"),
    }
}

/// Starts a process of this program and returns where it listens.
fn start(durability: Durability, role: &[String]) -> Result<(Child, SocketAddr)> {
    let mut process = Command::new(std::env::current_exe()?)
        .arg(format!("--durability={durability:?}").to_lowercase())
        .args(role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut address = String::new();
    BufReader::new(process.stdout.take().context("stdout is a pipe")?).read_line(&mut address)?;
    Ok((process, address.trim().parse().with_context(|| format!("{role:?} said {address:?}"))?))
}

/// Seconds of processor time used so far by these processes and this one, and by everybody.
fn processor_s(processes: &[Child]) -> Result<(f64, f64)> {
    let ticks = |line: &str, fields: Range<usize>| -> Result<f64> {
        let fields = line.split_whitespace().skip(fields.start).take(fields.len());
        fields.map(|field| Ok(field.parse::<f64>()?)).sum()
    };
    let mut ours = 0.0;
    for pid in processes.iter().map(Child::id).chain([std::process::id()]) {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // utime and stime, counted from behind the name.
        ours += ticks(stat.rsplit(')').next().unwrap_or_default(), 11..13)?;
    }
    // A line for all processors: its name, user, nice, system, idle, iowait, irq, softirq, steal.
    let stat = std::fs::read_to_string("/proc/stat")?;
    let all = ticks(&stat, 1..4)? + ticks(&stat, 6..9)?;
    const TICKS_PER_S: f64 = 100.0;
    Ok((ours / TICKS_PER_S, all / TICKS_PER_S))
}

async fn bench(arguments: &Arguments) -> Result<()> {
    let clients = |durability| arguments.clients.iter().map(move |clients| (durability, *clients));
    let cells: Vec<_> = arguments.durability.iter().flat_map(|durability| clients(*durability)).collect();
    let mut measured = vec![Vec::new(); cells.len()];
    for _ in 0..arguments.repeats {
        for ((durability, clients), measured) in cells.iter().zip(&mut measured) {
            measured.push(measure(arguments, *durability, *clients).await?);
        }
    }
    println!("durability  clients     ops/s   p50 ms   p99 ms  CPU µs/op  others' CPUs");
    for ((durability, clients), measured) in cells.iter().zip(measured) {
        let median = |field: usize| {
            let mut values: Vec<f64> = measured.iter().map(|numbers| numbers[field]).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let [ops_s, p50_ms, p99_ms, cpu_us, others] = std::array::from_fn(median);
        let durability = format!("{durability:?}").to_lowercase();
        println!(
            "{durability:10}  {clients:7}  {ops_s:8.0}  {p50_ms:7.3}  {p99_ms:7.3}  {cpu_us:9.1}  {others:12.2}"
        );
    }
    Ok(())
}

/// Answers a second, median and 99th percentile of latency in ms, processor time an answer in µs, processors others kept busy.
async fn measure(arguments: &Arguments, durability: Durability, clients: u64) -> Result<[f64; 5]> {
    let (one, at_one) = start(durability, &["--follower".to_owned()])?;
    let (two, at_two) = start(durability, &["--follower".to_owned()])?;
    let leader_of = [at_one, at_two].map(|address| format!("--leader-of={address}"));
    let (leader, at) = start(durability, &leader_of)?;
    let mut processes = [one, two, leader];
    let begin = Instant::now() + WARM_UP;
    let end = begin + Duration::from_secs_f64(arguments.seconds);
    let mut running = Vec::new();
    for _ in 0..clients {
        let connection = halves(TcpStream::connect(at).await?)?;
        running.push(spawn_local(run_client(connection, begin..end)));
    }
    tokio::time::sleep_until(begin.into()).await;
    let (ours_before, all_before) = processor_s(&processes)?;
    tokio::time::sleep_until(end.into()).await;
    let (ours, all) = processor_s(&processes)?;
    let mut latency_ns = Vec::new();
    for client in running {
        latency_ns.extend(client.await??);
    }
    for process in &mut processes {
        drop(process.stdin.take());
        process.wait()?;
    }
    ensure!(!latency_ns.is_empty(), "nobody was answered");
    latency_ns.sort_unstable();
    let latency_ms = |quantile| latency_ns[(latency_ns.len() as f64 * quantile) as usize] as f64 / 1e6;
    let (answers, ours_s) = (latency_ns.len() as f64, ours - ours_before);
    let others = (all - all_before - ours_s) / arguments.seconds;
    Ok([answers / arguments.seconds, latency_ms(0.5), latency_ms(0.99), ours_s * 1e6 / answers, others])
}

/// The latency of every request that was sent within the time that is measured, in nanoseconds.
async fn run_client(
    (mut input, mut output): (OwnedReadHalf, OwnedWriteHalf),
    measured: Range<Instant>,
) -> Result<Vec<u64>> {
    let mut latency_ns = Vec::new();
    let mut request = [7; REQUEST_BYTES];
    (&mut request[..]).put_u32_le(REQUEST_BYTES as u32);
    // Larger than a reply: a read that does not fill it shows that nothing more has come.
    let mut reply = [0; 4 * HEADER_BYTES];
    for id in 0_u64.. {
        let asked = Instant::now();
        if asked >= measured.end {
            break;
        }
        (&mut request[4..]).put_u64_le(id);
        output.write_all(&request).await?;
        // So few bytes arrive together, or not at all.
        let read = input.read(&mut reply).await?;
        ensure!(read == HEADER_BYTES && (&reply[4..]).get_u64_le() == id, "{read} bytes that are no answer");
        if measured.contains(&asked) {
            latency_ns.push(asked.elapsed().as_nanos() as u64);
        }
    }
    Ok(latency_ns)
}
