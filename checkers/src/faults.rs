//! Whether faults took effect. A fault that never bit proves nothing, so a run with one does not pass; nor does a run in which a whole
//! line of the plan's nemesis did nothing.

use crate::history::{FaultEvent, FaultStage, History};
use crate::verdict::{CheckResult, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// Judges the faults of a history; `None` if there were none to come. `lines`: the lines of the plan's nemesis (from 1 on) that had
/// faults to come, as far as they are known; those that the subject cannot have are left out of the schedule.
///
/// Unknown if a fault never bit, may or may not have been in force, or was not seen to end; or if of some line all were skipped, or
/// none came. Faults of which the line was not recorded are judged as if they were of one.
#[must_use]
pub fn check_faults(history: &History, lines: &[u32]) -> Option<CheckResult> {
    let last: BTreeMap<u32, &FaultEvent> =
        history.faults.iter().map(|(_, event)| (event.id, event)).collect();
    let mut by_line: BTreeMap<Option<u32>, Vec<&FaultEvent>> =
        lines.iter().map(|line| (Some(*line), Vec::new())).collect();
    for event in last.values() {
        by_line.entry(event.line).or_default().push(event);
    }
    if by_line.is_empty() {
        return None;
    }
    let mut doubts: Vec<String> = last.values().filter_map(|event| doubt(event)).collect();
    let without_effect: Vec<String> =
        by_line.iter().filter_map(|(line, faults)| without_effect(*line, faults)).collect();
    let lines_without_effect = without_effect.len();
    doubts.extend(without_effect);
    let mut numbers: BTreeMap<String, f64> =
        [("lines_without_effect".to_string(), lines_without_effect as f64)].into();
    for event in last.values() {
        *numbers.entry(fate(event.stage).to_string()).or_insert(0.0) += 1.0;
    }
    let count = |name: &str| numbers.get(name).copied().unwrap_or(0.0);
    let (verdict, summary) = match doubts.is_empty() {
        false => (Verdict::Unknown, doubts.join("; ")),
        true => (Verdict::Valid, format!("{} faults bit, {} skipped", count("bit"), count("skipped"))),
    };
    Some(CheckResult { numbers, ..CheckResult::new("faults", verdict, last.len() as u64, summary) })
}

/// What became of a fault, by the last that was recorded of it.
fn fate(stage: FaultStage) -> &'static str {
    match stage {
        FaultStage::Healed => "bit",
        FaultStage::Skipped => "skipped",
        FaultStage::NeverBit => "never_bit",
        FaultStage::Indeterminate => "indeterminate",
        FaultStage::Installed => "not_ended",
    }
}

/// Why a fault that was not skipped proves nothing.
fn doubt(event: &FaultEvent) -> Option<String> {
    let why = match event.stage {
        FaultStage::Healed | FaultStage::Skipped => return None,
        FaultStage::NeverBit => format!("never bit: {}", event.detail),
        FaultStage::Indeterminate => format!("may or may not have been in force: {}", event.detail),
        FaultStage::Installed => "was not seen to end".to_string(),
    };
    Some(format!("fault {} ({} on {}) {why}", event.id, event.fault, event.targets))
}

/// Why a line had no effect, if none of its faults was as much as tried.
fn without_effect(line: Option<u32>, faults: &[&FaultEvent]) -> Option<String> {
    if faults.iter().any(|event| event.stage != FaultStage::Skipped) {
        return None;
    }
    let Some(line) = line else {
        return Some("not one fault was in force: all were skipped".into());
    };
    let Some(first) = faults.first() else {
        return Some(format!("line {line} of the nemesis: no fault of it came"));
    };
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for event in faults {
        *reasons.entry(&event.detail).or_default() += 1;
    }
    let reasons = reasons.iter().map(|(why, times)| match times {
        1 => (*why).to_string(),
        times => format!("{why} ({times} times)"),
    });
    let names: BTreeSet<&str> = faults.iter().map(|event| &*event.fault).collect();
    let names = match names.len() {
        1 => first.fault.clone(),
        _ => names.into_iter().collect::<Vec<_>>().join(", "),
    };
    let reasons = reasons.collect::<Vec<_>>().join(", ");
    Some(format!(
        "line {line} of the nemesis ({names}) was skipped, all {} faults of it: {reasons}",
        faults.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Entry;
    use FaultStage::{Healed, Indeterminate, Installed, NeverBit, Skipped};

    fn history(events: &[(u32, Option<u32>, FaultStage, &str)]) -> History {
        let entries = events.iter().map(|(id, line, stage, detail)| {
            let (fault, targets, detail) = ("kill".into(), "n1".into(), detail.to_string());
            let event = FaultEvent { id: *id, fault, line: *line, targets, stage: *stage, detail };
            Entry::Fault { time: 1, event }
        });
        History::from_entries(entries).unwrap()
    }

    /// Of faults whose lines were not recorded.
    fn judged(stages: &[(u32, FaultStage)]) -> Verdict {
        let events: Vec<_> = stages.iter().map(|(id, stage)| (*id, None, *stage, "for a reason")).collect();
        check_faults(&history(&events), &[]).expect("it has faults").verdict
    }

    #[test]
    fn faults_that_bit_pass_also_beside_skipped_ones() {
        assert_eq!(check_faults(&History::empty(), &[]), None, "a check that was not made has no row");
        assert_eq!(judged(&[(1, Installed), (1, Healed), (2, Skipped)]), Verdict::Valid);
    }

    #[test]
    fn faults_of_which_nothing_was_seen_are_unknown() {
        assert_eq!(judged(&[(1, Installed), (1, NeverBit), (2, Installed), (2, Healed)]), Verdict::Unknown);
        assert_eq!(judged(&[(1, Skipped), (2, Skipped)]), Verdict::Unknown);
        assert_eq!(judged(&[(1, Indeterminate)]), Verdict::Unknown);
        assert_eq!(judged(&[(1, Installed)]), Verdict::Unknown);
    }

    #[test]
    fn a_line_that_was_skipped_entirely_is_unknown_although_others_bit() {
        let skipped = [
            (1, Some(1), Installed, "pid 7"),
            (1, Some(1), Healed, "pid 7 is gone"),
            (2, Some(2), Skipped, "nobody leads"),
            (3, Some(2), Skipped, "n1 is down"),
            (4, Some(2), Skipped, "nobody leads"),
        ];
        let result = check_faults(&history(&skipped), &[1, 2]).expect("it has faults");
        assert_eq!(
            (result.verdict, &*result.summary),
            (
                Verdict::Unknown,
                "line 2 of the nemesis (kill) was skipped, all 3 faults of it: n1 is down, nobody leads (2 times)"
            )
        );
        assert_eq!((result.judged, result.numbers["lines_without_effect"]), (Some(4), 1.0));
        // One of its faults bit.
        let partly = [&skipped[..], &[(5, Some(2), Healed, "pid 9 is gone")]].concat();
        let result = check_faults(&history(&partly), &[]).expect("it has faults");
        assert_eq!((result.verdict, &*result.summary), (Verdict::Valid, "2 faults bit, 3 skipped"));
    }

    #[test]
    fn a_line_of_which_nothing_came_is_unknown() {
        let bit = history(&[(1, Some(1), Healed, "pid 7 is gone")]);
        let result = check_faults(&bit, &[1, 2]).expect("it has faults");
        assert_eq!(result.verdict, Verdict::Unknown);
        assert_eq!(result.summary, "line 2 of the nemesis: no fault of it came");
        let nothing = check_faults(&History::empty(), &[1]).expect("there were faults to come");
        assert_eq!((nothing.verdict, nothing.judged), (Verdict::Unknown, Some(0)));
    }
}
