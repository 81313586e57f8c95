//! What a checker says.

use serde::{Deserialize, Serialize};

/// Ordered by how bad it is: composing takes the maximum. Unknown never passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The model explains the history.
    Valid,
    /// It could not be decided, for the reason given.
    Unknown,
    /// The model cannot explain the history.
    Invalid,
}

/// One checker's judgement of one history: what `results.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    /// `stats`, `linearizable`, …
    pub checker: String,
    /// The judgement.
    pub verdict: Verdict,
    /// One sentence for a person: what was judged and, if not valid, why not.
    pub summary: String,
    /// Numbers, by name (snake case, unit last).
    pub numbers: std::collections::BTreeMap<String, f64>,
    /// What shows it, worst first, at most a few.
    pub evidence: Vec<Evidence>,
}

/// Why a history is not valid, in words and in ops that can be drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Which object: `key 17`, `key 3 field 2`.
    pub object: String,
    /// The story, in one or two sentences that name the processes, values and times.
    pub story: String,
    /// The ops around the violation, by invocation time, at most [`WINDOW_OPS_MAX`].
    pub window: Vec<WindowOp>,
    /// Longest linearizable prefixes: orders of `window` positions, as far as any order goes.
    pub prefixes: Vec<Vec<u32>>,
}

/// The most ops that evidence shows.
pub const WINDOW_OPS_MAX: usize = 200;

/// An op in evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowOp {
    /// The invocation's position in the history.
    pub index: u64,
    /// Who.
    pub process: u32,
    /// In words: `read → 4`, `write 5`, `cas 3→5 → refused`.
    pub label: String,
    /// Nanoseconds since the run began.
    pub invoked: u64,
    /// Nanoseconds since the run began; `None`: never (outcome unknown).
    pub returned: Option<u64>,
    /// Whether it is one of the few ops that cannot be explained together.
    pub culprit: bool,
    /// The value after this op along the first of the longest prefixes, if it is on it.
    pub state: Option<String>,
}
