//! `.ci/advisories` with another `cargo-deny` and another `curl` before the real ones on the PATH: what CI makes of each way to end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/advisories");

/// What `cargo-deny` says when its host has no address.
const NO_HOST: &str = "echo 'unable to access: Could not resolve host: github.com' >&2; exit 1";

/// What the script makes of a `cargo-deny` that fetches and checks like this, and of a `curl` like this.
fn advisories(fetch: &str, check: &str, curl: &str) -> Output {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let program = |name: &str, lines: &str| {
        let file = dir.path().join(name);
        fs::write(&file, format!("#!/bin/sh\n{lines}\n")).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("ours");
    };
    // `--log-level error fetch …`, `--log-level error check …`.
    program("cargo-deny", &format!("case $3 in fetch) {fetch} ;; check) {check} ;; *) exit 2 ;; esac"));
    program("curl", curl);
    let path = std::env::var("PATH").expect("text");
    let path = format!("{}:{path}", dir.path().display());
    Command::new(Path::new(SCRIPT)).env("PATH", path).output().expect("bash is there")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_database_out_of_reach_passes_and_says_so_with_the_reason() {
    for (curl, why) in [
        ("echo 'curl: (6) Could not resolve host: github.com' >&2; exit 6", "Could not resolve host"),
        ("echo 'curl: (28) Connection timed out' >&2; exit 28", "timed out"),
    ] {
        let output = advisories(NO_HOST, "exit 1", curl);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let words = said(&output);
        assert!(words.contains("not checked") && words.contains(why), "{words}");
    }
}

#[test]
fn an_advisory_fails_and_is_shown() {
    let advisory = "echo 'error[vulnerability]: RUSTSEC-2026-0001' >&2; exit 1";
    for curl in ["exit 0", "exit 6"] {
        let output = advisories("exit 0", advisory, curl);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("RUSTSEC-2026-0001"), "{}", said(&output));
        assert!(!said(&output).contains("not checked"), "{}", said(&output));
    }
}

#[test]
fn dependencies_without_an_advisory_pass() {
    let output = advisories("exit 0", "echo 'advisories ok'", "exit 6");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("advisories ok") && !said(&output).contains("not checked"));
}

#[test]
fn a_database_within_reach_that_cannot_be_fetched_fails() {
    // Within reach, behind somebody else's certificate (60), no such page (22).
    for curl in ["exit 0", "exit 60", "exit 22"] {
        let output = advisories("echo 'disk quota exceeded' >&2; exit 1", "exit 0", curl);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("disk quota exceeded"), "{}", said(&output));
        assert!(!said(&output).contains("not checked"), "{}", said(&output));
    }
}

#[test]
fn a_cargo_deny_that_crashes_is_missing_or_does_not_know_its_arguments_fails() {
    for fetch in ["kill -SEGV $$", "exit 101", "exit 2", "exit 127"] {
        let output = advisories(fetch, "exit 0", "exit 6");
        assert_eq!(output.status.code(), Some(1), "{fetch}: {}", said(&output));
        assert!(!said(&output).contains("not checked"), "{}", said(&output));
    }
    for check in ["kill -SEGV $$", "exit 101", "exit 2"] {
        let output = advisories("exit 0", check, "exit 6");
        assert!(!output.status.success(), "{check}: {}", said(&output));
        assert!(!said(&output).contains("not checked"), "{}", said(&output));
    }
}
