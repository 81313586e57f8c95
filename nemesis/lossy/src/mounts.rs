//! What is mounted, and how it is taken away.

use rustix::mount::UnmountFlags;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The name of what we mount: the first column of /proc/mounts.
pub const SOURCE: &str = "gauntlet-lossy";

/// One line of /proc/self/mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Where.
    pub at: PathBuf,
    /// Whether it is one of our layers.
    pub is_ours: bool,
}

/// What is mounted at this folder or below it, newest last.
///
/// # Errors
/// If the kernel does not tell.
pub fn below(folder: &Path) -> io::Result<Vec<Mounted>> {
    let mut mounted = all()?;
    mounted.retain(|mounted| mounted.at.starts_with(folder));
    Ok(mounted)
}

/// What is mounted anywhere.
fn all() -> io::Result<Vec<Mounted>> {
    let text = std::fs::read("/proc/self/mountinfo")?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// `36 35 98:0 /root /mount/point rw,noatime shared:1 - type source options` (proc_pid_mountinfo(5)).
fn parse(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|byte| *byte == b' ');
    let at = unescape(fields.nth(4)?);
    let mut after = fields.skip_while(|field| *field != b"-").skip(1);
    let (kind, source) = (after.next()?, after.next()?);
    Some(Mounted { at, is_ours: kind.starts_with(b"fuse") && source == SOURCE.as_bytes() })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let (mut name, mut at) = (Vec::new(), 0);
    while at < field.len() {
        let digits = field.get(at + 1..at + 4).filter(|_| field[at] == b'\\');
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        name.push(code.unwrap_or(field[at]));
        at += if code.is_some() { 4 } else { 1 };
    }
    PathBuf::from(OsString::from_vec(name))
}

/// Takes away what is mounted here, at once, whoever uses it still.
///
/// # Errors
/// If it cannot be taken away.
pub fn detach(at: &Path) -> io::Result<()> {
    match rustix::mount::unmount(at, UnmountFlags::DETACH) {
        // It has gone by itself since somebody looked.
        Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
        // Who is not root has a helper for what he has mounted himself.
        Err(rustix::io::Errno::PERM) => {
            let mut helper = Command::new("fusermount3");
            helper.args(["-u", "-q", "-z", "--"]).arg(at).stdin(Stdio::null());
            let status = helper.status()?;
            if status.success() { Ok(()) } else { Err(io::Error::other(format!("fusermount3: {status}"))) }
        }
        Err(error) => Err(error.into()),
    }
}

/// Takes away layers of ours below this folder, whether anybody serves them or not. Nothing is mounted there when this returns.
///
/// # Errors
/// If one cannot be taken away, or something is mounted there that is not ours.
pub fn clear(folder: &Path) -> io::Result<()> {
    for mounted in below(folder)?.into_iter().rev() {
        let at = mounted.at.display();
        if !mounted.is_ours {
            return Err(io::Error::other(format!("something is mounted at {at} that is not ours")));
        }
        detach(&mounted.at).map_err(|error| io::Error::other(format!("unmounting {at}: {error}")))?;
    }
    Ok(())
}

/// Takes away layers of ours that nobody serves any more, wherever they are: where they were.
///
/// # Errors
/// If the kernel does not tell what is mounted.
pub fn clear_dead() -> io::Result<Vec<PathBuf>> {
    let ours = all()?.into_iter().filter(|mounted| mounted.is_ours);
    let is_dead = |at: &Path| matches!(rustix::fs::statvfs(at), Err(rustix::io::Errno::NOTCONN));
    let dead: Vec<PathBuf> = ours.map(|mounted| mounted.at).filter(|at| is_dead(at)).collect();
    // Somebody else's, where we are not root: it is nothing to us.
    Ok(dead.into_iter().filter(|at| detach(at).is_ok()).collect())
}

/// Whether something is mounted exactly here.
///
/// # Errors
/// If the kernel does not tell.
pub fn is_mounted(at: &Path) -> io::Result<bool> {
    Ok(all()?.iter().any(|mounted| mounted.at.as_os_str().as_bytes() == at.as_os_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let line = b"98 29 0:45 / /tmp/a\\040b/\\134data rw,nosuid,nodev shared:7 - fuse gauntlet-lossy rw,user_id=0";
        assert_eq!(parse(line), Some(Mounted { at: "/tmp/a b/\\data".into(), is_ours: true }));
        let other = b"29 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw";
        assert_eq!(parse(other), Some(Mounted { at: "/".into(), is_ours: false }));
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn what_is_mounted_there_and_not_ours_is_left_alone() {
        let error = clear(Path::new("/proc")).expect_err("/proc is mounted and not ours");
        assert!(error.to_string().contains("/proc that is not ours"), "{error}");
    }
}
