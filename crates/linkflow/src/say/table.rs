//! Aligned columns, coloured on terminals.

/// How a cell looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As the rest.
    #[default]
    Plain,
    /// All is well.
    Good,
    /// Something is wrong.
    Bad,
    /// Worth a look.
    Notable,
    /// Less important.
    Faint,
    /// A heading.
    Strong,
}

impl Tone {
    /// `text` in this tone.
    pub(crate) fn paint(self, text: &str, colours: bool) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            _ if !colours => return text.to_owned(),
            Self::Good => "32",
            Self::Bad => "31",
            Self::Notable => "33",
            Self::Faint => "2",
            Self::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Rows of cells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let row = headings.iter().map(|h| ((*h).to_owned(), Tone::Strong)).collect();
        Self { rows: vec![row] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<(String, Tone)>) {
        self.rows.push(cells);
    }

    /// The table, two blanks between columns, nothing at the ends of lines.
    pub(crate) fn render(&self, colours: bool) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|(text, _)| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let last = row.iter().rposition(|(text, _)| !text.is_empty()).unwrap_or(0);
            for (column, (text, tone)) in row.iter().enumerate().take(last + 1) {
                out.push_str(&tone.paint(text, colours));
                if column < last {
                    let blanks = widths[column].saturating_sub(text.chars().count()) + 2;
                    out.push_str(&" ".repeat(blanks));
                }
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_colours_take_no_room() {
        let mut table = Table::new(&["A", "LONG"]);
        table.row(vec![("wider".to_owned(), Tone::Good), (String::new(), Tone::Plain)]);
        table.row(vec![("x".to_owned(), Tone::Plain), ("y".to_owned(), Tone::Bad)]);
        assert_eq!(table.render(false), "A      LONG\nwider\nx      y\n");
        assert!(table.render(true).contains("\u{1b}[31my\u{1b}[0m"));
    }
}
