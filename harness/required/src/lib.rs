//! What a test needs and a machine may lack: etcd, containers, the right to mount. For tests only.
//!
//! Where it is missing the test says so and ends, but not where `GAUNTLET_REQUIRE` is set, as it is in CI: there it fails.

use std::fmt;
use std::path::PathBuf;

/// What was found, or `None` for a test that is to end here. `what` names it as it would stand before "is missing".
///
/// # Panics
/// If it was not found and `GAUNTLET_REQUIRE` is set.
#[must_use]
pub fn required<T>(what: &str, found: Result<T, impl fmt::Display>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(why) => {
            assert!(
                std::env::var_os("GAUNTLET_REQUIRE").is_none(),
                "{what} is missing, and GAUNTLET_REQUIRE is set: {why}"
            );
            eprintln!("skipped: {what} is missing: {why}");
            None
        }
    }
}

/// A program on the PATH.
///
/// # Panics
/// If it is not there and `GAUNTLET_REQUIRE` is set.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    required(name, found.ok_or("it is not on the PATH"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Output};

    /// Runs only when the tests below run it: what it needs is nowhere.
    const NEEDY: &str = "tests::a_test_that_needs_a_program";

    #[test]
    fn a_test_that_needs_a_program() {
        let Some(_) = program(&std::env::var("GAUNTLET_NEEDED").unwrap_or_else(|_| "sh".to_owned())) else {
            return;
        };
        println!("it goes on");
    }

    fn run(needed: &str, is_required: bool) -> (Output, String) {
        let mut test = Command::new(std::env::current_exe().expect("a test has a program"));
        test.args(["--exact", NEEDY, "--nocapture"]).env("GAUNTLET_NEEDED", needed);
        test.env_remove("GAUNTLET_REQUIRE");
        if is_required {
            test.env("GAUNTLET_REQUIRE", "1");
        }
        let output = test.output().expect("it runs");
        let words = [&output.stdout[..], &output.stderr[..]].concat();
        (output, String::from_utf8_lossy(&words).into_owned())
    }

    #[test]
    fn what_is_there_is_used() {
        for is_required in [true, false] {
            let (output, words) = run("sh", is_required);
            assert!(output.status.success() && words.contains("it goes on"), "{words}");
        }
    }

    #[test]
    fn what_is_missing_is_named_and_fails_where_it_is_required() {
        let (output, words) = run("gauntlet-no-such-program", false);
        assert!(output.status.success() && !words.contains("it goes on"), "{words}");
        assert!(words.contains("skipped: gauntlet-no-such-program is missing: it is not on"), "{words}");
        let (output, words) = run("gauntlet-no-such-program", true);
        assert!(!output.status.success(), "{words}");
        assert!(
            words.contains("gauntlet-no-such-program is missing, and GAUNTLET_REQUIRE is set"),
            "{words}"
        );
    }
}
