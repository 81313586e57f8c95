//! What is known of a run before it begins, wherever it runs.

use crate::plan::Cell;
use reports::stored::{CpuUse, RunInfo, RunOutcome};

/// A cell in the words of its report, as on real machines.
pub(crate) fn describe(cell: &Cell) -> RunInfo {
    let (plan, subject) = (&cell.plan, cell.subject());
    let mut facts = vec![("version".into(), env!("CARGO_PKG_VERSION").into())];
    facts.extend(plan.links.as_ref().map(|links| ("links".into(), links.in_words())));
    RunInfo {
        plan: plan.name.clone(),
        subject: subject.name.clone(),
        system: subject.system.name().into(),
        workload: cell.workload().name().into(),
        world: plan.world.name().into(),
        seed: cell.seed,
        started: jiff::Timestamp::now().to_string(),
        replicas: cell.replicas(),
        clients: cell.clients(),
        load: match plan.load.rate {
            None => "closed".into(),
            Some(rate) => format!("open, {rate} ops/s, {:?}", plan.load.arrivals).to_lowercase(),
        },
        durability: subject.durability.name().into(),
        reads: subject.reads_in_words().into(),
        facts,
        control: subject.outside_its_promise().filter(|_| subject.is_control()),
        outcome: RunOutcome::Completed,
        cpu: CpuUse::default(),
        heal_problems: Vec::new(),
        left_out: cell.left_out.clone(),
        not_collected: Vec::new(),
        crashes: Vec::new(),
        disk_full: Vec::new(),
    }
}
