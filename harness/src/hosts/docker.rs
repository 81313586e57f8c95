//! Containers that are hosts: each with an SSH server, an address and a disk of its own, on a network of their own.

use super::image;
use crate::progress::Progress;
use crate::store;
use anyhow::{Context, bail};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where `up` writes.
pub(super) const DIR: &str = "hosts";
/// What it writes there.
pub(crate) const CONF: &str = "hosts/cluster.conf";

/// Whose containers, networks and disks they are: the folder that `up` wrote to.
const LABEL: &str = "gauntlet.hosts";
/// What each may do: its own network's firewall and traffic classes, and what an SSH server and programs that change their user need.
/// Not the clock, which is the machine's, and no devices unless they are asked for.
const CAPABILITIES: [&str; 9] =
    ["NET_ADMIN", "NET_RAW", "SYS_CHROOT", "SETUID", "SETGID", "CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL"];
/// How long an SSH server may take to listen.
const LISTEN_PATIENCE: Duration = Duration::from_secs(20);

/// Runs `docker`; what it prints.
pub(super) fn docker(args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("docker")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .context("running docker (Debian: apt-get install docker.io)")?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("docker {}: {}", args[0], words.trim().lines().next_back().unwrap_or("it failed"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What each gets.
#[derive(Debug, clap::Args)]
pub(crate) struct Size {
    /// Processors that each may use at most, such as 0.5
    #[arg(long)]
    cpus: Option<f64>,
    /// A disk of its own for each, of so many mebibytes, which `disk-full` can fill: in memory, so that a sync costs nothing
    #[arg(long, value_name = "MEBIBYTES")]
    disk_mib: Option<u32>,
    /// Give them /dev/fuse and what mounting needs (CAP_SYS_ADMIN, no AppArmor profile), for power losses of foreign systems. Root in
    /// such a container is close to root of this machine
    #[arg(long)]
    fuse: bool,
}

/// Starts so many for nodes and so many that make load, and writes how they are reached.
///
/// # Errors
/// If one cannot be had: none is left then.
pub(super) fn up(servers: u32, clients: u32, dir: &Path, size: &Size) -> anyhow::Result<()> {
    if let Some(cpus) = size.cpus
        && !(0.01..=1000.0).contains(&cpus)
    {
        bail!("--cpus {cpus} is not 0.01 to 1000");
    }
    if let Some(mebibytes) = size.disk_mib
        && !(64..=1 << 20).contains(&mebibytes)
    {
        bail!("--disk-mib {mebibytes} is not 64 to {}", 1 << 20);
    }
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let dir = dir.canonicalize().with_context(|| format!("resolving {}", dir.display()))?;
    if dir.join("cluster.conf").exists() {
        bail!("{} has hosts already: `gauntlet hosts down` first", dir.display());
    }
    let progress = Progress::new("hosts");
    image::ensure(|step| progress.step(step))?;
    let made = make(servers, clients, &dir, size, &progress);
    progress.done();
    if made.is_err()
        && let Err(error) = remove(&dir)
    {
        eprintln!("gauntlet: taking down what was begun: {error:#}");
    }
    made?;
    println!("{} hosts: {}", servers + clients, dir.join("cluster.conf").display());
    Ok(())
}

fn make(servers: u32, clients: u32, dir: &Path, size: &Size, progress: &Progress) -> anyhow::Result<()> {
    let (label, prefix) = (label(dir), prefix(dir));
    let key = dir.join("key");
    make_key(&key)?;
    let public = std::fs::read_to_string(key.with_extension("pub")).context("reading the public key")?;
    docker(&["network", "create", "--label", &label, &prefix])?;
    let (mut conf, mut known) =
        (String::from("user: root\nkey: key\nknown_hosts: known_hosts\nhosts:\n"), String::new());
    let servers = (1..=servers).map(|n| format!("n{n}"));
    let clients = (1..=clients).map(|n| format!("c{n}"));
    for name in servers.chain(clients) {
        if name == "c1" {
            conf.push_str("clients:\n");
        }
        progress.step(&format!("starting {name}"));
        let container = format!("{prefix}-{name}");
        run(&container, &name, &prefix, &label, size)?;
        let address = address(&container)?;
        let listening = wait_for_ssh(address);
        listening.with_context(|| format!("{container}: docker logs {container} says more"))?;
        let key = docker(&["exec", &container, "cat", "/etc/ssh/ssh_host_ed25519_key.pub"])?;
        let words: Vec<&str> = key.split(' ').take(2).collect();
        writeln!(known, "{address} {}", words.join(" ")).expect("a string takes everything");
        let authorize =
            format!("umask 077; mkdir -p /root/.ssh; echo '{}' > /root/.ssh/authorized_keys", public.trim());
        docker(&["exec", &container, "sh", "-c", &authorize])?;
        writeln!(conf, "  - {{ name: {name}, address: {address} }}").expect("a string takes everything");
    }
    store::write(&dir.join("known_hosts"), known.as_bytes())?;
    store::write(&dir.join("cluster.conf"), conf.as_bytes())
}

fn run(container: &str, name: &str, network: &str, label: &str, size: &Size) -> anyhow::Result<()> {
    let disk = format!("{container}:/var/tmp/gauntlet");
    let disk_size = size.disk_mib.map(|mebibytes| format!("o=size={mebibytes}m"));
    let mut volume = vec!["volume", "create", "--label", label];
    if let Some(size) = &disk_size {
        volume.extend(["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", size]);
    }
    volume.push(container);
    docker(&volume)?;
    let mut args = vec!["run", "--detach", "--init", "--name", container, "--hostname", name];
    args.extend(["--network", network, "--label", label, "--volume", &disk, "--cap-drop", "ALL"]);
    for capability in &CAPABILITIES {
        args.extend(["--cap-add", capability]);
    }
    args.extend(["--security-opt", "no-new-privileges"]);
    if size.fuse {
        // Docker's AppArmor profile forbids mount(2) whatever the capabilities; where there is no AppArmor this means nothing.
        args.extend(["--device", "/dev/fuse", "--cap-add", "SYS_ADMIN"]);
        args.extend(["--security-opt", "apparmor=unconfined"]);
    }
    let cpus = size.cpus.map(|cpus| cpus.to_string());
    if let Some(cpus) = &cpus {
        args.extend(["--cpus", cpus]);
    }
    args.push(image::NAME);
    docker(&args).map(drop)
}

fn address(container: &str) -> anyhow::Result<IpAddr> {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = docker(&["inspect", "--format", format, container])?;
    address.parse().with_context(|| format!("{container} has the address `{address}`"))
}

fn wait_for_ssh(address: IpAddr) -> anyhow::Result<()> {
    let deadline = Instant::now() + LISTEN_PATIENCE;
    let address = SocketAddr::new(address, 22);
    loop {
        match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("no SSH server on {address}"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn make_key(key: &Path) -> anyhow::Result<()> {
    for file in [key.to_owned(), key.with_extension("pub")] {
        if file.exists() {
            std::fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
        }
    }
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", "gauntlet", "-f"]).arg(key);
    let status = command.stdin(Stdio::null()).status().context("running ssh-keygen")?;
    if status.success() { Ok(()) } else { bail!("ssh-keygen: {status}") }
}

/// Removes every trace of what `up` made.
///
/// # Errors
/// If something is left.
pub(super) fn down(dir: &Path, keep_image: bool) -> anyhow::Result<()> {
    let Ok(dir) = dir.canonicalize() else { bail!("{}: there are no hosts", dir.display()) };
    remove(&dir)?;
    if !keep_image && docker(&["image", "inspect", image::NAME]).is_ok() {
        docker(&["image", "rm", image::NAME])?;
    }
    Ok(())
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    let filter = format!("label={}", label(dir));
    let containers = docker(&["ps", "--all", "--quiet", "--filter", &filter])?;
    for container in containers.lines() {
        docker(&["rm", "--force", container])?;
    }
    let networks = docker(&["network", "ls", "--quiet", "--filter", &filter])?;
    for network in networks.lines() {
        docker(&["network", "rm", network])?;
    }
    let disks = docker(&["volume", "ls", "--quiet", "--filter", &filter])?;
    for disk in disks.lines() {
        docker(&["volume", "rm", disk])?;
    }
    for file in ["cluster.conf", "known_hosts", "key", "key.pub"] {
        let file = dir.join(file);
        if file.exists() {
            std::fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
        }
    }
    // It goes if nothing of others is in it.
    std::fs::remove_dir(dir).ok();
    Ok(())
}

fn label(dir: &Path) -> String {
    format!("{LABEL}={}", dir.display())
}

/// What the names of containers begin with: another folder's have others.
fn prefix(dir: &Path) -> String {
    format!("gauntlet-{:08x}", xxhash_rust::xxh3::xxh3_64(dir.as_os_str().as_encoded_bytes()) >> 32)
}
