//! What happened in a simulated run, around what was found wrong.

use super::shell;
use crate::measure::perf::Perf;
use crate::spacetime::{Picture, close_up, excerpts, overview};
use crate::stored::StoredRun;
use crate::text::{count, sentence};
use crate::trace::Trace;
use maud::{Markup, html};

const STORY_CHARS_MAX: usize = 600;
const CAPTION: &str = "One line for each replica, an arrow for each message from where and when it left to where and when it arrived; \
     point at an arrow, a bar or a mark for its words. An arrow that ends in a cross was lost. Bars above a line are clients' ops at \
     the replica that they were sent to last.";

pub(super) fn section(stored: &StoredRun, trace: &Trace, perf: &Perf) -> Markup {
    let checks = stored.results.as_ref().map_or(&[][..], |results| &results.checks);
    let end = trace.events.last().map_or(0, |event| event.at);
    let excerpts = excerpts(trace, checks);
    html! {
        h2 { "What happened" }
        @match &excerpts {
            None => p {
                "Nothing was found wrong, and the run is too long to be drawn whole: " (all(trace, end))
            }
            Some(chosen) => {
                @let what = Picture {
                    trace,
                    ops: &stored.history.ops,
                    checks,
                    replicas: stored.info.replicas,
                    perf,
                    excerpts: chosen,
                };
                @if let Some(found) = &chosen.found { p.story { (sentence(found, STORY_CHARS_MAX)) } }
                p { (shown(chosen)) " The rest: " (all(trace, end)) }
                @if let Some(span) = chosen.overview {
                    (shell::figure_of(&overview(&what, span), "Where the parts below lie in the run."))
                }
                @for number in 1..=chosen.close_ups.len() {
                    (shell::figure_of(&close_up(&what, number), CAPTION))
                }
            }
        }
    }
}

fn all(trace: &Trace, end: u64) -> String {
    format!(
        "trace.txt in the run's folder tells all {} events of its {:.1} s, a line each; trace.jsonl holds the same for programs.",
        count(trace.events.len() as u64),
        end as f64 / 1e9
    )
}

/// Which parts are shown, in words.
fn shown(chosen: &crate::spacetime::Excerpts) -> String {
    let part = |excerpt: &crate::spacetime::excerpt::Excerpt| {
        let (start, end) = (excerpt.span.start as f64 / 1e9, excerpt.span.end as f64 / 1e9);
        format!("{start:.3} s to {end:.3} s ({})", excerpt.shows)
    };
    let parts: Vec<String> = chosen.close_ups.iter().map(part).collect();
    format!("Drawn closely: {}.", parts.join(", and "))
}
