//! Aligned columns: text to the left, numbers to the right.

/// Rows under a header; the widths follow from the cells.
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table. A column whose name ends with a space-separated unit or a number reads the same.
    pub fn new(header: &[&'static str]) -> Table {
        Table { header: header.to_vec(), rows: Vec::new() }
    }

    /// One more row: as many cells as the header has.
    pub fn row(&mut self, cells: impl Into<Vec<String>>) {
        let cells = cells.into();
        assert_eq!(cells.len(), self.header.len(), "a row is as wide as its table");
        self.rows.push(cells);
    }

    /// The lines. `empty` if there is no row.
    pub fn render(&self, empty: &str) -> String {
        if self.rows.is_empty() {
            return format!("{empty}\n");
        }
        let columns: Vec<(usize, bool)> = (0..self.header.len()).map(|at| self.column(at)).collect();
        let header: Vec<String> = self.header.iter().map(ToString::to_string).collect();
        std::iter::once(&header).chain(&self.rows).map(|row| line(row, &columns)).collect()
    }

    /// Width, and whether it is of numbers.
    fn column(&self, at: usize) -> (usize, bool) {
        let cells = || self.rows.iter().map(|row| row[at].as_str());
        let width = cells().chain([self.header[at]]).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let number = |cell: &str| cell == "-" || cell.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        (
            width,
            cells().all(|cell| number(cell) && !cell.contains([':', '/'])) && cells().any(|cell| cell != "-"),
        )
    }
}

fn line(row: &[String], columns: &[(usize, bool)]) -> String {
    let cells = row.iter().zip(columns).map(|(cell, (width, right))| {
        if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    });
    format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
}
