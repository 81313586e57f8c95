//! Programs that want a host's processors or memory: `gauntlet burn`, on a leash.

use crate::binaries;
use crate::host::proc_stat;
use crate::leash;
use anyhow::{Context, bail};
use nemesis::Pressure;
use std::time::{Duration, Instant};
use tokio::process::Child;
use tokio::time::sleep;

/// All of its memory is touched so often, so that it stays in use.
const TOUCH_EVERY: Duration = Duration::from_millis(100);
const PAGE_BYTES: usize = 4096;
/// Memory must be in use within this.
const MEMORY_PATIENCE: Duration = Duration::from_secs(10);
/// Less processor time than this is nothing to speak of, seconds a second.
const CPU_SHARE_MIN: f64 = 0.05;

/// One that burns.
#[derive(Debug)]
pub(super) struct Burner {
    child: Child,
    pid: u32,
    since: Instant,
}

impl Burner {
    /// Starts it; memory is in use when this returns.
    ///
    /// # Errors
    /// If it cannot be started, or the memory cannot be had.
    pub(super) async fn start(pressure: Pressure) -> anyhow::Result<Burner> {
        let own = binaries::own()?;
        let mut command = leash::command(&own, None)?;
        match pressure {
            Pressure::Cpu(workers) => command.args(["burn", "--cpu", &workers.to_string()]),
            Pressure::MemoryMib(mebibytes) => command.args(["burn", "--memory-mib", &mebibytes.to_string()]),
        };
        let child = command.kill_on_drop(true).spawn().context("starting a program that burns")?;
        let pid = child.id().context("it ended at once")?;
        let mut burner = Burner { child, pid, since: Instant::now() };
        if let Pressure::MemoryMib(wanted) = pressure {
            while burner.resident_mib()? < u64::from(wanted) {
                if let Some(status) = burner.child.try_wait()? {
                    bail!("{wanted} MiB cannot be had: {status}");
                }
                if burner.since.elapsed() > MEMORY_PATIENCE {
                    bail!("{wanted} MiB cannot be had within {MEMORY_PATIENCE:?}");
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(burner)
    }

    /// What shows that it runs.
    pub(super) fn words(&self, pressure: Pressure) -> String {
        match pressure {
            Pressure::Cpu(workers) => format!("pid {} wants {workers} processors", self.pid),
            Pressure::MemoryMib(mebibytes) => format!("pid {} holds {mebibytes} MiB", self.pid),
        }
    }

    /// Ends it; what it had, or `None` if that was nothing to speak of.
    ///
    /// # Errors
    /// If it had ended before (the system took it to save memory, say).
    pub(super) async fn end(mut self, pressure: Pressure) -> anyhow::Result<Option<String>> {
        let lasted_s = self.since.elapsed().as_secs_f64();
        let cpu_s = proc_stat::process(self.pid).map(|stat| stat.cpu_s);
        let resident = self.resident_mib();
        if let Some(status) = self.child.try_wait()? {
            bail!("it had ended before: {status}");
        }
        self.child.kill().await.context("ending a program that burns")?;
        Ok(match pressure {
            Pressure::Cpu(_) => {
                let cpu_s = cpu_s?;
                let words = format!("they had {cpu_s:.1} s of processor in {lasted_s:.1} s");
                (cpu_s > CPU_SHARE_MIN * lasted_s).then_some(words)
            }
            Pressure::MemoryMib(wanted) => {
                let resident = resident?;
                (resident * 10 >= u64::from(wanted) * 9)
                    .then(|| format!("they held {resident} MiB for {lasted_s:.1} s"))
            }
        })
    }

    fn resident_mib(&self) -> anyhow::Result<u64> {
        let file = format!("/proc/{}/statm", self.pid);
        let text = std::fs::read_to_string(&file).with_context(|| file.clone())?;
        let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).context(file)?;
        Ok((pages * PAGE_BYTES as u64) >> 20)
    }
}

/// `gauntlet burn`: until it is killed.
pub(crate) fn burn(cpu: u32, memory_mib: usize) -> ! {
    for _ in 0..cpu {
        std::thread::spawn(|| {
            let mut x = 1_u64;
            loop {
                x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            }
        });
    }
    let mut memory = vec![1_u8; memory_mib << 20];
    loop {
        memory.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = byte.wrapping_add(1));
        std::thread::sleep(TOUCH_EVERY);
    }
}
