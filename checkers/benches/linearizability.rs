//! What recording, loading and judging a million ops cost: `cargo bench -p checkers`.
//!
//! Histories are simulated: 50 clients, reads and writes half and half, or with cas and unknown outcomes.

use checkers::history::{Entry, History, Writer, export_json_lines};
use checkers::linearizability::{LinearizabilityOptions, check_append, check_linearizable};
use checkers::stats::{StatsLimits, check_stats};
use checkers::{CheckResult, Verdict};
use std::hint::black_box;
use std::time::{Duration, Instant};

#[path = "../tests/support/simulate.rs"]
mod simulate;
#[path = "../tests/support/transactions.rs"]
mod transactions;

use simulate::{Simulation, simulate};
use transactions::transactions;

/// Each measurement is the least of so many: what else the machine does only ever adds.
const ROUNDS: u32 = 5;

const READ_WRITE: Simulation =
    Simulation { ops: 1_000_000, clients: 50, keys: 1_000, read: 50, cas: 0, unknown: 0, seed: 1 };

fn main() {
    recording();
    for (name, what) in [
        ("1,000,000 reads and writes, 1,000 keys", READ_WRITE),
        ("1,000,000 reads and writes, 1 key", Simulation { keys: 1, ..READ_WRITE }),
        (
            "1,000,000 ops with cas and 1 % unknown, 1,000 keys",
            Simulation { cas: 25, unknown: 10, ..READ_WRITE },
        ),
        (
            "1,000,000 ops with cas and 1 % unknown, 1 key",
            Simulation { cas: 25, unknown: 10, keys: 1, ..READ_WRITE },
        ),
    ] {
        let history = History::from_entries(simulate(what)).expect("a simulated history pairs");
        measure(&format!("linearizability: {name}"), || {
            valid(&check_linearizable(&history, &LinearizabilityOptions::default()));
        });
    }
    let history = History::from_entries(transactions(100_000)).expect("a simulated history pairs");
    measure("append: 100,000 transactions", || valid(&check_append(&history, Duration::from_secs(60))));
}

fn valid(result: &CheckResult) {
    assert_eq!(result.verdict, Verdict::Valid, "{}", result.summary);
}

/// Prints the least time that `work` took.
fn measure(name: &str, mut work: impl FnMut()) -> Duration {
    let round = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    let least = (0..ROUNDS).map(round).min().expect("there are rounds");
    println!("{name:<72} {:>9.1} ms", least.as_secs_f64() * 1e3);
    least
}

fn recording() {
    let entries: Vec<Entry> = simulate(READ_WRITE);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("history.bin");
    let least = measure("history: pushing 2,000,000 entries", || {
        let mut writer = Writer::create(&path).expect("a history can be created");
        for entry in &entries {
            writer.push(black_box(entry)).expect("a history can be written");
        }
        writer.flush().expect("a history can be written");
        drop(writer);
    });
    println!("{:<72} {:>9.1} ns", "history: per entry", least.as_nanos() as f64 / entries.len() as f64);
    let bytes = std::fs::metadata(&path).expect("the history was written").len();
    println!("{:<72} {:>9.1} bytes", "history: per entry", bytes as f64 / entries.len() as f64);
    measure("history: loading 1,000,000 ops", || {
        black_box(History::load(&path).expect("a history can be loaded"));
    });
    let history = History::load(&path).expect("a history can be loaded");
    measure("stats: 1,000,000 ops", || valid(&check_stats(&history, &StatsLimits::default())));
    measure("export: 2,000,000 lines", || {
        export_json_lines(entries.iter().cloned().map(Ok), std::io::sink())
            .expect("an export can be written");
    });
}
