//! The pages: self-contained, without scripts, readable in light and in dark.

pub(crate) mod comparison;
mod evidence;
mod faults;
mod happened;
mod hosts;
pub(crate) mod run;
mod shell;
