//! The nodes of one host: started, killed, stopped and asked on request.

use crate::host::burner::Burner;
use crate::host::disks::{self, Disk};
use crate::host::filler::{FileSystem, Filler};
use crate::host::lossy_disk::LossyDisk;
use crate::host::node::Node;
use crate::host::quota::{self, Quota};
use crate::host::wire::{HostReply, HostRequest, NodeRequest, Prepared};
use crate::store;
use anyhow::{Context, bail};
use nemesis::{Comeback, Dark, InjectError, Pressure};
use protocol::NodeId;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A node of ours notices that its disk has lost what was synced when it starts, if at all …
const NOTICES_WITHIN: Duration = Duration::from_millis(200);
/// … and others when they are spoken to (an etcd member by the first heartbeat of its leader).
const FOREIGN_NOTICES_WITHIN: Duration = Duration::from_secs(4);

/// Owns the processes.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    nodes: BTreeMap<NodeId, Supervised>,
}

#[derive(Debug)]
struct Supervised {
    process: Node,
    disk: Disk,
    /// What is mounted there, if something is.
    mounted: Option<LossyDisk>,
    /// How programs that served that ended by themselves, until somebody is told.
    mount_ends: Vec<String>,
    config: Option<PathBuf>,
    /// What its disk has lost since it was up.
    lost: Option<String>,
    /// If it may not use all processors.
    quota: Option<Quota>,
    /// What takes the room on its disk.
    filler: Option<Filler>,
    /// What other programs want of the host because of it.
    pressed: BTreeMap<Pressure, Burner>,
}

impl Supervisor {
    /// Does what is asked.
    ///
    /// # Errors
    /// If nothing was done, or it is uncertain what was.
    pub(crate) async fn handle(&mut self, request: HostRequest) -> Result<HostReply, InjectError> {
        match request {
            HostRequest::Prepare(prepared) => {
                self.prepare(*prepared).await.map(|()| HostReply::Done(String::new())).map_err(failed)
            }
            HostRequest::Node { node, request } => match self.nodes.get_mut(&node) {
                Some(supervised) => supervised.handle(request).await,
                None => Err(InjectError::Unsupported(format!("{node} does not run on this host"))),
            },
            HostRequest::Exits => {
                let (mut nodes, mut disks) = (Vec::new(), Vec::new());
                for (id, node) in &mut self.nodes {
                    node.look_at_mount();
                    disks.extend(node.mount_ends.drain(..).map(|words| format!("{id}: {words}")));
                    let is_full = node.filler.is_some();
                    match node.process.take_exit(is_full) {
                        Some(exit) if node.mounted.as_mut().is_some_and(LossyDisk::is_dead) => {
                            tracing::warn!(node = %id, %exit, "it ended with its disk");
                        }
                        Some(exit) => nodes.push((*id, exit)),
                        None => {}
                    }
                }
                Ok(HostReply::Exits { nodes, disks })
            }
            HostRequest::Throttling => {
                let told =
                    |(id, node): (&NodeId, &Supervised)| Some((*id, node.quota.as_ref()?.throttling()));
                let told = self.nodes.iter().filter_map(told);
                let all = told.map(|(id, throttling)| throttling.map(|throttling| (id, throttling)));
                all.collect::<anyhow::Result<_>>().map(HostReply::Throttling).map_err(failed)
            }
            HostRequest::CpuTime => {
                Ok(HostReply::CpuTime(self.nodes.values().map(|node| node.process.cpu_s()).sum()))
            }
            HostRequest::ProbeDisk => match LossyDisk::probe().await {
                Ok(()) => Ok(HostReply::Done(String::new())),
                Err(why) => Err(InjectError::Unsupported(format!("{why:#}"))),
            },
        }
    }

    /// Ends all processes, politely where that works.
    pub(crate) async fn stop_all(&mut self) {
        self.relieve().await;
        for node in self.nodes.values_mut() {
            if let Err(error) = node.stop().await {
                tracing::warn!(node = node.process.name(), %error, "stopping it");
            }
            node.quota = None;
        }
    }

    /// SIGKILL for all, for [`Supervisor::stop_all`] to see through.
    pub(crate) fn strike_all(&self) {
        for node in self.nodes.values() {
            node.process.strike();
        }
    }

    /// Lets those go on that stand still, and ends what presses on the host.
    pub(crate) async fn relieve(&mut self) {
        for node in self.nodes.values_mut() {
            // They are killed when they are dropped.
            node.pressed.clear();
            node.filler = None;
        }
        for node in self.nodes.values_mut() {
            if let Some(disk) = &mut node.mounted
                && let Err(error) = disk.mend().await
            {
                tracing::warn!(node = node.process.name(), %error, "giving its disk its power back");
            }
        }
        for node in self.nodes.values_mut().filter(|node| node.process.is_paused()) {
            if let Err(error) = node.process.resume().await {
                tracing::warn!(node = node.process.name(), %error, "letting it go on");
            }
        }
    }

    async fn prepare(&mut self, prepared: Prepared) -> anyhow::Result<()> {
        let Prepared { node, recipe, config, secrets, data, data_link, cpu_quota, log, on_lossy_disk } =
            prepared;
        for dir in [&recipe.dir, &data] {
            std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        }
        if let Some(link) = data_link {
            std::os::unix::fs::symlink(&data, &link)
                .with_context(|| format!("linking {}", link.display()))?;
        }
        for secret in &secrets {
            secret.write()?;
        }
        if let Some((file, text)) = &config {
            store::write(file, text.as_bytes())?;
        }
        let config = config.map(|(file, _)| file);
        let quota = cpu_quota.map(|cpus| {
            quota::remove_leftovers();
            Quota::make(&recipe.name, cpus)
                .with_context(|| format!("cpu_quota {cpus} cannot be had for {}", recipe.name))
        });
        let quota = quota.transpose()?;
        let mounted = if on_lossy_disk { Some(LossyDisk::mount(&data).await?) } else { None };
        let (process, disk) = (Node::new(recipe, quota.as_ref().map(Quota::entrance)), Disk::new(data, log));
        self.nodes.insert(
            node,
            Supervised {
                process,
                disk,
                mounted,
                mount_ends: Vec::new(),
                config,
                lost: None,
                filler: None,
                quota,
                pressed: BTreeMap::new(),
            },
        );
        Ok(())
    }
}

impl Supervised {
    async fn handle(&mut self, request: NodeRequest) -> Result<HostReply, InjectError> {
        if self.mounted.is_some() && handles_files(&request) {
            return Err(InjectError::Unsupported(
                "its disk is one that can lose what was not synced: a plan has either power losses of foreign nodes, or faults of their \
                 disks"
                    .into(),
            ));
        }
        let node = &mut self.process;
        let done = match request {
            NodeRequest::Start if node.is_up() => {
                return Err(InjectError::Unsupported(format!("{} runs already", node.name())));
            }
            NodeRequest::Start => self.start().await,
            NodeRequest::Kill => node.kill().await,
            NodeRequest::Strike => {
                node.strike();
                Ok(String::new())
            }
            NodeRequest::CutPower => {
                return self.cut_power().await.map(HostReply::Unsynced).map_err(failed);
            }
            NodeRequest::LosePower => {
                return self.lose_power().await.map(HostReply::Dark).map_err(failed);
            }
            NodeRequest::Pause => node.pause().await,
            NodeRequest::Resume => node.resume().await,
            NodeRequest::Stop => {
                // It may have something to write when it ends.
                self.filler = None;
                let stopped = self.stop().await;
                self.quota = None;
                self.disk.forget_others().and(stopped).map(|()| String::new())
            }
            NodeRequest::FillDisk => return self.fill().await.map(HostReply::Done),
            NodeRequest::FreeDisk => {
                // The room is there again when this is dropped.
                self.filler = None;
                Ok(String::new())
            }
            NodeRequest::Truncate(bytes) => return self.truncate(bytes).await,
            NodeRequest::ComeBack => return self.come_back().await.map(HostReply::CameBack).map_err(failed),
            NodeRequest::CopyDisk => self.copy_disk().await,
            NodeRequest::RollBack => return self.roll_back().await.map(HostReply::CameBack).map_err(failed),
            NodeRequest::FlipBit { chance } => self.flip_bit(chance).await,
            NodeRequest::StartDamaged => self.start_damaged().await,
            NodeRequest::Wipe { config } => self.wipe(&config).await,
            NodeRequest::Press(pressure) => self.press(pressure).await,
            NodeRequest::Release(pressure) => {
                let Some(burner) = self.pressed.remove(&pressure) else {
                    return Err(InjectError::Failed("they have ended already".into()));
                };
                return burner.end(pressure).await.map(HostReply::Released).map_err(failed);
            }
            NodeRequest::Control(request) => {
                return node.ask(&request).await.map(HostReply::Control).map_err(failed);
            }
        };
        done.map(HostReply::Done).map_err(failed)
    }

    async fn start(&mut self) -> anyhow::Result<String> {
        self.look_at_mount();
        if let Some(disk) = &mut self.mounted {
            if disk.is_dead() {
                disk.again().await?;
            }
            disk.mend().await?;
        }
        self.process.start().await?;
        Ok(format!("runs again as pid {}", self.process.pid().unwrap_or_default()))
    }

    fn look_at_mount(&mut self) {
        self.mount_ends.extend(self.mounted.as_mut().and_then(LossyDisk::take_exit));
    }

    /// Ends it, politely where that works, and then its disk.
    async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut disk) = self.mounted.take() else {
            self.process.stop().await;
            return Ok(());
        };
        // It could not end while it waits for a disk without power. A disk that is dead makes nobody wait.
        let mended = disk.mend().await;
        self.process.stop().await;
        disk.end().await.and(mended)
    }

    fn mounted(&mut self) -> anyhow::Result<&mut LossyDisk> {
        self.mounted.as_mut().context("its disk loses nothing")
    }

    async fn cut_power(&mut self) -> anyhow::Result<bool> {
        if !self.process.is_up() {
            bail!("{} does not run", self.process.name());
        }
        Ok(!self.mounted()?.cut().await?.is_nothing())
    }

    async fn lose_power(&mut self) -> anyhow::Result<Dark> {
        self.process.strike();
        // Its last requests are answered by this: until then it cannot end.
        let lost = self.mounted()?.lose().await;
        if let (Err(error), Some(disk)) = (&lost, &mut self.mounted) {
            // Nobody knows what is on it now: it is mounted anew before it is used again.
            disk.give_up(format!("its disk was to lose what was not synced: {error:#}")).await;
        }
        let gone = self.process.kill().await?;
        Ok(match lost {
            Ok(lost) => Dark { evidence: format!("{gone}; {lost}"), lost_nothing: lost.is_nothing() },
            Err(error) => Dark { evidence: format!("{gone}; {error:#}"), lost_nothing: false },
        })
    }

    async fn press(&mut self, pressure: Pressure) -> anyhow::Result<String> {
        if self.pressed.contains_key(&pressure) {
            bail!("as much is wanted already");
        }
        let burner = Burner::start(pressure).await?;
        let words = burner.words(pressure);
        self.pressed.insert(pressure, burner);
        Ok(words)
    }

    async fn flip_bit(&mut self, chance: u64) -> anyhow::Result<String> {
        let gone = self.process.kill().await?;
        let flipped = self.disk.flip(chance).context("damaging its journal")?;
        Ok(format!("{gone}; {flipped}"))
    }

    async fn start_damaged(&mut self) -> anyhow::Result<String> {
        match self.process.start().await {
            Err(refused) => {
                self.process.forget_exit();
                Ok(format!("started again, it said: {}", last_words(&refused)))
            }
            Ok(()) => bail!("it started from a damaged disk as if nothing were wrong"),
        }
    }

    async fn fill(&mut self) -> Result<String, InjectError> {
        if self.filler.is_none() {
            let at = FileSystem::of_node(self.disk.data())
                .map_err(failed)?
                .map_err(|why| InjectError::Unsupported(format!("its disk cannot be filled: {why}")))?;
            self.filler = Some(Filler::make(at).map_err(failed)?);
        }
        let filler = self.filler.as_mut().expect("made above");
        filler.fill().await.map_err(failed)
    }

    async fn truncate(&mut self, bytes: u64) -> Result<HostReply, InjectError> {
        let gone = self.process.kill().await.map_err(failed)?;
        match self.disk.cut(bytes).await {
            Ok(Some(lost)) => {
                let words = format!("{gone}; {lost}");
                self.lost = Some(lost);
                Ok(HostReply::Done(words))
            }
            other => {
                self.process.start().await.map_err(failed)?;
                Err(match other {
                    Err(error) => failed(error.context("cutting its log")),
                    _ => InjectError::Unsupported("nothing is in its log".into()),
                })
            }
        }
    }

    async fn copy_disk(&mut self) -> anyhow::Result<String> {
        let still = self.process.pause().await?;
        let copied = self.disk.copy().await;
        let stood = self.process.resume().await?;
        Ok(format!("{} of its disk copied, {still}; {stood}", disks::in_words(copied?)))
    }

    async fn roll_back(&mut self) -> anyhow::Result<Comeback> {
        let gone = if self.process.is_up() { self.process.kill().await? } else { "it was down".to_owned() };
        match self.disk.roll_back().await? {
            Some(lost) => {
                self.lost = Some(format!("{gone}; {lost}"));
                self.come_back().await
            }
            None => Ok(Comeback::Whole(format!("{gone}; {}", self.start_and_watch().await?))),
        }
    }

    /// Starts a node whose disk has lost something; one that refuses it gets it back.
    async fn come_back(&mut self) -> anyhow::Result<Comeback> {
        let lost = self.lost.take().context("its disk has lost nothing")?;
        match self.start_and_watch().await {
            Ok(up) => {
                self.disk.forget_others()?;
                Ok(Comeback::Forgetful(format!("{lost}; {up}")))
            }
            Err(refused) => {
                self.process.forget_exit();
                self.disk.put_back()?;
                let up = self.start_and_watch().await?;
                let last = last_words(&refused);
                Ok(Comeback::Refused(format!("{lost}; it refused: {last}; with all of its disk it {up}")))
            }
        }
    }

    async fn start_and_watch(&mut self) -> anyhow::Result<String> {
        let up = self.start().await?;
        let within = if self.process.is_foreign() { FOREIGN_NOTICES_WITHIN } else { NOTICES_WITHIN };
        let until = Instant::now() + within;
        while Instant::now() < until {
            sleep(Duration::from_millis(20)).await;
            if let Some(exit) = self.process.take_exit(false) {
                bail!("{exit}");
            }
        }
        Ok(up)
    }

    async fn wipe(&mut self, config: &str) -> anyhow::Result<String> {
        let Some(file) = &self.config else { bail!("{} has no configuration file", self.process.name()) };
        let gone = if self.process.is_up() { self.process.kill().await? } else { "down".to_owned() };
        self.disk.empty()?;
        store::write(file, config.as_bytes())?;
        self.process.start().await?;
        Ok(gone)
    }
}

/// Whether this changes a disk's files, or the room for them, behind the back of whatever is mounted there.
fn handles_files(request: &NodeRequest) -> bool {
    matches!(
        request,
        NodeRequest::Truncate(_)
            | NodeRequest::CopyDisk
            | NodeRequest::RollBack
            | NodeRequest::FlipBit { .. }
            | NodeRequest::FillDisk
            | NodeRequest::Wipe { .. }
    )
}

/// What a node said last, of all that it left to say.
fn last_words(refused: &anyhow::Error) -> String {
    let words = format!("{refused:#}");
    words.rsplit(" / ").next().unwrap_or_default().to_owned()
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn failed(error: anyhow::Error) -> InjectError {
    InjectError::Failed(format!("{error:#}"))
}
