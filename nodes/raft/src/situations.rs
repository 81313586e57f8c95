//! Situations that runs should come across: the rare paths, where bugs hide. Each is marked with
//! [`reached!`](protocol::reached!) where it arises.

/// All of them. The state machine has [more](kv::SITUATIONS).
pub const SITUATIONS: &[&str] = &[
    // Elections.
    "a candidacy ends without a leader",
    "a candidate hears from the leader of its term",
    "a candidate is refused for its log",
    "a candidate is ignored for the sake of a leader",
    "a pre-vote is refused for the sake of a leader",
    "a vote is given again",
    "a leader that hears no majority steps down",
    "a leader loses its office with uncommitted entries",
    // Replication.
    "a follower cuts off conflicting entries",
    "a follower may not commit what it has behind the leader's entries",
    "a rejection is overtaken",
    "logs part within a term",
    "an earlier term's entry is on a majority of disks and not committed",
    "entries of earlier terms are committed with one of the own term",
    // Reads.
    "a read is confirmed by a later round than its own",
    "a read comes when the lease has ended",
    "a follower's read waits for entries",
    "a new leader takes over its own followers' reads",
    // Forwarded writes.
    "a forwarded write is refused, and so uncertain",
    "a forwarded write outlives its leader",
    "a forwarded write is given up",
    // Snapshots.
    "a log is compacted while a follower receives a snapshot",
    "a follower needs a newer snapshot than it has received",
    "a chunk of a snapshot is lost",
    "a snapshot cannot be read or saved",
    "a snapshot arrives that the log has overtaken",
    "a snapshot is installed over a conflicting log",
    "a snapshot is installed below entries that stay",
    // Members.
    "a change of members comes before the leader has committed an entry of its term",
    "a newcomer needs another round to catch up",
    "newcomers have caught up and get votes",
    "a newcomer does not catch up, and the change is given up",
    "joint consensus begins",
    "a leader completes the change that an earlier one began",
    "a leader that is no member any more steps down",
    "a configuration is rolled back",
    "a replica that does not vote any more seeks election",
    "a replica that does not vote hears no leader and waits",
    "a stranger is asked for the vote of another life",
    "an answer of another life of a follower's disk does not count",
    // Transfer of leadership.
    "a promise to a leader is void because it has handed over",
    "a transfer of leadership succeeds",
    "a transfer of leadership is given up",
    // Recovery.
    "a replica recovers from a snapshot and entries behind it",
    "a replica recovers from a snapshot that its log does not reach",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn each_situation_is_marked_and_each_mark_is_listed() {
        let mut marked = BTreeSet::new();
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let text = std::fs::read_to_string(&path).unwrap();
                let marks = text.split("reached!(\"").skip(1).filter_map(|rest| rest.split('"').next());
                marked.extend(marks.map(str::to_owned));
            }
        }
        let listed: BTreeSet<String> = SITUATIONS.iter().map(|&situation| situation.to_owned()).collect();
        assert_eq!(marked, listed);
        assert_eq!(listed.len(), SITUATIONS.len(), "one stands there twice");
    }
}
