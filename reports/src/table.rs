//! The one way in which tables come to the terminal: no wider than it is, long cells wrapped at words.

use std::sync::OnceLock;
use tabled::Table;
use tabled::settings::peaker::Priority;
use tabled::settings::{Style, Width};

/// How wide a table may be where there is no terminal to ask.
pub const COLUMNS_PIPED: usize = 100;

/// How many columns a line of standard output has: the terminal's, or [`COLUMNS_PIPED`].
#[must_use]
pub fn columns() -> usize {
    static COLUMNS: OnceLock<usize> = OnceLock::new();
    *COLUMNS.get_or_init(|| {
        // Tests compare what is printed with files.
        let terminal = (!cfg!(test)).then(console::Term::stdout);
        terminal
            .and_then(|terminal| terminal.size_checked())
            .map_or(COLUMNS_PIPED, |(_, columns)| usize::from(columns))
    })
}

/// The table in its frame, as wide as [`columns`] at most. The widest columns are wrapped first.
#[must_use]
pub fn framed(table: Table) -> String {
    framed_within(table, columns())
}

fn framed_within(mut table: Table, columns: usize) -> String {
    table.with(Style::rounded()).with(Width::wrap(columns).keep_words(true).priority(Priority::max(true)));
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tabled::builder::Builder;

    #[test]
    fn a_wide_table_is_wrapped_and_a_narrow_one_is_left_alone() {
        let mut rows = Builder::default();
        rows.push_record(["name", "about", "remarks"]);
        rows.push_record([
            "raft",
            "a replicated log with a leader",
            "what is long is wrapped at words, and nothing is lost",
        ]);
        for columns in [40, 60, 80] {
            let table = framed_within(rows.clone().build(), columns);
            assert!(table.lines().all(|line| line.chars().count() <= columns), "{table}");
            for word in ["leader", "wrapped", "nothing"] {
                assert!(table.contains(word), "{word} is missing: {table}");
            }
        }
        let wide = framed_within(rows.build(), 200);
        assert_eq!(wide.lines().count(), 5, "{wide}");
    }
}
