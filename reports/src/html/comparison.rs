//! The page of a comparison.

use super::shell;
use crate::comparison::{
    CPU, Cell, ComparisonReport, Entry, Figure, Group, P50, P99, THROUGHPUT, WITHOUT_SERVICE,
};
use crate::plots::Plot;
use crate::stored::{HTML_FILE, PLAN_FILE};
use crate::tables::answer;
use crate::text::{cut, duration, maybe, number};
use checkers::Verdict;
use maud::{Markup, html};

/// The whole page. `plots`: those of each group, and behind them those over all groups.
pub(crate) fn page(report: &ComparisonReport, plots: &[Vec<Plot>]) -> String {
    let info = &report.info;
    let verdict = report.verdict();
    let (of_groups, over_all) = plots.split_at(report.groups.len().min(plots.len()));
    let body = html! {
        header class=(crate::text::verdict(verdict)) {
            h1 { (info.plan) " · comparison" (shell::badge(verdict)) }
            p.about { (info.cells.len()) " runs · seed " (info.seed) }
            p.sentence { (sentence(report)) }
        }
        @for finding in report.cells.iter().flat_map(|cell| &cell.findings) { p { (cut(finding, 2000)) } }
        (shell::warnings(&report.warnings))
        h2 { "All runs" }
        (table(report))
        p.numbers {
            "× is the multiple of " (baselines(report)) " under the same load; below 1 is better for all but ok/s. Where a subject was run several times, its row shows medians, and the "
            "single runs follow. Latency counts from the intended start; time-outs count with the time waited."
        }
        @for plot in over_all.iter().flatten() { (shell::figure(plot)) }
        @for (group, plots) in report.groups.iter().zip(of_groups) {
            h2 { (group.title) }
            @for plot in plots { (shell::figure(plot)) }
            @if plots.is_empty() { p { "Not drawn: there are too many loads for one page. See the runs' own reports." } }
            (recovery(report, group))
        }
        h2 { "Reproduce" }
        pre.command {
            "cargo run --release -- compare '" (report.dir.display()) "/" (PLAN_FILE) "' --seed " (info.seed) "\n"
            "cargo run --release -- report '" (report.dir.display()) "'"
        }
        (shell::footer(&info.started))
    };
    shell::page(&format!("{} · comparison · {}", info.plan, crate::text::verdict(verdict)), &body)
}

fn sentence(report: &ComparisonReport) -> String {
    let with = |wanted: Verdict| {
        report.cells.iter().filter(move |cell| cell.judged == wanted).map(|c| c.folder.as_str())
    };
    let named = |wanted: Verdict| cut(&with(wanted).collect::<Vec<_>>().join(", "), 600);
    match report.verdict() {
        Verdict::Valid => "Every check of every run passed.".into(),
        Verdict::Invalid => format!("Found wrong: {}.", named(Verdict::Invalid)),
        Verdict::Unknown if with(Verdict::Unknown).next().is_none() => "Not every run is there.".into(),
        Verdict::Unknown => format!("Undecided: {}.", named(Verdict::Unknown)),
    }
}

fn baselines(report: &ComparisonReport) -> String {
    let mut names: Vec<&str> = report.groups.iter().map(|g| g.entries[g.baseline].subject.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.join(" or ")
}

fn table(report: &ComparisonReport) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th { "load" } th { "subject" } th { "verdict" } th.n { "ok/s" } th.n { "p50 ms" } th.n { "p99 ms" }
                th.n { "p99.9 ms" } th.n { "without service" } th.n { "CPU µs/op" }
            } }
            tbody {
                @for group in &report.groups {
                    @for (at, entry) in group.entries.iter().enumerate() {
                        (entry_row(report, group, at))
                        @if entry.cells.len() > 1 {
                            @for (nth, &cell) in entry.cells.iter().enumerate() { (repeat_row(&report.cells[cell], nth + 1)) }
                        }
                    }
                }
            }
        } }
    }
}

fn entry_row(report: &ComparisonReport, group: &Group, at: usize) -> Markup {
    let entry = &group.entries[at];
    let first = &report.cells[entry.cells[0]];
    let noisy = entry.cells.iter().any(|&cell| report.cells[cell].perf.cpu.noisy);
    let beside = |of: Figure, words: fn(f64) -> String| {
        html! {
            td.n {
                (report.figure(entry, of).map_or_else(|| "–".into(), words))
                @if let Some(ratio) = report.ratio(group, at, of) { br; small { (ratio) } }
            }
        }
    };
    html! {
        tr {
            td.name { @if at == 0 { b { (group.title) } } }
            td.name { (link(report, entry)) br; small { (first.info.durability) ", reads: " (first.info.reads) } }
            td {
                (shell::badge(report.verdict_of(entry)))
                @if noisy { br; span.badge.unknown title="other processes used the machine meanwhile" { "noisy" } }
            }
            (beside(THROUGHPUT, number))
            (beside(P50, number))
            (beside(P99, number))
            (beside(P999, number))
            (beside(WITHOUT_SERVICE, duration))
            (beside(CPU, number))
        }
    }
}

const P999: Figure = |perf| perf.overall.latency.map(|latency| latency.p999_ms);

/// A subject's name, which leads to the report of its run if there is just one.
fn link(report: &ComparisonReport, entry: &Entry) -> Markup {
    match entry.cells[..] {
        [only] => cell_link(&report.cells[only], &entry.subject),
        _ => html! { (entry.subject) " " small { "median of " (entry.cells.len()) } },
    }
}

fn cell_link(cell: &Cell, words: &str) -> Markup {
    // A folder's name may hold what means something in an address.
    let path: String = cell
        .folder
        .bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => char::from(b).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    html! { a href=(format!("{path}/{HTML_FILE}")) { (words) } }
}

fn repeat_row(cell: &Cell, nth: usize) -> Markup {
    let figure = |of: Figure| maybe(of(&cell.perf));
    html! {
        tr.faint {
            td {}
            td.name { (cell_link(cell, &format!("run {nth}"))) }
            td { (shell::badge(cell.judged)) }
            td.n { (figure(THROUGHPUT)) }
            td.n { (figure(P50)) }
            td.n { (figure(P99)) }
            td.n { (figure(P999)) }
            td.n { (duration(cell.perf.service.without_ms)) }
            td.n { (figure(CPU)) @if cell.perf.cpu.noisy { " " span.badge.unknown { "noisy" } } }
        }
    }
}

/// How each subject took each fault, side by side: faults of one plan have the same numbers for every subject.
fn recovery(report: &ComparisonReport, group: &Group) -> Markup {
    const ROWS_MAX: usize = 60;
    let first = |entry: &Entry| &report.cells[entry.cells[0]].perf.faults;
    let longest = group.entries.iter().map(first).max_by_key(|faults| faults.len());
    let Some(faults) = longest.filter(|faults| !faults.is_empty()) else { return html! {} };
    html! {
        h3 { "Time to recover" }
        div.scroll { table {
            thead { tr {
                th.n { "#" } th { "fault" }
                @for entry in &group.entries { th { (entry.subject) ": on" } th.n { "back after" } th.n { "after heal" } }
            } }
            tbody {
                @for fault in faults.iter().take(ROWS_MAX) {
                    tr {
                        td.n { (fault.span.id) } td.name { (fault.span.fault) }
                        @for entry in &group.entries {
                            @let own = first(entry).iter().find(|f| f.span.id == fault.span.id && f.span.fault == fault.span.fault);
                            @let recovery = own.and_then(|f| f.recovery).unwrap_or_default();
                            td { @if let Some(own) = own { (cut(&own.span.targets, 40)) " " small { (own.span.fate.name()) } } @else { "–" } }
                            td.n { (answer(recovery.after_install)) } td.n { (answer(recovery.after_heal)) }
                        }
                    }
                }
            }
        } }
        @if faults.len() > ROWS_MAX { p.numbers { "And " (faults.len() - ROWS_MAX) " more." } }
    }
}
