//! Nodes on hosts without a run: started to stay, stopped, killed, cleaned away, and what they logged.

use crate::campaign::{self, UsageError};
use crate::cli::{OnHosts, Place};
use crate::cluster::{ClusterConf, HostConf};
use crate::host::agent::{RUNS, SOCKET};
use crate::host::ssh::{Ssh, path};
use crate::host::{AgentReply, AgentRequest, Stay, exchange};
use crate::plan::{Plan, World};
use crate::store;
use crate::threads::single_threaded;
use crate::world::settle::wait_until_it_serves;
use crate::world::{Cluster, Demands, Site};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tls::TlsFiles;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// How long a fresh cluster may take to agree on a leader, and an agent to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// `gauntlet start`: prints where the nodes serve.
///
/// # Errors
/// If they do not start, or do not come to agree on a leader.
pub(crate) fn start(mut plan: Plan, place: &Place) -> anyhow::Result<()> {
    if plan.world != World::Ssh {
        return Err(UsageError("nodes can be left running on hosts only: --world ssh".into()).into());
    }
    plan.subjects.truncate(1);
    plan.workloads.truncate(1);
    plan.load.clients.0.truncate(1);
    plan.repeats = 1;
    plan.baseline = None;
    let conf = campaign::hosts(plan.world, place)?;
    let seed = plan.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let cells = plan.cells(seed)?;
    let [cell] = &cells[..] else { bail!("one subject makes one cell") };
    let dir = store::create(&place.store, &plan.name, seed)?;
    store::write(&dir.join("plan.yaml"), cell.plan.to_yaml().as_bytes())?;
    single_threaded()?.block_on(async {
        let subject = cell.subject();
        let (system, nodes) = ([subject.system].into_iter(), cell.plan.nodes(subject).len());
        let site =
            Site::prepare(plan.world, system, nodes, place, conf, Stay::Unattended, Demands::of(&plan))
                .await?;
        let started = async {
            let mut cluster = Cluster::start(cell, &dir, &site).await?;
            wait_until_it_serves(&mut cluster, PATIENCE).await.context("the cluster does not serve")?;
            anyhow::Ok(cluster)
        };
        match started.await {
            Ok(cluster) => {
                println!("{}", cluster.addresses());
                site.leave_running();
                if let Some(TlsFiles { ca, certificate, key }) = cluster.write_client_secrets(&dir)? {
                    let files = [("ca", ca), ("certificate", certificate), ("key", key)];
                    let words = files.map(|(flag, file)| format!("--{flag} {}", file.display()));
                    println!("they speak TLS: gauntlet client {} --nodes …", words.join(" "));
                }
                Ok(())
            }
            Err(error) => {
                site.leave().await;
                Err(error)
            }
        }
    })
}

/// Does something on all hosts at once, and prints what is to be said of each, in their order.
fn on_all<F, Fut>(on: &OnHosts, what: F) -> anyhow::Result<()>
where
    F: Fn(HostConf, Ssh, PathBuf) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = anyhow::Result<String>> + Send + 'static,
{
    let conf = ClusterConf::load(&on.cluster).map_err(|error| UsageError(format!("{error:#}")))?;
    let sockets = store::temporary()?;
    single_threaded()?.block_on(async {
        let mut doing = JoinSet::new();
        for (i, host) in conf.servers.into_iter().chain(conf.clients).enumerate() {
            let (what, dir) = (what.clone(), sockets.path().to_owned());
            doing.spawn(async move {
                let name = host.name.clone();
                let done = match Ssh::connect(&host, &dir).await {
                    Ok(ssh) => what(host, ssh, dir).await,
                    Err(error) => Err(error),
                };
                (i, done.with_context(|| format!("host {name}")))
            });
        }
        let done: BTreeMap<usize, _> = doing.join_all().await.into_iter().collect();
        let mut problems = Vec::new();
        for done in done.into_values() {
            match done {
                Ok(words) if words.is_empty() => {}
                Ok(words) => println!("{words}"),
                Err(error) => problems.push(format!("{error:#}")),
            }
        }
        if problems.is_empty() { Ok(()) } else { bail!("{}", problems.join("; ")) }
    })
}

/// Has a host's agent end, and sees that it has. One that does not run has ended.
async fn end_agent(host: &HostConf, ssh: &Ssh, dir: &Path, kill: bool) -> anyhow::Result<()> {
    let socket = dir.join(format!("{}.sock", host.name));
    let there = host.data.join(SOCKET);
    let there = path(&there)?;
    let runs = async |ssh: &Ssh| {
        anyhow::Ok(!ssh.text(&["sh", "-c", "ls \"$1\" 2>/dev/null; true", "sh", there]).await?.is_empty())
    };
    if !runs(ssh).await? {
        return Ok(());
    }
    ssh.forward_agent(host, &socket).await?;
    match timeout(PATIENCE, exchange(&socket, &AgentRequest::Quit { kill })).await {
        Ok(Ok(AgentReply::Done)) => {}
        // It died and left its socket.
        Ok(Err(error)) => tracing::debug!(host = host.name, %error, "its agent does not answer"),
        other => bail!("its agent: {other:?}"),
    }
    let deadline = Instant::now() + PATIENCE;
    while runs(ssh).await? {
        if Instant::now() >= deadline {
            bail!("its agent does not end");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// `gauntlet stop` and `gauntlet kill`.
///
/// # Errors
/// On which host it could not be done.
pub(crate) fn end(on: &OnHosts, kill: bool) -> anyhow::Result<()> {
    on_all(on, move |host, ssh, dir| async move {
        let ended = end_agent(&host, &ssh, &dir, kill).await;
        ssh.close().await;
        ended.map(|()| String::new())
    })
}

/// `gauntlet clean`.
///
/// # Errors
/// On which host it could not be done.
pub(crate) fn clean(on: &OnHosts) -> anyhow::Result<()> {
    on_all(on, |host, ssh, dir| async move {
        end_agent(&host, &ssh, &dir, true).await?;
        let data = path(&host.data)?;
        // The folder itself may be a disk of its own.
        let script = "find \"$1\" -mindepth 1 -delete && { rmdir \"$1\" 2>/dev/null || true; }";
        ssh.output(&[host.as_agent(), &["sh", "-c", script, "sh", data]].concat()).await?;
        ssh.close().await;
        Ok(String::new())
    })
}

/// `gauntlet logs`.
///
/// # Errors
/// On which host they cannot be read.
pub(crate) fn logs(on: &OnHosts, lines: u32) -> anyhow::Result<()> {
    on_all(on, move |host, ssh, _| async move {
        let runs = host.data.join(RUNS);
        let runs = path(&runs)?;
        let script = "cd \"$1\" 2>/dev/null || exit 0; for log in */node.log; do tail -n \"$2\" \"$log\" | sed \"s|^|${log%/node.log} |\"; done";
        let lines = lines.to_string();
        let text = ssh.text(&[host.as_agent(), &["sh", "-c", script, "sh", runs, &lines]].concat()).await?;
        ssh.close().await;
        Ok(if text.is_empty() { format!("host {} has no logs", host.name) } else { text })
    })
}
