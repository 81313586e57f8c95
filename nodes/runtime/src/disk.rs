//! Everything that the journal and the snapshot store do to a disk goes through here, so that a disk that
//! loses or damages what it holds can be put in its place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// One folder.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
}

/// One open file of it.
#[derive(Debug)]
pub(crate) struct DiskFile(File);

impl Disk {
    /// Makes the folder if it is not there.
    pub(crate) fn open(folder: &Path) -> io::Result<Disk> {
        std::fs::create_dir_all(folder)?;
        let disk = Disk { folder: folder.to_owned() };
        if let Some(parent) = folder.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(disk)
    }

    /// The full path of a file, for messages.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The names of all files, in order.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    }

    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        std::fs::read(self.path(name))
    }

    /// A new, empty file, in place of an older one of that name.
    pub(crate) fn create(&self, name: &str) -> io::Result<DiskFile> {
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(self.path(name))?;
        Ok(DiskFile(file))
    }

    pub(crate) fn open_file(&self, name: &str) -> io::Result<DiskFile> {
        Ok(DiskFile(File::options().read(true).write(true).open(self.path(name))?))
    }

    /// A file that refuses to be written: a disk that fails.
    #[cfg(test)]
    pub(crate) fn open_read_only(&self, name: &str) -> io::Result<DiskFile> {
        Ok(DiskFile(File::open(self.path(name))?))
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name))
    }

    /// Makes creations, renames and removals durable.
    pub(crate) fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

impl DiskFile {
    pub(crate) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    /// Up to `length_max` bytes from `offset` on; fewer at the end of the file.
    pub(crate) fn read_at(&self, offset: u64, length_max: usize) -> io::Result<Vec<u8>> {
        let left = self.size()?.saturating_sub(offset);
        let mut bytes = vec![0; length_max.min(usize::try_from(left).unwrap_or(usize::MAX))];
        self.0.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    pub(crate) fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    /// Cuts the file off, or extends it by zeroes.
    pub(crate) fn set_size(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    /// `fdatasync`: what was written can be read after a power loss.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
