//! Where runs are kept: `store/<plan>/<time>-<seed>/`, and `store/latest` that points at the newest.

use anyhow::Context;
use std::path::{Path, PathBuf};

pub(crate) use reports::stored::HISTORY_FILE as HISTORY;

/// What replicas said of their states: `checkers::digests::Statuses`.
pub(crate) const STATUSES: &str = "statuses.json";

/// Makes the folder of a new run or comparison and points `latest` at it.
///
/// # Errors
/// If the folder cannot be made.
pub(crate) fn create(store: &Path, plan: &str, seed: u64) -> anyhow::Result<PathBuf> {
    let time = jiff::Zoned::now().strftime("%Y%m%dT%H%M%S").to_string();
    let parent = store.join(plan);
    std::fs::create_dir_all(&parent).with_context(|| format!("making {}", parent.display()))?;
    let dir = make_new(&parent, &format!("{time}-{seed}"))?;
    point_latest(store, &dir).with_context(|| format!("pointing {}/latest at it", store.display()))?;
    // Node configurations and messages outlive a change of working directory.
    dir.canonicalize().with_context(|| format!("resolving {}", dir.display()))
}

/// Makes a folder that nobody has, not even a run that begins at the same moment.
fn make_new(parent: &Path, name: &str) -> anyhow::Result<PathBuf> {
    for n in 0_u32.. {
        let dir = parent.join(if n == 0 { name.to_owned() } else { format!("{name}.{n}") });
        match std::fs::create_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => return made.with_context(|| format!("making {}", dir.display())).map(|()| dir),
        }
    }
    unreachable!("some number is free")
}

/// Replaces the link in one step, so that it always points somewhere.
fn point_latest(store: &Path, dir: &Path) -> std::io::Result<()> {
    let target = dir.strip_prefix(store).unwrap_or(dir);
    let fresh = store.join(format!(".latest-{}", std::process::id()));
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(target, &fresh)?;
    std::fs::rename(&fresh, store.join("latest"))
}

/// A folder with a short name, for sockets: a Unix socket's path has at most 107 bytes. It goes when it is dropped.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn temporary() -> anyhow::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("gauntlet-").tempdir().context("making a temporary folder")
}

pub(crate) use reports::stored::write_whole as write;

/// Removes a folder with all that is in it, if it is there.
///
/// # Errors
/// If something of it stays.
pub(crate) fn remove(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_begin_at_the_same_moment_have_folders_of_their_own() {
        let store = tempfile::tempdir().unwrap();
        let dirs: std::collections::BTreeSet<PathBuf> = std::thread::scope(|scope| {
            let make = || (0..50).map(|_| make_new(store.path(), "a").unwrap()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(dirs.len(), 200);
    }

    #[test]
    fn two_runs_in_one_second_have_two_folders_and_latest_is_the_second() {
        let store = tempfile::tempdir().unwrap();
        let a = create(store.path(), "smoke", 7).unwrap();
        let b = create(store.path(), "smoke", 7).unwrap();
        assert_ne!(a, b);
        assert_eq!(store.path().join("latest").canonicalize().unwrap(), b);
    }
}
