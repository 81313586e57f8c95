//! What a host is asked, and what it answers: the same on this machine and over SSH.

use crate::elsewhere::{LoadRequest, LoadState};
use crate::host::Throttling;
use crate::host::node::Recipe;
use anyhow::{Context, bail};
use nemesis::network::{HostLink, HostLinkCounters, HostMeans};
use nemesis::{Comeback, Dark, Exit, InjectError, Pressure};
use protocol::NodeId;
use protocol::control::{ClockSetting, ControlReply, ControlRequest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// A request to a host. One that cannot be done is answered with an [`InjectError`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum HostRequest {
    /// Makes a node's folders, writes its configuration and remembers how it is started.
    Prepare(Box<Prepared>),
    /// Something of one node.
    Node {
        /// Which.
        node: NodeId,
        /// What.
        request: NodeRequest,
    },
    /// Processes that ended by themselves since this was last asked.
    Exits,
    /// Processor time of all nodes over all their lives.
    CpuTime,
    /// How often nodes had used up what processor time they may have.
    Throttling,
    /// Can a foreign node have a disk that loses what was not synced?
    ProbeDisk,
}

/// A node before its first start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Prepared {
    /// Which.
    pub node: NodeId,
    /// How it is started.
    pub recipe: Recipe,
    /// Its configuration file and what is in it, if it has one.
    pub config: Option<(PathBuf, String)>,
    /// What only it may read.
    pub secrets: Vec<Secret>,
    /// Where it keeps its data.
    pub data: PathBuf,
    /// A short name for `data`.
    pub data_link: Option<PathBuf>,
    /// How many processors it may use, if it may not use all.
    pub cpu_quota: Option<f64>,
    /// Where in `data` it writes what it has promised to remember.
    pub log: Log,
    /// `data` is a disk that can lose what was not synced.
    pub on_lossy_disk: bool,
}

/// In which files a node writes what it has promised to remember. Paths are relative to its data folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Log {
    /// The segments of a journal of ours.
    Journal(PathBuf),
    /// A foreign system's, the newest of which has the greatest name.
    Files {
        /// Where they are.
        folder: PathBuf,
        /// What their names end with.
        suffix: String,
    },
}

/// A file that only its owner may read.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Secret {
    /// Where.
    pub file: PathBuf,
    /// What is in it.
    pub text: String,
}

impl Secret {
    /// Writes it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let mut options = std::fs::File::options();
        let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&self.file);
        let written = opened.and_then(|mut file| file.write_all(self.text.as_bytes()));
        written.with_context(|| format!("writing {}", self.file.display()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.file.display())
    }
}

/// A request about one node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum NodeRequest {
    /// Starts it and waits until it listens.
    Start,
    /// SIGKILL, and sees that it is gone.
    Kill,
    /// SIGKILL, to be seen through by [`NodeRequest::Kill`].
    Strike,
    /// Nothing becomes durable on its disk any more, and whoever asks for it waits: what comes before [`NodeRequest::LosePower`]. Says
    /// whether something is unsynced.
    CutPower,
    /// What its disk had not made durable is gone, and so is it, by a SIGKILL that it has been sent.
    LosePower,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Resume,
    /// SIGTERM, then SIGKILL.
    Stop,
    /// Kills it, and flips a bit of its journal where its storage can tell.
    FlipBit {
        /// Which bit follows from this.
        chance: u64,
    },
    /// Starts it from a damaged disk, and sees that it refuses to.
    StartDamaged,
    /// Fills the file system that its disk is on, if that is ours alone; once more if it is filled already.
    FillDisk,
    /// Gives the room back.
    FreeDisk,
    /// Kills it and cuts so many bytes off the end of its log.
    Truncate(u64),
    /// Starts it after that, and looks whether it stays.
    ComeBack,
    /// Copies its disk while it stands still.
    CopyDisk,
    /// Kills it (if it runs), puts the copy in place of its disk, starts it and looks whether it stays.
    RollBack,
    /// Kills it (if it runs), takes its disk away, and starts it with an empty one and this configuration.
    Wipe {
        /// What is in its configuration file from now on.
        config: String,
    },
    /// Has other programs use its host.
    Press(Pressure),
    /// Has them end.
    Release(Pressure),
    /// Asks the node itself.
    Control(ControlRequest),
}

/// What a host answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum HostReply {
    /// Done; what shows it.
    Done(String),
    /// Something is unsynced, or not.
    Unsynced(bool),
    /// It is gone with its power.
    Dark(Dark),
    /// They have ended; what they had, or nothing to speak of.
    Released(Option<String>),
    /// How it came back on a disk that had lost what was synced.
    CameBack(Comeback),
    /// The node's own words.
    Control(ControlReply),
    /// What ended by itself.
    Exits {
        /// Nodes, and how.
        nodes: Vec<(NodeId, Exit)>,
        /// What served a node's disk, so that it is no fault of the node's: in words.
        disks: Vec<String>,
    },
    /// Seconds.
    CpuTime(f64),
    /// Of nodes with a quota.
    Throttling(BTreeMap<NodeId, Throttling>),
}

/// A request to the agent of a host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum AgentRequest {
    /// Who is there?
    Hello,
    /// The controller is alive.
    Beat,
    /// A new run begins: whatever an earlier one left goes.
    Begin,
    /// What can be done to packets to this peer?
    Probe {
        /// Whom.
        peer: IpAddr,
    },
    /// Can nodes be kept to a share of the processors?
    ProbeQuota,
    /// Something of the host's nodes.
    Host(HostRequest),
    /// Puts this in force on the host's links, and nothing else.
    SetNetwork(BTreeMap<IpAddr, HostLink>),
    /// What was done to packets so far.
    CountNetwork,
    /// Takes back what is in force, and looks whether it is gone.
    HealNetwork,
    /// Something of the host's system clock.
    Clock(ClockRequest),
    /// What has the kernel counted?
    KernelCounters,
    /// Something of the load that is made there.
    Load(LoadRequest),
    /// Takes everything back, stops the nodes (or kills them), ends.
    Quit {
        /// Without asking them to stop.
        kill: bool,
    },
}

/// A request about a host's system clock.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum ClockRequest {
    /// How far is it off?
    Look,
    /// Has it be off like this.
    Set(ClockSetting),
    /// Sets it right, and looks whether it is.
    Heal,
}

/// What is possible on a host, besides looking after nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Means {
    /// To packets.
    pub network: HostMeans,
    /// To its system clock: which time daemons would be stopped, or why nothing.
    pub clock: Result<Vec<String>, String>,
}

/// What an agent answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum AgentReply {
    /// It is there.
    Hello(AgentHello),
    /// It has heard.
    Beat {
        /// The host's clock, microseconds since 1970.
        clock_us: i64,
        /// Its clock that nobody sets, nanoseconds since some moment.
        monotonic_ns: u64,
        /// How often it took faults back because the controller was silent.
        expired: u64,
    },
    /// Done.
    Done,
    /// What is possible.
    Means(Means),
    /// They can, or why not.
    Quota(Result<(), String>),
    /// The host's answer.
    Host(Result<HostReply, InjectError>),
    /// What was done to packets, by peer; or what the kernel's tools said.
    Network(Result<BTreeMap<IpAddr, HostLinkCounters>, String>),
    /// How far the host's clock is ahead of what it should be, microseconds; or why that was not done.
    Clock(Result<i64, String>),
    /// By name, since the kernel started.
    KernelCounters(BTreeMap<String, u64>),
    /// How the load goes, or why there is none.
    Load(Result<LoadState, String>),
    /// Not done.
    Refused(String),
}

/// Who answers on a host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AgentHello {
    /// For how long no controller was heard, milliseconds.
    pub silent_ms: u128,
    /// It goes on without one: its nodes were started to stay.
    pub unattended: bool,
}

/// Asks whoever listens on this Unix socket: one JSON value a line, request then reply.
///
/// # Errors
/// If it is not there, ends the connection, or answers something else.
pub(crate) async fn exchange<Q: Serialize, R: DeserializeOwned>(
    socket: &Path,
    request: &Q,
) -> anyhow::Result<R> {
    converse(&mut BufReader::new(UnixStream::connect(socket).await?), request).await
}

/// Like [`exchange`], on a connection that is there.
///
/// # Errors
/// As there.
pub(crate) async fn converse<Q: Serialize, R: DeserializeOwned>(
    stream: &mut BufReader<UnixStream>,
    request: &Q,
) -> anyhow::Result<R> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut reply = String::new();
    if stream.read_line(&mut reply).await? == 0 {
        bail!("the connection was closed without an answer");
    }
    Ok(serde_json::from_str(&reply)?)
}
