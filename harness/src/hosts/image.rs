//! What containers are made of: Debian with an SSH server and the kernel's tools, from a registry where one is reachable, else from a
//! root file system made with `debootstrap`.

use super::docker::docker;
use anyhow::{Context, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// Raised with every change of what is in the image.
pub(super) const NAME: &str = "gauntlet-host:1";
const SUITE: &str = "bookworm";
const PACKAGES: &str = "openssh-server,iptables,iproute2,libfaketime";
/// Host keys are a container's own, so they are made when it starts.
const START: &str =
    "mkdir -p /run/sshd && rm -f /etc/ssh/ssh_host_* && ssh-keygen -A && exec /usr/sbin/sshd -D -e";

/// Makes the image if there is none.
///
/// # Errors
/// If neither way works: what each said.
pub(super) fn ensure(say: impl Fn(&str)) -> anyhow::Result<()> {
    if docker(&["image", "inspect", NAME]).is_ok() {
        return Ok(());
    }
    say("making the image from a registry's");
    let pulled = from_registry();
    let Err(no_registry) = pulled else { return Ok(()) };
    say("no registry: making the image with debootstrap (about a minute)");
    from_debootstrap().with_context(|| {
        format!("the image can be made neither from a registry ({no_registry:#}) nor with debootstrap")
    })
}

fn from_registry() -> anyhow::Result<()> {
    let packages = PACKAGES.replace(',', " ");
    let recipe = format!(
        "FROM debian:{SUITE}-slim\n\
         RUN apt-get update && apt-get install -y --no-install-recommends {packages} && rm -rf /var/lib/apt/lists/*\n\
         CMD [\"sh\", \"-c\", \"{START}\"]\n"
    );
    let dir = tempfile::tempdir().context("making a temporary folder")?;
    let file = dir.path().join("Dockerfile");
    std::fs::write(&file, recipe).context("writing a Dockerfile")?;
    let dir = dir.path().to_str().context("a temporary folder's name is text")?;
    docker(&["build", "--tag", NAME, dir]).map(drop)
}

fn from_debootstrap() -> anyhow::Result<()> {
    let dir = tempfile::tempdir().context("making a temporary folder")?;
    let root = dir.path().join("root");
    let made = Command::new("debootstrap")
        .args(["--variant=minbase", &format!("--include={PACKAGES}"), SUITE])
        .arg(&root)
        .stdin(Stdio::null())
        .output()
        .context("running debootstrap (Debian: apt-get install debootstrap)")?;
    if !made.status.success() {
        let words = String::from_utf8_lossy(&made.stdout);
        let last = words.lines().next_back().unwrap_or_default();
        bail!("debootstrap, which must be run as root: {last} ({})", made.status);
    }
    import(&root)
}

fn import(root: &Path) -> anyhow::Result<()> {
    let mut packing = Command::new("tar")
        .arg("-C")
        .arg(root)
        .args(["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*", "-c", "."])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("running tar")?;
    let archive = packing.stdout.take().expect("piped");
    let start = format!("CMD [\"sh\", \"-c\", \"{START}\"]");
    let imported = Command::new("docker")
        .args(["import", "--change", &start, "-", NAME])
        .stdin(archive)
        .output()
        .context("running docker import")?;
    let packed = packing.wait().context("packing the root file system")?;
    if !imported.status.success() || !packed.success() {
        bail!("docker import: {}", String::from_utf8_lossy(&imported.stderr).trim());
    }
    Ok(())
}
