//! What hostile processes may have put where. Their ops bind nobody: each may have taken effect at any time, any number of
//! times, or never, whatever it was answered. So checkers take from them only what others may find, and judge the others.

use crate::evidence::{ListStep, list_steps};
use crate::history::History;
use rustc_hash::{FxHashMap, FxHashSet};

/// Elements that they may have appended, by list.
pub(crate) type Elements = FxHashMap<u64, FxHashSet<u64>>;

/// The elements that hostile processes may have appended to each list.
pub(crate) fn elements(history: &History) -> Elements {
    let mut elements = Elements::default();
    for op in history.ops.iter().filter(|op| op.is_hostile) {
        for step in list_steps(op) {
            if let ListStep::Append { key, value } = step {
                elements.entry(key).or_default().insert(value);
            }
        }
    }
    elements
}

/// A summary that says so if there were hostile processes.
pub(crate) fn said(summary: String, history: &History) -> String {
    match history.ops.iter().filter(|op| op.is_hostile).count() {
        0 => summary,
        ops => format!("{summary}; {ops} ops of hostile processes were not judged"),
    }
}
