//! `gauntlet hosts check`: what each host can do, and what not, and why.

use crate::binaries;
use crate::campaign;
use crate::cluster::{ClockConf, ClusterConf, HostConf};
use crate::exit::Exit;
use crate::host::ssh::{Program, Ssh, path};
use crate::host::{ClockSample, HostRequest, Means, Remote, Stay};
use crate::overrides::Overrides;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::store;
use crate::threads::single_threaded;
use crate::world::foreign_links;
use nemesis::Fault;
use nemesis::links::condition;
use nemesis::network::{HostLink, HostMeans};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use tabled::builder::Builder;
use tokio::task::JoinSet;

/// A host must have so much room for data.
const FREE_MIB_MIN: u64 = 512;
/// Of the table.
const HEADER: [&str; 13] = [
    "host",
    "address",
    "reachable",
    "machine",
    "libc",
    "cores",
    "disk free",
    "clock",
    "cut",
    "loss",
    "rate",
    "delay",
    "system clock",
];
/// How long each host's clock is compared with ours.
const CLOCK_WATCHED: Duration = Duration::from_millis(2_500);
/// Prints `key value` lines. What is not there is left out.
const SCRIPT: &str = r#"
echo machine "$(uname -m)"
echo libc "$(getconf GNU_LIBC_VERSION 2>/dev/null)"
echo cores "$(nproc 2>/dev/null)"
mkdir -p "$1" && echo free_kib "$(df -Pk "$1" | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4)"
true
"#;

/// What one host said.
struct Answer {
    machine: String,
    libc: Option<(u32, u32)>,
    cores: String,
    free_mib: u64,
    /// The surest of some readings.
    clock: Option<ClockSample>,
    means: Means,
    /// Whether nodes can be kept to a share of the processors.
    quota: Result<(), String>,
    /// Whether a foreign node can have a disk that loses what was not synced.
    disk: Result<(), String>,
}

/// Asks all hosts, prints tables; valid if the plan can be run there (without one: if all are reachable and fit).
///
/// # Errors
/// If the hosts' file or the plan cannot be read.
pub(super) fn check(file: &Path, plan: Option<&str>) -> anyhow::Result<Exit> {
    let conf = ClusterConf::load(file).map_err(|error| campaign::UsageError(format!("{error:#}")))?;
    let plan = plan.map(|plan| campaign::load(plan, &Overrides::default())).transpose()?;
    let own = binaries::own()?;
    let gauntlet = Program::read(&own)?;
    let runtime = single_threaded()?;
    let progress = Progress::new("hosts");
    progress.step("asking");
    let answers = runtime.block_on(ask_all(&conf, &gauntlet))?;
    progress.done();
    let mut problems = Vec::new();
    let mut table = Builder::default();
    table.push_record(HEADER);
    let mut why = Vec::new();
    for (host, answer) in &answers {
        table.push_record(row(host, answer, &mut why));
        problems.extend(unfit(host, answer, &gauntlet));
    }
    println!("{}", reports::table::framed(table.build()));
    for line in why {
        println!("{line}");
    }
    if let Some(plan) = &plan {
        problems.extend(impossible(plan, &conf, &answers));
    }
    for problem in &problems {
        println!("not possible: {problem}");
    }
    Ok(if problems.is_empty() { Exit::Valid } else { Exit::Failed })
}

type Answers = Vec<(HostConf, anyhow::Result<Answer>)>;

async fn ask_all(conf: &ClusterConf, gauntlet: &Program) -> anyhow::Result<Answers> {
    let sockets = store::temporary()?;
    let hosts: Vec<&HostConf> = conf.servers.iter().chain(&conf.clients).collect();
    let mut asking = JoinSet::new();
    for (i, host) in hosts.iter().copied().cloned().enumerate() {
        let peer = hosts[(i + 1) % hosts.len()].address;
        let (gauntlet, dir) = (gauntlet.clone(), sockets.path().to_owned());
        asking.spawn(async move {
            let answer = ask(&host, &gauntlet, &dir, peer).await;
            (i, host, answer)
        });
    }
    let mut answers = asking.join_all().await;
    answers.sort_by_key(|(i, ..)| *i);
    Ok(answers.into_iter().map(|(_, host, answer)| (host, answer)).collect())
}

async fn ask(host: &HostConf, gauntlet: &Program, dir: &Path, peer: IpAddr) -> anyhow::Result<Answer> {
    let ssh = Ssh::connect(host, dir).await?;
    let data = path(&host.data)?;
    let said = ssh.text(&["sh", "-c", SCRIPT, "sh", data]).await?;
    ssh.close().await;
    let value = |key: &str| {
        let mut values = said.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        values.next().filter(|value| !value.is_empty()).map(str::to_owned)
    };
    let remote =
        Remote::begin(host.clone(), std::slice::from_ref(gauntlet), dir, peer, Stay::WithController).await?;
    let means = remote.means().clone();
    let quota = remote.probe_quota().await;
    let disk = remote.ask(HostRequest::ProbeDisk).await.map(drop).map_err(|why| why.to_string());
    tokio::time::sleep(CLOCK_WATCHED).await;
    let clock = remote.take_clock_samples().into_iter().min_by_key(|sample| sample.uncertainty_ns);
    remote.quit().await;
    Ok(Answer {
        machine: value("machine").unwrap_or_default(),
        libc: value("libc").and_then(|text| glibc(&text)),
        cores: value("cores").unwrap_or_default(),
        free_mib: value("free_kib").and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024,
        clock,
        means,
        quota,
        disk,
    })
}

/// `glibc 2.36`.
fn glibc(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn row(host: &HostConf, answer: &anyhow::Result<Answer>, why: &mut Vec<String>) -> Vec<String> {
    let mut row = vec![host.name.clone(), host.address.to_string()];
    let Ok(answer) = answer else {
        row.push("no".into());
        row.resize(HEADER.len(), "–".into());
        return row;
    };
    let libc = answer.libc.map_or("not glibc".into(), |(major, minor)| format!("glibc {major}.{minor}"));
    row.extend(["yes".into(), answer.machine.clone(), libc, answer.cores.clone()]);
    row.push(format!("{:.1} GiB", answer.free_mib as f64 / 1024.0));
    row.push(answer.clock.map_or("–".into(), |ClockSample { offset_us, uncertainty_ns, .. }| {
        format!("{:+.1} ± {:.1} ms", offset_us as f64 / 1e3, uncertainty_ns as f64 / 1e6)
    }));
    let HostMeans { cut, loss, rate, netem } = &answer.means.network;
    // Either will do for losses.
    let lossless = if netem.is_none() { netem } else { loss };
    for (what, not) in [("cut", cut), ("loss", lossless), ("rate", rate), ("delay", netem)] {
        row.push(if not.is_none() { "kernel" } else { "node" }.into());
        if let Some(not) = not {
            why.push(format!("{}: {what} is left to the nodes: {not}", host.name));
        }
    }
    if let Err(not) = &answer.quota {
        why.push(format!("{}: cpu_quota: {not}", host.name));
    }
    row.push(if answer.means.clock.is_ok() { "may be moved" } else { "left alone" }.into());
    why.push(match &answer.means.clock {
        Ok(daemons) if daemons.is_empty() => format!("{}: system clock: no time daemon runs", host.name),
        Ok(daemons) => {
            format!("{}: system clock: a fault stops {} until it is healed", host.name, daemons.join(", "))
        }
        Err(not) => format!("{}: system clock: left alone: {not}", host.name),
    });
    if let Err(not) = &answer.disk {
        why.push(format!(
            "{}: no disks that lose what was not synced, so no power loss of a foreign system: {not}",
            host.name
        ));
    }
    row
}

/// Why a host cannot run anything of ours.
fn unfit(host: &HostConf, answer: &anyhow::Result<Answer>, gauntlet: &Program) -> Vec<String> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return vec![format!("{}: {error:#}", host.name)],
    };
    let mut problems = Vec::new();
    if answer.machine != std::env::consts::ARCH {
        problems.push(format!(
            "{}: it is a {}, the programs are for {}",
            host.name,
            answer.machine,
            std::env::consts::ARCH
        ));
    }
    if let Some(needed) = gauntlet.glibc_needed()
        && answer.libc.is_none_or(|there| there < needed)
    {
        problems.push(format!("{}: the programs need glibc {}.{}", host.name, needed.0, needed.1));
    }
    if let (Some(cpus), Err(not)) = (host.cpu_quota, &answer.quota) {
        problems.push(format!("{}: cpu_quota {cpus} cannot be had: {not}", host.name));
    }
    if answer.free_mib < FREE_MIB_MIN {
        problems.push(format!(
            "{}: {} MiB are free below {}, {FREE_MIB_MIN} are needed",
            host.name,
            answer.free_mib,
            host.data.display()
        ));
    }
    problems
}

/// Why a plan cannot be run on these hosts.
fn impossible(plan: &Plan, conf: &ClusterConf, answers: &Answers) -> Vec<String> {
    let mut problems = Vec::new();
    for (host, answer) in answers {
        if let (Some(cpus), Ok(answer)) = (plan.cpu_quota, answer)
            && conf.servers.iter().any(|server| server.name == host.name)
            && let Err(not) = &answer.quota
        {
            problems.push(format!("cpu_quota {cpus} cannot be had on {}: {not}", host.name));
        }
    }
    for subject in &plan.subjects {
        if let Err(error) = conf.hosts_for(plan.nodes(subject).len()) {
            problems.push(format!("{}: {error:#}", subject.name));
        }
        let faults: Vec<&Fault> = plan.nemesis.iter().flat_map(|spec| &spec.faults).collect();
        for (host, answer) in answers {
            let Ok(answer) = answer else { continue };
            let mut on_host = |why| problems.push(format!("{} on {}: {why}", subject.name, host.name));
            let ours = subject.system.is_ours();
            if let Err(why) = &answer.disk
                && !ours
                && faults.contains(&&Fault::PowerLoss)
            {
                on_host(format!("power-loss: {why}"));
            }
            if let Err(why) = &answer.means.clock
                && (!ours || host.clock == ClockConf::System)
                && faults.iter().any(|fault| fault.clock_setting().is_some())
            {
                on_host(format!("its system clock is left alone: {why}"));
            }
            if let Some(why) = &answer.means.network.netem
                && !ours
                && plan.links.is_some()
            {
                on_host(format!("links: its kernel cannot hold back what is sent: {why}"));
            }
            let left_over = |condition| {
                let mut left = condition;
                HostLink::default().take_outbound(&mut left, &answer.means.network);
                !left.is_clear()
            };
            if !ours && faults.iter().copied().filter_map(condition).any(left_over) {
                on_host(foreign_links(&answer.means.network));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_libc_version_is_read() {
        assert_eq!(glibc("glibc 2.36"), Some((2, 36)));
        assert_eq!(glibc("musl"), None);
    }

    #[test]
    fn an_unreachable_host_is_a_problem_and_a_row() {
        let conf = ClusterConf::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../cluster.conf")));
        let host = &conf.expect("the example").servers[0];
        let answer = Err(anyhow::anyhow!("connection refused"));
        let mut why = Vec::new();
        assert_eq!(row(host, &answer, &mut why).len(), HEADER.len());
        let own = Program::read(&std::env::current_exe().expect("a test is a program")).expect("readable");
        assert_eq!(unfit(host, &answer, &own), ["n1: connection refused"]);
    }
}
