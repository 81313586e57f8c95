use super::*;
use crate::snapshots::Snapshots;
use protocol::{Bugs, SnapshotEffect, SnapshotId};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A process's view of the folder; dropping it is that process's SIGKILL.
fn losing(folder: &TempDir) -> Folder {
    Folder::open_losing_unsynced(&folder.path().join("disk")).expect("a folder")
}

fn plain(folder: &TempDir) -> Folder {
    Folder::open(&folder.path().join("disk")).expect("a folder")
}

fn named(disk: &Folder, name: &str, bytes: &[u8]) -> FolderFile {
    let file = disk.create(name).expect("made");
    file.write_all_at(bytes, 0).expect("written");
    file.sync().expect("synced");
    disk.sync_folder().expect("synced");
    file
}

#[test]
fn what_was_synced_is_there_and_what_was_not_is_gone() {
    let folder = folder();
    let disk = losing(&folder);
    let file = named(&disk, "a", b"first");
    file.write_all_at(b" second", 5).expect("written");
    file.sync().expect("synced");
    file.write_all_at(b"XXXXX third", 2).expect("written");
    assert_eq!(disk.read("a").expect("there"), b"fiXXXXX third", "the process itself sees all of it");
    assert_eq!(plain(&folder).read("a").expect("there"), b"first second", "it is in no file");
    drop((disk, file));
    assert_eq!(losing(&folder).read("a").expect("there"), b"first second");
}

#[test]
fn a_file_reads_as_written_before_and_after_its_sync() {
    let folder = folder();
    let disk = losing(&folder);
    let file = named(&disk, "a", b"0123456789");
    file.set_size(4).expect("cut");
    file.write_all_at(b"x", 7).expect("written");
    for synced in [false, true] {
        assert_eq!(file.read_at(0, 100).expect("read"), b"0123\0\0\0x", "synced: {synced}");
        assert_eq!(file.read_at(2, 3).expect("read"), b"23\0");
        assert_eq!(file.read_at(7, 3).expect("read"), b"x");
        assert_eq!((file.read_at(8, 3).expect("read").len(), file.size().expect("known")), (0, 8));
        file.sync().expect("synced");
    }
    assert_eq!(plain(&folder).read("a").expect("there"), b"0123\0\0\0x");
}

#[test]
fn a_name_is_lost_with_what_has_it_unless_the_folder_is_synced() {
    let folder = folder();
    let disk = losing(&folder);
    let file = disk.create("new").expect("made");
    file.write_all_at(b"whole", 0).expect("written");
    file.sync().expect("synced");
    assert_eq!(disk.names().expect("listed"), ["new"]);
    drop((disk, file));
    assert_eq!(losing(&folder).names().expect("listed"), [""; 0]);
}

#[test]
fn a_rename_or_removal_without_a_sync_of_the_folder_never_was() {
    let folder = folder();
    let disk = losing(&folder);
    named(&disk, "old", b"old");
    named(&disk, "new", b"new");
    named(&disk, "gone", b"gone");
    disk.rename("new", "old").expect("renamed");
    disk.remove("gone").expect("removed");
    assert_eq!(disk.names().expect("listed"), ["old"]);
    assert_eq!(disk.read("old").expect("there"), b"new");
    drop(disk);
    let disk = losing(&folder);
    assert_eq!(disk.names().expect("listed"), ["gone", "new", "old"]);
    assert_eq!(disk.read("old").expect("there"), b"old");
    disk.rename("new", "old").expect("renamed");
    disk.remove("gone").expect("removed");
    disk.sync_folder().expect("synced");
    drop(disk);
    let disk = losing(&folder);
    assert_eq!(disk.names().expect("listed"), ["old"]);
    assert_eq!(disk.read("old").expect("there"), b"new");
    assert!(disk.open_file("new").is_err() && disk.remove("gone").is_err());
}

#[test]
fn a_saved_snapshot_outlives_its_process_unless_its_folder_is_not_synced() {
    for bugs in [Bugs::default(), [crate::Bug::RenameNotSynced].into_iter().collect()] {
        let folder = folder();
        let synced = bugs.is_empty();
        let (mut snapshots, none) = Snapshots::open::<u64>(losing(&folder), bugs).expect("opened");
        assert_eq!(none, None);
        let id = SnapshotId { number: 7, tag: 1 };
        snapshots.carry_out(SnapshotEffect::Save { id, image: 42_u64 }).expect("saved");
        drop(snapshots);
        let (_, found) = Snapshots::open::<u64>(losing(&folder), Bugs::default()).expect("opened");
        assert_eq!(found, synced.then_some((id, 42)));
    }
}

#[test]
fn a_full_disk_refuses_more_in_all_its_folders_and_keeps_what_it_has() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fullness = Fullness::default();
    let plain = Folder::open(one.path()).unwrap().on(fullness.clone());
    let losing = Folder::open_losing_unsynced(other.path()).unwrap().on(fullness.clone());
    for disk in [plain, losing] {
        let file = named(&disk, "a", b"kept");
        fullness.set(true);
        let refused = fullness.refused();
        let error = file.write_all_at(b"more", 4).expect_err("full");
        assert!(error.to_string().contains("No space left on device"), "{error}");
        assert_eq!(disk.create("b").expect_err("full").kind(), io::ErrorKind::StorageFull);
        assert_eq!(fullness.refused(), refused + 2);
        assert_eq!(disk.read("a").unwrap(), b"kept");
        fullness.set(false);
        file.write_all_at(b"more", 4).expect("room again");
        assert_eq!(disk.read("a").unwrap(), b"keptmore");
    }
}
