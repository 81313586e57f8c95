//! A simulated run in the store, as runs on real machines are kept, and what happened in it.

use super::one::{Simulated, simulate};
use crate::cli::Place;
use crate::describe::describe;
use crate::plan::Cell;
use crate::store::{self, HISTORY, STATUSES};
use anyhow::{Context, ensure};
use checkers::history::{ProcessId, Writer};
use protocol::ClientId;
use reports::stored::{RESULTS_FILE, RUN_FILE, Results, RunInfo, SIMULATED, write_json};
use reports::trace::{self, ACCUSATIONS_FILE, TRACE_FILE, What, write_trace};
use sim::TraceWhat;
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
    write_json(&dir.join(RUN_FILE), &in_virtual_time(cell, run))?;
    let mut history = Writer::create(dir.join(HISTORY)).context("creating the history")?;
    for entry in &run.entries {
        history.push(entry).context("writing the history")?;
    }
    history.finish().context("writing the end of the history")?;
    write_json(&dir.join(STATUSES), &run.statuses)?;
    write_json(&dir.join(RESULTS_FILE), &Results { verdict: run.verdict(), checks: run.checks.clone() })?;
    let words: String = run.events.iter().map(|event| format!("{event}\n")).collect();
    store::write(&dir.join("trace.txt"), words.as_bytes())?;
    write_trace(&dir.join(TRACE_FILE), retold(run))?;
    write_json(&dir.join(ACCUSATIONS_FILE), &accusations(run))?;
    Ok(dir)
}

fn in_virtual_time(cell: &Cell, run: &Simulated) -> RunInfo {
    let mut info = describe(cell);
    info.facts.push(("messages".into(), run.messages.to_string()));
    info.facts.push(("fingerprint".into(), format!("{:016x}", run.fingerprint)));
    RunInfo {
        world: SIMULATED.into(),
        // Spares among them: they have a line of their own in the diagram.
        replicas: u32::try_from(cell.plan.nodes(cell.subject()).len()).expect("few nodes"),
        load: "closed, in virtual time".into(),
        durability: "simulated".into(),
        ..info
    }
}

fn accusations(run: &Simulated) -> Vec<trace::Accusation> {
    let retold = |found: &super::one::Accusation| trace::Accusation {
        checker: found.check.name().to_owned(),
        what: found.what.clone(),
        at: found.at.map(|at| at.0),
    };
    run.accusations.iter().map(retold).collect()
}

/// What happened, in terms of the report.
fn retold(run: &Simulated) -> impl Iterator<Item = trace::Event> {
    run.events.iter().map(|event| trace::Event { at: event.at.0, what: tell(&event.what, &run.processes) })
}

fn tell(what: &TraceWhat, processes: &BTreeMap<ClientId, ProcessId>) -> What {
    match what {
        TraceWhat::Sent { message, from, to, kind, line, repeats } => What::Sent {
            message: *message,
            from: from.0,
            to: to.0,
            kind: (*kind).to_owned(),
            words: line.clone(),
            repeats: *repeats,
        },
        TraceWhat::Received { message } => What::Received { message: *message },
        TraceWhat::Dropped { message, why } => What::Lost { message: *message, why: (*why).to_owned() },
        TraceWhat::Request { client, node, line } => What::Asked {
            replica: node.0,
            process: processes.get(client).map(|process| process.0),
            words: line.clone(),
        },
        TraceWhat::Reply { node, line, .. } => What::Answered { replica: node.0, words: line.clone() },
        TraceWhat::Started { node, records } => What::Started { replica: node.0, records: *records },
        TraceWhat::Stopped { node, why } => What::Stopped { replica: node.0, why: why.clone() },
        TraceWhat::Role { node, role, epoch, leads } => {
            What::Role { replica: node.0, role: role.clone(), epoch: *epoch, leads: *leads }
        }
        TraceWhat::Paused { node, paused } => What::Paused { replica: node.0, paused: *paused },
        TraceWhat::Durable { node, before } => What::Durable { replica: node.0, before: *before },
        TraceWhat::Note(words) => What::Note { words: words.clone() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::subjects::tests::some;
    use checkers::history::Entry;

    const PLAN: &str = concat!(
        "subjects: ",
        some!(),
        "\nworkloads: [append]\nduration: 3s\nreplicas: 3\nload: { clients: [3] }\n",
        "sim: { ops_per_s: 100, swarm: false }\n"
    );

    fn happened() -> (Simulated, Vec<trace::Event>) {
        let cell = crate::sim::settings::resolve(&Plan::parse(PLAN).unwrap(), 7).unwrap();
        let run = simulate(&cell, true).unwrap();
        let events = retold(&run).collect();
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
            assert!(!(words.contains('[') && *repeats), "{words}");
            seen[usize::from(*repeats)] += usize::from(kind == "append-entries");
        }
        assert!(seen[0] > 100 && seen[1] > 20, "{seen:?}");
    }
}
