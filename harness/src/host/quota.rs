//! How much processor time a node may have: a control group of its own, of version 2 where its `cpu` controller can be had, of version
//! 1 otherwise. The node's processes enter it by themselves, before they become the node.

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// The kernel looks at each node's share so often, microseconds.
const PERIOD_US: u64 = 100_000;
/// How all our groups' names begin.
const PREFIX: &str = "gauntlet-";
/// A group can be removed when the last process in it is gone, which may take so many looks …
const LOOKS_MAX: u32 = 100;
/// … so long apart.
const LOOK: Duration = Duration::from_millis(10);

/// A control group; removed when it is dropped.
#[derive(Debug)]
pub(super) struct Quota {
    group: PathBuf,
}

/// What the kernel says of a group since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Throttling {
    /// In which its processes wanted to run.
    pub periods: u64,
    /// In which they had used up what they may have, and waited for the next.
    pub throttled: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Quota {
    /// Makes a group for this node, in which this many processors can be used.
    ///
    /// # Errors
    /// If there are no control groups with a `cpu` controller here, or they may not be made.
    pub(super) fn make(node: &str, cpus: f64) -> anyhow::Result<Quota> {
        let (version, root) = hierarchy()?;
        let group = root.join(format!("{PREFIX}{}-{node}", std::process::id()));
        match fs::create_dir(&group) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("making {}", group.display()));
            }
            _ => {}
        }
        let quota = Quota { group };
        let share_us = (cpus * PERIOD_US as f64) as u64;
        match version {
            Version::Two => quota.set("cpu.max", &format!("{share_us} {PERIOD_US}"))?,
            Version::One => {
                quota.set("cpu.cfs_period_us", &PERIOD_US.to_string())?;
                quota.set("cpu.cfs_quota_us", &share_us.to_string())?;
            }
        }
        Ok(quota)
    }

    fn set(&self, file: &str, value: &str) -> anyhow::Result<()> {
        let file = self.group.join(file);
        fs::write(&file, value).with_context(|| format!("writing {value} to {}", file.display()))
    }

    /// A process that writes its id here enters.
    pub(super) fn entrance(&self) -> PathBuf {
        self.group.join("cgroup.procs")
    }

    /// # Errors
    /// If the kernel does not tell.
    pub(super) fn throttling(&self) -> anyhow::Result<Throttling> {
        let file = self.group.join("cpu.stat");
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|number| number.parse().ok()).with_context(|| format!("{name} in {text}"))
        };
        Ok(Throttling { periods: number("nr_periods")?, throttled: number("nr_throttled")? })
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.group) {
            tracing::warn!(group = %self.group.display(), %error, "it stays");
        }
    }
}

/// Whether a quota can be had here.
///
/// # Errors
/// Why not.
pub(crate) fn probe() -> anyhow::Result<()> {
    Quota::make("probe", 1.0).map(drop)
}

/// Removes the groups of those who are dead.
pub(super) fn remove_leftovers() {
    let Ok(mounts) = fs::read_to_string("/proc/self/mounts") else { return };
    // Whether one can be used is not asked for: that would change it.
    let entries = hierarchies(&mounts).into_iter().filter_map(|(_, root)| fs::read_dir(root).ok());
    for entry in entries.flat_map(Iterator::flatten) {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        let is_dead = |pid: &str| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists();
        if maker.is_some_and(is_dead)
            && let Err(error) = remove(&entry.path())
        {
            tracing::warn!(group = %entry.path().display(), %error, "it stays");
        }
    }
}

/// Processes that were killed just now are in it until they are gone.
fn remove(group: &Path) -> std::io::Result<()> {
    let mut looks = 0;
    loop {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && looks < LOOKS_MAX => looks += 1,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => return other,
        }
        sleep(LOOK);
    }
}

/// Where groups with a `cpu` controller are made.
fn hierarchy() -> anyhow::Result<(Version, PathBuf)> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading what is mounted")?;
    let mut why_not = Vec::new();
    for (version, root) in hierarchies(&mounts) {
        match usable(&version, &root) {
            Ok(()) => return Ok((version, root)),
            Err(why) => why_not.push(format!("{}: {why:#}", root.display())),
        }
    }
    match why_not[..] {
        [] => bail!("no control groups are mounted"),
        _ => bail!("{}", why_not.join("; ")),
    }
}

/// The newer version first.
fn hierarchies(mounts: &str) -> Vec<(Version, PathBuf)> {
    let hierarchy = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (at, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        match kind {
            "cgroup2" => Some((Version::Two, PathBuf::from(at))),
            "cgroup" if options.split(',').any(|option| option == "cpu") => {
                Some((Version::One, PathBuf::from(at)))
            }
            _ => None,
        }
    };
    let mut found: Vec<_> = mounts.lines().filter_map(hierarchy).collect();
    found.sort_by_key(|(version, _)| *version == Version::One);
    found
}

fn usable(version: &Version, root: &Path) -> anyhow::Result<()> {
    if *version == Version::One {
        return Ok(());
    }
    let has_cpu = |file: &str| -> anyhow::Result<bool> {
        Ok(fs::read_to_string(root.join(file))?.split_ascii_whitespace().any(|name| name == "cpu"))
    };
    if !has_cpu("cgroup.controllers")? {
        bail!("the `cpu` controller is not there");
    }
    if !has_cpu("cgroup.subtree_control")? {
        fs::write(root.join("cgroup.subtree_control"), "+cpu").context("the `cpu` controller is not on")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use required::required;
    use std::process::Command;
    use std::time::Instant;

    #[test]
    fn version_2_comes_first_and_version_1_only_with_its_cpu_controller() {
        let mounts = "\
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
/dev/sda / ext4 rw 0 0
";
        let two = (Version::Two, PathBuf::from("/sys/fs/cgroup/unified"));
        let one = (Version::One, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(hierarchies(mounts), [two, one]);
        assert!(hierarchies("").is_empty());
    }

    #[test]
    fn whoever_enters_gets_no_more_than_the_share_and_nothing_is_left() {
        let made = Quota::make("test", 0.2).map_err(|why| format!("{why:#}"));
        let Some(quota) = required("a control group of one's own", made) else { return };
        let script = format!("echo $$ > {}; while :; do :; done", quota.entrance().display());
        let mut busy = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        let begun = Instant::now();
        while quota.throttling().unwrap().throttled < 3 {
            assert!(begun.elapsed() < Duration::from_secs(20), "never throttled");
            sleep(LOOK);
        }
        let Throttling { periods, throttled } = quota.throttling().unwrap();
        assert!(periods >= throttled);
        busy.kill().unwrap();
        busy.wait().unwrap();
        let group = quota.group.clone();
        drop(quota);
        assert!(!group.exists());
        remove_leftovers();
    }
}
