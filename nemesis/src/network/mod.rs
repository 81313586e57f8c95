//! What a host does to the packets of its peers, by means of its kernel: a firewall chain of our own for cuts and losses, a
//! traffic class of our own for rates. Whatever else the host's firewall holds is left alone, and SSH always passes.
//!
//! | file | concept |
//! |---|---|
//! | `firewall.rs` | iptables and ip6tables: two chains of our own |
//! | `shaper.rs` | tc: a class for each slow peer |

mod firewall;
mod shaper;

use firewall::{Family, Rule, RuleKind, rules_of};
use protocol::control::{LinkCondition, LinkCounters};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What happens to the packets between this host and one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct HostLink {
    /// Nothing leaves.
    pub blocked_out: bool,
    /// Nothing is let in.
    pub blocked_in: bool,
    /// Probability that a packet that leaves is lost, 0 to 1.
    pub loss_out: f64,
    /// Bytes a second that leave; 0 is unlimited.
    pub rate_out_bytes_s: u64,
}

impl HostLink {
    /// Takes over of a condition what a host can do; the rest stays with the node.
    pub fn take_outbound(&mut self, condition: &mut LinkCondition, means: &HostMeans) {
        if means.cut.is_none() {
            self.blocked_out = std::mem::take(&mut condition.blocked);
        }
        if means.loss.is_none() {
            self.loss_out = std::mem::take(&mut condition.loss);
        }
        if means.rate.is_none() {
            self.rate_out_bytes_s = std::mem::take(&mut condition.rate_bytes_s);
        }
    }
}

/// Counted since the host was begun with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLinkCounters {
    /// Packets that did not leave, or were held up.
    pub outbound: LinkCounters,
    /// Packets that were not let in.
    pub inbound: LinkCounters,
}

/// What a host's kernel can do to packets; for what it cannot: why not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMeans {
    /// Cuts.
    pub cut: Option<String>,
    /// Losses.
    pub loss: Option<String>,
    /// Rates.
    pub rate: Option<String>,
}

/// The part of a host's network that is ours.
#[derive(Debug)]
pub struct HostNetwork {
    /// Of the host's SSH server: it always passes.
    ssh_port: u16,
    in_force: BTreeMap<IpAddr, HostLink>,
    /// Counted by rules and classes that are gone.
    before: BTreeMap<IpAddr, HostLinkCounters>,
}

impl HostNetwork {
    /// Nothing in force. Call [`HostNetwork::heal`] first where an earlier life may have left something.
    #[must_use]
    pub fn new(ssh_port: u16) -> Self {
        Self { ssh_port, in_force: BTreeMap::new(), before: BTreeMap::new() }
    }

    /// Finds out what the kernel can do to packets to `peer`, by trying it on chains that nothing jumps to.
    pub async fn probe(&self, peer: IpAddr) -> HostMeans {
        let trial = |kind| [Rule { peer, kind }];
        let family = Family::of(peer);
        let cut = firewall::try_out(family, &trial(RuleKind::BlockIn)).await.err();
        let loss = match &cut {
            Some(_) => cut.clone(),
            None => firewall::try_out(family, &trial(RuleKind::LoseOut(0.5))).await.err(),
        };
        HostMeans { cut, loss, rate: shaper::try_out(peer).await.err() }
    }

    /// Puts these in force, and nothing else. Peers not named are clear.
    ///
    /// # Errors
    /// What the kernel's tools said. What is in force then is uncertain: heal.
    pub async fn set(&mut self, links: BTreeMap<IpAddr, HostLink>) -> Result<(), String> {
        let links: BTreeMap<_, _> =
            links.into_iter().filter(|(_, link)| *link != HostLink::default()).collect();
        if links == self.in_force {
            return Ok(());
        }
        if links.is_empty() {
            return self.heal().await;
        }
        self.before = self.counters().await?;
        for family in Family::ALL {
            let rules = rules_of(&links, family);
            // What was set before and is clear now has to go, too.
            if rules.is_empty() && rules_of(&self.in_force, family).is_empty() {
                continue;
            }
            firewall::set(family, self.ssh_port, &rules).await?;
        }
        shaper::set(&rates(&links)).await?;
        self.in_force = links;
        Ok(())
    }

    /// What was done to packets since this host was begun with.
    ///
    /// # Errors
    /// What the kernel's tools said.
    pub async fn counters(&self) -> Result<BTreeMap<IpAddr, HostLinkCounters>, String> {
        let mut counters = self.before.clone();
        for family in Family::ALL {
            let rules = rules_of(&self.in_force, family);
            if rules.is_empty() {
                continue;
            }
            for (rule, packets) in firewall::counted(family, &rules).await? {
                let of = counters.entry(rule.peer).or_default();
                match rule.kind {
                    RuleKind::BlockIn => of.inbound.blocked += packets,
                    RuleKind::BlockOut => of.outbound.blocked += packets,
                    RuleKind::LoseOut(_) => of.outbound.lost += packets,
                }
            }
        }
        for (peer, packets) in shaper::counted(&rates(&self.in_force)).await? {
            counters.entry(peer).or_default().outbound.throttled += packets;
        }
        Ok(counters)
    }

    /// Takes away all that is ours, whoever made it, and looks whether it is gone.
    ///
    /// # Errors
    /// If it is not, or cannot be looked at.
    pub async fn heal(&mut self) -> Result<(), String> {
        // What cannot be counted any more can be taken away still.
        if let Ok(counters) = self.counters().await {
            self.before = counters;
        }
        for family in Family::ALL {
            firewall::remove(family).await?;
        }
        shaper::remove().await?;
        self.in_force.clear();
        Ok(())
    }
}

fn rates(links: &BTreeMap<IpAddr, HostLink>) -> BTreeMap<IpAddr, u64> {
    let slow = links.iter().filter(|(_, link)| link.rate_out_bytes_s > 0);
    slow.map(|(peer, link)| (*peer, link.rate_out_bytes_s)).collect()
}

/// Runs one of the kernel's tools.
async fn run(program: &str, args: &[&str], input: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no {program}"),
        _ => format!("{program}: {error}"),
    };
    let mut command = Command::new(program);
    // A user's PATH may leave out where these are.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    command.args(args).env("PATH", path).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let mut stdin = child.stdin.take().expect("piped");
    // One that does not want to hear it says so by how it ends.
    stdin.write_all(input.as_bytes()).await.ok();
    drop(stdin);
    let output = child.wait_with_output().await.map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let line = words.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed without a word");
    Err(format!("{program} {}: {line}", args.join(" ")))
}
