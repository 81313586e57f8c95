//! One node: a process that is started, killed, stopped and watched.

use crate::host::proc_stat;
use crate::host::wire::exchange;
use crate::leash;
use anyhow::{Context, bail};
use nemesis::{Exit, ExitKind};
use protocol::control::{ControlReply, ControlRequest};
use runtime::EXIT_DISK_FULL;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::{Instant, timeout};

/// How long a node may take to recover and listen.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long a signal may take to show.
const SIGNAL_DEADLINE: Duration = Duration::from_secs(5);
/// How long a running node may take to answer on its control socket.
const CONTROL_DEADLINE: Duration = Duration::from_secs(3);
/// How long a node may take to end by itself when asked to.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// The codes with which a program in Rust, and one in Go, ends that panicked.
const PANICKED: i32 = 101;
const GO_PANICKED: i32 = 2;

/// How a node shows that it listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Ready {
    /// Our own nodes print a line on standard output.
    PrintsLine,
    /// A foreign process accepts connections here.
    Listens(std::net::SocketAddr),
}

/// How to start a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Recipe {
    /// Its name, for messages.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Where its logs and data go.
    pub dir: PathBuf,
    /// Where its control socket is, if it has one.
    pub control: Option<PathBuf>,
    /// How it shows that it listens.
    pub ready: Ready,
}

/// A node's process, over all its lives.
#[derive(Debug)]
pub(crate) struct Node {
    recipe: Recipe,
    /// Of the control group that its processes enter.
    entrance: Option<PathBuf>,
    child: Option<Child>,
    /// How it ended by itself, when it was to start or just before it was killed, until somebody is told.
    exit: Option<ExitStatus>,
    paused: Option<Paused>,
    /// Processor time of earlier lives, seconds.
    cpu_before_s: f64,
}

#[derive(Debug, Clone, Copy)]
struct Paused {
    since: Instant,
    cpu_s: f64,
}

impl Node {
    /// A node that is not started.
    #[must_use]
    pub(crate) fn new(recipe: Recipe, entrance: Option<PathBuf>) -> Self {
        Self { recipe, entrance, child: None, exit: None, paused: None, cpu_before_s: 0.0 }
    }

    /// Its name.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.recipe.name
    }

    fn log(&self) -> PathBuf {
        self.recipe.dir.join("node.log")
    }

    /// Starts the process and waits until it listens.
    ///
    /// # Errors
    /// If it ends ([`Node::take_exit`] tells how) or is silent instead: with what it said last.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        assert!(self.child.is_none(), "{} runs already", self.recipe.name);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .with_context(|| format!("opening {}", self.log().display()))?;
        let stdout: Stdio = match self.recipe.ready {
            Ready::PrintsLine => Stdio::piped(),
            Ready::Listens(_) => log.try_clone().context("sharing the node's log")?.into(),
        };
        let mut child = leash::command(&self.recipe.program, self.entrance.as_deref())?
            .args(&self.recipe.args)
            .current_dir(&self.recipe.dir)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.recipe.name))?;
        let up = timeout(START_DEADLINE, wait_until_ready(&mut child, &self.recipe.ready)).await;
        self.child = Some(child);
        match up {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => {
                if let Some(child) = &mut self.child {
                    self.exit = timeout(SIGNAL_DEADLINE, child.wait()).await.ok().and_then(Result::ok);
                }
                let words = self.end().await;
                bail!(
                    "{} did not start: {}",
                    self.recipe.name,
                    if words.is_empty() { why.to_string() } else { words }
                )
            }
            Err(_) => {
                self.end().await;
                bail!(
                    "{} did not listen within {START_DEADLINE:?}; its log: {}",
                    self.recipe.name,
                    self.log().display()
                )
            }
        }
    }

    /// Makes sure that the process is gone; its last words.
    async fn end(&mut self) -> String {
        if let Some(mut child) = self.child.take()
            && let Err(error) = child.kill().await
        {
            tracing::debug!(node = self.recipe.name, %error, "it was gone already");
        }
        self.paused = None;
        self.last_words()
    }

    /// Whether it is a foreign process.
    #[must_use]
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self.recipe.ready, Ready::Listens(_))
    }

    /// The last lines of its log; the line that matters where a Go program panicked.
    #[must_use]
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        match lines.iter().rfind(|line| line.starts_with("panic: ")) {
            Some(panic) => (*panic).to_owned(),
            None => lines[lines.len().saturating_sub(3)..].join(" / "),
        }
    }

    /// Whether there is a process (running or stopped).
    #[must_use]
    pub(crate) fn is_up(&self) -> bool {
        self.child.is_some()
    }

    /// Whether its process is stopped.
    #[must_use]
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Its process id.
    #[must_use]
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Processor time over all its lives, seconds.
    #[must_use]
    pub(crate) fn cpu_s(&self) -> f64 {
        let now = self.pid().and_then(|pid| proc_stat::process(pid).ok()).map_or(0.0, |stat| stat.cpu_s);
        self.cpu_before_s + now
    }

    /// SIGKILL, for [`Node::kill`] to see through.
    pub(crate) fn strike(&self) {
        if let Some(pid) = self.pid()
            && let Err(error) = signal(pid, Signal::KILL)
        {
            tracing::debug!(node = self.recipe.name, %error, "it is gone already");
        }
    }

    /// SIGKILL; says what shows that it is gone.
    ///
    /// # Errors
    /// If it is not, or ended by itself just before: [`Node::take_exit`] tells.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<String> {
        let pid = self.running()?;
        self.cpu_before_s = self.cpu_s();
        signal(pid, Signal::KILL)?;
        let mut child = self.child.take().expect("it has a pid");
        self.paused = None;
        let status = timeout(SIGNAL_DEADLINE, child.wait()).await.context("it did not end")??;
        match status.signal() {
            Some(9) => Ok(format!("pid {pid} gone by signal 9")),
            _ => {
                self.exit = Some(status);
                bail!("pid {pid} ended by itself first: {status}")
            }
        }
    }

    /// SIGSTOP; says what shows that it stands still.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) async fn pause(&mut self) -> anyhow::Result<String> {
        let pid = self.running()?;
        signal(pid, Signal::STOP)?;
        let stat = match wait_for_state(pid, |state| state == 'T').await {
            Ok(stat) => stat,
            Err(error) => {
                // Nobody would let it go on if it stopped after all.
                signal(pid, Signal::CONT)?;
                return Err(error);
            }
        };
        self.paused = Some(Paused { since: Instant::now(), cpu_s: stat.cpu_s });
        Ok(format!("pid {pid} in state T"))
    }

    /// SIGCONT; says how long it stood still.
    ///
    /// # Errors
    /// If it did not stand still or does not go on.
    pub(crate) async fn resume(&mut self) -> anyhow::Result<String> {
        let pid = self.running()?;
        let paused = self.paused.take().context("it was not paused")?;
        let used_s = proc_stat::process(pid)?.cpu_s - paused.cpu_s;
        signal(pid, Signal::CONT)?;
        wait_for_state(pid, |state| state != 'T').await?;
        let stood = paused.since.elapsed();
        if used_s > 0.02 {
            bail!("pid {pid} used {used_s:.2} s of processor while it was paused");
        }
        Ok(format!("pid {pid} stood still for {:.2} s", stood.as_secs_f64()))
    }

    /// SIGTERM, then SIGKILL for one that does not listen.
    pub(crate) async fn stop(&mut self) {
        let Some(pid) = self.pid() else { return };
        if self.paused.take().is_some() {
            tracing::debug!(node = self.recipe.name, "it is stopped, so it cannot hear SIGTERM");
        } else if signal(pid, Signal::TERM).is_ok()
            && let Some(child) = &mut self.child
            && timeout(STOP_DEADLINE, child.wait()).await.is_ok()
        {
            self.child = None;
            return;
        }
        self.end().await;
    }

    /// If the process has ended by itself: how. `is_full`: a fault has filled its disk.
    pub(crate) fn take_exit(&mut self, is_full: bool) -> Option<Exit> {
        let status = match self.exit.take() {
            Some(status) => status,
            None => {
                let status = self.child.as_mut()?.try_wait().ok().flatten()?;
                self.child = None;
                self.paused = None;
                status
            }
        };
        let said = self.last_words();
        let how = exit_kind(status, &said, self.is_foreign(), is_full);
        Some(Exit { how, words: format!("{status}: {said}") })
    }

    /// That it ended was wanted.
    pub(crate) fn forget_exit(&mut self) {
        self.exit = None;
    }

    fn running(&self) -> anyhow::Result<u32> {
        self.pid().with_context(|| format!("{} does not run", self.recipe.name))
    }

    /// One exchange on the node's control socket.
    ///
    /// # Errors
    /// If it cannot answer, or does not.
    pub(crate) async fn ask(&self, request: &ControlRequest) -> anyhow::Result<ControlReply> {
        let path = self.recipe.control.as_deref().context("it has no control socket")?;
        self.running()?;
        if self.is_paused() {
            bail!("{} is paused", self.recipe.name);
        }
        timeout(CONTROL_DEADLINE, exchange(path, request))
            .await
            .with_context(|| format!("{} did not answer on its control socket", self.recipe.name))?
            .with_context(|| format!("{}'s control socket", self.recipe.name))
    }
}

/// How a process ended, by its status; a foreign one, which has no code of its own for a full disk, by what it said.
fn exit_kind(status: ExitStatus, said: &str, is_foreign: bool, is_full: bool) -> ExitKind {
    let Some(code) = status.code() else {
        return ExitKind::Signal(status.signal().expect("it ended by a signal if not with a code"));
    };
    // Its log may be on the disk that is full, and what it said in the end not be there.
    let names_full_disk = said.to_lowercase().contains("no space left on device");
    let is_disk_full =
        if is_foreign { names_full_disk || is_full && code == 1 } else { code == i32::from(EXIT_DISK_FULL) };
    match code {
        _ if is_disk_full => ExitKind::DiskFull,
        PANICKED => ExitKind::Panic,
        GO_PANICKED if said.starts_with("panic: ") => ExitKind::Panic,
        code => ExitKind::Code(code),
    }
}

async fn wait_until_ready(child: &mut Child, ready: &Ready) -> anyhow::Result<()> {
    match ready {
        Ready::PrintsLine => {
            let stdout = child.stdout.take().expect("piped for this");
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).await?;
            if line.is_empty() { bail!("it ended without a word") } else { Ok(()) }
        }
        Ready::Listens(address) => loop {
            if let Some(status) = child.try_wait()? {
                bail!("it ended: {status}");
            }
            if TcpStream::connect(address).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        },
    }
}

fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let raw =
        i32::try_from(pid).ok().and_then(Pid::from_raw).with_context(|| format!("{pid} is no process id"))?;
    kill_process(raw, signal).with_context(|| format!("sending {signal:?} to {pid}"))
}

async fn wait_for_state(pid: u32, wanted: impl Fn(char) -> bool) -> anyhow::Result<proc_stat::ProcessStat> {
    let deadline = Instant::now() + SIGNAL_DEADLINE;
    loop {
        let stat = proc_stat::process(pid)?;
        if wanted(stat.state) {
            return Ok(stat);
        }
        if Instant::now() >= deadline {
            bail!("pid {pid} is still in state {}", stat.state);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A node whose process is this shell script.
    fn running(dir: &Path, script: &str) -> Node {
        let recipe = Recipe {
            name: "n1".into(),
            program: "sh".into(),
            args: Vec::new(),
            dir: dir.to_owned(),
            control: None,
            ready: Ready::PrintsLine,
        };
        let mut node = Node::new(recipe, None);
        let mut shell = tokio::process::Command::new("sh");
        let child = shell.args(["-c", script]).kill_on_drop(true).spawn().expect("there is a shell");
        node.child = Some(child);
        node
    }

    #[tokio::test]
    async fn a_node_that_crashed_right_before_it_was_killed_is_told_as_crashed() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::write(dir.path().join("node.log"), "assertion failed: 1 + 1\n").expect("it is writable");
        let mut node = running(dir.path(), "exit 101");
        wait_for_state(node.pid().expect("it was started"), |state| state == 'Z').await.expect("it ends");
        let error = node.kill().await.expect_err("there was nobody to kill");
        assert!(error.to_string().contains("ended by itself first"), "{error}");
        let words = "exit status: 101: assertion failed: 1 + 1".to_owned();
        assert_eq!(node.take_exit(false), Some(Exit { how: ExitKind::Panic, words }));
        assert_eq!(node.take_exit(false), None, "once");
        assert!(!node.is_up(), "it can be started again");
    }

    #[test]
    fn how_a_process_ended_is_told_by_its_status_and_of_foreign_ones_by_their_words() {
        let code = |code: i32| ExitStatus::from_raw(code << 8);
        let full = "write data/wal: no space left on device";
        for (status, said, is_foreign, is_full, how) in [
            (code(28), "", false, false, ExitKind::DiskFull),
            (code(1), "reading: No space left on device", false, true, ExitKind::Code(1)),
            (code(101), "", false, false, ExitKind::Panic),
            (code(1), full, true, false, ExitKind::DiskFull),
            (code(1), "its log ends early", true, true, ExitKind::DiskFull),
            (code(1), "its log ends early", true, false, ExitKind::Code(1)),
            (code(2), "panic: index out of range", true, false, ExitKind::Panic),
            (code(2), "flag provided but not defined", true, false, ExitKind::Code(2)),
            (ExitStatus::from_raw(11), full, false, true, ExitKind::Signal(11)),
        ] {
            assert_eq!(exit_kind(status, said, is_foreign, is_full), how, "{status}: {said}");
        }
    }

    #[tokio::test]
    async fn a_node_that_is_killed_or_paused_is_told_as_neither_crashed_nor_up() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let mut node = running(dir.path(), "exec sleep 60");
        node.pause().await.expect("it runs");
        assert!(node.is_paused());
        node.resume().await.expect("it is paused");
        node.kill().await.expect("it runs");
        assert_eq!((node.take_exit(false), node.is_up(), node.is_paused()), (None, false, false));
    }
}
