//! Tables of columns by name, from Parquet and CSV files, and the label arrays of an `.npz` file.
//!
//! A table is small enough to stand in memory whole. Numbers keep the file's type; text columns are
//! dictionaries, because they name a machine or a run on every row. A null is NaN in a column of
//! floats and an error elsewhere: nothing that reads an index or a name could go on without it.

mod csv;
mod npz;
mod parquet;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use npz::read_npz;

/// Why a file did not become a table, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file could not be read.
    #[error("cannot read {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what its name says.
    #[error("{path}: not a readable {format} file: {reason}")]
    Format {
        /// Which.
        path: PathBuf,
        /// Parquet, CSV or npz.
        format: &'static str,
        /// What its reader said.
        reason: String,
    },
    /// A column is not there.
    #[error("{path}: no column '{column}'; it has {present}")]
    Missing {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        column: String,
        /// The columns that are there.
        present: String,
    },
    /// A column is of another type.
    #[error("{path}: column '{column}' is {found}; store it as {wanted}")]
    Type {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type in the file.
        found: String,
        /// What is needed.
        wanted: &'static str,
    },
    /// A value is absent where one must be.
    #[error("{path}: column '{column}' has a null in row {row}; only columns of floats may")]
    Null {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Row from 0.
        row: usize,
    },
    /// The rows of one unit are not in the form a series needs.
    #[error("{path}: {unit}: {reason}")]
    Rows {
        /// The file.
        path: PathBuf,
        /// The machine, file, series or run.
        unit: String,
        /// What is wrong.
        reason: String,
    },
}

/// The values of a column, one a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// 32-bit floats; null is NaN.
    F32(Vec<f32>),
    /// 64-bit floats; null is NaN.
    F64(Vec<f64>),
    /// Integers, timestamps (in the file's unit) and booleans (0, 1).
    I64(Vec<i64>),
    /// Text.
    Text(Text),
}

/// A column of text: each row is a place in the dictionary of the distinct values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    codes: Vec<u32>,
    dictionary: Vec<String>,
}

impl Text {
    /// The value of a row; panics beyond the last row as a slice would.
    pub fn get(&self, row: usize) -> &str {
        &self.dictionary[self.codes[row] as usize]
    }

    /// The distinct values, in order of first appearance.
    pub fn distinct(&self) -> &[String] {
        &self.dictionary
    }
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::Text(text) => text.codes.len(),
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::F32(_) => "32-bit floats",
            Self::F64(_) => "64-bit floats",
            Self::I64(_) => "integers",
            Self::Text(_) => "text",
        }
    }

    /// A row's number; `None` for text.
    pub fn number(&self, row: usize) -> Option<f64> {
        match self {
            Self::F32(values) => Some(f64::from(values[row])),
            Self::F64(values) => Some(values[row]),
            Self::I64(values) => Some(values[row] as f64),
            Self::Text(_) => None,
        }
    }
}

/// The rows of one unit (machine, file, series, run …), in order of its index column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The unit's name.
    pub name: String,
    /// Its rows in the table.
    pub rows: Vec<usize>,
}

/// Named columns of the same length.
#[derive(Clone, Debug)]
pub struct Table {
    path: PathBuf,
    names: Vec<String>,
    columns: Vec<Column>,
    rows: usize,
    /// What a Parquet file says of itself, by key.
    metadata: BTreeMap<String, String>,
}

impl Table {
    /// Reads a file by its extension, `.parquet` or `.csv`. A CSV file has a header; a column whose
    /// every value is an integer, or a number or nothing, becomes numbers, any other text.
    pub fn read(path: &Path) -> Result<Table, TableError> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("parquet") => parquet::read(path),
            Some("csv") => csv::read(path),
            _ => Err(TableError::Format {
                path: path.to_owned(),
                format: "table",
                reason: "its name ends with neither .parquet nor .csv".into(),
            }),
        }
    }

    fn new(path: &Path, named: Vec<(String, Column)>) -> Table {
        let (names, columns): (Vec<String>, Vec<Column>) = named.into_iter().unzip();
        let rows = columns.first().map_or(0, Column::len);
        assert!(columns.iter().all(|column| column.len() == rows), "the reader returns whole rows");
        Table { path: path.to_owned(), names, columns, rows, metadata: BTreeMap::new() }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The names of the columns, in the file's order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What a Parquet file says of itself under a key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The column of that name, if it is there.
    pub fn find(&self, name: &str) -> Option<&Column> {
        self.names.iter().position(|found| found == name).map(|at| &self.columns[at])
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Result<&Column, TableError> {
        self.find(name).ok_or_else(|| TableError::Missing {
            path: self.path.clone(),
            column: name.into(),
            present: self.names.join(", "),
        })
    }

    /// A column of text.
    pub fn text(&self, name: &str) -> Result<&Text, TableError> {
        match self.column(name)? {
            Column::Text(text) => Ok(text),
            other => Err(self.wrong_type(name, other, "text")),
        }
    }

    /// A column of integers.
    pub fn integers(&self, name: &str) -> Result<&[i64], TableError> {
        match self.column(name)? {
            Column::I64(values) => Ok(values),
            other => Err(self.wrong_type(name, other, "integers")),
        }
    }

    /// A column of numbers of any type, as 64-bit floats.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>, TableError> {
        let column = self.column(name)?;
        (0..self.rows)
            .map(|row| column.number(row))
            .collect::<Option<_>>()
            .ok_or_else(|| self.wrong_type(name, column, "numbers"))
    }

    /// Every column but the named ones, which must all be numbers: the metrics of a telemetry table.
    pub fn metrics(&self, but: &[&str]) -> Result<Vec<(&str, &Column)>, TableError> {
        let wanted = |name: &String| !but.contains(&name.as_str());
        let found: Vec<(&str, &Column)> = self
            .names
            .iter()
            .zip(&self.columns)
            .filter(|(n, _)| wanted(n))
            .map(|(n, c)| (n.as_str(), c))
            .collect();
        match found.iter().find(|(_, column)| matches!(column, Column::Text(_))) {
            Some((name, column)) => Err(self.wrong_type(name, column, "numbers, or leave it out")),
            None if found.is_empty() => Err(TableError::Missing {
                path: self.path.clone(),
                column: "any metric".into(),
                present: self.names.join(", "),
            }),
            None => Ok(found),
        }
    }

    /// The rows of each value of the text column `unit` that `keep` accepts, sorted by the integer
    /// column `index`, units in order of first appearance. An index twice in a unit is an error.
    pub fn groups(
        &self,
        unit: &str,
        index: &str,
        keep: impl Fn(usize) -> bool,
    ) -> Result<Vec<Group>, TableError> {
        let (units, order) = (self.text(unit)?, self.integers(index)?);
        let mut rows: Vec<Vec<usize>> = vec![Vec::new(); units.dictionary.len()];
        for row in (0..self.rows).filter(|row| keep(*row)) {
            rows[units.codes[row] as usize].push(row);
        }
        let mut groups = Vec::new();
        for (name, mut rows) in units.dictionary.iter().zip(rows) {
            rows.sort_by_key(|row| order[*row]);
            if let Some(pair) = rows.windows(2).find(|pair| order[pair[0]] == order[pair[1]]) {
                return Err(TableError::Rows {
                    path: self.path.clone(),
                    unit: format!("{unit} {name}"),
                    reason: format!("{index} {} is there twice", order[pair[0]]),
                });
            }
            if !rows.is_empty() {
                groups.push(Group { name: name.clone(), rows });
            }
        }
        Ok(groups)
    }

    fn wrong_type(&self, name: &str, column: &Column, wanted: &'static str) -> TableError {
        TableError::Type {
            path: self.path.clone(),
            column: name.into(),
            found: column.type_name().into(),
            wanted,
        }
    }
}

/// Builds a [`Text`] row by row.
#[derive(Default)]
struct TextBuilder {
    text: Text,
    known: BTreeMap<Vec<u8>, u32>,
}

impl TextBuilder {
    /// One more row; `None` if it is not UTF-8.
    fn push(&mut self, value: &[u8]) -> Option<()> {
        let code = match self.known.get(value) {
            Some(code) => *code,
            None => {
                let code = self.text.dictionary.len() as u32;
                self.text.dictionary.push(String::from_utf8(value.to_vec()).ok()?);
                self.known.insert(value.to_vec(), code);
                code
            }
        };
        self.text.codes.push(code);
        Some(())
    }

    fn finish(self) -> Text {
        self.text
    }
}
