//! A host over SSH: connecting, copying programs there, starting its agent. All commands of a host share one connection.

use crate::cluster::HostConf;
use crate::host::agent::SOCKET;
use anyhow::{Context, bail};
use openssh::{ControlPersist, ForwardType, KnownHosts, Session, SessionBuilder, Stdio};
use std::fs::File;
use std::io::Seek;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use xxhash_rust::xxh3::xxh3_128;

/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// A connection that says nothing for three of these is gone.
const ALIVE_EVERY: Duration = Duration::from_secs(3);
/// `ssh` ends by itself so long after the controller has died.
const PERSIST_S: NonZeroUsize = NonZeroUsize::new(30).expect("it is not 0");
/// What is fetched comes in pieces of so many bytes at most.
const CHUNK_BYTES: usize = 256 << 10;
/// How long a command may take, or say nothing while something is fetched.
const COMMAND_PATIENCE: Duration = Duration::from_secs(60);

/// A program as it is copied to hosts.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    name: String,
    bytes: Vec<u8>,
    /// Its name on a host: a program of another content has another.
    file: String,
}

impl Program {
    /// Reads a program, without what only a debugger needs (where `strip` can be had).
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Program> {
        let name = path.file_name().and_then(|name| name.to_str()).context("a program has a name")?;
        let bytes = stripped(path)
            .map_or_else(|| std::fs::read(path), Ok)
            .with_context(|| format!("reading {}", path.display()))?;
        let file = format!("{name}-{:032x}", xxh3_128(&bytes));
        Ok(Program { name: name.to_owned(), bytes, file })
    }

    /// How large it is.
    #[must_use]
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Where it is on a host.
    #[must_use]
    pub(crate) fn on(&self, host: &HostConf) -> PathBuf {
        bin(host).join(&self.file)
    }

    /// The newest GLIBC symbol version that it needs, as in `GLIBC_2.34`: (2, 34).
    #[must_use]
    pub(crate) fn glibc_needed(&self) -> Option<(u32, u32)> {
        const PREFIX: &[u8] = b"GLIBC_2.";
        let windows = self.bytes.windows(PREFIX.len() + 2).filter(|window| window.starts_with(PREFIX));
        let minor = windows.filter_map(|window| {
            let digits = window[PREFIX.len()..].iter().take_while(|byte| byte.is_ascii_digit());
            std::str::from_utf8(&digits.copied().collect::<Vec<_>>()).ok()?.parse().ok()
        });
        minor.max().map(|minor| (2, minor))
    }
}

fn stripped(path: &Path) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().ok()?;
    let out = dir.path().join("stripped");
    let status = Command::new("strip").arg("-o").arg(&out).arg(path).status().ok()?;
    status.success().then(|| std::fs::read(out).ok()).flatten()
}

fn bin(host: &HostConf) -> PathBuf {
    host.data.join("bin")
}

/// One connection to a host.
#[derive(Debug)]
pub(crate) struct Ssh {
    session: Session,
}

impl Ssh {
    /// Connects. `dir`: where sockets of `ssh` may be made.
    ///
    /// # Errors
    /// If the host cannot be reached, is not the one that is known, or does not let us in.
    pub(crate) async fn connect(host: &HostConf, dir: &Path) -> anyhow::Result<Ssh> {
        let mut builder = SessionBuilder::default();
        builder
            .known_hosts_check(KnownHosts::Strict)
            .connect_timeout(CONNECT_PATIENCE)
            .server_alive_interval(ALIVE_EVERY)
            .control_persist(ControlPersist::IdleFor(PERSIST_S))
            .control_directory(dir)
            .port(host.ssh.port);
        if let Some(user) = &host.ssh.user {
            builder.user(user.clone());
        }
        if let Some(key) = &host.ssh.key {
            builder.keyfile(key);
        }
        if let Some(known_hosts) = &host.ssh.known_hosts {
            builder.user_known_hosts_file(known_hosts);
        }
        let connecting = builder.connect(host.address.to_string());
        let session = timeout(2 * CONNECT_PATIENCE, connecting)
            .await
            .with_context(|| format!("{} did not answer within {:?}", host.address, 2 * CONNECT_PATIENCE))?
            .with_context(|| format!("connecting to {} port {} by SSH", host.address, host.ssh.port))?;
        Ok(Ssh { session })
    }

    /// Runs a command (a program and its arguments, no shell) and takes what it prints.
    ///
    /// # Errors
    /// If it fails: with what it said.
    pub(crate) async fn output(&self, command: &[&str]) -> anyhow::Result<Vec<u8>> {
        let mut remote = self.session.command(command[0]);
        remote.args(&command[1..]);
        let output = timeout(COMMAND_PATIENCE, remote.output())
            .await
            .with_context(|| format!("`{}` is not done after {COMMAND_PATIENCE:?}", command.join(" ")))??;
        check(command, output.status, &output.stderr)?;
        Ok(output.stdout)
    }

    /// Like [`Ssh::output`], as text.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn text(&self, command: &[&str]) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&self.output(command).await?).trim().to_owned())
    }

    /// Makes sure that these programs are there: how many bytes had to be sent.
    ///
    /// # Errors
    /// If the folder cannot be made or a program not be written whole.
    pub(crate) async fn upload(&self, host: &HostConf, programs: &[Program]) -> anyhow::Result<usize> {
        let bin = bin(host);
        let (bin, data) = (path(&bin)?, path(&host.data)?);
        let script = format!("umask 077; mkdir -p '{bin}' && chmod 700 '{data}' && ls '{bin}'");
        let there = self.text(&["sh", "-c", &script]).await?;
        let mut sent = 0;
        for program in programs {
            if !there.lines().any(|line| line == program.file) {
                self.send(host, program).await.with_context(|| format!("sending {}", program.name))?;
                sent += program.size();
            }
        }
        Ok(sent)
    }

    /// Writes beside it, then renames: what has the name is whole.
    async fn send(&self, host: &HostConf, program: &Program) -> anyhow::Result<()> {
        let target = program.on(host);
        let target = path(&target)?;
        let part = format!("{target}.part{}", std::process::id());
        let size = program.size();
        let script = format!(
            "cat > '{part}' && [ $(wc -c < '{part}') -eq {size} ] && chmod 700 '{part}' && mv '{part}' '{target}'"
        );
        let mut command = self.session.command("sh");
        command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().await?;
        let mut stdin = child.stdin().take().expect("piped");
        let written = stdin.write_all(&program.bytes).await;
        drop(stdin);
        let output = child.wait_with_output().await?;
        if !output.status.success() {
            bail!("{} ({})", String::from_utf8_lossy(&output.stderr).trim(), output.status);
        }
        Ok(written?)
    }

    /// Has a local socket lead to the host's agent.
    ///
    /// # Errors
    /// If `ssh` refuses.
    pub(crate) async fn forward_agent(&self, host: &HostConf, local: &Path) -> anyhow::Result<()> {
        if let Err(error) = std::fs::remove_file(local)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error).with_context(|| format!("removing {}", local.display()));
        }
        let remote = host.data.join(SOCKET);
        let forwarded = self.session.request_port_forward(ForwardType::Local, local, remote.as_path());
        forwarded.await.context("forwarding the agent's socket")
    }

    /// Fetches a folder of the host into a local one, but for what is named.
    ///
    /// # Errors
    /// If it cannot be read there or written here.
    pub(crate) async fn fetch(
        &self,
        host: &HostConf,
        remote: &Path,
        local: &Path,
        without: &[&str],
    ) -> anyhow::Result<()> {
        let mut command = [host.as_agent(), &["tar", "-C", path(remote)?, "-c"]].concat();
        let excluded: Vec<String> = without.iter().map(|name| format!("--exclude={name}")).collect();
        command.extend(excluded.iter().map(String::as_str));
        command.push(".");
        std::fs::create_dir_all(local).with_context(|| format!("making {}", local.display()))?;
        let archive = tempfile::tempfile_in(local).context("making a file for an archive")?;
        self.output_to(&command, &archive).await?;
        let mut archive = tar::Archive::new(rewound(archive).context("reading the archive")?);
        archive.unpack(local).with_context(|| format!("unpacking into {}", local.display()))
    }

    /// Like [`Ssh::output`], into a file; it may take as long as there is something to write.
    async fn output_to(&self, command: &[&str], file: &File) -> anyhow::Result<()> {
        let mut remote = self.session.command(command[0]);
        remote.args(&command[1..]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = remote.spawn().await?;
        let mut stdout = child.stdout().take().expect("piped");
        let (mut chunk, mut file) = (vec![0; CHUNK_BYTES], file);
        loop {
            let read = timeout(COMMAND_PATIENCE, stdout.read(&mut chunk)).await;
            let bytes = read.with_context(|| {
                format!("`{}` has said nothing for {COMMAND_PATIENCE:?}", command.join(" "))
            })??;
            if bytes == 0 {
                break;
            }
            std::io::Write::write_all(&mut file, &chunk[..bytes]).context("writing what was fetched")?;
        }
        let output = child.wait_with_output().await?;
        check(command, output.status, &output.stderr)
    }

    /// Ends the connection.
    pub(crate) async fn close(self) {
        if let Err(error) = self.session.close().await {
            tracing::debug!(%error, "it was closed already");
        }
    }
}

/// # Errors
/// With what the command said, if it has failed.
fn check(command: &[&str], status: ExitStatus, said: &[u8]) -> anyhow::Result<()> {
    if status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(said);
    match words.trim() {
        "" => bail!("`{}`: {status}", command.join(" ")),
        words => bail!("{words}"),
    }
}

fn rewound(mut file: File) -> std::io::Result<File> {
    file.rewind()?;
    Ok(file)
}

/// A path as it may stand in a command.
///
/// # Errors
/// If it may not.
pub(crate) fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .filter(|text| !text.contains('\''))
        .with_context(|| format!("{}: not plain text", path.display()))
}
