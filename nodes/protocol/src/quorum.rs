//! Every quorum size, in one place.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_majorities_intersect_and_survivors_are_one() {
        for n in 1..=99 {
            assert!(2 * majority(n) > n, "two majorities of {n} are disjoint");
            assert!(2 * (majority(n) - 1) <= n, "a smaller quorum of {n} would do");
            assert!(n - crash_faults_tolerated(n) >= majority(n), "{n} does not survive its faults");
        }
    }
}
