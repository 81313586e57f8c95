//! A node's disk, while nobody writes it: copied, cut, damaged, put back.
//!
//! Beside the data folder there may be a copy of it from the past (`data.copied`), and the one that a node is to get back if it
//! refuses what has become of its own (`data.before`).

use crate::host::wire::Log;
use crate::store::remove;
use anyhow::Context;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use storage::Folder;
use storage::journal;
use storage::journal::format::HEADER_BYTES;
use tokio::task::spawn_blocking;
use xxhash_rust::xxh3::xxh3_64;

/// Files are compared so much at a time.
const BLOCK_BYTES: usize = 64 << 10;

/// The disk of one node.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    data: PathBuf,
    log: Log,
}

/// So many files with so many bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    files: u64,
    bytes: u64,
}

/// `12 bytes in 3 files`.
pub(super) fn in_words(Extent { files, bytes }: Extent) -> String {
    let files = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    format!("{bytes} bytes in {files}")
}

impl Disk {
    pub(super) fn new(data: PathBuf, log: Log) -> Disk {
        Disk { data, log }
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    fn copied(&self) -> PathBuf {
        self.data.with_extension("copied")
    }

    fn before(&self) -> PathBuf {
        self.data.with_extension("before")
    }

    /// Another folder takes the place of its data, which is at `aside` then; or all is as it was.
    fn exchange(&self, other: &Path, aside: &Path) -> anyhow::Result<()> {
        std::fs::metadata(other).with_context(|| format!("looking for {}", other.display()))?;
        remove(aside)?;
        std::fs::rename(&self.data, aside).context("setting its disk aside")?;
        if let Err(error) = std::fs::rename(other, &self.data) {
            std::fs::rename(aside, &self.data).context("putting its disk back in its place")?;
            return Err(error).context("putting another in the place of its disk");
        }
        Ok(())
    }

    /// Takes the copy that [`Disk::roll_back`] puts in its place.
    pub(super) async fn copy(&self) -> anyhow::Result<Extent> {
        let (from, to) = (self.data.clone(), self.copied());
        off_thread(move || copy(&from, &to)).await
    }

    /// Puts the copy in its place; what it has lost by that, if anything.
    pub(super) async fn roll_back(&self) -> anyhow::Result<Option<String>> {
        let disk = self.clone();
        off_thread(move || {
            let past = Disk::new(disk.copied(), disk.log.clone());
            let changed = changed(&disk.data, &past.data)?;
            if changed == Extent::default() {
                remove(&past.data)?;
                return Ok(None);
            }
            let lost = lost_records(disk.records()?, past.records()?);
            disk.exchange(&past.data, &disk.before())?;
            Ok(Some(format!("its disk is as it was, {} changed{lost}", in_words(changed))))
        })
        .await
    }

    /// Cuts up to so many bytes off the end of the newest file of its log; what it has lost by that, if there was anything.
    pub(super) async fn cut(&self, bytes: u64) -> anyhow::Result<Option<String>> {
        let disk = self.clone();
        off_thread(move || {
            copy(&disk.data, &disk.before())?;
            let lost = disk.cut_now(bytes)?;
            if lost.is_none() {
                disk.forget_others()?;
            }
            Ok(lost)
        })
        .await
    }

    fn cut_now(&self, bytes: u64) -> anyhow::Result<Option<String>> {
        let Some((file, start, end)) = self.newest()? else { return Ok(None) };
        let cut = bytes.min(end.saturating_sub(start));
        if cut == 0 {
            return Ok(None);
        }
        let before = self.records()?;
        let open = File::options().write(true).open(&file)?;
        open.set_len(end - cut)?;
        open.sync_all()?;
        let name = file.file_name().unwrap_or_default().display().to_string();
        Ok(Some(format!("{cut} bytes off the end of {name}{}", lost_records(before, self.records()?))))
    }

    /// The newest file of its log, and from where to where it holds something.
    fn newest(&self) -> anyhow::Result<Option<(PathBuf, u64, u64)>> {
        match &self.log {
            Log::Journal(folder) => {
                let folder = self.data.join(folder);
                let end = journal::end(&Folder::open(&folder)?)?;
                Ok(end.map(|end| (folder.join(end.file), HEADER_BYTES as u64, end.bytes)))
            }
            Log::Files { folder, suffix } => {
                let mut files = Vec::new();
                for entry in std::fs::read_dir(self.data.join(folder))? {
                    let path = entry?.path();
                    files.extend(Some(path).filter(|path| path.to_string_lossy().ends_with(suffix)));
                }
                let Some(newest) = files.into_iter().max() else { return Ok(None) };
                // Behind what was written there may be zeroes, written ahead.
                let content = std::fs::read(&newest)?;
                let end = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                Ok(Some((newest, 0, end as u64)))
            }
        }
    }

    /// How many records its log has had; `None` if that is not told.
    fn records(&self) -> anyhow::Result<Option<u64>> {
        match &self.log {
            Log::Journal(folder) => {
                let end = journal::end(&Folder::open(&self.data.join(folder))?)?;
                Ok(Some(end.map_or(0, |end| end.next.0)))
            }
            Log::Files { .. } => Ok(None),
        }
    }

    /// Flips a bit of its log, before the last batch. Which one, out of how many bytes, follows from `chance`.
    pub(super) fn flip(&self, chance: u64) -> anyhow::Result<String> {
        let Log::Journal(folder) = &self.log else { anyhow::bail!("its log is not known well enough") };
        flip(&self.data.join(folder), chance)
    }

    /// Takes all that it holds away.
    pub(super) fn empty(&self) -> anyhow::Result<()> {
        remove(&self.data)?;
        std::fs::create_dir(&self.data).with_context(|| format!("making {}", self.data.display()))
    }

    /// Gives back what was lost.
    pub(super) fn put_back(&self) -> anyhow::Result<()> {
        let refused = self.data.with_extension("refused");
        self.exchange(&self.before(), &refused).context("giving its disk back")?;
        remove(&refused)
    }

    /// Removes what there is beside it.
    pub(super) fn forget_others(&self) -> anyhow::Result<()> {
        remove(&self.before())?;
        remove(&self.copied())
    }
}

/// What blocks does not keep others waiting.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    spawn_blocking(work).await.context("looking after a disk panicked")?
}

fn lost_records(before: Option<u64>, after: Option<u64>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => format!(": {} synced records are lost", before.saturating_sub(after)),
        _ => String::new(),
    }
}

/// All files below a folder, relative to it. Sockets are none.
fn files(folder: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let (mut files, mut folders) = (BTreeSet::new(), vec![PathBuf::new()]);
    while let Some(inner) = folders.pop() {
        let path = folder.join(&inner);
        for entry in std::fs::read_dir(&path).with_context(|| format!("listing {}", path.display()))? {
            let entry = entry?;
            let (kind, name) = (entry.file_type()?, inner.join(entry.file_name()));
            if kind.is_dir() {
                folders.push(name);
            } else if kind.is_file() {
                files.insert(name);
            }
        }
    }
    Ok(files)
}

/// A copy in place of what there is at `to`; none if that does not work.
fn copy(from: &Path, to: &Path) -> anyhow::Result<Extent> {
    remove(to)?;
    let copied = copy_files(from, to);
    if copied.is_err() {
        remove(to)?;
    }
    copied
}

fn copy_files(from: &Path, to: &Path) -> anyhow::Result<Extent> {
    std::fs::create_dir(to).with_context(|| format!("making {}", to.display()))?;
    let mut copied = Extent::default();
    for name in files(from)? {
        let target = to.join(&name);
        let folder = target.parent().expect("it is below `to`");
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        copied.bytes += std::fs::copy(from.join(&name), &target)
            .with_context(|| format!("copying {}", from.join(&name).display()))?;
        copied.files += 1;
    }
    Ok(copied)
}

/// How much of `now` is not as in `past`, or not there any more.
fn changed(now: &Path, past: &Path) -> anyhow::Result<Extent> {
    let mut changed = Extent::default();
    for name in files(now)?.union(&files(past)?) {
        let bytes = differing(&now.join(name), &past.join(name))
            .with_context(|| format!("comparing {}", now.join(name).display()))?;
        if bytes > 0 {
            changed = Extent { files: changed.files + 1, bytes: changed.bytes + bytes };
        }
    }
    Ok(changed)
}

/// How many bytes differ between two files; one that is not there is empty.
fn differing(one: &Path, other: &Path) -> std::io::Result<u64> {
    let open = |path: &Path| -> std::io::Result<Box<dyn Read>> {
        match File::open(path) {
            Ok(file) => Ok(Box::new(BufReader::with_capacity(BLOCK_BYTES, file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Box::new(std::io::empty())),
            Err(error) => Err(error),
        }
    };
    let (mut one, mut other) = (open(one)?, open(other)?);
    let (mut mine, mut theirs) = (Vec::with_capacity(BLOCK_BYTES), Vec::with_capacity(BLOCK_BYTES));
    let mut differing = 0;
    loop {
        mine.clear();
        theirs.clear();
        (&mut one).take(BLOCK_BYTES as u64).read_to_end(&mut mine)?;
        (&mut other).take(BLOCK_BYTES as u64).read_to_end(&mut theirs)?;
        if mine.is_empty() && theirs.is_empty() {
            return Ok(differing);
        }
        if mine != theirs {
            let both = mine.iter().zip(&theirs).filter(|(mine, theirs)| mine != theirs).count();
            differing += (both + mine.len().abs_diff(theirs.len())) as u64;
        }
    }
}

fn flip(folder: &Path, chance: u64) -> anyhow::Result<String> {
    let end = journal::end(&Folder::open(folder)?)?.context("nothing is in its journal")?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().into_string().ok().context("a segment's name is text")?;
        let length = std::fs::metadata(folder.join(&name))?.len();
        files.push((name.clone(), if name == end.file { end.last_batch } else { length }));
    }
    files.sort();
    let bytes: u64 = files.iter().map(|(_, length)| length).sum();
    let mut at = xxh3_64(&chance.to_le_bytes()) % bytes;
    for (name, length) in files {
        if at < length {
            let file = File::options().read(true).write(true).open(folder.join(&name))?;
            let mut byte = [0];
            file.read_exact_at(&mut byte, at)?;
            byte[0] ^= 1 << (chance % 8);
            file.write_all_at(&byte, at)?;
            file.sync_all()?;
            return Ok(format!("a bit of byte {at} of {name} flipped"));
        }
        at -= length;
    }
    unreachable!("it is below the sum")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A disk with a foreign system's log of two files.
    fn foreign(dir: &Path) -> Disk {
        let data = dir.join("data");
        fs::create_dir_all(data.join("member/wal")).unwrap();
        fs::write(data.join("member/db"), [7; 100]).unwrap();
        fs::write(data.join("member/wal/1.wal"), [1; 100]).unwrap();
        fs::write(data.join("member/wal/2.wal"), [[2; 100], [0; 100]].concat()).unwrap();
        fs::write(data.join("member/wal/9.tmp"), [0; 100]).unwrap();
        let log = Log::Files { folder: "member/wal".into(), suffix: ".wal".into() };
        Disk::new(data, log)
    }

    #[tokio::test]
    async fn a_cut_takes_what_was_written_last_and_can_be_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let disk = foreign(dir.path());
        let lost = disk.cut(30).await.unwrap().unwrap();
        assert_eq!(lost, "30 bytes off the end of 2.wal");
        assert_eq!(fs::read(disk.data.join("member/wal/2.wal")).unwrap(), [2; 70]);
        assert_eq!(fs::read(disk.data.join("member/wal/1.wal")).unwrap(), [1; 100]);
        disk.put_back().unwrap();
        assert_eq!(fs::read(disk.data.join("member/wal/2.wal")).unwrap().len(), 200);
        // More than there is; then there is nothing.
        assert_eq!(disk.cut(300).await.unwrap().unwrap(), "100 bytes off the end of 2.wal");
        assert_eq!(disk.cut(300).await.unwrap(), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[tokio::test]
    async fn a_disk_is_rolled_back_to_its_copy_and_what_changed_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let disk = foreign(dir.path());
        let copied = disk.copy().await.unwrap();
        assert_eq!(copied, Extent { files: 4, bytes: 500 });
        assert_eq!(disk.roll_back().await.unwrap(), None, "nothing has changed");
        disk.copy().await.unwrap();
        fs::write(disk.data.join("member/db"), [[7; 100], [8; 100]].concat()).unwrap();
        fs::write(disk.data.join("member/new"), [5; 20]).unwrap();
        fs::remove_file(disk.data.join("member/wal/1.wal")).unwrap();
        let lost = disk.roll_back().await.unwrap().unwrap();
        assert_eq!(lost, "its disk is as it was, 220 bytes in 3 files changed");
        assert_eq!(fs::read(disk.data.join("member/db")).unwrap(), [7; 100]);
        assert!(!disk.data.join("member/new").exists() && disk.data.join("member/wal/1.wal").exists());
        disk.put_back().unwrap();
        assert!(disk.data.join("member/new").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(disk.roll_back().await.is_err(), "there is no copy");
    }

    #[tokio::test]
    async fn a_disk_stays_as_it_is_where_there_is_nothing_to_give_back_and_half_a_copy_goes() {
        let dir = tempfile::tempdir().unwrap();
        let disk = foreign(dir.path());
        assert!(disk.put_back().is_err(), "nothing was set aside");
        assert_eq!(fs::read(disk.data.join("member/db")).unwrap(), [7; 100]);
        assert!(copy(&dir.path().join("none"), &dir.path().join("copied")).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
