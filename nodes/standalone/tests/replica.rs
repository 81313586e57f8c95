//! One test a claim.

mod support;

use bytes::Bytes;
use kv::{Command, Limits, Refusal, Response, Value};
use protocol::{JournalPosition, Protocol, RecoverError, ReplicaId, Sequence, SessionId};
use standalone::{Config, Options};
use support::{Disk, Host, ME, config};

const A: SessionId = SessionId(1);
const B: SessionId = SessionId(2);
const KEY: Bytes = Bytes::from_static(b"k");

fn write(value: &'static str) -> Command {
    Command::Write { key: KEY, value: value.into() }
}

fn read() -> Command {
    Command::Read { key: KEY }
}

impl Host {
    fn write(&mut self, session: SessionId, sequence: u64, value: &'static str) {
        self.request(session, Sequence(sequence), write(value));
    }

    /// What has been answered since the last look: whom, what.
    fn answers(&mut self) -> Vec<(SessionId, Result<Response, Refusal>)> {
        self.replies.drain(..).map(|(client, reply)| (SessionId(client.0), reply.result)).collect()
    }

    /// Where its journal begins.
    fn first(&self) -> JournalPosition {
        self.host.disk.records.front().expect("it holds a record").0
    }

    /// How many records its journal holds, durable or not.
    fn records(&self) -> usize {
        self.host.disk.records.len() + self.host.unsynced.len()
    }

    fn metric(&self, name: &str) -> u64 {
        self.core().status().metrics[name]
    }
}

fn holds(value: &'static str) -> Result<Response, Refusal> {
    Ok(Response::Value(Some(Value::Bytes(value.into()))))
}

#[test]
fn a_write_is_answered_when_it_is_durable() {
    let mut host = Host::new(Options::default());
    host.write(A, 1, "a");
    host.write(B, 1, "b");
    host.end_turn();
    assert_eq!(host.answers(), []);
    host.sync(1);
    assert_eq!(host.answers(), [], "both are of one turn, and one of them could be lost");
    host.sync(1);
    assert_eq!(host.answers(), [(A, Ok(Response::Done)), (B, Ok(Response::Done))]);
    let status = host.core().status();
    assert_eq!((status.behind, status.state.count, status.keys), (0, 2, 1));
    assert!(status.leads && status.leader == Some(ME));
}

#[test]
fn a_read_waits_for_every_write_that_it_may_show() {
    let mut host = Host::new(Options::default());
    host.request(B, Sequence(0), read());
    host.end_turn();
    assert_eq!(host.answers(), [(B, Ok(Response::Value(None)))], "nothing to wait for");
    host.write(A, 1, "a");
    host.end_turn();
    host.request(B, Sequence(0), read());
    host.end_turn();
    assert_eq!(host.answers(), []);
    assert_eq!(host.metric("reads_waited"), 1);
    host.sync(1);
    assert_eq!(host.answers(), [(A, Ok(Response::Done)), (B, holds("a"))]);
    host.request(B, Sequence(0), read());
    host.end_turn();
    assert_eq!(host.answers(), [(B, holds("a"))]);
}

#[test]
fn a_retry_makes_no_record_and_waits_for_the_first() {
    let mut host = Host::new(Options::default());
    host.write(A, 1, "a");
    host.end_turn();
    host.write(A, 1, "a");
    host.end_turn();
    assert_eq!((host.answers(), host.records()), (vec![], 1));
    host.sync(1);
    assert_eq!(host.answers(), [(A, Ok(Response::Done)), (A, Ok(Response::Done))]);
    host.write(A, 1, "a");
    host.end_turn();
    assert_eq!(host.answers(), [(A, Ok(Response::Done))]);
    host.write(A, 2, "b");
    host.write(A, 1, "a");
    host.end_turn();
    host.sync(1);
    assert_eq!(host.answers(), [(A, Ok(Response::Done)), (A, Err(Refusal::SessionExpired))]);
    assert_eq!((host.records(), host.metric("retries")), (2, 3));
}

#[test]
fn a_retry_after_a_crash_gets_the_first_answer() {
    let mut host = Host::new(Options::default());
    let append = || Command::Append { key: KEY, element: KEY };
    host.request(A, Sequence(1), append());
    host.end_turn();
    host.sync(1);
    let mut host = host.crash(0);
    host.request(A, Sequence(1), append());
    host.end_turn();
    assert_eq!(host.answers(), [(A, Ok(Response::Length(1)))]);
}

#[test]
fn what_waits_for_the_disk_is_bounded() {
    let mut host = Host::new(Options { requests_pending_max: 2, ..Options::default() });
    host.write(A, 1, "a");
    host.request(A, Sequence(0), read());
    host.write(B, 1, "b");
    host.request(B, Sequence(0), read());
    host.end_turn();
    assert_eq!(host.answers(), [(B, Err(Refusal::Busy)), (B, Err(Refusal::Busy))]);
    host.sync(1);
    assert_eq!(host.answers(), [(A, Ok(Response::Done)), (A, holds("a"))]);
    assert_eq!((host.metric("requests_pending"), host.metric("requests_busy")), (0, 2));

    let mut host = Host::new(Options { uncommitted_bytes_max: 1000, ..Options::default() });
    let large = || Command::Write { key: KEY, value: vec![0; 5000].into() };
    host.request(A, Sequence(1), large());
    host.request(B, Sequence(1), large());
    host.request(B, Sequence(0), Command::Delete { key: KEY });
    host.end_turn();
    assert_eq!(host.answers(), [(B, Err(Refusal::Busy)), (B, Err(Refusal::Busy))], "one always goes through");
    host.sync(1);
    host.request(B, Sequence(1), large());
    host.end_turn();
    host.sync(1);
    assert_eq!(host.answers(), [(A, Ok(Response::Done)), (B, Ok(Response::Done))]);
    assert_eq!(host.metric("uncommitted_bytes"), 0);
}

#[test]
fn an_invalid_command_is_refused_and_leaves_nothing() {
    let mut host = Host::new(Options::default());
    host.request(A, Sequence(1), Command::Delete { key: Bytes::new() });
    host.end_turn();
    assert!(matches!(host.answers()[..], [(A, Err(Refusal::Invalid(_)))]));
    assert!(host.records() == 0);
}

/// Nine writes with a snapshot every four.
fn with_snapshots(works: impl Fn(u64) -> bool) -> Host {
    let mut host = Host::new(Options { snapshot_every_entries: 4, ..Options::default() });
    for sequence in 1..=9 {
        host.write(A, sequence, "a");
        host.end_turn();
        host.sync(1);
        host.finish_save(works(sequence));
    }
    host
}

#[test]
fn snapshots_come_at_intervals_and_free_the_journal() {
    let host = with_snapshots(|_| true);
    assert_eq!(host.first(), JournalPosition(8));
    assert_eq!(host.host.disk.snapshots.keys().map(|id| (id.number, id.tag)).collect::<Vec<_>>(), [(8, 0)]);
    assert_eq!(host.metric("snapshots_saved"), 2);
    let before = host.core().status();
    let after = host.crash(0).core().status();
    assert_eq!(after.state, before.state);
}

#[test]
fn a_snapshot_that_fails_costs_nothing_but_space() {
    let host = with_snapshots(|sequence| sequence > 4);
    assert_eq!((host.metric("snapshots_failed"), host.metric("snapshots_saved")), (1, 1));
    assert_eq!(host.first(), JournalPosition(8), "the next one came in its time");
    let host = with_snapshots(|_| false);
    assert_eq!((host.first(), host.records()), (JournalPosition(0), 9));
}

#[test]
fn large_entries_bring_a_snapshot_sooner() {
    let mut host = Host::new(Options { snapshot_every_bytes: 10_000, ..Options::default() });
    for sequence in 1..=3 {
        host.request(A, Sequence(sequence), Command::Write { key: KEY, value: vec![0; 6000].into() });
        host.end_turn();
        host.sync(1);
        assert_eq!(host.host.saving.is_some(), sequence >= 2);
    }
}

#[test]
fn a_snapshot_shows_nothing_that_came_after_it() {
    let mut host = Host::new(Options { snapshot_every_entries: 1, ..Options::default() });
    host.write(A, 1, "a");
    host.end_turn();
    host.sync(1);
    let digest = host.core().status().state.digest;
    host.write(A, 2, "b");
    host.end_turn();
    let (id, image) = host.host.saving.clone().expect("due after one entry");
    assert_eq!((id.number, image.digest()), (1, digest));
}

fn refused(config: Config, disk: Disk) -> RecoverError {
    match Host::start(config, disk) {
        Err(error) => error,
        Ok(host) => panic!("{host:?} started"),
    }
}

#[test]
fn a_disk_that_this_replica_never_wrote_is_refused() {
    let four = Options { snapshot_every_entries: 4, ..Options::default() };
    let at = |error| match error {
        RecoverError::Inconsistent { position, .. } => position.0,
        RecoverError::Config(reason) => panic!("{reason}"),
    };
    let disk = |change: fn(&mut Disk)| {
        let mut disk = with_snapshots(|_| true).host.disk;
        change(&mut disk);
        disk
    };
    assert!(Host::start(config(four.clone()), disk(|_| {})).is_ok());
    assert_eq!(at(refused(config(four.clone()), disk(|disk| disk.snapshots.clear()))), 8);
    assert_eq!(at(refused(config(four.clone()), disk(|disk| disk.records[0].0.0 += 1))), 9);
    let behind_the_snapshot = disk(|disk| {
        disk.next.0 = 0;
        disk.records.clear();
    });
    assert_eq!(at(refused(config(four.clone()), behind_the_snapshot)), 0);
    let not_a_write = disk(|disk| disk.records[0].1.sequence = Sequence(3));
    assert_eq!(at(refused(config(four), not_a_write)), 8);
}

#[test]
fn a_configuration_that_cannot_be_run_is_refused() {
    let good = config(Options::default());
    let other = ReplicaId(2);
    for members in [vec![], vec![other], vec![ME, other]] {
        let error = refused(Config { members, ..good.clone() }, Disk::default());
        assert!(matches!(error, RecoverError::Config(_)), "{error}");
    }
    for options in [
        Options { snapshot_every_entries: 0, ..Options::default() },
        Options { snapshot_every_bytes: 0, ..Options::default() },
        Options { requests_pending_max: 0, ..Options::default() },
        Options { uncommitted_bytes_max: 0, ..Options::default() },
        Options { limits: Limits { sessions_max: 0 }, ..Options::default() },
    ] {
        let error = refused(config(options), Disk::default());
        assert!(matches!(error, RecoverError::Config(_)), "{error}");
    }
}
