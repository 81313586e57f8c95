//! `cluster.conf`: which hosts there are, how they are reached, and what may be done there.
//!
//! YAML, so JSON parses too; so does the array `[{"id": 1, "ip": "10.0.0.1", "port": 7101, "role": "server"}]` that simple
//! projects read with `jq`.

use anyhow::{Context, bail};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// All hosts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClusterConf {
    /// Replica n1 runs on the first, n2 on the second, …
    pub servers: Vec<HostConf>,
    /// Where load is made; on the controller's machine if there are none.
    pub clients: Vec<HostConf>,
    /// How nodes and clients speak to each other, if it is said: otherwise by TLS over SSH, and plainly on one machine.
    pub security: Option<Security>,
}

/// Whether what nodes and clients say to each other can be read and forged by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Security {
    /// Mutual TLS, with a certificate authority for each run.
    Tls,
    /// Anybody on the network can read and write.
    Plaintext,
}

impl Security {
    /// As reports say it.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Security::Tls => "mutual TLS",
            Security::Plaintext => "plaintext",
        }
    }
}

/// One host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HostConf {
    /// Its name in messages and reports.
    pub name: String,
    /// Where nodes and clients reach it, and SSH too.
    pub address: IpAddr,
    /// How it is reached.
    pub ssh: SshConf,
    /// Where everything of ours is on it.
    pub data: PathBuf,
    /// Where its node listens.
    pub ports: PortsConf,
    /// Whether the agent is started with `sudo -n`, so that it may use the firewall.
    pub sudo: bool,
    /// How many processors its node may use, if it may not use all.
    pub cpu_quota: Option<f64>,
    /// Whether it is there for nothing else, so that its system clock may be moved.
    pub exclusive: bool,
    /// Which clock a fault bends for nodes that have one of their own; for others it is always the system's.
    pub clock: ClockConf,
}

/// A clock that faults can bend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ClockConf {
    /// Each node's own.
    #[default]
    Node,
    /// The host's.
    System,
}

impl HostConf {
    /// What stands before a command that needs the agent's rights: what the agent makes is its user's.
    #[must_use]
    pub(crate) fn as_agent(&self) -> &'static [&'static str] {
        if self.sudo { &["sudo", "-n"] } else { &[] }
    }
}

/// How a host is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SshConf {
    /// As whom; the name that `ssh` would take if there is none.
    pub user: Option<String>,
    /// Its private key; what `ssh` would take if there is none.
    pub key: Option<PathBuf>,
    /// Where the server listens.
    pub port: u16,
    /// Which host keys are trusted; `ssh`'s own files if there is none.
    pub known_hosts: Option<PathBuf>,
}

/// Where a node listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PortsConf {
    /// For other replicas.
    pub peer: u16,
    /// For clients.
    pub client: u16,
    /// For people.
    pub http: u16,
}

/// In the range that systems give to nobody by themselves.
const PORTS: PortsConf = PortsConf { peer: 7100, client: 7101, http: 7102 };
const SSH_PORT: u16 = 22;
const DATA: &str = "/var/tmp/gauntlet";
/// The longest `data`: a Unix socket's path below it has to fit in 107 bytes.
const DATA_BYTES_MAX: usize = 40;

/// The kernel does not share out less than a millisecond of each tenth of a second.
pub(crate) const CPUS_MIN: f64 = 0.01;
pub(crate) const CPUS_MAX: f64 = 1024.0;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    hosts: Vec<HostEntry>,
    #[serde(default)]
    clients: Vec<HostEntry>,
    security: Option<Security>,
    known_hosts: Option<PathBuf>,
    user: Option<String>,
    key: Option<PathBuf>,
    #[serde(default = "ssh_port")]
    ssh_port: u16,
    data: Option<PathBuf>,
    ports: Option<PortsConf>,
    #[serde(default)]
    sudo: bool,
    cpu_quota: Option<f64>,
    #[serde(default)]
    exclusive: bool,
    #[serde(default)]
    clock: ClockConf,
}

fn ssh_port() -> u16 {
    SSH_PORT
}

/// A host as it is written: what it leaves out is the file's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostEntry {
    name: String,
    address: IpAddr,
    user: Option<String>,
    key: Option<PathBuf>,
    ssh_port: Option<u16>,
    data: Option<PathBuf>,
    ports: Option<PortsConf>,
    sudo: Option<bool>,
    cpu_quota: Option<f64>,
    exclusive: Option<bool>,
    clock: Option<ClockConf>,
}

/// A host of the simple array.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SimpleEntry {
    id: u32,
    ip: IpAddr,
    /// For clients; the two after it are for people and for other replicas.
    port: u16,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Role {
    Server,
    Client,
}

impl ClusterConf {
    /// Reads a file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// With file, line and what was expected.
    pub(crate) fn load(path: &Path) -> anyhow::Result<ClusterConf> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        ClusterConf::parse(&text, folder).with_context(|| path.display().to_string())
    }

    fn parse(text: &str, folder: &Path) -> anyhow::Result<ClusterConf> {
        let conf = if text.trim_start().starts_with('[') {
            simple(serde_yaml::from_str(text)?)?
        } else {
            whole(&serde_yaml::from_str(text)?, folder)
        };
        conf.validate()?;
        Ok(conf)
    }

    fn validate(&self) -> anyhow::Result<()> {
        if self.servers.is_empty() {
            bail!("hosts: there are none");
        }
        let mut names = BTreeSet::new();
        for host in self.servers.iter().chain(&self.clients) {
            let is_fit = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if host.name.is_empty() || host.name.starts_with('.') || !host.name.chars().all(is_fit) {
                bail!("host `{}`: a name has letters, digits, - _ . only", host.name);
            }
            if !names.insert(&host.name) {
                bail!("two hosts are named `{}`", host.name);
            }
            if let Some(cpus) = host.cpu_quota
                && !(CPUS_MIN..=CPUS_MAX).contains(&cpus)
            {
                bail!("{}: cpu_quota: {cpus} is not {CPUS_MIN} to {CPUS_MAX}", host.name);
            }
            let PortsConf { peer, client, http } = host.ports;
            if peer == client || client == http || http == peer || [peer, client, http].contains(&0) {
                bail!("{}: ports: expected three different ones, none 0", host.name);
            }
            if !host.data.is_absolute() || host.data.as_os_str().len() > DATA_BYTES_MAX {
                bail!(
                    "{}: data: {} is not an absolute path of at most {DATA_BYTES_MAX} bytes",
                    host.name,
                    host.data.display()
                );
            }
            if host.clock == ClockConf::System && !host.exclusive {
                bail!("{}: clock: `system` may be moved on a host that is `exclusive: true` only", host.name);
            }
        }
        let mut addresses = BTreeSet::new();
        let mut all = self.servers.iter().chain(&self.clients);
        if let Some(twice) = all.find(|host| !addresses.insert((host.address, host.ssh.port))) {
            bail!("{}: {} is another host's address", twice.name, twice.address);
        }
        let mut exclusive = BTreeSet::new();
        let mut hosts = self.servers.iter().filter(|host| host.exclusive);
        if let Some(twice) = hosts.find(|host| !exclusive.insert(host.address)) {
            bail!("{}: exclusive: {} is another host's address, too", twice.name, twice.address);
        }
        Ok(())
    }

    /// The hosts of the local world: loopback addresses only.
    ///
    /// # Errors
    /// If there are others.
    pub(crate) fn check_local(&self) -> anyhow::Result<()> {
        match self.servers.iter().find(|host| !host.address.is_loopback()) {
            Some(host) => bail!(
                "{}: {} is not a loopback address, and the local world has no others (the plan's, or --world, ssh has)",
                host.name,
                host.address
            ),
            None => Ok(()),
        }
    }

    /// The hosts of this many nodes.
    ///
    /// # Errors
    /// If there are fewer.
    pub(crate) fn hosts_for(&self, nodes: usize) -> anyhow::Result<&[HostConf]> {
        let hosts = self.servers.get(..nodes);
        hosts.with_context(|| format!("cluster.conf has {} hosts for {nodes} nodes", self.servers.len()))
    }
}

fn whole(file: &File, folder: &Path) -> ClusterConf {
    let host = |entry: &HostEntry| HostConf {
        name: entry.name.clone(),
        address: entry.address,
        ssh: SshConf {
            user: entry.user.clone().or_else(|| file.user.clone()),
            key: entry.key.as_ref().or(file.key.as_ref()).map(|key| folder.join(key)),
            port: entry.ssh_port.unwrap_or(file.ssh_port),
            known_hosts: file.known_hosts.as_ref().map(|path| folder.join(path)),
        },
        data: entry.data.clone().or_else(|| file.data.clone()).unwrap_or_else(|| DATA.into()),
        ports: entry.ports.or(file.ports).unwrap_or(PORTS),
        sudo: entry.sudo.unwrap_or(file.sudo),
        cpu_quota: entry.cpu_quota.or(file.cpu_quota),
        exclusive: entry.exclusive.unwrap_or(file.exclusive),
        clock: entry.clock.unwrap_or(file.clock),
    };
    ClusterConf {
        servers: file.hosts.iter().map(host).collect(),
        clients: file.clients.iter().map(host).collect(),
        security: file.security,
    }
}

fn simple(entries: Vec<SimpleEntry>) -> anyhow::Result<ClusterConf> {
    let mut conf = ClusterConf { servers: Vec::new(), clients: Vec::new(), security: None };
    for SimpleEntry { id, ip, port, role } in entries {
        if port > u16::MAX - 2 {
            bail!("host {id}: port {port} leaves no room for the two after it");
        }
        let host = HostConf {
            name: if role == Role::Server { format!("n{id}") } else { format!("c{id}") },
            address: ip,
            ssh: SshConf { user: None, key: None, port: SSH_PORT, known_hosts: None },
            data: DATA.into(),
            ports: PortsConf { client: port, http: port + 1, peer: port + 2 },
            sudo: false,
            cpu_quota: None,
            exclusive: false,
            clock: ClockConf::Node,
        };
        if role == Role::Server { conf.servers.push(host) } else { conf.clients.push(host) }
    }
    Ok(conf)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<ClusterConf> {
        ClusterConf::parse(text, Path::new("/conf"))
    }

    #[test]
    fn the_example_parses_and_serves_five_replicas() {
        let conf =
            ClusterConf::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../cluster.conf"))).unwrap();
        conf.check_local().unwrap();
        assert_eq!(conf.hosts_for(5).unwrap()[4].address.to_string(), "127.0.0.5");
        assert!(conf.hosts_for(6).unwrap_err().to_string().contains("5 hosts for 6 nodes"));
    }

    #[test]
    fn what_a_host_leaves_out_is_the_files() {
        let conf = parse(
            "
user: admin
key: keys/id
known_hosts: known_hosts
sudo: true
cpu_quota: 0.5
exclusive: true
clock: system
hosts:
  - { name: a, address: 10.0.0.1 }
  - { name: b, address: 'fd00::2', user: root, ssh_port: 2222, ports: { peer: 1, client: 2, http: 3 }, sudo: false, cpu_quota: 2, clock: node }
",
        )
        .unwrap();
        let [a, b] = &conf.servers[..] else { panic!("two hosts") };
        assert_eq!((a.ssh.user.as_deref(), a.ssh.port, a.sudo, a.ports), (Some("admin"), 22, true, PORTS));
        assert_eq!(a.ssh.key.as_deref(), Some(Path::new("/conf/keys/id")));
        assert_eq!((b.ssh.user.as_deref(), b.ssh.port, b.sudo, b.ports.http), (Some("root"), 2222, false, 3));
        assert_eq!((a.cpu_quota, b.cpu_quota), (Some(0.5), Some(2.0)));
        assert_eq!(
            (a.exclusive, a.clock, b.exclusive, b.clock),
            (true, ClockConf::System, true, ClockConf::Node)
        );
        assert_eq!(conf.security, None);
        let conf = parse("security: plaintext\nhosts: [{ name: a, address: '::1' }]").unwrap();
        assert_eq!(conf.security, Some(Security::Plaintext));
        let conf = parse("hosts: [{ name: a, address: 10.0.0.1 }]").unwrap();
        assert!(conf.check_local().unwrap_err().to_string().contains("10.0.0.1 is not a loopback address"));
    }

    #[test]
    fn the_simple_array_is_accepted_as_it_is() {
        let conf = parse(
            r#"[{"id": 1, "ip": "10.0.0.1", "port": 8000, "role": "server"},
                {"id": 2, "ip": "10.0.0.9", "port": 8000, "role": "client"}]"#,
        )
        .unwrap();
        assert_eq!((conf.servers[0].name.as_str(), conf.servers[0].ports.client), ("n1", 8000));
        assert_eq!(conf.clients[0].name, "c2");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("hosts: []", "there are none"),
            ("hosts:\n  - { name: n1, adress: 127.0.0.1 }", "adress"),
            ("hosts:\n  - { name: n1, adress: 127.0.0.1 }", "line 2"),
            (r#"{"hosts": [{"name": "n1"}]}"#, "address"),
            ("hosts: [{ name: a, address: '::1' }, { name: a, address: '::2' }]", "two hosts are named `a`"),
            ("hosts: [{ name: a, address: '::1' }, { name: b, address: '::1' }]", "another host's address"),
            ("hosts: [{ name: 'a b', address: '::1' }]", "letters, digits"),
            ("clock: system\nhosts: [{ name: a, address: '::1' }]", "`exclusive: true` only"),
            (
                "exclusive: true\nhosts: [{ name: a, address: '::1' }, { name: b, address: '::1', ssh_port: 2 }]",
                "another host's address, too",
            ),
            ("data: tmp\nhosts: [{ name: a, address: '::1' }]", "absolute path"),
            (
                "ports: { peer: 1, client: 1, http: 2 }\nhosts: [{ name: a, address: '::1' }]",
                "three different",
            ),
            ("cpu_quota: 0\nhosts: [{ name: a, address: '::1' }]", "a: cpu_quota: 0 is not 0.01 to 1024"),
            (r#"[{"id": 1, "ip": "10.0.0.1", "port": 65535, "role": "server"}]"#, "no room"),
            (r#"[{"id": 1, "ip": "10.0.0.1", "port": 80, "role": "servant"}]"#, "servant"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
