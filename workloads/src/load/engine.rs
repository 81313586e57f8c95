//! The loop around all workers: start them, flush, stop, drain.
//!
//! Workers are futures of one task: no hop between threads or tasks an op, and everything shared is behind one `RefCell`
//! that is never borrowed across an await.

use super::arrivals::{Backlog, Schedule};
use super::worker::work;
use super::{Arrivals, LoadConfig, LoadEnd, LoadError, LoadSummary};
use crate::connect::{Connect, Performed, Performs, Who};
use crate::generator::{Generator, Next, Scope};
use crate::recorder::{OpenOp, Recorder};
use crate::spec::Spec;
use crate::values::Layout;
use checkers::history::{Call, HistoryError, Outcome, Phase, ProcessId};
use client::PreciseTimer;
use futures_util::stream::{FuturesUnordered, StreamExt};
use protocol::NodeId;
use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// How often the history goes to the file and progress to whoever watches.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// What tells the seed of the schedule from that of the generator.
const ARRIVALS_SALT: u64 = u64::from_be_bytes(*b"arrivals");

/// The longest load: what a clock can surely add.
const TIME_LIMIT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// An error that ends everything.
pub(super) type Stop = HistoryError;

/// What all workers share.
pub(super) struct Engine<'r> {
    pub(super) config: LoadConfig,
    connector: &'r dyn Connect,
    pub(super) layout: Layout,
    /// Workers, and in an open loop one more slot for ops that nobody was free to send.
    slots: u32,
    /// The process that is first on slot 0.
    first_process: u32,
    /// What times count from.
    origin: Instant,
    shared: RefCell<Shared<'r>>,
    /// An op has ended, or the load.
    ended: Notify,
    /// An op is due, or the load has ended.
    due: Notify,
}

struct Shared<'r> {
    generator: Box<dyn Generator>,
    recorder: &'r mut Recorder,
    backlog: Backlog,
    begun: u64,
    not_sent: u64,
    retired: u64,
    end: Option<LoadEnd>,
    error: Option<Stop>,
}

/// Makes load until the generator is exhausted, a limit is reached or `stop` becomes true, and waits for all ops to end. To
/// be called on a current-thread runtime that has nothing else to do.
///
/// # Errors
/// If the configuration cannot be carried out, or the history cannot be written.
pub async fn run_load(
    connector: &dyn Connect,
    spec: &Spec,
    phase: Phase,
    config: &LoadConfig,
    recorder: &mut Recorder,
    stop: watch::Receiver<bool>,
) -> Result<LoadSummary, LoadError> {
    validate(spec, config)?;
    recorder.phase(phase)?;
    let mut timer = PreciseTimer::new().map_err(LoadError::Timer)?;
    let started_ns = recorder.now_ns();
    let engine = Engine::new(connector, spec, phase, config.clone(), recorder);
    // Nothing else runs on this runtime, so there is nobody to be fair to.
    tokio::task::unconstrained(drive(&engine, &mut timer, started_ns, stop)).await?;
    let shared = engine.shared.into_inner();
    if let Some(error) = shared.error {
        return Err(error.into());
    }
    shared.recorder.flush()?;
    Ok(LoadSummary {
        phase,
        end: shared.end.unwrap_or(LoadEnd::Exhausted),
        started_ns,
        ended_ns: shared.recorder.now_ns(),
        tally: shared.recorder.take_tally(),
        not_sent: shared.not_sent,
        retired: shared.retired,
    })
}

fn validate(spec: &Spec, config: &LoadConfig) -> Result<(), LoadError> {
    spec.validate()?;
    let bad_rate = match config.arrivals {
        Arrivals::Closed => false,
        Arrivals::Open { rate_per_s, .. } => !(0.001..=1e7).contains(&rate_per_s),
    };
    if config.clients == 0 {
        Err(LoadError::Config("there are no clients".into()))
    } else if bad_rate {
        Err(LoadError::Config("the rate must be 0.001 to 10 million ops a second".into()))
    } else if config.op_timeout.is_zero() || config.attempt_timeout.is_zero() {
        Err(LoadError::Config("time-outs must be longer than zero".into()))
    } else if config.time_limit.max(config.op_timeout).max(config.attempt_timeout) > TIME_LIMIT_MAX {
        Err(LoadError::Config("time limits must be shorter than a year".into()))
    } else {
        Ok(())
    }
}

/// Runs workers, schedule and clock side by side.
async fn drive(
    engine: &Engine<'_>,
    timer: &mut PreciseTimer,
    started_ns: u64,
    mut stop: watch::Receiver<bool>,
) -> Result<(), LoadError> {
    let mut workers: FuturesUnordered<_> =
        (0..engine.config.clients).map(|slot| work(engine, slot)).collect();
    let mut arrivals = pin!(async {
        match engine.config.arrivals {
            Arrivals::Closed => Ok(()),
            Arrivals::Open { rate_per_s, process } => {
                // Not the generator's chance: when something is asked must not depend on what.
                let seed = engine.config.seed.rotate_left(32) ^ ARRIVALS_SALT;
                let schedule = Schedule::new(started_ns, rate_per_s, process, seed);
                engine.arrive(schedule, timer).await
            }
        }
    });
    let mut arriving = true;
    let mut limit = pin!(sleep_until(engine.at(started_ns) + engine.config.time_limit));
    let mut stopped = pin!(stopped(&mut stop));
    let mut flush = interval(FLUSH_INTERVAL);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let running = !engine.is_ended();
        tokio::select! {
            biased;
            worker = workers.next() => if worker.is_none() { return Ok(()) },
            result = &mut arrivals, if arriving => {
                result.map_err(LoadError::Timer)?;
                arriving = false;
            }
            _ = flush.tick() => {
                engine.shed();
                engine.shared.borrow_mut().recorder.flush()?;
            }
            () = &mut limit, if running => engine.end(LoadEnd::TimeLimit),
            () = &mut stopped, if running => engine.end(LoadEnd::Stopped),
        }
        if let Some(error) = engine.shared.borrow_mut().error.take() {
            return Err(error.into());
        }
    }
}

/// Waits for the caller to stop the load. A caller that is gone cannot.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        pending::<()>().await;
    }
}

impl<'r> Engine<'r> {
    fn new(
        connector: &'r dyn Connect,
        spec: &Spec,
        phase: Phase,
        config: LoadConfig,
        recorder: &'r mut Recorder,
    ) -> Self {
        let slots = match config.arrivals {
            Arrivals::Closed => config.clients,
            Arrivals::Open { .. } => config.clients + 1,
        };
        let keys_used = recorder.keys_used();
        let generator = spec.generator(&Scope {
            phase,
            workers: slots,
            seed: config.seed,
            keys_used,
            share: config.share,
            readers: config.readers,
        });
        Self {
            connector,
            layout: spec.layout(),
            slots,
            // A process that has retired in an earlier phase must not come back.
            first_process: recorder.processes_used().next_multiple_of(slots),
            origin: recorder.origin(),
            shared: RefCell::new(Shared {
                generator,
                recorder,
                backlog: Backlog::default(),
                begun: 0,
                not_sent: 0,
                retired: 0,
                end: None,
                error: None,
            }),
            config,
            ended: Notify::new(),
            due: Notify::new(),
        }
    }

    /// The moment that is so many nanoseconds after the run began.
    fn at(&self, ns: u64) -> Instant {
        self.origin + Duration::from_nanos(ns)
    }

    /// The first process on a slot.
    pub(super) fn first_process(&self, slot: u32) -> ProcessId {
        ProcessId(self.first_process + slot)
    }

    /// The process that follows one that has retired.
    pub(super) fn retire(&self, process: ProcessId) -> ProcessId {
        self.shared.borrow_mut().retired += 1;
        ProcessId(process.0 + self.slots)
    }

    /// A client for the worker on `slot`.
    pub(super) fn client(&self, slot: u32) -> Box<dyn Performs> {
        self.connector.connect(&Who {
            binding: self.config.binding,
            // Shares begin at different nodes, so that all are asked even where each has few clients.
            turn: (slot + self.config.share.index) as usize,
            attempt_timeout: self.config.attempt_timeout,
        })
    }

    /// What the worker on `slot` shall ask, when there is something; `None` if it shall stop.
    pub(super) async fn next_call(&self, slot: u32) -> Option<Call> {
        loop {
            let next = self.shared.borrow_mut().next(slot, self.config.ops_max);
            let again_at = match next {
                Next::Op(call) => return Some(call),
                Next::Pending(again_at) => again_at,
                Next::Done => {
                    // In a closed loop others may still have something to do. In an open loop what one worker has not,
                    // none has.
                    if self.is_ended() || self.slots > self.config.clients {
                        self.end(LoadEnd::Exhausted);
                    }
                    return None;
                }
            };
            let ended = self.ended.notified();
            match again_at {
                None => ended.await,
                Some(ns) => tokio::select! {
                    () = ended => {}
                    () = sleep_until(self.at(ns)) => {}
                },
            }
        }
    }

    /// When the next op of an open loop was due; `None` if there is none any more.
    pub(super) async fn next_due(&self) -> Option<u64> {
        loop {
            let arrived = self.due.notified();
            {
                let mut shared = self.shared.borrow_mut();
                if shared.end.is_some() {
                    return None;
                }
                if let Some(due_ns) = shared.backlog.take() {
                    return Some(due_ns);
                }
            }
            arrived.await;
        }
    }

    pub(super) fn invoke(
        &self,
        process: ProcessId,
        intended: Option<u64>,
        to: Option<NodeId>,
        call: Call,
    ) -> Result<OpenOp, Stop> {
        self.shared.borrow_mut().recorder.invoke(process, intended, to, call)
    }

    pub(super) fn complete(&self, slot: u32, op: &OpenOp, performed: Performed) -> Result<Outcome, Stop> {
        let outcome = self.shared.borrow_mut().complete(slot, op, performed)?;
        self.ended.notify_waiters();
        Ok(outcome)
    }

    /// Ends the load because of an error.
    pub(super) fn fail(&self, error: Stop) {
        self.shared.borrow_mut().error.get_or_insert(error);
    }

    fn is_ended(&self) -> bool {
        self.shared.borrow().end.is_some()
    }

    /// Nothing more begins, for the first reason given. What was due and is not sent never will be.
    fn end(&self, end: LoadEnd) {
        self.shed_before(u64::MAX);
        self.shared.borrow_mut().end.get_or_insert(end);
        self.ended.notify_waiters();
        self.due.notify_waiters();
    }

    /// Gives up on ops that have waited too long for a worker.
    fn shed(&self) {
        let timeout_ns = u64::try_from(self.config.op_timeout.as_nanos()).unwrap_or(u64::MAX);
        let now = self.shared.borrow().recorder.now_ns();
        self.shed_before(now.saturating_sub(timeout_ns));
        if self.is_ended() {
            // That was the last op allowed, and workers may wait for another.
            self.end(LoadEnd::OpsMax);
        }
    }

    fn shed_before(&self, ns: u64) {
        // The slot after the workers', and a process that only ever asks what is not sent.
        let slot = self.config.clients;
        let process = self.first_process(slot);
        let mut shared = self.shared.borrow_mut();
        while let Some(due_ns) = shared.backlog.take_before(ns) {
            // A generator that has nothing to ask now had nothing to ask that could be late.
            let Next::Op(call) = shared.next(slot, self.config.ops_max) else { return };
            shared.not_sent += 1;
            let outcome = Outcome::Fail("not sent: overload".into());
            let not_sent = Performed { outcome, by: Vec::new() };
            let recorded = shared
                .recorder
                .invoke(process, Some(due_ns), None, call)
                .and_then(|op| shared.complete(slot, &op, not_sent));
            if let Err(error) = recorded {
                shared.error.get_or_insert(error);
                return;
            }
        }
    }

    /// Adds ops to the backlog as they are due, until the load ends.
    async fn arrive(&self, mut schedule: Schedule, timer: &mut PreciseTimer) -> io::Result<()> {
        loop {
            {
                let mut shared = self.shared.borrow_mut();
                if shared.end.is_some() {
                    return Ok(());
                }
                let now = shared.recorder.now_ns();
                while schedule.due_ns() <= now {
                    shared.backlog.add(schedule.due_ns());
                    schedule.advance();
                    self.due.notify_one();
                }
            }
            timer.wait_until(self.at(schedule.due_ns())).await?;
        }
    }
}

impl Shared<'_> {
    fn next(&mut self, slot: u32, ops_max: Option<u64>) -> Next {
        if self.end.is_some() {
            return Next::Done;
        }
        if ops_max.is_some_and(|max| self.begun >= max) {
            self.end = Some(LoadEnd::OpsMax);
            return Next::Done;
        }
        let next = self.generator.next(self.recorder.now_ns(), slot);
        if matches!(next, Next::Op(_)) {
            self.begun += 1;
        }
        next
    }

    fn complete(&mut self, slot: u32, op: &OpenOp, performed: Performed) -> Result<Outcome, Stop> {
        let outcome = self.recorder.complete(op, performed)?;
        self.generator.complete(self.recorder.now_ns(), slot, &op.call, &outcome);
        Ok(outcome)
    }
}
