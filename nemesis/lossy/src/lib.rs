//! A file system that can lose what was not synced, under programs that are not ours.
//!
//! A killed program loses nothing that it has written, because the kernel's cache outlives it; a machine that loses its power does. A
//! [`Layer`] is mounted (FUSE) where a program keeps its data. What it writes stays in the layer's memory until it asks for it to be
//! durable; only then it reaches the *backing* folder. [`Layer::lose`] drops the rest, all of it, and says how much that was.
//!
//! **What is lost** is what ext4 may lose with its defaults (`data=ordered`, delayed allocation, `auto_da_alloc`, no fast commits), and the
//! most that it may lose, but never more, so that nobody is accused of what cannot happen:
//!
//! - There is one journal for all names, modes, owners and sizes that were set (truncate, fallocate); it becomes durable as a whole and in
//!   order, so names are never lost out of order. A sync commits it if a change in it concerns what is synced: fsync of a folder whose
//!   names changed, fsync or fdatasync of a file that was made or whose size was set, fsync of a file that was renamed or linked.
//!   A sync that finds no such change leaves it (`ext4_fsync_journal` waits for the inode's own transaction only).
//! - A file's bytes become durable when that file is synced, or written with O_DSYNC. If they need new blocks (the file grew), that commits
//!   the journal, too. Bytes written and not synced are not on disk when the journal is committed for somebody else: the file is
//!   as short as it was, or has zeros where its size was set before.
//! - A file that is renamed over another, or closed after it was cut to nothing, has its bytes go with the journal
//!   (`auto_da_alloc`; ext4(5)). So have those of a file in which a hole was punched.
//! - Times other than now are forgotten. Extended attributes, sockets and pipes there are none.
//!
//! A real power loss may keep some of that, and tears writes; this one keeps nothing, so torn writes are not its affair. Nothing becomes
//! durable by itself after a while, as it does in a kernel (5 s and 30 s by default), except when too much is pending (256 MiB).
//! sync(2) and syncfs(2) do not reach a FUSE file system that is served by a program: who relies on them loses more than he
//! would on a disk.
//!
//! Sources: Pillai et al., *All File Systems Are Not Created Equal* (ALICE, OSDI 2014); Mohan et al., *Finding Crash-Consistency Bugs with
//! Bounded Black-Box Crash Testing* (CrashMonkey, OSDI 2018); Ramos et al., *When Amnesia Strikes* (LazyFS, VLDB 2024), which loses
//! data of files only; fsync(2), ext4(5), `fs/ext4/fsync.c` and `fs/ext4/namei.c` of Linux.
//!
//! | file | concept |
//! |---|---|
//! | `tree.rs` | what programs see, what of it is durable, what a sync does |
//! | `content.rs` | a file's bytes, on disk and over that |
//! | `journal.rs` | changes of names that are not durable, and how they become so |
//! | `fuse.rs` | what the kernel asks |
//! | `mounts.rs` | what is mounted, and taking it away |

mod content;
mod fuse;
mod journal;
pub mod mounts;
mod tree;

use crate::fuse::Served;
use crate::tree::Tree;
use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Requests that are answered at a time: those that wait for a disk do not hold up the others.
const THREADS: usize = 4;

/// What was not durable and is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Changes of names: made, renamed, removed.
    pub names: u64,
    /// Files that have lost bytes, or a size that was set.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl Lost {
    /// Everything was durable.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Lost::default()
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nothing() {
            return f.write_str("nothing was unsynced");
        }
        let Lost { names, files, bytes } = self;
        let s = |n: &u64| if *n == 1 { "" } else { "s" };
        if *files > 0 {
            write!(f, "{files} file{} lost {bytes} byte{} not synced", s(files), s(bytes))?;
        }
        if *names > 0 {
            let comma = if *files > 0 { ", " } else { "" };
            write!(f, "{comma}{names} change{} of names undone", s(names))?;
        }
        Ok(())
    }
}

/// A mounted file system; unmounted when it is dropped.
#[derive(Debug)]
pub struct Layer {
    served: Served,
    session: Option<BackgroundSession>,
    at: PathBuf,
}

impl Layer {
    /// Mounts what is in `backing` at `at`; both are folders, and nothing is mounted there yet.
    ///
    /// # Errors
    /// If it cannot be read or mounted: no /dev/fuse, no right to mount.
    pub fn mount(backing: &Path, at: &Path) -> io::Result<Layer> {
        let at = at.canonicalize()?;
        let served = Served::new(Tree::load(backing.canonicalize()?)?);
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName(mounts::SOURCE.into()), MountOption::DefaultPermissions];
        // Root mounts what programs of other users may use.
        config.acl = if rustix::process::geteuid().is_root() { SessionACL::All } else { SessionACL::Owner };
        config.n_threads = Some(THREADS);
        let session = Session::new(served.clone(), &at, &config)?.spawn()?;
        Ok(Layer { served, session: Some(session), at })
    }

    /// The power goes: nothing becomes durable from now on, and who asks for it waits for [`Layer::lose`]. What would be lost now.
    pub fn cut(&self) -> Lost {
        self.served.cut()
    }

    /// The power is there. If it had not gone yet, who waits for durability has it now.
    pub fn mend(&self) {
        self.served.mend();
    }

    /// Drops all that is not durable, and goes on with what is left. Nobody may have files open that he wants to use still. After a
    /// [`Layer::cut`] nothing can be changed until the power is back ([`Layer::mend`]): who had it may not be dead yet.
    ///
    /// # Errors
    /// If what is left cannot be read.
    pub fn lose(&self) -> io::Result<Lost> {
        self.served.lose()
    }

    /// What would be lost now.
    #[must_use]
    pub fn pending(&self) -> Lost {
        self.served.pending()
    }

    /// Makes everything durable, and unmounts.
    ///
    /// # Errors
    /// If something cannot be written to the backing folder; it is unmounted all the same, or that it cannot be.
    pub fn end(mut self) -> io::Result<()> {
        let synced = self.served.sync_all();
        self.unmount()?;
        synced
    }

    fn unmount(&mut self) -> io::Result<()> {
        let Some(session) = self.session.take() else { return Ok(()) };
        match session.umount_and_join() {
            Ok(()) => {}
            // Somebody uses it still.
            Err(_) if mounts::is_mounted(&self.at)? => mounts::detach(&self.at)?,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        // Nobody hears of it; what is left is taken away before the next run.
        drop(self.unmount());
    }
}
