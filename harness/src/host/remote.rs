//! A host's agent, as the controller sees it.

use crate::cluster::HostConf;
use crate::elsewhere::{LoadRequest, LoadState};
use crate::host::agent::{RUNS, clock_us};
use crate::host::ssh::{Program, Ssh};
use crate::host::wire::{
    AgentReply, AgentRequest, ClockRequest, HostReply, HostRequest, Means, NodeRequest, converse, exchange,
};
use anyhow::{Context, bail};
use nemesis::InjectError;
use nemesis::network::{HostLink, HostLinkCounters};
use reports::stored::ClockReading;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

/// How often the controller shows that it is alive.
const BEAT_EVERY: Duration = Duration::from_millis(500);
/// How many exchanges are a beat.
const EXCHANGES: usize = 4;
/// How long a beat may take.
const BEAT_PATIENCE: Duration = Duration::from_secs(3);
/// How long an answer may take that waits for a process, and how long any other.
const SLOW_PATIENCE: Duration = Duration::from_secs(75);
const PATIENCE: Duration = Duration::from_secs(15);

/// A clock that nobody moves may go wrong by so much: what crystals and a clock that is being put right do.
const DRIFT_US_PER_S: i64 = 500;
const DRIFT_US: i64 = 5_000;
/// How long a reading of a clock that time daemons look after is worth something.
const READING_COUNTS: Duration = Duration::from_secs(20);

/// A host whose agent runs. Clones speak to the same one.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    conf: HostConf,
    means: Means,
    /// Leads to the agent's socket, as long as the connection holds.
    socket: PathBuf,
    ssh: Mutex<Ssh>,
    /// Where sockets of `ssh` may be made.
    dir: PathBuf,
    /// How often the agent took faults back because we were silent.
    expired: AtomicU64,
    clock: std::sync::Mutex<Vec<ClockSample>>,
    /// What its kernel had counted when it was last begun to be watched.
    counted: std::sync::Mutex<BTreeMap<String, u64>>,
    /// The surest of the last readings before its system clock was moved by us, and whether it was.
    untouched: std::sync::Mutex<(Option<ClockSample>, bool)>,
    beat: std::sync::Mutex<Option<AbortHandle>>,
}

/// How long an agent and its nodes stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stay {
    /// As long as the controller.
    WithController,
    /// Until somebody ends them.
    Unattended,
}

/// What one beat says of a host's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockSample {
    /// When: the middle of the beat.
    pub at: Instant,
    /// How far the host's clock was ahead of ours, microseconds.
    pub offset_us: i64,
    /// What its clock said that nobody sets, nanoseconds.
    pub monotonic_ns: u64,
    /// Either may be off by so much: half of how long the beat took, nanoseconds.
    pub uncertainty_ns: u64,
}

impl ClockSample {
    fn uncertainty_us(&self) -> i64 {
        i64::try_from(self.uncertainty_ns / 1_000).expect("some seconds")
    }
}

/// What was seen of a host over some time.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// In the order of time.
    pub clock: Vec<ClockSample>,
    /// What its kernel counted, by name.
    pub counters: Vec<(String, u64)>,
}

impl Watched {
    /// What is told of the clock in the run's records; times are since `origin`.
    #[must_use]
    pub(crate) fn readings(&self, origin: Instant) -> Vec<ClockReading> {
        let reading = |sample: &ClockSample| {
            let at_ns = sample.at.saturating_duration_since(origin).as_nanos();
            ClockReading {
                at_ns: u64::try_from(at_ns).expect("less than 584 years"),
                offset_us: sample.offset_us,
                uncertainty_us: sample.uncertainty_us(),
            }
        };
        self.clock.iter().map(reading).collect()
    }
}

/// Why nothing is known of a load.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadFailure {
    /// Nobody answers: it may go on.
    #[error("{0}")]
    Silent(String),
    /// There is none, or none any more.
    #[error("{0}")]
    Broken(String),
}

impl Remote {
    /// Connects, copies what is not there yet, and starts the agent. `dir`: a local folder for sockets. `peer`: some other host, to try
    /// out what can be done to packets.
    ///
    /// # Errors
    /// What went wrong.
    pub(crate) async fn begin(
        conf: HostConf,
        programs: &[Program],
        dir: &Path,
        peer: IpAddr,
        stay: Stay,
    ) -> anyhow::Result<Remote> {
        let ssh = Ssh::connect(&conf, dir).await?;
        ssh.upload(&conf, programs).await?;
        start_agent(&ssh, &conf, &programs[0], stay).await?;
        let socket = dir.join(format!("{}.sock", conf.name));
        ssh.forward_agent(&conf, &socket).await?;
        let probe = AgentRequest::Probe { peer };
        let probed = timeout(PATIENCE, exchange(&socket, &probe)).await.context("its agent is silent")??;
        let AgentReply::Means(means) = probed else { bail!("its agent answers {probed:?}") };
        let inner = Arc::new(Inner {
            conf,
            means,
            socket,
            ssh: Mutex::new(ssh),
            dir: dir.to_owned(),
            expired: AtomicU64::new(0),
            clock: std::sync::Mutex::default(),
            counted: std::sync::Mutex::default(),
            untouched: std::sync::Mutex::default(),
            beat: std::sync::Mutex::default(),
        });
        let beating = tokio::spawn(beat(Arc::downgrade(&inner)));
        *inner.beat.lock().expect("nobody panics with it") = Some(beating.abort_handle());
        Ok(Remote { inner })
    }

    /// What `cluster.conf` says of it.
    #[must_use]
    pub(crate) fn conf(&self) -> &HostConf {
        &self.inner.conf
    }

    /// What can be done there to packets and clock.
    #[must_use]
    pub(crate) fn means(&self) -> &Means {
        &self.inner.means
    }

    /// Below which folder a run's nodes are.
    #[must_use]
    pub(crate) fn runs(&self) -> PathBuf {
        self.inner.conf.data.join(RUNS)
    }

    /// How often its agent took faults back because we were silent.
    #[must_use]
    pub(crate) fn expired(&self) -> u64 {
        self.inner.expired.load(Ordering::Relaxed)
    }

    /// What beats said of its clock since this was last asked; the first is there a moment after it has begun.
    #[must_use]
    pub(crate) fn take_clock_samples(&self) -> Vec<ClockSample> {
        std::mem::take(&mut *self.inner.clock.lock().expect("nobody panics with it"))
    }

    /// A new run begins there.
    ///
    /// # Errors
    /// If what an earlier one left cannot be taken away.
    pub(crate) async fn begin_run(&self) -> anyhow::Result<()> {
        match self.exchange(&AgentRequest::Begin, SLOW_PATIENCE).await {
            Ok(AgentReply::Done) => Ok(()),
            Ok(other) => bail!("host {}: {other:?}", self.inner.conf.name),
            Err(error) => Err(error).with_context(|| format!("host {}", self.inner.conf.name)),
        }
    }

    /// Asks something of its nodes.
    ///
    /// # Errors
    /// If nothing was done, or it is uncertain what was.
    pub(crate) async fn ask(&self, request: HostRequest) -> Result<HostReply, InjectError> {
        let is_slow = !matches!(
            request,
            HostRequest::Exits
                | HostRequest::CpuTime
                | HostRequest::Throttling
                | HostRequest::Node { request: NodeRequest::Control(_), .. }
        );
        let patience = if is_slow { SLOW_PATIENCE } else { PATIENCE };
        match self.exchange(&AgentRequest::Host(request), patience).await {
            Ok(AgentReply::Host(reply)) => reply,
            other => Err(self.uncertain(other)),
        }
    }

    /// Asks something of its system clock: how far that is off now, microseconds. Where it is said to have been set right, it is
    /// compared with ours, too.
    ///
    /// # Errors
    /// Why it was not done, or is not seen.
    pub(crate) async fn clock(&self, request: ClockRequest) -> Result<i64, InjectError> {
        let name = &self.inner.conf.name;
        if let ClockRequest::Set(_) = request {
            self.inner.untouched.lock().expect("nobody panics with it").1 = true;
        }
        let error_us = match self.exchange(&AgentRequest::Clock(request), SLOW_PATIENCE).await {
            Ok(AgentReply::Clock(Ok(error_us))) => error_us,
            Ok(AgentReply::Clock(Err(words))) => {
                return Err(InjectError::Failed(format!("host {name}: {words}")));
            }
            other => return Err(self.uncertain(other)),
        };
        let (before, was_moved) = *self.inner.untouched.lock().expect("nobody panics with it");
        if let (ClockRequest::Heal, Some(before), true) = (request, before, was_moved) {
            let beaten = timeout(BEAT_PATIENCE, self.inner.beat(&mut None)).await;
            let now = beaten.map_err(anyhow::Error::from).and_then(|beaten| beaten);
            let now =
                now.map_err(|error| InjectError::Failed(format!("host {name}: its clock: {error:#}")))?;
            if let Some(apart_us) = apart_us(&before, &now) {
                let words = format!("host {name}: by our clock, its own is {apart_us} us from where it was");
                return Err(InjectError::Failed(words));
            }
            self.inner.untouched.lock().expect("nobody panics with it").1 = false;
        }
        Ok(error_us)
    }

    /// Asks something of its network.
    ///
    /// # Errors
    /// What the kernel's tools said, or why nobody answered.
    async fn network(
        &self,
        request: &AgentRequest,
    ) -> Result<BTreeMap<IpAddr, HostLinkCounters>, InjectError> {
        match self.exchange(request, PATIENCE).await {
            Ok(AgentReply::Network(reply)) => {
                reply.map_err(|words| InjectError::Failed(format!("host {}: {words}", self.inner.conf.name)))
            }
            other => Err(self.uncertain(other)),
        }
    }

    /// What is known of it is of what begins now.
    pub(crate) async fn begin_watch(&self) {
        drop(self.take_clock_samples());
        self.look_at_clock().await;
        let counted = self.kernel_counters().await;
        *self.inner.counted.lock().expect("nobody panics with it") = counted;
    }

    /// What its clock and its kernel said since it was begun to be watched.
    pub(crate) async fn end_watch(&self) -> Watched {
        self.look_at_clock().await;
        let now = self.kernel_counters().await;
        let before = std::mem::take(&mut *self.inner.counted.lock().expect("nobody panics with it"));
        let grown = |(name, now): (String, u64)| {
            let grown = now.saturating_sub(*before.get(&name)?);
            Some((name, grown))
        };
        Watched { clock: self.take_clock_samples(), counters: now.into_iter().filter_map(grown).collect() }
    }

    /// A beat of its own: the next may come late, or never.
    async fn look_at_clock(&self) {
        match timeout(BEAT_PATIENCE, self.inner.beat(&mut None)).await {
            Ok(Ok(sample)) => self.inner.clock.lock().expect("nobody panics with it").push(sample),
            other => tracing::warn!(host = self.inner.conf.name, ?other, "its clock is not told"),
        }
    }

    /// What its kernel has counted since it started, by name; nothing if nobody answers.
    async fn kernel_counters(&self) -> BTreeMap<String, u64> {
        match self.exchange(&AgentRequest::KernelCounters, PATIENCE).await {
            Ok(AgentReply::KernelCounters(counters)) => counters,
            other => {
                tracing::warn!(host = self.inner.conf.name, ?other, "its kernel's counters are not told");
                BTreeMap::new()
            }
        }
    }

    /// Whether nodes can be kept to a share of its processors, or why not.
    pub(crate) async fn probe_quota(&self) -> Result<(), String> {
        match self.exchange(&AgentRequest::ProbeQuota, PATIENCE).await {
            Ok(AgentReply::Quota(possible)) => possible,
            other => Err(self.uncertain(other).to_string()),
        }
    }

    /// Asks something of the load that it makes.
    ///
    /// # Errors
    /// If it makes none, or nobody answers.
    pub(crate) async fn load(&self, request: LoadRequest) -> Result<LoadState, LoadFailure> {
        let name = &self.inner.conf.name;
        match self.exchange(&AgentRequest::Load(request), PATIENCE).await {
            Ok(AgentReply::Load(Ok(state))) => Ok(state),
            Ok(AgentReply::Load(Err(why))) => Err(LoadFailure::Broken(why)),
            Ok(other) => Err(LoadFailure::Silent(format!("host {name}: {other:?}"))),
            Err(error) => Err(LoadFailure::Silent(format!("host {name}: {error:#}"))),
        }
    }

    /// Puts this in force on its links: what was done to packets so far.
    pub(crate) async fn set_network(
        &self,
        links: BTreeMap<IpAddr, HostLink>,
    ) -> Result<BTreeMap<IpAddr, HostLinkCounters>, InjectError> {
        self.network(&AgentRequest::SetNetwork(links)).await
    }

    /// What was done to packets so far.
    pub(crate) async fn count_network(&self) -> Result<BTreeMap<IpAddr, HostLinkCounters>, InjectError> {
        self.network(&AgentRequest::CountNetwork).await
    }

    /// Takes back what is in force on its links, and looks.
    pub(crate) async fn heal_network(&self) -> Result<BTreeMap<IpAddr, HostLinkCounters>, InjectError> {
        self.network(&AgentRequest::HealNetwork).await
    }

    fn uncertain(&self, answer: anyhow::Result<AgentReply>) -> InjectError {
        let words = match answer {
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("{error:#}"),
        };
        InjectError::Failed(format!("host {}: {words}", self.inner.conf.name))
    }

    /// One request. If the connection is gone it is made anew first; a request that may have arrived is never sent twice.
    async fn exchange(&self, request: &AgentRequest, patience: Duration) -> anyhow::Result<AgentReply> {
        let stream = self.inner.reach().await?;
        timeout(patience, converse(&mut BufReader::new(stream), request))
            .await
            .with_context(|| format!("its agent did not answer within {patience:?}"))?
    }

    /// Fetches a folder of a run.
    ///
    /// # Errors
    /// If it cannot be read there or written here.
    pub(crate) async fn fetch(&self, remote: &Path, local: &Path, without: &[&str]) -> anyhow::Result<()> {
        let fetch = async || {
            // The connection is made again if it is gone.
            self.inner.reach().await?;
            self.inner.ssh.lock().await.fetch(&self.inner.conf, remote, local, without).await
        };
        let mut fetched = fetch().await;
        if let Err(error) = &fetched {
            // To read again harms nobody.
            tracing::warn!(host = self.inner.conf.name, %error, "fetching once more");
            fetched = fetch().await;
        }
        fetched.with_context(|| format!("host {}", self.inner.conf.name))
    }

    /// Goes, and leaves the agent as it is.
    pub(crate) fn leave(&self) {
        if let Some(beat) = self.inner.beat.lock().expect("nobody panics with it").take() {
            beat.abort();
        }
    }

    /// Ends the agent: everything is taken back.
    pub(crate) async fn quit(&self) {
        self.leave();
        if let Err(error) = self.exchange(&AgentRequest::Quit { kill: false }, PATIENCE).await {
            tracing::warn!(host = self.inner.conf.name, %error, "ending its agent");
        }
    }
}

impl Inner {
    /// A connection to the agent, by a new SSH connection if that is gone.
    async fn reach(&self) -> anyhow::Result<UnixStream> {
        if let Ok(stream) = UnixStream::connect(&self.socket).await {
            return Ok(stream);
        }
        let mut ssh = self.ssh.lock().await;
        // Somebody else may have made it meanwhile.
        if let Ok(stream) = UnixStream::connect(&self.socket).await {
            return Ok(stream);
        }
        tracing::warn!(host = self.conf.name, "its SSH connection is gone: connecting again");
        let fresh = Ssh::connect(&self.conf, &self.dir).await?;
        fresh.forward_agent(&self.conf, &self.socket).await?;
        std::mem::replace(&mut *ssh, fresh).close().await;
        Ok(UnixStream::connect(&self.socket).await?)
    }
}

/// Starts the agent, or finds that one runs for somebody else.
///
/// # Errors
/// What it said.
async fn start_agent(ssh: &Ssh, conf: &HostConf, gauntlet: &Program, stay: Stay) -> anyhow::Result<()> {
    let program = gauntlet.on(conf);
    let (program, data) = (program.display().to_string(), conf.data.display().to_string());
    let port = conf.ssh.port.to_string();
    let mut command = conf.as_agent().to_vec();
    command.extend([program.as_str(), "agent", "--dir", &data, "--ssh-port", &port]);
    if stay == Stay::Unattended {
        command.push("--unattended");
    }
    if conf.exclusive {
        command.push("--exclusive");
    }
    ssh.output(&command).await.map(drop).context("starting its agent")
}

/// Shows the agent that the controller is alive, until nobody wants the host any more.
async fn beat(host: std::sync::Weak<Inner>) {
    let mut stream = None;
    while let Some(inner) = host.upgrade() {
        match timeout(BEAT_PATIENCE, inner.beat(&mut stream)).await {
            Ok(Ok(sample)) => {
                inner.clock.lock().expect("nobody panics with it").push(sample);
                let mut untouched = inner.untouched.lock().expect("nobody panics with it");
                if let (surest, false) = &mut *untouched
                    && surest.is_none_or(|surest| is_surer(&sample, &surest))
                {
                    *surest = Some(sample);
                }
            }
            Ok(Err(error)) => {
                stream = None;
                tracing::warn!(host = inner.conf.name, %error, "a beat was not heard");
            }
            Err(_) => {
                stream = None;
                tracing::warn!(host = inner.conf.name, "a beat took longer than {BEAT_PATIENCE:?}");
            }
        }
        drop(inner);
        tokio::time::sleep(BEAT_EVERY).await;
    }
}

impl Inner {
    /// A beat, on a connection that stays: to make one would take longer than a beat. Its clock is what the shortest of some exchanges
    /// says of it.
    async fn beat(&self, stream: &mut Option<BufReader<UnixStream>>) -> anyhow::Result<ClockSample> {
        let stream = match stream {
            Some(stream) => stream,
            None => stream.insert(BufReader::new(self.reach().await?)),
        };
        let mut surest = self.ask_clock(stream).await?;
        for _ in 1..EXCHANGES {
            let sample = self.ask_clock(stream).await?;
            surest = if sample.uncertainty_ns < surest.uncertainty_ns { sample } else { surest };
        }
        Ok(surest)
    }

    async fn ask_clock(&self, stream: &mut BufReader<UnixStream>) -> anyhow::Result<ClockSample> {
        let (at, begun_us) = (Instant::now(), clock_us());
        let reply: AgentReply = converse(stream, &AgentRequest::Beat).await?;
        let half = at.elapsed() / 2;
        let AgentReply::Beat { clock_us: host_us, monotonic_ns, expired } = reply else {
            bail!("an odd answer: {reply:?}")
        };
        self.expired.store(expired, Ordering::Relaxed);
        let half_us = i64::try_from(half.as_micros()).expect("some seconds");
        Ok(ClockSample {
            at: at + half,
            offset_us: host_us - (begun_us + half_us),
            monotonic_ns,
            uncertainty_ns: u64::try_from(half.as_nanos()).expect("some seconds"),
        })
    }
}

/// Whether a reading says more of a clock than an earlier one: a time daemon may have moved the clock since.
fn is_surer(sample: &ClockSample, before: &ClockSample) -> bool {
    let is_old = sample.at.saturating_duration_since(before.at) > READING_COUNTS;
    is_old || sample.uncertainty_ns <= before.uncertainty_ns
}

/// How far a clock is from where it was, if that cannot be put down to how it was read, or to clocks that drift.
fn apart_us(before: &ClockSample, now: &ClockSample) -> Option<i64> {
    let apart_us = now.offset_us - before.offset_us;
    let passed_us = now.at.saturating_duration_since(before.at).as_micros();
    let drift_us = i64::try_from(passed_us).unwrap_or(i64::MAX) / 1_000_000 * DRIFT_US_PER_S + DRIFT_US;
    (apart_us.abs() > before.uncertainty_us() + now.uncertainty_us() + drift_us).then_some(apart_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_elsewhere_is_told_from_one_that_is_read_badly() {
        let begin = Instant::now();
        let sample = |s, offset_us, uncertainty_us: u64| ClockSample {
            at: begin + Duration::from_secs(s),
            offset_us,
            monotonic_ns: 0,
            uncertainty_ns: uncertainty_us * 1_000,
        };
        let before = sample(0, 100_000, 400);
        assert_eq!(apart_us(&before, &sample(60, 5_100_000, 600)), Some(5_000_000));
        assert_eq!(apart_us(&before, &sample(10, 80_000, 600)), Some(-20_000));
        assert_eq!(apart_us(&before, &sample(60, 80_000, 20_000)), None, "who knows");
        assert_eq!(apart_us(&before, &sample(600, 150_000, 600)), None, "in ten minutes it may drift");
        assert!(is_surer(&sample(1, 0, 300), &before) && !is_surer(&sample(1, 0, 500), &before));
        assert!(is_surer(&sample(60, 0, 500), &before));
    }
}
