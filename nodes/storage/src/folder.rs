//! Real files.

use crate::disk::{Disk, DiskFile};
use crate::fullness::Fullness;
use crate::unsynced::{Names, Unsynced};
use rand::TryRngCore;
use rand::rngs::OsRng;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder of a real file system.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// `None`: what is written outlives the process, synced or not.
    names: Option<Names>,
    fullness: Fullness,
}

/// A file of a [`Folder`].
#[derive(Debug)]
pub struct FolderFile {
    bytes: Bytes,
    fullness: Fullness,
}

#[derive(Debug)]
enum Bytes {
    /// What is written outlives the process, synced or not.
    Plain(File),
    /// What is not synced ends with the process.
    Unsynced(Arc<Unsynced>),
}

impl Folder {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn open(folder: &Path) -> io::Result<Folder> {
        std::fs::create_dir_all(folder)?;
        if let Some(parent) = folder.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Folder { path: folder.to_owned(), names: None, fullness: Fullness::default() })
    }

    /// The same, but whoever kills the process takes away what was not synced.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn open_losing_unsynced(folder: &Path) -> io::Result<Folder> {
        let plain = Folder::open(folder)?;
        Ok(Folder { names: Some(Names::open(folder)?), ..plain })
    }

    /// The same, on a disk that may be said to be full.
    #[must_use]
    pub fn on(self, fullness: Fullness) -> Folder {
        Folder { fullness, ..self }
    }

    fn file(&self, bytes: Bytes) -> FolderFile {
        FolderFile { bytes, fullness: self.fullness.clone() }
    }
}

impl Disk for Folder {
    type File = FolderFile;

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        if let Some(names) = &self.names {
            return Ok(names.names());
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        match &self.names {
            None => std::fs::read(self.path(name)),
            Some(names) => names.open_file(name)?.read_at(0, usize::MAX),
        }
    }

    fn create(&self, name: &str) -> io::Result<FolderFile> {
        self.fullness.admit()?;
        let bytes = match &self.names {
            None => {
                let mut options = File::options();
                options.read(true).write(true).create(true).truncate(true);
                options.open(self.path(name)).map(Bytes::Plain)
            }
            Some(names) => names.create(name).map(Bytes::Unsynced),
        };
        bytes.map(|bytes| self.file(bytes))
    }

    fn open_file(&self, name: &str) -> io::Result<FolderFile> {
        let bytes = match &self.names {
            None => File::options().read(true).write(true).open(self.path(name)).map(Bytes::Plain),
            Some(names) => names.open_file(name).map(Bytes::Unsynced),
        };
        bytes.map(|bytes| self.file(bytes))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        match &self.names {
            None => std::fs::rename(self.path(from), self.path(to)),
            Some(names) => names.rename(from, to),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match &self.names {
            None => std::fs::remove_file(self.path(name)),
            Some(names) => names.remove(name),
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        match &self.names {
            None => File::open(&self.path)?.sync_all(),
            Some(names) => names.sync(),
        }
    }

    fn chance(&self) -> io::Result<[u8; 8]> {
        let mut bytes = [0; 8];
        OsRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
        Ok(bytes)
    }
}

impl DiskFile for FolderFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.fullness.admit()?;
        match &self.bytes {
            Bytes::Plain(file) => FileExt::write_all_at(file, bytes, offset),
            Bytes::Unsynced(file) => file.write_all_at(bytes, offset),
        }
    }

    fn read_at(&self, offset: u64, length_max: usize) -> io::Result<Vec<u8>> {
        match &self.bytes {
            Bytes::Plain(file) => {
                let left = self.size()?.saturating_sub(offset);
                let mut bytes = vec![0; length_max.min(usize::try_from(left).unwrap_or(usize::MAX))];
                file.read_exact_at(&mut bytes, offset)?;
                Ok(bytes)
            }
            Bytes::Unsynced(file) => file.read_at(offset, length_max),
        }
    }

    fn size(&self) -> io::Result<u64> {
        match &self.bytes {
            Bytes::Plain(file) => Ok(file.metadata()?.len()),
            Bytes::Unsynced(file) => file.size(),
        }
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        match &self.bytes {
            Bytes::Plain(file) => file.set_len(size),
            Bytes::Unsynced(file) => file.set_size(size),
        }
    }

    fn sync(&self) -> io::Result<()> {
        match &self.bytes {
            Bytes::Plain(file) => file.sync_data(),
            Bytes::Unsynced(file) => file.sync(),
        }
    }
}

#[cfg(test)]
mod tests;
