//! What is fixed for one life of a replica, and the times that follow from it.

use crate::bugs::Bug;
use crate::members::Members;
use crate::record::ENTRY_BYTES_MAX;
use protocol::{Bugs, Incarnation, ReplicaId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Who a replica is, who its peers are, and how it behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This replica.
    pub replica: ReplicaId,
    /// Which life of its disk this is: 0, and one more whenever the disk was wiped. A replica that starts with an empty
    /// disk in a life that it has voted in before breaks promises that it does not know of; nothing here can tell.
    pub incarnation: Incarnation,
    /// The founders: who votes, in the first life of their disks, until the log says otherwise. The same on all
    /// replicas, those included that are not among them.
    pub members: Vec<ReplicaId>,
    /// The same on all replicas.
    pub options: Options,
}

/// How a replica behaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// A follower that hears from no leader for this long, or a while longer, seeks election; until then it
    /// grants nobody else a vote. Milliseconds of true time.
    pub election_timeout_ms_min: u64,
    /// The longest that a follower waits. Milliseconds of true time.
    pub election_timeout_ms_max: u64,
    /// How often a leader makes itself heard when there is nothing to replicate. Milliseconds.
    pub heartbeat_ms: u64,
    /// How reads are answered.
    pub read: ReadMode,
    /// A clock's rate is within 1 ± this. The bound that leases rest on: beyond it a lease read may be stale.
    pub clock_drift_max: f64,
    /// The most bytes of entries in one `AppendEntries`; a greater entry travels alone.
    pub batch_bytes_max: usize,
    /// How many `AppendEntries` with entries may be under way to one follower. What arrives meanwhile travels
    /// together in the next one: few rounds make large batches.
    pub rounds_in_flight_max: usize,
    /// The most requests that a replica holds unanswered; beyond it they are refused as busy.
    pub requests_pending_max: usize,
    /// The most bytes of uncommitted entries that a leader holds; beyond it writes are refused as busy.
    pub uncommitted_bytes_max: u64,
    /// A snapshot is saved when so many entries were applied since the last one, …
    pub snapshot_every_entries: u64,
    /// … or so many bytes of entries. It also bounds what is kept behind a snapshot.
    pub snapshot_every_bytes: u64,
    /// Entries kept behind a snapshot, so that a slow follower does not need the snapshot.
    pub log_keep_entries: u64,
    /// A snapshot travels in chunks of this size, in bytes.
    pub snapshot_chunk_bytes: u32,
    /// A change of members is given up if those who are to vote have not caught up by then. Milliseconds.
    pub catch_up_ms_max: u64,
    /// Bounds of the state machine.
    pub limits: kv::Limits,
    /// Seeded bugs: none, unless a plan names them.
    pub bugs: Bugs<Bug>,
}

/// How reads are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadMode {
    /// After a majority has confirmed that the leader still leads (§6.4). Linearizable.
    #[default]
    ReadIndex,
    /// At once while the leader's lease holds (§6.4.1). Linearizable as long as clocks keep to
    /// [`Options::clock_drift_max`].
    Lease,
    /// At once from whatever state the replica has. Not linearizable.
    Local,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            election_timeout_ms_min: 300,
            election_timeout_ms_max: 600,
            heartbeat_ms: 50,
            read: ReadMode::ReadIndex,
            clock_drift_max: 0.01,
            batch_bytes_max: 1 << 20,
            rounds_in_flight_max: 2,
            requests_pending_max: 16_384,
            uncommitted_bytes_max: 64 << 20,
            snapshot_every_entries: 250_000,
            snapshot_every_bytes: 256 << 20,
            log_keep_entries: 10_000,
            snapshot_chunk_bytes: 1 << 20,
            catch_up_ms_max: 60_000,
            limits: kv::Limits::default(),
            bugs: Bugs::default(),
        }
    }
}

impl Config {
    /// Checks every bound and returns the founders.
    pub(crate) fn validate(&self) -> Result<Members, String> {
        let members = Members::founders(&self.members)?;
        self.options.validate()?;
        Ok(members)
    }
}

impl Options {
    /// What is out of bounds, if anything.
    ///
    /// # Errors
    /// With the option's name, its value and what is allowed.
    pub fn validate(&self) -> Result<(), String> {
        let between = |name: &str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(format!("{name}: {value}, allowed are {least} to {most}"))
            }
        };
        if self.bugs.has(Bug::LeaseNoDrift) && self.read != ReadMode::Lease {
            return Err("bugs: raft.lease-no-drift is none without `read: lease`".to_owned());
        }
        const HOUR_MS: u64 = 3_600_000;
        between("heartbeat_ms", self.heartbeat_ms, 1, HOUR_MS)?;
        // Two lost heartbeats in a row must not cost an election.
        between("election_timeout_ms_min", self.election_timeout_ms_min, 3 * self.heartbeat_ms, HOUR_MS)?;
        // Without a spread there is nothing random about the timeouts, and votes split for ever.
        let spread = self.election_timeout_ms_min + self.heartbeat_ms;
        between("election_timeout_ms_max", self.election_timeout_ms_max, spread, 2 * HOUR_MS)?;
        if !(0.0..=0.25).contains(&self.clock_drift_max) {
            return Err(format!("clock_drift_max: {}, allowed are 0 to 0.25", self.clock_drift_max));
        }
        let frame = ENTRY_BYTES_MAX as u64;
        between("batch_bytes_max", self.batch_bytes_max as u64, 1, frame)?;
        between("rounds_in_flight_max", self.rounds_in_flight_max as u64, 1, 64)?;
        between("requests_pending_max", self.requests_pending_max as u64, 1, 1 << 20)?;
        between("uncommitted_bytes_max", self.uncommitted_bytes_max, 1, 1 << 40)?;
        between("snapshot_every_entries", self.snapshot_every_entries, 1, 1 << 40)?;
        between("snapshot_every_bytes", self.snapshot_every_bytes, 1, 1 << 40)?;
        between("log_keep_entries", self.log_keep_entries, 0, 1 << 40)?;
        between("snapshot_chunk_bytes", u64::from(self.snapshot_chunk_bytes), 1, frame)?;
        between("catch_up_ms_max", self.catch_up_ms_max, 1, 24 * HOUR_MS)?;
        between("limits.sessions_max", self.limits.sessions_max as u64, 1, u64::MAX)
    }
}

/// Times on this replica's own clock. With clocks whose rate is within 1 ± ρ, `d(1 + ρ)` on any clock is at
/// least `d` of true time, and `d(1 − ρ)` is at most `d`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// For so long after hearing from a leader a replica neither seeks election nor votes for another:
    /// at least `election_timeout_ms_min` of true time.
    pub(crate) sticky: Duration,
    /// The longest election timeout. Also how long a leader goes on without hearing from a majority, and how
    /// long an unanswered snapshot chunk is waited for.
    pub(crate) election_max: Duration,
    /// For so long after a round was sent, a majority that has answered it elects nobody else: at most
    /// `election_timeout_ms_min` of true time.
    pub(crate) lease: Duration,
    /// Between heartbeats.
    pub(crate) heartbeat: Duration,
    /// How long a follower waits for the leader to do what it asked.
    pub(crate) patience: Duration,
    /// How long newcomers may take to catch up.
    pub(crate) catch_up: Duration,
}

impl Timing {
    pub(crate) fn new(options: &Options) -> Self {
        let election_min = Duration::from_millis(options.election_timeout_ms_min);
        let election_max = Duration::from_millis(options.election_timeout_ms_max);
        let drift = if options.bugs.has(Bug::LeaseNoDrift) { 0.0 } else { options.clock_drift_max };
        Self {
            sticky: election_min.mul_f64(1.0 + drift),
            election_max: election_max.mul_f64(1.0 + drift),
            lease: election_min.mul_f64(1.0 - drift),
            heartbeat: Duration::from_millis(options.heartbeat_ms),
            patience: 2 * election_max,
            catch_up: Duration::from_millis(options.catch_up_ms_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_read_from_yaml_and_name_an_unknown_key() {
        let options: Options = serde_yaml::from_str("{read: read-index, heartbeat_ms: 20}").unwrap();
        assert_eq!(options, Options { heartbeat_ms: 20, ..Options::default() });
        let lease: Options = serde_yaml::from_str("{read: lease, limits: {sessions_max: 5}}").unwrap();
        assert_eq!((lease.read, lease.limits.sessions_max), (ReadMode::Lease, 5));
        let error = serde_yaml::from_str::<Options>("{heartbeat: 20}").unwrap_err().to_string();
        assert!(error.contains("heartbeat"), "{error}");
        let wrong: Options = serde_yaml::from_str("{bugs: [raft.ack-on-append, raft.local-read]}").unwrap();
        assert_eq!(wrong.bugs, [Bug::LocalRead, Bug::AckOnAppend].into_iter().collect());
        let error = serde_yaml::from_str::<Options>("{bugs: [raft.typo]}").unwrap_err().to_string();
        assert!(error.contains("raft.typo"), "{error}");
    }

    #[test]
    fn options_out_of_bounds_are_named() {
        let bad = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            let members = vec![ReplicaId(1)];
            Config { replica: ReplicaId(1), incarnation: Incarnation(0), members, options }
                .validate()
                .unwrap_err()
        };
        assert!(bad(|o| o.heartbeat_ms = 0).starts_with("heartbeat_ms"));
        assert!(bad(|o| o.election_timeout_ms_min = 149).starts_with("election_timeout_ms_min"));
        assert!(bad(|o| o.election_timeout_ms_max = 300).starts_with("election_timeout_ms_max"));
        assert!(bad(|o| o.clock_drift_max = f64::NAN).starts_with("clock_drift_max"));
        assert!(bad(|o| o.batch_bytes_max = 1 << 30).starts_with("batch_bytes_max"));
        assert!(bad(|o| o.rounds_in_flight_max = 0).starts_with("rounds_in_flight_max"));
        assert!(bad(|o| o.requests_pending_max = 0).starts_with("requests_pending_max"));
        assert!(bad(|o| o.snapshot_every_entries = 0).starts_with("snapshot_every_entries"));
        assert!(bad(|o| o.snapshot_chunk_bytes = 0).starts_with("snapshot_chunk_bytes"));
        assert!(bad(|o| o.catch_up_ms_max = 0).starts_with("catch_up_ms_max"));
        assert!(bad(|o| o.bugs = [Bug::LeaseNoDrift].into_iter().collect()).starts_with("bugs"));
        assert!(bad(|o| o.limits.sessions_max = 0).starts_with("limits.sessions_max"));
    }

    #[test]
    fn a_lease_ends_before_the_promise_that_it_rests_on_on_any_two_clocks_within_the_bound() {
        let options = Options::default();
        let (timing, drift) = (Timing::new(&options), options.clock_drift_max);
        // The leader's clock as slow as allowed, the voter's as fast as allowed.
        let lease_in_true_time = timing.lease.as_secs_f64() / (1.0 - drift);
        let promise_in_true_time = timing.sticky.as_secs_f64() / (1.0 + drift);
        assert!(lease_in_true_time <= promise_in_true_time + 1e-9);
    }
}
