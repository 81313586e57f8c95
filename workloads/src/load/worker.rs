//! One slot of load: one logical client after another, each retiring when an op's outcome is unknown.

use super::Arrivals;
use super::engine::{Engine, Stop};
use crate::connect::Performs;
use checkers::history::{Call, Outcome, ProcessId};
use std::future::poll_fn;
use std::time::Duration;
use tokio::time::sleep;

/// A worker of a closed loop pauses so long after an op that did not succeed: a system that refuses at once would
/// otherwise fill the history with refusals.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// A slot with the process that is on it now.
struct Worker<'a, 'r> {
    engine: &'a Engine<'r>,
    slot: u32,
    process: ProcessId,
    client: Box<dyn Performs>,
}

/// Works until there is nothing more to do.
pub(super) async fn work(engine: &Engine<'_>, slot: u32) {
    let process = engine.first_process(slot);
    let mut worker = Worker { engine, slot, process, client: engine.client(slot) };
    let result = match engine.config.arrivals {
        Arrivals::Closed => worker.closed_loop().await,
        Arrivals::Open { .. } => worker.open_loop().await,
    };
    if let Err(error) = result {
        engine.fail(error);
    }
}

impl Worker<'_, '_> {
    async fn closed_loop(&mut self) -> Result<(), Stop> {
        while let Some(call) = self.engine.next_call(self.slot).await {
            if !self.ask(None, call).await? {
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
        Ok(())
    }

    async fn open_loop(&mut self) -> Result<(), Stop> {
        while let Some(due_ns) = self.engine.next_due().await {
            let Some(call) = self.engine.next_call(self.slot).await else { break };
            self.ask(Some(due_ns), call).await?;
        }
        Ok(())
    }

    /// Asks, and says whether it took effect.
    async fn ask(&mut self, intended: Option<u64>, call: Call) -> Result<bool, Stop> {
        let (layout, timeout) = (&self.engine.layout, self.engine.config.op_timeout);
        let to = self.client.begin(layout, &call, timeout);
        // From here on it may have effects.
        let op = self.engine.invoke(self.process, intended, to, call)?;
        let performed = poll_fn(|cx| self.client.poll(cx, layout, &op.call)).await;
        let outcome = self.engine.complete(self.slot, &op, performed)?;
        if matches!(outcome, Outcome::Info(_)) {
            self.process = self.engine.retire(self.process);
            self.client = self.engine.client(self.slot);
        }
        Ok(matches!(outcome, Outcome::Ok(_)))
    }
}
