//! The file keeps what was recorded, says what is missing, and never invents.

use crate::support::entries::entries;
use crate::support::jsonl;
use checkers::history::{
    Answer, Call, Ending, Entry, History, HistoryError, MicroAnswer, MicroCall, Outcome, Phase, ProcessId,
    Reader, Writer, export_json_lines,
};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const PREAMBLE_BYTES: usize = 16;
const HEADER_BYTES: usize = 24;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("history.bin");
    (folder, path)
}

/// Writes the entries with a flush after each of the given positions; `finish` or not.
fn write(path: &Path, entries: &[Entry], flush_after: &[usize], finish: bool) {
    let mut writer = Writer::create(path).unwrap();
    for (at, entry) in entries.iter().enumerate() {
        writer.push(entry).unwrap();
        if flush_after.contains(&at) {
            writer.flush().unwrap();
        }
    }
    if finish {
        writer.finish().unwrap();
    }
}

/// All that a file gives: entries, and how it ended.
fn read(path: &Path) -> (Vec<Entry>, Result<Ending, HistoryError>) {
    let mut reader = match Reader::open(path) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let mut entries = Vec::new();
    for entry in &mut reader {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(error) => return (entries, Err(error)),
        }
    }
    let ending = reader.ending().expect("it has come to an end").clone();
    (entries, Ok(ending))
}

fn invoke(time: u64, process: u32, call: Call) -> Entry {
    Entry::Invoke { time, intended: time, process: ProcessId(process), to: None, call }
}

fn done(time: u64, process: u32) -> Entry {
    Entry::Return { time, process: ProcessId(process), by: Vec::new(), outcome: Outcome::Ok(Answer::Done) }
}

/// Sixty ops, with a flush after every tenth entry: twelve chunks.
fn small_file(path: &Path, finish: bool) -> Vec<Entry> {
    let ops = (0..60u64).flat_map(|n| {
        let process = (n % 7) as u32;
        [invoke(n * 1000, process, Call::Write { key: n % 5, value: n }), done(n * 1000 + 700, process)]
    });
    let entries: Vec<Entry> = ops.collect();
    let flushes: Vec<usize> = (9..entries.len()).step_by(10).collect();
    write(path, &entries, &flushes, finish);
    entries
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn entries_come_back_as_they_were_recorded(
        entries in entries(),
        flushes in prop::collection::vec(0..48usize, 0..6),
    ) {
        let (_folder, path) = folder();
        write(&path, &entries, &flushes, true);
        let (found, ending) = read(&path);
        prop_assert_eq!(found, entries);
        prop_assert_eq!(ending.unwrap(), Ending::Complete);
    }

    #[test]
    fn an_export_can_be_read_back(entries in entries()) {
        let mut text = Vec::new();
        export_json_lines(entries.iter().cloned().map(Ok), &mut text).unwrap();
        prop_assert_eq!(jsonl::import(std::str::from_utf8(&text).unwrap()), entries);
    }
}

#[test]
fn what_was_flushed_survives_a_writer_that_never_finishes() {
    let (_folder, path) = folder();
    let entries = small_file(&path, false);
    let (found, ending) = read(&path);
    assert_eq!(found, entries);
    let Ok(Ending::Truncated { entries: count, reason }) = ending else { panic!("{ending:?}") };
    assert_eq!(count, 120);
    assert!(reason.contains("history.bin: chunk 12 at byte"), "{reason}");
    assert!(reason.contains("without an end marker"), "{reason}");
    assert_eq!(History::load(&path).unwrap().ops.len(), 60);
}

#[test]
fn a_file_cut_at_any_byte_gives_its_whole_chunks_and_says_so() {
    let (_folder, path) = folder();
    let entries = small_file(&path, true);
    let bytes = std::fs::read(&path).unwrap();
    let mut longest = 0;
    for cut in 0..bytes.len() {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let (found, ending) = read(&path);
        assert_eq!(found, entries[..found.len()], "cut at {cut}");
        assert!(found.len() >= longest && found.len() % 10 == 0, "cut at {cut}: {}", found.len());
        longest = found.len();
        assert!(
            matches!(ending, Ok(Ending::Truncated { entries, .. }) if entries == longest as u64),
            "cut at {cut}"
        );
    }
    assert_eq!(longest, 120);
}

#[test]
fn a_flipped_bit_is_named_in_the_middle_and_a_torn_end_at_the_end() {
    let (_folder, path) = folder();
    let entries = small_file(&path, true);
    let bytes = std::fs::read(&path).unwrap();
    let end_marker = bytes.len() - HEADER_BYTES - 12;
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&path, &damaged).unwrap();
        let (found, ending) = read(&path);
        assert_eq!(found, entries[..found.len()], "byte {at}");
        match ending {
            Err(HistoryError::NotAHistory { .. }) => assert!(at < PREAMBLE_BYTES, "byte {at}"),
            Err(HistoryError::Corrupt { chunk, offset, .. }) => {
                assert!((PREAMBLE_BYTES..end_marker).contains(&at), "byte {at}");
                assert!(offset <= at as u64 && found.len() as u32 == chunk * 10, "byte {at}: chunk {chunk}");
            }
            Ok(Ending::Truncated { .. }) => assert!(at >= end_marker && found.len() == 120, "byte {at}"),
            other => panic!("byte {at}: {other:?}"),
        }
    }
}

#[test]
fn a_last_chunk_of_zeroes_is_a_torn_end_and_bytes_behind_the_end_are_not() {
    let (_folder, path) = folder();
    let entries = small_file(&path, false);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], &[0; 5000]].concat()).unwrap();
    let (found, ending) = read(&path);
    assert_eq!(found, entries);
    assert!(matches!(ending, Ok(Ending::Truncated { .. })), "{ending:?}");

    small_file(&path, true);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], b"?"].concat()).unwrap();
    let error = read(&path).1.unwrap_err().to_string();
    assert!(error.contains("1 bytes follow the end marker"), "{error}");
}

#[test]
fn a_chunk_is_cut_at_64_kib_and_a_long_entry_passes() {
    let (_folder, path) = folder();
    let long = Entry::Return {
        time: 5,
        process: ProcessId(1),
        by: Vec::new(),
        outcome: Outcome::Ok(Answer::Txn(vec![MicroAnswer::List((0..50_000).collect())])),
    };
    let short = invoke(4, 1, Call::Txn(vec![MicroCall::ReadList { key: 9 }]));
    let mut writer = Writer::create(&path).unwrap();
    let empty = std::fs::metadata(&path).unwrap().len();
    writer.push(&short).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), empty, "an open chunk stays in memory");
    writer.push(&long).unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() > empty + (64 << 10), "a full chunk is written at once");
    writer.finish().unwrap();
    assert_eq!(read(&path).0, [short, long]);
}

#[test]
fn other_files_and_other_versions_are_refused() {
    let (_folder, path) = folder();
    for (bytes, message) in [
        (b"\x7fELF............".to_vec(), "does not begin with GNTLHIST"),
        (b"GNTLHIST\x01\0\0\0\0\0\0\0".to_vec(), "checksum of its first bytes"),
        (versioned(3), "version 3, known are 1 and 2"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = Reader::open(&path).unwrap_err().to_string();
        assert!(error.contains("history.bin is no history") && error.contains(message), "{error}");
    }
    assert!(matches!(Reader::open("/nonexistent/history"), Err(HistoryError::Io { action: "open", .. })));
    assert!(matches!(Writer::create("/dev/full"), Err(HistoryError::Io { action: "create", .. })));
}

fn versioned(version: u32) -> Vec<u8> {
    let mut bytes = [&b"GNTLHIST"[..], &version.to_le_bytes()].concat();
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

#[test]
fn ops_are_paired_and_keep_phase_and_position() {
    let entries = vec![
        invoke(1, 0, Call::Write { key: 1, value: 10 }),
        Entry::Phase { time: 2, phase: Phase::Final },
        invoke(3, 1, Call::Read { key: 1 }),
        done(4, 0),
    ];
    let history = History::from_entries(entries).unwrap();
    assert_eq!(history.phases, [(2, Phase::Final)]);
    assert_eq!(history.entries(), 4);
    let [write, read] = &history.ops[..] else { panic!("{history:?}") };
    assert_eq!((write.index, write.phase, write.returned), (0, Phase::Run, Some(4)));
    assert_eq!(write.outcome, Outcome::Ok(Answer::Done));
    assert_eq!((read.index, read.phase, read.returned), (2, Phase::Final, None));
    assert!(matches!(read.outcome, Outcome::Info(_)), "an op that is still open is unknown");
}

#[test]
fn ops_that_do_not_pair_are_errors_that_say_where() {
    let read = || Call::Read { key: 1 };
    let message = |entries: Vec<Entry>| History::from_entries(entries).unwrap_err().to_string();
    assert_eq!(
        message(vec![invoke(1, 0, read()), invoke(2, 3, read()), invoke(3, 3, read())]),
        "entry 2: process 3 invokes while its op of entry 1 is open"
    );
    assert_eq!(message(vec![done(5, 4)]), "entry 0: process 4 has no open op that could return");
    assert_eq!(
        message(vec![invoke(9, 1, read()), done(8, 1)]),
        "entry 1: process 1 returns at 8 ns from an op invoked at 9 ns"
    );
}

/// A read by a process, asked and answered at these times by these nodes.
fn read_by(process: u32, from: u64, to: u64, by: Vec<u32>) -> [Entry; 2] {
    let returned = Outcome::Ok(Answer::Value(None));
    let (invoke, process) = (invoke(from, process, Call::Read { key: 1 }), ProcessId(process));
    [invoke, Entry::Return { time: to, process, by, outcome: returned }]
}

#[test]
fn a_process_is_hostile_from_the_op_on_that_it_has_open() {
    let entries = [
        &read_by(1, 1, 2, vec![])[..],
        &read_by(2, 3, 4, vec![]),
        &read_by(1, 5, 9, vec![]),
        &[Entry::Hostile { time: 7, process: ProcessId(1) }],
        &[invoke(10, 1, Call::Read { key: 1 })],
    ];
    let history = History::from_entries(entries.concat()).unwrap();
    assert_eq!(history.hostile, [(7, ProcessId(1))]);
    assert_eq!(history.entries(), 8);
    let hostile: Vec<bool> = history.ops.iter().map(|op| op.is_hostile).collect();
    assert_eq!(hostile, [false, false, true, true]);
}

#[test]
fn what_liars_alone_have_answered_says_nothing_from_the_lie_on() {
    let entries = [
        &[Entry::Liar { time: 5, node: 3 }],
        &read_by(1, 1, 4, vec![3])[..],
        &read_by(2, 1, 5, vec![3]),
        &read_by(3, 6, 7, vec![1, 3]),
        &read_by(4, 6, 8, vec![]),
    ];
    let history = History::from_entries(entries.concat()).unwrap();
    assert_eq!(history.liars, [(5, 3)]);
    let outcomes: Vec<&Outcome> = history.ops.iter().map(|op| &op.outcome).collect();
    let ok = Outcome::Ok(Answer::Value(None));
    let lie = Outcome::Info("answered only by replicas that lie: n3".to_string());
    assert_eq!(outcomes, [&ok, &lie, &ok, &ok]);
    assert_eq!((history.ops[2].to, &history.ops[2].by), (None, &vec![1, 3]));
}
