//! The table of faults.

use crate::measure::fault::Fate;
use crate::measure::perf::{MeasuredFault, Perf};
use crate::tables::answer;
use crate::text::{count, cut, maybe};
use maud::{Markup, html};

/// More faults than this are only counted.
const ROWS_MAX: usize = 300;
/// Longer evidence is cut.
const DETAIL_CHARS_MAX: usize = 400;

/// How many faults bit, of those that were meant to.
pub(super) struct Tally {
    pub(super) words: String,
    /// Some did not, or may not have.
    pub(super) bad: bool,
}

pub(super) fn tally(perf: &Perf) -> Tally {
    let bit = perf.faults.iter().filter(|f| f.span.fate == Fate::Bit).count();
    let bad = perf
        .faults
        .iter()
        .any(|f| matches!(f.span.fate, Fate::NeverBit | Fate::Indeterminate | Fate::Unhealed));
    let words = if perf.faults.is_empty() {
        "none".into()
    } else {
        format!("{} of {}", count(bit as u64), count(perf.faults.len() as u64))
    };
    Tally { words, bad }
}

pub(super) fn section(perf: &Perf) -> Markup {
    if perf.faults.is_empty() {
        return html! { p { "No faults were injected." } };
    }
    html! {
        @if perf.faults.len() > ROWS_MAX {
            p {
                (summary(perf)) " The table shows " (ROWS_MAX) " of them: those that did not bite first, then the earliest."
            }
        }
        div.scroll { table {
            thead { tr {
                th.n { "#" } th { "fault" } th { "on" } th.n { "from s" } th.n { "to s" } th { "what became of it" }
                th.n { "ok/s before" } th.n { "back after" } th.n { "after heal" }
            } }
            tbody { @for fault in shown(perf) { (row(fault)) } }
        } }
        p.numbers {
            "Back after: from when the fault came until throughput was steadily at half or more of its median in calm time before; after heal: "
            "the same from when it went. * Another fault was in force at the same time."
        }
    }
}

/// Troubled faults first, as far as there is room; then by time.
fn shown(perf: &Perf) -> Vec<&MeasuredFault> {
    let mut faults: Vec<(usize, &MeasuredFault)> = perf.faults.iter().enumerate().collect();
    faults.sort_by_key(|(_, fault)| matches!(fault.span.fate, Fate::Bit | Fate::Skipped));
    faults.truncate(ROWS_MAX);
    faults.sort_by_key(|(at, _)| *at);
    faults.into_iter().map(|(_, fault)| fault).collect()
}

fn summary(perf: &Perf) -> String {
    let fates = [Fate::Bit, Fate::NeverBit, Fate::Indeterminate, Fate::Unhealed, Fate::Skipped];
    let tally = |fate: Fate| (fate, perf.faults.iter().filter(|f| f.span.fate == fate).count());
    let parts = fates.map(tally).into_iter().filter(|(_, n)| *n > 0);
    let parts: Vec<String> = parts.map(|(fate, n)| format!("{} {}", count(n as u64), fate.name())).collect();
    format!("{} faults: {}.", count(perf.faults.len() as u64), parts.join(", "))
}

fn row(fault: &MeasuredFault) -> Markup {
    let span = &fault.span;
    let bad = matches!(span.fate, Fate::NeverBit | Fate::Indeterminate | Fate::Unhealed);
    let recovery = fault.recovery.unwrap_or_default();
    let to = match (span.fate, span.end_s) {
        (Fate::Skipped, _) => "–".to_owned(),
        (_, Some(end)) => format!("{end:.3}"),
        (_, None) => "never".to_owned(),
    };
    let star = if recovery.overlapped && recovery.after_install.is_some() { "*" } else { "" };
    html! {
        tr.bad[bad].faint[span.fate == Fate::Skipped] {
            td.n { (span.id) }
            td.name { (span.fault) }
            td.targets { (cut(&span.targets, 80)) }
            td.n { (format!("{:.3}", span.start_s)) }
            td.n { (to) }
            td.name.fate { (span.fate.name()) }
            td.n { (maybe(recovery.before_ok_s)) }
            td.n { (answer(recovery.after_install)) (star) }
            td.n { (answer(recovery.after_heal)) }
        }
        tr.evidence.bad[bad] {
            td {}
            td.words colspan="8" {
                (cut(&span.came, DETAIL_CHARS_MAX))
                @if !span.went.is_empty() { br; (cut(&span.went, DETAIL_CHARS_MAX)) }
            }
        }
    }
}
