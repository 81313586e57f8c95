//! The nodes of one host: started, killed, stopped and asked on request.

use crate::host::burner::Burner;
use crate::host::disk::Disk;
use crate::host::node::Node;
use crate::host::wire::{HostReply, HostRequest, NodeRequest, Prepared};
use crate::store;
use anyhow::{Context, bail};
use nemesis::{Dark, InjectError, Pressure};
use protocol::ReplicaId;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use storage::Folder;
use storage::journal::last_batch;
use xxhash_rust::xxh3::xxh3_64;

/// Owns the processes.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    nodes: BTreeMap<ReplicaId, Supervised>,
}

#[derive(Debug)]
struct Supervised {
    process: Node,
    data: PathBuf,
    /// What is mounted at `data`, if something is.
    disk: Option<Disk>,
    /// How programs that served it ended by themselves, until somebody is told.
    disk_ends: Vec<String>,
    config: Option<PathBuf>,
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
                    node.look_at_disk();
                    disks.extend(node.disk_ends.drain(..).map(|words| format!("{id}: {words}")));
                    match node.process.take_exit() {
                        Some(words) if node.disk.as_mut().is_some_and(Disk::is_dead) => {
                            tracing::warn!(node = %id, words, "it ended with its disk");
                        }
                        Some(words) => nodes.push((*id, words)),
                        None => {}
                    }
                }
                Ok(HostReply::Exits { nodes, disks })
            }
            HostRequest::CpuTime => {
                Ok(HostReply::CpuTime(self.nodes.values().map(|node| node.process.cpu_s()).sum()))
            }
            HostRequest::ProbeDisk => match Disk::probe().await {
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
        }
        for node in self.nodes.values_mut() {
            if let Some(disk) = &mut node.disk
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
        let Prepared { node, recipe, config, secrets, data, data_link, on_lossy_disk } = prepared;
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
        let disk = if on_lossy_disk { Some(Disk::mount(&data).await?) } else { None };
        let process = Node::new(recipe);
        let (disk_ends, pressed) = (Vec::new(), BTreeMap::new());
        self.nodes.insert(node, Supervised { process, data, disk, disk_ends, config, pressed });
        Ok(())
    }
}

impl Supervised {
    async fn handle(&mut self, request: NodeRequest) -> Result<HostReply, InjectError> {
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
            NodeRequest::Stop => self.stop().await.map(|()| String::new()),
            NodeRequest::FlipBit { chance } => self.flip_bit(chance).await,
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
        self.look_at_disk();
        if let Some(disk) = self.disk.take_if(Disk::is_dead) {
            self.disk = Some(disk.again().await?);
        }
        if let Some(disk) = &mut self.disk {
            disk.mend().await?;
        }
        self.process.start().await?;
        Ok(format!("runs again as pid {}", self.process.pid().unwrap_or_default()))
    }

    fn look_at_disk(&mut self) {
        self.disk_ends.extend(self.disk.as_mut().and_then(Disk::take_exit));
    }

    /// Ends it, politely where that works, and then its disk.
    async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut disk) = self.disk.take() else {
            self.process.stop().await;
            return Ok(());
        };
        // It could not end while it waits for a disk without power. A disk that is dead makes nobody wait.
        let mended = disk.mend().await;
        self.process.stop().await;
        disk.end().await.and(mended)
    }

    fn disk(&mut self) -> anyhow::Result<&mut Disk> {
        self.disk.as_mut().context("its disk loses nothing")
    }

    async fn cut_power(&mut self) -> anyhow::Result<bool> {
        if !self.process.is_up() {
            bail!("{} does not run", self.process.name());
        }
        Ok(!self.disk()?.cut().await?.is_nothing())
    }

    async fn lose_power(&mut self) -> anyhow::Result<Dark> {
        self.process.strike();
        // Its last requests are answered by this: until then it cannot end.
        let lost = self.disk()?.lose().await;
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
        let flipped = flip(&self.data.join("journal"), chance).context("damaging its journal")?;
        match self.process.start().await {
            Err(refused) => {
                let words = format!("{refused:#}");
                let last = words.rsplit(" / ").next().unwrap_or_default();
                Ok(format!("{gone}; {flipped}; started again, it said: {last}"))
            }
            Ok(()) => bail!("{flipped}, and it started all the same"),
        }
    }

    async fn wipe(&mut self, config: &str) -> anyhow::Result<String> {
        let Some(file) = &self.config else { bail!("{} has no configuration file", self.process.name()) };
        let gone = if self.process.is_up() { self.process.kill().await? } else { "down".to_owned() };
        empty(&self.data)?;
        store::write(file, config.as_bytes())?;
        self.process.start().await?;
        Ok(gone)
    }
}

/// Flips a bit of what a journal holds, before its last batch. Which one, out of how many bytes, follows from `chance`.
fn flip(journal: &Path, chance: u64) -> anyhow::Result<String> {
    let (last, end) = last_batch(&Folder::open(journal)?)?.context("nothing is in its journal")?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(journal)? {
        let name = entry?.file_name().into_string().ok().context("a segment's name is text")?;
        let length = std::fs::metadata(journal.join(&name))?.len();
        files.push((name.clone(), if name == last { end } else { length }));
    }
    files.sort();
    let bytes: u64 = files.iter().map(|(_, length)| length).sum();
    let mut at = xxh3_64(&chance.to_le_bytes()) % bytes;
    for (name, length) in files {
        if at < length {
            let file = File::options().read(true).write(true).open(journal.join(&name))?;
            let mut byte = [0];
            file.read_exact_at(&mut byte, at)?;
            byte[0] ^= 1 << (chance % 8);
            file.write_all_at(&byte, at)?;
            file.sync_all()?;
            return Ok(format!("a bit of byte {at} of {name} flipped"));
        }
        at -= length;
    }
    unreachable!("it is below the sum")
}

fn empty(dir: &Path) -> anyhow::Result<()> {
    std::fs::remove_dir_all(dir)
        .and_then(|()| std::fs::create_dir(dir))
        .with_context(|| format!("emptying {}", dir.display()))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn failed(error: anyhow::Error) -> InjectError {
    InjectError::Failed(format!("{error:#}"))
}
