//! Whether the clock is the host's own, and may be set.

use crate::program::run;
use std::path::Path;

/// `CAP_SYS_TIME`'s place in a set of capabilities.
const CAP_SYS_TIME: u32 = 25;
/// What containers' managers leave in a container.
const LEFT_IN_CONTAINERS: [&str; 3] = ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"];
/// Parts of the names of containers' control groups.
const CONTAINER_GROUPS: [&str; 6] = ["docker", "kubepods", "containerd", "libpod", "lxc", "garden"];

/// # Errors
/// Why the clock must be left alone.
pub(super) async fn check() -> Result<(), String> {
    if let Some(why) = container().await {
        return Err(format!("it is a container ({why}), whose clock is its machine's"));
    }
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    if may_set_time(&status) {
        Ok(())
    } else {
        Err("the agent may not set the clock: it is neither root nor has CAP_SYS_TIME".into())
    }
}

async fn container() -> Option<String> {
    if let Some(left) = LEFT_IN_CONTAINERS.iter().find(|path| Path::new(path).exists()) {
        return Some((*left).to_owned());
    }
    let groups = std::fs::read_to_string("/proc/1/cgroup").unwrap_or_default();
    if is_container_group(&groups) {
        return Some(format!("/proc/1/cgroup: {}", groups.trim()));
    }
    // It fails where there is none.
    run("systemd-detect-virt", &["--container"], "").await.ok().map(|kind| kind.trim().to_owned())
}

fn is_container_group(groups: &str) -> bool {
    CONTAINER_GROUPS.iter().any(|name| groups.contains(name))
}

/// Whether the process of this `/proc/…/status` may set the clock.
fn may_set_time(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.is_some_and(|set| set >> CAP_SYS_TIME & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_to_set_the_clock_is_one_bit() {
        assert!(may_set_time("Name:\tgauntlet\nCapEff:\t000001ffffffffff\n"));
        assert!(may_set_time("CapEff:\t0000000002000000\n"));
        // What Docker gives to a root of its own.
        assert!(!may_set_time("CapEff:\t00000000a80425fb\n"));
        assert!(!may_set_time("CapEff:\t0000000000000000\n"));
        assert!(!may_set_time(""));
    }

    #[test]
    fn a_container_is_known_by_its_control_group() {
        assert!(is_container_group("0::/system.slice/docker-0a1b.scope\n"));
        assert!(!is_container_group("0::/init.scope\n"));
        assert!(!is_container_group("0::/\n"));
    }
}
