//! Restarts: from every disk that a crash can leave, and from none that it cannot.

use crate::host::Host;
use crate::paper::founder;
use protocol::{Incarnation, JournalPosition, RecoverError, ReplicaId, SnapshotId, Time, codec};
use raft::{
    Config, Configuration, Entry, Image, LogId, LogIndex, Members, Options, Payload, Raft, Record, Term,
};
use std::sync::Arc;

fn config() -> Config {
    let members = (1..=3).map(ReplicaId).collect();
    Config { replica: ReplicaId(1), incarnation: Incarnation(0), members, options: Options::default() }
}

fn entry(index: u64, term: u64) -> Record {
    Record::Entry(Arc::new(Entry { index: LogIndex(index), term: Term(term), payload: Payload::Noop }))
}

fn hard_state(term: u64, vote: Option<u32>) -> Record {
    Record::HardState { term: Term(term), vote: vote.map(|id| founder(ReplicaId(id))) }
}

fn log_start(index: u64, term: u64) -> Record {
    Record::LogStart { after: LogId { index: LogIndex(index), term: Term(term) } }
}

/// What starts from a snapshot up to (index, term) and these records, the first at position 100.
fn start(snapshot: Option<(u64, u64)>, records: &[Record]) -> Result<Host, RecoverError> {
    let mut host = Host::new(config());
    if let Some((upto, epoch)) = snapshot {
        let configuration = Configuration::of(Members::founders(&config().members).unwrap());
        let image = Image { configuration, kv: kv::Store::new(kv::Limits::default()).image() };
        host.disk.snapshots.insert(SnapshotId { number: upto, tag: epoch }, codec::encode(&image).into());
    }
    host.disk.records = (100..).map(JournalPosition).zip(records.iter().cloned()).collect();
    host.start(1, Time::ZERO).map(|_| host)
}

fn terms(raft: &Raft) -> Vec<u64> {
    raft.log().entries().map(|entry| entry.term.0).collect()
}

#[test]
fn an_empty_disk_is_a_new_replica() {
    let host = start(None, &[]).unwrap();
    assert_eq!((host.core().term(), host.core().log().last()), (Term(0), LogId::ZERO));
    assert!(host.written.is_empty());
}

#[test]
fn entries_cut_off_what_is_at_their_place() {
    let records =
        [hard_state(1, None), entry(1, 1), entry(2, 1), entry(3, 1), hard_state(2, Some(2)), entry(2, 2)];
    let host = start(None, &records).unwrap();
    assert_eq!((terms(host.core()), host.core().term()), (vec![1, 2], Term(2)));
}

#[test]
fn entries_in_the_snapshot_are_skipped() {
    let records = [hard_state(2, None), entry(3, 1), entry(4, 1), entry(5, 2), entry(6, 2)];
    let host = start(Some((4, 1)), &records).unwrap();
    let raft = host.core();
    assert_eq!((terms(raft), raft.log().base().index, raft.commit()), (vec![2, 2], LogIndex(4), LogIndex(4)));
    assert!(host.written.is_empty(), "the log goes on");
}

/// A driver discards whole segments, so the journal may begin with a stretch that was cut off later.
#[test]
fn a_journal_may_begin_in_the_middle_of_anything() {
    for records in [
        &[entry(5, 2), hard_state(2, None)][..],
        &[entry(9, 1), entry(10, 1), entry(5, 2), hard_state(2, None)],
        &[entry(7, 1), entry(3, 2), entry(4, 1), entry(5, 2), hard_state(2, None)],
        &[log_start(2, 1), entry(3, 1), entry(4, 1), entry(5, 2), hard_state(2, None)],
        &[log_start(4, 1), entry(5, 2), hard_state(2, None)],
        &[entry(1, 1), hard_state(2, None), log_start(4, 1), entry(5, 2)],
    ] {
        let result = start(Some((4, 1)), records);
        if records.len() == 5 && records[1] == entry(3, 2) {
            assert!(result.is_err(), "4/t1 does not follow 3/t2");
            continue;
        }
        let host = result.unwrap_or_else(|e| panic!("{records:?}: {e}"));
        assert_eq!(terms(host.core()), [2], "{records:?}");
        assert!(host.written.is_empty(), "{records:?}");
    }
}

/// A received snapshot was durable, the record of its installation was not.
#[test]
fn a_journal_that_the_snapshot_contradicts_or_leaves_behind_starts_anew() {
    for records in [
        &[hard_state(3, None)][..],
        &[hard_state(3, None), entry(1, 1), entry(2, 1)],
        &[hard_state(3, None), entry(3, 1), entry(4, 1), entry(5, 1)],
        &[hard_state(3, None), entry(3, 1), entry(4, 1), entry(5, 3)],
    ] {
        let mut host = start(Some((4, 2)), records).unwrap();
        assert_eq!(host.core().log().last(), LogId { index: LogIndex(4), term: Term(2) }, "{records:?}");
        assert_eq!(host.written.len(), 1);
        assert_eq!(host.written[0].1, log_start(4, 2));
        // And once more, with or without that record.
        for kept in [0, 1] {
            host.crash(kept);
            host.start(2, Time::ZERO).unwrap();
            assert_eq!(host.core().log().last().index, LogIndex(4));
        }
    }
}

/// Why there is a record for it: what was appended after the installation was acknowledged.
#[test]
fn what_follows_an_installed_snapshot_is_kept() {
    let contradicted = [hard_state(3, None), entry(3, 1), entry(4, 1), entry(5, 3)];
    let acknowledged = [hard_state(3, None), entry(3, 1), entry(4, 1), log_start(4, 2), entry(5, 3)];
    assert_eq!(terms(start(Some((4, 2)), &contradicted).unwrap().core()), [] as [u64; 0]);
    assert_eq!(terms(start(Some((4, 2)), &acknowledged).unwrap().core()), [3]);
}

#[test]
fn a_journal_that_no_crash_leaves_is_refused() {
    for (snapshot, records, position, reason) in [
        (None, &[hard_state(1, None), entry(2, 1)][..], 101, "entry 2/t1 is the first one"),
        (None, &[hard_state(1, None), entry(1, 1), entry(3, 1)], 102, "entry 3/t1 does not follow 1/t1"),
        (None, &[hard_state(2, None), entry(1, 2), entry(2, 1)], 102, "entry 2/t1 does not follow 1/t2"),
        (None, &[hard_state(1, None), entry(1, 2)], 102, "the term is only t1"),
        (None, &[hard_state(2, None), hard_state(1, None)], 101, "goes from t2 back to t1"),
        (None, &[hard_state(2, Some(1)), hard_state(2, Some(3))], 101, "the vote in t2"),
        (None, &[hard_state(2, Some(1)), hard_state(2, None)], 101, "the vote in t2"),
        (None, &[entry(0, 1)], 100, "there is no entry 0/t1"),
        (None, &[entry(1, 0)], 100, "there is no entry 1/t0"),
        (None, &[hard_state(1, None), log_start(4, 1)], 101, "the snapshot ends at 0/t0"),
        (Some((4, 1)), &[hard_state(1, None), entry(6, 1)], 101, "entry 6/t1 is the first one"),
        (Some((4, 1)), &[hard_state(1, None), log_start(5, 1)], 101, "the snapshot ends at 4/t1"),
        (Some((4, 3)), &[hard_state(2, None)], 101, "the term is only t2"),
        (Some((4, 3)), &[hard_state(3, None), entry(5, 2)], 101, "entry 5/t2 does not follow the snapshot"),
        (Some((4, 1)), &[hard_state(2, None), log_start(4, 1), entry(4, 2)], 102, "does not follow 4/t1"),
    ] {
        let error = start(snapshot, records).map(|_| ()).unwrap_err();
        let RecoverError::Inconsistent { position: at, reason: why } = &error else { panic!("{error}") };
        assert_eq!(at.0, position, "{records:?}: {error}");
        assert!(why.contains(reason), "{records:?}: {error}");
    }
}

fn nobody() -> Configuration {
    let nobody = codec::encode(&std::collections::BTreeMap::<u32, u32>::new());
    Configuration::of(codec::decode(&nobody).expect("a map is a map"))
}

#[test]
fn a_configuration_of_nobody_is_refused_wherever_it_stands() {
    let payload = Payload::Configuration(nobody());
    let record = Record::Entry(Arc::new(Entry { index: LogIndex(1), term: Term(1), payload }));
    let error = start(None, &[hard_state(1, None), record]).map(|_| ()).unwrap_err();
    assert!(
        matches!(&error, RecoverError::Inconsistent { reason, .. } if reason.contains("0 of them")),
        "{error}"
    );
    let mut host = Host::new(config());
    let image = Image { configuration: nobody(), kv: kv::Store::new(kv::Limits::default()).image() };
    host.disk.snapshots.insert(SnapshotId { number: 4, tag: 1 }, codec::encode(&image).into());
    host.disk.records.push_back((JournalPosition(0), hard_state(1, None)));
    let error = host.start(1, Time::ZERO).map(|_| ()).unwrap_err();
    assert!(matches!(error, RecoverError::Config(_)), "{error}");
}

/// A replica that does not found the group starts all the same, and waits.
#[test]
fn a_replica_outside_of_the_group_starts() {
    let mut host = Host::new(Config { members: vec![ReplicaId(2), ReplicaId(3)], ..config() });
    host.start(1, Time::ZERO).unwrap();
    assert_eq!(host.core().configuration().to_string(), "members n2,n3");
}

#[test]
fn positions_follow_one_another() {
    let mut host = Host::new(config());
    for position in [7, 7] {
        host.disk.records.push_back((JournalPosition(position), hard_state(1, None)));
    }
    let error = host.start(1, Time::ZERO).map(|_| ()).unwrap_err();
    assert!(matches!(error, RecoverError::Inconsistent { position: JournalPosition(7), .. }), "{error}");
}

#[test]
fn a_configuration_that_cannot_be_run_is_refused() {
    for members in [vec![], vec![1, 1, 2]] {
        let config = Config { members: members.into_iter().map(ReplicaId).collect(), ..config() };
        let error = Host::new(config).start(1, Time::ZERO).map(|_| ()).unwrap_err();
        assert!(matches!(error, RecoverError::Config(_)), "{error}");
    }
}
