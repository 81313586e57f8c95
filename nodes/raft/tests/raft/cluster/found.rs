//! What a storm finds wrong, and by what it is seen.

use protocol::Detector;
use raft::Violation;

#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) by: Detector,
    pub(crate) what: String,
}

/// It is wrong that this is not so.
pub(crate) fn ensure(is_so: bool, by: Detector, what: impl FnOnce() -> String) -> Result<(), Found> {
    if is_so { Ok(()) } else { Err(Found { by, what: what() }) }
}

impl From<Violation> for Found {
    fn from(violation: Violation) -> Self {
        Self { by: violation.detector(), what: violation.to_string() }
    }
}

/// What `run` finds, a replica that stops on an assertion included.
pub(crate) fn caught<T>(run: impl FnOnce() -> Result<T, Found> + std::panic::UnwindSafe) -> Result<T, Found> {
    std::panic::catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
        Err(Found { by: Detector::Invariant, what: text.to_owned() })
    })
}
