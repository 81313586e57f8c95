//! Every seeded bug is caught, and by what the catalogue says.
//!
//! The same storms and schedules find nothing without the bug: that is what the other tests say.

use super::{Setup, Standing, Storm, broken};
use crate::scenario;
use protocol::Bug as _;
use raft::{Bug, ReadMode};
use sim::Broken;

/// Where to look for a bug.
enum Hunt {
    /// In storms, of so many seeds at most.
    Storms(Setup, u64),
    /// In a scenario that was written for the rule it breaks.
    Scenario(&'static str),
}

fn storms(replicas: u32) -> Hunt {
    Hunt::Storms(Setup::new(replicas, ReadMode::ReadIndex), 600)
}

/// With an operator, who has two more replicas.
fn operated(founders: u32) -> Hunt {
    Hunt::Storms(Setup { operator: Some(2), ..Setup::new(founders, ReadMode::ReadIndex) }, 600)
}

fn standing(replicas: u32, read: ReadMode, standing: Standing) -> Hunt {
    Hunt::Storms(Setup { standing: Some(standing), ..Setup::new(replicas, read) }, 30)
}

/// The first thing that is found, and the seed if there is one.
fn find(bug: Bug, hunt: Hunt) -> Option<(Broken, Option<u64>)> {
    match hunt {
        Hunt::Storms(setup, seeds) => {
            let setup = Setup { bugs: [bug].into_iter().collect(), ..setup };
            (0..seeds).find_map(|seed| Some((Storm::run(seed, &setup).err()?, Some(seed))))
        }
        Hunt::Scenario(name) => Some((broken(&scenario::replay_with(bug, name).err()?), None)),
    }
}

macro_rules! hunts {
    ($($test:ident: $bug:ident in $hunt:expr;)*) => {
        fn hunt(bug: Bug) -> Hunt {
            match bug {
                $(Bug::$bug => $hunt,)*
            }
        }

        $(#[test]
        fn $test() {
            let info = Bug::$bug.info();
            let (found, seed) = find(Bug::$bug, hunt(Bug::$bug)).unwrap_or_else(|| panic!("{info:?} shows nowhere"));
            println!("{}: {found:?} at {seed:?}", info.id);
            assert!(info.caught_by.contains(&found.detector), "{found:?} at {seed:?}");
        })*
    };
}

hunts! {
    commit_prior_term_is_caught: CommitPriorTerm in Hunt::Scenario("figure8.txt");
    vote_not_durable_is_caught: VoteNotDurable in Hunt::Scenario("forgotten_vote.txt");
    ack_before_fsync_is_caught: AckBeforeFsync in Hunt::Scenario("forgotten_entry.txt");
    count_duplicate_votes_is_caught: CountDuplicateVotes in Hunt::Scenario("duplicate_votes.txt");
    local_read_is_caught: LocalRead in standing(3, ReadMode::ReadIndex, Standing::LostLeader);
    read_index_no_noop_is_caught: ReadIndexNoNoop in storms(3);
    lease_no_drift_is_caught: LeaseNoDrift in standing(3, ReadMode::Lease, Standing::LostLeader);
    truncate_on_append_is_caught: TruncateOnAppend in storms(3);
    match_from_reject_is_caught: MatchFromReject in storms(3);
    commit_past_new_is_caught: CommitPastNew in storms(3);
    no_check_quorum_is_caught: NoCheckQuorum in standing(5, ReadMode::ReadIndex, Standing::DeafLeader);
    no_pre_vote_is_caught: NoPreVote in standing(5, ReadMode::ReadIndex, Standing::Chain);
    snapshot_keeps_log_is_caught: SnapshotKeepsLog in storms(3);
    compact_early_is_caught: CompactEarly in storms(3);
    snapshot_no_sessions_is_caught: SnapshotNoSessions in storms(3);
    retry_applied_twice_is_caught: RetryAppliedTwice in storms(3);
    ack_on_append_is_caught: AckOnAppend in storms(3);
    single_server_change_is_caught: SingleServerChange in Hunt::Scenario("single_server_change.txt");
    amnesia_is_caught: Amnesia in operated(3);
}

/// What clients see is enough for most of them: a checker of histories need not look into replicas.
#[test]
fn clients_alone_catch_most_bugs() {
    for bug in [
        Bug::AckOnAppend,
        Bug::Amnesia,
        Bug::LeaseNoDrift,
        Bug::LocalRead,
        Bug::MatchFromReject,
        Bug::NoCheckQuorum,
        Bug::ReadIndexNoNoop,
        Bug::RetryAppliedTwice,
        Bug::SnapshotNoSessions,
        Bug::TruncateOnAppend,
    ] {
        let Hunt::Storms(setup, seeds) = hunt(bug) else { panic!("{bug:?} is looked for in storms") };
        let outside = Hunt::Storms(Setup { inside: false, ..setup }, seeds);
        let (found, seed) = find(bug, outside).unwrap_or_else(|| panic!("clients do not see {bug:?}"));
        println!("{bug:?}: {found:?} at {seed:?}");
        assert!(bug.info().caught_by.contains(&found.detector), "{bug:?}: {found:?} at {seed:?}");
    }
}
