//! A class of its own for what leaves to each slow peer, under a root of ours (htb); all else passes it by. A device that has
//! somebody else's root is left alone.

use super::run;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Our root's handle, by which it is known again.
const ROOT: &str = "6a1e:";
/// A burst of so many milliseconds passes at once: enough for timers of 250 Hz.
const BURST_MS: u64 = 8;
const BURST_BYTES_MIN: u64 = 3_000;

/// Puts exactly these rates in force.
pub(super) async fn set(rates: &BTreeMap<IpAddr, u64>) -> Result<(), String> {
    remove().await?;
    let mut rooted = BTreeSet::new();
    for (class, (peer, bytes_per_s)) in (1..).zip(rates) {
        let device = device_to(*peer).await?;
        if rooted.insert(device.clone()) {
            check_free(&device).await?;
            tc(&format!("qdisc add dev {device} root handle {ROOT} htb")).await?;
        }
        for command in class_commands(&device, class, *peer, *bytes_per_s) {
            tc(&command).await?;
        }
    }
    Ok(())
}

fn class_commands(device: &str, class: u16, peer: IpAddr, bytes_per_s: u64) -> [String; 2] {
    let burst = (bytes_per_s * BURST_MS / 1_000).max(BURST_BYTES_MIN);
    let (protocol, matched) = if peer.is_ipv4() {
        ("ip", format!("ip dst {peer}/32"))
    } else {
        ("ipv6", format!("ip6 dst {peer}/128"))
    };
    let classid = format!("{ROOT}{class:x}");
    [
        format!(
            "class add dev {device} parent {ROOT} classid {classid} htb rate {bytes_per_s}bps burst {burst}b quantum 1514"
        ),
        format!(
            "filter add dev {device} parent {ROOT} protocol {protocol} prio {class} u32 match {matched} flowid {classid}"
        ),
    ]
}

/// How many packets were held up or dropped by each class in force.
pub(super) async fn counted(rates: &BTreeMap<IpAddr, u64>) -> Result<Vec<(IpAddr, u64)>, String> {
    let mut counted = Vec::new();
    for (class, peer) in (1_u16..).zip(rates.keys()) {
        let device = device_to(*peer).await?;
        let listing = tc(&format!("-s class show dev {device}")).await?;
        let held_up = held_up(&listing, &format!("{ROOT}{class:x}"));
        counted.push((*peer, held_up.ok_or_else(|| format!("{device} has no class {ROOT}{class:x}"))?));
    }
    Ok(counted)
}

/// What a listing with statistics says of a class: `(dropped 0, overlimits 12 requeues 0)`.
fn held_up(listing: &str, classid: &str) -> Option<u64> {
    let mut lines = listing.lines().skip_while(|line| !line.starts_with(&format!("class htb {classid} ")));
    let sent = lines.nth(1)?;
    let number = |word: &str| -> Option<u64> {
        let rest = sent.split_once(word)?.1.trim_start();
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    Some(number("dropped")? + number("overlimits")?)
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

/// Whether the kernel can do it: tried on the device to this peer, with a rate that nobody notices.
pub(super) async fn try_out(peer: IpAddr) -> Result<(), String> {
    let tried = set(&BTreeMap::from([(peer, 10_000_000_000)])).await;
    let removed = remove().await;
    tried.and(removed)
}

async fn tc(command: &str) -> Result<String, String> {
    run("tc", &command.split(' ').collect::<Vec<_>>(), "").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_says_how_many_packets_it_held_up() {
        let listing = "class htb 6a1e:1 root prio 0 rate 1Mbit ceil 1Mbit burst 1600b cburst 1600b \n \
            Sent 10 bytes 2 pkt (dropped 3, overlimits 40 requeues 0) \n backlog 0b 0p requeues 0\n\n\
            class htb 6a1e:12 root prio 0\n Sent 0 bytes 0 pkt (dropped 0, overlimits 5 requeues 0)\n";
        assert_eq!(held_up(listing, "6a1e:1"), Some(43));
        assert_eq!(held_up(listing, "6a1e:12"), Some(5));
        assert_eq!(held_up(listing, "6a1e:2"), None);
    }

    #[test]
    fn a_peer_of_either_family_gets_a_class_of_its_own() {
        let [class, filter] = class_commands("eth0", 10, "fd00::2".parse().unwrap(), 200_000);
        assert_eq!(
            class,
            "class add dev eth0 parent 6a1e: classid 6a1e:a htb rate 200000bps burst 3000b quantum 1514"
        );
        assert_eq!(
            filter,
            "filter add dev eth0 parent 6a1e: protocol ipv6 prio 10 u32 match ip6 dst fd00::2/128 flowid 6a1e:a"
        );
    }
}
