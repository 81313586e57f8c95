//! A file system without room: a file without a name takes all there is. It goes with whoever holds it, so a process that dies
//! gives the room back, however it dies.

use anyhow::Context;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tokio::task::spawn_blocking;

/// One with more room than this is somebody's who did not make it to be filled.
const FREE_BYTES_MAX: u64 = 4 << 30;
/// What is left when nothing more can be had at once is taken in pieces of this size …
const PIECE_BYTES: usize = 512;
/// … and at most so many of them: the rest is what others give back meanwhile.
const PIECES_MAX: u32 = 1 << 16;

/// A file system that may be filled.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileSystem(PathBuf);

/// Takes all room of a file system.
#[derive(Debug)]
pub(super) struct Filler {
    file: File,
    mounted: PathBuf,
    size: u64,
}

impl FileSystem {
    /// The one that a host's node keeps its data on, if nobody else does; or why it must not be filled.
    ///
    /// # Errors
    /// If the system does not tell.
    pub(super) fn of_node(data: &Path) -> anyhow::Result<Result<FileSystem, String>> {
        let data = data.canonicalize().with_context(|| format!("resolving {}", data.display()))?;
        // `…/runs/n1/data`: what is above is the host's folder for us.
        let folder = data.ancestors().nth(3).unwrap_or(Path::new("/"));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("reading what is mounted")?;
        let mounted = match mounted_for(&mounts, &data, folder) {
            Ok(mounted) => mounted,
            Err(why) => return Ok(Err(why)),
        };
        let free = free_bytes(&mounted)?;
        if free > FREE_BYTES_MAX {
            let free_gib = free as f64 / f64::from(1 << 30);
            return Ok(Err(format!("{free_gib:.1} GiB are free there, more than 4")));
        }
        Ok(Ok(FileSystem(mounted)))
    }
}

/// Where the file system of `data` is mounted, if that is at or below `folder` and all of it.
fn mounted_for(mounts: &str, data: &Path, folder: &Path) -> Result<PathBuf, String> {
    let entry = |line: &str| {
        let mut fields = line.split(' ').skip(3);
        Some((PathBuf::from(fields.next()?), PathBuf::from(fields.next()?)))
    };
    // What a program serves is no file system of its own: what fills is the one that it writes to.
    let is_served = |line: &str| line.split_once(" - ").is_some_and(|(_, kind)| kind.starts_with("fuse"));
    let entries = mounts.lines().filter(|line| !is_served(line)).filter_map(entry);
    let holding = entries.filter(|(_, at)| data.starts_with(at));
    // Of two at the same place the later one is seen.
    let (root, at) = holding.max_by_key(|(_, at)| at.as_os_str().len()).ok_or("nothing is mounted there")?;
    if !at.starts_with(folder) {
        return Err(format!("{} is no file system of its own", folder.display()));
    }
    if root != Path::new("/") {
        return Err(format!("{} is a folder of a file system that others use, too", at.display()));
    }
    Ok(at)
}

fn free_bytes(mounted: &Path) -> anyhow::Result<u64> {
    let told = statvfs(mounted).with_context(|| format!("asking how full {} is", mounted.display()))?;
    Ok(told.f_bfree * told.f_frsize)
}

impl Filler {
    /// One that takes nothing yet.
    ///
    /// # Errors
    /// If no file can be made there.
    pub(super) fn make(FileSystem(mounted): FileSystem) -> anyhow::Result<Filler> {
        let file = tempfile::tempfile_in(&mounted).with_context(|| format!("in {}", mounted.display()))?;
        Ok(Filler { file, mounted, size: 0 })
    }

    /// Takes all that there is now; what shows it.
    ///
    /// # Errors
    /// If the system refuses for another reason than that there is no more.
    pub(super) async fn fill(&mut self) -> anyhow::Result<String> {
        let (file, mounted, begun) = (self.file.try_clone()?, self.mounted.clone(), self.size);
        let size = spawn_blocking(move || take_all(&file, &mounted, begun)).await??;
        self.size = size;
        let free = free_bytes(&self.mounted)?;
        Ok(format!("{free} bytes are free on {}, {size} of them taken", self.mounted.display()))
    }
}

/// Lets a file grow until nothing is left; its size then.
fn take_all(file: &File, mounted: &Path, begun: u64) -> anyhow::Result<u64> {
    let mut size = begun;
    let mut free = free_bytes(mounted)?;
    let mut piece = free.min(FREE_BYTES_MAX);
    while piece >= PIECE_BYTES as u64 {
        match fallocate(file, FallocateFlags::empty(), size, piece) {
            Ok(()) => {
                size += piece;
                let left = free_bytes(mounted)?;
                // Others may give room back meanwhile; what does not count what it gives would give for ever.
                if left >= free || size - begun > FREE_BYTES_MAX {
                    break;
                }
                free = left;
            }
            Err(Errno::NOSPC | Errno::OPNOTSUPP) => piece /= 2,
            Err(error) => return Err(error).context("taking room"),
        }
    }
    for _ in 0..PIECES_MAX {
        match file.write_all_at(&[1; PIECE_BYTES], size) {
            Ok(()) => size += PIECE_BYTES as u64,
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
            Err(error) => return Err(error).context("taking room"),
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw - ext4 /dev/sda rw
23 22 0:9 / /var/tmp/gauntlet rw,relatime - tmpfs tmpfs rw,size=64m
24 22 8:1 /volumes/x /srv/gauntlet rw - ext4 /dev/sda rw
25 22 8:2 / /data rw - ext4 /dev/sdb rw
26 22 0:45 / /home/me/runs/n1/data rw shared:7 - fuse gauntlet-lossy rw,user_id=0
";

    #[test]
    fn only_a_file_system_that_is_ours_alone_is_filled() {
        let of = |folder: &str| {
            let folder = Path::new(folder);
            mounted_for(MOUNTS, &folder.join("runs/n1/data"), folder)
        };
        assert_eq!(of("/var/tmp/gauntlet"), Ok(PathBuf::from("/var/tmp/gauntlet")));
        assert_eq!(of("/data"), Ok(PathBuf::from("/data")));
        assert_eq!(of("/home/me"), Err("/home/me is no file system of its own".to_owned()));
        assert_eq!(of("/data/gauntlet"), Err("/data/gauntlet is no file system of its own".to_owned()));
        let shared = "/srv/gauntlet is a folder of a file system that others use, too";
        assert_eq!(of("/srv/gauntlet"), Err(shared.to_owned()));
    }

    #[test]
    fn the_disk_of_this_machine_is_not_filled() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let data = dir.path().join("runs/n1/data");
        std::fs::create_dir_all(&data).unwrap();
        let why = FileSystem::of_node(&data).unwrap().unwrap_err();
        assert!(why.contains("no file system of its own"), "{why}");
    }
}
