//! A simulated run in the store, as runs on real machines are kept, and what happened in it.

use super::run::{Simulated, simulate};
use crate::cli::Place;
use crate::plan::Cell;
use crate::store::{self, HISTORY, STATUSES};
use anyhow::{Context, ensure};
use checkers::history::Writer;
use protocol::NodeId;
use reports::stored::{CpuUse, RESULTS_FILE, RUN_FILE, Results, RunInfo, RunOutcome, SIMULATED, write_json};
use reports::trace::{self, ACCUSATIONS_FILE, TRACE_FILE, What, write_trace};
use sim::{TraceEvent, TraceWhat};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Runs a seed again, in words, and keeps and renders it.
///
/// # Errors
/// If it does not run as it did before, or cannot be kept.
pub(crate) fn keep(cell: &Cell, fingerprint: u64, place: &Place) -> anyhow::Result<PathBuf> {
    let run = super::campaign::quiet(|| simulate(cell, true))?;
    ensure!(run.fingerprint == fingerprint, "seed {} did not run as it did before", cell.seed);
    let dir = write(cell, &run, place)?;
    reports::render_run(&dir).context("rendering the report")?;
    Ok(dir)
}

/// Writes a run's folder.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write(cell: &Cell, run: &Simulated, place: &Place) -> anyhow::Result<PathBuf> {
    let dir = store::create(&place.store, &cell.plan.name, cell.seed)?;
    store::write(&dir.join("plan.yaml"), cell.plan.to_yaml().as_bytes())?;
    write_json(&dir.join(RUN_FILE), &describe(cell, run))?;
    let mut history = Writer::create(dir.join(HISTORY)).context("creating the history")?;
    for entry in &run.entries {
        history.push(entry).context("writing the history")?;
    }
    history.finish().context("writing the end of the history")?;
    write_json(&dir.join(STATUSES), &run.statuses)?;
    write_json(&dir.join(RESULTS_FILE), &Results { verdict: run.verdict(), checks: run.checks.clone() })?;
    let words: String = run.events.iter().map(|event| format!("{event}\n")).collect();
    store::write(&dir.join("trace.txt"), words.as_bytes())?;
    write_trace(&dir.join(TRACE_FILE), retold(cell.seed, &run.events))?;
    write_json(&dir.join(ACCUSATIONS_FILE), &accusations(run))?;
    Ok(dir)
}

fn describe(cell: &Cell, run: &Simulated) -> RunInfo {
    let subject = cell.subject();
    RunInfo {
        plan: cell.plan.name.clone(),
        subject: subject.name.clone(),
        system: subject.system.name().into(),
        workload: cell.workload().name().into(),
        world: SIMULATED.into(),
        seed: cell.seed,
        started: jiff::Timestamp::now().to_string(),
        // Spares among them: they have a line of their own in the diagram.
        replicas: u32::try_from(cell.plan.nodes(subject).len()).expect("few nodes"),
        clients: cell.clients(),
        load: "closed, in virtual time".into(),
        durability: "simulated".into(),
        reads: subject.reads_in_words().into(),
        facts: vec![
            ("version".into(), env!("CARGO_PKG_VERSION").into()),
            ("messages".into(), run.messages.to_string()),
            ("fingerprint".into(), format!("{:016x}", run.fingerprint)),
        ],
        outcome: RunOutcome::Completed,
        cpu: CpuUse::default(),
        heal_problems: Vec::new(),
        not_collected: Vec::new(),
        crashes: Vec::new(),
        disk_full: Vec::new(),
    }
}

fn accusations(run: &Simulated) -> Vec<trace::Accusation> {
    let retold = |found: &super::run::Accusation| trace::Accusation {
        checker: found.checker.clone(),
        what: found.what.clone(),
        at: found.at.map(|at| at.0),
    };
    run.accusations.iter().map(retold).collect()
}

fn retold(seed: u64, events: &[TraceEvent]) -> impl Iterator<Item = trace::Event> {
    let mut teller = Teller { seed, under_way: BTreeMap::new(), told: BTreeMap::new() };
    events.iter().map(move |event| trace::Event { at: event.at.0, what: teller.tell(&event.what) })
}

/// What is on its way, and what it tells.
#[derive(Clone)]
struct Message {
    from: NodeId,
    to: NodeId,
    words: String,
}

/// Tells what happened in terms of the report.
struct Teller {
    seed: u64,
    under_way: BTreeMap<u64, Message>,
    /// The last thing of each kind that a replica was told by another.
    told: BTreeMap<(NodeId, NodeId, String), String>,
}

impl Teller {
    fn tell(&mut self, what: &TraceWhat) -> What {
        match what {
            TraceWhat::Sent { message, from, to, label } => self.sent(*message, (*from, *to), label),
            TraceWhat::Received { message } => {
                if let Some(Message { from, to, words }) = self.under_way.remove(message) {
                    self.told.insert((from, to, kind(&words).to_owned()), gist(&words));
                }
                What::Received { message: *message }
            }
            TraceWhat::Dropped { message, why } => {
                self.under_way.remove(message);
                What::Lost { message: *message, why: (*why).to_owned() }
            }
            TraceWhat::Request { node, label } => {
                What::Asked { replica: node.0, process: process(self.seed, label), words: label.clone() }
            }
            TraceWhat::Reply { node, label } => What::Answered { replica: node.0, words: label.clone() },
            TraceWhat::Started { node, records } => What::Started { replica: node.0, records: *records },
            TraceWhat::Stopped { node, why } => {
                self.told.retain(|(_, to, _), _| to != node);
                What::Stopped { replica: node.0, why: why.clone() }
            }
            TraceWhat::Role { node, role, epoch, leads } => {
                What::Role { replica: node.0, role: role.clone(), epoch: *epoch, leads: *leads }
            }
            TraceWhat::Paused { node, paused } => What::Paused { replica: node.0, paused: *paused },
            TraceWhat::Durable { node, before } => What::Durable { replica: node.0, before: *before },
            TraceWhat::Note(words) => What::Note { words: words.clone() },
        }
    }

    fn sent(&mut self, message: u64, (from, to): (NodeId, NodeId), label: &str) -> What {
        // A duplicate has the number after its original's, which was sent just before it.
        let original = self.under_way.get(&message.wrapping_sub(1)).filter(|_| label == "again");
        let (words, repeats) = match original {
            Some(original) => (original.words.clone(), true),
            None => {
                let told = self.told.get(&(from, to, kind(label).to_owned()));
                (label.to_owned(), !label.ends_with('…') && told.is_some_and(|told| *told == gist(label)))
            }
        };
        self.under_way.insert(message, Message { from, to, words: words.clone() });
        What::Sent { message, from: from.0, to: to.0, kind: kind(&words).to_owned(), words, repeats }
    }
}

/// What sort of message these are the words of.
fn kind(words: &str) -> &str {
    words.split(|c: char| !c.is_alphanumeric()).next().unwrap_or(words)
}

/// Words without the number of the round that they are part of.
fn gist(words: &str) -> String {
    match words.split_once("round: Round(") {
        Some((before, rest)) => format!("{before}{}", rest.split_once(')').map_or("", |(_, after)| after)),
        None => words.to_owned(),
    }
}

/// Who asks, by the session in a request's words: clients number their sessions as their processes, from 1 on.
fn process(seed: u64, words: &str) -> Option<u32> {
    let (_, rest) = words.split_once("session: SessionId(")?;
    let session: u64 = rest.split_once(')')?.0.parse().ok()?;
    let begun = (session ^ seed ^ 0x5e55) >> 20;
    u32::try_from(begun.checked_sub(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use checkers::history::Entry;

    const PLAN: &str = "subjects: [raft]\nworkloads: [append]\nduration: 3s\nreplicas: 3\n\
        load: { clients: [3] }\nsim: { ops_per_s: 100, swarm: false }\n";

    fn happened() -> (Simulated, Vec<trace::Event>) {
        let cell = crate::sim::settings::resolve(&Plan::parse(PLAN).unwrap(), 7).unwrap();
        let run = simulate(&cell, true).unwrap();
        let events = retold(cell.seed, &run.events).collect();
        (run, events)
    }

    #[test]
    fn a_request_is_known_to_be_of_the_process_that_asks() {
        let (run, events) = happened();
        let mut asked = 0;
        for event in &events {
            let What::Asked { process, .. } = event.what else { continue };
            let mut of_process = run.entries.iter().filter_map(|entry| match entry {
                Entry::Invoke { time, process: by, .. } => (Some(by.0) == process).then_some((*time, true)),
                Entry::Return { time, process: by, .. } => (Some(by.0) == process).then_some((*time, false)),
                Entry::Phase { .. }
                | Entry::Fault { .. }
                | Entry::Clocks { .. }
                | Entry::Hostile { .. }
                | Entry::Liar { .. } => None,
            });
            let last = of_process.by_ref().take_while(|(time, _)| *time <= event.at).last();
            assert!(last.is_some_and(|(_, open)| open), "{event:?} comes while no op of its process is open");
            asked += 1;
        }
        assert!(asked > 100, "{asked} requests");
    }

    #[test]
    fn heartbeats_repeat_and_entries_do_not() {
        let (_, events) = happened();
        let mut seen = [0, 0];
        for event in &events {
            let What::Sent { kind, words, repeats, .. } = &event.what else { continue };
            assert!(!(words.contains("entries: [Entry") && *repeats), "{words}");
            seen[usize::from(*repeats)] += usize::from(kind == "AppendEntries");
        }
        assert!(seen[0] > 100 && seen[1] > 20, "{seen:?}");
    }

    #[test]
    fn what_a_message_says_does_not_depend_on_its_round() {
        let of = |round| {
            format!("AppendReply(AppendReply {{ term: Term(5), round: Round({round}), outcome: A }})")
        };
        assert_eq!(gist(&of(6)), gist(&of(17)));
        assert_eq!(kind(&of(6)), "AppendReply");
        assert_eq!(kind("Forward([Forwarded { ticket: Ticket(5) }])"), "Forward");
    }
}
