//! What the kernel asks of the layer.

use crate::Lost;
use crate::tree::{Allocate, Kind, Maker, Node, Place, ROOT, Tree, errno};
use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use rustix::fs::{FallocateFlags, OFlags};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Names are asked for each time: what they mean changes when something is lost.
const NAMES_VALID: Duration = Duration::ZERO;
/// A number means the same file for ever, and all changes come through the kernel.
const ATTRIBUTES_VALID: Duration = Duration::from_secs(1);
/// An open leaves the kernel's pages as they are. Were they read again, what a write in flight has put there would be lost to readers and
/// maps: the answer to such a read may be older than the write.
const CACHED: FopenFlags = FopenFlags::FOPEN_KEEP_CACHE;
const BLOCK_BYTES: u32 = 4096;

/// Clones are the same file system.
#[derive(Debug, Clone)]
pub(crate) struct Served(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    tree: Tree,
    power: Power,
    waiting: Vec<Waiting>,
    /// Folders that are being read: numbers, kinds and names as they were when that began.
    reading: BTreeMap<u64, Vec<(u64, FileType, OsString)>>,
    last_handle: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    /// Nothing becomes durable any more; who asks for it waits for the loss.
    Going,
    /// It was lost. Who had it is being killed, and changes nothing any more.
    Off,
}

/// Who waits for this to be durable.
#[derive(Debug)]
struct Waiting {
    ino: u64,
    only_data: bool,
    reply: Reply,
}

#[derive(Debug)]
enum Reply {
    Sync(ReplyEmpty),
    Write(ReplyWrite, u32),
}

impl Reply {
    fn answer(self, done: Result<(), rustix::io::Errno>) {
        match (self, done) {
            (Reply::Sync(reply), done) => answer(reply, done),
            (Reply::Write(reply, length), Ok(())) => reply.written(length),
            (Reply::Write(reply, _), Err(error)) => reply.error(to_fuse(error)),
        }
    }
}

impl Served {
    pub(crate) fn new(tree: Tree) -> Served {
        Served(Arc::new(Mutex::new(State {
            tree,
            power: Power::On,
            waiting: Vec::new(),
            reading: BTreeMap::new(),
            last_handle: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A request that panicked has not been answered; the others still can be.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power goes: from now on nothing becomes durable.
    pub(crate) fn cut(&self) -> Lost {
        let mut state = self.state();
        state.power = Power::Going;
        state.tree.writes_back = false;
        state.tree.pending()
    }

    /// Drops all that is not durable, and goes on with what is left.
    pub(crate) fn lose(&self) -> io::Result<Lost> {
        let mut state = self.state();
        let lost = state.tree.lose();
        if state.power == Power::Going {
            state.power = Power::Off;
        }
        for Waiting { reply, .. } in std::mem::take(&mut state.waiting) {
            reply.answer(Err(rustix::io::Errno::IO));
        }
        lost
    }

    /// The power is there. If it had not gone yet, who waits has what he waits for.
    pub(crate) fn mend(&self) {
        let mut state = self.state();
        state.power = Power::On;
        state.tree.writes_back = true;
        for Waiting { ino, only_data, reply } in std::mem::take(&mut state.waiting) {
            reply.answer(state.tree.sync(ino, only_data).map(drop));
        }
    }

    pub(crate) fn pending(&self) -> Lost {
        self.state().tree.pending()
    }

    /// Makes everything durable.
    pub(crate) fn sync_all(&self) -> io::Result<()> {
        self.state().tree.sync_all()
    }

    fn entry(
        &self,
        found: impl FnOnce(&mut Tree) -> Result<u64, rustix::io::Errno>,
    ) -> Result<FileAttr, rustix::io::Errno> {
        self.change(|tree| {
            let ino = found(tree)?;
            let attr = attr(ino, tree.node(ino)?);
            tree.looked_up(ino);
            Ok(attr)
        })
    }

    /// For a change; nobody makes one without power.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Tree) -> Result<T, rustix::io::Errno>,
    ) -> Result<T, rustix::io::Errno> {
        let mut state = self.state();
        if state.power == Power::Off { Err(rustix::io::Errno::IO) } else { change(&mut state.tree) }
    }

    fn sync(&self, waiting: Waiting) {
        let mut state = self.state();
        match state.power {
            Power::On => {}
            Power::Going => {
                state.waiting.push(waiting);
                return;
            }
            Power::Off => {
                waiting.reply.answer(Err(rustix::io::Errno::IO));
                return;
            }
        }
        let synced = state.tree.sync(waiting.ino, waiting.only_data);
        drop(state);
        // The disk takes its time, and others do not wait for it.
        let for_real = |file: Option<Arc<File>>| file.map_or(Ok(()), |file| file.sync_data());
        waiting.reply.answer(synced.and_then(|file| for_real(file).map_err(|error| errno(&error))));
    }
}

fn answer_entry(reply: ReplyEntry, entry: Result<FileAttr, rustix::io::Errno>) {
    match entry {
        Ok(attr) => reply.entry(&NAMES_VALID, &attr, Generation(0)),
        Err(error) => reply.error(to_fuse(error)),
    }
}

fn answer(reply: ReplyEmpty, done: Result<(), rustix::io::Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(to_fuse(error)),
    }
}

fn to_fuse(error: rustix::io::Errno) -> Errno {
    Errno::from_i32(error.raw_os_error())
}

fn kind(node: &Node) -> FileType {
    match node.kind {
        Kind::File(_) => FileType::RegularFile,
        Kind::Folder { .. } => FileType::Directory,
        Kind::Link(_) => FileType::Symlink,
    }
}

fn attr(ino: u64, node: &Node) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size: node.size(),
        blocks: node.size().div_ceil(512),
        atime: node.read,
        mtime: node.written,
        ctime: node.changed,
        crtime: SystemTime::UNIX_EPOCH,
        kind: kind(node),
        perm: u16::try_from(node.mode & 0o7777).expect("twelve bits"),
        nlink: node.links,
        uid: node.uid,
        gid: node.gid,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

fn at(folder: INodeNo, name: &OsStr) -> Place<'_> {
    Place { folder: folder.0, name }
}

fn by(request: &Request, mode: u32) -> Maker {
    Maker { mode: mode & 0o7777, uid: request.uid(), gid: request.gid() }
}

fn time(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

impl Filesystem for Served {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // For the same reason a size that was asked for does not have pages read again. Kernels before 5.2 cannot promise it.
        config.add_capabilities(InitFlags::FUSE_EXPLICIT_INVAL_DATA).ok();
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer_entry(reply, self.entry(|tree| tree.find(at(parent, name))));
    }

    fn forget(&self, _: &Request, ino: INodeNo, lookups: u64) {
        self.state().tree.forget(ino.0, lookups);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.state().tree.node(ino.0) {
            Ok(node) => reply.attr(&ATTRIBUTES_VALID, &attr(ino.0, node)),
            Err(error) => reply.error(to_fuse(error)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = self.change(|tree| {
            if let Some(size) = size {
                tree.set_size(ino.0, size)?;
            }
            if let Some(mode) = mode {
                tree.set_mode(ino.0, mode & 0o7777)?;
            }
            if uid.is_some() || gid.is_some() {
                tree.set_owner(ino.0, uid, gid)?;
            }
            if atime.is_some() || mtime.is_some() {
                tree.set_times(ino.0, atime.map(time), mtime.map(time))?;
            }
            tree.node(ino.0).map(|node| attr(ino.0, node))
        });
        match set {
            Ok(attr) => reply.attr(&ATTRIBUTES_VALID, &attr),
            Err(error) => reply.error(to_fuse(error)),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.state().tree.node(ino.0).map(|node| &node.kind) {
            Ok(Kind::Link(target)) => reply.data(target.as_bytes()),
            Ok(Kind::File(_) | Kind::Folder { .. }) => reply.error(Errno::EINVAL),
            Err(error) => reply.error(to_fuse(error)),
        }
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let maker = by(request, mode);
        answer_entry(reply, self.entry(|tree| tree.make_folder(at(parent, name), maker)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.change(|tree| tree.unlink(at(parent, name))));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.change(|tree| tree.remove_folder(at(parent, name))));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let maker = by(request, 0o777);
        answer_entry(reply, self.entry(|tree| tree.make_link(at(parent, name), maker, target.as_os_str())));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = (at(parent, name), at(new_parent, new_name));
        let renamed = self.change(|tree| {
            if flags == RenameFlags::RENAME_NOREPLACE && tree.find(to).is_ok() {
                Err(rustix::io::Errno::EXIST)
            } else if (flags - RenameFlags::RENAME_NOREPLACE).is_empty() {
                tree.rename(from, to)
            } else {
                Err(rustix::io::Errno::INVAL)
            }
        });
        answer(reply, renamed);
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer_entry(reply, self.entry(|tree| tree.link(ino.0, at(parent, name)).map(|()| ino.0)));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let maker = by(request, mode);
        match self.entry(|tree| tree.create(at(parent, name), maker)) {
            Ok(attr) => {
                reply.created(&NAMES_VALID, &attr, Generation(0), FileHandle(0), CACHED);
            }
            Err(error) => reply.error(to_fuse(error)),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.state().tree.node(ino.0) {
            Ok(_) => reply.opened(FileHandle(0), CACHED),
            Err(error) => reply.error(to_fuse(error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.state().tree.read(ino.0, offset, size as usize);
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(to_fuse(error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let flags = OFlags::from_bits_retain(flags.0.cast_unsigned());
        let written = self.change(|tree| tree.write(ino.0, offset, data));
        let reply = Reply::Write(reply, u32::try_from(data.len()).expect("at most 16 MiB"));
        if written.is_ok() && flags.contains(OFlags::DSYNC) {
            self.sync(Waiting { ino: ino.0, only_data: !flags.contains(OFlags::SYNC), reply });
        } else {
            reply.answer(written);
        }
    }

    /// Once for each close(2), which waits for it.
    fn flush(&self, _: &Request, ino: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.state().tree.closed(ino.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, datasync: bool, reply: ReplyEmpty) {
        self.sync(Waiting { ino: ino.0, only_data: datasync, reply: Reply::Sync(reply) });
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, datasync: bool, reply: ReplyEmpty) {
        self.sync(Waiting { ino: ino.0, only_data: datasync, reply: Reply::Sync(reply) });
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let (keep, punch, zero) =
            (FallocateFlags::KEEP_SIZE, FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE);
        let mode = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        let what = if mode.is_empty() {
            Allocate::Extend
        } else if mode == keep {
            Allocate::Reserve
        } else if mode == zero {
            Allocate::Zero
        } else if mode == punch | keep || mode == zero | keep {
            Allocate::Punch
        } else {
            reply.error(Errno::EOPNOTSUPP);
            return;
        };
        answer(reply, self.change(|tree| tree.allocate(ino.0, offset, length, what)));
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let mut state = self.state();
        let tree = &state.tree;
        let listed = tree.entries(ino.0).map(|entries| {
            let fixed = [(ino.0, "."), (tree.parent(ino.0), "..")];
            let fixed = fixed.map(|(ino, name)| (ino, FileType::Directory, OsString::from(name)));
            let named = entries
                .iter()
                .filter_map(|(name, ino)| Some((*ino, kind(tree.node(*ino).ok()?), name.clone())));
            fixed.into_iter().chain(named).collect::<Vec<_>>()
        });
        match listed {
            Ok(listed) => {
                state.last_handle += 1;
                let handle = state.last_handle;
                state.reading.insert(handle, listed);
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(error) => reply.error(to_fuse(error)),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let state = self.state();
        let Some(listed) = state.reading.get(&handle.0) else {
            reply.error(Errno::EBADF);
            return;
        };
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for (n, (ino, kind, name)) in listed.iter().enumerate().skip(skip) {
            if reply.add(INodeNo(*ino), n as u64 + 1, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.state().reading.remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let backing = self.state().tree.backing().to_owned();
        match rustix::fs::statvfs(&backing) {
            Ok(disk) => reply.statfs(
                disk.f_blocks,
                disk.f_bfree,
                disk.f_bavail,
                disk.f_files,
                disk.f_ffree,
                u32::try_from(disk.f_bsize).unwrap_or(BLOCK_BYTES),
                u32::try_from(disk.f_namemax).unwrap_or(255),
                u32::try_from(disk.f_frsize).unwrap_or(BLOCK_BYTES),
            ),
            Err(error) => reply.error(to_fuse(error)),
        }
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }
}

/// The number of what is mounted, for the kernel.
const _: () = assert!(ROOT == INodeNo::ROOT.0, "the kernel begins with this number");
