//! The file system as programs see it, what of it is durable, and how that is lost.

use crate::Lost;
use crate::content::Content;
use crate::journal::{Change, Concern, Journal};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// A file's or folder's number; never given twice, so that the kernel cannot take what was lost for what is there.
pub(crate) type Ino = u64;
/// The folder that is mounted.
pub(crate) const ROOT: Ino = 1;

/// When so much is in memory only, all of it is written back, as a kernel does that has too little memory.
const PENDING_BYTES_MAX: u64 = 256 << 20;
const CHANGES_MAX: usize = 100_000;

/// One file, folder or symbolic link.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Permissions, without the type.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Names of it.
    pub(crate) links: u32,
    /// How often the kernel was told of it and has not forgotten.
    lookups: u64,
    pub(crate) read: SystemTime,
    pub(crate) written: SystemTime,
    pub(crate) changed: SystemTime,
}

#[derive(Debug)]
pub(crate) enum Kind {
    File(Content),
    Folder { parent: Ino, name: OsString, entries: BTreeMap<OsString, Ino> },
    Link(OsString),
}

/// Who makes something, and what others may do with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Maker {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A name in a folder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) folder: Ino,
    pub(crate) name: &'a OsStr,
}

/// What fallocate(2) is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allocate {
    /// Make the file so long at least.
    Extend,
    /// Have blocks ready, and the file as long as it is.
    Reserve,
    /// Put zeros there, and make the file longer if that is beyond its end.
    Zero,
    /// Put zeros there, up to the file's end.
    Punch,
}

#[derive(Debug)]
pub(crate) struct Tree {
    backing: PathBuf,
    nodes: BTreeMap<Ino, Node>,
    last: Ino,
    journal: Journal,
    /// Written since it was last counted how much is pending.
    written_bytes: u64,
    /// Whether too much is written back; not while the power goes.
    pub(crate) writes_back: bool,
}

impl Tree {
    /// What is in this folder.
    pub(crate) fn load(backing: PathBuf) -> io::Result<Tree> {
        let mut tree = Tree::empty(backing, ROOT);
        tree.read_backing()?;
        Ok(tree)
    }

    /// Not even the folder that is mounted; numbers up to `last` were given.
    fn empty(backing: PathBuf, last: Ino) -> Tree {
        Tree {
            backing,
            nodes: BTreeMap::new(),
            last,
            journal: Journal::default(),
            written_bytes: 0,
            writes_back: true,
        }
    }

    fn read_backing(&mut self) -> io::Result<()> {
        let root = Kind::Folder { parent: ROOT, name: OsString::new(), entries: BTreeMap::new() };
        self.nodes.insert(ROOT, Node::on_disk(root, &std::fs::metadata(&self.backing)?, 2)?);
        let mut folders = vec![(ROOT, self.backing.clone())];
        let mut linked = BTreeMap::new();
        while let Some((parent, path)) = folders.pop() {
            for entry in std::fs::read_dir(&path)? {
                let entry = entry?;
                let (name, path, metadata) = (entry.file_name(), entry.path(), entry.metadata()?);
                if metadata.is_file()
                    && let Some(ino) = linked.get(&(metadata.dev(), metadata.ino())).copied()
                {
                    self.nodes.get_mut(&ino).expect("it was loaded").links += 1;
                    self.entries_mut(parent)?.insert(name, ino);
                    continue;
                }
                let (kind, links) = if metadata.is_dir() {
                    (Kind::Folder { parent, name: name.clone(), entries: BTreeMap::new() }, 2)
                } else if metadata.is_file() {
                    let opened = File::options().read(true).write(true).open(&path);
                    let file = opened.or_else(|_| File::open(&path))?;
                    (Kind::File(Content::durable(Arc::new(file), metadata.len())), 1)
                } else if metadata.is_symlink() {
                    (Kind::Link(std::fs::read_link(&path)?.into_os_string()), 1)
                } else {
                    // Sockets and the like have nothing on disk.
                    continue;
                };
                let ino = self.number();
                if metadata.is_dir() {
                    folders.push((ino, path));
                } else if metadata.is_file() && metadata.nlink() > 1 {
                    linked.insert((metadata.dev(), metadata.ino()), ino);
                }
                self.nodes.insert(ino, Node::on_disk(kind, &metadata, links)?);
                self.entries_mut(parent)?.insert(name, ino);
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Ino {
        self.last += 1;
        self.last
    }

    pub(crate) fn node(&self, ino: Ino) -> Result<&Node, Errno> {
        self.nodes.get(&ino).ok_or(Errno::STALE)
    }

    fn node_mut(&mut self, ino: Ino) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&ino).ok_or(Errno::STALE)
    }

    pub(crate) fn entries(&self, folder: Ino) -> Result<&BTreeMap<OsString, Ino>, Errno> {
        match &self.node(folder)?.kind {
            Kind::Folder { entries, .. } => Ok(entries),
            Kind::File(_) | Kind::Link(_) => Err(Errno::NOTDIR),
        }
    }

    fn entries_mut(&mut self, folder: Ino) -> Result<&mut BTreeMap<OsString, Ino>, Errno> {
        match &mut self.node_mut(folder)?.kind {
            Kind::Folder { entries, .. } => Ok(entries),
            Kind::File(_) | Kind::Link(_) => Err(Errno::NOTDIR),
        }
    }

    fn content(&self, ino: Ino) -> Result<&Content, Errno> {
        match &self.node(ino)?.kind {
            Kind::File(content) => Ok(content),
            Kind::Folder { .. } => Err(Errno::ISDIR),
            Kind::Link(_) => Err(Errno::INVAL),
        }
    }

    fn content_mut(&mut self, ino: Ino) -> Result<&mut Content, Errno> {
        match &mut self.node_mut(ino)?.kind {
            Kind::File(content) => Ok(content),
            Kind::Folder { .. } => Err(Errno::ISDIR),
            Kind::Link(_) => Err(Errno::INVAL),
        }
    }

    pub(crate) fn parent(&self, folder: Ino) -> Ino {
        match self.nodes.get(&folder).map(|node| &node.kind) {
            Some(Kind::Folder { parent, .. }) => *parent,
            _ => ROOT,
        }
    }

    pub(crate) fn find(&self, place: Place<'_>) -> Result<Ino, Errno> {
        self.entries(place.folder)?.get(place.name).copied().ok_or(Errno::NOENT)
    }

    /// The kernel was told of it once more.
    pub(crate) fn looked_up(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.lookups += 1;
        }
    }

    pub(crate) fn forget(&mut self, ino: Ino, lookups: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.lookups = node.lookups.saturating_sub(lookups);
            self.drop_if_unused(ino);
        }
    }

    fn drop_if_unused(&mut self, ino: Ino) {
        if self.nodes.get(&ino).is_some_and(|node| node.links == 0 && node.lookups == 0) {
            self.nodes.remove(&ino);
        }
    }

    /// Below the root, as programs see it now.
    fn path(&self, place: Place<'_>) -> Result<PathBuf, Errno> {
        let mut names = vec![place.name.to_owned()];
        let mut at = place.folder;
        while at != ROOT {
            let Kind::Folder { parent, name, .. } = &self.node(at)?.kind else { return Err(Errno::NOTDIR) };
            names.push(name.clone());
            at = *parent;
        }
        Ok(names.into_iter().rev().collect())
    }

    /// One of its paths; `None` if it has none any more.
    fn path_of(&self, ino: Ino) -> Result<Option<PathBuf>, Errno> {
        if ino == ROOT {
            return Ok(Some(PathBuf::new()));
        }
        if let Kind::Folder { parent, name, .. } = &self.node(ino)?.kind {
            return self.path(Place { folder: *parent, name }).map(Some);
        }
        for (folder, node) in &self.nodes {
            if let Kind::Folder { entries, .. } = &node.kind
                && let Some((name, _)) = entries.iter().find(|(_, at)| **at == ino)
            {
                return self.path(Place { folder: *folder, name }).map(Some);
            }
        }
        Ok(None)
    }

    fn make(&mut self, place: Place<'_>, maker: Maker, kind: Kind) -> Result<(Ino, PathBuf), Errno> {
        if self.entries(place.folder)?.contains_key(place.name) {
            return Err(Errno::EXIST);
        }
        // Its folder was removed, and is held by somebody still.
        if self.node(place.folder)?.links == 0 {
            return Err(Errno::NOENT);
        }
        let path = self.path(place)?;
        let ino = self.number();
        let links = if matches!(kind, Kind::Folder { .. }) { 2 } else { 1 };
        let now = SystemTime::now();
        let Maker { mode, uid, gid } = maker;
        let node = Node { kind, mode, uid, gid, links, lookups: 0, read: now, written: now, changed: now };
        self.nodes.insert(ino, node);
        self.entries_mut(place.folder)?.insert(place.name.to_owned(), ino);
        self.name_changed(place.folder);
        self.journal.concern(ino, Concern::Data);
        Ok((ino, path))
    }

    /// Says so of a new one, once what makes it is in the journal.
    fn own(&mut self, path: PathBuf, maker: Maker) {
        let Maker { mode, uid, gid } = maker;
        self.journal.add(Change::Mode { path: path.clone(), mode });
        if (uid, gid) != (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()) {
            self.journal.add(Change::Owner { path, uid, gid });
        }
    }

    fn name_changed(&mut self, folder: Ino) {
        self.journal.concern(folder, Concern::Data);
        if let Some(node) = self.nodes.get_mut(&folder) {
            node.written = SystemTime::now();
            node.changed = node.written;
        }
    }

    pub(crate) fn create(&mut self, place: Place<'_>, maker: Maker) -> Result<Ino, Errno> {
        let (ino, path) = self.make(place, maker, Kind::File(Content::default()))?;
        self.journal.add(Change::Made { ino, path: path.clone() });
        self.own(path, maker);
        self.bound()?;
        Ok(ino)
    }

    pub(crate) fn make_folder(&mut self, place: Place<'_>, maker: Maker) -> Result<Ino, Errno> {
        let kind =
            Kind::Folder { parent: place.folder, name: place.name.to_owned(), entries: BTreeMap::new() };
        let (ino, path) = self.make(place, maker, kind)?;
        self.journal.add(Change::Folder { path: path.clone() });
        self.own(path, maker);
        Ok(ino)
    }

    pub(crate) fn make_link(&mut self, place: Place<'_>, maker: Maker, target: &OsStr) -> Result<Ino, Errno> {
        let (ino, path) = self.make(place, maker, Kind::Link(target.to_owned()))?;
        self.journal.add(Change::Link { path, target: target.to_owned() });
        Ok(ino)
    }

    /// One more name for a file.
    pub(crate) fn link(&mut self, ino: Ino, place: Place<'_>) -> Result<(), Errno> {
        if matches!(self.node(ino)?.kind, Kind::Folder { .. }) {
            return Err(Errno::PERM);
        }
        if self.entries(place.folder)?.contains_key(place.name) {
            return Err(Errno::EXIST);
        }
        let from = self.path_of(ino)?.ok_or(Errno::NOENT)?;
        let to = self.path(place)?;
        self.entries_mut(place.folder)?.insert(place.name.to_owned(), ino);
        let node = self.node_mut(ino)?;
        node.links += 1;
        node.changed = SystemTime::now();
        self.journal.add(Change::Linked { from, to });
        self.name_changed(place.folder);
        self.journal.concern(ino, Concern::Attributes);
        Ok(())
    }

    pub(crate) fn unlink(&mut self, place: Place<'_>) -> Result<(), Errno> {
        let ino = self.find(place)?;
        if matches!(self.node(ino)?.kind, Kind::Folder { .. }) {
            return Err(Errno::ISDIR);
        }
        self.journal.add(Change::Removed { path: self.path(place)? });
        self.take_name(place, ino)
    }

    pub(crate) fn remove_folder(&mut self, place: Place<'_>) -> Result<(), Errno> {
        let ino = self.find(place)?;
        if !self.entries(ino)?.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.journal.add(Change::RemovedFolder { path: self.path(place)? });
        self.take_name(place, ino)
    }

    fn take_name(&mut self, place: Place<'_>, ino: Ino) -> Result<(), Errno> {
        self.entries_mut(place.folder)?.remove(place.name);
        let node = self.node_mut(ino)?;
        node.links = if matches!(node.kind, Kind::Folder { .. }) { 0 } else { node.links - 1 };
        node.changed = SystemTime::now();
        self.name_changed(place.folder);
        self.journal.concern(ino, Concern::Attributes);
        self.drop_if_unused(ino);
        Ok(())
    }

    /// Renames, over what has the new name.
    pub(crate) fn rename(&mut self, from: Place<'_>, to: Place<'_>) -> Result<(), Errno> {
        let ino = self.find(from)?;
        let is_folder = matches!(self.node(ino)?.kind, Kind::Folder { .. });
        let (from_path, to_path) = (self.path(from)?, self.path(to)?);
        if let Ok(old) = self.find(to) {
            if old == ino {
                return Ok(());
            }
            match (&self.node(old)?.kind, is_folder) {
                (Kind::Folder { entries, .. }, true) if !entries.is_empty() => return Err(Errno::NOTEMPTY),
                (Kind::Folder { .. }, false) => return Err(Errno::ISDIR),
                (Kind::File(_) | Kind::Link(_), true) => return Err(Errno::NOTDIR),
                _ => {}
            }
            // ext4's auto_da_alloc: what replaces a file is on disk when its name is.
            if let Ok(content) = self.content_mut(ino) {
                content.attach_to_journal();
                self.journal.concern(ino, Concern::Data);
            }
            self.take_name(to, old)?;
        }
        self.entries_mut(from.folder)?.remove(from.name);
        self.entries_mut(to.folder)?.insert(to.name.to_owned(), ino);
        let node = self.node_mut(ino)?;
        node.changed = SystemTime::now();
        if let Kind::Folder { parent, name, .. } = &mut node.kind {
            *parent = to.folder;
            *name = to.name.to_owned();
        }
        self.journal.add(Change::Renamed { from: from_path, to: to_path });
        self.name_changed(from.folder);
        self.name_changed(to.folder);
        self.journal.concern(ino, Concern::Attributes);
        self.bound()
    }

    pub(crate) fn set_mode(&mut self, ino: Ino, mode: u32) -> Result<(), Errno> {
        let node = self.node_mut(ino)?;
        node.mode = mode;
        node.changed = SystemTime::now();
        if let Some(path) = self.path_of(ino)? {
            self.journal.add(Change::Mode { path, mode });
            self.journal.concern(ino, Concern::Attributes);
        }
        Ok(())
    }

    pub(crate) fn set_owner(&mut self, ino: Ino, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        let node = self.node_mut(ino)?;
        node.uid = uid.unwrap_or(node.uid);
        node.gid = gid.unwrap_or(node.gid);
        node.changed = SystemTime::now();
        let (uid, gid) = (node.uid, node.gid);
        if let Some(path) = self.path_of(ino)? {
            self.journal.add(Change::Owner { path, uid, gid });
            self.journal.concern(ino, Concern::Attributes);
        }
        Ok(())
    }

    /// These are not kept over a loss, nor a restart: nobody's correctness may hang on them.
    pub(crate) fn set_times(
        &mut self,
        ino: Ino,
        read: Option<SystemTime>,
        written: Option<SystemTime>,
    ) -> Result<(), Errno> {
        let node = self.node_mut(ino)?;
        node.read = read.unwrap_or(node.read);
        node.written = written.unwrap_or(node.written);
        node.changed = SystemTime::now();
        Ok(())
    }

    pub(crate) fn set_size(&mut self, ino: Ino, size: u64) -> Result<(), Errno> {
        self.content_mut(ino)?.set_size(size);
        self.journal.concern(ino, Concern::Data);
        self.touch(ino);
        Ok(())
    }

    fn touch(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.written = SystemTime::now();
            node.changed = node.written;
        }
    }

    pub(crate) fn read(&self, ino: Ino, offset: u64, length: usize) -> Result<Vec<u8>, Errno> {
        self.content(ino)?.read(offset, length).map_err(|error| errno(&error))
    }

    pub(crate) fn write(&mut self, ino: Ino, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.content_mut(ino)?.write(offset, bytes);
        self.touch(ino);
        self.written_bytes += bytes.len() as u64;
        self.bound()
    }

    pub(crate) fn allocate(
        &mut self,
        ino: Ino,
        offset: u64,
        length: u64,
        what: Allocate,
    ) -> Result<(), Errno> {
        let size = self.content(ino)?.size();
        let end = offset.checked_add(length).ok_or(Errno::FBIG)?;
        match what {
            Allocate::Reserve => {}
            Allocate::Extend if end > size => self.set_size(ino, end)?,
            Allocate::Extend => {}
            Allocate::Zero | Allocate::Punch => {
                let end = if what == Allocate::Punch { end.min(size) } else { end };
                let zeros = vec![0; 64 << 10];
                let mut at = offset;
                while at < end {
                    let length = (end - at).min(zeros.len() as u64);
                    self.write(ino, at, &zeros[..usize::try_from(length).expect("at most 64 KiB")])?;
                    at += length;
                }
                // A hole is a change of blocks, which the journal knows.
                if offset < end {
                    self.content_mut(ino)?.attach_to_journal();
                    self.journal.concern(ino, Concern::Data);
                }
            }
        }
        Ok(())
    }

    /// A program has closed it.
    pub(crate) fn closed(&mut self, ino: Ino) {
        // ext4's auto_da_alloc: what replaces a file's content is on disk with the cut, once it is closed.
        if let Ok(content) = self.content_mut(ino)
            && content.close()
        {
            content.attach_to_journal();
            self.journal.concern(ino, Concern::Data);
        }
    }

    /// Makes it durable as far as its sync has to: the file to sync for real, so that it takes as long as the disk takes.
    pub(crate) fn sync(&mut self, ino: Ino, only_data: bool) -> Result<Option<Arc<File>>, Errno> {
        let concern = self.journal.concerns.get(&ino).copied();
        let needs_blocks = matches!(&self.node(ino)?.kind, Kind::File(content) if content.needs_blocks());
        if needs_blocks || concern == Some(Concern::Data) || (concern.is_some() && !only_data) {
            self.commit().map_err(|error| errno(&error))?;
        }
        match &mut self.node_mut(ino)?.kind {
            Kind::File(content) => {
                content.sync().map_err(|error| errno(&error))?;
                Ok(content.file.clone())
            }
            Kind::Folder { .. } | Kind::Link(_) => Ok(None),
        }
    }

    /// Makes everything durable.
    pub(crate) fn sync_all(&mut self) -> io::Result<()> {
        self.commit()?;
        for node in self.nodes.values_mut() {
            if let Kind::File(content) = &mut node.kind {
                content.sync()?;
            }
        }
        self.written_bytes = 0;
        Ok(())
    }

    /// All changes of names so far become durable, in order, and what goes with them.
    fn commit(&mut self) -> io::Result<()> {
        while let Some(change) = self.journal.changes.front() {
            if let Some((ino, file)) = change.apply(&self.backing)?
                && let Ok(content) = self.content_mut(ino)
            {
                content.file = Some(Arc::new(file));
            }
            self.journal.changes.pop_front();
        }
        for ino in self.journal.concerns.keys() {
            if let Some(Node { kind: Kind::File(content), .. }) = self.nodes.get_mut(ino) {
                content.commit()?;
            }
        }
        self.journal.concerns.clear();
        Ok(())
    }

    /// Writes all back where it would be too much for memory.
    fn bound(&mut self) -> Result<(), Errno> {
        if !self.writes_back {
            return Ok(());
        }
        if self.written_bytes > PENDING_BYTES_MAX {
            self.written_bytes = self.pending().bytes;
        }
        if self.written_bytes > PENDING_BYTES_MAX || self.journal.changes.len() > CHANGES_MAX {
            self.sync_all().map_err(|error| errno(&error))?;
        }
        Ok(())
    }

    /// What a loss would take.
    pub(crate) fn pending(&self) -> Lost {
        let mut lost = Lost { names: 0, files: 0, bytes: 0 };
        lost.names = self.journal.changes.iter().filter(|change| change.is_of_names()).count() as u64;
        for node in self.nodes.values().filter(|node| node.links > 0) {
            if let Kind::File(content) = &node.kind
                && let Some(bytes) = content.pending()
            {
                lost.files += 1;
                lost.bytes += bytes;
            }
        }
        lost
    }

    /// Drops all that is not durable; nothing, if what is left cannot be read.
    pub(crate) fn lose(&mut self) -> io::Result<Lost> {
        let lost = self.pending();
        let mut left = Tree::empty(self.backing.clone(), self.last);
        left.writes_back = self.writes_back;
        left.read_backing()?;
        *self = left;
        Ok(lost)
    }

    pub(crate) fn backing(&self) -> &Path {
        &self.backing
    }
}

impl Node {
    fn on_disk(kind: Kind, metadata: &Metadata, links: u32) -> io::Result<Node> {
        Ok(Node {
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            links,
            lookups: 0,
            read: metadata.accessed()?,
            written: metadata.modified()?,
            changed: metadata.modified()?,
        })
    }

    /// Bytes.
    pub(crate) fn size(&self) -> u64 {
        match &self.kind {
            Kind::File(content) => content.size(),
            Kind::Folder { .. } => 4096,
            Kind::Link(target) => target.len() as u64,
        }
    }
}

pub(crate) fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_where_what_is_left_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let backing = dir.path().join("backing");
        std::fs::create_dir(&backing).unwrap();
        let mut tree = Tree::load(backing.clone()).unwrap();
        let place = Place { folder: ROOT, name: OsStr::new("file") };
        tree.create(place, Maker { mode: 0o600, uid: 0, gid: 0 }).unwrap();
        let pending = tree.pending();
        assert!(!pending.is_nothing());
        std::fs::remove_dir(&backing).unwrap();
        tree.lose().unwrap_err();
        assert_eq!(tree.pending(), pending);
        std::fs::create_dir(&backing).unwrap();
        assert_eq!(tree.lose().unwrap(), pending);
        assert!(tree.pending().is_nothing() && tree.find(place).is_err());
    }
}
