//! Random operations through a real mount, beside a model that keeps each file's bytes three times. A failure names its seed.
//!
//! Needs /dev/fuse and the right to mount; says so and skips where they are not.

mod support;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rustix::fs::{FallocateFlags, OFlags, fallocate};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use support::Mounted;

const SEEDS: u64 = 40;
const STEPS: u32 = 300;
const NAMES: [&str; 11] = ["a", "b", "c", "d", "d/a", "d/b", "e", "e/a", "e/b", "d/e", "d/e/a"];

type Id = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Folder(Id),
    File(Id),
}

#[derive(Clone, Debug, Default)]
struct Bytes {
    seen: Vec<u8>,
    /// What is on disk once the journal is.
    journaled: Vec<u8>,
    disk: Vec<u8>,
    /// Where bytes were written that are not synced, and where such that go with the journal.
    unsynced: BTreeSet<usize>,
    attached: BTreeSet<usize>,
    /// Blocks are there up to here.
    allocated: usize,
}

impl Bytes {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.seen.resize(self.seen.len().max(offset + bytes.len()), 0);
        self.seen[offset..][..bytes.len()].copy_from_slice(bytes);
        self.unsynced.extend(offset..offset + bytes.len());
    }

    fn set_size(&mut self, size: usize) {
        self.seen.resize(size, 0);
        self.journaled.resize(size, 0);
        self.unsynced.retain(|at| *at < size);
        self.attached.retain(|at| *at < size);
        self.allocated = self.allocated.min(size);
    }

    fn attach(&mut self) {
        self.journaled.clone_from(&self.seen);
        self.attached.append(&mut self.unsynced);
    }

    fn now_on_disk(&mut self, written: fn(&mut Bytes) -> &mut BTreeSet<usize>) {
        let end = std::mem::take(written(self)).last().map_or(0, |at| at + 1);
        self.allocated = self.allocated.max(end);
    }
}

struct Model {
    names: BTreeMap<String, Entry>,
    names_on_disk: BTreeMap<String, Entry>,
    /// By id; a folder's is empty.
    files: Vec<Bytes>,
    /// Whose fsync commits the journal, and whose fdatasync.
    fsync: BTreeSet<Id>,
    fdatasync: BTreeSet<Id>,
}

impl Model {
    fn new() -> Model {
        let names = BTreeMap::from([(String::new(), Entry::Folder(0))]);
        Model {
            names_on_disk: names.clone(),
            names,
            files: vec![Bytes::default()],
            fsync: BTreeSet::new(),
            fdatasync: BTreeSet::new(),
        }
    }

    fn folder_of(&self, name: &str) -> Option<Id> {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        match self.names.get(folder) {
            Some(Entry::Folder(id)) => Some(*id),
            _ => None,
        }
    }

    fn concern(&mut self, id: Id, data: bool) {
        self.fsync.insert(id);
        if data {
            self.fdatasync.insert(id);
        }
    }

    fn add(&mut self, name: &str, kind: fn(Id) -> Entry) {
        let id = self.files.len();
        self.files.push(Bytes::default());
        self.concern(self.folder_of(name).expect("asked before"), true);
        self.concern(id, true);
        self.names.insert(name.to_owned(), kind(id));
    }

    fn take(&mut self, name: &str) {
        let (Entry::File(id) | Entry::Folder(id)) = self.names.remove(name).expect("asked before");
        self.concern(self.folder_of(name).expect("it has one"), true);
        self.concern(id, false);
    }

    /// Whether something is in this folder.
    fn is_full(&self, folder: &str) -> bool {
        self.names.keys().any(|name| name.starts_with(&format!("{folder}/")))
    }

    /// Whether it is possible; it is done then.
    fn rename(&mut self, from: &str, to: &str) -> bool {
        let (Some(moved), Some(to_folder)) = (self.names.get(from).copied(), self.folder_of(to)) else {
            return false;
        };
        if to == from || to.starts_with(&format!("{from}/")) || from.starts_with(&format!("{to}/")) {
            return false;
        }
        let old = self.names.get(to).copied();
        match (moved, old) {
            (Entry::Folder(_), Some(Entry::File(_))) | (Entry::File(_), Some(Entry::Folder(_))) => {
                return false;
            }
            (_, Some(Entry::Folder(_))) if self.is_full(to) => return false,
            // Two names of one file: nothing happens.
            (Entry::File(a), Some(Entry::File(b))) if a == b => return true,
            _ => {}
        }
        if old.is_some() {
            self.take(to);
            if let Entry::File(id) = moved {
                self.files[id].attach();
                self.concern(id, true);
            }
        }
        let (Entry::File(id) | Entry::Folder(id)) = moved;
        self.concern(id, false);
        self.concern(self.folder_of(from).expect("it has one"), true);
        self.concern(to_folder, true);
        let under = |name: &String| name == from || name.starts_with(&format!("{from}/"));
        let names: Vec<String> = self.names.keys().filter(|name| under(name)).cloned().collect();
        for name in names {
            let entry = self.names.remove(&name).expect("it was listed");
            self.names.insert(format!("{to}{}", &name[from.len()..]), entry);
        }
        true
    }

    fn sync(&mut self, entry: Entry, only_data: bool) {
        let (Entry::Folder(id) | Entry::File(id)) = entry;
        let file = &self.files[id];
        let needs_blocks = file.unsynced.last().is_some_and(|at| at + 1 > file.allocated);
        let concerned = if only_data { &self.fdatasync } else { &self.fsync };
        if needs_blocks || concerned.contains(&id) {
            for file in &mut self.files {
                file.disk.clone_from(&file.journaled);
                file.now_on_disk(|file| &mut file.attached);
            }
            self.names_on_disk.clone_from(&self.names);
            self.fsync.clear();
            self.fdatasync.clear();
        }
        let file = &mut self.files[id];
        file.journaled.clone_from(&file.seen);
        file.disk.clone_from(&file.seen);
        file.now_on_disk(|file| &mut file.unsynced);
    }

    fn lose(&mut self) {
        self.names.clone_from(&self.names_on_disk);
        for file in &mut self.files {
            let disk = std::mem::take(&mut file.disk);
            *file = Bytes {
                seen: disk.clone(),
                journaled: disk.clone(),
                allocated: disk.len(),
                disk,
                ..Bytes::default()
            };
        }
        self.fsync.clear();
        self.fdatasync.clear();
    }

    fn contents(&self, of: fn(&Bytes) -> &Vec<u8>, names: &BTreeMap<String, Entry>) -> Contents {
        let content = |entry: &Entry| match entry {
            Entry::Folder(_) => None,
            Entry::File(id) => Some(of(&self.files[*id]).clone()),
        };
        names.iter().map(|(name, entry)| (name.clone(), content(entry))).collect()
    }
}

/// By name; a folder has none.
type Contents = BTreeMap<String, Option<Vec<u8>>>;

fn contents(root: &Path) -> Contents {
    let (mut found, mut folders) = (Contents::from([(String::new(), None)]), vec![String::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            if entry.file_type().unwrap().is_dir() {
                found.insert(name.clone(), None);
                folders.push(name);
            } else {
                found.insert(name, Some(fs::read(entry.path()).unwrap()));
            }
        }
    }
    found
}

/// One random operation, on both; what it was.
fn step(mounted: &Mounted, model: &mut Model, chance: &mut Xoshiro256PlusPlus) -> String {
    let name = *NAMES.choose(chance).expect("there are some");
    let path = mounted.path(name);
    let open = || OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let entry = model.names.get(name).copied();
    let (offset, length) = (chance.random_range(0..9_000), chance.random_range(1..6_000));
    let bytes = vec![chance.random_range(1..=255_u8); length];
    match (entry, chance.random_range(0..16)) {
        (_, 0) if chance.random_ratio(1, 4) => {
            mounted.layer.lose().unwrap();
            model.lose();
            "lose".into()
        }
        (None, 0..=6) if model.folder_of(name).is_some() => {
            drop(OpenOptions::new().write(true).create_new(true).open(&path).unwrap());
            model.add(name, Entry::File);
            format!("create {name}")
        }
        (None, 7..=9) if model.folder_of(name).is_some() => {
            fs::create_dir(&path).unwrap();
            model.add(name, Entry::Folder);
            format!("mkdir {name}")
        }
        (Some(Entry::File(_)), 1) => {
            fs::remove_file(&path).unwrap();
            model.take(name);
            format!("unlink {name}")
        }
        (Some(Entry::Folder(_)), 1) if !model.is_full(name) => {
            fs::remove_dir(&path).unwrap();
            model.take(name);
            format!("rmdir {name}")
        }
        (Some(_), 2..=4) => {
            let to = *NAMES.choose(chance).expect("there are some");
            if model.rename(name, to) {
                fs::rename(&path, mounted.path(to)).unwrap();
            }
            format!("rename {name} {to}")
        }
        (Some(Entry::File(id)), 5) => {
            let to = *NAMES.choose(chance).expect("there are some");
            if let (None, Some(folder)) = (model.names.get(to), model.folder_of(to)) {
                fs::hard_link(&path, mounted.path(to)).unwrap();
                model.names.insert(to.into(), Entry::File(id));
                model.concern(folder, true);
                model.concern(id, false);
            }
            format!("link {name} {to}")
        }
        (Some(Entry::File(id)), 6..=8) => {
            open().write_all_at(&bytes, offset as u64).unwrap();
            model.files[id].write(offset, &bytes);
            format!("write {name} {offset} {length}")
        }
        (Some(Entry::File(id)), 9) => {
            let end = model.files[id].seen.len();
            open().write_all_at(&bytes, end as u64).unwrap();
            model.files[id].write(end, &bytes);
            format!("append {name} {length}")
        }
        (Some(Entry::File(id)), 10) => {
            // Not to nothing: that is a replacement.
            open().set_len(offset as u64 + 1).unwrap();
            model.files[id].set_size(offset + 1);
            model.concern(id, true);
            format!("set_len {name} {}", offset + 1)
        }
        (Some(Entry::File(id)), 11) => {
            let (file, size) = (open(), model.files[id].seen.len());
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if chance.random_bool(0.5) {
                fallocate(&file, FallocateFlags::empty(), offset as u64, length as u64).unwrap();
                if offset + length > size {
                    model.files[id].set_size(offset + length);
                    model.concern(id, true);
                }
                format!("fallocate {name} {offset} {length}")
            } else {
                fallocate(&file, punch, offset as u64, length as u64).unwrap();
                if offset < size {
                    model.files[id].write(offset, &vec![0; length.min(size - offset)]);
                    model.files[id].attach();
                    model.concern(id, true);
                }
                format!("punch {name} {offset} {length}")
            }
        }
        (Some(Entry::File(id)), 12) => {
            let was_empty = model.files[id].seen.is_empty();
            fs::write(&path, &bytes).unwrap();
            model.files[id].set_size(0);
            model.files[id].write(0, &bytes);
            model.concern(id, true);
            if !was_empty {
                model.files[id].attach();
            }
            format!("replace {name} {length}")
        }
        (Some(Entry::File(id)), 13) => {
            let (flag, only_data) =
                if chance.random_bool(0.5) { (OFlags::DSYNC, true) } else { (OFlags::SYNC, false) };
            let mut options = OpenOptions::new();
            let file = options.write(true).custom_flags(flag.bits().cast_signed()).open(&path).unwrap();
            file.write_all_at(&bytes, offset as u64).unwrap();
            model.files[id].write(offset, &bytes);
            model.sync(Entry::File(id), only_data);
            format!("write {name} {offset} {length} with {flag:?}")
        }
        (Some(entry), 14 | 15) => {
            let (file, only_data) = (File::open(&path).unwrap(), chance.random_bool(0.5));
            if only_data { file.sync_data() } else { file.sync_all() }.unwrap();
            model.sync(entry, only_data);
            format!("sync {name}, only data: {only_data}")
        }
        (_, 15) => {
            File::open(mounted.path("")).unwrap().sync_all().unwrap();
            model.sync(Entry::Folder(0), false);
            "sync the root".into()
        }
        _ => String::new(),
    }
}

#[test]
fn after_any_operations_and_losses_what_is_seen_and_what_is_on_disk_are_the_models() {
    let mut losses = 0;
    for seed in 0..SEEDS {
        let Some(mounted) = Mounted::new() else { return };
        let (mut model, mut steps) = (Model::new(), Vec::new());
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
        for n in 0..STEPS {
            let words = step(&mounted, &mut model, &mut chance);
            let is_loss = words == "lose";
            losses += u32::from(is_loss);
            steps.push(words);
            if is_loss || n % 10 == 9 {
                let at = || format!("seed {seed}, step {n}: {:#?}", &steps[steps.len().saturating_sub(40)..]);
                let seen = model.contents(|file| &file.seen, &model.names);
                let disk = model.contents(|file| &file.disk, &model.names_on_disk);
                same(&contents(&mounted.path("")), &seen, "seen", at);
                same(&contents(&mounted.backing("")), &disk, "on disk", at);
            }
        }
    }
    assert!(losses > SEEDS as u32, "{losses} losses are too few to mean anything");
}

fn same(found: &Contents, wanted: &Contents, what: &str, at: impl Fn() -> String) {
    let names = |contents: &Contents| contents.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(wanted), "names {what}: {}", at());
    for (name, bytes) in wanted {
        let found = &found[name];
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(Vec::len);
        assert_eq!(length(found), length(bytes), "length of {name} {what}: {}", at());
        if found != bytes {
            let (found, bytes) = (found.as_ref().expect("a file"), bytes.as_ref().expect("a file"));
            let first = found.iter().zip(bytes).position(|(a, b)| a != b);
            panic!("{name} {what} differs at byte {first:?}: {}", at());
        }
    }
}
