//! The ops around a violation, drawn so that each can be read.
//!
//! | file | concept |
//! |---|---|
//! | `focus.rs` | which ops of the evidence are shown first |
//! | `layout.rs` | where each op stands: time is stretched until every label fits |
//! | `draw.rs` | the picture |

pub(crate) mod draw;
mod focus;
pub(crate) mod layout;

pub(crate) use draw::{Timeline, timeline};
pub(crate) use focus::{FOCUS_OPS_MAX, focus};
