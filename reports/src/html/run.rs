//! The page of one run.

use super::evidence;
use super::faults;
use super::happened;
use super::hosts;
use super::shell;
use crate::measure::perf::{Measured, Perf};
use crate::plots::Plot;
use crate::stored::{PLAN_FILE, RunOutcome, SIMULATED, StoredRun, judged};
use crate::text::{count, counted, cut, duration, maybe, moment, number, sentence};
use crate::trace::Trace;
use checkers::history::History;
use checkers::{CheckResult, Verdict};
use maud::{Markup, html};
use std::path::Path;

/// A plan longer than this is cut, so that the page stays small.
const PLAN_CHARS_MAX: usize = 200_000;
/// So is any sentence of a checker.
const SENTENCE_CHARS_MAX: usize = 3000;

/// The whole page. `trace`: of a simulated run, if it can be read. `clocks`: of a run on other hosts.
pub(crate) fn page(
    dir: &Path,
    stored: &StoredRun,
    perf: &Perf,
    trace: Option<&Trace>,
    plots: &[Plot],
    clocks: Option<&Plot>,
) -> String {
    let info = &stored.info;
    let title = format!("{} · {}", info.subject, info.workload);
    let verdict = judged(&info.outcome, stored.results.as_ref());
    let body = html! {
        header class=(crate::text::verdict(verdict)) {
            h1 { (title) (shell::badge(verdict)) }
            p.about {
                "plan " (info.plan) " · " (info.world) " · " (replicas(info.replicas)) " · " (info.durability)
                " · seed " (info.seed)
            }
            p.sentence { (verdict_in_words(stored)) }
        }
        (shell::warnings(&stored.warnings))
        (tiles(perf))
        h2 { "Facts" }
        (facts(stored, perf))
        h2 { "Checks" }
        (checks(stored))
        @if let Some(trace) = trace { (happened::section(stored, trace, perf)) }
        (evidence::section(stored, perf))
        h2 { "Performance" }
        (ops(perf))
        @for plot in plots { (shell::figure(plot)) }
        h2 { "Faults" }
        (faults::section(perf))
        @if let Some(clocks) = clocks { (hosts::section(&stored.hosts, clocks)) }
        h2 { "Reproduce" }
        (reproduce(dir, stored))
        (shell::footer(&info.started))
    };
    shell::page(&format!("{title} · {}", crate::text::verdict(verdict)), &body)
}

fn replicas(n: u32) -> String {
    if n == 1 { "1 replica".into() } else { format!("{n} replicas") }
}

/// The verdict in words.
fn verdict_in_words(stored: &StoredRun) -> String {
    let Some(results) = &stored.results else { return "The history was not checked.".into() };
    let worst: Vec<&CheckResult> =
        results.checks.iter().filter(|check| check.verdict == results.verdict).collect();
    let text = match (results.verdict, worst.first()) {
        (Verdict::Valid, None) => "No check was run.".to_owned(),
        (Verdict::Valid, Some(_)) => {
            let passed = if stored.info.outcome == RunOutcome::Completed {
                "Every check passed"
            } else {
                "The run did not come to its end; what there is passed every check"
            };
            let names: Vec<&str> = results.checks.iter().map(|check| check.checker.as_str()).collect();
            format!("{passed}: {}.", names.join(", "))
        }
        (Verdict::Unknown, Some(check)) => format!("Undecided by {}: {}", check.checker, check.summary),
        (Verdict::Invalid, Some(check)) => format!("Found wrong by {}: {}", check.checker, check.summary),
        (verdict, None) => format!("{}, by no check in particular.", crate::text::verdict(verdict)),
    };
    let control = stored.info.control.as_ref().map(|why| format!("A control: {why}. "));
    sentence(&(control.unwrap_or_default() + &text), SENTENCE_CHARS_MAX)
}

fn tiles(perf: &Perf) -> Markup {
    let latency = perf.overall.latency;
    let ms = |of: Option<f64>| of.map_or_else(|| "–".into(), duration);
    let bit = faults::tally(perf);
    html! {
        div.tiles {
            (shell::tile(&number(perf.overall.ok_s), "ops/s, ok", perf.overall.ok == 0))
            (shell::tile(&ms(latency.map(|l| l.p50_ms)), "median latency", false))
            (shell::tile(&ms(latency.map(|l| l.p99_ms)), "p99 latency", false))
            (shell::tile(&duration(perf.service.without_ms), "without service", perf.service.gaps > 0))
            (shell::tile(&bit.words, "faults that bit", bit.bad))
            (shell::tile(&maybe(perf.cpu.nodes_us_per_op), "CPU µs per op, nodes", perf.cpu.noisy))
        }
    }
}

fn facts(stored: &StoredRun, perf: &Perf) -> Markup {
    let info = &stored.info;
    let outcome = match &info.outcome {
        RunOutcome::Completed => "completed".to_owned(),
        RunOutcome::Interrupted => "interrupted".to_owned(),
        RunOutcome::Failed(why) => format!("harness failure: {}", cut(why, SENTENCE_CHARS_MAX)),
    };
    let machine = match perf.cpu.others_share {
        Some(share) if perf.cpu.noisy => {
            format!("noisy: other processes used {} % of the CPU", number(share * 100.0))
        }
        Some(share) => format!("quiet: other processes used {} % of the CPU", number(share * 100.0)),
        None => "not measured".to_owned(),
    };
    let cpu = match (perf.cpu.nodes_us_per_op, perf.cpu.controller_us_per_op) {
        (Some(nodes), Some(controller)) => {
            format!("nodes {} µs, controller {} µs per ok op", number(nodes), number(controller))
        }
        _ => "not measured".to_owned(),
    };
    let rows = [
        ("plan", info.plan.clone()),
        ("subject", info.subject.clone()),
        ("system", info.system.clone()),
        ("workload", info.workload.clone()),
        ("world", info.world.clone()),
        ("seed", info.seed.to_string()),
        ("replicas", info.replicas.to_string()),
        ("durability", info.durability.clone()),
        ("reads", info.reads.clone()),
        ("clients", info.clients.to_string()),
        ("load", info.load.clone()),
        ("run phase", format!("{} s", number(perf.run_s()))),
        ("outcome", outcome),
        ("machine", machine),
        ("CPU", cpu),
        ("started", to_the_second(&info.started)),
    ];
    html! {
        dl.facts {
            @for (name, value) in &rows { div { dt { (name) } dd { (value) } } }
            @for (name, value) in dishonest(&stored.history) { div { dt { (name) } dd { (value) } } }
            @for (name, value) in &info.facts { div { dt { (name) } dd { (value) } } }
        }
    }
}

/// Who is not to be believed, and from when on.
fn dishonest(history: &History) -> Vec<(&'static str, String)> {
    let since = |who: String, time: u64| format!("{who} from {}", moment(time as f64 / 1e9));
    let hostile = history.hostile.iter().map(|(time, process)| since(process.to_string(), *time));
    let liars = history.liars.iter().map(|(time, node)| since(format!("n{node}"), *time));
    let rows = [("hostile processes", hostile.collect::<Vec<_>>()), ("replicas that lie", liars.collect())];
    let rows = rows.into_iter().filter(|(_, who)| !who.is_empty());
    rows.map(|(name, who)| (name, cut(&who.join(", "), SENTENCE_CHARS_MAX))).collect()
}

/// A time without its fraction of a second.
fn to_the_second(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) if time.ends_with('Z') => format!("{whole}Z"),
        _ => time.to_owned(),
    }
}

fn checks(stored: &StoredRun) -> Markup {
    let Some(results) = &stored.results else { return html! { p { "The history was not checked." } } };
    html! {
        div.scroll { table {
            thead { tr { th { "check" } th { "verdict" } th.n { "judged" } th { "what was judged" } } }
            tbody {
                @for check in &results.checks {
                    tr {
                        td.name { (check.checker) }
                        td { (shell::badge(check.verdict)) }
                        td.n { (counted(check.judged)) }
                        td.words {
                            (sentence(&check.summary, SENTENCE_CHARS_MAX))
                            div.numbers { (numbers(check)) }
                        }
                    }
                }
            }
        } }
    }
}

fn numbers(check: &CheckResult) -> String {
    const SHOWN_MAX: usize = 40;
    let number = |(name, value): (&String, &f64)| {
        let whole = value.fract() == 0.0 && (0.0..1e15).contains(value);
        let value = if whole { count(*value as u64) } else { number(*value) };
        format!("{} {value}", name.replace('_', " "))
    };
    check.numbers.iter().take(SHOWN_MAX).map(number).collect::<Vec<_>>().join(" · ")
}

fn ops(perf: &Perf) -> Markup {
    let kinds = perf.kinds.iter().map(|(kind, measured)| (kind.name(), measured, false));
    html! {
        div.scroll { table {
            thead { tr {
                th { "op" }
                @for name in ["ok", "failed", "unknown", "ok/s", "mean ms", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"] {
                    th.n { (name) }
                }
            } }
            tbody {
                @for (name, measured, total) in kinds.chain([("all", &perf.overall, true)]) {
                    (ops_row(name, measured, total))
                }
            }
        } }
        p.numbers {
            "Of the run phase. Latency counts from the intended start, over ops that succeeded and ops of unknown outcome (time-outs, "
            "lost connections), which count with the time their client waited; refused ops have none."
        }
    }
}

fn ops_row(name: &str, measured: &Measured, total: bool) -> Markup {
    let latency = measured.latency;
    let ms = [
        latency.map(|l| l.mean_ms),
        latency.map(|l| l.p50_ms),
        latency.map(|l| l.p90_ms),
        latency.map(|l| l.p99_ms),
        latency.map(|l| l.p999_ms),
        latency.map(|l| l.max_ms),
    ];
    html! {
        tr.total[total] {
            td.name { (name) }
            @for n in [measured.ok, measured.fail, measured.info] { td.n { (count(n)) } }
            td.n { (number(measured.ok_s)) }
            @for value in ms { td.n { (maybe(value)) } }
        }
    }
}

fn reproduce(dir: &Path, stored: &StoredRun) -> Markup {
    let dir = dir.display();
    let command = if stored.info.world == SIMULATED { "sim" } else { "run" };
    html! {
        pre.command {
            "# the same plan, with every choice made as in this run\n"
            "cargo run --release -- " (command) " '" (dir) "/" (PLAN_FILE) "' --seed " (stored.info.seed) "\n"
            "# judge and draw the stored history again\n"
            "cargo run --release -- check '" (dir) "'\n"
            "cargo run --release -- report '" (dir) "'"
        }
        @if !stored.plan.is_empty() {
            details {
                summary { "The resolved plan" }
                pre { (cut(&stored.plan, PLAN_CHARS_MAX)) }
            }
        }
    }
}
