//! The page of a comparison.

use super::shell;
use crate::comparison::ComparisonReport;
use maud::html;

/// The whole page.
pub(crate) fn page(report: &ComparisonReport) -> String {
    let body = html! {
        h1 { (report.info.plan) " " (shell::badge(Some(report.verdict()))) }
        pre { (crate::tables::comparison_table(report)) }
    };
    shell::page(&report.info.plan, &body)
}
