//! The agent's side of a host that makes load: starts the process, hears what it says, stops it.

use super::maker::ORDER;
use super::order::{LoadOrder, LoadRequest, LoadState};
use crate::binaries;
use crate::host::Secret;
use crate::leash;
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

/// What it says when something goes wrong.
const LOG: &str = "load.log";
/// How long it may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);
/// No more of what it says is passed on, characters.
const WORDS_MAX: usize = 1_000;

/// The load of one host, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Tender {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    /// On a leash, and killed when it is dropped.
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    state: LoadState,
    log: PathBuf,
}

impl Tender {
    /// Does what is asked, in this folder.
    ///
    /// # Errors
    /// If it cannot be done; what the process said if it has failed.
    pub(crate) async fn handle(&mut self, request: LoadRequest, dir: &Path) -> anyhow::Result<LoadState> {
        if let LoadRequest::Begin { order, secrets } = request {
            self.running = None;
            let running = self.running.insert(Running::start(&order, &secrets, dir).await?);
            return Ok(running.state);
        }
        let running = self.running.as_mut().context("no load was begun here")?;
        if let LoadRequest::Stop = request {
            running.stop();
        }
        running.look().await
    }
}

impl Running {
    async fn start(order: &LoadOrder, secrets: &[Secret], dir: &Path) -> anyhow::Result<Running> {
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        secrets.iter().try_for_each(Secret::write)?;
        let file = dir.join(ORDER);
        std::fs::write(&file, serde_json::to_vec(order)?)
            .with_context(|| format!("writing {}", file.display()))?;
        let log = dir.join(LOG);
        let errors = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let mut command = leash::command(&binaries::own()?, None)?;
        command.arg("load").arg("--dir").arg(dir).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().context("starting the load")?;
        let mut said = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = timeout(PATIENCE, said.next_line()).await;
        let line = first.with_context(|| format!("the load did not begin within {PATIENCE:?}"))??;
        let Some(line) = line else { bail!("the load ended at once: {}", words(&log)) };
        let state = serde_json::from_str(&line).with_context(|| format!("the load says: {line}"))?;
        Ok(Running { child, said, state, log })
    }

    fn stop(&self) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // One that has ended meanwhile has stopped.
            kill_process(pid, Signal::TERM).ok();
        }
    }

    /// The last that it said.
    async fn look(&mut self) -> anyhow::Result<LoadState> {
        // What it has said already is there at once.
        while let Ok(line) = timeout(Duration::from_millis(1), self.said.next_line()).await {
            match line.context("hearing the load")? {
                Some(line) => {
                    self.state =
                        serde_json::from_str(&line).with_context(|| format!("the load says: {line}"))?;
                }
                None if self.state.ended.is_some() => break,
                None => {
                    let status = self.child.wait().await.context("waiting for the load")?;
                    bail!("the load broke off ({status}): {}", words(&self.log));
                }
            }
        }
        Ok(self.state)
    }
}

fn words(log: &Path) -> String {
    let words = std::fs::read_to_string(log).unwrap_or_default();
    let last = words.trim().lines().next_back();
    last.map_or("it said nothing".to_owned(), |line| line.chars().take(WORDS_MAX).collect())
}
