//! The storms in which bugs must show on processes: short, local, each made for one bug, and no harder than a correct build
//! survives.

use crate::plan::Plan;
use crate::subject::System;
use anyhow::{Context, bail};
use protocol::BugInfo;

/// The storm of a bug, without the bug.
///
/// # Errors
/// If it has none.
pub(super) fn of(system: System, bug: &BugInfo) -> anyhow::Result<Plan> {
    let Some(text) = system.trial(bug) else { bail!("{} has no storm on processes", bug.id) };
    let mut plan = Plan::parse(text).with_context(|| format!("the storm of {}", bug.id))?;
    plan.name = format!("real-{}", bug.id);
    // What is cut off answers little.
    (plan.checks.ok_per_s_min, plan.checks.ok_min_per_kind) = (0.1, 1);
    plan.validate().with_context(|| format!("the storm of {}", bug.id))?;
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exam::switch_on;

    #[test]
    fn every_bug_that_must_show_on_processes_has_a_storm_that_runs_with_and_without_it() {
        let mut real = 0;
        let all = System::all().flat_map(|system| system.bugs().into_iter().map(move |bug| (system, bug)));
        for (system, bug) in all.filter(|(_, bug)| bug.real) {
            let mut plan = of(system, &bug).expect("it has a storm");
            plan.validate().unwrap_or_else(|error| panic!("{} without it: {error:#}", bug.id));
            switch_on(&bug, &mut plan.subjects[0]).expect("an option");
            plan.validate().unwrap_or_else(|error| panic!("{} with it: {error:#}", bug.id));
            assert_eq!(plan.cells(1).expect("it resolves").len(), 1, "{}", bug.id);
            real += 1;
        }
        assert!(real > 0, "no bug must show on processes");
    }
}
