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
    /// How many judgements it rests on: keys, transactions, elements, reads, pairs of states, faults, steps, as the summary says.
    /// `None` in results of a time when that was not counted.
    #[serde(default)]
    pub judged: Option<u64>,
    /// One sentence for a person: what was judged and, if not valid, why not.
    pub summary: String,
    /// Numbers, by name (snake case, unit last).
    pub numbers: std::collections::BTreeMap<String, f64>,
    /// What shows it, worst first, at most a few.
    pub evidence: Vec<Evidence>,
}

impl CheckResult {
    /// A result without numbers and evidence. One that would be valid although it judged nothing is unknown.
    #[must_use]
    pub fn new(checker: &str, verdict: Verdict, judged: u64, summary: String) -> CheckResult {
        let (verdict, summary) = match (verdict, judged) {
            (Verdict::Valid, 0) => (Verdict::Unknown, format!("nothing was judged: {summary}")),
            (verdict, _) => (verdict, summary),
        };
        let (numbers, evidence) = (std::collections::BTreeMap::new(), Vec::new());
        CheckResult {
            checker: checker.to_string(),
            verdict,
            judged: Some(judged),
            summary,
            numbers,
            evidence,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_judged_nothing_is_not_valid() {
        let judged = |verdict, judged| {
            let result = CheckResult::new("set", verdict, judged, "all is well".into());
            (result.verdict, result.judged, result.summary)
        };
        let nothing = "nothing was judged: all is well";
        assert_eq!(judged(Verdict::Valid, 0), (Verdict::Unknown, Some(0), nothing.into()));
        assert_eq!(judged(Verdict::Valid, 1), (Verdict::Valid, Some(1), "all is well".into()));
        assert_eq!(judged(Verdict::Invalid, 0), (Verdict::Invalid, Some(0), "all is well".into()));
    }

    #[test]
    fn results_of_a_time_when_judgements_were_not_counted_are_read() {
        let old =
            r#"{"checker":"set","verdict":"valid","summary":"fine","numbers":{"sets":1.0},"evidence":[]}"#;
        let result: CheckResult = serde_json::from_str(old).expect("it is a result");
        assert_eq!((result.verdict, result.judged), (Verdict::Valid, None));
    }
}
