//! A disk that loses and damages what it holds.
//!
//! What is written is visible at once and durable after a sync: a file's bytes after [`DiskFile::sync`], a folder's names
//! after [`Disk::sync_folder`]. A power loss keeps, of the bytes that were not synced, any sectors, and of the changes of names
//! that were not synced, any first few: the weakest promise that a journalling file system makes (Pillai et al.,
//! *All File Systems Are Not Created Equal*, 2014).

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use storage::{Disk, DiskFile};

/// What reaches a disk whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Counts what a disk did to what it held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounters {
    /// Syncs of files and folders.
    pub syncs: u64,
    /// Bytes written and lost to a power loss.
    pub bytes_lost: u64,
    /// Names made, changed or removed, and that lost.
    pub names_lost: u64,
    /// Writes of which a power loss kept a part.
    pub torn: u64,
    /// Refused because the disk was full.
    pub refused_full: u64,
    /// Bits flipped.
    pub flipped: u64,
    /// Work that waited because the disk was stalled.
    pub held_up: u64,
}

/// One folder of a simulated disk. Clones are the same folder.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk {
    folder: &'static str,
    state: Rc<RefCell<State>>,
}

/// One open file: it stays the same file under another name.
#[derive(Debug)]
pub(crate) struct SimFile {
    inode: usize,
    state: Rc<RefCell<State>>,
}

/// The folders of a disk.
pub(crate) const JOURNAL: &str = "journal";
pub(crate) const SNAPSHOTS: &str = "snapshots";

#[derive(Debug)]
struct State {
    inodes: Vec<Inode>,
    folders: BTreeMap<&'static str, Names>,
    chance: Xoshiro256PlusPlus,
    full: bool,
    /// After so many more changes the power is gone.
    changes_left: Option<u32>,
    power_lost: bool,
    counters: DiskCounters,
}

#[derive(Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    /// How to get back to what is durable, newest last.
    undo: Vec<Undo>,
}

/// A write that is not durable, and what it replaced.
#[derive(Debug)]
struct Undo {
    offset: usize,
    replaced: Vec<u8>,
    size_before: usize,
    written: usize,
}

#[derive(Debug, Default)]
struct Names {
    now: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// What is not durable, in order.
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Link(String, usize),
    Rename(String, String),
    Unlink(String),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Change::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Change::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Change::Unlink(name) => {
                names.remove(name);
            }
        }
    }
}

impl SimDisk {
    /// An empty disk with its folders.
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            inodes: Vec::new(),
            folders: [(JOURNAL, Names::default()), (SNAPSHOTS, Names::default())].into(),
            chance: Xoshiro256PlusPlus::seed_from_u64(seed),
            full: false,
            changes_left: None,
            power_lost: false,
            counters: DiskCounters::default(),
        };
        Self { folder: JOURNAL, state: Rc::new(RefCell::new(state)) }
    }

    /// Another folder of the same disk.
    pub(crate) fn folder(&self, folder: &'static str) -> Self {
        Self { folder, state: Rc::clone(&self.state) }
    }

    pub(crate) fn counters(&self) -> DiskCounters {
        self.state.borrow().counters
    }

    /// Refuses to hold more.
    pub(crate) fn set_full(&self, full: bool) {
        self.state.borrow_mut().full = full;
    }

    /// Loses power after so many more changes, of bytes, names or what is durable of them.
    pub(crate) fn lose_power_after(&self, changes: u32) {
        self.state.borrow_mut().changes_left = Some(changes);
    }

    /// Whether the power is gone. Then nothing works until [`SimDisk::restore_power`].
    pub(crate) fn has_lost_power(&self) -> bool {
        self.state.borrow().power_lost
    }

    /// The machine starts again after a power loss: what was not durable may be gone.
    pub(crate) fn restore_power(&self) {
        let state = &mut *self.state.borrow_mut();
        state.power_lost = false;
        state.changes_left = None;
        for names in state.folders.values_mut() {
            let kept = state.chance.random_range(0..=names.pending.len());
            state.counters.names_lost += (names.pending.len() - kept) as u64;
            for change in names.pending.drain(..).take(kept) {
                change.apply(&mut names.durable);
            }
            names.now.clone_from(&names.durable);
        }
        for inode in &mut state.inodes {
            inode.lose(&mut state.chance, &mut state.counters);
        }
    }

    /// A process ends and the machine does not: all that was written stays.
    pub(crate) fn process_ends(&self) {
        self.state.borrow_mut().changes_left = None;
    }

    /// Flips a bit somewhere in a file of this folder, and tells in which file and where. In the file `spared.0`, only before byte
    /// `spared.1`.
    pub(crate) fn flip_bit(&self, spared: Option<(&str, u64)>) -> Option<(String, usize)> {
        let state = &mut *self.state.borrow_mut();
        let holding: Vec<(String, usize, usize)> = state.folders[self.folder]
            .now
            .iter()
            .map(|(name, inode)| {
                let content = state.inodes[*inode].content();
                let below = spared.filter(|(spared, _)| spared == name);
                (name.clone(), *inode, below.map_or(content, |(_, end)| content.min(end as usize)))
            })
            .filter(|(_, _, content)| *content > 0)
            .collect();
        if holding.is_empty() {
            return None;
        }
        let (name, inode, content) = holding[state.chance.random_range(0..holding.len())].clone();
        let at = state.chance.random_range(0..content);
        state.inodes[inode].bytes[at] ^= 1 << state.chance.random_range(0..8);
        state.counters.flipped += 1;
        Some((name, at))
    }

    /// Forgets everything: a new disk in its place.
    pub(crate) fn wipe(&self) {
        let state = &mut *self.state.borrow_mut();
        state.inodes.clear();
        state.folders.values_mut().for_each(|names| *names = Names::default());
        (state.power_lost, state.changes_left) = (false, None);
    }
}

impl State {
    /// One more change; an error if there is no power for it.
    fn change(&mut self) -> io::Result<()> {
        if self.power_lost {
            return Err(io::Error::other("the power is gone"));
        }
        match &mut self.changes_left {
            Some(0) => {
                self.power_lost = true;
                Err(io::Error::other("the power is gone"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn grow(&mut self) -> io::Result<()> {
        if self.full {
            self.counters.refused_full += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn inode(&self, folder: &'static str, name: &str) -> io::Result<usize> {
        self.folders[folder].now.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&mut self, folder: &'static str, change: Change) {
        let names = self.folders.get_mut(folder).expect("a folder of the disk");
        change.apply(&mut names.now);
        names.pending.push(change);
    }
}

impl Inode {
    /// Where the last byte that is not zero ends.
    fn content(&self) -> usize {
        self.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        let (end, size_before) = (offset + bytes.len(), self.bytes.len());
        let replaced = self.bytes.get(offset..end.min(size_before)).unwrap_or_default().to_vec();
        self.undo.push(Undo { offset, replaced, size_before, written: bytes.len() });
        if end > size_before {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
    }

    fn set_size(&mut self, size: usize) {
        let size_before = self.bytes.len();
        let replaced = self.bytes.get(size..).unwrap_or_default().to_vec();
        self.undo.push(Undo { offset: size.min(size_before), replaced, size_before, written: 0 });
        self.bytes.resize(size, 0);
    }

    /// Goes back to what is durable, but for some sectors that were written since.
    fn lose(&mut self, chance: &mut Xoshiro256PlusPlus, counters: &mut DiskCounters) {
        if self.undo.is_empty() {
            return;
        }
        let written = std::mem::take(&mut self.bytes);
        self.bytes.clone_from(&written);
        let undo = std::mem::take(&mut self.undo);
        for undo in undo.iter().rev() {
            self.bytes.resize(undo.size_before, 0);
            self.bytes[undo.offset..undo.offset + undo.replaced.len()].copy_from_slice(&undo.replaced);
        }
        // Mostly nothing is kept, or all, or what was written first.
        let style = chance.random_range(0..4);
        for write in undo.iter().filter(|undo| undo.written > 0) {
            let (start, end) = (write.offset, (write.offset + write.written).min(written.len()));
            let sectors: Vec<(usize, usize)> = (start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES))
                .map(|sector| ((sector * SECTOR_BYTES).max(start), ((sector + 1) * SECTOR_BYTES).min(end)))
                .collect();
            let first = chance.random_range(0..=sectors.len());
            let mut kept = 0;
            for (number, (from, to)) in sectors.iter().enumerate() {
                let keep = match style {
                    0 => false,
                    1 => true,
                    2 => number < first,
                    _ => chance.random(),
                };
                if !keep {
                    counters.bytes_lost += (to - from) as u64;
                    continue;
                }
                kept += 1;
                if *to > self.bytes.len() {
                    self.bytes.resize(*to, 0);
                }
                self.bytes[*from..*to].copy_from_slice(&written[*from..*to]);
            }
            counters.torn += u64::from(kept > 0 && kept < sectors.len());
        }
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(self.folder).join(name)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.state.borrow().folders[self.folder].now.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let state = self.state.borrow();
        Ok(state.inodes[state.inode(self.folder, name)?].bytes.clone())
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.state.borrow_mut();
        state.grow()?;
        state.change()?;
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.rename(self.folder, Change::Link(name.to_owned(), inode));
        Ok(SimFile { inode, state: Rc::clone(&self.state) })
    }

    fn open_file(&self, name: &str) -> io::Result<SimFile> {
        let inode = self.state.borrow().inode(self.folder, name)?;
        Ok(SimFile { inode, state: Rc::clone(&self.state) })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.inode(self.folder, from)?;
        state.change()?;
        state.rename(self.folder, Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.inode(self.folder, name)?;
        state.change()?;
        state.rename(self.folder, Change::Unlink(name.to_owned()));
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let state = &mut *self.state.borrow_mut();
        state.change()?;
        state.counters.syncs += 1;
        let names = state.folders.get_mut(self.folder).expect("a folder of the disk");
        if names.pending.is_empty() {
            return Ok(());
        }
        names.pending.clear();
        names.durable.clone_from(&names.now);
        // Files without a name are gone for good: free their bytes.
        let named: Vec<usize> = state
            .folders
            .values()
            .flat_map(|names| names.now.values().chain(names.durable.values()))
            .copied()
            .collect();
        let pending = |names: &Names| {
            names.pending.iter().any(|change| matches!(change, Change::Link(..) | Change::Rename(..)))
        };
        if !state.folders.values().any(pending) {
            for (number, inode) in state.inodes.iter_mut().enumerate() {
                if !named.contains(&number) {
                    *inode = Inode::default();
                }
            }
        }
        Ok(())
    }

    fn chance(&self) -> io::Result<[u8; 8]> {
        Ok(self.state.borrow_mut().chance.random())
    }
}

fn in_memory(number: u64) -> io::Result<usize> {
    usize::try_from(number).map_err(io::Error::other)
}

impl DiskFile for SimFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let state = &mut *self.state.borrow_mut();
        state.grow()?;
        let power = state.change();
        let offset = in_memory(offset)?;
        match power {
            Ok(()) => state.inodes[self.inode].write(bytes, offset),
            // Some of it was on its way.
            Err(_) => {
                let part = state.chance.random_range(0..=bytes.len());
                state.inodes[self.inode].write(&bytes[..part], offset);
            }
        }
        power
    }

    fn read_at(&self, offset: u64, length_max: usize) -> io::Result<Vec<u8>> {
        let state = self.state.borrow();
        let bytes = &state.inodes[self.inode].bytes;
        let start = in_memory(offset)?.min(bytes.len());
        let end = start.saturating_add(length_max).min(bytes.len());
        Ok(bytes[start..end].to_vec())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.state.borrow().inodes[self.inode].bytes.len() as u64)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let state = &mut *self.state.borrow_mut();
        state.change()?;
        let inode = &mut state.inodes[self.inode];
        let size = in_memory(size)?;
        if size != inode.bytes.len() {
            inode.set_size(size);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.state.borrow_mut();
        state.change()?;
        state.counters.syncs += 1;
        state.inodes[self.inode].undo.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(disk: &SimDisk, name: &str, bytes: &[u8]) -> SimFile {
        let file = disk.create(name).expect("room");
        file.write_all_at(bytes, 0).expect("room");
        file
    }

    #[test]
    fn what_was_synced_survives_a_power_loss_and_the_rest_may_not() {
        let (mut kept, mut lost, mut torn) = (0, 0, 0);
        for seed in 0..200 {
            let disk = SimDisk::new(seed);
            let file = file(&disk, "a", &[1; 2000]);
            file.sync().expect("power");
            disk.sync_folder().expect("power");
            file.write_all_at(&[2; 2000], 1000).expect("room");
            disk.lose_power_after(0);
            assert!(file.sync().is_err() && disk.has_lost_power());
            disk.restore_power();
            let found = disk.read("a").expect("there");
            assert_eq!(found[..1000], [1; 1000], "nobody touched it");
            let rest = &found[1000..];
            match (rest.contains(&2), rest.contains(&1) || rest.len() < 2000) {
                (true, false) => kept += 1,
                (false, _) => lost += 1,
                (true, true) => torn += 1,
            }
        }
        assert!(kept > 10 && lost > 10 && torn > 10, "{kept} kept, {lost} lost, {torn} torn");
    }

    #[test]
    fn a_name_is_durable_when_its_folder_is_synced() {
        let (mut old, mut new) = (0, 0);
        for seed in 0..100 {
            let disk = SimDisk::new(seed).folder(SNAPSHOTS);
            file(&disk, "a", b"a").sync().expect("power");
            disk.sync_folder().expect("power");
            disk.rename("a", "b").expect("there");
            disk.restore_power();
            match disk.names().expect("readable")[..] {
                [ref name] if name == "a" => old += 1,
                [ref name] if name == "b" => new += 1,
                ref other => panic!("{other:?}"),
            }
            assert_eq!(disk.read(&disk.names().expect("readable")[0]).expect("there"), b"a");
            disk.rename(&disk.names().expect("readable")[0], "c").expect("there");
            disk.sync_folder().expect("power");
            disk.restore_power();
            assert_eq!(disk.names().expect("readable"), ["c"]);
        }
        assert!(old > 10 && new > 10, "{old} lost the rename, {new} kept it");
    }

    #[test]
    fn a_full_disk_refuses_and_keeps_what_it_has() {
        let disk = SimDisk::new(1);
        let file = file(&disk, "a", b"a");
        disk.set_full(true);
        assert_eq!(file.write_all_at(b"b", 1).expect_err("full").kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.create("b").expect_err("full").kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.read("a").expect("there"), b"a");
        disk.set_full(false);
        file.write_all_at(b"b", 1).expect("room again");
        assert_eq!(disk.counters().refused_full, 2);
    }

    #[test]
    fn a_flipped_bit_is_one_bit_of_what_was_written() {
        for seed in 0..50 {
            let disk = SimDisk::new(seed);
            assert_eq!(disk.flip_bit(None), None, "nothing to flip");
            file(&disk, "a", &[[7; 40].as_slice(), &[0; 4000]].concat());
            let (name, at) = disk.flip_bit(None).expect("a bit");
            let found = disk.read(&name).expect("there");
            assert!(at < 40);
            assert_eq!((found[at] ^ 7).count_ones(), 1);
        }
    }
}
