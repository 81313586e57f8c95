//! Tables for the terminal, as wide as it is at most.

use crate::comparison::{CPU, ComparisonReport, Entry, Figure, P50, P99, THROUGHPUT, WITHOUT_SERVICE};
use crate::measure::fault::Fate;
use crate::measure::perf::{Measured, Perf};
use crate::measure::recovery::Answer;
use crate::run::RunReport;
use crate::stored::judged;
use crate::table::{columns, framed};
use crate::text::{count, counted, cut, duration, maybe, number, verdict};
use tabled::builder::Builder;
use tabled::settings::Alignment;
use tabled::settings::object::Columns;

/// More faults than this are only counted.
const FAULT_ROWS_MAX: usize = 24;

/// One run: verdict, checks, latency and throughput by kind of op, service, faults.
#[must_use]
pub fn run_table(report: &RunReport) -> String {
    let info = &report.info;
    let judged = verdict(judged(&info.outcome, report.results.as_ref())).to_uppercase();
    let headline =
        format!("{judged} · {} · {} · {} · seed {}", info.subject, info.workload, info.world, info.seed);
    let mut out = format!("{}\n", cut(&headline, columns()));
    out += &format!("{}\n", cut(&setting(report), columns()));
    if let Some(why) = &info.control {
        out += &format!("{}\n", cut(&format!("a control: {why}"), columns()));
    }
    for warning in &report.warnings {
        out += &format!("! {}\n", cut(warning, columns() - 2));
    }
    out += &checks_table(report);
    out += &ops_table(&report.perf);
    out += &service_line(&report.perf);
    out += &faults_table(&report.perf);
    out += &format!("report: {}\n", report.html.display());
    out
}

/// What the figures hold for.
fn setting(report: &RunReport) -> String {
    let info = &report.info;
    format!(
        "{} replicas · {} clients · {} · {} · reads: {} · {} s",
        info.replicas,
        info.clients,
        info.load,
        info.durability,
        info.reads,
        number(report.perf.run_s())
    )
}

fn checks_table(report: &RunReport) -> String {
    let Some(results) = &report.results else { return "not checked\n".into() };
    let mut rows = Builder::new();
    rows.push_record(["check", "verdict", "judged", "what was judged"]);
    for check in &results.checks {
        let judged = counted(check.judged);
        rows.push_record([check.checker.as_str(), verdict(check.verdict), &judged, &check.summary]);
    }
    let mut table = rows.build();
    table.modify(Columns::one(2), Alignment::right());
    framed(table) + "\n"
}

fn ops_table(perf: &Perf) -> String {
    let mut rows = Builder::new();
    rows.push_record([
        "op", "ok", "fail", "info", "ok/s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms",
    ]);
    let kinds = perf.kinds.iter().map(|(kind, measured)| (kind.name(), measured));
    for (name, measured) in kinds.chain([("all", &perf.overall)]) {
        rows.push_record(ops_row(name, measured));
    }
    let mut table = rows.build();
    table.modify(Columns::new(1..), Alignment::right());
    framed(table) + "\n"
}

fn ops_row(name: &str, measured: &Measured) -> Vec<String> {
    let mut row = vec![name.to_owned()];
    row.extend([measured.ok, measured.fail, measured.info].map(count));
    row.push(number(measured.ok_s));
    let latency = measured.latency;
    row.push(maybe(latency.map(|l| l.p50_ms)));
    row.push(maybe(latency.map(|l| l.p90_ms)));
    row.push(maybe(latency.map(|l| l.p99_ms)));
    row.push(maybe(latency.map(|l| l.p999_ms)));
    row.push(maybe(latency.map(|l| l.max_ms)));
    row
}

fn service_line(perf: &Perf) -> String {
    let service = &perf.service;
    let mut out = format!("without service: {}", duration(service.without_ms));
    if service.gaps > 1 {
        out += &format!(" in {} gaps, the longest {}", count(service.gaps), duration(service.longest_ms));
    }
    if let (Some(nodes), Some(controller)) = (perf.cpu.nodes_us_per_op, perf.cpu.controller_us_per_op) {
        out += &format!(" · CPU per op: nodes {} µs, controller {} µs", number(nodes), number(controller));
    }
    out + "\n"
}

fn faults_table(perf: &Perf) -> String {
    if perf.faults.is_empty() {
        return String::new();
    }
    let mut rows = Builder::new();
    rows.push_record(["fault", "on", "from s", "to s", "", "ok/s before", "back after", "after heal"]);
    for fault in perf.faults.iter().take(FAULT_ROWS_MAX) {
        let span = &fault.span;
        let to = if span.fate == Fate::Skipped { "–".into() } else { seconds(span.end_s) };
        let recovery = fault.recovery.unwrap_or_default();
        rows.push_record([
            cut(&span.fault, 25),
            cut(&span.targets, 18),
            seconds(Some(span.start_s)),
            to,
            span.fate.name().into(),
            maybe(recovery.before_ok_s),
            answer(recovery.after_install),
            answer(recovery.after_heal),
        ]);
    }
    let mut table = rows.build();
    table.modify(Columns::new(2..4), Alignment::right()).modify(Columns::new(5..), Alignment::right());
    let mut out = framed(table) + "\n";
    if perf.faults.len() > FAULT_ROWS_MAX {
        out += &format!("and {} more faults\n", count((perf.faults.len() - FAULT_ROWS_MAX) as u64));
    }
    out
}

fn seconds(s: Option<f64>) -> String {
    s.map_or_else(|| "never".into(), |s| format!("{s:.1}"))
}

/// In words for tables.
#[must_use]
pub fn answer(answer: Option<Answer>) -> String {
    match answer {
        None => "–".into(),
        Some(Answer::Steady) => "no fall".into(),
        Some(Answer::BackAfterMs(ms)) => duration(ms),
        Some(Answer::NotBack) => "not back".into(),
    }
}

/// Every subject under every load, beside its baseline; figures are medians over repeats.
#[must_use]
pub fn comparison_table(report: &ComparisonReport) -> String {
    let mut rows = Builder::new();
    rows.push_record([
        "load",
        "subject",
        "verdict",
        "ok/s",
        "×",
        "p50 ms",
        "×",
        "p99 ms",
        "×",
        "no service",
        "CPU µs",
    ]);
    for group in &report.groups {
        for (at, entry) in group.entries.iter().enumerate() {
            let figure = |of: Figure| maybe(report.figure(entry, of));
            let beside = |of: Figure| report.ratio(group, at, of).unwrap_or_else(|| "–".into());
            let noisy = entry.cells.iter().any(|&cell| report.cells[cell].perf.cpu.noisy);
            rows.push_record([
                if at == 0 { cut(&group.title, 26) } else { String::new() },
                cut(&subject(entry), 18),
                verdict(report.verdict_of(entry)).to_owned(),
                figure(THROUGHPUT),
                beside(THROUGHPUT),
                figure(P50),
                beside(P50),
                figure(P99),
                beside(P99),
                report.figure(entry, WITHOUT_SERVICE).map_or_else(|| "–".into(), duration),
                figure(CPU) + if noisy { " !" } else { "" },
            ]);
        }
    }
    let mut table = rows.build();
    table.modify(Columns::new(3..), Alignment::right());
    let judged = verdict(report.verdict()).to_uppercase();
    let mut out = format!(
        "{judged} · {} · {} runs · seed {}\n{}\n",
        cut(&report.info.plan, 60),
        report.cells.len(),
        report.info.seed,
        framed(table)
    );
    if let Some(group) = report.groups.first() {
        out += &format!("× is the multiple of {}\n", group.entries[group.baseline].subject);
    }
    for finding in report.cells.iter().flat_map(|cell| &cell.findings) {
        out += &format!("{}\n", textwrap::fill(finding, columns()));
    }
    for warning in &report.warnings {
        out += &format!("! {}\n", cut(warning, columns() - 2));
    }
    out += &format!("report: {}\n", report.html.display());
    out
}

/// A subject's name, with how often it was run.
fn subject(entry: &Entry) -> String {
    match entry.cells.len() {
        1 => entry.subject.clone(),
        n => format!("{} ({n}×)", entry.subject),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::perf::Perf;
    use crate::stored::{ComparisonInfo, Results, RunInfo, RunOutcome};
    use crate::synthetic::{Storm, info, trouble};
    use checkers::history::{FaultStage, History, OpKind};
    use checkers::{CheckResult, Verdict};
    use std::path::PathBuf;

    fn storm(latency_us: u64) -> Storm {
        let mut kill = trouble("kill", "n1", 6.0, 8.0);
        kill.outage_s = 1.2;
        let mut never = trouble("partition-majorities-ring", "n1,n2|n2,n3|n3,n4|n4,n5|n5,n1", 9.0, 10.0);
        never.end = FaultStage::NeverBit;
        let mut skipped = trouble("pause", "leader", 10.5, 11.0);
        skipped.end = FaultStage::Skipped;
        let calls = &[(OpKind::Read, 0.5), (OpKind::ReadModifyWrite, 0.5)];
        Storm {
            seed: 3,
            clients: 2,
            load_s: 1,
            run_s: 12,
            latency_us,
            calls,
            faults: vec![kill, never, skipped],
        }
    }

    fn measured(subject: &str, latency_us: u64) -> (RunInfo, Perf) {
        let storm = storm(latency_us);
        let history = History::from_entries(storm.entries()).unwrap();
        let info = info(subject, "ycsb-f", &storm);
        let perf = Perf::of(&history.ops, &history.faults, &history.phases, &info.cpu);
        (info, perf)
    }

    fn narrow(table: &str) {
        for line in table.lines() {
            assert!(line.chars().count() <= columns(), "{} columns: {line}", line.chars().count());
        }
    }

    #[test]
    fn a_run_fits_a_terminal() {
        let (info, perf) = measured("raft", 2000);
        let check = |checker: &str, verdict, judged, summary: &str| {
            CheckResult::new(checker, verdict, judged, summary.into())
        };
        let long = "Key 17 has no order that explains its 1,204 ops: process 5 wrote 56 at 7.123 s, and process 3, which \
                    asked 2.1 ms after that was answered, still read 3.";
        let checks = vec![
            check("stats", Verdict::Valid, 8_328, "Every kind of op succeeded often enough."),
            check("linearizability", Verdict::Invalid, 1_000, long),
        ];
        let report = RunReport {
            dir: PathBuf::new(),
            info: RunInfo { outcome: RunOutcome::Interrupted, ..info },
            results: Some(Results { verdict: Verdict::Invalid, checks }),
            perf,
            warnings: vec!["The run was interrupted; what there is was judged.".into()],
            html: PathBuf::new(),
            plots: Vec::new(),
        };
        let table = run_table(&report);
        narrow(&table);
        insta::assert_snapshot!(table);
    }

    #[test]
    fn a_comparison_fits_a_terminal() {
        let subjects = [
            ("raft", 2000),
            ("raft", 2100),
            ("raft", 1900),
            ("raft-without-any-durability", 1000),
            ("standalone", 700),
        ];
        let cells = subjects.map(|(subject, latency_us)| {
            let (info, perf) = measured(subject, latency_us);
            crate::comparison::Cell {
                folder: subject.into(),
                info,
                verdict: Some(Verdict::Valid),
                findings: match subject {
                    "standalone" => vec![format!(
                        "{subject}: linearizability: invalid: {}",
                        "a stale read ".repeat(9).trim_end()
                    )],
                    _ => Vec::new(),
                },
                judged: Verdict::Valid,
                perf,
            }
        });
        let info = ComparisonInfo {
            plan: "compare".into(),
            seed: 3,
            started: String::new(),
            baseline: "standalone".into(),
            cells: subjects.map(|(subject, _)| subject.to_owned()).to_vec(),
            failed: [("ycsb-f-etcd".to_owned(), "etcd is not on the PATH".to_owned())].into(),
        };
        let report = ComparisonReport::new(
            PathBuf::new(),
            info,
            cells.to_vec(),
            vec!["ycsb-f-etcd could not be run: etcd is not on the PATH".into()],
        );
        let table = comparison_table(&report);
        narrow(&table);
        assert_eq!(report.verdict(), Verdict::Unknown, "a cell is missing");
        insta::assert_snapshot!(table);
    }
}
