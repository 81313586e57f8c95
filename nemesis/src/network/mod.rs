//! What a host does to the packets of its peers, by means of its kernel: a firewall chain of our own for cuts, a traffic class of
//! our own for rates, netem for delays and losses (the firewall for losses where there is no netem). Whatever else the host's
//! firewall holds is left alone, and SSH always passes.
//!
//! | file | concept |
//! |---|---|
//! | `firewall.rs` | iptables and ip6tables: two chains of our own |
//! | `shaper.rs` | tc: a class for each peer whose link is slow, late or lossy |

mod firewall;
mod shaper;

use crate::evidence::add;
use firewall::{Family, Rule, RuleKind, rules_of};
use protocol::control::{LinkCondition, LinkCounters};
use serde::{Deserialize, Serialize};
use shaper::{Shape, Shaper};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What happens to the packets between this host and one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct HostLink {
    /// Nothing leaves.
    pub blocked_out: bool,
    /// Nothing is let in.
    pub blocked_in: bool,
    /// Probability that the firewall drops a packet that leaves, 0 to 1.
    pub loss_out: f64,
    /// Bytes a second that leave; 0 is unlimited.
    pub rate_out_bytes_s: u64,
    /// What netem does to what leaves.
    pub netem_out: Netem,
}

/// What netem does to packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Netem {
    /// Added to each, microseconds.
    pub latency_us: u64,
    /// Added on top, drawn uniformly from 0 to this, microseconds. Order is kept.
    pub jitter_us: u64,
    /// Probability that one is lost, 0 to 1.
    pub loss: f64,
}

impl Netem {
    fn is_late(&self) -> bool {
        self.latency_us > 0 || self.jitter_us > 0
    }
}

impl HostLink {
    /// Takes over of a condition what a host can do; the rest stays with the node.
    pub fn take_outbound(&mut self, condition: &mut LinkCondition, means: &HostMeans) {
        if means.cut.is_none() {
            self.blocked_out = std::mem::take(&mut condition.blocked);
        }
        if means.netem.is_none() {
            self.netem_out = Netem {
                latency_us: std::mem::take(&mut condition.latency_us),
                jitter_us: std::mem::take(&mut condition.jitter_us),
                // As on a wire: of what the firewall drops, the sender's own TCP is told.
                loss: std::mem::take(&mut condition.loss),
            };
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
    /// Losses, by the firewall.
    pub loss: Option<String>,
    /// Rates.
    pub rate: Option<String>,
    /// Delays, and losses.
    pub netem: Option<String>,
}

/// The part of a host's network that is ours.
#[derive(Debug)]
pub struct HostNetwork {
    /// Of the host's SSH server: it always passes.
    ssh_port: u16,
    in_force: BTreeMap<IpAddr, HostLink>,
    /// Whether that is known: something may have failed half-way.
    is_certain: bool,
    shaper: Shaper,
    /// Counted by rules and classes that are gone.
    before: BTreeMap<IpAddr, HostLinkCounters>,
}

impl HostNetwork {
    /// Nothing in force. Call [`HostNetwork::heal`] first where an earlier life may have left something.
    #[must_use]
    pub fn new(ssh_port: u16) -> Self {
        Self {
            ssh_port,
            in_force: BTreeMap::new(),
            is_certain: true,
            shaper: Shaper::default(),
            before: BTreeMap::new(),
        }
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
        let rate = shaper::try_out(self.ssh_port, peer, Shape::default()).await.err();
        let netem = match &rate {
            Some(_) => rate.clone(),
            None => {
                let netem = Netem { latency_us: 1, ..Netem::default() };
                shaper::try_out(self.ssh_port, peer, Shape { netem, ..Shape::default() }).await.err()
            }
        };
        HostMeans { cut, loss, rate, netem }
    }

    /// Puts these in force, and nothing else. Peers not named are clear.
    ///
    /// # Errors
    /// What the kernel's tools said. Nothing is in force then, if it could be taken back.
    pub async fn set(&mut self, links: BTreeMap<IpAddr, HostLink>) -> Result<(), String> {
        let links: BTreeMap<_, _> =
            links.into_iter().filter(|(_, link)| *link != HostLink::default()).collect();
        if self.is_certain && links == self.in_force {
            return Ok(());
        }
        if links.is_empty() {
            return self.heal().await;
        }
        if !self.is_certain {
            self.heal().await?;
        }
        self.is_certain = false;
        match self.replace(links).await {
            Ok(()) => {
                self.is_certain = true;
                Ok(())
            }
            Err(why) => match self.heal().await {
                Ok(()) => Err(why),
                Err(left) => Err(format!("{why}; taking it back: {left}")),
            },
        }
    }

    async fn replace(&mut self, links: BTreeMap<IpAddr, HostLink>) -> Result<(), String> {
        let mut counted = self.before.clone();
        for family in Family::ALL {
            let (rules, replaced) = (rules_of(&links, family), rules_of(&self.in_force, family));
            if rules != replaced {
                count_rules(family, &replaced, &mut counted).await?;
                firewall::set(family, self.ssh_port, &rules).await?;
            }
        }
        // A class that is replaced loses what it holds.
        if shapes(&links) != shapes(&self.in_force) {
            count_shapes(&self.shaper, &mut counted).await?;
            self.shaper.set(self.ssh_port, &shapes(&links)).await?;
        }
        (self.before, self.in_force) = (counted, links);
        Ok(())
    }

    /// What was done to packets since this host was begun with.
    ///
    /// # Errors
    /// What the kernel's tools said.
    pub async fn counters(&self) -> Result<BTreeMap<IpAddr, HostLinkCounters>, String> {
        let mut counters = self.before.clone();
        for family in Family::ALL {
            count_rules(family, &rules_of(&self.in_force, family), &mut counters).await?;
        }
        count_shapes(&self.shaper, &mut counters).await?;
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
        // One that fails does not keep the others from going.
        self.is_certain = false;
        let mut removed = Ok(());
        for family in Family::ALL {
            removed = removed.and(firewall::remove(family).await);
        }
        removed = removed.and(shaper::remove().await);
        self.shaper = Shaper::default();
        self.in_force.clear();
        self.is_certain = removed.is_ok();
        removed
    }
}

fn shapes(links: &BTreeMap<IpAddr, HostLink>) -> BTreeMap<IpAddr, Shape> {
    let shape = |link: &HostLink| Shape { rate_bytes_s: link.rate_out_bytes_s, netem: link.netem_out };
    let shapes = links.iter().map(|(peer, link)| (*peer, shape(link)));
    shapes.filter(|(_, shape)| *shape != Shape::default()).collect()
}

type Counters = BTreeMap<IpAddr, HostLinkCounters>;

/// Adds what these rules, which are in force, have caught.
async fn count_rules(family: Family, rules: &[Rule], counters: &mut Counters) -> Result<(), String> {
    if rules.is_empty() {
        return Ok(());
    }
    for (rule, packets) in firewall::counted(family, rules).await? {
        let of = counters.entry(rule.peer).or_default();
        match rule.kind {
            RuleKind::BlockIn => of.inbound.blocked += packets,
            RuleKind::BlockOut => of.outbound.blocked += packets,
            RuleKind::LoseOut(_) => of.outbound.lost += packets,
        }
    }
    Ok(())
}

/// Adds what classes in force have done.
async fn count_shapes(shaper: &Shaper, counters: &mut Counters) -> Result<(), String> {
    for (peer, counted) in shaper.counted().await? {
        add(&mut counters.entry(peer).or_default().outbound, &counted, &LinkCounters::default());
    }
    Ok(())
}
