//! Two chains of our own in the filter table, one for what comes in, one for what goes out; nothing of others is touched.

use super::HostLink;
use crate::program::run;
use std::collections::BTreeMap;
use std::net::IpAddr;

const CHAIN_IN: &str = "GAUNTLET-IN";
const CHAIN_OUT: &str = "GAUNTLET-OUT";
/// For trying out what the kernel can do: nothing jumps there.
const CHAIN_TRIAL: &str = "GAUNTLET-TRIAL";

/// Each has tables of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const ALL: [Family; 2] = [Family::V4, Family::V6];

    pub(super) fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    fn program(self) -> &'static str {
        match self {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        }
    }

    fn restore(self) -> &'static str {
        match self {
            Family::V4 => "iptables-restore",
            Family::V6 => "ip6tables-restore",
        }
    }
}

/// One line of a chain of ours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rule {
    pub(super) peer: IpAddr,
    pub(super) kind: RuleKind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum RuleKind {
    BlockIn,
    BlockOut,
    /// With this probability.
    LoseOut(f64),
}

impl Rule {
    fn chain(&self) -> &'static str {
        match self.kind {
            RuleKind::BlockIn => CHAIN_IN,
            RuleKind::BlockOut | RuleKind::LoseOut(_) => CHAIN_OUT,
        }
    }

    /// The line, without its chain.
    fn text(&self) -> String {
        let peer = self.peer;
        match self.kind {
            RuleKind::BlockIn => format!("-s {peer} -j DROP"),
            RuleKind::BlockOut => format!("-d {peer} -j DROP"),
            RuleKind::LoseOut(p) => {
                format!("-d {peer} -m statistic --mode random --probability {p:.6} -j DROP")
            }
        }
    }
}

/// What these links mean for one family's chains.
pub(super) fn rules_of(links: &BTreeMap<IpAddr, HostLink>, family: Family) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (peer, link) in links.iter().filter(|(peer, _)| Family::of(**peer) == family) {
        let mut rule = |kind| rules.push(Rule { peer: *peer, kind });
        if link.blocked_in {
            rule(RuleKind::BlockIn);
        }
        if link.blocked_out {
            rule(RuleKind::BlockOut);
        }
        if link.loss_out > 0.0 {
            rule(RuleKind::LoseOut(link.loss_out));
        }
    }
    rules
}

/// Whether a packet of the host's SSH server is let through before anything else is looked at.
fn ssh_passes(ssh_port: u16) -> [String; 2] {
    ["--sport", "--dport"].map(|end| format!("-p tcp {end} {ssh_port} -j RETURN"))
}

/// The input of `iptables-restore --noflush`, which replaces chains of ours whole or not at all.
fn restore_text(ssh_port: u16, rules: &[Rule]) -> String {
    let mut lines = vec!["*filter".to_owned()];
    lines.extend([CHAIN_IN, CHAIN_OUT].map(|chain| format!(":{chain} - [0:0]")));
    for chain in [CHAIN_IN, CHAIN_OUT] {
        lines.extend(ssh_passes(ssh_port).map(|rule| format!("-A {chain} {rule}")));
    }
    lines.extend(rules.iter().map(|rule| format!("-A {} {}", rule.chain(), rule.text())));
    lines.push("COMMIT\n".to_owned());
    lines.join("\n")
}

/// Puts exactly these rules in force.
pub(super) async fn set(family: Family, ssh_port: u16, rules: &[Rule]) -> Result<(), String> {
    run(family.restore(), &["-w", "--noflush"], &restore_text(ssh_port, rules)).await?;
    for (from, chain) in [("INPUT", CHAIN_IN), ("OUTPUT", CHAIN_OUT)] {
        if run(family.program(), &["-w", "-C", from, "-j", chain], "").await.is_err() {
            run(family.program(), &["-w", "-I", from, "1", "-j", chain], "").await?;
        }
    }
    Ok(())
}

/// How many packets each of the rules in force has caught.
pub(super) async fn counted(family: Family, rules: &[Rule]) -> Result<Vec<(Rule, u64)>, String> {
    let mut counted = Vec::new();
    for chain in [CHAIN_IN, CHAIN_OUT] {
        let ours: Vec<_> = rules.iter().filter(|rule| rule.chain() == chain).collect();
        let listing = run(family.program(), &["-w", "-n", "-v", "-x", "-L", chain], "").await?;
        let packets = packets(&listing);
        let skipped = ssh_passes(0).len();
        if packets.len() != skipped + ours.len() {
            return Err(format!("{chain} has {} rules, expected {}", packets.len(), skipped + ours.len()));
        }
        counted.extend(ours.into_iter().copied().zip(packets.into_iter().skip(skipped)));
    }
    Ok(counted)
}

/// The first column of a listing, below its two lines of head.
fn packets(listing: &str) -> Vec<u64> {
    let first = |line: &str| line.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
    listing.lines().skip(2).filter_map(first).collect()
}

/// Removes the chains, and looks whether they are gone. Where nobody may look nobody can have made any.
pub(super) async fn remove(family: Family) -> Result<(), String> {
    let rules = match run(family.program(), &["-w", "-S"], "").await {
        Ok(rules) => rules,
        Err(why) if is_not_for_us(&why) => return Ok(()),
        Err(why) => return Err(why),
    };
    if !rules.contains("GAUNTLET-") {
        return Ok(());
    }
    for line in removal(&rules) {
        let args: Vec<&str> = ["-w"].into_iter().chain(line.split(' ')).collect();
        run(family.program(), &args, "").await?;
    }
    let left = run(family.program(), &["-w", "-S"], "").await?;
    match left.lines().find(|line| line.contains("GAUNTLET-")) {
        Some(line) => Err(format!("{}: still there: {line}", family.program())),
        None => Ok(()),
    }
}

/// The program is not there, we may not, or the kernel has no such tables (IPv6 may be left out).
fn is_not_for_us(why: &str) -> bool {
    let words = [
        "there is no ",
        "must be root",
        "Permission denied",
        "Operation not permitted",
        "does not exist",
        "not supported",
    ];
    words.iter().any(|words| why.contains(words))
}

/// The commands that take away all that is ours of a listing by `-S`: the jumps first, then what is in the chains, then the chains.
fn removal(listing: &str) -> Vec<String> {
    let chains: Vec<&str> = listing
        .lines()
        .filter_map(|line| line.strip_prefix("-N "))
        .filter(|chain| chain.starts_with("GAUNTLET-"))
        .collect();
    let jumps = listing.lines().filter_map(|line| line.strip_prefix("-A "));
    let jumps = jumps.filter(|rule| {
        let target = rule.rsplit_once("-j ").map(|(_, target)| target);
        !rule.starts_with("GAUNTLET-") && target.is_some_and(|target| chains.contains(&target))
    });
    let mut commands: Vec<String> = jumps.map(|rule| format!("-D {rule}")).collect();
    commands.extend(chains.iter().map(|chain| format!("-F {chain}")));
    commands.extend(chains.iter().map(|chain| format!("-X {chain}")));
    commands
}

/// Whether the kernel takes these rules.
pub(super) async fn try_out(family: Family, rules: &[Rule]) -> Result<(), String> {
    let rules: String = rules.iter().map(|rule| format!("-A {CHAIN_TRIAL} {}\n", rule.text())).collect();
    let text = format!("*filter\n:{CHAIN_TRIAL} - [0:0]\n{rules}COMMIT\n");
    run(family.restore(), &["-w", "--noflush"], &text).await?;
    run(family.program(), &["-w", "-F", CHAIN_TRIAL], "").await?;
    run(family.program(), &["-w", "-X", CHAIN_TRIAL], "").await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_passes_before_any_rule() {
        let peer: IpAddr = "10.0.0.2".parse().unwrap();
        let link = HostLink { blocked_in: true, blocked_out: true, loss_out: 0.25, ..HostLink::default() };
        let rules = rules_of(&BTreeMap::from([(peer, link)]), Family::V4);
        assert_eq!(
            restore_text(22, &rules),
            "*filter\n:GAUNTLET-IN - [0:0]\n:GAUNTLET-OUT - [0:0]\n\
             -A GAUNTLET-IN -p tcp --sport 22 -j RETURN\n-A GAUNTLET-IN -p tcp --dport 22 -j RETURN\n\
             -A GAUNTLET-OUT -p tcp --sport 22 -j RETURN\n-A GAUNTLET-OUT -p tcp --dport 22 -j RETURN\n\
             -A GAUNTLET-IN -s 10.0.0.2 -j DROP\n-A GAUNTLET-OUT -d 10.0.0.2 -j DROP\n\
             -A GAUNTLET-OUT -d 10.0.0.2 -m statistic --mode random --probability 0.250000 -j DROP\nCOMMIT\n"
        );
        assert!(rules_of(&BTreeMap::from([(peer, link)]), Family::V6).is_empty());
    }

    #[test]
    fn only_what_is_ours_is_removed() {
        let listing = "-P INPUT ACCEPT\n-N DOCKER\n-N GAUNTLET-IN\n-N MY-GAUNTLET-\n\
            -A INPUT -j GAUNTLET-IN\n-A INPUT -s 10.0.0.1/32 -j DROP\n-A INPUT -j MY-GAUNTLET-\n\
            -A GAUNTLET-IN -s 10.0.0.2/32 -j DROP\n";
        assert_eq!(removal(listing), ["-D INPUT -j GAUNTLET-IN", "-F GAUNTLET-IN", "-X GAUNTLET-IN"]);
    }

    #[test]
    fn what_cannot_be_ours_is_told_from_what_cannot_be_looked_at() {
        assert!(is_not_for_us(
            "iptables -w -S: iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)"
        ));
        assert!(is_not_for_us(
            "ip6tables -w -S: can't initialize ip6tables table `filter': Table does not exist"
        ));
        assert!(!is_not_for_us("iptables: Resource temporarily unavailable (os error 11)"));
    }

    #[test]
    fn packets_are_the_first_column_below_the_head() {
        let listing = "Chain GAUNTLET-IN (1 references)\n    pkts      bytes target prot\n       7      512 RETURN 6\n     123  9 DROP 0\n";
        assert_eq!(packets(listing), [7, 123]);
    }
}
