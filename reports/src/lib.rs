//! What a person looks at: series, plots, tables, one self-contained HTML page.
//!
//! Reads a stored run only.

pub mod comparison;
mod draw;
#[cfg(test)]
mod edge_cases;
#[cfg(test)]
mod gallery;
mod html;
pub mod measure;
mod plots;
pub mod run;
pub mod stored;
#[cfg(test)]
mod synthetic;
pub mod tables;
pub mod text;
mod timeline;

pub use comparison::{ComparisonReport, render_comparison};
pub use run::{RunReport, render_run};
pub use tables::{comparison_table, run_table};
