//! `cluster.conf`: which hosts a plan's nodes run on.

use anyhow::{Context, bail};
use protocol::ReplicaId;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// The hosts, in the order of the replicas. YAML, so JSON parses too.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterConf {
    hosts: Vec<Host>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Host {
    name: String,
    address: IpAddr,
}

impl ClusterConf {
    /// Reads a file.
    ///
    /// # Errors
    /// With file, line and what was expected.
    pub(crate) fn load(path: &Path) -> anyhow::Result<ClusterConf> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        ClusterConf::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<ClusterConf> {
        let conf: ClusterConf = serde_yaml::from_str(text)?;
        for (i, host) in conf.hosts.iter().enumerate() {
            let expected = format!("n{}", i + 1);
            if host.name != expected {
                bail!(
                    "host {} is named `{}`, expected `{expected}`: hosts stand in the order of the replicas",
                    i + 1,
                    host.name
                );
            }
            if !host.address.is_loopback() {
                bail!(
                    "{}: {} is not a loopback address, the local world has no others",
                    host.name,
                    host.address
                );
            }
        }
        Ok(conf)
    }

    /// Where a replica runs.
    ///
    /// # Errors
    /// If the file has no host for it.
    pub(crate) fn address(&self, replica: ReplicaId) -> anyhow::Result<IpAddr> {
        let host = usize::try_from(replica.0 - 1).ok().and_then(|i| self.hosts.get(i));
        let host =
            host.with_context(|| format!("cluster.conf has {} hosts, none for {replica}", self.hosts.len()))?;
        Ok(host.address)
    }
}

/// Where a replica runs, with or without a file.
///
/// # Errors
/// If the file has no host for it.
pub(crate) fn address(conf: Option<&ClusterConf>, replica: ReplicaId) -> anyhow::Result<IpAddr> {
    conf.map_or(Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)), |conf| conf.address(replica))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_parses_and_serves_five_replicas() {
        let conf =
            ClusterConf::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../cluster.conf"))).unwrap();
        assert_eq!(conf.address(ReplicaId(5)).unwrap().to_string(), "127.0.0.5");
        assert!(conf.address(ReplicaId(6)).unwrap_err().to_string().contains("none for n6"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("hosts: [{ name: n1, address: 10.0.0.1 }]", "10.0.0.1 is not a loopback address"),
            ("hosts: [{ name: n2, address: 127.0.0.1 }]", "expected `n1`"),
            ("hosts:\n  - { name: n1, adress: 127.0.0.1 }", "adress"),
            (r#"{"hosts": [{"name": "n1"}]}"#, "address"),
        ] {
            let error = format!("{:#}", ClusterConf::parse(text).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
        assert!(ClusterConf::parse(r#"{"hosts": [{"name": "n1", "address": "127.0.0.9"}]}"#).is_ok());
    }
}
