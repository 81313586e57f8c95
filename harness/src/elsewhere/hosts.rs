//! The controller's side: all hosts that make load at once, and one history in the end.

use super::FOLDER;
use super::clocks::{Reading, compare};
use super::order::{LoadEnded, LoadOrder, LoadRequest, LoadState, Target};
use crate::host::{ClockSample, LoadFailure, Remote, Secret, Watched};
use crate::store::HISTORY;
use anyhow::{Context, bail};
use checkers::history::{Ending, Part, Phase, Reader, Timeline, Writer, merge};
use futures_util::future::join_all;
use reports::stored::HostRecord;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tls::TlsFiles;
use tokio::sync::watch;
use tokio::time::Instant;
use workloads::load::{Arrivals, LoadConfig};
use workloads::{Progress, Recorder, Share, Spec};

/// How often hosts are asked how it goes.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A host that was not heard for so long after its load should have ended is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the controller has recorded itself, beside what hosts have.
const OWN: &str = "controller.bin";
/// What is not fetched: what only the host may know.
const NOT_FETCHED: [&str; 1] = ["*.key"];

/// Where the controller records if others record, too: what it has seen alone is no history.
#[must_use]
pub(crate) fn own_history(dir: &Path) -> PathBuf {
    dir.join(FOLDER).join(OWN)
}

/// Ends what these hosts do, at once.
async fn end_all(remotes: impl Iterator<Item = &Remote>) {
    for ended in join_all(remotes.map(Remote::begin_run)).await {
        if let Err(error) = ended {
            tracing::warn!(%error, "ending a load");
        }
    }
}

/// Hosts that make the load of a run phase.
#[derive(Debug)]
pub(crate) struct LoadHosts {
    hosts: Vec<LoadHost>,
    /// Processes of the merged history before those of the run phase.
    first_process: u32,
}

#[derive(Debug)]
struct LoadHost {
    remote: Remote,
    config: LoadConfig,
    state: LoadState,
    problem: Option<String>,
    /// What was seen of it, once its load was over.
    watched: Watched,
}

/// Divides a load among hosts, as evenly as it goes; hosts beyond the number of clients get nothing.
#[must_use]
pub(crate) fn share_out(config: &LoadConfig, hosts: usize) -> Vec<LoadConfig> {
    if hosts == 0 {
        return Vec::new();
    }
    let of = u32::try_from(hosts).expect("a few hosts").min(config.clients);
    let share = |index| {
        let clients = config.clients / of + u32::from(index < config.clients % of);
        let arrivals = match config.arrivals {
            Arrivals::Closed => Arrivals::Closed,
            Arrivals::Open { rate_per_s, process } => {
                let rate_per_s = rate_per_s * f64::from(clients) / f64::from(config.clients);
                Arrivals::Open { rate_per_s, process }
            }
        };
        let seed = config.seed.wrapping_add(u64::from(index));
        LoadConfig { clients, arrivals, seed, share: Share { index, of }, ..config.clone() }
    };
    (0..of).map(share).collect()
}

impl LoadHosts {
    /// Begins the run phase on all of them, and in the history. `secrets`: what clients show to the target, in files of this folder of a
    /// host.
    ///
    /// # Errors
    /// If one does not begin: which, and what it said. None makes load then.
    pub(crate) async fn begin(
        remotes: &[Remote],
        config: &LoadConfig,
        spec: &Spec,
        target: &Target,
        secrets: impl Fn(&Path) -> (Option<TlsFiles>, Vec<Secret>),
        recorder: &mut Recorder,
    ) -> anyhow::Result<LoadHosts> {
        let configs = share_out(config, remotes.len());
        join_all(remotes.iter().map(Remote::begin_watch)).await;
        let first_process = recorder.processes_used();
        recorder.phase(Phase::Run).context("writing the history")?;
        let begun = join_all(remotes.iter().zip(&configs).map(async |(remote, config)| {
            let (tls, secrets) = secrets(&remote.runs().join(FOLDER));
            let (target, spec, config) = (target.clone(), spec.clone(), config.clone());
            let order = Box::new(LoadOrder { target, tls, spec, config });
            remote.load(LoadRequest::Begin { order, secrets }).await
        }));
        let begun = begun.await.into_iter().zip(remotes).zip(configs);
        let host = |((begun, remote), config): ((Result<LoadState, LoadFailure>, &Remote), LoadConfig)| {
            let state = begun.with_context(|| format!("load host {}", remote.conf().name))?;
            let (remote, watched) = (remote.clone(), Watched::default());
            anyhow::Ok(LoadHost { remote, config, state, problem: None, watched })
        };
        match begun.map(host).collect() {
            Ok(hosts) => Ok(LoadHosts { hosts, first_process }),
            Err(error) => {
                // One that did not answer may load all the same.
                end_all(remotes.iter()).await;
                Err(error)
            }
        }
    }

    /// Waits until all have ended. Whoever watches `recorder`'s progress sees theirs.
    ///
    /// # Errors
    /// If the controller's own history cannot be written. None makes load any more then.
    pub(crate) async fn wait(
        &mut self,
        recorder: &mut Recorder,
        stop: &watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let config = &self.hosts.first().context("there are hosts")?.config;
        let deadline = Instant::now() + config.time_limit + config.op_timeout + PATIENCE;
        while self.hosts.iter().any(LoadHost::is_open) {
            tokio::time::sleep(LOOK_EVERY).await;
            // Without what one host has recorded, what the others record says nothing.
            let is_over = *stop.borrow() || self.hosts.iter().any(|host| host.problem.is_some());
            self.ask_all(|| if is_over { LoadRequest::Stop } else { LoadRequest::Look }).await;
            if let Err(error) = recorder.flush() {
                end_all(self.hosts.iter().map(|host| &host.remote)).await;
                return Err(error).context("writing the history");
            }
            recorder.handle().tell(self.progress());
            if Instant::now() >= deadline {
                for host in self.hosts.iter_mut().filter(|host| host.is_open()) {
                    host.problem.get_or_insert("it was not heard of any more".into());
                }
            }
        }
        Ok(())
    }

    /// Fetches what they recorded into the run's folder.
    ///
    /// # Errors
    /// If a host did not come to its end, or what it has recorded cannot be had: there is no history then, since clients would
    /// seem to read what nobody has written.
    pub(crate) async fn collect(&mut self, recorder: &mut Recorder, dir: &Path) -> anyhow::Result<()> {
        join_all(self.hosts.iter_mut().map(async |host| {
            host.watched = host.remote.end_watch().await;
            let (there, here) = (host.remote.runs().join(FOLDER), host.folder(dir));
            if let Err(error) = host.remote.fetch(&there, &here, &NOT_FETCHED).await {
                host.problem.get_or_insert(format!("what it recorded cannot be fetched: {error:#}"));
            }
        }))
        .await;
        let broken = self.hosts.iter().filter_map(|host| {
            let why = host.problem.as_ref()?;
            Some(format!("load host {}: {why}", host.name()))
        });
        let broken: Vec<_> = broken.collect();
        if !broken.is_empty() {
            end_all(self.hosts.iter().map(|host| &host.remote)).await;
            bail!("{}; what was recorded is in {}", broken.join("; "), dir.join(FOLDER).display());
        }
        let parts = u32::try_from(self.hosts.len()).expect("a few hosts");
        let ended = || self.hosts.iter().filter_map(LoadHost::ended);
        let keys = ended().map(|ended| ended.keys_used).max().unwrap_or(0);
        let processes = ended().map(|ended| ended.processes_used).max().unwrap_or(0);
        recorder.count_as_used(keys, self.first_process + processes * parts);
        Ok(())
    }

    /// Asks all that are not over yet. A host that does not answer is asked again another time: its load goes on.
    async fn ask_all(&mut self, request: impl Fn() -> LoadRequest) {
        let open = self.hosts.iter_mut().filter(|host| host.is_open());
        join_all(open.map(async |host| match host.remote.load(request()).await {
            Ok(state) => host.state = state,
            Err(LoadFailure::Silent(why)) => tracing::warn!(why, "a load is not heard of"),
            Err(LoadFailure::Broken(why)) => host.problem = Some(why),
        }))
        .await;
    }

    /// All of them together. Quantiles cannot be added up: those of the slowest are shown.
    fn progress(&self) -> Progress {
        let parts = self.hosts.iter().map(|host| host.state.progress);
        parts.fold(Progress::default(), |sum, part| Progress {
            ok: sum.ok + part.ok,
            fail: sum.fail + part.fail,
            info: sum.info + part.info,
            ops_per_s: sum.ops_per_s + part.ops_per_s,
            latency_us_p50: sum.latency_us_p50.max(part.latency_us_p50),
            latency_us_p99: sum.latency_us_p99.max(part.latency_us_p99),
        })
    }

    /// Makes the run's history of what the controller has recorded and what hosts have; by how much the times in it may be off.
    /// `origin`: when the run began.
    ///
    /// # Errors
    /// If something of it is missing, or cannot be read or written: there is no history then, and all that was recorded is there still.
    pub(crate) async fn merge(&self, dir: &Path, origin: Instant) -> anyhow::Result<Duration> {
        let (mut files, mut timelines, mut uncertainty) = (Vec::new(), Vec::new(), 0);
        for host in &self.hosts {
            let (timeline, off) = host.timeline(origin).with_context(|| host.name().to_owned())?;
            files.push(host.folder(dir).join(HISTORY));
            timelines.push(timeline);
            uncertainty = uncertainty.max(off);
        }
        let (dir, first_process) = (dir.to_owned(), self.first_process);
        // Hosts are to hear of the controller meanwhile.
        let merging = tokio::task::spawn_blocking(move || {
            let mut own = Reader::open(own_history(&dir))?;
            let mut readers = files.iter().map(Reader::open).collect::<Result<Vec<_>, _>>()?;
            let parts = readers.iter_mut().zip(timelines);
            let parts = parts.map(|(entries, timeline)| Part { entries, timeline }).collect();
            let merged = dir.join(format!("{HISTORY}.part"));
            let mut writer = Writer::create(&merged)?;
            merge(&mut own, parts, first_process, uncertainty, &mut writer)?;
            writer.finish()?;
            readers.iter().chain([&own]).try_for_each(check_whole)?;
            std::fs::rename(&merged, dir.join(HISTORY)).context("putting the merged history in its place")
        });
        merging.await.context("merging panicked")??;
        Ok(Duration::from_nanos(uncertainty))
    }

    /// What is told of these hosts in the run's records.
    #[must_use]
    pub(crate) fn records(&self, origin: Instant) -> Vec<HostRecord> {
        let record = |host: &LoadHost| HostRecord {
            name: host.name().to_owned(),
            nodes: vec![format!("{} clients", host.config.clients)],
            clock: host.watched.readings(origin),
            counters: host.watched.counters.clone(),
            means: Vec::new(),
        };
        self.hosts.iter().map(record).collect()
    }

    /// Their names, and how sure their clocks are, for a reader of the report.
    #[must_use]
    pub(crate) fn in_words(&self, uncertainty: Duration) -> String {
        let names: Vec<_> = self.hosts.iter().map(LoadHost::name).collect();
        let off_ms = uncertainty.as_secs_f64() * 1e3;
        format!("{} (their clocks are compared with the controller's to ±{off_ms:.2} ms)", names.join(", "))
    }
}

impl LoadHost {
    fn name(&self) -> &str {
        &self.remote.conf().name
    }

    fn ended(&self) -> Option<LoadEnded> {
        self.state.ended
    }

    fn is_open(&self) -> bool {
        self.problem.is_none() && self.ended().is_none()
    }

    fn folder(&self, dir: &Path) -> PathBuf {
        dir.join(FOLDER).join(self.name())
    }

    fn timeline(&self, origin: Instant) -> anyhow::Result<(Timeline, u64)> {
        let (begin, ended) = (self.state.origin_ns, self.ended().context("its load did not end")?);
        let samples = self.watched.clock.iter();
        let readings: Vec<_> = samples.map(|sample| reading(sample, origin, begin)).collect();
        compare(&readings, ended.ended_ns)
    }
}

fn reading(sample: &ClockSample, origin: Instant, begin_ns: u64) -> Reading {
    let since = |later: Instant, earlier: Instant| {
        i64::try_from(later.saturating_duration_since(earlier).as_nanos()).expect("less than 292 years")
    };
    Reading {
        ours: since(sample.at, origin) - since(origin, sample.at),
        theirs: sample.monotonic_ns.wrapping_sub(begin_ns).cast_signed(),
        half: sample.uncertainty_ns,
    }
}

/// # Errors
/// If the end of the file is missing.
fn check_whole(read: &Reader) -> anyhow::Result<()> {
    match read.ending() {
        Some(Ending::Truncated { reason, .. }) => bail!("{reason}"),
        Some(Ending::Complete) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use workloads::load::ArrivalProcess;

    #[test]
    fn clients_and_rate_are_divided_evenly_and_nobody_is_asked_for_nothing() {
        let second = Duration::from_secs(1);
        let whole = LoadConfig {
            clients: 7,
            arrivals: Arrivals::Open { rate_per_s: 700.0, process: ArrivalProcess::Poisson },
            op_timeout: second,
            attempt_timeout: second,
            time_limit: second,
            ops_max: None,
            seed: 5,
            share: Share::WHOLE,
            binding: workloads::Binding::Leader,
            readers: 1,
        };
        let shares = share_out(&whole, 3);
        assert_eq!(shares.iter().map(|share| share.clients).collect::<Vec<_>>(), [3, 2, 2]);
        let rates = shares.iter().map(|share| match share.arrivals {
            Arrivals::Open { rate_per_s, .. } => rate_per_s.round() as u32,
            Arrivals::Closed => 0,
        });
        assert_eq!(rates.collect::<Vec<_>>(), [300, 200, 200]);
        assert_eq!(shares.iter().map(|share| share.seed).collect::<Vec<_>>(), [5, 6, 7]);
        assert_eq!(shares[2].share, Share { index: 2, of: 3 });
        assert!(share_out(&whole, 0).is_empty());
        assert_eq!(share_out(&LoadConfig { clients: 1, ..whole }, 3).len(), 1);
    }
}
