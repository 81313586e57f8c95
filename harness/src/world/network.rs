//! Who does what to the links between nodes: a host's own kernel what it can, the node's conditioner the rest. And whose clock is
//! bent: the node's own, or its host's.

use crate::cluster::ClockConf;
use crate::host::{ClockRequest, Host, Means, Remote};
use crate::world::cluster::Cluster;
use nemesis::evidence::add;
use nemesis::network::{HostLink, HostLinkCounters, HostMeans};
use nemesis::{InjectError, LinkMeans};
use protocol::NodeId;
use protocol::control::{
    ClockSetting, ControlRequest, LinkCondition, LinkConditions, NodeStatus, OneWayCondition,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// By node and peer's address: what the node's host has counted, and how much of it an earlier life of the node had seen.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// The conditions that the node's host has been told, as a node would tell them.
    told: BTreeMap<NodeId, BTreeMap<NodeId, LinkConditions>>,
    seen: BTreeMap<NodeId, Seen>,
    /// Nodes whose hosts' system clocks were moved.
    clocks: BTreeSet<NodeId>,
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
    pub(super) fn means_of(&self, condition: &OneWayCondition) -> LinkMeans {
        let of_host = |host: &Host| match host {
            Host::There(remote) => by_host(condition, &remote.means().network),
            Host::Here(_) => None,
        };
        let by_hosts: BTreeSet<Option<&'static str>> = self.hosts.iter().map(of_host).collect();
        match by_hosts.into_iter().collect::<Vec<_>>()[..] {
            [Some(by)] => LinkMeans { by, unit: "packets" },
            [None] => LinkMeans { by: "by the nodes' conditioners", unit: "messages" },
            _ => LinkMeans {
                by: "by some hosts' kernels and some nodes' conditioners",
                unit: "packets and messages",
            },
        }
    }

    /// Whose clocks a clock fault bends.
    pub(super) fn clocks_bent(&self) -> &'static str {
        let is_system = |host: &Host| matches!(host, Host::There(remote) if self.bends_system_clock(remote));
        if self.hosts.iter().any(is_system) { "the hosts' system clocks" } else { "the nodes' own clocks" }
    }

    fn bends_system_clock(&self, remote: &Remote) -> bool {
        !self.system().is_ours() || remote.conf().clock == ClockConf::System
    }

    /// Asks a node, and its host for what is its own: a part of the links, and maybe the clock.
    pub(super) async fn control_with_host(
        &mut self,
        node: NodeId,
        request: ControlRequest,
    ) -> Result<NodeStatus, InjectError> {
        let is_ours = self.system().is_ours();
        let Some(remote) = self.remote(node).cloned() else {
            return if is_ours { self.ask_status(node, request).await } else { Err(self.foreign()) };
        };
        // A clock that cannot be looked at keeps neither links from being set nor anything from being healed.
        let clock_error_us = self.bend_system_clock(node, &remote, &request).await;
        let (request, counters) = match request {
            ControlRequest::SetLinks { links, lease_ms } => {
                let (links, at_host) = self.split(&remote, links);
                if !is_ours && !links.is_empty() {
                    return Err(self.not_by_host(&remote));
                }
                let by_address = self.by_address(&self.with_far(node, &at_host));
                let counters = remote.set_network(by_address).await?;
                self.counted.told.insert(node, conditions(&at_host));
                (ControlRequest::SetLinks { links, lease_ms }, Ok(counters))
            }
            ControlRequest::Heal => {
                let mut counters = remote.heal_network().await;
                if counters.is_ok() {
                    self.counted.told.remove(&node);
                    if self.far.contains_key(&node) {
                        let by_address = self.by_address(&self.with_far(node, &BTreeMap::new()));
                        counters = remote.set_network(by_address).await;
                    }
                }
                (ControlRequest::Heal, counters)
            }
            // Its host's was set.
            ControlRequest::SetClock { .. } if self.bends_system_clock(&remote) => {
                (ControlRequest::Status, remote.count_network().await)
            }
            other => (other, remote.count_network().await),
        };
        let status = if is_ours {
            self.ask_status(node, request).await
        } else {
            Ok(NodeStatus { node, ..NodeStatus::default() })
        };
        let (clock_error_us, counters, mut status) = (clock_error_us?, counters?, status?);
        self.add_host(&mut status, &counters);
        status.leases_expired += remote.expired();
        status.clock_error_us = clock_error_us.unwrap_or(status.clock_error_us);
        Ok(status)
    }

    /// Has the host's system clock be as is asked, if it is the one that is bent; how far it is off, if it ever was by us.
    async fn bend_system_clock(
        &mut self,
        node: NodeId,
        remote: &Remote,
        request: &ControlRequest,
    ) -> Result<Option<i64>, InjectError> {
        if !self.bends_system_clock(remote) {
            return Ok(None);
        }
        let was_moved = self.counted.clocks.contains(&node);
        let asked = match request {
            ControlRequest::SetClock { clock, .. } if was_moved || *clock != ClockSetting::default() => {
                if let Err(why) = &remote.means().clock {
                    let host = &remote.conf().name;
                    let words = format!("the system clock of host {host} is left alone: {why}");
                    return Err(InjectError::Unsupported(words));
                }
                self.counted.clocks.insert(node);
                ClockRequest::Set(*clock)
            }
            ControlRequest::Heal if was_moved => ClockRequest::Heal,
            _ if was_moved => ClockRequest::Look,
            _ => return Ok(None),
        };
        let error_us = remote.clock(asked).await?;
        if asked == ClockRequest::Heal {
            self.counted.clocks.remove(&node);
        }
        Ok(Some(error_us))
    }

    fn foreign(&self) -> InjectError {
        let name = self.system().name();
        InjectError::Unsupported(format!(
            "{name} is a foreign process: links and clock are those of this machine, which is not broken for it (libfaketime would \
             not do: a Go program asks the kernel for the time by itself)"
        ))
    }

    fn not_by_host(&self, remote: &Remote) -> InjectError {
        let (name, host) = (self.system().name(), &remote.conf().name);
        let why = foreign_links(&remote.means().network);
        InjectError::Unsupported(format!("{name} is a foreign process, and host {host}: {why}"))
    }

    /// What is left to the node, and what its host does.
    fn split(
        &self,
        remote: &Remote,
        links: BTreeMap<NodeId, LinkConditions>,
    ) -> (BTreeMap<NodeId, LinkConditions>, BTreeMap<NodeId, HostLink>) {
        let (mut left, mut at_host) = (BTreeMap::new(), BTreeMap::new());
        for (peer, mut conditions) in links {
            let mut link = HostLink::default();
            let means = &remote.means().network;
            link.take_outbound(&mut conditions.outbound.all, means);
            if means.cut.is_none() {
                link.blocked_in = std::mem::take(&mut conditions.inbound.all.blocked);
            }
            if link != HostLink::default() {
                at_host.insert(peer, link);
            }
            if !conditions.is_clear() {
                left.insert(peer, conditions);
            }
        }
        (left, at_host)
    }

    /// Has hosts hold back what their foreign nodes send, as far as those are from one another.
    ///
    /// # Errors
    /// What a kernel's tools said.
    pub(super) async fn set_far(&self) -> Result<(), InjectError> {
        for node in self.far.keys() {
            if let Some(remote) = self.remote(*node) {
                let by_address = self.by_address(&self.with_far(*node, &BTreeMap::new()));
                remote.set_network(by_address).await?;
            }
        }
        Ok(())
    }

    /// What a node's host does to its links, faults and distances together.
    fn with_far(&self, node: NodeId, links: &BTreeMap<NodeId, HostLink>) -> BTreeMap<NodeId, HostLink> {
        self.far.get(&node).map_or_else(|| links.clone(), |far| and_far(links, far))
    }

    fn by_address(&self, links: &BTreeMap<NodeId, HostLink>) -> BTreeMap<IpAddr, HostLink> {
        links.iter().map(|(peer, link)| (self.ports[peer].peer.ip(), *link)).collect()
    }

    /// Adds to what a node says of its links what its host says of them.
    fn add_host(&mut self, status: &mut NodeStatus, counters: &BTreeMap<IpAddr, HostLinkCounters>) {
        let seen = self.counted.seen.entry(status.node).or_default();
        if seen.pid != status.pid {
            // Counters of a node begin anew with its process, and whoever reads them goes by that.
            let before = if seen.pid == 0 { BTreeMap::new() } else { counters.clone() };
            *seen = Seen { pid: status.pid, before };
        }
        for (peer, ports) in self.ports.iter().filter(|(peer, _)| **peer != status.node) {
            let Some(now) = counters.get(&ports.peer.ip()) else { continue };
            let before = seen.before.get(&ports.peer.ip()).copied().unwrap_or_default();
            add(status.outbound.entry(*peer).or_default(), &now.outbound, &before.outbound);
            add(status.inbound.entry(*peer).or_default(), &now.inbound, &before.inbound);
        }
        for (peer, told) in self.counted.told.get(&status.node).into_iter().flatten() {
            let in_force = status.links.entry(*peer).or_default();
            in_force.outbound.all.blocked |= told.outbound.all.blocked;
            in_force.inbound.all.blocked |= told.inbound.all.blocked;
            in_force.outbound.all.loss = in_force.outbound.all.loss.max(told.outbound.all.loss);
            in_force.outbound.all.rate_bytes_s =
                in_force.outbound.all.rate_bytes_s.max(told.outbound.all.rate_bytes_s);
            in_force.outbound.all.latency_us =
                in_force.outbound.all.latency_us.max(told.outbound.all.latency_us);
            in_force.outbound.all.jitter_us =
                in_force.outbound.all.jitter_us.max(told.outbound.all.jitter_us);
        }
    }
}

/// A delay comes on top of a distance.
fn and_far(
    links: &BTreeMap<NodeId, HostLink>,
    far: &BTreeMap<NodeId, Duration>,
) -> BTreeMap<NodeId, HostLink> {
    let mut all = links.clone();
    for (peer, one_way) in far {
        let us = u64::try_from(one_way.as_micros()).expect("validated: under a minute");
        all.entry(*peer).or_default().netem_out.latency_us += us;
    }
    all
}

/// What a host does, as a node would tell it.
fn conditions(links: &BTreeMap<NodeId, HostLink>) -> BTreeMap<NodeId, LinkConditions> {
    let told = |link: &HostLink| LinkConditions {
        outbound: LinkCondition {
            blocked: link.blocked_out,
            loss: link.loss_out.max(link.netem_out.loss),
            latency_us: link.netem_out.latency_us,
            jitter_us: link.netem_out.jitter_us,
            rate_bytes_s: link.rate_out_bytes_s,
            ..LinkCondition::default()
        }
        .into(),
        inbound: LinkCondition { blocked: link.blocked_in, ..LinkCondition::default() }.into(),
    };
    links.iter().map(|(peer, link)| (*peer, told(link))).collect()
}

/// By what means a host's kernel makes a condition come about, if it does. It cannot tell kinds of messages apart.
fn by_host(condition: &OneWayCondition, means: &HostMeans) -> Option<&'static str> {
    let OneWayCondition { all: condition, kinds } = condition;
    if !kinds.is_empty() {
        return None;
    }
    let mut left = *condition;
    HostLink::default().take_outbound(&mut left, means);
    if !left.is_clear() {
        return None;
    }
    let is_late = condition.latency_us > 0 || condition.jitter_us > 0;
    Some(if condition.blocked {
        "by the hosts' firewalls"
    } else if means.netem.is_none() && (is_late || condition.loss > 0.0) {
        "by the hosts' netem (packets)"
    } else if condition.loss > 0.0 {
        "by the hosts' firewalls (packets)"
    } else {
        "by the hosts' traffic classes (htb)"
    })
}

/// Why a host's kernel does not do to a foreign system's links what was asked.
pub(crate) fn foreign_links(means: &HostMeans) -> String {
    let not = [&means.cut, &means.rate, &means.netem].into_iter().flatten().next();
    match not {
        Some(why) => format!("its links can be made bad by the host's kernel only: {why}"),
        None => {
            "packets that a host would duplicate or reorder TCP puts right before a node sees them".into()
        }
    }
}

/// By what means a host's links and clock are made bad, for reports.
pub(super) fn means_in_words(Means { network, clock }: &Means) -> Vec<(String, String)> {
    let HostMeans { cut, loss, rate, netem } = network;
    let by = |what: &str, not: Option<&String>, kernel: &str| {
        let words = match not {
            None => kernel.to_owned(),
            Some(why) => format!("the nodes' conditioners ({why})"),
        };
        (what.to_owned(), words)
    };
    let loses =
        if netem.is_none() { "the host's netem, of packets" } else { "the host's firewall, of packets" };
    vec![
        by("cut", cut.as_ref(), "the host's firewall"),
        by("loss", loss.as_ref().and(netem.as_ref()), loses),
        by("rate", rate.as_ref(), "the host's traffic classes (htb)"),
        by("delay", netem.as_ref(), "the host's netem, of packets"),
        ("duplicate, reorder".to_owned(), "the nodes' conditioners".to_owned()),
        (
            "system clock".to_owned(),
            match clock {
                Ok(daemons) if daemons.is_empty() => "may be moved".to_owned(),
                Ok(daemons) => format!("may be moved: {} is stopped meanwhile", daemons.join(", ")),
                Err(why) => format!("left alone: {why}"),
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use nemesis::network::Netem;

    #[test]
    fn a_host_holds_back_what_goes_far_whatever_else_it_does() {
        let late = |latency_us| Netem { latency_us, ..Netem::default() };
        let (near, far, cut) = (NodeId(1), NodeId(2), NodeId(3));
        let faults = [
            (near, HostLink { netem_out: late(5_000), ..HostLink::default() }),
            (far, HostLink { netem_out: late(5_000), ..HostLink::default() }),
            (cut, HostLink { blocked_out: true, ..HostLink::default() }),
        ];
        let distances = [(far, Duration::from_millis(20)), (cut, Duration::from_millis(45))].into();
        let links = and_far(&faults.into(), &distances);
        assert_eq!([near, far, cut].map(|node| links[&node].netem_out.latency_us), [5_000, 25_000, 45_000]);
        assert!(links[&cut].blocked_out);
        assert_eq!(and_far(&BTreeMap::new(), &distances).len(), 2, "healed, they are as far as before");
    }

    #[test]
    fn what_is_said_of_a_condition_is_what_the_kernel_can_do() {
        let no = || Some("no".to_owned());
        let all = HostMeans::default();
        let no_netem = HostMeans { netem: no(), ..HostMeans::default() };
        let no_kernel = HostMeans { cut: no(), loss: no(), rate: no(), netem: no() };
        let clear = LinkCondition::default();
        let late = LinkCondition { jitter_us: 1, ..clear };
        let lossy = LinkCondition { loss: 0.1, ..clear };
        let twice = LinkCondition { duplicate: 0.1, ..clear };
        for (condition, means, by) in [
            (late, &all, Some("by the hosts' netem (packets)")),
            (late, &no_netem, None),
            (lossy, &all, Some("by the hosts' netem (packets)")),
            (lossy, &no_netem, Some("by the hosts' firewalls (packets)")),
            (lossy, &no_kernel, None),
            (twice, &all, None),
            (LinkCondition { blocked: true, ..clear }, &all, Some("by the hosts' firewalls")),
            (
                LinkCondition { rate_bytes_s: 1, ..clear },
                &no_netem,
                Some("by the hosts' traffic classes (htb)"),
            ),
        ] {
            assert_eq!(by_host(&condition.into(), means), by, "{condition:?}");
        }
        let of_a_kind =
            OneWayCondition { kinds: [("vote".to_owned(), lossy)].into(), ..OneWayCondition::default() };
        assert_eq!(by_host(&of_a_kind, &all), None, "a kernel does not know what a message is");
        assert!(foreign_links(&all).contains("TCP"));
        assert_eq!(foreign_links(&no_netem), "its links can be made bad by the host's kernel only: no");
    }
}
