//! Files of every version of the format stay readable, and are judged as they always were.

use crate::support::stored;
use checkers::bank::{BankOptions, check_bank};
use checkers::counter::check_counter;
use checkers::faults::check_faults;
use checkers::history::{Entry, History, Reader, Writer};
use checkers::linearizability::{LinearizabilityOptions, check_append, check_linearizable};
use checkers::set::check_set;
use checkers::stats::{StatsLimits, check_stats};
use checkers::{CheckResult, Verdict};
use std::path::PathBuf;
use std::time::Duration;

fn data(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).join(name)
}

fn entries(name: &str) -> Vec<Entry> {
    let reader = Reader::open(data(name)).expect("the file is a history");
    reader.map(|entry| entry.expect("the file is whole")).collect()
}

fn judged(history: &History) -> Vec<CheckResult> {
    let deadline = Duration::from_secs(60);
    vec![
        check_stats(history, &StatsLimits::default()),
        check_faults(history, &[]).expect("it has faults"),
        check_linearizable(history, &LinearizabilityOptions::default()),
        check_append(history, deadline),
        check_set(history, deadline),
        check_counter(history, deadline),
        check_bank(history, &BankOptions { accounts: 2, overdraft: false }, deadline),
    ]
}

#[test]
fn every_version_of_the_file_is_read_as_it_was_written() {
    assert_eq!(entries("version-1.history"), stored::first());
    assert_eq!(entries("version-2.history"), stored::second());
}

#[test]
fn the_bytes_of_the_present_version_are_pinned() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("history.bin");
    let mut writer = Writer::create(&path).unwrap();
    stored::second().iter().for_each(|entry| writer.push(entry).unwrap());
    writer.finish().unwrap();
    assert!(std::fs::read(path).unwrap() == std::fs::read(data("version-2.history")).unwrap());
}

/// The words are those of the version before.
#[test]
fn a_history_of_version_1_is_judged_as_it_was() {
    let results = judged(&History::load(data("version-1.history")).unwrap());
    let told: Vec<_> =
        results.iter().map(|result| (&*result.checker, result.verdict, &*result.summary)).collect();
    let expected = [
        ("stats", Verdict::Invalid, "1 answers are corrupt"),
        ("faults", Verdict::Valid, "1 faults bit, 1 skipped"),
        (
            "linearizability",
            Verdict::Invalid,
            "1 of 7 keys are not linearizable: process 5 read 1 from key 1 at 15.000–16.000 ms, although process 4's \
             write of 2 had been acknowledged at 14.000 ms and was invoked only at 13.000 ms, after process 2's write \
             of 1 had been acknowledged at 5.000 ms; of records, each field was judged, and whether what is known of \
             the order of all fields leaves a circle; that is necessary for atomic records, not sufficient; 1 scans \
             were not judged; 5 transactions were not judged",
        ),
        (
            "append",
            Verdict::Valid,
            "5 transactions on 2 lists are strictly serializable as far as their reads tell: each list is \
             linearizable, and dependencies and real time form no circle; 2 steps on registers were not judged",
        ),
        (
            "set",
            Verdict::Valid,
            "2 elements were acknowledged and 2 more recovered in 2 sets; all are in each of 2 reads that came later",
        ),
        (
            "counter",
            Verdict::Valid,
            "2 reads of 2 counters are within the bounds that 2 acknowledged additions, those of unknown outcome and \
             earlier reads leave",
        ),
        (
            "bank",
            Verdict::Valid,
            "1 reads of 1 banks see each of 1 acknowledged transfers (and 1 of unknown outcome) whole, from its \
             acknowledgement on, and always the same sum",
        ),
    ];
    assert_eq!(told, expected);
}
