//! Everything that the journal and the snapshot store do to a disk goes through here, so that a disk that
//! loses or damages what it holds can be put in its place.

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;

/// One folder. Clones are the same folder.
pub trait Disk: Clone + Debug {
    /// One open file of it.
    type File: DiskFile;

    /// The full path of a file, for messages.
    fn path(&self, name: &str) -> PathBuf;

    /// The names of all files, in order.
    ///
    /// # Errors
    /// If the disk refuses, as in all that follows.
    fn names(&self) -> io::Result<Vec<String>>;

    /// All of a file.
    ///
    /// # Errors
    /// If the disk refuses, or there is no such file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// A new, empty file, in place of an older one of that name.
    ///
    /// # Errors
    /// If the disk refuses.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// A file that is there.
    ///
    /// # Errors
    /// If the disk refuses, or there is no such file.
    fn open_file(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name, in place of the one that had it.
    ///
    /// # Errors
    /// If the disk refuses, or there is no such file.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Deletes a file.
    ///
    /// # Errors
    /// If the disk refuses, or there is no such file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// If the disk refuses: what is durable is not known then.
    fn sync_folder(&self) -> io::Result<()>;

    /// Bytes that no client can know.
    ///
    /// # Errors
    /// If the system has none.
    fn chance(&self) -> io::Result<[u8; 8]>;
}

/// One open file.
pub trait DiskFile: Debug {
    /// Writes all of `bytes`; what lies between the end of the file and `offset` becomes zeroes.
    ///
    /// # Errors
    /// If the disk refuses: some of the bytes may be there then.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Up to `length_max` bytes from `offset` on; fewer at the end of the file.
    ///
    /// # Errors
    /// If the disk refuses.
    fn read_at(&self, offset: u64, length_max: usize) -> io::Result<Vec<u8>>;

    /// In bytes.
    ///
    /// # Errors
    /// If the disk refuses.
    fn size(&self) -> io::Result<u64>;

    /// Cuts the file off, or extends it by zeroes.
    ///
    /// # Errors
    /// If the disk refuses.
    fn set_size(&self, size: u64) -> io::Result<()>;

    /// `fdatasync`: what was written can be read after a power loss.
    ///
    /// # Errors
    /// If the disk refuses: what is durable is not known then.
    fn sync(&self) -> io::Result<()>;
}
