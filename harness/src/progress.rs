//! What a person at a terminal sees while a run goes on; nothing where the output is piped.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// A line that is redrawn, on standard error.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Hidden unless standard error is a terminal.
    #[must_use]
    pub(crate) fn new(title: &str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        let style =
            ProgressStyle::with_template("{prefix:.bold} {bar:20} {msg}").expect("a constant template");
        bar.set_style(style.progress_chars("━╸ "));
        bar.set_prefix(title.to_owned());
        Self { bar }
    }

    /// A step without a length.
    pub(crate) fn step(&self, what: &str) {
        self.bar.set_position(0);
        self.bar.set_message(what.to_owned());
    }

    /// How far the run phase is.
    pub(crate) fn at(&self, elapsed: Duration, of: Duration, what: String) {
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        self.bar.set_length(ms(of).max(1));
        self.bar.set_position(ms(elapsed).min(ms(of)));
        self.bar.set_message(what);
    }

    /// Takes the line away.
    pub(crate) fn done(&self) {
        self.bar.finish_and_clear();
    }
}
