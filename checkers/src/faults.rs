//! Whether the storm was one: a fault that never bit proves nothing, so a run with one does not pass.

use crate::history::{FaultStage, History};
use crate::verdict::{CheckResult, Verdict};
use std::collections::BTreeMap;

/// Judges the faults of a history; `None` if it has none. Unknown if one never bit, may or may not have been in force, or was not
/// seen to end; or if there were faults to come and not one was in force.
#[must_use]
pub fn check_faults(history: &History) -> Option<CheckResult> {
    let mut last = BTreeMap::new();
    let mut numbers = BTreeMap::new();
    for (_, event) in &history.faults {
        last.insert(event.id, event);
    }
    if last.is_empty() {
        return None;
    }
    let mut doubts = Vec::new();
    for (id, event) in &last {
        let name = format!("fault {id} ({} on {})", event.fault, event.targets);
        let count = match event.stage {
            FaultStage::Healed => "bit",
            FaultStage::Skipped => "skipped",
            FaultStage::NeverBit => {
                doubts.push(format!("{name} never bit: {}", event.detail));
                "never_bit"
            }
            FaultStage::Indeterminate => {
                doubts.push(format!("{name} may or may not have been in force: {}", event.detail));
                "indeterminate"
            }
            FaultStage::Installed => {
                doubts.push(format!("{name} was not seen to end"));
                "not_ended"
            }
        };
        *numbers.entry(count.to_string()).or_insert(0.0) += 1.0;
    }
    let count = |name: &str| numbers.get(name).copied().unwrap_or(0.0);
    if count("skipped") == last.len() as f64 {
        doubts.push("not one fault was in force: all were skipped".into());
    }
    let (verdict, summary) = if !doubts.is_empty() {
        (Verdict::Unknown, doubts.join("; "))
    } else {
        (Verdict::Valid, format!("{} faults bit, {} skipped", count("bit"), count("skipped")))
    };
    Some(CheckResult { numbers, ..CheckResult::new("faults", verdict, last.len() as u64, summary) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Entry, FaultEvent};
    use FaultStage::{Healed, Indeterminate, Installed, NeverBit, Skipped};

    fn judged(stages: &[(u32, FaultStage)]) -> Verdict {
        let entries = stages.iter().map(|(id, stage)| {
            let (fault, targets, detail) = ("kill".into(), "n1".into(), "for a reason".into());
            Entry::Fault {
                time: 1,
                event: FaultEvent { id: *id, fault, line: None, targets, stage: *stage, detail },
            }
        });
        check_faults(&History::from_entries(entries).unwrap()).expect("it has faults").verdict
    }

    #[test]
    fn faults_that_bit_pass_also_beside_skipped_ones() {
        assert_eq!(check_faults(&History::empty()), None, "a check that was not made has no row");
        assert_eq!(judged(&[(1, Installed), (1, Healed), (2, Skipped)]), Verdict::Valid);
    }

    #[test]
    fn a_storm_that_was_none_is_unknown() {
        assert_eq!(judged(&[(1, Installed), (1, NeverBit), (2, Installed), (2, Healed)]), Verdict::Unknown);
        assert_eq!(judged(&[(1, Skipped), (2, Skipped)]), Verdict::Unknown);
        assert_eq!(judged(&[(1, Indeterminate)]), Verdict::Unknown);
        assert_eq!(judged(&[(1, Installed)]), Verdict::Unknown);
    }
}
