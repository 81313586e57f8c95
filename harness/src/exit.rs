//! Exit codes: 0 valid, 1 invalid, 2 unknown, 254 usage, 255 harness failure.

use checkers::Verdict;
use reports::stored::RunOutcome;
use std::process::ExitCode;

/// How one run, or several, ended for whoever started them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was judged, and valid.
    Valid,
    /// Something could not be judged.
    Unknown,
    /// The harness failed, or was stopped.
    Failed,
    /// A violation was found.
    Invalid,
    /// The command line or a plan makes no sense.
    Usage,
}

impl Exit {
    /// Of one run. A violation stays one, however the run ended.
    #[must_use]
    pub(crate) fn of(verdict: Verdict, outcome: &RunOutcome) -> Exit {
        match (verdict, outcome) {
            (Verdict::Invalid, _) => Exit::Invalid,
            (_, RunOutcome::Interrupted | RunOutcome::Failed(_)) => Exit::Failed,
            (Verdict::Unknown, RunOutcome::Completed) => Exit::Unknown,
            (Verdict::Valid, RunOutcome::Completed) => Exit::Valid,
        }
    }

    /// Of two runs: 1 before 255 before 2.
    #[must_use]
    pub(crate) fn and(self, other: Exit) -> Exit {
        let rank = |exit| match exit {
            Exit::Valid => 0,
            Exit::Unknown => 1,
            Exit::Failed => 2,
            Exit::Invalid => 3,
            Exit::Usage => 4,
        };
        if rank(other) > rank(self) { other } else { self }
    }

    /// The process's exit code.
    #[must_use]
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Exit::Valid => 0,
            Exit::Invalid => 1,
            Exit::Unknown => 2,
            Exit::Usage => 254,
            Exit::Failed => 255,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_failed_never_pass_and_a_violation_outranks_both() {
        let failed = RunOutcome::Failed("disk full".into());
        assert_eq!(Exit::of(Verdict::Valid, &failed), Exit::Failed);
        assert_eq!(Exit::of(Verdict::Invalid, &failed), Exit::Invalid);
        assert_eq!(Exit::of(Verdict::Unknown, &RunOutcome::Completed), Exit::Unknown);
        assert_eq!(Exit::Unknown.and(Exit::Failed).and(Exit::Valid), Exit::Failed);
        assert_eq!(Exit::Failed.and(Exit::Invalid), Exit::Invalid);
    }
}
