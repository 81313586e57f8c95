//! What `/proc` says of a process and of the machine.

use anyhow::{Context, bail};

/// A process at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ProcessStat {
    /// `R`, `S`, `T`, `Z`, …
    pub state: char,
    /// Processor time so far, user and system, seconds.
    pub cpu_s: f64,
}

/// Clock ticks a second in `/proc`: fixed at 100 on Linux for user space.
const TICKS_PER_S: f64 = 100.0;

/// Reads `/proc/<pid>/stat`.
///
/// # Errors
/// If there is no such process.
pub(crate) fn process(pid: u32) -> anyhow::Result<ProcessStat> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    parse_process(&text).with_context(|| format!("/proc/{pid}/stat"))
}

fn parse_process(text: &str) -> anyhow::Result<ProcessStat> {
    // The second field is the program's name in parentheses and may hold anything.
    let Some((_, rest)) = text.rsplit_once(')') else { bail!("no program name") };
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).context("too few fields");
    let state = fields.first().and_then(|f| f.chars().next()).context("no state")?;
    Ok(ProcessStat { state, cpu_s: (ticks(11)? + ticks(12)?) / TICKS_PER_S })
}

/// Processor time that the whole machine has been busy since it started, seconds.
///
/// # Errors
/// If `/proc/stat` is not there.
pub(crate) fn machine_busy_s() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/stat").context("/proc/stat")?;
    parse_machine(&text).context("/proc/stat")
}

fn parse_machine(text: &str) -> anyhow::Result<f64> {
    let line = text.lines().find(|line| line.starts_with("cpu ")).context("no line for all cpus")?;
    let ticks: Vec<f64> = line.split_ascii_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is within user.
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else { bail!("too few fields") };
    Ok((user + nice + system + irq + softirq) / TICKS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_named_to_confuse_is_read_right() {
        let text = "42 (evil) R 1 (x) T 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 100 0 0";
        assert_eq!(parse_process(text).unwrap(), ProcessStat { state: 'T', cpu_s: 3.0 });
    }

    #[test]
    fn busy_time_leaves_out_idle_and_waiting() {
        assert_eq!(parse_machine("cpu  100 0 200 9999 8888 0 100 0 0 0\ncpu0 1").unwrap(), 4.0);
        assert!(parse_machine("intr 5").is_err());
    }

    #[test]
    fn we_run_and_have_used_some_time() {
        let own = process(std::process::id()).unwrap();
        assert!("RS".contains(own.state) && own.cpu_s >= 0.0);
        assert!(machine_busy_s().unwrap() > 0.0);
        assert!(process(u32::MAX).is_err());
    }
}
