use super::*;
use proptest::prelude::*;
use protocol::codec;
use std::path::PathBuf;
use storage::Disk;
use storage::journal::format::{self, HEADER_BYTES};
use storage::journal::{Damage, segment_name};
use tempfile::TempDir;

type Records = Vec<(u64, Vec<u8>)>;

/// A journal in a folder of its own, with what it held when it was opened.
struct Opened {
    journal: Journal,
    records: Records,
}

fn disk(folder: &TempDir) -> Folder {
    Folder::open(folder.path()).expect("a folder")
}

fn open(folder: &TempDir, segment_bytes: u64) -> Result<Opened, JournalError> {
    let mut records = Records::new();
    let take = |position: JournalPosition, record| records.push((position.0, record));
    let journal = Journal::open_disk(disk(folder), Settings { segment_bytes, ..Settings::default() }, take)?;
    Ok(Opened { journal, records })
}

impl Opened {
    fn on_disk(&mut self) -> &mut OnDisk {
        let Kept::OnDisk(disk) = &mut self.journal.kept else { panic!("it is on disk") };
        disk
    }

    fn append(&mut self, record: &Vec<u8>) -> Result<(), JournalError> {
        self.journal.append(self.journal.next(), record)
    }

    async fn commit(&mut self) {
        while self.journal.commit().expect("the disk works") {
            self.journal.committed().await.expect("the disk works");
        }
        assert_eq!(self.journal.durable(), self.journal.next());
    }

    /// The last segment, and where its batches end.
    fn end(&mut self, folder: &TempDir) -> (PathBuf, usize) {
        let on_disk = self.on_disk();
        let last = on_disk.batches.segments().next_back().expect("a journal has a segment");
        let Place::Here(writer) = &on_disk.writer else { panic!("no commit is under way") };
        (segment(folder, last.0), usize::try_from(writer.offset()).expect("small"))
    }

    /// Discards, and waits until the files are gone.
    async fn discard(&mut self, folder: &TempDir, before: u64) {
        self.journal.discard(JournalPosition(before));
        let first = self.on_disk().batches.segments().next().expect("the last one");
        let disk = disk(folder);
        let gone = async {
            while disk.names().expect("readable").iter().any(|name| *name < segment_name(first)) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the files go");
    }

    /// Commits one batch of these records, now on this thread and now on another.
    async fn write(&mut self, records: &[Vec<u8>]) {
        let next = self.journal.next().0;
        self.on_disk().wary = u32::from(next.is_multiple_of(3));
        for record in records {
            self.append(record).expect("small");
        }
        self.commit().await;
    }
}

fn tempdir() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn record(number: u64) -> Vec<u8> {
    vec![u8::try_from(number % 251).expect("below 251"); 20]
}

fn records(range: std::ops::Range<u64>) -> Records {
    range.map(|number| (number, record(number))).collect()
}

fn segment(folder: &TempDir, first: u64) -> PathBuf {
    folder.path().join(segment_name(JournalPosition(first)))
}

fn damage(result: Result<Opened, JournalError>) -> Damage {
    match result {
        Err(JournalError::Damaged(damage)) => damage,
        Err(other) => panic!("{other}"),
        Ok(opened) => panic!("opened with {:?}", opened.records),
    }
}

/// Three batches: records 0 and 1, 2 and 3, 4 and 5. Returns where each begins, and where the last ends.
async fn three_batches(folder: &TempDir) -> Vec<usize> {
    let mut opened = open(folder, 64 << 20).expect("empty");
    for first in [0, 2, 4] {
        opened.write(&[record(first), record(first + 1)]).await;
    }
    let bytes = std::fs::read(segment(folder, 0)).expect("readable");
    let salt = format::check_header(&bytes, JournalPosition(0)).expect("whole");
    let mut starts = vec![HEADER_BYTES];
    while let Some(batch) = format::parse_batch(&bytes[starts[starts.len() - 1]..], salt) {
        starts.push(starts[starts.len() - 1] + batch.bytes);
    }
    assert_eq!(starts.len(), 4);
    // Without the zeroes ahead, which take long to go through so often.
    std::fs::write(segment(folder, 0), &bytes[..starts[3]]).expect("written");
    starts
}

#[tokio::test]
async fn what_was_committed_is_read_back_and_positions_go_on() {
    let folder = tempdir();
    let mut opened = open(&folder, 64 << 20).expect("empty");
    opened.write(&[record(0), record(1)]).await;
    opened.write(&[record(2)]).await;
    drop(opened);
    let mut opened = open(&folder, 64 << 20).expect("whole");
    assert_eq!(opened.records, records(0..3));
    opened.write(&[record(3)]).await;
    drop(opened);
    assert_eq!(open(&folder, 64 << 20).expect("whole").records, records(0..4));
}

#[tokio::test]
async fn nothing_is_durable_before_it_is_committed() {
    let folder = tempdir();
    let mut opened = open(&folder, 64 << 20).expect("empty");
    opened.append(&record(0)).expect("small");
    assert_eq!((opened.journal.durable(), opened.journal.next()), (JournalPosition(0), JournalPosition(1)));
    drop(opened);
    assert_eq!(open(&folder, 64 << 20).expect("whole").records, []);
}

/// However a crash tears the last write, what was committed before is there, what was being written is there whole or
/// not at all, and the journal goes on.
#[tokio::test]
async fn a_crash_at_any_byte_of_the_last_write_loses_that_write_only() {
    let folder = tempdir();
    let starts = three_batches(&folder).await;
    let after = std::fs::read(segment(&folder, 0)).expect("readable");
    let before = after[..starts[2]].to_vec();
    for cut in starts[2]..=starts[3] {
        let mut zero_extended = before.clone();
        zero_extended.resize(cut, 0);
        let mut garbage = after[..cut].to_vec();
        garbage.extend((cut..starts[3]).map(|at| u8::try_from(at % 255).expect("below 255")));
        let reached_in_order = after[..cut].to_vec();
        let reached_in_reverse = [zero_extended.clone(), after[cut..].to_vec()].concat();
        let sectors_left_out = [after[..cut].to_vec(), vec![0; 4096]].concat();
        for torn in [zero_extended, garbage, reached_in_order, reached_in_reverse, sectors_left_out] {
            std::fs::write(segment(&folder, 0), &torn).expect("written");
            let mut opened = open(&folder, 64 << 20).expect("only torn");
            let whole = torn.get(starts[2]..starts[3]) == Some(&after[starts[2]..starts[3]]);
            let kept = if whole { 6 } else { 4 };
            assert_eq!(opened.records, records(0..kept), "cut at {cut}");
            opened.write(&[record(kept)]).await;
            drop(opened);
            assert_eq!(open(&folder, 64 << 20).expect("whole").records, records(0..kept + 1));
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_in_any_byte_before_the_last_batch_is_refused_with_its_place() {
    let folder = tempdir();
    let starts = three_batches(&folder).await;
    let good = std::fs::read(segment(&folder, 0)).expect("readable");
    for at in 0..starts[2] {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(segment(&folder, 0), &bad).expect("written");
        let damage = damage(open(&folder, 64 << 20));
        let batch = starts.iter().rposition(|start| *start <= at);
        let (offset, position) = batch.map_or((0, 0), |batch| (starts[batch], batch * 2));
        assert_eq!(damage.file, segment(&folder, 0));
        assert_eq!((damage.offset, damage.position.0), (offset as u64, position as u64), "{damage}");
    }
}

#[tokio::test]
async fn a_last_batch_that_is_damaged_cannot_be_told_from_a_torn_one() {
    let folder = tempdir();
    let starts = three_batches(&folder).await;
    let mut bytes = std::fs::read(segment(&folder, 0)).expect("readable");
    bytes[starts[2] + 12] ^= 1;
    std::fs::write(segment(&folder, 0), &bytes).expect("written");
    assert_eq!(open(&folder, 64 << 20).expect("torn").records, records(0..4));
}

/// The second batch here, and in it what a client may have written, would each be valid at some position.
#[tokio::test]
async fn a_value_that_looks_like_a_batch_is_no_sign_of_damage() {
    let folder = tempdir();
    let mut opened = open(&folder, 64 << 20).expect("empty");
    opened.write(&[record(0)]).await;
    let mut fake = Vec::new();
    let mut batch = format::Gathering { first: JournalPosition(3), records: Vec::new() };
    batch.add(|out| codec::encode_into(&record(3), out)).expect("small");
    batch.frame_into(format::Salt::default(), &mut fake);
    let (path, begin) = opened.end(&folder);
    opened.write(&[fake]).await;
    drop(opened);
    let mut bytes = std::fs::read(&path).expect("readable");
    bytes[begin + 4] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    assert_eq!(open(&folder, 64 << 20).expect("only torn").records, records(0..1));
}

/// Segments that hold two batches of one record each.
async fn many_segments(folder: &TempDir) -> u64 {
    let mut batch = format::Gathering { first: JournalPosition(0), records: Vec::new() };
    assert!(batch.add(|out| codec::encode_into(&record(0), out)).expect("small").is_none());
    let segment_bytes = HEADER_BYTES as u64 + 2 * batch.framed_bytes();
    let mut opened = open(folder, segment_bytes).expect("empty");
    for number in 0..9 {
        opened.write(&[record(number)]).await;
    }
    segment_bytes
}

#[tokio::test]
async fn segments_follow_one_another_and_damage_in_an_earlier_one_is_refused() {
    let folder = tempdir();
    let segment_bytes = many_segments(&folder).await;
    assert_eq!(open(&folder, segment_bytes).expect("whole").records, records(0..9));
    assert!(segment(&folder, 8).exists() && !segment(&folder, 7).exists());

    let earlier = segment(&folder, 4);
    let good = std::fs::read(&earlier).expect("readable");
    // The last batch of an earlier segment, flipped or cut short: more was written after it was durable.
    let mut flipped = good.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    for bad in [flipped, good[..last].to_vec(), good[..HEADER_BYTES].to_vec()] {
        std::fs::write(&earlier, bad).expect("written");
        damage(open(&folder, segment_bytes));
    }
    std::fs::remove_file(&earlier).expect("removed");
    let gap = damage(open(&folder, segment_bytes));
    assert_eq!((gap.position.0, gap.file), (4, segment(&folder, 6)));
    assert!(gap.reason.contains("missing"), "{}", gap.reason);
}

#[tokio::test]
async fn discarding_removes_whole_segments_only_and_never_the_last() {
    let folder = tempdir();
    let segment_bytes = many_segments(&folder).await;
    for (before, first_left) in [(3, 2), (6, 6), (99, 8)] {
        let mut opened = open(&folder, segment_bytes).expect("whole");
        opened.discard(&folder, before).await;
        drop(opened);
        assert_eq!(open(&folder, segment_bytes).expect("whole").records, records(first_left..9));
    }
}

#[tokio::test]
async fn a_commit_beyond_the_frame_bound_becomes_several_batches() {
    let folder = tempdir();
    let mut opened = open(&folder, 64 << 20).expect("empty");
    let large: Vec<Vec<u8>> = (0..5).map(|fill| vec![fill; 5 << 20]).collect();
    opened.write(&large).await;
    let error = opened.append(&vec![0u8; 17 << 20]).expect_err("too large");
    assert!(matches!(error, JournalError::RecordTooLarge { .. }), "{error}");
    drop(opened);
    let read: Vec<_> = open(&folder, 64 << 20).expect("whole").records.into_iter().map(|(_, r)| r).collect();
    assert!(read == large);
}

#[tokio::test]
async fn a_disk_that_refuses_makes_nothing_durable() {
    let folder = tempdir();
    // The next batch needs a segment of its own.
    let mut opened = open(&folder, 1).expect("empty");
    opened.write(&[record(0)]).await;
    std::fs::remove_dir_all(folder.path()).expect("removed");
    opened.append(&record(1)).expect("small");
    let error = opened.journal.commit().expect_err("refused");
    assert!(matches!(error, JournalError::Io { .. }), "{error}");
    assert_eq!(opened.journal.durable(), JournalPosition(1));
}

#[tokio::test]
async fn a_record_of_another_protocol_is_refused() {
    let folder = tempdir();
    three_batches(&folder).await;
    let error =
        Journal::open_disk(disk(&folder), Settings::default(), |_, _: (String, u64)| {}).expect_err("others");
    assert!(matches!(error, JournalError::Damaged(Damage { position: JournalPosition(0), .. })), "{error}");
}

#[tokio::test]
async fn a_journal_is_not_ignored_by_a_node_that_keeps_none() {
    let folder = tempdir();
    three_batches(&folder).await;
    let keeping = Keeping { durability: Durability::Memory, ..Keeping::default() };
    let error =
        Journal::open(folder.path(), &keeping, Bugs::default(), |_, _: Vec<u8>| {}).expect_err("left over");
    assert!(matches!(error, JournalError::LeftOver { .. }), "{error}");
}

/// What may happen to a journal.
#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Vec<u8>>),
    /// Some records reach the disk in part, then the process is gone.
    Crash {
        records: Vec<Vec<u8>>,
        reached: prop::sample::Index,
    },
    Discard(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let records = || prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..4);
    let crash = (records(), any::<prop::sample::Index>());
    prop::collection::vec(
        prop_oneof![
            4 => records().prop_map(Step::Commit),
            2 => crash.prop_map(|(records, reached)| Step::Crash { records, reached }),
            1 => any::<prop::sample::Index>().prop_map(Step::Discard),
        ],
        1..25,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn after_any_crashes_the_journal_holds_what_was_committed(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(after_any_crashes(steps))?;
    }
}

async fn after_any_crashes(steps: Vec<Step>) -> Result<(), TestCaseError> {
    const SMALL: u64 = 400;
    let folder = tempdir();
    let mut committed = Records::new();
    let mut opened = open(&folder, SMALL).expect("empty");
    for step in steps {
        let next = opened.journal.next().0;
        match step {
            Step::Commit(records) => {
                committed.extend((next..).zip(records.iter().cloned()));
                opened.write(&records).await;
                continue;
            }
            Step::Crash { records, reached } => {
                let with_last: Records =
                    committed.iter().cloned().chain((next..).zip(records.clone())).collect();
                let whole = crash_while_writing(&folder, opened, &records, reached).await;
                opened = open(&folder, SMALL).expect("only torn");
                prop_assert_eq!(&opened.records, if whole { &with_last } else { &committed });
                committed.clone_from(&opened.records);
            }
            Step::Discard(before) => {
                let before = before.index(usize::try_from(next).expect("small") + 1) as u64;
                opened.discard(&folder, before).await;
                drop(opened);
                opened = open(&folder, SMALL).expect("whole");
                let first_left = opened.records.first().map_or(next, |(position, _)| *position);
                prop_assert!(committed.is_empty() || first_left <= before.max(committed[0].0));
                committed.retain(|(position, _)| *position >= first_left);
                prop_assert_eq!(&opened.records, &committed);
            }
        }
        prop_assert_eq!(opened.journal.next().0, committed.last().map_or(next, |(last, _)| last + 1));
    }
    drop(opened);
    prop_assert_eq!(open(&folder, SMALL).expect("whole").records, committed);
    Ok(())
}

/// Writes a batch, of which only a part of the bytes reach the disk. Tells whether the disk holds it all the same.
async fn crash_while_writing(
    folder: &TempDir,
    mut opened: Opened,
    records: &[Vec<u8>],
    reached: prop::sample::Index,
) -> bool {
    let (path, begin) = opened.end(folder);
    let before = std::fs::read(&path).expect("readable");
    opened.write(records).await;
    let (path_after, end) = opened.end(folder);
    drop(opened);
    // A segment that was begun was durable, with its header, before the batch was written.
    let begin = if path_after == path { begin } else { HEADER_BYTES };
    let after = std::fs::read(&path_after).expect("readable");
    let cut = begin + reached.index(end - begin + 1);
    let mut torn = after[..cut].to_vec();
    if path_after == path {
        torn.extend(before.iter().skip(cut));
    }
    std::fs::write(&path_after, &torn).expect("written");
    // What did not reach the disk may have been zeroes, where there were zeroes.
    torn.get(..end) == Some(&after[..end])
}
