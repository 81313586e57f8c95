//! `gauntlet agent`: what runs on a host over SSH. It owns the host's nodes, its part of the network and, where it may, the system
//! clock, and answers on a Unix socket (mode 0600) in its folder, which the controller reaches through SSH.
//!
//! **Dead-man.** The controller beats twice a second. When it has not been heard for [`SILENCE_HEALS`], faults on this host are
//! taken back and stopped nodes go on; after [`SILENCE_ENDS`] the nodes are stopped and the agent ends. Should the agent
//! itself be killed, its nodes die with it (they are on its leash) and its *guard*, a process that only waits for that, takes
//! back what it had done to the network and the clock.

use crate::binaries;
use crate::elsewhere::{FOLDER, Tender};
use crate::exit::Exit;
use crate::host::wire::{AgentHello, AgentReply, AgentRequest, ClockRequest, Means, exchange};
use crate::host::{HostRequest, NodeRequest, Supervisor, kernel, quota};
use crate::store;
use crate::threads::single_threaded;
use anyhow::{Context, bail};
use lossy::mounts;
use nemesis::clock::HostClock;
use nemesis::network::HostNetwork;
use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, timeout};

/// The socket's name in the agent's folder.
pub(crate) const SOCKET: &str = "agent.sock";
/// Below the agent's folder: one folder a run.
pub(crate) const RUNS: &str = "runs";
const LOCK: &str = "agent.lock";
const LOG: &str = "agent.log";
/// What has to be put right of the system clock.
const CLOCK: &str = "clock.json";

/// Faults are taken back when the controller has been silent for so long.
const SILENCE_HEALS: Duration = Duration::from_secs(8);
/// The agent ends when the controller has been silent for so long.
const SILENCE_ENDS: Duration = Duration::from_secs(60);
/// How often the dead-man looks.
const LOOK: Duration = Duration::from_millis(500);
/// How often a system clock is moved that has to go at another rate.
const STEP: Duration = Duration::from_millis(20);
/// How long an agent may take to begin, and an earlier one to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the dead-man waits for whoever is at work.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// How long faults may take to be taken back before that is tried again.
const HEAL_PATIENCE: Duration = Duration::from_secs(30);
/// How long nodes may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(60);
/// Whatever keeps the agent from ending, it has ended when the controller has been silent for so long.
const SILENCE_EXITS: Duration = Duration::from_secs(180);
/// For so long a guard tries again to take back what it could not, so often.
const GUARD_PATIENCE: Duration = Duration::from_secs(60);
const GUARD_LOOK: Duration = Duration::from_secs(1);

/// How an agent is started.
#[derive(Debug, clap::Args)]
pub(crate) struct AgentArgs {
    /// Its folder
    #[arg(long)]
    dir: PathBuf,
    /// Where the host's SSH server listens: that port is never cut
    #[arg(long)]
    ssh_port: u16,
    /// Goes on without a controller: nodes run until they are stopped
    #[arg(long)]
    unattended: bool,
    /// The host is there for nothing else: its system clock may be moved
    #[arg(long)]
    exclusive: bool,
    /// This is the agent itself, not the one who starts it
    #[arg(long)]
    detached: bool,
}

/// `gauntlet agent`: makes sure that an agent, and only this one, runs on the host, and returns; or is that agent. Says so if it
/// cannot.
pub(crate) fn run(args: &AgentArgs) -> Exit {
    match if args.detached { serve(args) } else { start(args) } {
        Ok(()) => Exit::Valid,
        Err(error) => {
            eprintln!("{error:#}");
            // Not 255: by that `ssh` says that it has failed itself.
            Exit::Invalid
        }
    }
}

fn start(args: &AgentArgs) -> anyhow::Result<()> {
    let own = binaries::own()?;
    let log = args.dir.join(LOG);
    let log = File::create(&log).with_context(|| format!("making {}", log.display()))?;
    let mut command = Command::new(own);
    command.arg("agent").arg("--detached").arg("--dir").arg(&args.dir);
    command.arg("--ssh-port").arg(args.ssh_port.to_string());
    if args.unattended {
        command.arg("--unattended");
    }
    if args.exclusive {
        command.arg("--exclusive");
    }
    // A group of its own: what ends the SSH connection does not end it.
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("starting the agent")?;
    let mut ready = [0];
    let said = child.stdout.take().expect("piped").read(&mut ready).context("waiting for the agent")?;
    if said == 0 {
        let status = child.wait().context("waiting for the agent")?;
        let words = std::fs::read_to_string(args.dir.join(LOG)).unwrap_or_default();
        let words = words.trim();
        if words.is_empty() { bail!("it ended without a word: {status}") } else { bail!("{words}") }
    }
    Ok(())
}

fn serve(args: &AgentArgs) -> anyhow::Result<()> {
    let runtime = single_threaded()?;
    let served = runtime.block_on(async {
        let _lock = take_over(&args.dir).await?;
        let mut network = HostNetwork::new(args.ssh_port);
        network.heal().await.map_err(anyhow::Error::msg).context("taking back what an earlier run left")?;
        quota::remove_leftovers();
        let mut clock = HostClock::new(args.dir.join(CLOCK));
        clock.heal().await.map_err(anyhow::Error::msg).context("setting right what an earlier run left")?;
        remove_runs(&args.dir)?;
        let _guard = start_guard(&args.dir)?;
        let listener = listen(&args.dir)?;
        let agent = Agent {
            dir: args.dir.clone(),
            ssh_port: args.ssh_port,
            unattended: args.unattended,
            exclusive: args.exclusive,
            supervisor: Mutex::new(Supervisor::default()),
            network: Mutex::new(network),
            load: Mutex::new(Tender::default()),
            clock: Mutex::new(clock),
            clock_is_set: Notify::new(),
            heard: StdMutex::new(Heard { last: Instant::now(), expired: 0, is_healed: true }),
            quit: Notify::new(),
        };
        println!("1");
        std::io::stdout().flush().context("telling that it runs")?;
        Arc::new(agent).serve(listener).await;
        Ok(())
    });
    // Whatever does not end keeps nobody: what this process leaves, its guard and the leash clean up.
    runtime.shutdown_background();
    served
}

/// Ends the agent of an earlier run, unless its controller is alive.
async fn take_over(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join(LOCK);
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(&path).with_context(|| format!("opening {}", path.display()))?;
    let deadline = Instant::now() + PATIENCE;
    while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let asked = ask_at(&dir.join(SOCKET), &AgentRequest::Hello).await;
        if let Ok(AgentReply::Hello(AgentHello { silent_ms, unattended })) = asked {
            if silent_ms < SILENCE_HEALS.as_millis() {
                bail!("in use: another controller was heard {silent_ms} ms ago");
            }
            if unattended {
                bail!("in use: nodes were started here to stay (`gauntlet stop` ends them)");
            }
        }
        if ask_at(&dir.join(SOCKET), &AgentRequest::Quit { kill: false }).await.is_err() {
            // It does not listen; its guard and its leash clean up after it.
            let mut holder = String::new();
            file.read_to_string(&mut holder).context("reading who holds the lock")?;
            if let Some(pid) = holder.trim().parse().ok().and_then(Pid::from_raw) {
                kill_process(pid, Signal::KILL).ok();
            }
            // Its guard is at work now.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if Instant::now() >= deadline {
            bail!("an earlier agent holds {} and does not end", path.display());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).context("writing the lock")?;
    Ok(file)
}

fn remove_runs(dir: &Path) -> anyhow::Result<()> {
    // What is mounted there is what an earlier agent could not take away; never is anything removed through it.
    let runs = dir.canonicalize().with_context(|| format!("resolving {}", dir.display()))?.join(RUNS);
    mounts::clear(&runs)?;
    store::remove(&dir.join(RUNS))
}

/// Binds the socket, for the owner of the folder.
fn listen(dir: &Path) -> anyhow::Result<UnixListener> {
    let path = dir.join(SOCKET);
    std::fs::remove_file(&path).ok();
    // Made under a name that nobody looks for until only its owner may use it.
    let unready = path.with_extension("new");
    std::fs::remove_file(&unready).ok();
    let listener = UnixListener::bind(&unready).with_context(|| format!("binding {}", path.display()))?;
    std::fs::set_permissions(&unready, std::fs::Permissions::from_mode(0o600))?;
    let owner = std::fs::metadata(dir)?;
    std::os::unix::fs::chown(&unready, Some(owner.uid()), Some(owner.gid()))?;
    std::fs::rename(&unready, &path)?;
    Ok(listener)
}

/// Dropping it lets the guard go, once it has looked that nothing is left.
fn start_guard(dir: &Path) -> anyhow::Result<std::process::ChildStdin> {
    let own = binaries::own()?;
    let mut command = Command::new(own);
    command
        .arg("agent-guard")
        .arg("--dir")
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0);
    let mut child = command.spawn().context("starting the guard")?;
    Ok(child.stdin.take().expect("piped"))
}

/// `gauntlet agent-guard`: waits until the agent is gone, then takes back what is left of its faults.
///
/// # Errors
/// If something is left still.
pub(crate) fn guard(dir: &Path) -> anyhow::Result<()> {
    let holder = || std::fs::read(dir.join(LOCK)).ok();
    let agent = holder();
    std::io::stdin().read_to_end(&mut Vec::new()).context("waiting for the agent's end")?;
    let runtime = single_threaded()?;
    runtime.block_on(async {
        let (mut clock, mut network) = (HostClock::new(dir.join(CLOCK)), HostNetwork::new(0));
        let until = Instant::now() + GUARD_PATIENCE;
        let healed = loop {
            let (clock, network) = tokio::join!(clock.heal(), network.heal());
            let healed = clock.and(network);
            if healed.is_ok() || Instant::now() >= until {
                break healed;
            }
            tokio::time::sleep(GUARD_LOOK).await;
            // What an agent that follows does is its own, and it begins by taking back what was left.
            if holder() != agent {
                break healed;
            }
        };
        quota::remove_leftovers();
        // Disks take themselves away, unless somebody has killed them, too.
        let cleared = mounts::clear_dead().context("unmounting disks that nobody serves");
        healed.map_err(anyhow::Error::msg).and(cleared.map(drop))
    })
}

/// Takes a lock, or says that whoever has it does not end.
async fn lock<'a, T>(mutex: &'a Mutex<T>, what: &str) -> Result<tokio::sync::MutexGuard<'a, T>, String> {
    let locked = timeout(LOCK_PATIENCE, mutex.lock()).await;
    locked.map_err(|_| format!("somebody is at work on {what} and does not end"))
}

/// To the agent's log. What cannot be written there, because its disk is full, say, must not end the agent: faults are to be taken
/// back all the same.
fn say(words: &str) {
    drop(writeln!(std::io::stderr(), "agent: {words}"));
}

/// The agent of one host.
struct Agent {
    dir: PathBuf,
    ssh_port: u16,
    unattended: bool,
    exclusive: bool,
    supervisor: Mutex<Supervisor>,
    network: Mutex<HostNetwork>,
    load: Mutex<Tender>,
    clock: Mutex<HostClock>,
    clock_is_set: Notify,
    heard: StdMutex<Heard>,
    quit: Notify,
}

/// When the controller was heard last, and what its silence did.
#[derive(Debug, Clone, Copy)]
struct Heard {
    last: Instant,
    /// How often faults were taken back because it was silent.
    expired: u64,
    /// There is nothing to take back.
    is_healed: bool,
}

impl Agent {
    async fn serve(self: Arc<Self>, listener: UnixListener) {
        if !self.unattended {
            let agent = Arc::clone(&self);
            std::thread::spawn(move || agent.watch_from_outside());
        }
        let dead_man = tokio::spawn(Arc::clone(&self).watch());
        let stepping = tokio::spawn(Arc::clone(&self).step_clock());
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let agent = Arc::clone(&self);
                        tokio::spawn(async move {
                            if let Err(error) = agent.converse(stream).await {
                                say(&format!("a connection ended: {error}"));
                            }
                        });
                    }
                    Err(error) => {
                        say(&format!("accepting: {error}"));
                        tokio::time::sleep(LOOK).await;
                    }
                },
                () = self.quit.notified() => break,
            }
        }
        dead_man.abort();
        stepping.abort();
        if let Err(error) = self.end().await {
            say(&error);
        }
        std::fs::remove_file(self.dir.join(SOCKET)).ok();
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("nobody panics with it")
    }

    /// Takes everything back and stops the nodes, and then what makes load on them. What does not end in time is left to the end of
    /// this process.
    async fn end(&self) -> Result<(), String> {
        let healed = self.heal().await;
        let stop = async {
            lock(&self.supervisor, "the nodes").await?.stop_all().await;
            Ok(())
        };
        let late = |_| Err(format!("its nodes have not stopped after {STOP_PATIENCE:?}"));
        let stopped = timeout(STOP_PATIENCE, stop).await.unwrap_or_else(late);
        let load = lock(&self.load, "the load").await.map(|mut load| *load = Tender::default());
        healed.and(stopped).and(load)
    }

    /// Takes back what was done to the network and the clock, at once: one does not wait for the other.
    async fn heal(&self) -> Result<(), String> {
        let clock = async { lock(&self.clock, "the clock").await?.heal().await };
        let network = async { lock(&self.network, "the network").await?.heal().await };
        let (clock, network) = tokio::join!(timeout(HEAL_PATIENCE, clock), timeout(HEAL_PATIENCE, network));
        let late = |_| Err(format!("not all is taken back after {HEAL_PATIENCE:?}"));
        clock.unwrap_or_else(late).and(network.unwrap_or_else(late))
    }

    /// Lets nodes go on.
    async fn relieve(&self) -> Result<(), String> {
        let relieve = async {
            lock(&self.supervisor, "the nodes").await?.relieve().await;
            Ok(())
        };
        let late = |_| Err(format!("not all nodes go on after {HEAL_PATIENCE:?}"));
        timeout(HEAL_PATIENCE, relieve).await.unwrap_or_else(late)
    }

    /// Moves the clock on while it has to go at another rate.
    async fn step_clock(self: Arc<Self>) {
        loop {
            self.clock_is_set.notified().await;
            loop {
                let clock = self.clock.lock().await;
                if !clock.runs_wrong() {
                    break;
                }
                if let Err(error) = clock.step() {
                    say(&error);
                    break;
                }
                drop(clock);
                tokio::time::sleep(STEP).await;
            }
        }
    }

    /// The dead-man's own: the one thread that everything is done on may stand still.
    fn watch_from_outside(&self) {
        while self.heard().last.elapsed() < SILENCE_EXITS {
            std::thread::sleep(LOOK);
        }
        say("it does not end: leaving everything to its guard");
        std::process::exit(1);
    }

    /// The dead-man.
    async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let heard = *self.heard();
            let silent = heard.last.elapsed();
            // First, so that nothing that does not end keeps it from ending.
            if silent >= SILENCE_ENDS && !self.unattended {
                say(&format!("the controller is silent for {silent:?}: ending"));
                self.quit.notify_one();
            }
            if silent >= SILENCE_HEALS && !heard.is_healed {
                say(&format!("the controller is silent for {silent:?}: taking faults back"));
                // Before, so that what is put in force meanwhile is not taken for healed.
                self.heard().is_healed = true;
                let (healed, relieved) = tokio::join!(self.heal(), self.relieve());
                match healed.and(relieved) {
                    Ok(()) => self.heard().expired += 1,
                    Err(error) => {
                        self.heard().is_healed = false;
                        say(&error);
                    }
                }
            }
        }
    }

    async fn converse(&self, stream: UnixStream) -> anyhow::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        while let Some(line) = lines.next_line().await? {
            let reply = match serde_json::from_str(&line) {
                Ok(request) => self.handle(request).await,
                Err(error) => AgentReply::Refused(format!("not understood: {error}")),
            };
            let mut line = serde_json::to_vec(&reply)?;
            line.push(b'\n');
            write.write_all(&line).await?;
        }
        Ok(())
    }

    async fn handle(&self, request: AgentRequest) -> AgentReply {
        match request {
            AgentRequest::Hello => {
                let silent_ms = self.heard().last.elapsed().as_millis();
                AgentReply::Hello(AgentHello { silent_ms, unattended: self.unattended })
            }
            AgentRequest::Beat => {
                let mut heard = self.heard();
                heard.last = Instant::now();
                AgentReply::Beat {
                    clock_us: clock_us(),
                    monotonic_ns: monotonic_ns(),
                    expired: heard.expired,
                }
            }
            AgentRequest::Begin => {
                if let Err(error) = self.end().await {
                    return AgentReply::Refused(error);
                }
                match remove_runs(&self.dir) {
                    Ok(()) => {
                        *self.supervisor.lock().await = Supervisor::default();
                        *self.network.lock().await = HostNetwork::new(self.ssh_port);
                        self.heard().expired = 0;
                        AgentReply::Done
                    }
                    Err(error) => AgentReply::Refused(format!("{error:#}")),
                }
            }
            AgentRequest::Probe { peer } => {
                let network = self.network.lock().await.probe(peer).await;
                AgentReply::Means(Means { network, clock: self.probe_clock().await })
            }
            AgentRequest::ProbeQuota => AgentReply::Quota(quota::probe().map_err(|why| format!("{why:#}"))),
            AgentRequest::Host(request) => {
                if let HostRequest::Node {
                    request:
                        NodeRequest::Pause
                        | NodeRequest::Press(_)
                        | NodeRequest::FillDisk
                        | NodeRequest::CopyDisk
                        | NodeRequest::CutPower
                        | NodeRequest::LosePower,
                    ..
                } = request
                {
                    self.heard().is_healed = false;
                }
                AgentReply::Host(self.supervisor.lock().await.handle(request).await)
            }
            AgentRequest::SetNetwork(links) => {
                self.heard().is_healed = false;
                let mut network = self.network.lock().await;
                AgentReply::Network(match network.set(links).await {
                    Ok(()) => network.counters().await,
                    Err(error) => Err(error),
                })
            }
            AgentRequest::HealNetwork => {
                let mut network = self.network.lock().await;
                AgentReply::Network(match network.heal().await {
                    Ok(()) => network.counters().await,
                    Err(error) => Err(error),
                })
            }
            AgentRequest::CountNetwork => AgentReply::Network(self.network.lock().await.counters().await),
            AgentRequest::Clock(request) => AgentReply::Clock(self.handle_clock(request).await),
            AgentRequest::KernelCounters => AgentReply::KernelCounters(kernel::counters()),
            AgentRequest::Load(request) => {
                let done = self.load.lock().await.handle(request, &self.dir.join(RUNS).join(FOLDER)).await;
                AgentReply::Load(done.map_err(|error| format!("{error:#}")))
            }
            AgentRequest::Quit { kill } => {
                if kill {
                    self.supervisor.lock().await.strike_all();
                }
                self.quit.notify_one();
                AgentReply::Done
            }
        }
    }
}

impl Agent {
    async fn probe_clock(&self) -> Result<Vec<String>, String> {
        if self.exclusive {
            HostClock::probe().await
        } else {
            Err("cluster.conf does not say that it is `exclusive`".into())
        }
    }

    async fn handle_clock(&self, request: ClockRequest) -> Result<i64, String> {
        let mut clock = self.clock.lock().await;
        match request {
            ClockRequest::Look => {}
            ClockRequest::Set(_) if !self.exclusive => self.probe_clock().await.map(drop)?,
            ClockRequest::Set(setting) => {
                self.heard().is_healed = false;
                clock.set(setting).await?;
                self.clock_is_set.notify_one();
            }
            ClockRequest::Heal => clock.heal().await?,
        }
        Ok(clock.error_us())
    }
}

/// What the host's clock says, microseconds since 1970.
pub(crate) fn clock_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// What the clock says that nobody sets, nanoseconds since some moment.
pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).expect("it begins at 0")
}

/// One request to the agent behind this socket.
async fn ask_at(socket: &Path, request: &AgentRequest) -> anyhow::Result<AgentReply> {
    timeout(PATIENCE, exchange(socket, request)).await.context("no answer")?
}
