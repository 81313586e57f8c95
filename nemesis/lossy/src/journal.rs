//! Changes of names and modes that are not durable, and how they become so: all at once, in order.

use crate::tree::Ino;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Paths are as they are when all changes before this one are done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Made { ino: Ino, path: PathBuf },
    Folder { path: PathBuf },
    Link { path: PathBuf, target: OsString },
    Linked { from: PathBuf, to: PathBuf },
    Renamed { from: PathBuf, to: PathBuf },
    Removed { path: PathBuf },
    RemovedFolder { path: PathBuf },
    Mode { path: PathBuf, mode: u32 },
    Owner { path: PathBuf, uid: u32, gid: u32 },
}

/// Whom a change concerns: whose sync makes it durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Concern {
    /// fsync does, fdatasync may leave it: the data can be read without it.
    Attributes,
    /// Both do.
    Data,
}

/// What is not durable.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) changes: VecDeque<Change>,
    pub(crate) concerns: BTreeMap<Ino, Concern>,
}

impl Journal {
    pub(crate) fn add(&mut self, change: Change) {
        self.changes.push_back(change);
    }

    pub(crate) fn concern(&mut self, ino: Ino, concern: Concern) {
        let known = self.concerns.entry(ino).or_insert(concern);
        *known = concern.max(*known);
    }
}

impl Change {
    /// Does it below `root`; the file, if it made one.
    pub(crate) fn apply(&self, root: &Path) -> io::Result<Option<(Ino, File)>> {
        match self {
            Change::Made { ino, path } => {
                let mut options = File::options();
                options.read(true).write(true).create_new(true).mode(0o600);
                return Ok(Some((*ino, options.open(root.join(path))?)));
            }
            Change::Folder { path } => std::fs::create_dir(root.join(path))?,
            Change::Link { path, target } => std::os::unix::fs::symlink(target, root.join(path))?,
            Change::Linked { from, to } => std::fs::hard_link(root.join(from), root.join(to))?,
            Change::Renamed { from, to } => std::fs::rename(root.join(from), root.join(to))?,
            Change::Removed { path } => std::fs::remove_file(root.join(path))?,
            Change::RemovedFolder { path } => std::fs::remove_dir(root.join(path))?,
            Change::Mode { path, mode } => {
                std::fs::set_permissions(root.join(path), Permissions::from_mode(*mode))?;
            }
            Change::Owner { path, uid, gid } => {
                match std::os::unix::fs::lchown(root.join(path), Some(*uid), Some(*gid)) {
                    // Who is not root has one owner for everything.
                    Err(error) if error.kind() != ErrorKind::PermissionDenied => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    /// Whether it is one of names, and not of what comes with them.
    pub(crate) fn is_of_names(&self) -> bool {
        !matches!(self, Change::Mode { .. } | Change::Owner { .. })
    }
}
