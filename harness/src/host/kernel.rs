//! What a host's kernel counts: packets sent again, connections turned away, waiting for memory.

use std::collections::BTreeMap;

/// Files of pairs of lines, the names and the numbers, each beginning with its group's name; and which are worth a look.
const PAIRED: [(&str, &str, &[&str]); 3] = [
    (
        "/proc/net/snmp",
        "Tcp:",
        &["InSegs", "OutSegs", "RetransSegs", "InErrs", "AttemptFails", "EstabResets"],
    ),
    ("/proc/net/snmp", "Ip:", &["InDiscards", "OutDiscards", "OutNoRoutes"]),
    (
        "/proc/net/netstat",
        "TcpExt:",
        &[
            "TCPTimeouts",
            "TCPLostRetransmit",
            "TCPSynRetrans",
            "ListenOverflows",
            "ListenDrops",
            "TCPAbortOnTimeout",
        ],
    ),
];
/// Of `/proc/vmstat`: a name and a number on each line.
const VMSTAT: [&str; 3] = ["pgmajfault", "oom_kill", "allocstall_normal"];

/// All that can be read, since the kernel (or the network's namespace) started.
pub(super) fn counters() -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    for (file, group, names) in PAIRED {
        // What is not there is not told.
        let text = std::fs::read_to_string(file).unwrap_or_default();
        counters.extend(paired(&text, group, names));
    }
    let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    for line in text.lines() {
        if let Some((name, number)) = line.split_once(' ')
            && VMSTAT.contains(&name)
            && let Ok(number) = number.parse()
        {
            counters.insert(name.to_owned(), number);
        }
    }
    counters
}

fn paired(text: &str, group: &str, wanted: &[&str]) -> Vec<(String, u64)> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group));
    let (Some(names), Some(numbers)) = (lines.next(), lines.next()) else { return Vec::new() };
    let pairs = names.split_ascii_whitespace().zip(numbers.split_ascii_whitespace());
    let wanted = pairs.filter(|(name, _)| wanted.contains(name));
    wanted.filter_map(|(name, number)| Some((format!("{group}{name}"), number.parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_stand_on_lines_of_their_own() {
        let text = "Ip: InDiscards X\nIp: 3 4\nTcp: InSegs RetransSegs MaxConn\nTcp: 10 2 -1\n";
        let pairs = paired(text, "Tcp:", &["RetransSegs", "MaxConn"]);
        assert_eq!(pairs, [("Tcp:RetransSegs".to_owned(), 2)]);
        assert!(paired("Tcp: InSegs\n", "Tcp:", &["InSegs"]).is_empty());
    }

    #[test]
    fn this_machine_counts() {
        assert!(counters().contains_key("Tcp:OutSegs"));
    }
}
