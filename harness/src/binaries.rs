//! Where the node programs are: `--bin-dir`, beside this program, or built from the workspace.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// This program's own file.
///
/// # Errors
/// If the system does not tell.
pub(crate) fn own() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("finding this program's own file")
}

/// Finds the program of a node, building it first when this program runs from its workspace.
///
/// # Errors
/// If it is nowhere, or cannot be built.
pub(crate) fn find(program: &str, bin_dir: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(dir) = bin_dir {
        let path = dir.join(program);
        return if path.is_file() { Ok(path) } else { bail!("--bin-dir: there is no {}", path.display()) };
    }
    let own = own()?;
    let beside = own.with_file_name(program);
    if let Some(workspace) = workspace_of(&own) {
        build(&workspace, program, own.parent().is_some_and(|dir| dir.ends_with("release")))?;
    }
    if beside.is_file() {
        return Ok(beside);
    }
    bail!("{program} is not beside {}: build it, or name its folder with --bin-dir", own.display())
}

/// A program on the PATH, that a Debian package has.
///
/// # Errors
/// If there is none.
pub(crate) fn on_path(program: &str, package: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
        .with_context(|| format!("{program} is not on the PATH (Debian: apt-get install {package})"))
}

/// The workspace that this program was built in, if its sources are still there.
fn workspace_of(own: &Path) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    (root.join("nodes/runtime/Cargo.toml").is_file() && own.starts_with(target.canonicalize().ok()?))
        .then(|| root.to_owned())
}

fn build(workspace: &Path, program: &str, release: bool) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace).args(["build", "--quiet", "--package", "runtime", "--bin", program]);
    if release {
        command.arg("--release");
    }
    // What `cargo run` and `cargo test` tell their children of themselves is not of this build: build scripts that look at it would
    // run anew each time, and all that rests on them be compiled again.
    for (name, _) in std::env::vars_os() {
        let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
        if name.to_str().is_some_and(|name| told.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(&name);
        }
    }
    let status = command.stdin(Stdio::null()).status().context("running cargo to build the nodes")?;
    if !status.success() {
        bail!("cargo could not build {program}: {status}");
    }
    Ok(())
}
