//! What a program finds after a loss, through a real mount.
//!
//! Needs /dev/fuse and the right to mount; says so and skips where they are not.

mod support;

use lossy::{Layer, Lost, mounts};
use rustix::fs::{FallocateFlags, OFlags, fallocate};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::{Command, Stdio};
use support::Mounted;

fn written(mounted: &Mounted, name: &str, bytes: &[u8]) -> File {
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(true).truncate(true).open(mounted.path(name)).unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn synced(mounted: &Mounted, name: &str, bytes: &[u8]) -> File {
    let file = written(mounted, name, bytes);
    file.sync_all().unwrap();
    file
}

fn sync_folder(mounted: &Mounted, name: &str) {
    File::open(mounted.path(name)).unwrap().sync_all().unwrap();
}

fn read(mounted: &Mounted, name: &str) -> Option<Vec<u8>> {
    match fs::read(mounted.path(name)) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("{name}: {error}"),
    }
}

#[test]
fn what_is_synced_survives_and_what_is_not_is_lost_and_counted() {
    let Some(mounted) = Mounted::new() else { return };
    drop(synced(&mounted, "kept", b"kept"));
    drop(written(&mounted, "lost", b"four and more"));
    assert_eq!(read(&mounted, "lost").as_deref(), Some(&b"four and more"[..]));
    assert!(!mounted.backing("lost").exists(), "it has not reached the folder below");
    assert_eq!(mounted.layer.lose().unwrap(), Lost { names: 1, files: 1, bytes: 13 });
    assert_eq!(read(&mounted, "kept").as_deref(), Some(&b"kept"[..]));
    assert_eq!(read(&mounted, "lost"), None);
    assert!(mounted.layer.lose().unwrap().is_nothing());
}

#[test]
fn what_overwrites_and_what_is_appended_is_lost_back_to_the_old_bytes() {
    let Some(mounted) = Mounted::new() else { return };
    let file = synced(&mounted, "a", b"old bytes");
    file.write_all_at(b"NEW", 0).unwrap();
    file.write_all_at(b" and more", 9).unwrap();
    assert_eq!(read(&mounted, "a").as_deref(), Some(&b"NEW bytes and more"[..]));
    drop(file);
    assert_eq!(mounted.layer.lose().unwrap(), Lost { names: 0, files: 1, bytes: 12 });
    assert_eq!(read(&mounted, "a").as_deref(), Some(&b"old bytes"[..]));
}

#[test]
fn fdatasync_keeps_a_file_that_was_made_and_a_write_in_its_middle() {
    let Some(mounted) = Mounted::new() else { return };
    let file = written(&mounted, "a", b"0123456789");
    file.sync_data().unwrap();
    file.write_all_at(b"xy", 3).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(b"zz", 6).unwrap();
    drop(file);
    assert_eq!(mounted.layer.lose().unwrap().bytes, 2);
    assert_eq!(read(&mounted, "a").as_deref(), Some(&b"012xy56789"[..]));
}

#[test]
fn a_cut_and_what_is_written_behind_it_come_and_go_with_the_sync() {
    let Some(mounted) = Mounted::new() else { return };
    let file = synced(&mounted, "a", b"0123456789");
    file.set_len(4).unwrap();
    assert_eq!(read(&mounted, "a").as_deref(), Some(&b"0123"[..]));
    drop(file);
    mounted.layer.lose().unwrap();
    assert_eq!(read(&mounted, "a").as_deref(), Some(&b"0123456789"[..]), "the cut was not synced");

    let file = OpenOptions::new().write(true).open(mounted.path("a")).unwrap();
    file.set_len(4).unwrap();
    file.write_all_at(b"!", 7).unwrap();
    file.sync_all().unwrap();
    drop(file);
    mounted.layer.lose().unwrap();
    assert_eq!(
        read(&mounted, "a").as_deref(),
        Some(&b"0123\0\0\0!"[..]),
        "nothing comes back from under a cut"
    );
}

#[test]
fn a_rename_is_lost_without_the_folders_sync_and_kept_with_it() {
    let Some(mounted) = Mounted::new() else { return };
    drop(synced(&mounted, "a", b"new"));
    fs::rename(mounted.path("a"), mounted.path("b")).unwrap();
    assert_eq!(mounted.layer.lose().unwrap(), Lost { names: 1, files: 0, bytes: 0 });
    assert_eq!((read(&mounted, "a").is_some(), read(&mounted, "b").is_some()), (true, false));

    fs::rename(mounted.path("a"), mounted.path("b")).unwrap();
    sync_folder(&mounted, "");
    assert!(mounted.layer.lose().unwrap().is_nothing());
    assert_eq!((read(&mounted, "a").is_some(), read(&mounted, "b").is_some()), (false, true));
}

#[test]
fn a_file_that_replaces_another_is_the_old_one_or_the_new_one_and_never_empty() {
    let Some(mounted) = Mounted::new() else { return };
    drop(synced(&mounted, "a", b"old"));
    for (sync, wanted) in [(false, b"old"), (true, b"new")] {
        drop(written(&mounted, "a.tmp", b"new"));
        fs::rename(mounted.path("a.tmp"), mounted.path("a")).unwrap();
        assert_eq!(read(&mounted, "a").as_deref(), Some(&b"new"[..]));
        if sync {
            sync_folder(&mounted, "");
        }
        mounted.layer.lose().unwrap();
        assert_eq!(read(&mounted, "a").as_deref(), Some(&wanted[..]), "synced: {sync}");
        assert_eq!(read(&mounted, "a.tmp"), None);
    }
}

#[test]
fn a_removal_and_a_folder_are_lost_too() {
    let Some(mounted) = Mounted::new() else { return };
    drop(synced(&mounted, "a", b"a"));
    fs::remove_file(mounted.path("a")).unwrap();
    fs::create_dir_all(mounted.path("b/c")).unwrap();
    assert_eq!(mounted.layer.lose().unwrap(), Lost { names: 3, files: 0, bytes: 0 });
    assert_eq!(read(&mounted, "a").as_deref(), Some(&b"a"[..]));
    assert!(!mounted.path("b").exists());

    // A file's sync keeps the folders that it was made in.
    fs::create_dir_all(mounted.path("b/c")).unwrap();
    drop(synced(&mounted, "b/c/d", b"d"));
    assert!(mounted.layer.lose().unwrap().is_nothing());
    assert_eq!(read(&mounted, "b/c/d").as_deref(), Some(&b"d"[..]));
    fs::remove_dir_all(mounted.path("b")).unwrap();
    sync_folder(&mounted, "");
    mounted.layer.lose().unwrap();
    assert!(!mounted.path("b").exists());
}

#[test]
fn a_sync_of_somebody_else_keeps_names_and_not_bytes() {
    let Some(mounted) = Mounted::new() else { return };
    let old = synced(&mounted, "old", b"overwritten");
    drop(written(&mounted, "a", b"not synced"));
    // No block is needed and nothing of it is in the journal: that is left alone.
    old.write_all_at(b"OVER", 0).unwrap();
    old.sync_data().unwrap();
    assert!(!mounted.backing("a").exists());
    drop(synced(&mounted, "b", b"synced"));
    drop(old);
    assert_eq!(mounted.layer.lose().unwrap(), Lost { names: 0, files: 1, bytes: 10 });
    assert_eq!(read(&mounted, "a").as_deref(), Some(&b""[..]), "a file without its bytes, as ext4 leaves it");
    assert_eq!(read(&mounted, "old").as_deref(), Some(&b"OVERwritten"[..]));
}

#[test]
fn room_that_was_made_before_is_zeros_and_a_write_there_is_lost_without_a_sync() {
    let Some(mounted) = Mounted::new() else { return };
    let file = written(&mounted, "wal", b"");
    fallocate(&file, FallocateFlags::empty(), 0, 1 << 20).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 1 << 20);
    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 2 << 20).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 1 << 20);
    file.write_all_at(b"one", 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(b"two", 3).unwrap();
    fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 2).unwrap();
    assert_eq!(&read(&mounted, "wal").unwrap()[..8], b"\0\0etwo\0\0");
    drop(file);
    mounted.layer.lose().unwrap();
    let left = read(&mounted, "wal").unwrap();
    assert_eq!((left.len(), &left[..8]), (1 << 20, &b"one\0\0\0\0\0"[..]));
}

#[test]
fn what_is_written_with_o_dsync_is_durable_when_the_write_returns() {
    let Some(mounted) = Mounted::new() else { return };
    for flag in [OFlags::DSYNC, OFlags::SYNC] {
        let mut options = OpenOptions::new();
        options.write(true).create(true).custom_flags(flag.bits().cast_signed());
        let mut file = options.open(mounted.path("a")).unwrap();
        file.write_all(b"durable").unwrap();
        drop(file);
        assert!(mounted.layer.lose().unwrap().is_nothing());
        assert_eq!(read(&mounted, "a").as_deref(), Some(&b"durable"[..]));
        fs::remove_file(mounted.path("a")).unwrap();
        sync_folder(&mounted, "");
    }
}

#[test]
fn many_small_writes_are_read_by_many_while_they_are_made() {
    let Some(mounted) = Mounted::new() else { return };
    const RECORDS: usize = 5_000;
    let mut file = written(&mounted, "log", b"");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut seen = 0;
                while seen < RECORDS * 8 {
                    let bytes = read(&mounted, "log").unwrap();
                    assert!(bytes.len() >= seen, "it became shorter");
                    seen = bytes.len();
                    for (n, record) in bytes.chunks_exact(8).enumerate() {
                        assert_eq!(record, (n as u64).to_le_bytes(), "record {n}");
                    }
                }
            });
        }
        for n in 0..RECORDS {
            file.write_all(&(n as u64).to_le_bytes()).unwrap();
            if n == RECORDS / 2 {
                file.sync_data().unwrap();
            }
        }
    });
    drop(file);
    let lost = mounted.layer.lose().unwrap();
    assert_eq!(lost, Lost { names: 0, files: 1, bytes: 8 * (RECORDS as u64 - RECORDS as u64 / 2 - 1) });
    assert_eq!(read(&mounted, "log").unwrap().len(), 8 * (RECORDS / 2 + 1));
}

#[test]
fn nothing_becomes_durable_once_the_power_goes_and_who_waits_for_it_is_not_told_otherwise() {
    let Some(mounted) = Mounted::new() else { return };
    let mut file = synced(&mounted, "a", b"before");
    assert!(mounted.layer.cut().is_nothing());
    std::thread::scope(|scope| {
        file.write_all(b" after").unwrap();
        let waiting = scope.spawn(move || file.sync_all());
        while mounted.layer.pending().is_nothing() {
            std::thread::yield_now();
        }
        // Whether it waits already or comes late: the loss takes what it wrote.
        assert_eq!(mounted.layer.lose().unwrap().bytes, 6);
        assert!(waiting.join().unwrap().is_err());
    });
    let error = fs::write(mounted.path("late"), b"late").expect_err("who had the power may not be dead yet");
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    mounted.layer.mend();
    fs::write(mounted.path("early"), b"early").unwrap();
    assert_eq!(read(&mounted, "a").as_deref(), Some(&b"before"[..]));
}

#[test]
fn who_waits_is_answered_when_the_power_does_not_go_after_all() {
    let Some(mounted) = Mounted::new() else { return };
    let mut file = written(&mounted, "a", b"a");
    assert_eq!(mounted.layer.cut(), Lost { names: 1, files: 1, bytes: 1 });
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            file.sync_all()?;
            file.write_all(b"b")
        });
        mounted.layer.mend();
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(mounted.layer.lose().unwrap(), Lost { names: 0, files: 1, bytes: 1 });
    assert_eq!(read(&mounted, "a").as_deref(), Some(&b"a"[..]));
}

#[test]
fn a_mapped_file_shows_what_is_written_to_it_and_locks_and_links_work() {
    let Some(mounted) = Mounted::new() else { return };
    let script = r#"
import fcntl, mmap, os, sys
os.chdir(sys.argv[1])
f = os.open("db", os.O_RDWR | os.O_CREAT)
os.pwrite(f, b"a" * 8192, 0)
m = mmap.mmap(f, 8192, mmap.MAP_SHARED, mmap.PROT_READ)
assert m[:4] == b"aaaa"
os.pwrite(f, b"bb", 4095)
assert m[4094:4098] == b"abba", m[4094:4098]
os.fdatasync(f)
os.pwrite(f, b"cc", 0)
assert m[:3] == b"cca"
w = mmap.mmap(f, 8192, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
w[8000:8002] = b"ww"
w.flush()
assert os.pread(f, 2, 8000) == b"ww"
g = os.open("db", os.O_RDWR)
fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
try:
    fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
    sys.exit("two have the lock")
except BlockingIOError:
    pass
os.symlink("db", "soft")
os.link("db", "hard")
os.unlink("db")
assert os.pread(f, 2, 0) == b"cc" and os.stat("hard").st_nlink == 1
assert os.readlink("soft") == "db"
"#;
    // A map needs unsafe code, which Python has.
    let Some(python) = required::program("python3") else { return };
    let mut python = Command::new(python);
    python.args(["-c", script]).arg(mounted.path("")).stdin(Stdio::null());
    let output = python.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    mounted.layer.lose().unwrap();
    let left = read(&mounted, "db").expect("its name was synced, and its removal not");
    // What was written through the map was flushed by the kernel with fsync.
    assert!(left.len() == 8192 && left[4095..4097] == *b"bb", "{:?}", &left[..4]);
}

#[test]
fn what_was_lost_is_said_in_words() {
    let words = |names, files, bytes| Lost { names, files, bytes }.to_string();
    assert_eq!(words(0, 0, 0), "nothing was unsynced");
    assert_eq!(words(0, 3, 4096), "3 files lost 4096 bytes not synced");
    assert_eq!(words(1, 1, 1), "1 file lost 1 byte not synced, 1 change of names undone");
    assert_eq!(words(2, 0, 0), "2 changes of names undone");
}

#[test]
fn what_is_left_is_found_again_by_another_layer_and_unmounting_leaves_nothing() {
    let Some(mounted) = Mounted::new() else { return };
    fs::create_dir(mounted.path("a folder")).unwrap();
    drop(written(&mounted, "a folder/x", b"x"));
    let at = mounted.path("").canonicalize().unwrap();
    assert!(mounts::is_mounted(&at).unwrap());
    let held = File::open(mounted.path("a folder/x")).unwrap();
    let dir = mounted.end();
    assert!(!mounts::is_mounted(&at).unwrap(), "although somebody has a file open");
    drop(held);
    let below = dir.path().join("backing");
    assert_eq!(fs::read(below.join("a folder/x")).unwrap(), b"x", "an orderly end loses nothing");

    let layer = Layer::mount(&below, &at).unwrap();
    assert_eq!(fs::read(at.join("a folder/x")).unwrap(), b"x");
    drop(layer);
    assert!(!mounts::is_mounted(&at).unwrap());
}

#[test]
fn layers_below_a_folder_are_cleared_away() {
    let Some(mounted) = Mounted::new() else { return };
    let at = mounted.path("").canonicalize().unwrap();
    assert_eq!(mounts::below(at.parent().unwrap()).unwrap().len(), 1);
    mounts::clear(at.parent().unwrap()).unwrap();
    assert!(!mounts::is_mounted(&at).unwrap());
}
