//! What a person looks at: series, plots, tables, one self-contained HTML page.
//!
//! Reads a stored run only: `run.json`, the history, `results.json`, `plan.yaml`, `hosts.json`; writes `perf.json`, pictures and
//! `report.html` beside them.
//!
//! | module | concept |
//! |---|---|
//! | `stored` | what a run's folder holds |
//! | `measure` | from a history to numbers |
//! | `draw` | pictures: one scene, written as SVG and as PNG |
//! | `plots` | from numbers to pictures |
//! | `timeline` | the ops around a violation |
//! | `trace` | what happened in a simulated run, as it is stored |
//! | `spacetime` | what happened around a violation, replica by replica |
//! | `html` | the pages |
//! | `tables` | the same for a terminal |
//! | `table` | how wide a table is there |
//! | `run`, `comparison` | all of it for one run, or for several side by side |

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
mod spacetime;
pub mod stored;
#[cfg(test)]
mod synthetic;
pub mod table;
pub mod tables;
pub mod text;
mod timeline;
pub mod trace;

pub use comparison::{ComparisonReport, render_comparison};
pub use run::{RunReport, render, render_run};
pub use tables::{comparison_table, run_table};
