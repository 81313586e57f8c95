//! Real files whose unsynced part is in this process's memory alone: SIGKILL takes it, as a power loss would.
//!
//! Without this a killed process loses nothing that it has written, because the system's cache outlives it. Here what is
//! written reaches a file when that file is synced, and creations, renames and removals reach the folder, in order, when
//! the folder is. A new file is made in a folder of its own beside this one until then. All that was not synced is lost,
//! always: a real power loss may keep some of it.

use crate::disk::DiskFile;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The names in a folder.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    folder: PathBuf,
    /// Where files are whose names were not synced yet.
    nameless: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// As this process sees them.
    files: BTreeMap<String, Arc<Unsynced>>,
    /// What the folder does not know yet, oldest first.
    changes: VecDeque<Change>,
    made: u64,
}

#[derive(Debug)]
enum Change {
    Created { nameless: PathBuf, name: String },
    Renamed { from: String, to: String },
    Removed(String),
}

/// A file, and what it does not hold yet.
#[derive(Debug)]
pub struct Unsynced {
    file: File,
    writes: Mutex<Writes>,
}

#[derive(Debug)]
struct Writes {
    /// Oldest first.
    pending: Vec<Write>,
    /// As this process sees it.
    size: u64,
}

#[derive(Debug)]
enum Write {
    Bytes { offset: u64, bytes: Vec<u8> },
    Size(u64),
}

/// Nothing panics while it holds one of these locks, and what they guard is whole between two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("there is no file {name}"))
}

impl Names {
    /// Looks at what the folder holds durably. What an earlier process had not synced is gone.
    pub(crate) fn open(folder: &Path) -> io::Result<Names> {
        let mut beside = folder.as_os_str().to_owned();
        beside.push(".nameless");
        let nameless = PathBuf::from(beside);
        match std::fs::remove_dir_all(&nameless) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        std::fs::create_dir_all(&nameless)?;
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string()) {
                let file = File::options().read(true).write(true).open(entry.path())?;
                files.insert(name, Arc::new(Unsynced::new(file)?));
            }
        }
        let state = State { files, changes: VecDeque::new(), made: 0 };
        Ok(Names { folder: folder.to_owned(), nameless, state: Arc::new(Mutex::new(state)) })
    }

    pub(crate) fn names(&self) -> Vec<String> {
        lock(&self.state).files.keys().cloned().collect()
    }

    pub(crate) fn create(&self, name: &str) -> io::Result<Arc<Unsynced>> {
        let mut state = lock(&self.state);
        let nameless = self.nameless.join(state.made.to_string());
        let file = File::options().read(true).write(true).create_new(true).open(&nameless)?;
        let file = Arc::new(Unsynced::new(file)?);
        state.made += 1;
        state.files.insert(name.to_owned(), Arc::clone(&file));
        state.changes.push_back(Change::Created { nameless, name: name.to_owned() });
        Ok(file)
    }

    pub(crate) fn open_file(&self, name: &str) -> io::Result<Arc<Unsynced>> {
        lock(&self.state).files.get(name).cloned().ok_or_else(|| not_found(name))
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = lock(&self.state);
        let file = state.files.remove(from).ok_or_else(|| not_found(from))?;
        state.files.insert(to.to_owned(), file);
        state.changes.push_back(Change::Renamed { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.files.remove(name).ok_or_else(|| not_found(name))?;
        state.changes.push_back(Change::Removed(name.to_owned()));
        Ok(())
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        while let Some(change) = state.changes.front() {
            match change {
                Change::Created { nameless, name } => std::fs::rename(nameless, self.folder.join(name))?,
                Change::Renamed { from, to } => {
                    std::fs::rename(self.folder.join(from), self.folder.join(to))?;
                }
                Change::Removed(name) => std::fs::remove_file(self.folder.join(name))?,
            }
            state.changes.pop_front();
        }
        File::open(&self.folder)?.sync_all()
    }
}

impl Unsynced {
    fn new(file: File) -> io::Result<Unsynced> {
        let size = file.metadata()?.len();
        Ok(Unsynced { file, writes: Mutex::new(Writes { pending: Vec::new(), size }) })
    }

    fn write(&self, write: Write) {
        let mut writes = lock(&self.writes);
        writes.size = match &write {
            Write::Bytes { offset, bytes } => writes.size.max(offset + bytes.len() as u64),
            Write::Size(size) => *size,
        };
        writes.pending.push(write);
    }
}

impl DiskFile for Unsynced {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(Write::Bytes { offset, bytes: bytes.to_vec() });
        Ok(())
    }

    fn read_at(&self, offset: u64, length_max: usize) -> io::Result<Vec<u8>> {
        let writes = lock(&self.writes);
        let left = usize::try_from(writes.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut read = vec![0; length_max.min(left)];
        let held = usize::try_from(self.file.metadata()?.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let held = held.min(read.len());
        self.file.read_exact_at(&mut read[..held], offset)?;
        // Where in `read` a place of the file is, or its end if it lies behind.
        let length = read.len();
        let at = |place: u64| usize::try_from(place.saturating_sub(offset)).unwrap_or(usize::MAX).min(length);
        for write in &writes.pending {
            match write {
                Write::Size(size) => read[at(*size)..].fill(0),
                Write::Bytes { offset: from, bytes } => {
                    let place = at(*from)..at(from + bytes.len() as u64);
                    // It may begin before what is read.
                    let skipped = usize::try_from(offset.saturating_sub(*from)).unwrap_or(usize::MAX);
                    let count = place.len();
                    if count > 0 {
                        read[place].copy_from_slice(&bytes[skipped..skipped + count]);
                    }
                }
            }
        }
        Ok(read)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.writes).size)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.write(Write::Size(size));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut writes = lock(&self.writes);
        for write in writes.pending.drain(..) {
            match write {
                Write::Bytes { offset, bytes } => FileExt::write_all_at(&self.file, &bytes, offset)?,
                Write::Size(size) => self.file.set_len(size)?,
            }
        }
        self.file.sync_data()
    }
}
