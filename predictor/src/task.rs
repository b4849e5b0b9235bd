//! What the evaluation tasks share: progress while they run, and the tables they report.

use std::path::{Path, PathBuf};

use crate::table::TableError;

/// How far a task is, for a progress bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What is being done, e.g. the machine's name.
    pub what: &'a str,
    /// Units done.
    pub done: usize,
    /// Units in all.
    pub total: usize,
}

/// Told of every unit done.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress<'_>);

/// Why a task gave no result.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// An input table is not usable.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An input has the right form and cannot be worked with.
    #[error("{path}: {reason}")]
    Input {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

/// One table of figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// The names of the columns.
    pub header: Vec<&'static str>,
    /// The cells, as wide as the header.
    pub rows: Vec<Vec<String>>,
}

/// What a task has to say beside the file it wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Tables of figures; none where the folder has no labels.
    pub figures: Vec<Figures>,
    /// Sentences for the reader, e.g. how many rows were written.
    pub notes: Vec<String>,
}

/// A number of a table, three digits after the point; `-` where there is none.
pub(crate) fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.3}"))
}

/// Writes a text beside its name and renames it: a reader never sees half a file.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), TaskError> {
    let failed = |source| TaskError::Io { path: path.to_owned(), source };
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, text).map_err(failed)?;
    std::fs::rename(&partial, path).map_err(failed)
}
