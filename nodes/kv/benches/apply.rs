//! What a command costs a replica, in nanoseconds of processor time: `cargo bench -p kv`.
//!
//! Keys of 16 bytes are drawn uniformly, which is the worst case for a processor's caches; every write comes from one of
//! 64 sessions under its next sequence number. The smallest of five repeats counts, since noise only adds.

use bytes::Bytes;
use kv::{Command, Image, Limits, Store};
use protocol::codec::{decode, encode};
use protocol::{Sequence, SessionId};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::time::Duration;

const COMMANDS: u64 = 200_000;
const BATCH: u64 = 500;
const SESSIONS: u64 = 64;
const REPEATS: usize = 5;

/// A store, and a client that never repeats a sequence number.
struct Bench {
    store: Store,
    keys: u64,
    sequence: u64,
    chance: u64,
}

impl Bench {
    fn new(keys: u64, load: impl Fn(Bytes) -> Command) -> Self {
        let mut bench =
            Self { store: Store::new(Limits::default()), keys, sequence: 0, chance: 0x2545_f491_4f6c_dd1d };
        for n in 0..keys {
            bench.apply(&load(key(n)));
        }
        bench
    }

    fn apply(&mut self, command: &Command) {
        let session = SessionId(self.sequence % SESSIONS);
        let sequence = Sequence(self.sequence / SESSIONS + 1);
        self.sequence += 1;
        black_box(self.store.apply(session, sequence, command)).expect("a new command of a live session");
    }

    /// xorshift64.
    fn random_key(&mut self) -> Bytes {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        key(self.chance % self.keys)
    }

    /// Nanoseconds a command takes. Commands come in batches that a processor's cache holds, since a replica applies what
    /// it has just decoded.
    fn measure(&mut self, command: impl Fn(Bytes) -> Command) -> f64 {
        (0..REPEATS).map(|_| self.measure_once(&command)).fold(f64::INFINITY, f64::min)
    }

    fn measure_once(&mut self, command: impl Fn(Bytes) -> Command) -> f64 {
        let mut busy = Duration::ZERO;
        for _ in 0..COMMANDS / BATCH {
            let commands: Vec<_> = (0..BATCH).map(|_| command(self.random_key())).collect();
            let start = now();
            commands.iter().for_each(|command| self.apply(command));
            busy += now() - start;
        }
        busy.as_nanos() as f64 / COMMANDS as f64
    }
}

fn key(n: u64) -> Bytes {
    Bytes::from(format!("user{:012}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_000_000_000))
}

fn value(bytes: usize) -> Bytes {
    Bytes::from(vec![7; bytes])
}

/// Processor time of this thread, so that other work on the machine shows only through the caches it fills.
fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn write(key: Bytes) -> Command {
    Command::Write { key, value: value(256) }
}

fn commands(keys: u64) {
    let mut bytes = Bench::new(keys, write);
    let write_ns = bytes.measure(write);
    let read_ns = bytes.measure(|key| Command::Read { key });
    drop(bytes);
    let mut records = Bench::new(keys, |key| Command::Insert { key, fields: vec![value(100); 10] });
    let update_ns = records.measure(|key| Command::Update { key, field: 3, value: value(100) });
    let scan_ns = records.measure(|start| Command::Scan { start, limit: 50 });
    drop(records);
    let append = |key| Command::Append { key, element: value(8) };
    let append_ns = Bench::new(keys, append).measure(append);
    println!(
        "{keys:>9} {write_ns:>12.0} {read_ns:>12.0} {update_ns:>12.0} {append_ns:>12.0} {scan_ns:>12.0}"
    );
}

fn image(keys: u64) {
    let mut bench = Bench::new(keys, write);
    let start = now();
    let image = bench.store.image();
    let image_ns = (now() - start).as_nanos();
    let shared_ns = bench.measure_once(write);
    let start = now();
    let bytes = encode(&image);
    let encode_ms = (now() - start).as_millis();
    let start = now();
    let decoded: Image = decode(&bytes).expect("our own encoding");
    let decode_ms = (now() - start).as_millis();
    let start = now();
    black_box(Store::from_image(Limits::default(), &decoded));
    let restore_us = (now() - start).as_micros();
    println!(
        "\nimage of {keys} keys: taken in {image_ns} ns; {COMMANDS} writes beside it {shared_ns:.0} ns each; \
         encoded ({} MB) in {encode_ms} ms, decoded and verified in {decode_ms} ms, restored in {restore_us} µs",
        bytes.len() / 1_000_000,
    );
}

fn main() {
    println!("ns each   write 256 B   read 256 B   update 1/10    append 8 B  scan 50×1 kB\nkeys");
    [1_000, 10_000, 100_000, 1_000_000].into_iter().for_each(commands);
    image(1_000_000);
}
