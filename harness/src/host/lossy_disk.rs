//! A disk under a foreign node that can lose what was not synced: `gauntlet lossy`, a process of its own.
//!
//! It is on no leash, which would kill it and leave a mount that nobody serves. It ends by itself, and takes its mount away, when its
//! standard input ends: when whoever started it has no more use for it, or is dead, however he died.

use crate::binaries;
use crate::store;
use anyhow::{Context, bail};
use lossy::{Layer, Lost, mounts};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

/// One whose pipes are closed is gone within this.
const ENDING: Duration = Duration::from_millis(200);
/// How long it may take to do what it is told.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to make everything durable, and end.
const END_PATIENCE: Duration = Duration::from_secs(40);

/// What the process is told, a line each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Order {
    /// Nothing becomes durable any more.
    Cut,
    /// The power is there again.
    Mend,
    /// What is not durable is gone.
    Lose,
    /// All becomes durable, and the mount goes.
    End,
}

/// What it answers, a line each; the first when it has mounted.
type Answer = Result<Lost, String>;

/// The disk, as whoever started it sees it.
#[derive(Debug)]
pub(super) struct LossyDisk {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// What the node sees.
    data: PathBuf,
    /// What is durable.
    backing: PathBuf,
    is_cut: bool,
    /// Why we have ended the program, if we have.
    given_up: Option<String>,
    /// It was said that the program has ended.
    told: bool,
}

impl LossyDisk {
    /// Mounts it at `data`, a folder.
    ///
    /// # Errors
    /// If it cannot be mounted: why.
    pub(super) async fn mount(data: &Path) -> anyhow::Result<LossyDisk> {
        for at in mounts::clear_dead().context("looking for what an earlier run left")? {
            tracing::warn!(at = %at.display(), "an earlier run had left a disk that nobody serves: it is unmounted");
        }
        let backing = data.with_extension("disk");
        std::fs::create_dir_all(&backing).with_context(|| format!("making {}", backing.display()))?;
        let mut command = tokio::process::Command::new(binaries::own()?);
        // A group of its own: Ctrl-C is for the controller.
        command.arg("lossy").arg(&backing).arg(data).process_group(0);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a disk that can lose what was not synced")?;
        let orders = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped")).lines();
        let data = data.to_owned();
        let mut disk =
            LossyDisk { child, orders, answers, data, backing, is_cut: false, given_up: None, told: false };
        disk.answer(PATIENCE).await?;
        Ok(disk)
    }

    /// Whether there can be one here, by having one.
    ///
    /// # Errors
    /// Why not.
    pub(super) async fn probe() -> anyhow::Result<()> {
        let dir = store::temporary()?;
        let data = dir.path().join("data");
        std::fs::create_dir(&data)?;
        let disk = LossyDisk::mount(&data).await?;
        let held = std::fs::write(data.join("probe"), b"probe").context("writing to it");
        disk.end().await?;
        held
    }

    async fn answer(&mut self, patience: Duration) -> anyhow::Result<Lost> {
        let Ok(line) = timeout(patience, self.answers.next_line()).await else {
            // What it says later would be taken for the answer to something else.
            self.give_up(format!("its disk was silent for {patience:?}")).await;
            bail!("its disk is silent");
        };
        let line = line?.context("the program that serves its disk has ended")?;
        match serde_json::from_str::<Answer>(&line).context("its disk answers oddly")? {
            Ok(lost) => Ok(lost),
            Err(why) => bail!("{why}"),
        }
    }

    async fn order(&mut self, order: Order) -> anyhow::Result<Lost> {
        let mut line = serde_json::to_vec(&order).expect("an order is plain data");
        line.push(b'\n');
        let told = self.orders.write_all(&line).await;
        told.context("the program that serves its disk has ended")?;
        self.answer(if order == Order::End { END_PATIENCE } else { PATIENCE }).await
    }

    /// Ends the program that serves it, for this reason, unless it ends by itself: it is dead then.
    pub(super) async fn give_up(&mut self, why: String) {
        if timeout(ENDING, self.child.wait()).await.is_ok() {
            return;
        }
        self.given_up.get_or_insert(why);
        if let Err(error) = self.child.kill().await {
            tracing::warn!(at = %self.data.display(), %error, "ending the program that serves a disk");
        }
    }

    /// The power goes: nothing becomes durable from now on, and who asks for it waits. What would be lost now.
    pub(super) async fn cut(&mut self) -> anyhow::Result<Lost> {
        self.is_cut = true;
        self.order(Order::Cut).await
    }

    /// Gives the power back, if it is cut.
    pub(super) async fn mend(&mut self) -> anyhow::Result<()> {
        if self.is_cut {
            self.order(Order::Mend).await?;
            self.is_cut = false;
        }
        Ok(())
    }

    /// What was not durable is gone. Who waited for it is told that it failed: he must not live to hear it. Nothing can be changed before
    /// the power is back.
    pub(super) async fn lose(&mut self) -> anyhow::Result<Lost> {
        self.order(Order::Lose).await
    }

    /// Whether the program that serves it has ended by itself.
    pub(super) fn is_dead(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// If it has, or had to be ended: how, once.
    pub(super) fn take_exit(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        let is_news = !std::mem::replace(&mut self.told, true);
        let by_itself = || format!("the program that served its disk ended by itself: {status}");
        is_news.then(|| self.given_up.take().unwrap_or_else(by_itself))
    }

    /// Becomes another one, on what is left of this one, whose program has ended.
    ///
    /// # Errors
    /// If it cannot be mounted: it is dead still.
    pub(super) async fn again(&mut self) -> anyhow::Result<()> {
        if mounts::is_mounted(&self.data)? {
            mounts::detach(&self.data).context("unmounting a disk that nobody serves")?;
        }
        *self = LossyDisk::mount(&self.data).await?;
        Ok(())
    }

    /// Unmounts it, looks that it is gone, and leaves all that it held in `data`.
    ///
    /// # Errors
    /// What went wrong.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        let ended = self.order(Order::End).await;
        let waited = timeout(PATIENCE, self.child.wait()).await;
        if !matches!(waited, Ok(Ok(status)) if status.success()) {
            self.child.kill().await.ok();
        }
        let at = self.data.display();
        if mounts::is_mounted(&self.data)? {
            mounts::detach(&self.data).with_context(|| format!("unmounting {at}"))?;
        }
        if mounts::is_mounted(&self.data)? {
            bail!("{at} is mounted still");
        }
        ended.with_context(|| format!("ending the disk at {at}"))?;
        std::fs::remove_dir(&self.data)
            .and_then(|()| std::fs::rename(&self.backing, &self.data))
            .with_context(|| format!("putting what it held at {at}"))
    }
}

/// `gauntlet lossy`: serves until it is told to end, or nobody is there to tell it.
///
/// # Errors
/// If nobody listens. What goes wrong otherwise is told to whoever started it.
pub(crate) fn serve(backing: &Path, at: &Path) -> anyhow::Result<()> {
    // It holds every file open that is there.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).context("more open files")?;
    let at = at.canonicalize().with_context(|| format!("resolving {}", at.display()))?;
    let layer = match Layer::mount(backing, &at) {
        Ok(layer) => layer,
        Err(error) => return tell(&Err(format!("mounting a FUSE file system: {}", explain(&error)))),
    };
    tell(&Ok(Lost::default()))?;
    for line in std::io::stdin().lock().lines() {
        let order = serde_json::from_str(&line.context("waiting for orders")?).context("an order")?;
        let answer = match order {
            Order::Cut => Ok(layer.cut()),
            Order::Mend => {
                layer.mend();
                Ok(Lost::default())
            }
            Order::Lose => layer.lose(),
            Order::End => {
                let ended = layer.end().map(|()| Lost::default());
                return tell(&ended.map_err(|error| error.to_string()));
            }
        };
        tell(&answer.map_err(|error| error.to_string()))?;
    }
    // Whoever uses it still is being killed: nobody waits for that.
    mounts::detach(&at).with_context(|| format!("unmounting {}", at.display()))?;
    std::process::exit(0);
}

fn explain(error: &std::io::Error) -> String {
    if !Path::new("/dev/fuse").exists() {
        return "there is no /dev/fuse".into();
    }
    match std::fs::File::options().read(true).write(true).open("/dev/fuse") {
        Err(error) => format!("/dev/fuse cannot be opened: {error}"),
        Ok(_) => {
            let said = error.to_string();
            format!("{} (it needs CAP_SYS_ADMIN, or fusermount3 of the package fuse3)", said.trim())
        }
    }
}

fn tell(answer: &Answer) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, answer).context("answering")?;
    writeln!(out).and_then(|()| out.flush()).context("answering")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_that_answers_late_is_ended_so_that_nothing_it_says_is_taken_for_another_answer() {
        let mut command = tokio::process::Command::new("sleep");
        let mut child = command.arg("60").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (answers, nowhere) = (BufReader::new(answers).lines(), PathBuf::from("nowhere"));
        let (data, backing) = (nowhere.clone(), nowhere);
        let mut disk =
            LossyDisk { child, orders, answers, data, backing, is_cut: true, given_up: None, told: false };
        assert!(!disk.is_dead());
        let silent = disk.answer(Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(silent.to_string(), "its disk is silent");
        assert!(disk.is_dead());
        assert_eq!(disk.take_exit().as_deref(), Some("its disk was silent for 50ms"));
        assert_eq!(disk.take_exit(), None, "once");
    }

    #[test]
    fn orders_and_answers_are_lines_that_are_read_back() {
        for order in [Order::Cut, Order::Mend, Order::Lose, Order::End] {
            let line = serde_json::to_string(&order).unwrap();
            assert_eq!(serde_json::from_str::<Order>(&line).unwrap(), order);
        }
        let answers: [Answer; 2] = [Ok(Lost { names: 1, files: 2, bytes: 3 }), Err("no /dev/fuse".into())];
        for answer in answers {
            let line = serde_json::to_string(&answer).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), answer);
        }
    }
}
