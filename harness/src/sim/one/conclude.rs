//! Every judgement on what a run left.

use super::Accusation;
use crate::checks::{self, Check, as_expected, check_consistency};
use crate::plan::Cell;
use checkers::digests::{Statuses, check_agreement};
use checkers::history::{Entry, History, OpKind, Outcome, Phase};
use checkers::{CheckResult, Verdict};
use std::collections::BTreeMap;

/// What is made of a seed in the end.
pub(super) struct Conclusion {
    pub(super) checks: Vec<CheckResult>,
    pub(super) accusations: Vec<Accusation>,
    pub(super) answered: BTreeMap<OpKind, u64>,
    pub(super) control: Option<Verdict>,
}

/// Judges what a seed left. First come the checks that were made while it ran; `made` says how often each was.
pub(super) fn conclude(
    cell: &Cell,
    entries: &[Entry],
    statuses: &Statuses,
    made: [(Check, u64); 3],
    mut accusations: Vec<Accusation>,
) -> Conclusion {
    let history = match History::from_entries(entries.iter().cloned()) {
        Ok(history) => history,
        Err(error) => panic!("the simulator wrote a history that does not pair: {error}"),
    };
    let mut checks = Vec::new();
    for (check, judged) in made.into_iter().filter(|(_, judged)| *judged > 0) {
        let found = accusations.iter().find(|accusation| accusation.check == check);
        let (verdict, summary) = match found {
            Some(found) => (Verdict::Invalid, found.what.clone()),
            None => (Verdict::Valid, "nothing found".to_owned()),
        };
        checks.push(check.says(verdict, judged, summary));
    }
    let mut control = None;
    if let Some(check) = checks::consistency(cell.subject().promise(), cell.workload()) {
        let found = check_consistency(check, &history, cell.workload(), &cell.plan.checks);
        control = cell.subject().is_control().then_some(found.verdict);
        let consistency = as_expected(cell.subject(), found);
        if consistency.verdict == Verdict::Invalid {
            accusations.push(Accusation::by(check, &consistency));
        }
        checks.push(consistency);
    }
    let in_run = history.ops.iter().filter(|op| op.phase == Phase::Run);
    let mut answered = BTreeMap::new();
    for op in in_run.filter(|op| matches!(op.outcome, Outcome::Ok(_))) {
        *answered.entry(op.call.kind()).or_default() += 1;
    }
    // What a campaign wants of each kind is asked of all its seeds together: one under a great storm may answer little.
    if accusations.is_empty() && answered.is_empty() {
        let summary = "no operation was answered in the run phase".to_owned();
        checks.push(Check::Stats.says(Verdict::Unknown, 0, summary));
    }
    let compared = checks::compares_states(cell.subject(), cell.replicas());
    if let Some(agreement) = check_agreement(statuses, &history.liars).filter(|_| compared) {
        if agreement.verdict == Verdict::Invalid {
            accusations.push(Accusation::by(Check::Agreement, &agreement));
        }
        // A seed in which something was found ends there: its replicas are not asked in the end.
        if agreement.verdict != Verdict::Unknown || accusations.is_empty() {
            checks.push(agreement);
        }
    }
    Conclusion { checks, accusations, answered, control }
}
