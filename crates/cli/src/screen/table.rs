//! Tables: columns as wide as their widest cell, two blanks between them, the last column wrapped into what is left.

use super::WIDTH;
use super::words::{fold, sentence, width};

/// The last column is given at least so many columns, even if the line gets longer than the screen.
const LAST_MIN: usize = 10;

/// Side a column is aligned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Lines of a cell from top to bottom.
pub(super) type Cell = Vec<String>;

/// A table under construction. The last column is always aligned to the left.
#[derive(Debug)]
pub(super) struct Table {
    indent: usize,
    align: Vec<Align>,
    rows: Vec<Vec<Cell>>,
    may_fall: bool,
}

impl Table {
    /// A table with a line of headings, `indent` blanks from the left.
    pub(super) fn new(indent: usize, columns: &[(&str, Align)]) -> Self {
        let headings = columns
            .iter()
            .map(|(heading, _)| vec![(*heading).to_owned()])
            .collect();
        Self {
            indent,
            align: columns.iter().map(|(_, align)| *align).collect(),
            rows: vec![headings],
            may_fall: false,
        }
    }

    /// Where there is no room for the last column, what stands in it goes below its row, without its heading.
    pub(super) fn last_may_fall(mut self) -> Self {
        self.may_fall = true;
        self
    }

    /// Adds a row; it must have as many cells as there are columns.
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.align.len());
        self.rows.push(cells);
    }

    /// Writes it.
    pub(super) fn draw(mut self) -> String {
        let last = self.align.len() - 1;
        let widths: Vec<usize> = (0..last).map(|column| self.column_width(column)).collect();
        let left: usize = self.indent + widths.iter().map(|width| width + 2).sum::<usize>();
        let room = WIDTH.saturating_sub(left).max(LAST_MIN);
        let falls = self.may_fall && left + LAST_MIN > WIDTH;
        let below = " ".repeat(self.indent + 2);
        let mut out = String::new();
        for (number, row) in self.rows.iter_mut().enumerate() {
            let fallen = match falls {
                true => std::mem::take(&mut row[last]),
                false => Cell::new(),
            };
            row[last] = row[last].iter().flat_map(|line| fold(line, room)).collect();
            let height = row.iter().map(Vec::len).max().unwrap_or(0);
            for number in 0..height {
                let mut line = " ".repeat(self.indent);
                for (column, cell) in row.iter().enumerate() {
                    let text = cell.get(number).map_or("", String::as_str);
                    match widths.get(column) {
                        Some(&width) if self.align[column] == Align::Right => {
                            line.push_str(&format!("{text:>width$}  "))
                        }
                        Some(&width) => line.push_str(&format!("{text:<width$}  ")),
                        None => line.push_str(text),
                    }
                }
                out.push_str(line.trim_end());
                out.push('\n');
            }
            for text in fallen.iter().filter(|text| number > 0 && *text != "-") {
                out.push_str(&sentence(&below, self.indent + 4, text));
            }
        }
        out
    }

    fn column_width(&self, column: usize) -> usize {
        let cells = self.rows.iter().flat_map(|row| &row[column]);
        cells.map(|line| width(line)).max().unwrap_or(0)
    }
}

/// A cell of one line.
pub(super) fn cell(text: impl Into<String>) -> Cell {
    vec![text.into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_the_last_one_wraps() {
        let mut table = Table::new(
            0,
            &[
                ("NAME", Align::Left),
                ("N", Align::Right),
                ("NOTE", Align::Left),
            ],
        );
        table.row(vec![cell("a"), cell("12,345"), cell("")]);
        table.row(vec![
            vec!["two".to_owned(), "lines".to_owned()],
            cell("1"),
            cell("word ".repeat(16).trim_end()),
        ]);
        let expected = "\
NAME        N  NOTE
a      12,345
two         1  word word word word word word word word word word word word word
lines          word word word
";
        assert_eq!(table.draw(), expected);
    }
}
