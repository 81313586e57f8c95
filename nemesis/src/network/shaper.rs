//! A class of its own for what leaves to each peer whose link is slow or late, under a root of ours (htb), with netem as its leaf
//! where packets are late or lost; all else, SSH first of all, passes it by. A device that has somebody else's root is left alone.
//!
//! Jitter of netem is about a mean, a plan's comes on top. Packets that netem delays by different times overtake each other, unless
//! it has a rate, which makes each wait for the one before: it gets one, so that order is kept as the nodes' conditioners keep it.
//! What netem duplicates or reorders a receiver's TCP puts right before a node sees it, so that is not asked of it.

use super::Netem;
use crate::program::run;
use protocol::control::LinkCounters;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Our root's handle, by which it is known again.
const ROOT: &str = "6a1e:";
/// A burst of so many milliseconds passes at once: enough for timers of 250 Hz.
const BURST_MS: u64 = 8;
const BURST_BYTES_MIN: u64 = 3_000;
/// A rate that nobody notices.
const RATE_FREE_BYTES_S: u64 = 10_000_000_000;
/// Of the filters for SSH; those for peers come after them.
const PRIO_SSH: u16 = 1;
const PRIO_PEERS: u16 = 3;
/// Netem loses what it cannot hold: so many packets a second of delay (2.4 Gbit/s of full ones), and some.
const HELD_PER_S: u64 = 200_000;
const HELD_MIN: u64 = 1_000;

/// What is done to packets that leave to one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Shape {
    /// 0 is unlimited.
    pub(super) rate_bytes_s: u64,
    pub(super) netem: Netem,
}

/// What is in force.
#[derive(Debug, Default)]
pub(super) struct Shaper {
    classes: Vec<Class>,
}

#[derive(Debug)]
struct Class {
    peer: IpAddr,
    shape: Shape,
    device: String,
    id: String,
}

impl Shaper {
    /// Puts exactly these shapes in force.
    pub(super) async fn set(
        &mut self,
        ssh_port: u16,
        shapes: &BTreeMap<IpAddr, Shape>,
    ) -> Result<(), String> {
        self.classes.clear();
        remove().await?;
        let mut rooted = BTreeSet::new();
        for (number, (peer, shape)) in (1..).zip(shapes) {
            let device = device_to(*peer).await?;
            if rooted.insert(device.clone()) {
                check_free(&device).await?;
                tc(&format!("qdisc add dev {device} root handle {ROOT} htb")).await?;
                for command in ssh_passes(&device, ssh_port) {
                    tc(&command).await?;
                }
            }
            for command in class_commands(&device, number, *peer, shape) {
                tc(&command).await?;
            }
            self.classes.push(Class { peer: *peer, shape: *shape, device, id: class_id(number) });
        }
        Ok(())
    }

    /// What each class in force has done to packets.
    pub(super) async fn counted(&self) -> Result<Vec<(IpAddr, LinkCounters)>, String> {
        let devices: BTreeSet<&str> = self.classes.iter().map(|class| class.device.as_str()).collect();
        let mut listings = BTreeMap::new();
        for device in devices {
            let classes = tc(&format!("-s class show dev {device}")).await?;
            listings.insert(device, (classes, tc(&format!("-s qdisc show dev {device}")).await?));
        }
        let count = |class: &Class| {
            let (classes, leaves) = &listings[class.device.as_str()];
            let counters = counters(&class.shape, &class.id, classes, leaves);
            let counters = counters.ok_or_else(|| format!("{} has no class {}", class.device, class.id))?;
            Ok((class.peer, counters))
        };
        self.classes.iter().map(count).collect()
    }
}

/// What the host's SSH server sends and is sent goes straight to the device.
fn ssh_passes(device: &str, ssh_port: u16) -> Vec<String> {
    let filter = |(prio, protocol, header), end| {
        format!(
            "filter add dev {device} parent {ROOT} protocol {protocol} prio {prio} u32 \
             match {header} protocol 6 0xff match {header} {end} {ssh_port} 0xffff flowid {ROOT}0"
        )
    };
    let families = [(PRIO_SSH, "ip", "ip"), (PRIO_SSH + 1, "ipv6", "ip6")];
    families.into_iter().flat_map(|family| ["sport", "dport"].map(|end| filter(family, end))).collect()
}

fn class_id(number: u16) -> String {
    format!("{ROOT}{number:x}")
}

fn class_commands(device: &str, number: u16, peer: IpAddr, shape: &Shape) -> Vec<String> {
    let rate = if shape.rate_bytes_s == 0 { RATE_FREE_BYTES_S } else { shape.rate_bytes_s };
    let burst = (rate * BURST_MS / 1_000).max(BURST_BYTES_MIN);
    let (protocol, matched) = if peer.is_ipv4() {
        ("ip", format!("ip dst {peer}/32"))
    } else {
        ("ipv6", format!("ip6 dst {peer}/128"))
    };
    let id = class_id(number);
    let mut commands = vec![format!(
        "class add dev {device} parent {ROOT} classid {id} htb rate {rate}bps burst {burst}b quantum 1514"
    )];
    if shape.netem != Netem::default() {
        commands.push(format!("qdisc add dev {device} parent {id} netem {}", netem_text(&shape.netem)));
    }
    let prio = PRIO_PEERS + number;
    commands.push(format!(
        "filter add dev {device} parent {ROOT} protocol {protocol} prio {prio} u32 match {matched} flowid {id}"
    ));
    commands
}

fn netem_text(netem: &Netem) -> String {
    let Netem { latency_us, jitter_us, loss } = *netem;
    let held = (latency_us + jitter_us).saturating_mul(HELD_PER_S) / 1_000_000 + HELD_MIN;
    let mut text = format!("limit {}", held.min(u32::MAX.into()));
    if jitter_us > 0 {
        let half = jitter_us.div_ceil(2);
        text += &format!(" delay {}us {half}us rate {RATE_FREE_BYTES_S}bps", latency_us + half);
    } else if latency_us > 0 {
        text += &format!(" delay {latency_us}us");
    }
    if loss > 0.0 {
        text += &format!(" loss {:.4}%", loss * 100.0);
    }
    text
}

/// What listings with statistics say of a class and its leaf.
fn counters(shape: &Shape, id: &str, classes: &str, leaves: &str) -> Option<LinkCounters> {
    let mut counters = LinkCounters::default();
    if shape.netem != Netem::default() {
        let is_leaf =
            |line: &str| line.starts_with("qdisc netem ") && line.contains(&format!(" parent {id} "));
        let leaf = Statistics::after(leaves, is_leaf)?;
        counters.lost = leaf.dropped;
        // There is no counter of them, but all that passes is delayed.
        counters.delayed = if shape.netem.is_late() { leaf.sent } else { 0 };
    }
    if shape.rate_bytes_s > 0 {
        let class = Statistics::after(classes, |line| line.starts_with(&format!("class htb {id} ")))?;
        // What its leaf loses is dropped in the class's eyes, too.
        counters.throttled = (class.dropped + class.overlimits).saturating_sub(counters.lost);
    }
    Some(counters)
}

/// ` Sent 4810 bytes 37 pkt (dropped 0, overlimits 12 requeues 0)`.
struct Statistics {
    sent: u64,
    dropped: u64,
    overlimits: u64,
}

impl Statistics {
    /// Of the first line of a listing that is meant: they are on the next.
    fn after(listing: &str, is_meant: impl Fn(&str) -> bool) -> Option<Statistics> {
        let line = listing.lines().skip_while(|line| !is_meant(line)).nth(1)?;
        let number = |before: &str| -> Option<u64> {
            let rest = line.split_once(before)?.1.trim_start();
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        Some(Statistics {
            sent: number(" bytes ")?,
            dropped: number("dropped")?,
            overlimits: number("overlimits")?,
        })
    }
}

/// Removes our roots, and looks whether they are gone. A host without the program has none.
pub(super) async fn remove() -> Result<(), String> {
    for device in our_devices().await? {
        tc(&format!("qdisc del dev {device} root handle {ROOT}")).await?;
    }
    match our_devices().await?.first() {
        Some(device) => Err(format!("tc: our root is still on {device}")),
        None => Ok(()),
    }
}

async fn our_devices() -> Result<Vec<String>, String> {
    let listing = match tc("qdisc show").await {
        Ok(listing) => listing,
        Err(why) if why.starts_with("there is no ") => return Ok(Vec::new()),
        Err(why) => return Err(why),
    };
    let of = |line: &str| {
        let rest = line.strip_prefix(&format!("qdisc htb {ROOT} dev "))?;
        rest.split(' ').next().map(str::to_owned)
    };
    Ok(listing.lines().filter_map(of).collect())
}

/// A root that somebody has set is not replaced; the kernel's own (handle 0) is back when ours goes.
async fn check_free(device: &str) -> Result<(), String> {
    let listing = tc(&format!("qdisc show dev {device}")).await?;
    let root = listing.lines().find(|line| line.contains(" root "));
    match root.and_then(|line| line.split(' ').nth(2).map(|handle| (line, handle))) {
        Some((line, handle)) if handle != "0:" => Err(format!("{device} is shaped already: {line}")),
        _ => Ok(()),
    }
}

async fn device_to(peer: IpAddr) -> Result<String, String> {
    let route = run("ip", &["route", "get", &peer.to_string()], "").await?;
    let device = route.split_once(" dev ").and_then(|(_, rest)| rest.split(' ').next());
    device.map(str::to_owned).ok_or_else(|| format!("no route to {peer}"))
}

/// Whether the kernel can do it: tried on the device to this peer.
pub(super) async fn try_out(ssh_port: u16, peer: IpAddr, shape: Shape) -> Result<(), String> {
    let tried = Shaper::default().set(ssh_port, &BTreeMap::from([(peer, shape)])).await;
    let removed = remove().await;
    tried.and(removed)
}

async fn tc(command: &str) -> Result<String, String> {
    run("tc", &command.split(' ').collect::<Vec<_>>(), "").await
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Netem = Netem { latency_us: 50_000, jitter_us: 20_000, loss: 0.0 };

    #[test]
    fn a_class_says_how_many_packets_it_held_up() {
        let listing = "class htb 6a1e:1 root prio 0 rate 1Mbit ceil 1Mbit burst 1600b cburst 1600b \n \
            Sent 10 bytes 2 pkt (dropped 3, overlimits 40 requeues 0) \n backlog 0b 0p requeues 0\n\n\
            class htb 6a1e:12 root prio 0\n Sent 0 bytes 0 pkt (dropped 0, overlimits 5 requeues 0)\n";
        let shape = Shape { rate_bytes_s: 1, ..Shape::default() };
        let throttled = |id| counters(&shape, id, listing, "").map(|counters| counters.throttled);
        assert_eq!(throttled("6a1e:1"), Some(43));
        assert_eq!(throttled("6a1e:12"), Some(5));
        assert_eq!(throttled("6a1e:2"), None);
    }

    #[test]
    fn a_leaf_says_how_many_packets_it_delayed_and_lost() {
        let classes = "class htb 6a1e:1 root leaf 8001: prio 0\n \
            Sent 10 bytes 2 pkt (dropped 9, overlimits 40 requeues 0) \n";
        let leaves = "qdisc htb 6a1e: root refcnt 2 r2q 10 default 0 direct_packets_stat 7\n \
            Sent 900 bytes 90 pkt (dropped 9, overlimits 8 requeues 0) \n backlog 0b 0p requeues 0\n\
            qdisc netem 8001: parent 6a1e:1 limit 15000 delay 60ms  10ms loss 10%\n \
            Sent 4810 bytes 37 pkt (dropped 9, overlimits 0 requeues 0) \n backlog 0b 0p requeues 0\n";
        let shape = Shape { rate_bytes_s: 1, netem: Netem { loss: 0.1, ..LATE } };
        let counted = counters(&shape, "6a1e:1", classes, leaves).unwrap();
        assert_eq!((counted.delayed, counted.lost, counted.throttled), (37, 9, 40));
        let only_loss = Shape { rate_bytes_s: 0, netem: Netem { loss: 0.1, ..Netem::default() } };
        let counted = counters(&only_loss, "6a1e:1", classes, leaves).unwrap();
        assert_eq!((counted.delayed, counted.lost, counted.throttled), (0, 9, 0));
        assert_eq!(counters(&shape, "6a1e:2", classes, leaves), None);
    }

    #[test]
    fn a_peer_of_either_family_gets_a_class_of_its_own() {
        let shape = Shape { rate_bytes_s: 200_000, ..Shape::default() };
        assert_eq!(
            class_commands("eth0", 10, "fd00::2".parse().unwrap(), &shape),
            [
                "class add dev eth0 parent 6a1e: classid 6a1e:a htb rate 200000bps burst 3000b quantum 1514",
                "filter add dev eth0 parent 6a1e: protocol ipv6 prio 13 u32 match ip6 dst fd00::2/128 flowid 6a1e:a",
            ]
        );
        let late = Shape { netem: LATE, ..Shape::default() };
        assert_eq!(
            class_commands("eth0", 1, "10.0.0.2".parse().unwrap(), &late)[1],
            "qdisc add dev eth0 parent 6a1e:1 netem limit 15000 delay 60000us 10000us rate 10000000000bps"
        );
    }

    #[test]
    fn ssh_passes_before_any_peer_is_looked_at() {
        let filters = ssh_passes("eth0", 2222);
        assert_eq!(filters.len(), 4);
        assert_eq!(
            filters[3],
            "filter add dev eth0 parent 6a1e: protocol ipv6 prio 2 u32 match ip6 protocol 6 0xff match ip6 dport 2222 0xffff flowid 6a1e:0"
        );
    }

    #[test]
    fn netem_is_told_what_the_plan_means() {
        let netem = |latency_us, jitter_us, loss| netem_text(&Netem { latency_us, jitter_us, loss });
        assert_eq!(netem(20_000, 0, 0.0), "limit 5000 delay 20000us");
        // From 10 to 30 ms, in the order of sending.
        assert_eq!(netem(10_000, 20_000, 0.0), "limit 7000 delay 20000us 10000us rate 10000000000bps");
        assert_eq!(netem(0, 0, 0.125), "limit 1000 loss 12.5000%");
    }
}
