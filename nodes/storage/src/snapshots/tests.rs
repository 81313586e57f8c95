use super::*;
use crate::folder::Folder;
use protocol::{JournalPosition, ReplicaId};
use tempfile::TempDir;

type Image = Vec<String>;

const FIRST: SnapshotId = SnapshotId { number: 10, tag: 1 };
const SECOND: SnapshotId = SnapshotId { number: 20, tag: 1 };

fn image(rows: usize) -> Image {
    (0..rows).map(|row| format!("row {row}")).collect()
}

fn disk(folder: &TempDir) -> Folder {
    Folder::open(folder.path()).expect("a folder")
}

fn on_disk(folder: &TempDir) -> Snapshots<Folder> {
    Snapshots(Storage::Disk { disk: disk(folder), receiving: None, bugs: Bugs::default() })
}

fn in_memory() -> Snapshots<Folder> {
    Snapshots::in_memory()
}

fn newest(folder: &TempDir) -> Result<Newest<Image>, SnapshotError> {
    load_newest(&disk(folder), &Bugs::default())
}

fn tempdir() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn save(storage: &mut Snapshots<Folder>, id: SnapshotId, rows: usize) -> u64 {
    match storage.carry_out(SnapshotEffect::Save { id, image: image(rows) }) {
        Some(SnapshotEvent::Saved { id: saved, size }) if saved == id => size,
        other => panic!("{other:?}"),
    }
}

fn read(storage: &mut Snapshots<Folder>, id: SnapshotId, offset: u64) -> (Bytes, bool) {
    let to = ReplicaId(2);
    match storage.carry_out::<Image>(SnapshotEffect::Read { to, id, offset, length_max: 100 }) {
        Some(SnapshotEvent::Chunk { bytes, last, .. }) => (bytes, last),
        other => panic!("{other:?}"),
    }
}

fn write(
    storage: &mut Snapshots<Folder>,
    offset: u64,
    bytes: impl Into<Bytes>,
    last: bool,
) -> Option<SnapshotEvent<Image>> {
    storage.carry_out(SnapshotEffect::Write { id: FIRST, offset, bytes: bytes.into(), last })
}

/// All chunks of a saved snapshot, with their offsets.
fn chunks(storage: &mut Snapshots<Folder>, id: SnapshotId) -> Vec<(u64, Bytes, bool)> {
    let mut chunks = Vec::new();
    let mut offset = 0;
    loop {
        let (bytes, last) = read(storage, id, offset);
        chunks.push((offset, bytes.clone(), last));
        offset += bytes.len() as u64;
        if last {
            return chunks;
        }
    }
}

#[test]
fn the_newest_is_read_back_and_older_ones_go_when_told() {
    let folder = tempdir();
    assert_eq!(newest(&folder).expect("nothing"), None);
    let mut storage = on_disk(&folder);
    save(&mut storage, FIRST, 1);
    save(&mut storage, SECOND, 2);
    assert_eq!(newest(&folder).expect("whole"), Some((SECOND, image(2))));
    let discard = SnapshotEffect::<Image>::Discard { keep: SECOND, before: JournalPosition(0) };
    assert_eq!(storage.carry_out(discard), None);
    assert_eq!(disk(&folder).names().expect("readable"), [name(SECOND)]);
}

#[test]
fn a_snapshot_travels_in_chunks() {
    let folders = [tempdir(), tempdir()];
    for (mut from, mut to) in [(on_disk(&folders[0]), on_disk(&folders[1])), (in_memory(), in_memory())] {
        let size = save(&mut from, FIRST, 100);
        let chunks = chunks(&mut from, FIRST);
        assert_eq!(chunks.iter().map(|(_, bytes, _)| bytes.len() as u64).sum::<u64>(), size);
        // A first attempt that got nowhere, and a chunk that came twice.
        assert_eq!(write(&mut to, 0, &b"something else"[..], false), None);
        let mut received = None;
        for (offset, bytes, last) in chunks {
            if offset == 100 {
                assert_eq!(write(&mut to, offset, bytes.clone(), false), None);
            }
            received = write(&mut to, offset, bytes, last);
        }
        assert_eq!(received, Some(SnapshotEvent::Received { id: FIRST, image: image(100) }));
        assert_eq!(read(&mut to, FIRST, size), (Bytes::new(), true), "it can be passed on");
    }
    assert_eq!(newest(&folders[1]).expect("whole"), Some((FIRST, image(100))));
}

#[test]
fn what_arrives_damaged_or_with_a_gap_is_not_taken() {
    let folders = [tempdir(), tempdir()];
    for (mut from, mut to) in [(on_disk(&folders[0]), on_disk(&folders[1])), (in_memory(), in_memory())] {
        save(&mut from, FIRST, 3);
        let (bytes, _) = read(&mut from, FIRST, 0);
        for at in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 1;
            let answer = write(&mut to, 0, bad, true);
            assert!(matches!(answer, Some(SnapshotEvent::Failed { id: FIRST, .. })), "byte {at}: {answer:?}");
        }
        assert_eq!(write(&mut to, 0, bytes.slice(..10), false), None);
        let answer = write(&mut to, 20, bytes.slice(20..), true);
        assert!(matches!(answer, Some(SnapshotEvent::Failed { .. })), "{answer:?}");
        save(&mut from, SECOND, 3);
        let (other, _) = read(&mut from, SECOND, 0);
        let answer = write(&mut to, 0, other, true);
        assert!(matches!(answer, Some(SnapshotEvent::Failed { .. })), "{answer:?}");
    }
    assert_eq!(newest(&folders[1]).expect("nothing"), None);
}

#[test]
fn what_is_not_there_is_said_to_be_not_there() {
    for mut storage in [on_disk(&tempdir()), in_memory()] {
        let (to, id) = (ReplicaId(2), FIRST);
        let answer = storage.carry_out::<Image>(SnapshotEffect::Read { to, id, offset: 0, length_max: 9 });
        assert!(matches!(answer, Some(SnapshotEvent::Failed { id: FIRST, .. })), "{answer:?}");
    }
}

#[test]
fn a_damaged_newest_gives_way_to_an_older_one_and_a_damaged_only_one_is_refused() {
    let folder = tempdir();
    let mut storage = on_disk(&folder);
    save(&mut storage, FIRST, 1);
    save(&mut storage, SECOND, 2);
    let flip = |id| {
        let path = folder.path().join(name(id));
        let mut bytes = std::fs::read(&path).expect("readable");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(path, bytes).expect("written");
    };
    flip(SECOND);
    assert_eq!(newest(&folder).expect("the older one"), Some((FIRST, image(1))));
    flip(FIRST);
    let error = newest(&folder).expect_err("none is whole");
    assert!(error.to_string().contains(&name(SECOND)) && error.to_string().contains("checksum"), "{error}");
}

/// A crash in the middle of a save leaves the file under the name that nobody reads.
#[test]
fn a_save_that_was_not_finished_is_no_snapshot() {
    let folder = tempdir();
    let mut storage = on_disk(&folder);
    save(&mut storage, FIRST, 1);
    std::fs::write(folder.path().join(SAVING), b"GAUNTLET").expect("written");
    std::fs::write(folder.path().join(RECEIVING), b"GAUNTLET").expect("written");
    assert_eq!(newest(&folder).expect("whole"), Some((FIRST, image(1))));
    save(&mut storage, SECOND, 2);
    assert_eq!(newest(&folder).expect("whole"), Some((SECOND, image(2))));
}
