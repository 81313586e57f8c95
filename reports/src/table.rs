//! The one way in which tables come to the terminal: no wider than it is, long cells wrapped at words.

use std::sync::OnceLock;
use tabled::Table;
use tabled::grid::records::{ExactRecords, PeekableRecords, Records};
use tabled::settings::object::Columns;
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

/// The table in its frame, as wide as [`columns`] at most where that can be had without breaking words. The widest columns are wrapped
/// first.
#[must_use]
pub fn framed(table: Table) -> String {
    framed_within(table, columns())
}

/// Longer words than this may be broken: paths, mostly.
const WORD_MAX: usize = 12;

fn framed_within(mut table: Table, columns: usize) -> String {
    table.with(Style::rounded());
    for (column, width) in widths(&table, columns).into_iter().enumerate() {
        table.modify(Columns::one(column), Width::wrap(width).keep_words(true));
    }
    table.to_string()
}

/// How wide each column's text may be: as wide as it is, or less where all would not fit, but no less than its longest word.
fn widths(table: &Table, columns: usize) -> Vec<usize> {
    let records = table.get_records();
    let count = records.count_columns();
    let texts = |column| (0..records.count_rows()).map(move |row| records.get_text((row, column).into()));
    let longest = |pieces: &mut dyn Iterator<Item = &str>| {
        pieces.map(|piece| piece.chars().count()).max().unwrap_or(0).max(1)
    };
    let floors: Vec<usize> = (0..count)
        .map(|column| longest(&mut texts(column).flat_map(str::split_whitespace)).min(WORD_MAX))
        .collect();
    let mut widths: Vec<usize> =
        (0..count).map(|column| longest(&mut texts(column).flat_map(str::lines))).collect();
    // Beside each column's text: a space on either side, and a line; one more line at the end.
    let frame = 3 * count + 1;
    while widths.iter().sum::<usize>() + frame > columns {
        let can_shrink = (0..count).filter(|column| widths[*column] > floors[*column]);
        let Some(widest) = can_shrink.max_by_key(|column| widths[*column]) else { break };
        widths[widest] -= 1;
    }
    widths
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

    #[test]
    fn words_stay_whole_although_the_table_is_wider_for_it() {
        let mut rows = Builder::default();
        rows.push_record(["workload", "subject", "no service", "replay"]);
        rows.push_record([
            "register",
            "standalone",
            "8.19 s",
            &format!("store/{}/plan.yaml", "x".repeat(60)),
        ]);
        for columns in [20, 60, 80] {
            let table = framed_within(rows.clone().build(), columns);
            for word in ["workload", "register", "standalone", "service"] {
                assert!(table.contains(word), "{word} is broken: {table}");
            }
            assert!(
                table.lines().all(|line| line.chars().count() <= columns.max(8 + 10 + 7 + 12 + 13)),
                "{table}"
            );
        }
    }
}
