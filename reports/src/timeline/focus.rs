//! Which ops of the evidence are shown first.

use checkers::verdict::WindowOp;

/// So many ops are legible at a glance, on a screen without scrolling.
pub(crate) const FOCUS_OPS_MAX: usize = 20;

/// Positions in `window` of the culprits and of the ops nearest to them in time, ascending; at most [`FOCUS_OPS_MAX`]
/// unless there are more culprits.
pub(crate) fn focus(window: &[WindowOp]) -> Vec<usize> {
    let culprits: Vec<&WindowOp> = window.iter().filter(|op| op.culprit).collect();
    let last = culprits.iter().map(|culprit| culprit.invoked).max().unwrap_or(0);
    let distance = |op: &WindowOp| -> (bool, u64, u64) {
        let apart = culprits.iter().map(|culprit| gap(op, culprit)).min().unwrap_or(0);
        // What came after the violation explains little.
        let apart = if op.invoked > last { apart.saturating_mul(3) } else { apart };
        let starts_apart =
            culprits.iter().map(|c| c.invoked.abs_diff(op.invoked)).min().unwrap_or(op.invoked);
        (!op.culprit, apart, starts_apart)
    };
    let mut positions: Vec<usize> = (0..window.len()).collect();
    positions.sort_by_key(|&at| distance(&window[at]));
    positions.truncate(FOCUS_OPS_MAX.max(culprits.len()));
    positions.sort_unstable();
    positions
}

/// The time between two ops; 0 if they overlap.
fn gap(a: &WindowOp, b: &WindowOp) -> u64 {
    let end = |op: &WindowOp| op.returned.unwrap_or(u64::MAX);
    b.invoked.saturating_sub(end(a)).max(a.invoked.saturating_sub(end(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(invoked: u64, culprit: bool) -> WindowOp {
        WindowOp {
            index: invoked,
            process: 1,
            label: String::new(),
            invoked,
            returned: Some(invoked + 5),
            culprit,
            state: None,
        }
    }

    #[test]
    fn culprits_and_their_neighbours_are_in_focus() {
        let window: Vec<_> = (0..200).map(|at| op(at * 10, at == 100 || at == 110)).collect();
        let seen = focus(&window);
        assert_eq!(seen.len(), FOCUS_OPS_MAX);
        assert!(seen.contains(&100) && seen.contains(&110) && seen.contains(&105));
        assert!(seen.iter().all(|at| (88..=118).contains(at)), "{seen:?}");
    }

    #[test]
    fn every_culprit_is_shown_however_many_there_are() {
        let window: Vec<_> = (0..100).map(|at| op(at, at < 50)).collect();
        assert_eq!(focus(&window), (0..50).collect::<Vec<_>>());
        assert!(focus(&[]).is_empty());
    }
}
