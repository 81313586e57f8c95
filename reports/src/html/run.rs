//! The page of one run.

use super::shell;
use crate::measure::perf::Perf;
use crate::stored::StoredRun;
use maud::html;
use std::path::Path;

/// The whole page.
pub(crate) fn page(_dir: &Path, stored: &StoredRun, perf: &Perf) -> String {
    let info = &stored.info;
    let title = format!("{} · {}", info.subject, info.workload);
    let verdict = stored.results.as_ref().map(|results| results.verdict);
    let body = html! {
        h1 { (title) " " (shell::badge(verdict)) }
        p { (crate::text::number(perf.overall.ok_s)) " ops/s" }
    };
    shell::page(&title, &body)
}
