//! Tables for people: aligned columns, and nothing in them that a terminal would obey.

use std::io::{self, Write};

use crate::command::output::Output;

/// Between two columns.
const GAP: &str = "  ";

/// A table.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With a heading for each column.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(ToString::to_string).collect()] }
    }

    /// Without headings: names and values.
    pub fn bare() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row; an empty cell is shown as `-`.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let shown = |cell: String| if cell.is_empty() { "-".to_owned() } else { plain(&cell) };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// Writes it.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn write(&self, output: &mut Output) -> io::Result<()> {
        output.write_all(self.text().as_bytes())
    }

    fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
                line.push_str(GAP);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// `text` on one line, without what could move a cursor or turn the direction of reading: names are given by other people.
pub fn plain(text: &str) -> String {
    let turns = |letter: char| matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|letter| if letter.is_control() || turns(letter) { char::REPLACEMENT_CHARACTER } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_and_obey_nobody() {
        let mut table = Table::new(&["ID", "NAME", "STATE"]);
        table.row(["7".into(), "nightly \u{1b}[2J".into(), String::new()]);
        table.row(["11".into(), "ä\u{202e}".into(), "active".into()]);
        let want = "ID  NAME          STATE\n7   nightly \u{fffd}[2J  -\n11  ä\u{fffd}            active\n";
        assert_eq!(table.text(), want);
        let mut bare = Table::bare();
        bare.row(["name".into(), "a\nb".into()]);
        assert_eq!(bare.text(), "name  a\u{fffd}b\n");
        assert_eq!(Table::bare().text(), "");
    }
}
