//! Writes the history while load runs, and counts for whoever watches.
//!
//! The load engine owns the [`Recorder`] and records two entries an op, so that path takes no lock and no hop between
//! threads. Everybody else (the nemesis, the progress bar) holds a [`RecorderHandle`]: what they send is stamped when they
//! send it, and written before the engine's next entry.

use crate::connect::Performed;
use checkers::history::{
    Call, Entry, FaultEvent, HistoryError, MicroCall, OpKind, Outcome, Phase, ProcessId, Writer,
};
use hdrhistogram::Histogram;
use protocol::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Events of other tasks that wait for the recorder: far more than a nemesis makes between two flushes.
const INBOX_MAX: usize = 4_096;
/// Latencies are told apart up to this; what took longer counts as this.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Over how long [`Progress`] takes its rates and quantiles.
const WINDOW_NS: u64 = 1_000_000_000;

/// Owns the history of one run.
#[derive(Debug)]
pub struct Recorder {
    writer: Writer,
    handle: RecorderHandle,
    inbox: Receiver<Entry>,
    phase: Option<Phase>,
    keys_used: u64,
    processes_used: u32,
    tally: Tally,
    window: Window,
    ok: u64,
    fail: u64,
    info: u64,
}

/// For tasks other than the load engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RecorderHandle {
    origin: Instant,
    inbox: SyncSender<Entry>,
    progress: Arc<Mutex<Progress>>,
}

/// Why an event could not be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandOverError {
    /// The recorder is gone: the history is closed.
    #[error("the history is closed")]
    Closed,
    /// The recorder has not taken anything for a long time.
    #[error("{INBOX_MAX} events wait to be recorded already")]
    Full,
}

/// How the load goes, for a person to watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Ops that took effect, since the run began.
    pub ok: u64,
    /// Ops that certainly took none.
    pub fail: u64,
    /// Ops of which it is not known.
    pub info: u64,
    /// Ops that ended, whichever way, a second, over the last second.
    pub ops_per_s: f64,
    /// Latency of the last second's ok ops, microseconds; 0 if there were none.
    pub latency_us_p50: u64,
    /// The same.
    pub latency_us_p99: u64,
}

/// Counts by kind of op.
pub type Tally = BTreeMap<OpKind, KindTally>;

/// What became of the ops of one kind.
#[derive(Clone, Debug)]
pub struct KindTally {
    /// They took effect.
    pub ok: u64,
    /// They certainly took none.
    pub fail: u64,
    /// It is not known.
    pub info: u64,
    /// From the intended start, of those that took effect, nanoseconds.
    pub latency_ns: Histogram<u64>,
}

/// An op that was asked and has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOp {
    /// Who.
    pub process: ProcessId,
    /// What.
    pub call: Call,
    /// When the schedule wanted it.
    pub intended: u64,
    /// When it was asked.
    pub invoked: u64,
}

/// The second that [`Progress`] is about to show.
#[derive(Debug)]
struct Window {
    since: u64,
    ended: u64,
    latency_ns: Histogram<u64>,
}

fn histogram(significant_digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, significant_digits).expect("constant bounds are valid")
}

impl Default for KindTally {
    fn default() -> Self {
        Self { ok: 0, fail: 0, info: 0, latency_ns: histogram(3) }
    }
}

impl Recorder {
    /// Begins a run's history: time counts from now.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, HistoryError> {
        let (sender, inbox) = sync_channel(INBOX_MAX);
        Ok(Self {
            writer: Writer::create(path)?,
            handle: RecorderHandle { origin: Instant::now(), inbox: sender, progress: Arc::default() },
            inbox,
            phase: None,
            keys_used: 0,
            processes_used: 0,
            tally: Tally::new(),
            window: Window { since: 0, ended: 0, latency_ns: histogram(2) },
            ok: 0,
            fail: 0,
            info: 0,
        })
    }

    /// For other tasks.
    #[must_use]
    pub fn handle(&self) -> RecorderHandle {
        self.handle.clone()
    }

    /// Nanoseconds since the run began.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.handle.now_ns()
    }

    /// When the run began.
    #[must_use]
    pub fn origin(&self) -> tokio::time::Instant {
        self.handle.origin.into()
    }

    /// Processes 0 up to this have asked something.
    #[must_use]
    pub fn processes_used(&self) -> u32 {
        self.processes_used
    }

    /// Keys 0 up to this were written, or may have been.
    #[must_use]
    pub fn keys_used(&self) -> u64 {
        self.keys_used
    }

    /// Others have used keys and processes up to these.
    pub fn count_as_used(&mut self, keys: u64, processes: u32) {
        self.keys_used = self.keys_used.max(keys);
        self.processes_used = self.processes_used.max(processes);
    }

    /// A phase begins. The same one again begins nothing.
    ///
    /// # Errors
    /// If the history cannot be written.
    pub fn phase(&mut self, phase: Phase) -> Result<(), HistoryError> {
        self.drain()?;
        let time = self.now_ns();
        self.enter(time, phase)
    }

    fn enter(&mut self, time: u64, phase: Phase) -> Result<(), HistoryError> {
        if self.phase == Some(phase) {
            return Ok(());
        }
        self.phase = Some(phase);
        self.writer.push(&Entry::Phase { time, phase })
    }

    /// A process asks, at this moment. `intended`: when the schedule wanted it to; `None` is now. `to`: the node that is asked first, if
    /// that is one and known.
    ///
    /// # Errors
    /// If the history cannot be written. The op must not be sent then.
    pub fn invoke(
        &mut self,
        process: ProcessId,
        intended: Option<u64>,
        to: Option<NodeId>,
        call: Call,
    ) -> Result<OpenOp, HistoryError> {
        self.drain()?;
        if let Some(key) = greatest_key_written(&call) {
            self.keys_used = self.keys_used.max(key + 1);
        }
        self.processes_used = self.processes_used.max(process.0 + 1);
        let time = self.now_ns();
        let intended = intended.unwrap_or(time);
        // The call goes into the entry and comes back out: no copy of a transaction's steps.
        let to = to.map(|node| node.0);
        let entry = Entry::Invoke { time, intended, process, to, call };
        self.writer.push(&entry)?;
        let Entry::Invoke { call, .. } = entry else { unreachable!("just made") };
        Ok(OpenOp { process, call, intended, invoked: time })
    }

    /// An op ends, at this moment.
    ///
    /// # Errors
    /// If the history cannot be written.
    pub fn complete(&mut self, op: &OpenOp, performed: Performed) -> Result<Outcome, HistoryError> {
        let Performed { outcome, by } = performed;
        self.drain()?;
        let time = self.now_ns();
        let by = by.into_iter().map(|node| node.0).collect();
        let entry = Entry::Return { time, process: op.process, by, outcome };
        self.writer.push(&entry)?;
        let Entry::Return { outcome, .. } = entry else { unreachable!("just made") };
        let tally = self.tally.entry(op.call.kind()).or_default();
        let (of_kind, of_run) = match outcome {
            Outcome::Ok(_) => {
                let latency_ns = time.saturating_sub(op.intended);
                tally.latency_ns.saturating_record(latency_ns);
                self.window.latency_ns.saturating_record(latency_ns);
                (&mut tally.ok, &mut self.ok)
            }
            Outcome::Fail(_) => (&mut tally.fail, &mut self.fail),
            Outcome::Info(_) => (&mut tally.info, &mut self.info),
        };
        *of_kind += 1;
        *of_run += 1;
        self.window.ended += 1;
        Ok(outcome)
    }

    /// Writes what other tasks have handed over.
    fn drain(&mut self) -> Result<(), HistoryError> {
        while let Ok(entry) = self.inbox.try_recv() {
            if let Entry::Phase { time, phase } = entry {
                self.enter(time, phase)?;
            } else {
                self.writer.push(&entry)?;
            }
        }
        Ok(())
    }

    /// Sees to it that the death of this process loses nothing recorded so far, and tells watchers how it goes. To be called
    /// every 100 ms or so.
    ///
    /// # Errors
    /// If the history cannot be written.
    pub fn flush(&mut self) -> Result<(), HistoryError> {
        self.drain()?;
        self.writer.flush()?;
        self.publish();
        Ok(())
    }

    fn publish(&mut self) {
        let now = self.now_ns();
        let mut progress = self.handle.progress.lock().expect("nobody panics while holding it");
        (progress.ok, progress.fail, progress.info) = (self.ok, self.fail, self.info);
        let elapsed_ns = now - self.window.since;
        if elapsed_ns < WINDOW_NS {
            return;
        }
        progress.ops_per_s = self.window.ended as f64 * 1e9 / elapsed_ns as f64;
        progress.latency_us_p50 = self.window.latency_ns.value_at_quantile(0.5) / 1_000;
        progress.latency_us_p99 = self.window.latency_ns.value_at_quantile(0.99) / 1_000;
        self.window.since = now;
        self.window.ended = 0;
        self.window.latency_ns.reset();
    }

    /// The counts since they were last taken.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Writes the end of the history and makes it durable. Events handed over later are refused.
    ///
    /// # Errors
    /// If the history cannot be written.
    pub fn finish(mut self) -> Result<(), HistoryError> {
        self.drain()?;
        self.writer.finish()
    }
}

impl RecorderHandle {
    /// Nanoseconds since the run began.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).expect("a run of less than 584 years")
    }

    /// Something happened to a fault, at this moment.
    ///
    /// # Errors
    /// If it cannot be recorded any more.
    pub fn fault(&self, event: FaultEvent) -> Result<(), HandOverError> {
        self.send(Entry::Fault { time: self.now_ns(), event })
    }

    /// A phase begins, at this moment. The same one again begins nothing.
    ///
    /// # Errors
    /// If it cannot be recorded any more.
    pub fn phase(&self, phase: Phase) -> Result<(), HandOverError> {
        self.send(Entry::Phase { time: self.now_ns(), phase })
    }

    fn send(&self, entry: Entry) -> Result<(), HandOverError> {
        self.inbox.try_send(entry).map_err(|refused| match refused {
            TrySendError::Full(_) => HandOverError::Full,
            TrySendError::Disconnected(_) => HandOverError::Closed,
        })
    }

    /// How load that is recorded elsewhere goes, for whoever watches.
    pub fn tell(&self, progress: Progress) {
        *self.progress.lock().expect("nobody panics while holding it") = progress;
    }

    /// How the load goes, as of the recorder's last flush.
    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.progress.lock().expect("nobody panics while holding it")
    }
}

/// The greatest key that the call may write.
#[must_use]
pub fn greatest_key_written(call: &Call) -> Option<u64> {
    match call {
        Call::Write { key, .. }
        | Call::Cas { key, .. }
        | Call::Insert { key, .. }
        | Call::Update { key, .. }
        | Call::ReadModifyWrite { key, .. } => Some(*key),
        Call::Txn(steps) => steps
            .iter()
            .filter_map(|step| match step {
                MicroCall::Append { key, .. } | MicroCall::Write { key, .. } => Some(*key),
                MicroCall::ReadList { .. } | MicroCall::Read { .. } => None,
            })
            .max(),
        Call::Read { .. } | Call::ReadRecord { .. } | Call::Scan { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkers::history::{Answer, FaultStage, History};

    const P: ProcessId = ProcessId(3);

    fn performed(outcome: Outcome, by: &[u32]) -> Performed {
        Performed { outcome, by: by.iter().copied().map(NodeId).collect() }
    }

    fn fault(id: u32) -> FaultEvent {
        let (fault, targets) = ("kill".into(), "n1".into());
        FaultEvent { id, fault, line: None, targets, stage: FaultStage::Installed, detail: String::new() }
    }

    #[test]
    fn what_is_recorded_and_handed_over_is_in_the_history() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("history.bin");
        let mut recorder = Recorder::create(&path).expect("the folder is new");
        let handle = recorder.handle();
        recorder.phase(Phase::Run).expect("the disk has room");
        handle.phase(Phase::Run).expect("the recorder is there");
        let write = recorder
            .invoke(P, Some(0), Some(NodeId(2)), Call::Write { key: 6, value: 1 })
            .expect("the disk has room");
        handle.fault(fault(1)).expect("the recorder is there");
        recorder.complete(&write, performed(Outcome::Ok(Answer::Done), &[3])).expect("the disk has room");
        let read = recorder.invoke(P, None, None, Call::Read { key: 9 }).expect("the disk has room");
        recorder.complete(&read, performed(Outcome::Fail("busy".into()), &[])).expect("the disk has room");
        handle.fault(fault(2)).expect("the recorder is there");
        assert_eq!(recorder.keys_used(), 7, "only what is written counts");

        let tally = recorder.take_tally();
        assert_eq!((tally[&OpKind::Write].ok, tally[&OpKind::Read].fail), (1, 1));
        assert_eq!(tally[&OpKind::Write].latency_ns.len(), 1);
        assert_eq!(tally[&OpKind::Read].latency_ns.len(), 0, "a refusal is no latency");
        assert!(recorder.take_tally().is_empty());
        recorder.flush().expect("the disk has room");
        let progress = handle.progress();
        assert_eq!((progress.ok, progress.fail, progress.info), (1, 1, 0));

        recorder.finish().expect("the disk has room");
        assert_eq!(handle.fault(fault(3)), Err(HandOverError::Closed));
        let history = History::load(&path).expect("a whole history");
        assert_eq!(history.phases.len(), 1, "the same phase again begins nothing");
        assert_eq!(history.faults.iter().map(|(_, event)| event.id).collect::<Vec<_>>(), [1, 2]);
        let [write, read] = &history.ops[..] else { panic!("two ops were recorded: {history:?}") };
        assert_eq!((write.process, write.intended, &write.outcome), (P, 0, &Outcome::Ok(Answer::Done)));
        assert_eq!((write.to, &write.by[..], read.to, &read.by[..]), (Some(2), &[3][..], None, &[][..]));
        assert_eq!((read.intended, &read.outcome), (read.invoked, &Outcome::Fail("busy".into())));
        let (installed, _) = history.faults[0];
        assert!(write.invoked <= installed && Some(installed) <= write.returned);
    }

    #[test]
    fn a_flood_of_events_is_refused_rather_than_kept_without_bound() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let recorder = Recorder::create(folder.path().join("history.bin")).expect("the folder is new");
        let handle = recorder.handle();
        let taken = (0..).find(|id| handle.fault(fault(*id)) == Err(HandOverError::Full));
        assert_eq!(taken, Some(INBOX_MAX as u32));
    }
}
