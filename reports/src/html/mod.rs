//! The pages: self-contained, without scripts, readable in light and in dark.

pub(crate) mod comparison;
pub(crate) mod run;
mod shell;
