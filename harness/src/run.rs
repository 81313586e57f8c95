//! One cell, from deployment to verdict:
//!
//! write the resolved plan → deploy and start → wait until it serves → load phase → run phase (workload beside nemesis) →
//! heal and verify → settle, final reads → compare states → stop → check. Rendering is the caller's.
//!
//! Whatever goes wrong on the way, the nodes are gone at the end, the history is on disk as far as it got, and what there
//! is of it is judged.

use crate::cpu::CpuMeter;
use crate::describe::describe;
use crate::elsewhere::{LoadHosts, Target, own_history, share_out};
use crate::exit::Exit;
use crate::judge;
use crate::plan::Cell;
use crate::progress::Progress;
use crate::store::{self, HISTORY, STATUSES};
use crate::threads::single_threaded;
use crate::world::settle::{wait_for_one_state, wait_until_it_serves};
use crate::world::{Cluster, Site};
use anyhow::{Context, anyhow};
use checkers::Verdict;
use checkers::digests::Settled;
use checkers::history::{FaultEvent, FaultStage, Phase};
use nemesis::{ExitKind, HealReport, Runner};
use protocol::NodeId;
use reports::RunReport;
use reports::stored::{HOSTS_FILE, HostRecord, RUN_FILE, RunInfo, RunOutcome, StoredRun, write_json};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use workloads::load::{Arrivals, LoadConfig, LoadEnd, LoadSummary, run_load};
use workloads::recorder::{Recorder, RecorderHandle};
use workloads::{ClientTls, Share};

/// How long a fresh or healed cluster may take to agree on a leader and serve, and a quiet one to come to one state.
const SERVE_DEADLINE: Duration = Duration::from_secs(30);
/// How long the load phase and the final reads may take.
const BRACKET_DEADLINE: Duration = Duration::from_secs(300);

/// Ctrl-C or SIGTERM: the first asks runs to stop and save, the second ends the program at once (its children die with it).
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    set: watch::Receiver<bool>,
}

impl Interrupt {
    /// Listens from now on. Needs a tokio runtime.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        // Both at once and not in the task: until then a signal would end the program.
        let mut interrupts = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
        let mut terminations = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let (sender, set) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupts.recv() => {}
                    _ = terminations.recv() => {}
                }
                if *sender.borrow() {
                    eprintln!("gauntlet: stopped at once; the history is kept as far as it was written");
                    std::process::exit(255);
                }
                eprintln!("gauntlet: stopping: draining, healing, saving (again: at once)");
                sender.send_replace(true);
            }
        });
        Ok(Self { set })
    }

    /// Whether somebody wants to stop.
    #[must_use]
    pub(crate) fn is_set(&self) -> bool {
        *self.set.borrow()
    }
}

/// A run that has ended.
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    /// What is in its folder now; `None` if nothing was recorded and judged.
    pub(crate) judged: Option<StoredRun>,
}

/// Runs and judges a cell in its folder.
///
/// # Errors
/// If there is nothing to judge: the nodes did not start, or the folder cannot be written.
pub(crate) async fn run_cell(
    cell: &Cell,
    dir: &Path,
    site: &Site,
    interrupt: &Interrupt,
    title: &str,
) -> anyhow::Result<Ended> {
    let progress = Progress::new(title);
    let mut info = describe(cell);
    info.facts.extend(facts(cell, site));
    store::write(&dir.join("plan.yaml"), cell.plan.to_yaml().as_bytes())?;
    // True until the run ends, so also if the controller is killed.
    info.outcome = RunOutcome::Failed("the controller ended before the run did".into());
    write_json(&dir.join(RUN_FILE), &info)?;

    progress.step("starting the nodes");
    let outcome = drive(cell, dir, site, interrupt, &progress, &mut info).await;
    info.outcome = match outcome {
        Ok(()) if interrupt.is_set() => RunOutcome::Interrupted,
        Ok(()) => RunOutcome::Completed,
        Err(error) => RunOutcome::Failed(format!("{error:#}")),
    };
    write_json(&dir.join(RUN_FILE), &info)?;
    if let RunOutcome::Failed(why) = &info.outcome {
        progress.done();
        eprintln!("gauntlet: {title}: {why}");
    }
    if !dir.join(HISTORY).is_file() {
        return Ok(Ended { exit: Exit::of(Verdict::Unknown, &info.outcome), judged: None });
    }
    progress.step("checking");
    let judged = {
        let (dir, plan) = (dir.to_owned(), cell.plan.clone());
        let judge = move || -> anyhow::Result<StoredRun> {
            let (results, history) = judge::judge_recorded(&dir, &plan, &info)?;
            StoredRun::new(&dir, info, Some(results), history)
        };
        tokio::task::spawn_blocking(judge).await.context("the checkers panicked")?
    };
    progress.done();
    let judged = judged?;
    let verdict = judged.results.as_ref().map_or(Verdict::Unknown, |results| results.verdict);
    Ok(Ended { exit: Exit::of(verdict, &judged.info.outcome), judged: Some(judged) })
}

/// Draws a run that has ended, from memory where it is still there.
///
/// # Errors
/// If the report cannot be written.
pub(crate) fn render(dir: &Path, judged: Option<StoredRun>) -> anyhow::Result<RunReport> {
    match judged {
        Some(judged) => reports::render(dir, judged),
        None => reports::render_run(dir),
    }
    .context("rendering the report")
}

/// Steps 3 to 9. The nodes are gone when this returns.
async fn drive(
    cell: &Cell,
    dir: &Path,
    site: &Site,
    interrupt: &Interrupt,
    progress: &Progress,
    info: &mut RunInfo,
) -> anyhow::Result<()> {
    let mut cluster = Cluster::start(cell, dir, site).await?;
    let unsynced = cluster.unsynced_in_words();
    info.facts.extend(unsynced.map(|words| ("unsynced writes".to_owned(), words.to_owned())));
    let recorder = match create_history(dir, site) {
        Ok(recorder) => recorder,
        Err(error) => {
            cluster.stop(dir).await;
            return Err(error);
        }
    };
    cluster.begin_history(recorder.origin());
    let (target, tls) = (cluster.voters_target(), cluster.client_tls());
    let mut steps = Steps {
        cell,
        dir,
        site,
        elsewhere: None,
        target,
        tls,
        interrupt,
        progress,
        recorder: Some(recorder),
        settled: None,
        hosts: Vec::new(),
    };
    let (mut cluster, driven) = steps.all(cluster, info).await;
    progress.step("stopping the nodes");
    info.not_collected = cluster.stop(dir).await;
    let told = write_json(&dir.join(STATUSES), &cluster.statuses(steps.settled.take()));
    let told =
        if steps.hosts.is_empty() { told } else { told.and(write_json(&dir.join(HOSTS_FILE), &steps.hosts)) };
    let saved = match steps.recorder.take() {
        Some(recorder) => {
            let origin = recorder.origin();
            let saved = recorder.finish().context("writing the end of the history");
            match saved {
                Ok(()) => steps.merge(origin, info).await,
                Err(error) => Err(error),
            }
        }
        None => Err(anyhow!("the load generator panicked: its history ends early")),
    };
    driven.and(saved).and(told)
}

/// Where other hosts record, too, there is a history only when all is together.
fn create_history(dir: &Path, site: &Site) -> anyhow::Result<Recorder> {
    let file = if site.load_hosts().is_empty() { dir.join(HISTORY) } else { own_history(dir) };
    let folder = file.parent().expect("it is in a folder");
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    Recorder::create(file).context("creating the history")
}

struct Steps<'a> {
    cell: &'a Cell,
    dir: &'a Path,
    site: &'a Site,
    /// Other hosts that made the load of the run phase, once all that they recorded is here.
    elsewhere: Option<LoadHosts>,
    target: Target,
    /// What clients show to nodes, if those speak TLS.
    tls: Option<ClientTls>,
    interrupt: &'a Interrupt,
    progress: &'a Progress,
    /// `None` while the load generator has it.
    recorder: Option<Recorder>,
    /// What the replicas said in the end, if the run came that far.
    settled: Option<Settled>,
    /// What hosts said of the run phase, where they are others than this machine.
    hosts: Vec<HostRecord>,
}

impl Steps<'_> {
    async fn all(&mut self, mut cluster: Cluster, info: &mut RunInfo) -> (Cluster, anyhow::Result<()>) {
        self.progress.step("waiting until it serves");
        let ready =
            wait_until_it_serves(&mut cluster, SERVE_DEADLINE).await.context("the cluster does not serve");
        let loaded = match ready {
            Ok(()) => self.bracket(Phase::Load).await,
            Err(error) => Err(error),
        };
        if let Err(error) = loaded {
            return (cluster, Err(error));
        }
        self.target = cluster.target();
        let (mut cluster, ran) = self.run_phase(cluster, info).await;
        if ran.is_err() || self.interrupt.is_set() {
            return (cluster, ran);
        }
        self.progress.step("settling");
        let settled =
            wait_until_it_serves(&mut cluster, SERVE_DEADLINE).await.context("after the final heal");
        self.target = cluster.voters_target();
        let read = match settled {
            Ok(()) => self.bracket(Phase::Final).await,
            Err(error) => Err(error),
        };
        if read.is_ok() {
            self.progress.step("comparing states");
            self.settled = wait_for_one_state(&mut cluster, SERVE_DEADLINE).await;
        }
        (cluster, read)
    }

    /// The phases before and after the run: as fast as they go, to their end.
    async fn bracket(&mut self, phase: Phase) -> anyhow::Result<()> {
        self.progress.step(if phase == Phase::Load { "loading" } else { "reading everything once more" });
        let mut config = self.load_config();
        config.arrivals = Arrivals::Closed;
        config.time_limit = BRACKET_DEADLINE;
        // What each share of the run begins with is made before it.
        if phase == Phase::Final && self.cell.workload().reads_each_replica() {
            config.readers = u32::try_from(self.target.nodes.len()).expect("a few nodes");
            // A node that is near to no client is asked, too.
            self.target.distances = std::mem::take(&mut self.target.distances).with_homes_anywhere();
            config.clients = config.clients.max(config.readers);
        }
        if let [first, ..] = &share_out(&config, self.site.load_hosts().len())[..] {
            config.share = first.share;
        }
        let summary = self.load(phase, config, self.interrupt.set.clone()).await?;
        if summary.end == LoadEnd::TimeLimit {
            return Err(anyhow!("the {} phase was not done within {BRACKET_DEADLINE:?}", phase_name(phase)));
        }
        let lost = summary.fail() + summary.info();
        if phase == Phase::Load && lost > 0 {
            return Err(anyhow!("{lost} operations of the load phase did not succeed, before any fault"));
        }
        Ok(())
    }

    async fn run_phase(&mut self, mut cluster: Cluster, info: &mut RunInfo) -> (Cluster, anyhow::Result<()>) {
        let handle = self.recorder.as_ref().expect("nobody loads now").handle();
        cluster.begin_watch().await;
        let origin = self.recorder.as_ref().expect("nobody loads now").origin();
        let nodes_s = cluster.cpu_s().await;
        let mut begun_elsewhere = match self.begin_elsewhere(&cluster).await {
            Ok(begun) => begun,
            Err(error) => return (cluster, Err(error)),
        };
        let meter = CpuMeter::begin(nodes_s);
        let (stop_nemesis, nemesis_stopped) = watch::channel(false);
        let recording = handle.clone();
        let schedule = self.cell.schedule().to_vec();
        let runner = Runner::new(cluster, schedule, self.cell.seed, move |event| record(&recording, event));
        let watching = watch_progress(self.progress.clone(), handle, self.cell.plan.duration);
        let config = self.load_config();
        let interrupted = self.interrupt.set.clone();
        let load = async {
            let loaded = match &mut begun_elsewhere {
                Some(hosts) => {
                    let recorder = self.recorder.as_mut().expect("nobody loads now");
                    hosts.wait(recorder, &interrupted).await
                }
                None => self.load(Phase::Run, config, interrupted).await.map(drop),
            };
            stop_nemesis.send_replace(true);
            (loaded, meter.end())
        };
        let ((mut cluster, healed), (loaded, used)) = tokio::select! {
            both = async { tokio::join!(runner.run(nemesis_stopped), load) } => both,
            () = watching => unreachable!("watching does not end by itself"),
        };
        let loaded = match begun_elsewhere {
            Some(hosts) if loaded.is_ok() => self.collect(hosts).await,
            _ => loaded,
        };
        let (hosts, lapses) = cluster.end_watch(origin).await;
        self.hosts = hosts;
        self.hosts.extend(self.elsewhere.iter().flat_map(|hosts| hosts.records(origin)));
        info.cpu = used.with_nodes(cluster.cpu_s().await);
        let HealReport { problems, crashes } = healed;
        info.heal_problems = problems.into_iter().chain(lapses).collect();
        let (full, crashes): (Vec<_>, Vec<_>) =
            crashes.into_iter().partition(|(_, exit)| exit.how == ExitKind::DiskFull);
        let told = |(node, exit): (NodeId, nemesis::Exit)| (node.to_string(), exit.words);
        info.crashes = crashes.into_iter().map(told).collect();
        info.disk_full = full.into_iter().map(told).collect();
        (cluster, loaded)
    }

    /// Has other hosts begin with the run phase's load, if there are any.
    async fn begin_elsewhere(&mut self, cluster: &Cluster) -> anyhow::Result<Option<LoadHosts>> {
        let remotes = self.site.load_hosts();
        if remotes.is_empty() {
            return Ok(None);
        }
        let config = self.load_config();
        let recorder = self.recorder.as_mut().expect("nobody loads now");
        let secrets = |dir: &Path| cluster.client_secrets(dir);
        let spec = self.cell.workload();
        LoadHosts::begin(remotes, &config, spec, &self.target, secrets, recorder).await.map(Some)
    }

    /// Fetches what hosts have recorded that have ended.
    async fn collect(&mut self, mut hosts: LoadHosts) -> anyhow::Result<()> {
        let recorder = self.recorder.as_mut().expect("nobody loads now");
        hosts.collect(recorder, self.dir).await?;
        self.elsewhere = Some(hosts);
        Ok(())
    }

    /// Makes one history of all that was recorded, here and elsewhere.
    async fn merge(&mut self, origin: tokio::time::Instant, info: &mut RunInfo) -> anyhow::Result<()> {
        let Some(hosts) = &self.elsewhere else { return Ok(()) };
        let off = hosts.merge(self.dir, origin).await.context("merging what was recorded")?;
        info.facts.push(("load made on".into(), hosts.in_words(off)));
        Ok(())
    }

    fn load_config(&self) -> LoadConfig {
        let load = &self.cell.plan.load;
        LoadConfig {
            clients: self.cell.clients(),
            arrivals: match load.rate {
                None => Arrivals::Closed,
                Some(rate_per_s) => Arrivals::Open { rate_per_s, process: load.arrivals },
            },
            op_timeout: load.op_timeout,
            attempt_timeout: load.attempt_timeout,
            time_limit: self.cell.plan.duration,
            ops_max: None,
            seed: self.cell.seed,
            share: Share::WHOLE,
            binding: self.cell.workload().binding(self.target.system.properties().leads),
            readers: 1,
        }
    }

    /// Runs load on a thread of its own, with a runtime of its own: nothing that the controller does delays a client.
    async fn load(
        &mut self,
        phase: Phase,
        config: LoadConfig,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<LoadSummary> {
        let mut recorder = self.recorder.take().context("the load generator panicked before")?;
        let connector = self.target.system.connector(&self.target, self.tls.clone());
        let spec = self.cell.workload().clone();
        let (done, ended) = oneshot::channel();
        let body = move || {
            let result = match single_threaded() {
                Ok(runtime) => runtime
                    .block_on(run_load(&*connector, &spec, phase, &config, &mut recorder, stop))
                    .map_err(anyhow::Error::from),
                Err(error) => Err(error),
            };
            // Whoever waits for it is gone only if the controller is ending.
            drop(done.send((recorder, result)));
        };
        std::thread::Builder::new()
            .name("load".into())
            .spawn(body)
            .context("starting the load generator's thread")?;
        let (recorder, result) = ended.await.context("the load generator panicked")?;
        self.recorder = Some(recorder);
        result.with_context(|| format!("{} phase", phase_name(phase)))
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Load => "load",
        Phase::Run => "run",
        Phase::Final => "final",
    }
}

fn record(handle: &RecorderHandle, event: FaultEvent) {
    match event.stage {
        FaultStage::NeverBit | FaultStage::Indeterminate => tracing::warn!(?event),
        FaultStage::Installed | FaultStage::Skipped | FaultStage::Healed => tracing::info!(?event),
    }
    if let Err(error) = handle.fault(event) {
        tracing::error!(%error, "a fault could not be recorded");
    }
}

/// Redraws the progress line until it is dropped.
async fn watch_progress(progress: Progress, handle: RecorderHandle, duration: Duration) {
    let begun = Instant::now();
    loop {
        let now = handle.progress();
        let words = format!(
            "{:.0} ops/s  p50 {:.1} ms  p99 {:.1} ms  ok {}  fail {}  info {}",
            now.ops_per_s,
            now.latency_us_p50 as f64 / 1e3,
            now.latency_us_p99 as f64 / 1e3,
            now.ok,
            now.fail,
            now.info,
        );
        progress.at(begun.elapsed(), duration, words);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// What a reader of the report has to know besides.
fn facts(cell: &Cell, site: &Site) -> Vec<(String, String)> {
    let op_timeout = humantime::format_duration(cell.plan.load.op_timeout).to_string();
    let mut facts = vec![("op timeout".into(), op_timeout)];
    facts.push(("security".into(), site.security_of(cell.subject().system).name().into()));
    let spares = cell.plan.nodes(cell.subject()).len() - cell.replicas() as usize;
    if spares > 0 {
        facts.push(("nodes besides the founders".into(), spares.to_string()));
    }
    if let Some(cpus) = cell.plan.cpu_quota {
        facts.push(("cpu_quota".into(), format!("{cpus} processors for each node, by control groups")));
    }
    if let Some(least) = cell.plan.journal_sync_min {
        let least = humantime::format_duration(least);
        facts.push(("journal syncs".into(), format!("{least} at least: a slow disk")));
    }
    if cell.schedule().iter().any(|injection| injection.fault.is_amnesia()) {
        let promise = "some disks lose what was synced, which is more than a protocol that trusts its disk promises to survive";
        facts.push(("amnesia".into(), promise.into()));
    }
    facts
}
