//! Whether a history can be explained by ops that take effect one after another, each at some instant between its
//! invocation and its return.
//!
//! | file | concept |
//! |---|---|
//! | `objects.rs` | a history taken apart: registers, records, fields |
//! | `register.rs` | one register: zones first, search where they do not decide |
//! | `zones.rs` | registers of unique values, without a search |
//! | `refused.rs` | cas that were refused: what zones refute, and the search for the others |
//! | `records.rs` | whether records were read and written whole |
//! | `wgl.rs` | the general search, over a [`wgl::Model`] |
//! | `story.rs` | a violation as evidence |

#[cfg(test)]
mod agreement;
mod objects;
mod records;
mod refused;
mod register;
mod story;
pub mod wgl;
mod zones;

pub use crate::append::check_append;

use self::objects::{Object, ObjectId, Objects, register_ops};
use self::records::{Link, RecordJudgement};
use self::register::Judgement;
use self::story::Scene;
use self::wgl::{Limits, Stuck};
use self::zones::Violation;
use crate::history::{History, Outcome};
use crate::hostile;
use crate::verdict::{CheckResult, Evidence, Verdict};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What a check may use up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinearizabilityOptions {
    /// All searches end after this; what is not decided by then is unknown.
    pub deadline: Duration,
    /// For all searches together. What zones decide needs no search.
    pub memory_bytes_max: usize,
}

impl Default for LinearizabilityOptions {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(60), memory_bytes_max: 2 << 30 }
    }
}

/// The most violations that are shown; all are counted.
const EVIDENCE_MAX: usize = 3;

/// What is wrong with an object.
enum Wrong {
    Zones { field: u32, violation: Violation },
    Search { field: u32, stuck: Stuck },
    Circle(Vec<Link>),
}

/// What became of an object.
enum Verdicts {
    Valid,
    Unknown { field: u32, reason: &'static str, explained: usize, of: usize },
    Invalid(Wrong),
}

/// Judges every register and every record field of a history by itself, on all cores.
///
/// Registers begin unwritten. Ops that failed are left out. Writes of unknown outcome may take effect at any time or
/// never; reads of unknown outcome say nothing. The read and the write of a read-modify-write both lie in
/// its interval, in any order. Values of hostile processes may be found at any time. Scans and transactions are not judged here.
#[must_use]
pub fn check_linearizable(history: &History, options: &LinearizabilityOptions) -> CheckResult {
    let objects = Objects::of(history);
    let verdicts = judge_all(history, &objects, options);
    let mut invalid: Vec<(&Object, &Wrong)> = Vec::new();
    let mut unknown: Vec<String> = Vec::new();
    for (object, verdict) in objects.all.iter().zip(&verdicts) {
        match verdict {
            Verdicts::Valid => {}
            Verdicts::Invalid(wrong) => invalid.push((object, wrong)),
            Verdicts::Unknown { field, reason, explained, of } => {
                let name = name(object.id, *field);
                unknown.push(format!("{name}: out of {reason} with {explained} of {of} ops explained"));
            }
        }
    }
    let judged: usize = objects.all.iter().map(|object| object.judged).sum();
    let verdict = match (invalid.is_empty(), unknown.is_empty() && judged > 0) {
        (false, _) => Verdict::Invalid,
        (true, false) => Verdict::Unknown,
        (true, true) => Verdict::Valid,
    };
    let mut evidence: Vec<Evidence> =
        invalid.iter().take(EVIDENCE_MAX).map(|(object, wrong)| show(history, object, wrong)).collect();
    evidence.sort_by_key(first_culprit);
    let keys = (objects.all.len() - unknown.len()) as u64;
    let summary = hostile::said(summary(&objects, judged, &evidence, invalid.len(), &unknown), history);
    CheckResult {
        numbers: numbers(history, &objects, judged, invalid.len(), unknown.len()),
        evidence,
        ..CheckResult::new("linearizability", verdict, keys, summary)
    }
}

/// When the first of the culprits was invoked.
fn first_culprit(evidence: &Evidence) -> u64 {
    evidence.window.iter().find(|op| op.culprit).map_or(u64::MAX, |op| op.invoked)
}

fn name(id: ObjectId, field: u32) -> String {
    match id {
        ObjectId::Register(key) => format!("key {key}"),
        ObjectId::Record(key) => format!("key {key} field {field}"),
    }
}

/// The verdict of each object, in their order.
fn judge_all(history: &History, objects: &Objects, options: &LinearizabilityOptions) -> Vec<Verdicts> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(objects.all.len().max(1));
    let limits = Limits {
        deadline: Instant::now() + options.deadline,
        memory_bytes_max: options.memory_bytes_max / workers,
    };
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(object) = objects.all.get(at) else { return done };
            done.push((at, judge(history, object, objects.fields, &limits)));
        }
    };
    let mut verdicts: Vec<(usize, Verdicts)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    verdicts.sort_unstable_by_key(|(at, _)| *at);
    verdicts.into_iter().map(|(_, verdict)| verdict).collect()
}

fn judge(history: &History, object: &Object, fields: u32, limits: &Limits) -> Verdicts {
    let (field, judgement) = match object.id {
        ObjectId::Register(_) => (0, register::judge(&register_ops(history, object, 0), limits)),
        ObjectId::Record(_) => match records::judge(history, object, fields, limits) {
            RecordJudgement::Field(field, judgement) => (field, judgement),
            RecordJudgement::Circle(circle) => return Verdicts::Invalid(Wrong::Circle(circle)),
        },
    };
    match judgement {
        Judgement::Linearizable => Verdicts::Valid,
        Judgement::Violation(violation) => Verdicts::Invalid(Wrong::Zones { field, violation }),
        Judgement::Stuck(stuck) => Verdicts::Invalid(Wrong::Search { field, stuck }),
        Judgement::Exhausted { reason, explained, of } => Verdicts::Unknown { field, reason, explained, of },
    }
}

fn show(history: &History, object: &Object, wrong: &Wrong) -> Evidence {
    match wrong {
        Wrong::Zones { field, violation } => Scene::new(history, object, *field).violation(violation),
        Wrong::Search { field, stuck } => Scene::new(history, object, *field).stuck(stuck),
        Wrong::Circle(circle) => story::circle(history, object, circle),
    }
}

fn summary(
    objects: &Objects,
    judged: usize,
    evidence: &[Evidence],
    invalid: usize,
    unknown: &[String],
) -> String {
    let records = objects.all.iter().filter(|object| matches!(object.id, ObjectId::Record(_))).count();
    let mut parts = Vec::new();
    if let Some(first) = evidence.first() {
        parts.push(format!("{invalid} of {} keys are not linearizable: {}", objects.all.len(), first.story));
    } else if judged == 0 {
        parts.push("there was no op to judge".to_string());
    } else if unknown.is_empty() {
        parts.push(format!("{judged} ops on {} keys are linearizable", objects.all.len()));
    }
    if let Some(first) = unknown.first() {
        parts.push(format!("{} of {} keys could not be decided: {first}", unknown.len(), objects.all.len()));
    }
    if records > 0 {
        parts.push(
            "of records, each field was judged, and whether what is known of the order of all fields leaves a circle; \
             that is necessary for atomic records, not sufficient"
                .to_string(),
        );
    }
    if objects.scans > 0 {
        parts.push(format!("{} scans were not judged", objects.scans));
    }
    if objects.transactions > 0 {
        parts.push(format!("{} transactions were not judged", objects.transactions));
    }
    parts.join("; ")
}

fn numbers(
    history: &History,
    objects: &Objects,
    judged: usize,
    invalid: usize,
    unknown: usize,
) -> BTreeMap<String, f64> {
    let infos = history.ops.iter().filter(|op| matches!(op.outcome, Outcome::Info(_))).count();
    let counts = [
        ("ops_judged", judged),
        ("ops_of_unknown_outcome", infos),
        ("keys", objects.all.len()),
        ("keys_invalid", invalid),
        ("keys_undecided", unknown),
    ];
    counts.into_iter().map(|(name, count)| (name.to_string(), count as f64)).collect()
}
