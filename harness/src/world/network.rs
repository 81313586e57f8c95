//! Who does what to the links between nodes: a host's own kernel what it can, the node's conditioner the rest.

use crate::host::{Host, Remote};
use crate::world::cluster::Cluster;
use nemesis::InjectError;
use nemesis::evidence::add;
use nemesis::network::{HostLink, HostLinkCounters, HostMeans};
use protocol::ReplicaId;
use protocol::control::{ClockSetting, ControlRequest, LinkCondition, LinkConditions, NodeStatus};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// By node and peer's address: what the node's host has counted, and how much of it an earlier life of the node had seen.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// The conditions that the node's host has been told, as a node would tell them.
    told: BTreeMap<ReplicaId, BTreeMap<ReplicaId, LinkConditions>>,
    seen: BTreeMap<ReplicaId, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The node's process when it was last asked.
    pid: u32,
    /// What its host had counted when this process was first seen.
    before: BTreeMap<IpAddr, HostLinkCounters>,
}

impl Cluster {
    /// By what means a condition comes about.
    pub(super) fn means_of(&self, condition: &LinkCondition) -> &'static str {
        let by_hosts = |why_not: fn(&HostMeans) -> &Option<String>| {
            self.hosts
                .iter()
                .all(|host| matches!(host, Host::There(remote) if why_not(remote.means()).is_none()))
        };
        if condition.blocked && by_hosts(|means| &means.cut) {
            "by the hosts' firewalls"
        } else if condition.loss > 0.0 && by_hosts(|means| &means.loss) {
            "by the hosts' firewalls (packets)"
        } else if condition.rate_bytes_s > 0 && by_hosts(|means| &means.rate) {
            "by the hosts' traffic classes (htb)"
        } else {
            "by the nodes' conditioners"
        }
    }

    /// Asks a node, and its host for the part of the links that is its own.
    pub(super) async fn control_with_host(
        &mut self,
        node: ReplicaId,
        request: ControlRequest,
    ) -> Result<NodeStatus, InjectError> {
        let is_ours = self.system().is_ours();
        let Some(remote) = self.remote(node).cloned() else {
            return if is_ours { self.ask_status(node, request).await } else { Err(self.foreign()) };
        };
        let (request, counters) = match request {
            ControlRequest::SetLinks { links, lease_ms } => {
                let (links, at_host) = self.split(&remote, links);
                if !is_ours && !links.is_empty() {
                    return Err(self.foreign());
                }
                let by_address = self.by_address(&at_host);
                let counters = remote.set_network(by_address).await?;
                self.counted.told.insert(node, conditions(&at_host));
                (ControlRequest::SetLinks { links, lease_ms }, counters)
            }
            ControlRequest::Heal => {
                let counters = remote.heal_network().await?;
                self.counted.told.remove(&node);
                (ControlRequest::Heal, counters)
            }
            ControlRequest::SetClock { clock, .. } if !is_ours && clock != ClockSetting::default() => {
                return Err(self.foreign());
            }
            other => (other, remote.count_network().await?),
        };
        let mut status = if is_ours {
            self.ask_status(node, request).await?
        } else {
            NodeStatus { replica: node, ..NodeStatus::default() }
        };
        self.add_host(&mut status, &counters);
        status.leases_expired += remote.expired();
        Ok(status)
    }

    fn foreign(&self) -> InjectError {
        let name = self.system().name();
        InjectError::Unsupported(format!(
            "{name} is a foreign process: it has no link conditioner or clock of ours"
        ))
    }

    /// What is left to the node, and what its host does.
    fn split(
        &self,
        remote: &Remote,
        links: BTreeMap<ReplicaId, LinkConditions>,
    ) -> (BTreeMap<ReplicaId, LinkConditions>, BTreeMap<ReplicaId, HostLink>) {
        let (mut left, mut at_host) = (BTreeMap::new(), BTreeMap::new());
        for (peer, mut conditions) in links {
            let mut link = HostLink::default();
            link.take_outbound(&mut conditions.outbound, remote.means());
            if remote.means().cut.is_none() {
                link.blocked_in = std::mem::take(&mut conditions.inbound.blocked);
            }
            if link != HostLink::default() {
                at_host.insert(peer, link);
            }
            if conditions != LinkConditions::default() {
                left.insert(peer, conditions);
            }
        }
        (left, at_host)
    }

    fn by_address(&self, links: &BTreeMap<ReplicaId, HostLink>) -> BTreeMap<IpAddr, HostLink> {
        links.iter().map(|(peer, link)| (self.ports[peer].peer.ip(), *link)).collect()
    }

    /// Adds to what a node says of its links what its host says of them.
    fn add_host(&mut self, status: &mut NodeStatus, counters: &BTreeMap<IpAddr, HostLinkCounters>) {
        let seen = self.counted.seen.entry(status.replica).or_default();
        if seen.pid != status.pid {
            // Counters of a node begin anew with its process, and whoever reads them goes by that.
            let before = if seen.pid == 0 { BTreeMap::new() } else { counters.clone() };
            *seen = Seen { pid: status.pid, before };
        }
        for (peer, ports) in self.ports.iter().filter(|(peer, _)| **peer != status.replica) {
            let Some(now) = counters.get(&ports.peer.ip()) else { continue };
            let before = seen.before.get(&ports.peer.ip()).copied().unwrap_or_default();
            add(status.outbound.entry(*peer).or_default(), &now.outbound, &before.outbound);
            add(status.inbound.entry(*peer).or_default(), &now.inbound, &before.inbound);
        }
        for (peer, told) in self.counted.told.get(&status.replica).into_iter().flatten() {
            let in_force = status.links.entry(*peer).or_default();
            in_force.outbound.blocked |= told.outbound.blocked;
            in_force.inbound.blocked |= told.inbound.blocked;
            in_force.outbound.loss = in_force.outbound.loss.max(told.outbound.loss);
            in_force.outbound.rate_bytes_s = in_force.outbound.rate_bytes_s.max(told.outbound.rate_bytes_s);
        }
    }
}

/// What a host does, as a node would tell it.
fn conditions(links: &BTreeMap<ReplicaId, HostLink>) -> BTreeMap<ReplicaId, LinkConditions> {
    let told = |link: &HostLink| LinkConditions {
        outbound: LinkCondition {
            blocked: link.blocked_out,
            loss: link.loss_out,
            rate_bytes_s: link.rate_out_bytes_s,
            ..LinkCondition::default()
        },
        inbound: LinkCondition { blocked: link.blocked_in, ..LinkCondition::default() },
    };
    links.iter().map(|(peer, link)| (*peer, told(link))).collect()
}

/// By what means a host's links are made bad, for reports.
pub(super) fn means_in_words(means: &HostMeans) -> Vec<(String, String)> {
    let HostMeans { cut, loss, rate } = means;
    let by = |what: &str, not: &Option<String>, kernel: &str| {
        let words = match not {
            None => kernel.to_owned(),
            Some(why) => format!("the nodes' conditioners ({why})"),
        };
        (what.to_owned(), words)
    };
    vec![
        by("cut", cut, "the host's firewall"),
        by("loss", loss, "the host's firewall, of packets"),
        by("rate", rate, "the host's traffic classes (htb)"),
        ("delay, duplicate, reorder".to_owned(), "the nodes' conditioners".to_owned()),
    ]
}
