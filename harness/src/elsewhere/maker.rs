//! `gauntlet load`: the process that makes the load of one host. It reads its order from its folder, records its history there, and
//! says on standard output how it goes: a [`LoadState`] a line. SIGTERM ends it as a run's end does.

use super::order::{LoadEnded, LoadOrder, LoadState};
use crate::host::monotonic_ns;
use crate::store::HISTORY;
use crate::threads::single_threaded;
use anyhow::Context;
use checkers::history::Phase;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;
use tls::Credentials;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use workloads::{ClientTls, Recorder, RecorderHandle, run_load};

/// The order's name in the folder.
pub(super) const ORDER: &str = "order.json";
/// How often it says how it goes.
const TELL_EVERY: Duration = Duration::from_millis(500);
const ORIGIN_QUESTIONS: usize = 100;

/// Makes the load that is ordered in this folder.
///
/// # Errors
/// If there is no order that can be carried out, or the history cannot be written.
pub(crate) fn make(dir: &Path) -> anyhow::Result<()> {
    let file = dir.join(ORDER);
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let order: LoadOrder = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
    let credentials = order.tls.as_ref().map(Credentials::read).transpose();
    let credentials = credentials.context("what it shows to nodes")?;
    let connector = order.target.system.connector(&order.target, credentials.as_ref().map(ClientTls::new));
    let mut recorder = Recorder::create(dir.join(HISTORY)).context("creating the history")?;
    let origin_ns = origin_ns(&recorder);
    let stop = stop_at_sigterm()?;
    let (over, is_over) = channel::<()>();
    let handle = recorder.handle();
    let telling = thread::spawn(move || {
        // Until the load is over, however it ends.
        while is_over.recv_timeout(TELL_EVERY) == Err(RecvTimeoutError::Timeout) {
            tell(origin_ns, &handle, None)?;
        }
        anyhow::Ok(())
    });
    tell(origin_ns, &recorder.handle(), None)?;
    let load = run_load(&*connector, &order.spec, Phase::Run, &order.config, &mut recorder, stop);
    let summary = single_threaded()?.block_on(load)?;
    drop(over);
    telling.join().expect("it does not panic")?;
    let ended = LoadEnded {
        end: summary.end,
        keys_used: recorder.keys_used(),
        processes_used: recorder.processes_used(),
        ended_ns: recorder.now_ns(),
    };
    let handle = recorder.handle();
    recorder.finish().context("writing the end of the history")?;
    tell(origin_ns, &handle, Some(ended))
}

/// When the history begins, by the machine's monotonic clock: asked until nothing came between the two questions.
fn origin_ns(recorder: &Recorder) -> u64 {
    let ask = || {
        let before = monotonic_ns();
        let since = recorder.now_ns();
        let took = monotonic_ns() - before;
        (took, before + took / 2 - since)
    };
    (0..ORIGIN_QUESTIONS).map(|_| ask()).min().expect("there are some").1
}

fn tell(origin_ns: u64, handle: &RecorderHandle, ended: Option<LoadEnded>) -> anyhow::Result<()> {
    let state = LoadState { origin_ns, progress: handle.progress(), ended };
    let mut line = serde_json::to_vec(&state)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).context("telling how it goes")
}

/// Listens on a thread of its own: nothing disturbs the load's.
fn stop_at_sigterm() -> anyhow::Result<watch::Receiver<bool>> {
    let (sender, stop) = watch::channel(false);
    let runtime = single_threaded()?;
    let mut terminations = {
        let _inside = runtime.enter();
        signal(SignalKind::terminate()).context("listening for SIGTERM")?
    };
    thread::spawn(move || {
        runtime.block_on(terminations.recv());
        sender.send_replace(true);
    });
    Ok(stop)
}
