//! What happened in a simulated run, as a space-time diagram of the part that matters.
//!
//! | file | concept |
//! |---|---|
//! | `excerpt.rs` | which parts of a run are shown: what led to the violation |
//! | `view.rs` | what of the run lies in one of them: messages, lives, ops |
//! | `layout.rs` | where each replica's line and each op's bar stands |
//! | `legend.rs` | what its colours and marks mean |
//! | `draw.rs` | the picture |
//! | `marks.rs` | its arrows, crosses and their labels |

mod draw;
pub(crate) mod excerpt;
mod layout;
mod legend;
mod marks;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use draw::{Picture, close_up, overview};
pub(crate) use excerpt::{Excerpts, excerpts};
