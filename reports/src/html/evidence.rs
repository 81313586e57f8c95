//! What shows a violation: in words, and as a picture.

use super::shell;
use crate::measure::perf::Perf;
use crate::stored::StoredRun;
use crate::text::sentence;
use crate::timeline::{FOCUS_OPS_MAX, Timeline, focus, timeline};
use checkers::verdict::{Evidence, WINDOW_OPS_MAX};
use maud::{Markup, html};

/// More evidence than this is only counted.
const SHOWN_MAX: usize = 6;
/// So many have their whole window drawn, too.
const WHOLE_MAX: usize = 3;
const STORY_CHARS_MAX: usize = 3000;

pub(super) fn section(stored: &StoredRun, perf: &Perf) -> Markup {
    let checks = stored.results.iter().flat_map(|results| &results.checks);
    let all: Vec<(&str, &Evidence)> =
        checks.flat_map(|check| check.evidence.iter().map(|e| (check.checker.as_str(), e))).collect();
    html! {
        @if !all.is_empty() {
            h2 { "Evidence" }
            @for (nth, (checker, evidence)) in all.iter().take(SHOWN_MAX).enumerate() {
                (one(checker, evidence, perf, nth < WHOLE_MAX))
            }
            @if all.len() > SHOWN_MAX { p { "And " (all.len() - SHOWN_MAX) " more, see results.json." } }
        }
    }
}

fn one(checker: &str, evidence: &Evidence, perf: &Perf, whole: bool) -> Markup {
    let near = focus(&evidence.window);
    let all: Vec<usize> = (0..evidence.window.len().min(WINDOW_OPS_MAX)).collect();
    let draw = |shown: &[usize]| timeline(&Timeline { evidence, shown, perf, with_story: false });
    let caption = "One lane for each process, one bar for each op from invocation to return; point at an op for its times. Time is not to scale. \
                   An op that fades out never returned: it may take effect at any later time.";
    html! {
        h3 { (evidence.object) " · " (checker) }
        p.story { (sentence(&evidence.story, STORY_CHARS_MAX)) }
        @if !near.is_empty() {
            (shell::wide_figure(&draw(&near), caption))
        }
        @if whole && all.len() > FOCUS_OPS_MAX {
            details {
                summary { "All " (all.len()) " ops of the window" }
                (shell::wide_figure(&draw(&all), caption))
            }
        }
    }
}
