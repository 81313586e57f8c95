//! Every quorum size and every fault budget, in one place.

use serde::{Deserialize, Serialize};

/// The smallest number of `n` replicas of which any two sets intersect.
#[must_use]
pub fn majority(n: usize) -> usize {
    n / 2 + 1
}

/// How many crashed replicas a group of `n` survives when majorities decide.
#[must_use]
pub fn crash_faults_tolerated(n: usize) -> usize {
    n.saturating_sub(1) / 2
}

/// How many lying replicas a group of `n` survives: f = ⌊(n − 1)/3⌋ (Castro and Liskov, *Practical Byzantine Fault Tolerance*,
/// 1999, section 2).
#[must_use]
pub fn byzantine_faults_tolerated(n: usize) -> usize {
    n.saturating_sub(1) / 3
}

/// The smallest number of `n` replicas of which any two sets have a correct one in common, if no more lie than are tolerated:
/// ⌈(n + f + 1)/2⌉. It is 2f + 1 where n is 3f + 1.
#[must_use]
pub fn byzantine(n: usize) -> usize {
    (n + byzantine_faults_tolerated(n) + 1).div_ceil(2)
}

/// How many replicas may be gone while commands still go through on the fast path of Egalitarian Paxos: the largest e with
/// n ≥ 2e + f − 1, where f is how many crashes are tolerated (Moraru, Andersen and Kaminsky, *There Is More Consensus in
/// Egalitarian Parliaments*, 2013, section 4.3.3: fast quorums of f + ⌊(f + 1)/2⌋).
#[must_use]
pub fn fast_faults_tolerated(n: usize) -> usize {
    let f = crash_faults_tolerated(n);
    ((n + 1).saturating_sub(f) / 2).min(f)
}

/// How many replicas a fast path needs that bears `e` that are gone.
#[must_use]
pub fn fast(n: usize, e: usize) -> usize {
    n.saturating_sub(e)
}

/// Which sets of replicas decide, and so what a group survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quorums {
    /// Majorities of replicas that may crash. EPaxos, too: its fast quorums are larger, and it serves without them.
    #[default]
    Majority,
    /// Sets of which any two have a correct replica in common, although some lie.
    Byzantine,
    /// Any replica answers by itself.
    AnyOne,
}

/// What a group of so many replicas survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// So many may be gone, for good if need be, and the others serve and keep what was acknowledged.
    pub crash: usize,
    /// So many may lie, or have forgotten what they promised, and the others serve and keep what was acknowledged. They count as gone,
    /// too: no more than `crash` may be either.
    pub lie: usize,
    /// So many correct ones serve, if they reach each other.
    pub serves: usize,
}

impl Quorums {
    /// What a group of `n` survives.
    #[must_use]
    pub fn budget(self, n: usize) -> Budget {
        match self {
            Quorums::Majority => Budget { crash: crash_faults_tolerated(n), lie: 0, serves: majority(n) },
            Quorums::Byzantine => {
                let f = byzantine_faults_tolerated(n);
                Budget { crash: f, lie: f, serves: byzantine(n) }
            }
            Quorums::AnyOne => Budget { crash: n.saturating_sub(1), lie: 0, serves: 1.min(n) },
        }
    }

    /// The largest number that is less than half of `n` and that a group survives the loss of; at least one.
    #[must_use]
    pub fn minority(self, n: usize) -> usize {
        self.budget(n).crash.min(crash_faults_tolerated(n)).max(1)
    }

    /// The smallest number that is more than half of `n` and enough to serve.
    #[must_use]
    pub fn majority(self, n: usize) -> usize {
        self.budget(n).serves.max(majority(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many two sets of these sizes have in common at least.
    fn common(n: usize, a: usize, b: usize) -> usize {
        (a + b).saturating_sub(n)
    }

    #[test]
    fn two_majorities_intersect_and_survivors_are_one() {
        for n in 1..=99 {
            assert!(common(n, majority(n), majority(n)) >= 1, "two majorities of {n} are disjoint");
            assert_eq!(common(n, majority(n) - 1, majority(n) - 1), 0, "a smaller quorum of {n} would do");
            assert!(n - crash_faults_tolerated(n) >= majority(n), "{n} does not survive its faults");
        }
    }

    #[test]
    fn two_byzantine_quorums_have_a_correct_replica_in_common_and_the_correct_are_one() {
        for n in 1..=99 {
            let (q, f) = (byzantine(n), byzantine_faults_tolerated(n));
            assert!(common(n, q, q) > f, "two quorums of {n} may have liars only in common");
            assert!(common(n, q - 1, q - 1) <= f, "a smaller quorum of {n} would do");
            assert!(n - f >= q, "{n} does not serve when its liars are silent");
            assert!(n > 3 * f && n <= 3 * f + 3, "{n} could bear another liar");
        }
        assert_eq!([4, 7, 10].map(byzantine), [3, 5, 7], "2f + 1 of 3f + 1");
    }

    #[test]
    fn whoever_recovers_a_command_of_the_fast_path_sees_more_that_took_it_than_can_have_taken_another() {
        for n in 3..=99 {
            let (f, e) = (crash_faults_tolerated(n), fast_faults_tolerated(n));
            let (quick, slow) = (fast(n, e), n - f);
            assert!(
                slow >= majority(n) && common(n, slow, slow) >= 1,
                "two slow quorums of {n} are disjoint"
            );
            assert!(common(n, quick, slow) >= 1 && quick >= slow, "a fast quorum of {n} is no quorum");
            // Of a slow quorum without the two replicas whose commands interfere, n − f − e at least took the one that was
            // decided; the others, fewer than e, may have taken the other.
            assert!(n + 1 >= 2 * e + f, "a fast quorum of {n} is too small");
            assert!(common(n, quick, slow) + 1 >= e, "of {n}, {e} may be mistaken for those that decided");
        }
        assert_eq!([3, 5, 7, 9].map(|n| fast(n, fast_faults_tolerated(n))), [2, 3, 5, 6], "f + ⌊(f + 1)/2⌋");
    }

    #[test]
    fn what_is_left_of_a_group_within_its_budget_serves() {
        for quorums in [Quorums::Majority, Quorums::Byzantine, Quorums::AnyOne] {
            for n in 1..=99 {
                let Budget { crash, lie, serves } = quorums.budget(n);
                assert!(crash < n && lie <= crash && (1..=n - crash).contains(&serves), "{quorums:?} of {n}");
                let (few, many) = (quorums.minority(n), quorums.majority(n));
                assert!(2 * few <= n.max(2) && 2 * many > n && many >= serves, "{quorums:?} of {n}");
                assert!(n < 4 || few <= crash, "{quorums:?}: a minority of {n} is more than it survives");
            }
        }
    }

    #[test]
    fn a_majority_protocol_has_the_targets_that_it_always_had() {
        for n in 1..=99 {
            assert_eq!(Quorums::Majority.minority(n), crash_faults_tolerated(n).max(1));
            assert_eq!(Quorums::Majority.majority(n), majority(n));
        }
    }
}
