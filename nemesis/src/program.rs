//! A host's own programs: iptables, tc, systemctl.

use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Whoever asked does not wait longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs it with this input; what it prints.
///
/// # Errors
/// Its first words, or that it does not end.
pub(crate) async fn run(program: &str, args: &[&str], input: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| {
        let is_absent = error.kind() == std::io::ErrorKind::NotFound;
        if is_absent { format!("there is no {program}") } else { format!("{program}: {error}") }
    };
    let mut command = Command::new(program);
    // A user's PATH may leave out where these are.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    command.args(args).env("PATH", path).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let mut stdin = child.stdin.take().expect("piped");
    let heard = async {
        // One that does not want to hear it says so by how it ends.
        stdin.write_all(input.as_bytes()).await.ok();
        drop(stdin);
        child.wait_with_output().await
    };
    let ended = timeout(PATIENCE, heard).await;
    let output = ended.map_err(|_| format!("{program} is not done after {PATIENCE:?}"))?.map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let line = words.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed without a word");
    Err(format!("{program} {}: {line}", args.join(" ")))
}
